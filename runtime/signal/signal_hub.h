// signal_hub.h: the signals of the process, as something that tasks can wait for.
//
// Why:        a signal handler may do next to nothing, on whatever thread it hits. Here it writes one byte
//             to a pipe, and a thread of the hub does the rest, also while every worker is stuck.
// Opt-in:     a library must not take a process's signals: a runtime has a hub only if its maker asked for
//             one (RuntimeOptions::WithSignals; QUIESCE_MAIN does).
// Invariants: (1) at most one bound hub owns the signals of a process at a time;
//             (2) the handlers only use what is async-signal-safe: atomics, getpid, write, sigaction,
//                 raise; they keep errno, and in a forked child, which has no hub, they do what the
//                 signal does by default;
//             (3) the request to shut down is a level: once raised it stays, also for who asks later;
//             (4) the destructor gives back the handlers that were there before, unless somebody has
//                 put others in the place of the hub's.
//
// signal          | first                          | second                        | later
// ----------------|--------------------------------|-------------------------------|-----------------
// SIGINT, SIGTERM | wakes each ShutdownSignal;     | on_second                     | on_second
//                 | on_unclaimed, if there has     | if null: the system's default | ends the process
//                 | never been one                 | is put back, with a message   |
// SIGQUIT         | on_dump; if null, the signal is left alone: the system's default dumps core
//
// SIGINT and SIGTERM count together. They are taken over also where the process was started with them
// ignored (as by a shell, in the background).
//
// Threads:    any, but Create and the destructor on a thread that is not the hub's. Handlers run on any
//             thread. They are installed with SA_RESTART: read, write, accept and their like go on, but
//             calls that the system never restarts (poll, select, epoll_wait, nanosleep, a socket call
//             with a timeout; signal(7) has the list) return EINTR, in foreign code too.
#ifndef QUIESCE_RUNTIME_SIGNAL_SIGNAL_HUB_H_
#define QUIESCE_RUNTIME_SIGNAL_SIGNAL_HUB_H_

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

class SignalHubOptions {
 public:
  using OnDump = void (*)(void* argument);
  using OnSecond = void (*)(int signal_number, void* argument);

  SignalHubOptions() = default;

  // Who owns the signals, for the message to the next one who wants them.
  SignalHubOptions& WithOwner(std::string owner) {
    owner_ = std::move(owner);
    return *this;
  }
  // Called for each SIGQUIT. On the hub's thread: it may allocate, lock and print, but further signals
  // wait for it.
  SignalHubOptions& WithOnDump(OnDump on_dump, void* argument) {
    on_dump_ = on_dump;
    on_dump_argument_ = argument;
    return *this;
  }
  // Called, as above, for each SIGINT and SIGTERM after the first.
  SignalHubOptions& WithOnSecond(OnSecond on_second, void* argument) {
    on_second_ = on_second;
    on_second_argument_ = argument;
    return *this;
  }

  // Called, as above, for the first SIGINT or SIGTERM if nobody has asked for ShutdownSignal before: a
  // program that does not look for it can be asked to end all the same. What begins to run later has to
  // ask unclaimed_signal().
  SignalHubOptions& WithOnUnclaimed(OnSecond on_unclaimed, void* argument) {
    on_unclaimed_ = on_unclaimed;
    on_unclaimed_argument_ = argument;
    return *this;
  }

  const std::string& owner() const { return owner_; }
  OnSecond on_unclaimed() const { return on_unclaimed_; }
  void* on_unclaimed_argument() const { return on_unclaimed_argument_; }
  OnDump on_dump() const { return on_dump_; }
  void* on_dump_argument() const { return on_dump_argument_; }
  OnSecond on_second() const { return on_second_; }
  void* on_second_argument() const { return on_second_argument_; }

 private:
  std::string owner_ = "quiesce";
  OnDump on_dump_ = nullptr;
  void* on_dump_argument_ = nullptr;
  OnSecond on_second_ = nullptr;
  void* on_second_argument_ = nullptr;
  OnSecond on_unclaimed_ = nullptr;
  void* on_unclaimed_argument_ = nullptr;
};

class SignalHub {
 public:
  // Takes over the signals of the process.
  // Error(kAlreadyExists): another hub has them, and whose. Error(kResourceExhausted): no descriptor or
  // no thread; then nothing has changed.
  static absl::StatusOr<std::unique_ptr<SignalHub>> Create(
      SignalHubOptions options = SignalHubOptions());
  // A hub that has nothing to do with the process's signals, for the lab: they come by Deliver.
  static std::unique_ptr<SignalHub> CreateUnbound(SignalHubOptions options = SignalHubOptions());

  // No task may be waiting.
  ~SignalHub();
  SignalHub(const SignalHub&) = delete;
  SignalHub& operator=(const SignalHub&) = delete;

  // Does what the table above says, as if the signal had come. Threads: one at a time, and only with an
  // unbound hub; a bound one calls it on its own thread.
  void Deliver(int signal_number);

  // The signal that asked for shutdown: SIGINT or SIGTERM; 0: none yet. Acquire.
  int shutdown_signal() const { return shutdown_signal_.load(std::memory_order_acquire); }

  // The same if it was unclaimed, and so told to on_unclaimed; else 0. Set before on_unclaimed is called:
  // who registers itself under a lock that on_unclaimed takes to find it, and then asks, hears of the
  // signal by one or by the other. Acquire.
  int unclaimed_signal() const { return unclaimed_signal_.load(std::memory_order_acquire); }

  // For ShutdownSignal: somebody looks for the signal.
  void Claim() { claimed_.store(true, std::memory_order_relaxed); }
  // For ShutdownSignal: queues `waiter`, to be granted by the first signal. False if it has come.
  bool AddWaiter(Waiter* waiter) ABSL_LOCKS_EXCLUDED(lock_);
  void RemoveWaiter(Waiter* waiter) ABSL_LOCKS_EXCLUDED(lock_);

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGQUIT};
  static constexpr int kSignalCount = 3;
  struct Taken {
    bool taken = false;
    bool defaulted = false;  // the hub itself has put the system's default in its place
    struct sigaction before = {};
  };

  SignalHub(SignalHubOptions options, bool bound);

  absl::Status Bind();
  void Unbind();
  static void* ThreadMain(void* hub);
  void ReadSignals();
  void RestoreDefaults();

  const SignalHubOptions options_;
  const bool bound_;

  // 0 -> SIGINT | SIGTERM, once, by Deliver with lock_ held (release: what Deliver's caller did before is
  // seen by who reads the signal).
  std::atomic<int> shutdown_signal_{0};
  // 0 -> SIGINT | SIGTERM, once, by Deliver before it calls on_unclaimed (release, as above).
  std::atomic<int> unclaimed_signal_{0};
  std::atomic<bool> claimed_{false};  // false -> true by Claim; relaxed, nothing is ordered by it
  SpinLock lock_;                     // before a run queue's (inside Waiter::Grant)
  IntrusiveList<Waiter, QueueHook> waiters_ ABSL_GUARDED_BY(lock_);

  // Of a bound hub. Constant while its thread runs, but for `defaulted`, which only that thread writes.
  Taken taken_[kSignalCount];
  int read_fd_ = -1;
  int write_fd_ = -1;
  pthread_t thread_ = {};
  std::atomic<bool> stopping_{
      false};  // false -> true by Unbind, before the byte that wakes the thread
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SIGNAL_SIGNAL_HUB_H_

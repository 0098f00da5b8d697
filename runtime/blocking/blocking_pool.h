// blocking_pool.h: threads for calls that block the thread they are made on.
//
// Why:        a call that blocks (a name lookup, fsync, a database driver) on a worker would hold up
//             every other task of that worker.
// Example:    BlockingPool pool(BlockingPoolOptions().WithMaxThreads(8));   // a Runtime has one;
//             users call RunBlocking(cx, "resolve", fn), see blocking.h.
// Invariants: (1) there are at most max_threads threads; one is made only when none is idle, the one that
//                 became idle last is used first, and one that was idle for idle_timeout ends;
//             (2) jobs that had to queue get a thread in order of arrival;
//             (3) a queued job is either given to a thread or withdrawn, as its waiter's word decides
//                 (G8); one that a thread was given is called and finished, once each;
//             (4) nothing of the pool touches a job once its `finish` has been called.
// Limits:     jobs that wait for one another can fill the pool and then wait for ever: let a job that
//             needs another job's result be started after it, or use two pools (two runtimes).
// Threads:    any; the destructor on a thread that is not the pool's.
#ifndef QUIESCE_RUNTIME_BLOCKING_BLOCKING_POOL_H_
#define QUIESCE_RUNTIME_BLOCKING_BLOCKING_POOL_H_

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

class BlockingPoolOptions {
 public:
  BlockingPoolOptions() = default;

  // 0: no threads; each job is called by who starts it, before TryStart returns. For the lab, where
  // a job takes no virtual time and comes in the same order in each run.
  BlockingPoolOptions& WithMaxThreads(uint32_t threads) {
    max_threads_ = threads;
    return *this;
  }
  // How long a thread stays without work. Measured on the system's clock.
  BlockingPoolOptions& WithIdleTimeout(absl::Duration timeout) {
    idle_timeout_ = timeout;
    return *this;
  }
  // What the system calls the threads; it shows at most 15 characters.
  BlockingPoolOptions& WithThreadName(std::string name) {
    thread_name_ = std::move(name);
    return *this;
  }

  uint32_t max_threads() const { return max_threads_; }
  absl::Duration idle_timeout() const { return idle_timeout_; }
  const std::string& thread_name() const { return thread_name_; }

 private:
  uint32_t max_threads_ = 64;
  absl::Duration idle_timeout_ = absl::Seconds(10);
  std::string thread_name_ = "quiesce-block";
};

// One call for the pool to make. Lives in its owner, from TryStart or Queue until `finish` is called or
// Withdraw returns.
struct BlockingJob : ListHook {
  using Function = void (*)(BlockingJob*);
  BlockingJob(Function call, Function finish) : call(call), finish(finish) {}
  BlockingJob(const BlockingJob&) = delete;
  BlockingJob& operator=(const BlockingJob&) = delete;

  const Function call;    // makes the call, on a thread of the pool; no lock held
  const Function finish;  // then tells the owner, who may destroy the job before it returns

  // The pool's.
  Waiter* waiter = nullptr;       // who waits for a thread, while queued
  bool no_thread_for_it = false;  // the system refused to make one
  // Set before a Grant that gives no thread: the pool has none any more, so TryStart again.
  bool try_again = false;
};

class BlockingPool {
 public:
  explicit BlockingPool(BlockingPoolOptions options = BlockingPoolOptions());
  // Ends and joins every thread. A job that has not ended is a bug of the caller, and fatal. Afterwards
  // no thread of the pool is in a `finish` (which may be posting a task to a scheduler).
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Gives `job` to an idle or a new thread. False, and no effect, if all threads are taken: Queue then.
  // Error(kResourceExhausted) if there is no thread and the system does not give one.
  absl::StatusOr<bool> TryStart(BlockingJob* job) ABSL_LOCKS_EXCLUDED(mutex_);

  // For an Enqueue of the waiter protocol: kQueued: a thread that is free will Grant `waiter` and, if
  // that succeeds, call the job, unless job->try_again is set; kDone: started at once; kRetry:
  // TryStart can do it now.
  Enqueued Queue(BlockingJob* job, Waiter* waiter) ABSL_LOCKS_EXCLUDED(mutex_);

  // After a cancel: the job leaves the queue and will not be called.
  void Withdraw(BlockingJob* job) ABSL_LOCKS_EXCLUDED(mutex_);

  struct Load {
    uint32_t threads = 0;  // alive
    uint32_t idle = 0;
    uint32_t queued = 0;  // jobs without a thread
  };
  // A consistent snapshot, which may be old when it is read.
  Load load() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Seat;

  static void* ThreadMain(void* seat);
  void Serve(Seat& seat) ABSL_LOCKS_EXCLUDED(mutex_);
  void Call(BlockingJob* job) ABSL_LOCKS_EXCLUDED(mutex_);
  // The job that a thread without one does next: the first that is queued and not cancelled; or, after
  // waiting as an idle thread, the one it is handed. Null: the thread shall end.
  BlockingJob* NextJob(Seat& seat) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HandToIdle(BlockingJob* job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Wakes every queued job, to try again.
  void FlushQueue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Zero or an errno.
  int StartThread(BlockingJob* job) ABSL_LOCKS_EXCLUDED(mutex_);

  const BlockingPoolOptions options_;

  // Jobs that a thread has and that are not about to be finished; +1 by who hands one over, -1 (release)
  // by the thread before it calls `finish`. Only for the destructor's check.
  std::atomic<uint32_t> running_{0};

  // Lock order: mutex_, then a run queue's (inside Waiter::Grant).
  mutable ThreadMutex mutex_;
  uint32_t threads_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t idle_count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t queued_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  IntrusiveList<Seat> idle_ ABSL_GUARDED_BY(mutex_);  // the last one to become idle is first
  IntrusiveList<BlockingJob> queue_ ABSL_GUARDED_BY(mutex_);
  // The last thread to end, not yet joined. Each one that ends joins the one before.
  std::optional<pthread_t> ended_ ABSL_GUARDED_BY(mutex_);
  ThreadCondition all_ended_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BLOCKING_BLOCKING_POOL_H_

#include "quiesce/runtime/signal/signal_hub.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/thread_mutex.h"

namespace quiesce {
inline namespace v0 {
namespace {

// --- what the handler sees -------------------------------------------------------------------------
//
// A handler may still run, on some thread, while the hub unbinds. So it says that it is there before it
// looks for the pipe, and the hub takes the pipe away before it looks for handlers: of two sequentially
// consistent pairs at least one sees the other, and the descriptor is closed after its last use.

std::atomic<int> handlers_running{0};  // seq_cst, see above
std::atomic<int> pipe_fd{-1};          // the pipe's write end; -1: nobody's. seq_cst, see above
std::atomic<int> owner_pid{0};         // relaxed: set before the first handler is installed

static_assert(std::atomic<int>::is_always_lock_free, "atomics in a signal handler must not lock");

void SetDefault(int signal_number) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigemptyset(&action.sa_mask);
  sigaction(signal_number, &action, nullptr);
}

extern "C" void QuiesceSignalHandler(int signal_number) {
  const int saved_errno = errno;
  if (getpid() != owner_pid.load(std::memory_order_relaxed)) {
    // A child between fork and exec: the pipe leads to its parent. The signal comes again, and takes
    // effect, when this handler returns.
    SetDefault(signal_number);
    raise(signal_number);
  } else {
    handlers_running.fetch_add(1, std::memory_order_seq_cst);
    const int fd = pipe_fd.load(std::memory_order_seq_cst);
    const auto byte = static_cast<unsigned char>(signal_number);
    // Never blocks. A full pipe holds thousands of signals that are not yet read: one more says nothing.
    if (fd >= 0) (void)!write(fd, &byte, 1);
    handlers_running.fetch_sub(1, std::memory_order_seq_cst);
  }
  errno = saved_errno;
}

bool IsOurs(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == &QuiesceSignalHandler;
}

// --- who owns the signals --------------------------------------------------------------------------

struct Ownership {
  ThreadMutex mutex;
  bool owned ABSL_GUARDED_BY(mutex) = false;
  std::string owner ABSL_GUARDED_BY(mutex);
};

Ownership& TheOwnership() {
  static auto* ownership =
      new Ownership();  // never destroyed: a hub may outlive static destructors
  return *ownership;
}

}  // namespace

SignalHub::SignalHub(SignalHubOptions options, bool bound)
    : options_(std::move(options)), bound_(bound) {}

absl::StatusOr<std::unique_ptr<SignalHub>> SignalHub::Create(SignalHubOptions options) {
  Ownership& ownership = TheOwnership();
  ThreadMutexLock lock(ownership.mutex);
  if (ownership.owned) {
    return absl::AlreadyExistsError(
        absl::StrCat("the signals of this process already belong to '", ownership.owner, "', so '",
                     options.owner(),
                     "' cannot take them: make only one runtime with signals, the one whose tasks "
                     "call ShutdownSignal, or destroy the other one first"));
  }
  std::string owner = options.owner();
  std::unique_ptr<SignalHub> hub(new SignalHub(std::move(options), /*bound=*/true));
  absl::Status bound = hub->Bind();
  if (!bound.ok()) return bound;
  ownership.owned = true;
  ownership.owner = std::move(owner);
  return hub;
}

std::unique_ptr<SignalHub> SignalHub::CreateUnbound(SignalHubOptions options) {
  return std::unique_ptr<SignalHub>(new SignalHub(std::move(options), /*bound=*/false));
}

SignalHub::~SignalHub() {
  {
    SpinLockHolder lock(lock_);
    QUIESCE_CHECK(
        waiters_.empty(),
        "a SignalHub was destroyed while a task waits in ShutdownSignal: close the regions of "
        "its runtime first");
  }
  if (read_fd_ < 0) return;  // unbound, or it could not be bound
  Unbind();
  Ownership& ownership = TheOwnership();
  ThreadMutexLock lock(ownership.mutex);
  ownership.owned = false;
}

absl::Status SignalHub::Bind() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no pipe for the signals of '", options_.owner(), "': ", strerror(errno),
                     "; raise the limit of open files (ulimit -n, sysctl fs.file-max)"));
  }
  fcntl(fds[1], F_SETFL, O_NONBLOCK);
  read_fd_ = fds[0];
  write_fd_ = fds[1];
  // The hub's thread takes no signals itself: its callbacks shall not be interrupted.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&thread_, nullptr, &ThreadMain, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    close(std::exchange(read_fd_, -1));
    close(std::exchange(write_fd_, -1));
    return absl::ResourceExhaustedError(absl::StrCat(
        "no thread for the signals of '", options_.owner(), "': ", strerror(error),
        "; raise the limit of threads (ulimit -u, the pids limit of the container) or of "
        "memory, or make fewer workers"));
  }
  owner_pid.store(getpid(), std::memory_order_relaxed);
  pipe_fd.store(write_fd_, std::memory_order_seq_cst);
  struct sigaction action = {};
  action.sa_handler = &QuiesceSignalHandler;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  for (int i = 0; i < kSignalCount; ++i) {
    if (kSignals[i] == SIGQUIT && options_.on_dump() == nullptr) continue;
    taken_[i].taken = sigaction(kSignals[i], &action, &taken_[i].before) == 0;
  }
  return absl::OkStatus();
}

void SignalHub::Unbind() {
  // The thread first: it is the only other one that changes dispositions.
  stopping_.store(true, std::memory_order_release);
  const unsigned char wake = 0;
  (void)!write(write_fd_, &wake, 1);  // a full pipe keeps the thread awake anyway
  pthread_join(thread_, nullptr);
  for (int i = 0; i < kSignalCount; ++i) {
    if (!taken_[i].taken) continue;
    struct sigaction now = {};
    sigaction(kSignals[i], nullptr, &now);
    const bool still = taken_[i].defaulted ? now.sa_handler == SIG_DFL : IsOurs(now);
    if (still) sigaction(kSignals[i], &taken_[i].before, nullptr);
  }
  pipe_fd.store(-1, std::memory_order_seq_cst);
  while (handlers_running.load(std::memory_order_seq_cst) != 0) sched_yield();
  close(std::exchange(read_fd_, -1));
  close(std::exchange(write_fd_, -1));
}

void* SignalHub::ThreadMain(void* hub) {
  pthread_setname_np(pthread_self(), "quiesce-signal");
  static_cast<SignalHub*>(hub)->ReadSignals();
  return nullptr;
}

void SignalHub::ReadSignals() {
  unsigned char signals[64];
  while (true) {
    const ssize_t count = read(read_fd_, signals, sizeof signals);
    if (stopping_.load(std::memory_order_acquire)) return;
    QUIESCE_CHECK(count > 0 || errno == EINTR,
                  "the pipe of the signal hub was closed by somebody else");
    for (ssize_t i = 0; i < count; ++i) Deliver(signals[i]);
  }
}

void SignalHub::Deliver(int signal_number) {
  if (signal_number == SIGQUIT) {
    if (options_.on_dump() != nullptr) options_.on_dump()(options_.on_dump_argument());
    return;
  }
  if (shutdown_signal() == 0) {
    {
      SpinLockHolder lock(lock_);
      shutdown_signal_.store(signal_number, std::memory_order_release);
      while (Waiter* waiter = waiters_.PopFront()) waiter->Grant();  // false: it leaves by itself
    }
    if (!claimed_.load(std::memory_order_relaxed) && options_.on_unclaimed() != nullptr) {
      unclaimed_signal_.store(signal_number, std::memory_order_release);
      options_.on_unclaimed()(signal_number, options_.on_unclaimed_argument());
    }
  } else if (options_.on_second() != nullptr) {
    options_.on_second()(signal_number, options_.on_second_argument());
  } else if (bound_) {
    RestoreDefaults();
    std::fprintf(
        stderr,
        "quiesce: %s came while '%s' shuts down; the next SIGINT or SIGTERM ends the process "
        "at once\n",
        signal_number == SIGINT ? "SIGINT" : "SIGTERM", options_.owner().c_str());
  }
}

void SignalHub::RestoreDefaults() {
  for (int i = 0; i < kSignalCount; ++i) {
    if (kSignals[i] == SIGQUIT || !taken_[i].taken || taken_[i].defaulted) continue;
    struct sigaction now = {};
    sigaction(kSignals[i], nullptr, &now);
    if (!IsOurs(now)) continue;
    SetDefault(kSignals[i]);
    taken_[i].defaulted = true;
  }
}

bool SignalHub::AddWaiter(Waiter* waiter) {
  SpinLockHolder lock(lock_);
  if (shutdown_signal_.load(std::memory_order_relaxed) != 0) return false;
  waiters_.PushBack(waiter);
  return true;
}

void SignalHub::RemoveWaiter(Waiter* waiter) {
  SpinLockHolder lock(lock_);
  if (waiters_.Linked(waiter)) waiters_.Remove(waiter);
}

}  // namespace v0
}  // namespace quiesce

// mutex.h: a mutex for tasks: who waits for it suspends and blocks no thread; fair, and known to the scheduler.
//
// Why:        a thread's mutex held over a co_await blocks a worker, and with it tasks that have nothing to do with
//             it, perhaps the one that holds the mutex. And a task that drains must not wait behind a holder that
//             waits behind everybody else.
// Example:    MutexOf<Cache> cache;                                   // the data and its mutex are one
//             auto locked = co_await OrReturn(cache.Lock(cx));       // ends this task if it is cancelled
//             if (!locked->Has(key)) locked->Put(key, co_await OrReturn(Fetch(cx, key)));
//             std::move(locked).Unlock();                            // or at the end of the scope
// When not:   for data that is never held over a co_await use a ThreadMutex: it is shorter to hold. For one value
//             that comes once there is Completion, for a limit on how many there is Semaphore.
// Invariants: (1) at most one guard holds it; (2) fair: unlocking hands it to the one who has waited longest, and
//             nobody can come in between; (3) a cancelled Lock has locked nothing (G8); (4) while a wait of
//             the cancel lane (one that drains, is masked, or lends its own lock to one) stands in the queue,
//             the holder goes in the cancel lane too, and so does whoever it waits for itself (R9, G12), until
//             it unlocks, from its next enqueue on.
//
// event \ state     | free            | held, nobody waits | held, some wait
// ------------------|-----------------|--------------------|--------------------------------------------------
// Lock, TryLock     | held            | queued; fails      | queued; fails
// … by the holder   | –               | fatal; fails       | fatal; fails
// unlock            | –               | free               | handed to the first that is not cancelled, or free
// cancel of a waiter| –               | –                  | it leaves the queue; the order of the others stays
// destroyed         | ok (1)          | fatal, both named  | fatal, both named
//
// (1) Fatal before a wait that was passed over, since it was cancelled or lost a Select, has returned.
//
// Lifetime:   the mutex outlives its guards and waits.
// Threads:    any. A guard is unlocked by the task (or thread) that locked it, unless it was Detached. What happened
//             before an unlock happens before the return of the lock that follows.
#ifndef QUIESCE_RUNTIME_SYNC_MUTEX_H_
#define QUIESCE_RUNTIME_SYNC_MUTEX_H_

#include <optional>
#include <source_location>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/guard_of.h"
#include "quiesce/runtime/sync/holder.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

class Mutex;
namespace sync_internal {
class MutexRequest;
}

// Holds a Mutex until it is unlocked or goes out of scope. Not a permit: to drop it is to unlock.
class [[nodiscard]] MutexGuard {
 public:
  MutexGuard(MutexGuard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
  // Unlocks what it held before.
  MutexGuard& operator=(MutexGuard&& other) noexcept;
  ~MutexGuard();

  // Unlocks now. Fatal if it holds nothing. Does not suspend.
  void Unlock() &&;
  // From here on it belongs to no task: it may be moved to any task or thread, and be unlocked there. Its holder is
  // then unknown: nobody inherits a lane, and a second Lock of the same task is not found. Fatal if it holds nothing.
  void Detach();
  // False once it was unlocked or moved from.
  bool holds() const { return mutex_ != nullptr; }

 private:
  friend class Mutex;
  friend class sync_internal::MutexRequest;
  explicit MutexGuard(Mutex* mutex) : mutex_(mutex) {}
  Mutex* mutex_;
};

namespace sync_internal {

// A Lock that may have to wait.
class MutexRequest {
 public:
  using Guard = MutexGuard;
  static constexpr const char* kName = "Mutex::Lock";

  MutexRequest(Mutex* mutex, const std::source_location& where) : mutex_(mutex), request_(where) {}
  bool TryTake(Waiter&);
  Enqueued Queue(Waiter& waiter);
  MutexGuard MakeGuard(Waiter&) { return MutexGuard(mutex_); }
  void Withdraw(Waiter&);
  TaskCore* LendLane();

 private:
  Mutex* mutex_;
  LockRequest request_;
};

}  // namespace sync_internal

using LockWait = Wait<sync_internal::LockOp<sync_internal::MutexRequest>>;
template <class T>
using LockWaitOf = Wait<sync_internal::LockOpOf<sync_internal::MutexRequest, T>>;

template <class T>
using MutexGuardOf = GuardOf<MutexGuard, T>;

class Mutex {
 public:
  Mutex() = default;
  // Fatal if it is locked, or a wait that was passed over has yet to return: either would be left with nothing.
  ~Mutex();
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  // Locks it, for the calling task.
  // Returns  MutexGuard | Cancelled.
  // Suspends while it is held, FIFO; an ordinary wait. A checkpoint also when it is free.
  // Cancel   safe (G8): it is not locked; loses its place in line.
  // Errors   fatal, and both places are named, if the task holds it already.
  // Threads  any.
  LockWait Lock(const CxBase& cx, std::source_location where = std::source_location::current()) {
    return LockWait(cx, this, where);
  }

  // Locks it if it is free, for the calling task or thread. Never suspends; no checkpoint.
  std::optional<MutexGuard> TryLock(std::source_location where = std::source_location::current()) {
    if (!TryTake(sync_internal::ThisTask(), where)) return std::nullopt;
    return MutexGuard(this);
  }

  // Lock for a plain thread, which it blocks for at most `timeout`: then Cancelled (kDeadline). It stands in the same
  // queue. Fatal in a task, whose worker it would block.
  Outcome<MutexGuard> BlockingLock(absl::Duration timeout = absl::InfiniteDuration(),
                                   std::source_location where = std::source_location::current()) {
    return BlockThread<sync_internal::LockOp<sync_internal::MutexRequest>>(
        "Mutex::BlockingLock", "co_await OrReturn(mutex.Lock(cx))", timeout, this, where);
  }

 private:
  friend class MutexGuard;
  friend class sync_internal::MutexRequest;

  bool TryTake(TaskCore* task, const std::source_location& where) {
    PrimitiveLockHolder lock(lock_);
    if (!holder_.free()) return false;  // while it is free nobody waits
    holder_.Take(task, where);
    return true;
  }
  void Unlock() {
    PrimitiveLockHolder lock(lock_);
    holder_.CheckReleaser("a Mutex");
    holder_.Release();
    if (!queue_.empty()) [[unlikely]]
      HandOver();
  }
  [[gnu::noinline]] void HandOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void Detach();

  // Held over Waiter::Grant: before a run queue's.
  PrimitiveLock lock_{"Mutex"};
  sync_internal::LockHolder holder_ ABSL_GUARDED_BY(lock_);
  sync_internal::LockQueue queue_ ABSL_GUARDED_BY(lock_);
};

// A mutex and the data that it guards, which is reached through a guard only. Everything else is as Mutex says.
template <class T>
class MutexOf {
 public:
  // Makes the data from `args`.
  template <class... Args>
  explicit MutexOf(Args&&... args) : data_(std::forward<Args>(args)...) {}

  // As those of Mutex.
  LockWaitOf<T> Lock(const CxBase& cx,
                     std::source_location where = std::source_location::current()) {
    return LockWaitOf<T>(cx, &data_, &mutex_, where);
  }
  std::optional<MutexGuardOf<T>> TryLock(
      std::source_location where = std::source_location::current()) {
    std::optional<MutexGuard> guard = mutex_.TryLock(where);
    if (!guard.has_value()) return std::nullopt;
    return MutexGuardOf<T>(*std::move(guard), &data_);
  }
  Outcome<MutexGuardOf<T>> BlockingLock(
      absl::Duration timeout = absl::InfiniteDuration(),
      std::source_location where = std::source_location::current()) {
    return BlockThread<sync_internal::LockOpOf<sync_internal::MutexRequest, T>>(
        "MutexOf::BlockingLock", "co_await OrReturn(data.Lock(cx))", timeout, &data_, &mutex_,
        where);
  }

 private:
  T data_;
  Mutex mutex_;  // the first to go: fatal if it is locked
};

// --- inline ---

inline MutexGuard& MutexGuard::operator=(MutexGuard&& other) noexcept {
  if (this != &other) {
    if (mutex_ != nullptr) mutex_->Unlock();
    mutex_ = std::exchange(other.mutex_, nullptr);
  }
  return *this;
}
inline MutexGuard::~MutexGuard() {
  if (mutex_ != nullptr) mutex_->Unlock();
}
inline void MutexGuard::Unlock() && {
  if (mutex_ == nullptr) [[unlikely]]
    sync_internal::HoldsNothing("MutexGuard::Unlock");
  std::exchange(mutex_, nullptr)->Unlock();
}

namespace sync_internal {

inline bool MutexRequest::TryTake(Waiter& waiter) {
  return mutex_->TryTake(waiter.task(), request_.where);
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_MUTEX_H_

// semaphore.h: at most so many at once, in fair order, whatever each needs.
//
// Why:        a limit on connections, on memory or on requests under way, that a forgotten release, a cancel or a
//             task that asks for much cannot break.
// Example:    Semaphore uploads(8);
//             SemaphorePermit permit = co_await OrReturn(uploads.Acquire(cx));
//             co_await OrReturn(Upload(cx, file));                // a failure or a cancel gives the permit back
//             std::move(permit).Release();
// When not:   to guard data (Mutex, whose holder inherits the lane of those who drain; a permit's does not: there may
//             be many, and they travel), and to limit tasks (RegionOptions::WithMaxTasks).
// Invariants: (1) available() + what permits hold + what was granted to waits that have not gone on yet = what was
//             given by the constructor and AddPermits; (2) FIFO, also for those that want many: while the first in
//             the queue waits nobody passes it, so none starves; (3) a cancelled Acquire has taken nothing (G8);
//             (4) a permit is given back exactly once, and counted by its region until then (G7, R8).
//
// event \ state   | enough, nobody waits | too few, or some wait   | closed
// ----------------|----------------------|-------------------------|---------------------------------------
// Acquire         | permit               | queued                  | Error
// TryAcquire      | permit               | nothing                 | nothing
// permit ends     | available            | given to the first, and | available
//                 |                      | on as long as it lasts  |
// waiter cancelled| –                    | leaves the queue; what  | –
//                 |                      | it held up goes on      |
// Close           | -> closed            | all get the Error       | no effect
//
// Lifetime:   permits may outlive the Semaphore, waits may not: to destroy it while some wait is fatal.
// Threads:    any, and a permit ends on any. What happened before a permit ended happens before the return of the
//             Acquire that gets what it held.
#ifndef QUIESCE_RUNTIME_SYNC_SEMAPHORE_H_
#define QUIESCE_RUNTIME_SYNC_SEMAPHORE_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <source_location>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/ledger.h"
#include "quiesce/runtime/obligation/permit.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/leaving.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

class Semaphore;

namespace sync_internal {

[[noreturn, gnu::cold]] void BadCount(int64_t count, const std::source_location& where);

// One Acquire that waits: part of it, and so of the frame that awaits it.
struct AcquireRequest : ListHook {
  AcquireRequest(int64_t count, const std::source_location& where)
      : ListHook(kUnsetHook), count(count), where(where) {}
  const int64_t count;
  const std::source_location where;
  Waiter* waiter;  // set by Queue
  bool closed;     // set by Queue; granted, but by Close
};

// The state, which the Semaphore and its permits keep together.
class SemaphoreCore {
 public:
  explicit SemaphoreCore(int64_t permits) : available_(permits), total_(permits) {}
  SemaphoreCore(const SemaphoreCore&) = delete;
  SemaphoreCore& operator=(const SemaphoreCore&) = delete;

  // False if there are too few, somebody waits, or it is closed.
  bool TryTake(int64_t count) {
    BeforeUse(&lock_, ObjectUse::kChange);
    // Who has to wait would take the lock twice.
    if (special_.load(std::memory_order_relaxed)) return false;
    SilentLockHolder lock(lock_);
    if (special_.load(std::memory_order_relaxed) || available_ < count) return false;
    available_ -= count;
    return true;
  }
  // kDone: taken, or `request` says that it is closed.
  Enqueued Queue(AcquireRequest* request, Waiter& waiter);
  void Withdraw(AcquireRequest* request);
  // A permit for `count` has ended. The core may be gone then.
  void GiveBack(int64_t count) {
    lock_.Lock();
    available_ += count;
    if (special_.load(std::memory_order_relaxed)) [[unlikely]]
      return GiveBackSpecial();
    lock_.Unlock();
  }
  void AddPermits(int64_t count);
  int64_t available() const {
    PrimitiveLockHolder lock(lock_);
    return available_;
  }
  bool closed() const {
    PrimitiveLockHolder lock(lock_);
    return closed_;
  }
  void Close();
  // The Semaphore goes. Fatal while some wait.
  void Abandon();

 private:
  ~SemaphoreCore() = default;
  // Grants from the front, as long as it lasts.
  void Serve() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void GiveBackSpecial() ABSL_UNLOCK_FUNCTION(lock_);
  // After each change of what it is made of.
  void UpdateSpecial() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    special_.store(closed_ || abandoned_ || !queue_.empty(), std::memory_order_relaxed);
  }
  // Unlocks; deletes the core if the Semaphore is gone and all its permits are.
  void UnlockOrDelete() ABSL_UNLOCK_FUNCTION(lock_) {
    const bool last = abandoned_ && available_ == total_;
    lock_.Unlock();
    if (last) delete this;
  }

  // Held over Waiter::Grant: before a run queue's.
  mutable PrimitiveLock lock_{"Semaphore"};
  // Is there more to do than to count: it is closed, some wait, or the Semaphore is gone? Written under the lock, read
  // without: a hint, hence relaxed. What happened before the read is seen by coherence.
  std::atomic<bool> special_{false};
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  bool abandoned_ ABSL_GUARDED_BY(lock_) = false;  // the Semaphore is gone
  // The rest of total_ is held by permits, and by grants that have not become permits yet. Both keep the core.
  int64_t available_ ABSL_GUARDED_BY(lock_);
  int64_t total_ ABSL_GUARDED_BY(lock_);
  IntrusiveList<AcquireRequest> queue_ ABSL_GUARDED_BY(lock_);
  Leaving leaving_ ABSL_GUARDED_BY(lock_);
};

// What a SemaphorePermit holds.
struct SemaphoreSlot {
  static constexpr PermitKind kKind = {"SemaphorePermit", "Release"};
  SemaphoreSlot(SemaphoreCore* core, int64_t count) : core(core), count(count) {}
  void Abort() { core->GiveBack(count); }
  SemaphoreCore* core;
  int64_t count;
};

}  // namespace sync_internal

// Holds `count()` of a Semaphore until it is consumed: by Release, or by Complete or Abort, which do the same here.
class [[nodiscard]] SemaphorePermit : public Permit<sync_internal::SemaphoreSlot> {
 public:
  // For the Semaphore.
  [[gnu::always_inline]] SemaphorePermit(const CxBase& cx, sync_internal::SemaphoreSlot slot,
                                         const std::source_location& where)
      : Permit(cx, slot, where) {}
  SemaphorePermit(sync_internal::SemaphoreSlot slot, const std::source_location& where)
      : Permit(slot, where) {}

  // Gives back what it holds, to the first that waits. Also if the permit had been revoked. Does not suspend.
  [[gnu::always_inline]] void Release() && {
    std::move(*this).Act([](sync_internal::SemaphoreSlot& slot) { slot.Abort(); });
  }
  int64_t count() const { return slot().count; }
};

namespace sync_internal {

// What Acquire does, whoever owes the permit.
class AcquireOpBase {
 public:
  static constexpr const char* kName = "Semaphore::Acquire";
  static constexpr bool kStructural = false;
  using Value = SemaphorePermit;
  AcquireOpBase(SemaphoreCore* core, int64_t count, const std::source_location& where)
      : core_(core), request_(count, where) {
    if (count <= 0) [[unlikely]]
      BadCount(count, where);
  }
  void Withdraw(Waiter&) { core_->Withdraw(&request_); }

 protected:
  using Result = std::optional<Outcome<SemaphorePermit>>;
  SemaphoreSlot Slot() const { return SemaphoreSlot(core_, request_.count); }
  static absl::Status Closed();

  SemaphoreCore* core_;
  AcquireRequest request_;
};

template <class Owner>
class AcquireOp : public AcquireOpBase {
 public:
  using AcquireOpBase::AcquireOpBase;

  bool TryTake(Waiter&) { return core_->TryTake(request_.count); }
  bool Try(Waiter& waiter, Result& result) {
    request_.closed = false;
    if (!TryTake(waiter)) {
      if (!core_->closed()) return false;
      request_.closed = true;
    }
    return Harvest(waiter, result);
  }
  Enqueued Enqueue(Waiter& waiter, Result& result) {
    const Enqueued enqueued = core_->Queue(&request_, waiter);
    if (enqueued == Enqueued::kDone) Harvest(waiter, result);
    return enqueued;
  }
  bool Harvest(Waiter& waiter, Result& result) {
    if (request_.closed) [[unlikely]] {
      result.emplace(Closed());
    } else {
      result.emplace(MakeValue(waiter));
    }
    return true;
  }
  [[gnu::always_inline]] SemaphorePermit MakeValue(Waiter& waiter) {
    return Owner::MakePermit(waiter.cx(), Slot(), request_.where);
  }
};

// The region of a Cx owes it.
struct OwedByRegion {
  [[gnu::always_inline]] static SemaphorePermit MakePermit(const CxBase& cx, SemaphoreSlot slot,
                                                           const std::source_location& where) {
    return SemaphorePermit(cx, slot, where);
  }
};
// A plain thread's: no region owes it.
struct OwedByThread {
  static SemaphorePermit MakePermit(const CxBase&, SemaphoreSlot slot,
                                    const std::source_location& where) {
    return SemaphorePermit(slot, where);
  }
};

}  // namespace sync_internal

using AcquireWait = Wait<sync_internal::AcquireOp<sync_internal::OwedByRegion>>;

class Semaphore {
 public:
  // Fatal if `permits` is negative.
  explicit Semaphore(int64_t permits);
  // Fatal while some wait, or one that was passed over has yet to return. Permits may live on.
  ~Semaphore() { core_->Abandon(); }
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  // Takes `count`, for the region of `cx`. Fatal if `count` is not positive.
  // Returns  SemaphorePermit | Cancelled | Error(kFailedPrecondition) once it is closed.
  // Suspends until there are so many and it is its turn, FIFO; an ordinary wait. A checkpoint also when it need not.
  //          More than there are at all waits for AddPermits.
  // Cancel   safe (G8): takes nothing; loses its place in line, and those behind it that fit are served.
  // Owes     Release, Complete or Abort (G7), all of which give the permit back.
  // Threads  any.
  AcquireWait Acquire(const CxBase& cx, int64_t count = 1,
                      std::source_location where = std::source_location::current()) {
    return AcquireWait(cx, core_, count, where);
  }

  // The same without a wait: nothing if it would have to wait, or it is closed. Not a checkpoint.
  std::optional<SemaphorePermit> TryAcquire(
      const CxBase& cx, int64_t count = 1,
      std::source_location where = std::source_location::current()) {
    cx.Verify();
    if (!TryTake(count, where)) return std::nullopt;
    return SemaphorePermit(cx, sync_internal::SemaphoreSlot(core_, count), where);
  }

  // The same for a plain thread: no region owes its permit. BlockingAcquire blocks it for at most `timeout`, then
  // Cancelled (kDeadline); it stands in the same queue. Both are fatal in a task.
  std::optional<SemaphorePermit> TryAcquire(
      int64_t count = 1, std::source_location where = std::source_location::current());
  Outcome<SemaphorePermit> BlockingAcquire(
      int64_t count = 1, absl::Duration timeout = absl::InfiniteDuration(),
      std::source_location where = std::source_location::current()) {
    return BlockThread<sync_internal::AcquireOp<sync_internal::OwedByThread>>(
        "Semaphore::BlockingAcquire", "co_await OrReturn(semaphore.Acquire(cx))", timeout, core_,
        count, where);
  }

  // From now on there are `count` more. Fatal if it is negative. Threads: any.
  void AddPermits(int64_t count) { core_->AddPermits(count); }
  // What could be taken at this moment if nobody waited. A hint. Threads: any.
  int64_t available() const { return core_->available(); }

  // From now on nothing is given: who waits, and who comes, gets Error(kFailedPrecondition). Permits that are held
  // stay good. Again: no effect. Threads: any.
  void Close() { core_->Close(); }
  bool closed() const { return core_->closed(); }

 private:
  bool TryTake(int64_t count, const std::source_location& where) {
    if (count <= 0) [[unlikely]]
      sync_internal::BadCount(count, where);
    return core_->TryTake(count);
  }
  sync_internal::SemaphoreCore* const core_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_SEMAPHORE_H_

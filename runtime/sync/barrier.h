// barrier.h: n tasks wait for one another, and then go on together.
//
// Why:        phases of a computation, a start at the same moment. A barrier that counts arrivals alone hangs, or lets
//             the others through too early, once one of those who arrived is cancelled; here its arrival is taken
//             back.
// Example:    Barrier barrier(workers);
//             // in each worker:
//             for (Step& step : steps) {
//               Compute(step);
//               bool leader = co_await OrReturn(barrier.Arrive(cx));
//               if (leader) Publish(step);
//             }
// When not:   to wait until tasks have ended: a Region does that. To wait for something that happens once there is
//             Completion.
// Invariants: (1) an Arrive that yields Ok was one of exactly n that did so together, and exactly one of these n is
//             told that it is the leader: the last to come;
//             (2) a cancelled Arrive has not arrived (G8): nobody went on because of it;
//             (3) it can be used again at once: who arrives next belongs to the next n.
//
// event \ state | fewer than n-1 stand there   | n-1 stand there
// --------------|------------------------------|--------------------------------------------------------------
// Arrive        | stands there                 | all n go on, nobody stands there; if one of them is being
//               |                              | cancelled at this moment, it leaves and the others stand on
// cancel of one | it leaves                    | it leaves
// destroyed     | fatal unless nobody stands there, or has yet to go on or to leave
//
// One task    is one arrival: two arms of one Select at one barrier could only be woken by each other, in vain and for
//             ever. That is fatal, and both places are named.
// Lifetime:   it outlives every Arrive. So the last one that has gone on may destroy it, and not simply the leader.
// Threads:    any. What happened before the n calls of Arrive happens before the return of each of them.
#ifndef QUIESCE_RUNTIME_SYNC_BARRIER_H_
#define QUIESCE_RUNTIME_SYNC_BARRIER_H_

#include <cstdint>
#include <optional>
#include <source_location>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

class Barrier;

namespace sync_internal {

// One arrival that stands at a barrier. Guarded by the barrier's lock.
struct Arrival : ListHook {
  explicit Arrival(const std::source_location& where) : where(where) {}
  const std::source_location where;
  Waiter* waiter = nullptr;
  bool goes_on = false;  // woken as one of n; else it was woken in vain, and arrives again
};

class ArriveOp {
 public:
  using Value = bool;
  static constexpr const char* kName = "Barrier::Arrive";
  static constexpr bool kStructural = false;
  ArriveOp(Barrier* barrier, const std::source_location& where)
      : barrier_(barrier), arrival_(where) {}

  bool Try(Waiter&, std::optional<Outcome<bool>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<bool>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<bool>>& result);
  void Withdraw(Waiter&);

 private:
  Barrier* barrier_;
  Arrival arrival_;
};

}  // namespace sync_internal

using ArriveWait = Wait<sync_internal::ArriveOp>;

class Barrier {
 public:
  // For `parties` tasks or threads. Fatal if that is 0.
  explicit Barrier(uint32_t parties);
  // Fatal if somebody stands there, or has been told to go on, or cancelled, and has not yet done so.
  ~Barrier();
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;

  // Arrives, and waits until n have.
  // Returns  Ok(true) for one of the n, the leader; Ok(false) for the others; Cancelled.
  // Suspends until the last of n arrives. A checkpoint also for that one.
  // Cancel   safe (G8): the arrival is taken back, and another one is needed in its place.
  // Errors   fatal if the task stands there already, in another arm of its Select: at the latest when all have arrived.
  // Threads  any.
  ArriveWait Arrive(const CxBase& cx,
                    std::source_location where = std::source_location::current()) {
    return ArriveWait(cx, this, where);
  }

  // Arrive for a plain thread, which it blocks for at most `timeout`: then Cancelled (kDeadline). Fatal in a task, whose
  // worker it would block.
  Outcome<bool> BlockingArrive(absl::Duration timeout = absl::InfiniteDuration(),
                               std::source_location where = std::source_location::current()) {
    return BlockThread<sync_internal::ArriveOp>(
        "Barrier::BlockingArrive", "co_await OrReturn(barrier.Arrive(cx))", timeout, this, where);
  }

  uint32_t parties() const { return parties_; }
  // How many stand there. A hint: it may have changed by now.
  uint32_t standing() const {
    PrimitiveLockHolder lock(lock_);
    return standing_;
  }

 private:
  friend class sync_internal::ArriveOp;

  // Wakes those who stand there, into `woken`. False: one of them was being cancelled; it and those behind it have not
  // been woken. Whether they go on is told by Tell, before lock_ is let go: they ask under it.
  bool Wake(IntrusiveList<sync_internal::Arrival>& woken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  static void Tell(IntrusiveList<sync_internal::Arrival>& woken, bool go_on);
  // Fatal if one of `woken` is the same task's as `arrival`, which could not be granted beside it.
  static void CheckOneEach(const IntrusiveList<sync_internal::Arrival>& woken,
                           const sync_internal::Arrival& arrival);

  // Held over Waiter::Grant: before a run queue's.
  mutable PrimitiveLock lock_{"Barrier"};
  const uint32_t parties_;
  uint32_t standing_ ABSL_GUARDED_BY(lock_) = 0;  // in queue_
  // Taken out of queue_: woken, and have not asked yet whether they go on; or cancelled, and have not left.
  uint32_t leaving_ ABSL_GUARDED_BY(lock_) = 0;
  IntrusiveList<sync_internal::Arrival> queue_ ABSL_GUARDED_BY(lock_);
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_BARRIER_H_

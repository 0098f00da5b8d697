// ended_queue.h: tasks in the order in which they end, and the wait for the next. Internal to combinators.
//
// Why:        "whichever of these ends first" is what a combinator asks whose branches come and go. It is answered here,
//             once. (Those of a fixed set need not wait for it: branch_set.h.)
// Example:    queue.Add(&branch, cx.Spawn("branch", Fetch).Release());
//             Branch* first = co_await OrReturn(EndedWait(cx, &queue, 1));  // structural: cannot fail
// Invariants: (1) each added branch is queued exactly once, when its task has ended and its outcome can be
//                 taken, in the order of the ends;
//             (2) the end of a task costs O(1), however many are waited for;
//             (3) a branch leaves the queue when a wait yields it: one that was cancelled took none (G8).
// Lifetime:   a branch may go away while its task lives: it then forgets the task. The queue outlives
//             its branches.
// Threads:    tasks end on any; everything else by one task at a time.
#ifndef QUIESCE_RUNTIME_COMBINATOR_ENDED_QUEUE_H_
#define QUIESCE_RUNTIME_COMBINATOR_ENDED_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

class EndedQueue;

// One task that is waited for.
class Branch : public EndListener {
 public:
  Branch() : EndListener(&OnEnd) {}
  ~Branch() { ForgetSilently(); }
  Branch(const Branch&) = delete;
  Branch& operator=(const Branch&) = delete;

  // Null before Add and after it was forgotten.
  TaskCore* task() const { return task_; }
  // Lets the task go, which lives on if it has not ended. Not while it is queued, but at the queue's end. A value that
  // nobody took is dropped as by ~TaskHandle.
  void Forget();
  // The same, but what such a value owes is aborted: a combinator takes what it wants, and nobody else can (R8).
  void ForgetSilently();

  // For the owner: which one this is; and the next of those it does not use now.
  uint32_t index = 0;
  Branch* next = nullptr;  // in the queue: guarded by its lock

 private:
  friend class EndedQueue;
  static void OnEnd(EndListener* self, TaskCore* task);

  EndedQueue* queue_ = nullptr;
  TaskCore* task_ = nullptr;
};

class EndedQueue {
 public:
  EndedQueue() = default;
  EndedQueue(const EndedQueue&) = delete;
  EndedQueue& operator=(const EndedQueue&) = delete;

  // From here on `branch` stands for `task`, over which it takes one reference. It is queued when the
  // task ends; at once if it has, or was never admitted.
  void Add(Branch* branch, TaskCore* task) ABSL_LOCKS_EXCLUDED(lock_);
  // Are there so many? Takes no lock.
  bool Has(size_t count) const {
    lock_.BeforeLook();
    return Holds(count);
  }
  // Takes out the first that ended of those here; null if there is none. After a grant: whoever granted is
  // done with the waiter.
  Branch* Pop() ABSL_LOCKS_EXCLUDED(lock_);

  // For waits. False: there are `wanted` branches here. Fatal if another wait is queued.
  bool Enqueue(Waiter* waiter, size_t wanted) ABSL_LOCKS_EXCLUDED(lock_);
  void Withdraw(Waiter* waiter) ABSL_LOCKS_EXCLUDED(lock_);
  // Ends the wait, if there is one, although there are fewer.
  void Wake() ABSL_LOCKS_EXCLUDED(lock_);

 private:
  friend class Branch;
  bool Holds(size_t count) const { return count_.load(std::memory_order_relaxed) >= count; }
  void Push(Branch* branch) ABSL_LOCKS_EXCLUDED(lock_);

  PrimitiveLock lock_{
      "EndedQueue"};  // after a task's joiner lock, before a run queue's (inside Waiter::Grant)
  Branch* first_ ABSL_GUARDED_BY(lock_) = nullptr;
  Branch* last_ ABSL_GUARDED_BY(lock_) = nullptr;
  // How many: written under the lock. Relaxed: what a reader does about it takes the lock.
  std::atomic<size_t> count_{0};
  size_t wanted_ ABSL_GUARDED_BY(lock_) = 0;
  Waiter* waiter_ ABSL_GUARDED_BY(lock_) = nullptr;
};

// The structural wait until `wanted` branches are in the queue, or it is `until`. Takes out the first and yields
// it; null if none is there.
class EndedOp : public Timer {
 public:
  using Value = Branch*;
  static constexpr const char* kName = "Branch end";
  static constexpr bool kStructural = true;

  EndedOp(EndedQueue* queue, size_t wanted) : Timer(&OnFire), queue_(queue), wanted_(wanted) {
    when = Instant::InfiniteFuture();
  }
  EndedOp(EndedQueue* queue, size_t wanted, Clock* clock, Instant until) : EndedOp(queue, wanted) {
    clock_ = clock;
    when = until;
  }
  bool Try(Waiter&, std::optional<Outcome<Branch*>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Branch*>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<Branch*>>& result);
  void Withdraw(Waiter& waiter);

 private:
  static void OnFire(Timer* timer) { static_cast<EndedOp*>(timer)->queue_->Wake(); }
  void Disarm();

  EndedQueue* queue_;
  size_t wanted_;
  Clock* clock_ = nullptr;
};

using EndedWait = Wait<EndedOp>;

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_ENDED_QUEUE_H_

// task_handle.h: the other end of a spawn: wait for the task, or cancel it.
//
// Invariants: (1) letting a handle go changes nothing: the region still owns the task (G1); (2) a handle
//             keeps the outcome, not the task's frame: locals are destroyed at the task's end.
// Threads:    a handle is used by one thread at a time; Cancel may race with anything else.
#ifndef QUIESCE_RUNTIME_REGION_TASK_HANDLE_H_
#define QUIESCE_RUNTIME_REGION_TASK_HANDLE_H_

#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/string_view.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/outcome/cancel_reason.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

namespace task_handle_internal {

// Can a T hold a permit?
template <class T>
inline constexpr bool kMayOwe = !std::is_trivially_destructible_v<T>;
template <>
inline constexpr bool kMayOwe<void> = false;

inline bool Ended(const TaskCore* core) {
  BeforeUse(core, ObjectUse::kLook);
  return (core->joiner.load(std::memory_order_acquire) & TaskCore::kJoinDone) != 0;
}
Enqueued EnqueueJoiner(TaskCore* core, Waiter& waiter);
void WithdrawJoiner(TaskCore* core);
// Cancels it as `kind` with `message`, unless it has ended. The caller holds a reference.
void CancelTask(TaskCore* core, CancelKind kind, absl::string_view message, const Budget& drain);
[[noreturn]] void JoinedTwice();

// The outcome of the ended task, which stays in the block until the last reference goes.
template <class T>
Outcome<T> TakeResult(TaskCore* core) {
  if ((core->flags & kHasResult) == 0) JoinedTwice();
  core->flags &= static_cast<uint8_t>(~kHasResult);
  auto* stored = static_cast<Outcome<T>*>(core->payload());
  Outcome<T> outcome = std::move(*stored);
  stored->~Outcome<T>();
  return outcome;
}

template <class T>
class JoinOp {
 public:
  using Value = Outcome<T>;
  static constexpr const char* kName = "TaskHandle::Join";
  static constexpr bool kStructural = false;
  explicit JoinOp(TaskCore* core) : core_(core) {}

  bool TryTake(Waiter&) { return Ended(core_); }
  Value MakeValue(Waiter&) { return TakeResult<T>(core_); }

  bool Try(Waiter&, std::optional<Outcome<Value>>& result) {
    if (!Ended(core_)) return false;
    result.emplace(TakeResult<T>(core_));
    return true;
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Value>>&) {
    return EnqueueJoiner(core_, waiter);
  }
  bool Harvest(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    return Try(waiter, result);
  }
  void Withdraw(Waiter&) { WithdrawJoiner(core_); }

 private:
  TaskCore* core_;
};

}  // namespace task_handle_internal

template <class T>
using JoinWait = Wait<task_handle_internal::JoinOp<T>>;

template <class T>
class TaskHandle {
 public:
  // For the runtime: takes over one reference.
  explicit TaskHandle(TaskCore* core) : core_(core) {}
  TaskHandle(TaskHandle&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  TaskHandle& operator=(TaskHandle&& other) noexcept {
    if (this != &other) {
      LetGo();
      core_ = std::exchange(other.core_, nullptr);
    }
    return *this;
  }
  // What a value owes that is never taken is aborted if this is destroyed by a cancel, a failure or a panic, and if the
  // task or its region was cancelled when the task ended; else it is a leak (R8). T is complete here.
  ~TaskHandle() { LetGo(); }

  // Waits for the end of the task. The outer outcome is the joiner's own wait, the inner one is the
  // task's: co_await OrReturn(handle.Join(cx)) yields the task's Outcome<T>.
  // Returns  Outcome<Outcome<T>>: Ok(the task's outcome) | Cancelled.
  // Cancel   safe: an ordinary wait; the result stays and can be joined again.
  // Threads  one join at a time; a result is taken once (a second Join is fatal). The handle outlives
  //          the wait.
  JoinWait<T> Join(const CxBase& cx) { return JoinWait<T>(cx, core_); }

  // For the runtime, once the task has ended: its outcome.
  Outcome<T> TakeOutcome() && { return task_handle_internal::TakeResult<T>(core_); }
  // For the runtime: gives up the reference.
  TaskCore* Release() && { return std::exchange(core_, nullptr); }

  // Has the task ended?
  bool ended() const { return task_handle_internal::Ended(core_); }

  // Asks the task, and every region it has opened, to stop (R5); `drain` bounds the time to do so and
  // defaults to the region's. Monotone: calling again can only tighten. Does not wait. After the
  // task's end: no effect. Threads: any.
  void Cancel(const Budget& drain = Budget()) const {
    task_handle_internal::CancelTask(core_, CancelKind::kUser, "TaskHandle::Cancel", drain);
  }

 private:
  void LetGo() {
    if (core_ == nullptr) return;
    if constexpr (task_handle_internal::kMayOwe<T>) {
      if (EndingSilently()) core_->SetAbortsValue();
    }
    core_->Unref();
  }
  TaskCore* core_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_TASK_HANDLE_H_

#include "quiesce/runtime/combinator/ended_queue.h"

#include <utility>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

void Branch::OnEnd(EndListener* self, TaskCore*) {
  auto* branch = static_cast<Branch*>(self);
  branch->queue_->Push(branch);
}

void Branch::Forget() {
  if (task_ == nullptr) return;
  task_->Unlisten();
  if (EndingSilently()) task_->SetAbortsValue();
  std::exchange(task_, nullptr)->Unref();
}

void Branch::ForgetSilently() {
  const SilentEnd silent(true);
  Forget();
}

void EndedQueue::Add(Branch* branch, TaskCore* task) {
  branch->queue_ = this;
  branch->task_ = task;
  if (!task->Listen(branch)) Push(branch);
}

void EndedQueue::Push(Branch* branch) {
  branch->next = nullptr;
  PrimitiveLockHolder lock(lock_);
  (first_ == nullptr ? first_ : last_->next) = branch;
  last_ = branch;
  const size_t count = count_.load(std::memory_order_relaxed) + 1;
  count_.store(count, std::memory_order_relaxed);
  // The waiter may be gone as soon as the lock is free: Harvest takes it.
  if (waiter_ != nullptr && count >= wanted_) std::exchange(waiter_, nullptr)->Grant();
}

Branch* EndedQueue::Pop() {
  PrimitiveLockHolder lock(lock_);
  Branch* branch = first_;
  if (branch == nullptr) return nullptr;
  first_ = branch->next;
  count_.store(count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  return branch;
}

bool EndedQueue::Enqueue(Waiter* waiter, size_t wanted) {
  PrimitiveLockHolder lock(lock_);
  if (Holds(wanted)) return false;
  if (waiter_ != nullptr) {
    Fatal(
        "%s while another task waits for the same tasks: one task takes their outcomes, and "
        "shares them",
        waiter->ops()->name);
  }
  waiter_ = waiter;
  wanted_ = wanted;
  return true;
}

void EndedQueue::Withdraw(Waiter* waiter) {
  PrimitiveLockHolder lock(lock_);
  if (waiter_ == waiter) waiter_ = nullptr;
}

void EndedQueue::Wake() {
  PrimitiveLockHolder lock(lock_);
  if (waiter_ != nullptr) std::exchange(waiter_, nullptr)->Grant();
}

bool EndedOp::Try(Waiter&, std::optional<Outcome<Branch*>>& result) {
  const bool due = !when.is_infinite() && clock_->Now() >= when;
  if (!queue_->Has(wanted_) && !due) return false;
  result.emplace(queue_->Pop());
  return true;
}

Enqueued EndedOp::Enqueue(Waiter& waiter, std::optional<Outcome<Branch*>>&) {
  if (!queue_->Enqueue(&waiter, wanted_)) return Enqueued::kRetry;
  if (!when.is_infinite()) clock_->Arm(this);
  return Enqueued::kQueued;
}

bool EndedOp::Harvest(Waiter&, std::optional<Outcome<Branch*>>& result) {
  Disarm();
  result.emplace(queue_->Pop());
  return true;
}

void EndedOp::Withdraw(Waiter& waiter) {
  Disarm();
  queue_->Withdraw(&waiter);
}

void EndedOp::Disarm() {
  if (!when.is_infinite()) clock_->Disarm(this);
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

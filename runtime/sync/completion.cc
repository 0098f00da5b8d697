#include "quiesce/runtime/sync/completion.h"

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace completion_internal {

void Block::Publish() {
  PrimitiveLockHolder lock(lock_);
  word_.store(kDone, std::memory_order_release);
  // Refused: the wait was cancelled and leaves by itself; the value stays for the next one.
  if (waiter_ != nullptr) waiter_->Grant();
}

Enqueued Block::Enqueue(Waiter* waiter) {
  PrimitiveLockHolder lock(lock_);
  if (IsDone()) return waiter->MayTake() ? Enqueued::kDone : Enqueued::kLost;
  if (waiter_ != nullptr) {
    Fatal(
        "Completion::Wait by task %llu while task %llu waits: its value can be taken once. Let one "
        "task wait, and share what it got",
        static_cast<unsigned long long>(waiter->task()->id),
        static_cast<unsigned long long>(waiter_->task()->id));
  }
  waiter_ = waiter;
  return Enqueued::kQueued;
}

void Block::LeaveWait() {
  PrimitiveLockHolder lock(lock_);
  waiter_ = nullptr;
}

void Block::AwaitPublisher() { PrimitiveLockHolder lock(lock_); }

void Block::DropCompletion() {
  {
    PrimitiveLockHolder lock(lock_);
    if (waiter_ != nullptr) {
      Fatal(
          "a Completion was destroyed while task %s waits for it. Cancel that wait, or complete "
          "it, and let it return before the Completion goes out of scope",
          DescribeTask(*waiter_->task()).c_str());
    }
  }
  Unref();
}

absl::Status Block::Dropped() {
  return absl::AbortedError(
      "the Completion was not completed: the callback that was to do it was destroyed uncalled "
      "(its "
      "last Completer is gone)");
}

void Block::CompletedTwice() {
  Fatal(
      "a Completion was completed twice: its value may be taken already. Complete it in one place, "
      "or "
      "use TryComplete where several may and the first counts");
}

void Block::TakenTwice() {
  Fatal(
      "Completion: a second wait, after the value was taken: it is moved out by the first. Keep "
      "what "
      "the first wait returned, or use another Completion");
}

void MovedFrom() {
  Fatal("a Completer was used after it had been moved from. Use the one that it was moved to");
}

}  // namespace completion_internal
}  // namespace v0
}  // namespace quiesce

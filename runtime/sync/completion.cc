#include "quiesce/runtime/sync/completion.h"

#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {
namespace completion_internal {

void Block::Publish() {
  SpinLockHolder lock(lock_);
  word_.store(kDone, std::memory_order_release);
  Waiter* waiter = std::exchange(waiter_, nullptr);
  // Refused: the wait was cancelled and withdraws by itself; the value stays for the next one.
  if (waiter != nullptr) waiter->Grant();
}

Enqueued Block::Enqueue(Waiter* waiter) {
  SpinLockHolder lock(lock_);
  if (done()) return waiter->MayTake() ? Enqueued::kDone : Enqueued::kLost;
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

void Block::Withdraw() {
  SpinLockHolder lock(lock_);
  waiter_ = nullptr;
}

void Block::AwaitPublisher() { SpinLockHolder lock(lock_); }

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

}  // namespace completion_internal
}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/sync/io_permit.h"

#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/task/promise.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {

void IoBlock::Start() {
  SpinLockHolder lock(lock_);
  if (state_ == State::kInFlight) {
    Fatal(
        "IoOperation::Start while the operation is in flight: it has one buffer. Await Done first, "
        "or use another IoOperation");
  }
  if (state_ == State::kAnswered) {
    Fatal(
        "IoOperation::Start while the answer of the operation before has not been taken: await "
        "Done "
        "first");
  }
  state_ = State::kInFlight;
}

void IoBlock::CheckNotInFlight(const char* call) const {
  SpinLockHolder lock(lock_);
  if (state_ == State::kInFlight) {
    Fatal(
        "%s while the operation is in flight: the other side may be using the buffer. Await Done "
        "first",
        call);
  }
}

void IoBlock::DropOperation() {
  bool last;
  {
    SpinLockHolder lock(lock_);
    if (waiter_ != nullptr) {
      Fatal("an IoOperation was destroyed while task %s waits in Done",
            DescribeTask(*waiter_->task()).c_str());
    }
    operation_gone_ = true;
    last = state_ != State::kInFlight;
  }
  if (last) delete this;
}

void IoBlock::Answer(Outcome<size_t> answer) {
  bool last;
  {
    SpinLockHolder lock(lock_);
    answer_.emplace(std::move(answer));
    state_ = State::kAnswered;
    last = operation_gone_;
    // Refused: it is being cancelled, and looks for the answer again.
    if (waiter_ != nullptr) waiter_->Grant();
  }
  if (last) delete this;
}

void IoBlock::Take(std::optional<Outcome<size_t>>& result) {
  result.emplace(*std::move(answer_));
  answer_.reset();
  state_ = State::kIdle;
}

bool IoBlock::TryTake(bool granted, std::optional<Outcome<size_t>>& result) {
  SpinLockHolder lock(lock_);
  if (granted) waiter_ = nullptr;
  if (state_ == State::kIdle) {
    Fatal(
        "IoOperation::Done, but the operation was not started, or its answer has been taken: each "
        "Start has one Done");
  }
  if (state_ != State::kAnswered) return false;
  Take(result);
  return true;
}

Enqueued IoBlock::Enqueue(Waiter& waiter, std::optional<Outcome<size_t>>& result) {
  SpinLockHolder lock(lock_);
  if (state_ == State::kAnswered) {
    if (!waiter.MayTake()) return Enqueued::kLost;
    Take(result);
    return Enqueued::kDone;
  }
  if (state_ == State::kIdle) {
    Fatal(
        "IoOperation::Done by task %s: nothing is under way; another Done has taken the answer. "
        "Each "
        "Start has one Done",
        DescribeTask(*waiter.task()).c_str());
  }
  if (waiter_ != nullptr) {
    Fatal(
        "IoOperation::Done by task %s while task %s waits: the answer can be taken once. Let one "
        "task "
        "wait, and share what it got",
        DescribeTask(*waiter.task()).c_str(), DescribeTask(*waiter_->task()).c_str());
  }
  waiter_ = &waiter;
  return Enqueued::kQueued;
}

void IoBlock::Withdraw() {
  SpinLockHolder lock(lock_);
  waiter_ = nullptr;
}

Task<size_t> AwaitAnswer(CxBase cx, IoBlock* block, IoCancelHook* hook) {
  Outcome<size_t> ended = co_await Wait<IoAnswerOp<false>>(cx, block);
  if (!ended.is_cancelled()) co_return ended;  // the answer
  std::optional<Panic> panic;
  if (*hook != nullptr) panic = CallCatching(*hook);
  Outcome<size_t> answer = co_await Wait<IoAnswerOp<true>>(cx, block);
  if (panic.has_value()) co_return *std::move(panic);
  if (answer.is_error() && answer.error().code() == absl::StatusCode::kCancelled) co_return ended;
  co_return answer;
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

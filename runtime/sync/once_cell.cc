#include "quiesce/runtime/sync/once_cell.h"

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {

Turns::~Turns() {
  PrimitiveLockHolder lock(lock_);
  const State state = state_.load(std::memory_order_relaxed);
  if (state == kMaking) {
    Fatal(
        "a OnceCell was destroyed while task %s makes its value, for the Get at %s. Let it end "
        "before the "
        "cell goes out of scope",
        DescribeTask(*owner_).c_str(), DescribePlace(where_).c_str());
  }
  if (const Request* request = queue_.front()) {
    Fatal(
        "a OnceCell was destroyed while task %s waits for its value, at %s. Cancel it and let it "
        "end "
        "before the cell goes out of scope",
        DescribeTask(*request->waiter->task()).c_str(), DescribePlace(request->where).c_str());
  }
  leaving_.CheckNone("a OnceCell", "Get and Wait");
}

bool Turns::TryTake(TaskCore* task, const std::source_location& where) {
  PrimitiveLockHolder lock(lock_);
  if (state_.load(std::memory_order_relaxed) != kEmpty) return false;
  TakeFor(task, where);
  return true;
}

void Turns::TakeFor(TaskCore* task, const std::source_location& where) {
  state_.store(kMaking, std::memory_order_relaxed);
  owner_ = task;
  where_ = where;
  lends_ = hurried_ && task->MayBoost();
  if (lends_) [[unlikely]]
    owner_->Boost(1);
}

void Turns::EndTurn() {
  if (lends_) [[unlikely]]
    owner_->Boost(-1);
  lends_ = false;
  owner_ = nullptr;
}

void Turns::Set() {
  PrimitiveLockHolder lock(lock_);
  state_.store(kSet, std::memory_order_release);
  EndTurn();
  while (Request* request = queue_.PopFront()) {
    leaving_.Add();  // it reads the value first
    request->waiter->Grant();
  }
}

void Turns::Pass() {
  PrimitiveLockHolder lock(lock_);
  EndTurn();
  state_.store(kEmpty, std::memory_order_relaxed);
  for (Request* request = queue_.front(); request != nullptr;) {
    Request* const next = queue_.Next(request);
    if (request->makes) {
      queue_.Remove(request);
      leaving_.Add();
      // Before the grant, after which the request may be gone.
      TakeFor(request->waiter->task(), request->where);
      if (request->waiter->Grant()) return;
      EndTurn();
      state_.store(kEmpty, std::memory_order_relaxed);
    }
    request = next;
  }
}

void Turns::FatalRecursion(const char* call, const std::source_location& where) const {
  Fatal(
      "%s at %s asks for the value that task %s is making itself, for the Get at %s, and would "
      "wait for "
      "ever. Let the initialiser make it without asking the cell",
      call, DescribePlace(where).c_str(), DescribeTask(*owner_).c_str(),
      DescribePlace(where_).c_str());
}

void Turns::HasLeft() {
  PrimitiveLockHolder lock(lock_);
  leaving_.Remove();
}

bool TurnOp::Try(Waiter& waiter, std::optional<Outcome<bool>>& result) {
  if (turns_->set()) {
    result.emplace(false);
  } else if (request_.makes && turns_->TryTake(waiter.task(), request_.where)) {
    result.emplace(true);
  }
  return result.has_value();
}

Enqueued TurnOp::EnqueueAs(const char* call, Waiter& waiter, std::optional<Outcome<bool>>& result) {
  PrimitiveLockHolder lock(turns_->lock_);
  const Turns::State state = turns_->state_.load(std::memory_order_relaxed);
  if (state == Turns::kSet || (state == Turns::kEmpty && request_.makes)) {
    if (!waiter.MayTake()) return Enqueued::kLost;
    if (state == Turns::kEmpty) turns_->TakeFor(waiter.task(), request_.where);
    result.emplace(state == Turns::kEmpty);
    return Enqueued::kDone;
  }
  if (turns_->owner_ == waiter.task()) turns_->FatalRecursion(call, request_.where);
  request_.waiter = &waiter;
  turns_->queue_.PushBack(&request_);
  return Enqueued::kQueued;
}

void TurnOp::Withdraw(Waiter&) {
  PrimitiveLockHolder lock(turns_->lock_);
  if (request_.linked()) {
    turns_->queue_.Remove(&request_);
  } else {
    turns_->leaving_.Remove();
  }
}

TaskCore* TurnOp::LendLane() {
  SilentLockHolder lock(turns_->lock_);
  if (turns_->hurried_) return nullptr;
  turns_->hurried_ = true;
  TaskCore* const owner = turns_->owner_;
  turns_->lends_ = owner != nullptr && owner->MayBoost();
  return turns_->lends_ ? owner->LendTo() : nullptr;
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

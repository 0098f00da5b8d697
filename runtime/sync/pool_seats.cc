#include "quiesce/runtime/sync/pool_seats.h"

#include <utility>

#include "absl/status/status.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {
namespace {

absl::Status Closed() {
  return absl::FailedPreconditionError("Pool::Checkout: the pool is closed");
}

}  // namespace

PoolSeats::PoolSeats(uint32_t max_size, uint32_t max_idle)
    : max_size_(max_size), max_idle_(max_idle) {
  if (max_size == 0) {
    Fatal("Pool with WithMaxSize(0): every Checkout would wait for ever. Give it at least 1");
  }
}

PooledThing* PoolSeats::TakeSeat() {
  ++taken_;
  if (idle_ == nullptr) return nullptr;
  --idle_count_;
  return std::exchange(idle_, idle_->below);
}

bool PoolSeats::HandOver(PooledThing* thing) {
  while (Request* request = line_.PopFront()) {
    request->thing = thing;
    if (request->waiter->Grant()) return true;
    leaving_.Add();
  }
  return false;
}

bool PoolSeats::GiveBack(uint32_t seats) {
  taken_ -= seats;
  if (taken_ != 0) return false;
  while (Waiter* waiter = closers_.PopFront()) {
    if (!waiter->Grant()) leaving_.Add();
  }
  return pool_gone_;
}

PooledThing* PoolSeats::TryTakeIdle() {
  PrimitiveLockHolder lock(lock_);
  return idle_ == nullptr ? nullptr : TakeSeat();
}

void PoolSeats::Return(PooledThing* thing) {
  {
    PrimitiveLockHolder lock(lock_);
    if (!closed_) {
      if (HandOver(thing)) return;
      if (idle_count_ < max_idle_) {
        thing->below = std::exchange(idle_, thing);
        ++idle_count_;
        --taken_;
        return;
      }
    }
  }
  Discard(thing);
}

void PoolSeats::Discard(PooledThing* thing) {
  // First, so that there are never more than max_size.
  if (thing != nullptr) Destroy(thing);
  bool last;
  {
    PrimitiveLockHolder lock(lock_);
    last = !HandOver(nullptr) && GiveBack(1);
  }
  if (last) delete this;
}

void PoolSeats::Close() {
  PooledThing* idle;
  uint32_t seats;
  {
    PrimitiveLockHolder lock(lock_);
    closed_ = true;
    idle = std::exchange(idle_, nullptr);
    seats = std::exchange(idle_count_, 0);
    taken_ += seats;  // until they are destroyed: another who closes waits for that
    while (Request* request = line_.PopFront()) {
      request->closed = true;
      if (!request->waiter->Grant()) leaving_.Add();
    }
  }
  if (seats == 0) return;
  while (idle != nullptr) Destroy(std::exchange(idle, idle->below));
  PrimitiveLockHolder lock(lock_);
  GiveBack(seats);  // the Pool is there
}

void PoolSeats::DropPool() {
  {
    PrimitiveLockHolder lock(lock_);
    const Waiter* waiter = line_.empty() ? closers_.front() : line_.front()->waiter;
    if (waiter != nullptr) {
      Fatal(
          "a Pool was destroyed while task %s waits in %s. Close it, or cancel those who wait, and "
          "let "
          "them end, before it goes out of scope",
          DescribeTask(*waiter->task()).c_str(), waiter->ops()->name);
    }
    leaving_.CheckNone("a Pool", "Checkout and Close");
  }
  Close();
  bool last;
  {
    PrimitiveLockHolder lock(lock_);
    pool_gone_ = true;
    last = taken_ == 0;
  }
  if (last) delete this;
}

std::optional<Enqueued> SeatOp::TakeNow(Waiter* waiter,
                                        std::optional<Outcome<PooledThing*>>& result) {
  if (!seats_->closed_ && !seats_->SeatIsFree()) return std::nullopt;
  if (waiter != nullptr && !waiter->MayTake()) return Enqueued::kLost;
  if (seats_->closed_) {
    result.emplace(Closed());
  } else {
    result.emplace(seats_->TakeSeat());
  }
  return Enqueued::kDone;
}

bool SeatOp::Try(Waiter&, std::optional<Outcome<PooledThing*>>& result) {
  PrimitiveLockHolder lock(seats_->lock_);
  return TakeNow(nullptr, result).has_value();
}

Enqueued SeatOp::Enqueue(Waiter& waiter, std::optional<Outcome<PooledThing*>>& result) {
  PrimitiveLockHolder lock(seats_->lock_);
  if (const std::optional<Enqueued> now = TakeNow(&waiter, result)) return *now;
  request_.waiter = &waiter;
  seats_->line_.PushBack(&request_);
  return Enqueued::kQueued;
}

bool SeatOp::Harvest(Waiter&, std::optional<Outcome<PooledThing*>>& result) {
  if (request_.closed) {
    result.emplace(Closed());
  } else {
    result.emplace(request_.thing);
  }
  return true;
}

void SeatOp::Withdraw(Waiter&) {
  PrimitiveLockHolder lock(seats_->lock_);
  if (request_.linked()) {
    seats_->line_.Remove(&request_);
  } else {
    seats_->leaving_.Remove();
  }
}

bool PoolCloseOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  PrimitiveLockHolder lock(seats_->lock_);
  if (seats_->taken_ == 0) result.emplace(Ok());
  return result.has_value();
}

Enqueued PoolCloseOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
  PrimitiveLockHolder lock(seats_->lock_);
  if (seats_->taken_ != 0) {
    seats_->closers_.PushBack(&waiter);
    return Enqueued::kQueued;
  }
  if (!waiter.MayTake()) return Enqueued::kLost;
  result.emplace(Ok());
  return Enqueued::kDone;
}

void PoolCloseOp::Withdraw(Waiter& waiter) {
  PrimitiveLockHolder lock(seats_->lock_);
  if (seats_->closers_.Linked(&waiter)) {
    seats_->closers_.Remove(&waiter);
  } else {
    seats_->leaving_.Remove();
  }
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

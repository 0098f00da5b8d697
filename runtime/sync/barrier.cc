#include "quiesce/runtime/sync/barrier.h"

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

using sync_internal::Arrival;

Barrier::Barrier(uint32_t parties) : parties_(parties) {
  if (parties == 0) {
    Fatal("Barrier(0): a barrier for nobody. Give it the number of those who arrive");
  }
}

Barrier::~Barrier() {
  PrimitiveLockHolder lock(lock_);
  if (const Arrival* arrival = queue_.front()) {
    Fatal(
        "a Barrier for %u was destroyed while %u stand there, the first being task %s, which has "
        "arrived at %s. Let them be joined by the others, or cancel them and let them end, before "
        "it goes out of scope",
        parties_, standing_, DescribeTask(*arrival->waiter->task()).c_str(),
        DescribePlace(arrival->where).c_str());
  }
  if (leaving_ != 0) {
    Fatal(
        "a Barrier for %u was destroyed before %u of those that it has sent on, or that were "
        "cancelled, have gone on. Let every Arrive return before it goes out of scope",
        parties_, leaving_);
  }
}

bool Barrier::Wake(IntrusiveList<Arrival>& woken) {
  while (Arrival* arrival = queue_.PopFront()) {
    --standing_;
    ++leaving_;
    if (!arrival->waiter->Grant()) {
      CheckOneEach(woken, *arrival);
      return false;
    }
    woken.PushBack(arrival);
  }
  return true;
}

void Barrier::Tell(IntrusiveList<Arrival>& woken, bool go_on) {
  while (Arrival* arrival = woken.PopFront()) arrival->goes_on = go_on;
}

void Barrier::CheckOneEach(const IntrusiveList<Arrival>& woken, const Arrival& arrival) {
  const TaskCore* const task = arrival.waiter->task();
  for (const Arrival* other = woken.front(); other != nullptr; other = woken.Next(other)) {
    if (other->waiter->task() != task) continue;
    Fatal(
        "task %s arrives twice at one Barrier, at %s and at %s: it is one of those who meet there. "
        "Select one Arrive of it",
        DescribeTask(*task).c_str(), DescribePlace(other->where).c_str(),
        DescribePlace(arrival.where).c_str());
  }
}

namespace sync_internal {

bool ArriveOp::Try(Waiter&, std::optional<Outcome<bool>>& result) {
  PrimitiveLockHolder lock(barrier_->lock_);
  if (barrier_->standing_ + 1 < barrier_->parties_) return false;
  IntrusiveList<Arrival> woken;
  const bool all = barrier_->Wake(woken);
  Barrier::Tell(woken, all);
  if (all) result.emplace(true);
  return all;
}

Enqueued ArriveOp::Enqueue(Waiter& waiter, std::optional<Outcome<bool>>& result) {
  PrimitiveLockHolder lock(barrier_->lock_);
  arrival_.waiter = &waiter;
  if (barrier_->standing_ + 1 == barrier_->parties_) {
    // To take is a promise, so it is asked for only once the others are certain; and they go on only if it is granted.
    IntrusiveList<Arrival> woken;
    const bool all = barrier_->Wake(woken);
    const bool go_on = all && waiter.MayTake();
    if (all && !go_on) Barrier::CheckOneEach(woken, arrival_);
    Barrier::Tell(woken, go_on);
    if (go_on) {
      result.emplace(true);
      return Enqueued::kDone;
    }
    if (all) return Enqueued::kLost;
  }
  barrier_->queue_.PushBack(&arrival_);
  ++barrier_->standing_;
  return Enqueued::kQueued;
}

bool ArriveOp::Harvest(Waiter&, std::optional<Outcome<bool>>& result) {
  PrimitiveLockHolder lock(barrier_->lock_);
  --barrier_->leaving_;
  if (!arrival_.goes_on) return false;
  result.emplace(false);
  return true;
}

void ArriveOp::Withdraw(Waiter&) {
  PrimitiveLockHolder lock(barrier_->lock_);
  if (arrival_.linked()) {
    barrier_->queue_.Remove(&arrival_);
    --barrier_->standing_;
  } else {
    --barrier_->leaving_;  // it was passed over
  }
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/wait.h"

#include <sched.h>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/park_registry.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {

CancelReason Waiter::FailReason() { return cx_internal::FailReason(cx_, mode_); }

void Waiter::RegisterTask() { cx_.region()->parked->Add(task()); }

bool Waiter::RegisterObserved() {
  At(EventKind::kWaitArm);
  Register();
  At(EventKind::kWaitRegister);
  const bool fail = MustFail();
  if (!fail) At(EventKind::kWaitEnqueue);
  return fail;
}

bool Waiter::FailsToPark(uint32_t word) const {
  // A cancel of the task is in its word, and one of its region has left a mark there, if it did not find it parked.
  const uint64_t region =
      (word & task_word::kLook) == 0 ? 0 : cx_.region()->word.load(std::memory_order_acquire);
  return cx_internal::MustFail(mode_, region, word);
}

bool Waiter::CommitUnusualPark() {
  At(EventKind::kPark, mode_);
  TaskCore* task = this->task();
  const bool has_holder = ops_->lend_lane != nullptr;
  bool lent = false;
  // Who boosts or cancels this task after that finds it parked, and goes on from here itself.
  const auto lend = [&] {
    if (!has_holder || lent || task->LaneIn(*cx_.region()) != Lane::kCancel) [[likely]]
      return false;
    LendLane();
    return lent = true;
  };
  return word().Park(mode_, [this](uint32_t word) { return FailsToPark(word); }, lend);
}

void Waiter::AwaitUnpin() {
  while (word().IsPinned()) sched_yield();
}

void Waiter::LendLane() {
  if (ops_->lend_lane == nullptr) return;
  TaskCore* holder = ops_->lend_lane(this);
  while (holder != nullptr) {  // parked, and pinned: its wait stays where it is
    const Waiter* waiter = holder->waiter;
    TaskCore* next = waiter->ops_->lend_lane == nullptr
                         ? nullptr
                         : waiter->ops_->lend_lane(const_cast<Waiter*>(waiter));
    holder->Unpin();
    holder = next;
  }
}

bool Waiter::ClaimArm() { return word().Claim(arm_); }

void Waiter::CountUnusualResume() {
  TaskScope* task = cx_.task();
  if (task->masked_resumes > 0) --task->masked_resumes;
  RegionScope* region = cx_.region();
  if (region->metered.load(std::memory_order_relaxed)) region->ops->charge(region, task, 1, 0);
  At(EventKind::kResume);
}

void Waiter::AwaitedTwice() const {
  Fatal(
      "%s: this wait has been awaited before. A wait is made for one co_await: call %s again for "
      "another",
      ops_->name, ops_->name);
}

bool Waiter::Grant() {
  // The common case, which saves no registers.
  if (arm_ == 0 && !EventsWanted(EventKind::kWake) && word().TryGrant(mode_)) [[likely]] {
    task()->Post(*cx_.region(), Place::kNext);
    return true;
  }
  return GrantUnusual();
}

bool Waiter::GrantUnusual() {
  TaskCore* core = task();
  // If this is an arm, it is the Select that parks, or does not.
  const auto fails = [core](uint32_t word) { return core->waiter->FailsToPark(word); };
  switch (word().Grant(mode_, arm_, fails)) {
    case WaiterWord<>::Granted::kLost:
      return false;
    case WaiterWord<>::Granted::kArming:
      return true;
    case WaiterWord<>::Granted::kParked:
      break;
  }
  if (EventsWanted()) [[unlikely]]
    Emit(EventKind::kWake, cx_.region()->id, core->id, 0, ops_->name);
  core->Post(*cx_.region(), Place::kNext);
  return true;
}

}  // namespace v0
}  // namespace quiesce

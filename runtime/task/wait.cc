#include "quiesce/runtime/task/wait.h"

#include <sched.h>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/park_registry.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

using task_word::kArmShift;
using task_word::kStateMask;
using task_word::kWaitMask;

uint32_t StateOf(uint32_t word) { return word & kStateMask; }

}  // namespace

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
  bool look = false;
  uint32_t word = task->word.load(std::memory_order_acquire);
  while (StateOf(word) == task_word::kRunning) {
    if ((word & task_word::kLook) != 0) {
      // Out before the region is looked at, so that a sweep that comes after this changes the word again.
      word = task->word.fetch_and(~task_word::kLook, std::memory_order_acq_rel) & ~task_word::kLook;
      look = true;
      continue;
    }
    // Who boosts or cancels this task from now on finds it parked, and goes on from here itself.
    if (has_holder && !lent && task->LaneIn(*cx_.region()) == Lane::kCancel) [[unlikely]] {
      LendLane();
      lent = true;
      word = task->word.load(std::memory_order_acquire);
      continue;
    }
    const bool fail = FailsToPark(look ? word | task_word::kLook : word);
    const uint32_t wanted = word | (fail ? task_word::kDecidedCancelled : mode_);
    if (task->word.compare_exchange_weak(word, wanted, std::memory_order_acq_rel,
                                         std::memory_order_acquire)) {
      return !fail;
    }
  }
  return false;
}

void Waiter::AwaitUnpin() {
  while ((cx_.task()->word.load(std::memory_order_acquire) & task_word::kPinned) != 0) {
    sched_yield();
  }
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

bool Waiter::ClaimArm() {
  std::atomic<uint32_t>& word = cx_.task()->word;
  uint32_t now = word.load(std::memory_order_acquire);
  while (StateOf(now) == task_word::kRunning) {
    const uint32_t granted = (now & ~kWaitMask) | task_word::kGranted | uint32_t{arm_} << kArmShift;
    if (word.compare_exchange_weak(now, granted, std::memory_order_acq_rel,
                                   std::memory_order_acquire)) {
      return true;
    }
  }
  return false;
}

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
  std::atomic<uint32_t>& state = cx_.task()->word;
  uint32_t word = state.load(std::memory_order_relaxed);
  if (StateOf(word) == mode_ && arm_ == 0 && !EventsWanted(EventKind::kWake)) [[likely]] {
    const uint32_t granted = (word & ~kWaitMask) | task_word::kGranted;
    if (state.compare_exchange_strong(word, granted, std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) [[likely]] {
      task()->Post(*cx_.region(), Place::kNext);
      return true;
    }
  }
  return GrantUnusual();
}

bool Waiter::GrantUnusual() {
  TaskCore* core = task();
  uint32_t word = core->word.load(std::memory_order_acquire);
  while (true) {
    const uint32_t state = StateOf(word);
    const bool parked = state == mode_;
    if (!parked) {
      if (state != task_word::kRunning) return false;
      // On its way to park. A cancel that came before this grant has left a mark, and the commit will fail of it: that of
      // the waiter which parks, the Select's if this is one of its arms.
      if ((word & (task_word::kLook | task_word::kAnyCancel)) != 0 &&
          core->waiter->FailsToPark(word)) [[unlikely]] {
        return false;
      }
    }
    const uint32_t granted =
        (word & ~kWaitMask) | task_word::kGranted | uint32_t{arm_} << kArmShift;
    if (core->word.compare_exchange_weak(word, granted, std::memory_order_acq_rel,
                                         std::memory_order_acquire)) {
      if (parked) {
        if (EventsWanted()) [[unlikely]]
          Emit(EventKind::kWake, cx_.region()->id, core->id, 0, ops_->name);
        core->Post(*cx_.region(), Place::kNext);
      }
      return true;
    }
  }
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/wait.h"

#include <sched.h>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/park_registry.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

using task_word::kArmMask;
using task_word::kArmShift;
using task_word::kStateMask;
using task_word::kWaitMask;

uint32_t StateOf(uint32_t word) { return word & kStateMask; }

}  // namespace

CancelReason Waiter::FailReason() { return cx_internal::FailReason(cx_, mode_); }

void Waiter::Register() {
  At(EventKind::kWaitArm);
  parked_since_ns_ = cx_.services().clock->RecentNow().nanos();
  cx_.region()->parked->Add(this);
  At(EventKind::kWaitRegister);
}

void Waiter::Unregister() {
  cx_.region()->parked->Remove(this);
  // A sweep may have decided in between; the caller has another answer already, or asks again.
  cx_.task()->word.fetch_and(~kWaitMask, std::memory_order_acq_rel);
}

bool Waiter::CommitPark() {
  TaskScope* task = cx_.task();
  At(EventKind::kPark);
  const bool has_holder = ops_->lend_lane != nullptr;
  bool lent = false;
  uint32_t word = task->word.load(std::memory_order_acquire);
  while (StateOf(word) == task_word::kRunning) {
    // Who boosts or cancels this task from now on finds it parked, and goes on from here itself.
    if (has_holder && !lent && this->task()->LaneIn(*cx_.region()) == Lane::kCancel) [[unlikely]] {
      LendLane();
      lent = true;
      word = task->word.load(std::memory_order_acquire);
      continue;
    }
    // A cancel of this task, as opposed to its region, is only seen here: both are in one word.
    const bool fail = (word & task_word::kAnyCancel) != 0 && cx_internal::MustFail(mode_, 0, word);
    const uint32_t wanted = word | (fail ? task_word::kDecidedCancelled : mode_);
    if (task->word.compare_exchange_weak(word, wanted, std::memory_order_acq_rel,
                                         std::memory_order_acquire)) {
      if (!fail) return true;
      word = wanted;
    }
  }
  // A sweep that decides a wait which is not parked yet still has the waiter in its hands: this waits for
  // the shard's lock.
  if (StateOf(word) != task_word::kGranted) cx_.region()->parked->Remove(this);
  return false;
}

Waiter::Decision Waiter::TakeDecision() {
  TaskScope* task = cx_.task();
  const uint32_t state = StateOf(task->word.load(std::memory_order_acquire));
  // Who cancelled has also taken the waiter out of the registry; who granted has not.
  if (state == task_word::kGranted) cx_.region()->parked->Remove(this);
  At(EventKind::kWaitSettle, state != task_word::kGranted);
  return state == task_word::kGranted ? Decision::kGranted : Decision::kCancelled;
}

void Waiter::EndDecision() {
  std::atomic<uint32_t>& word = cx_.task()->word;
  if ((word.fetch_and(~kWaitMask, std::memory_order_acq_rel) & task_word::kPinned) != 0)
      [[unlikely]] {
    while ((word.load(std::memory_order_acquire) & task_word::kPinned) != 0) sched_yield();
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

void Waiter::CountResume() {
  TaskScope* task = cx_.task();
  task->ready_streak = 0;
  if (task->masked_resumes > 0) --task->masked_resumes;
  RegionScope* region = cx_.region();
  if (region->metered.load(std::memory_order_relaxed)) [[unlikely]] {
    region->ops->charge(region, task, 1, 0);
  }
  At(EventKind::kResume);
}

void Waiter::AwaitedTwice() const {
  Fatal(
      "%s: this wait has been awaited before. A wait is made for one co_await: call %s again for "
      "another",
      ops_->name, ops_->name);
}

void Waiter::PostSelf() { task()->Post(*cx_.region(), Place::kBack); }

bool Waiter::Grant() {
  TaskCore* core = task();
  uint32_t word = core->word.load(std::memory_order_acquire);
  while (true) {
    const uint32_t state = StateOf(word);
    const bool parked = state == mode_;
    if (!parked && state != task_word::kRunning) return false;
    const uint32_t granted =
        (word & ~kWaitMask) | task_word::kGranted | uint32_t{arm_} << kArmShift;
    if (core->word.compare_exchange_weak(word, granted, std::memory_order_acq_rel,
                                         std::memory_order_acquire)) {
      if (parked) {
        Emit(EventKind::kWake, cx_.region()->id, core->id, 0, ops_->name);
        core->Post(*cx_.region(), Place::kNext);
      }
      return true;
    }
  }
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/task_core.h"

#include <sched.h>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/task/promise.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

// The root coroutine has finished, or (root null) shall not start.
void EndTask(TaskCore* core, PromiseBase* root, PromiseBase* unwind_from, bool started,
             Outcome<void> not_started) {
  RegionScope* region = core->scope;
  const bool keep = (core->flags & kListened) != 0 || core->OutcomeIsShared();
  TaskEnd end = core->site->ops->finish(
      core, TaskFinish(root, unwind_from, started, std::move(not_started)), keep);
  Emit(EventKind::kTaskEnd, region->id, core->id, static_cast<uint64_t>(end.severity),
       core->site->name);
  cx_internal::SetCurrentTask(nullptr, nullptr);  // before the region may close: it runs no more
  region->ops->task_ended(core, &end.failure);
}

void Run(TaskCore* core, std::coroutine_handle<> coroutine, StepFrame& frame) {
  coroutine.resume();
  if (frame.root != nullptr) EndTask(core, frame.root, frame.unwind_from, true, Ok());
}

}  // namespace

void StartStep(Runnable* runnable) {
  auto* core = static_cast<TaskCore*>(runnable);
  RegionScope* region = core->scope;
  StepFrame frame;
  core->set_step_frame(&frame);
  core->step = &RunStep;
  cx_internal::SetCurrentTask(core, core->site);
  // A task that was cancelled before it started does not start, unless it was spawned for drain (R3).
  const uint8_t mode = (core->flags & kSpawnedInGrace)    ? task_word::kParkedGrace
                       : (core->flags & kSpawnedForDrain) ? task_word::kParkedDrain
                                                          : task_word::kParkedOrdinary;
  const bool refuse = cx_internal::MustFail(mode, region->word.load(std::memory_order_acquire),
                                            core->word.load(std::memory_order_acquire));
  PromiseBase* root = core->root;
  if (refuse) [[unlikely]] {
    EndTask(core, root, nullptr, false, region->ops->reason(region, core));
  } else {
    if (region->metered.load(std::memory_order_relaxed)) [[unlikely]] {
      region->ops->charge(region, core, 1, 0);
    }
    Emit(EventKind::kStart, region->id, core->id, 0, core->site->name);
    Run(core, root->handle(), frame);
  }
  cx_internal::SetCurrentTask(nullptr, nullptr);
}

void RunStep(Runnable* runnable) {
  auto* core = static_cast<TaskCore*>(runnable);
  StepFrame frame;
  core->set_step_frame(&frame);
  cx_internal::SetCurrentTask(core, core->site);
  Waiter* waiter = core->waiter;
  PromiseBase* coroutine = waiter->frame();
  switch (waiter->ops()->complete(waiter)) {
    case WakeAction::kResume:
      Run(core, coroutine->handle(), frame);
      break;
    case WakeAction::kUnwind:
      Run(core, PropagateFailure(coroutine), frame);
      break;
    case WakeAction::kParked:
      break;
  }
  cx_internal::SetCurrentTask(nullptr, nullptr);
}

Lane TaskCore::LaneIn(const RegionScope& waited_in) const {
  const uint32_t own = word.load(std::memory_order_relaxed);
  if ((waited_in.word.load(std::memory_order_relaxed) & region_word::kAnyCancel) != 0 ||
      (own & (task_word::kAnyCancel | task_word::kBoostMask)) != 0) {
    return Lane::kCancel;
  }
  return waited_in.deadline.is_infinite() ? Lane::kReady : Lane::kTimed;
}

void TaskCore::Post(const RegionScope& waited_in, Place place) {
  waited_in.services->scheduler->Post(this, LaneIn(waited_in), place, waited_in.deadline);
}

bool TaskCore::TryPin() {
  uint32_t now = word.load(std::memory_order_acquire);
  while (true) {
    switch (now & task_word::kStateMask) {
      case task_word::kParkedOrdinary:
      case task_word::kParkedDrain:
      case task_word::kParkedStructural:
      case task_word::kParkedGrace:
        break;
      default:
        return false;
    }
    // Pinned by another chain, which goes the same way.
    if ((now & task_word::kPinned) != 0) return false;
    if (word.compare_exchange_weak(now, now | task_word::kPinned, std::memory_order_acq_rel,
                                   std::memory_order_acquire)) {
      return true;
    }
  }
}

void TaskCore::LockJoiner() {
  for (int spins = 0;; ++spins) {
    const uintptr_t before = joiner.fetch_or(kJoinLocked, std::memory_order_acquire);
    if ((before & kJoinLocked) == 0) return;
    if (spins > 64) sched_yield();
  }
}

void TaskCore::PublishEnd() {
  static_assert(alignof(EndListener) > kJoinListener);
  const bool listened = (flags & kListened) != 0;
  // Nobody but the listener has the record: neither has the lock a use, nor the mark that it has ended.
  if (listened && refs.load(std::memory_order_acquire) == kLastRef) {
    auto* listener = reinterpret_cast<EndListener*>(joiner.load(std::memory_order_relaxed));
    listener->on_end(listener, this);
    return;
  }
  LockJoiner();
  const uintptr_t waiter = joiner.load(std::memory_order_relaxed) & ~kJoinLocked;
  // Under the lock, so that a joiner that is being cancelled cannot leave in between.
  if (listened || (waiter & kJoinListener) != 0) {
    auto* listener = reinterpret_cast<EndListener*>(waiter & ~kJoinListener);
    listener->on_end(listener, this);
  } else if (waiter != 0) {
    reinterpret_cast<Waiter*>(waiter)->Grant();
  }
  UnlockJoiner(kJoinDone);
}

bool TaskCore::Listen(EndListener* listener) {
  LockJoiner();
  const bool ended = (joiner.load(std::memory_order_relaxed) & kJoinDone) != 0;
  UnlockJoiner(ended ? kJoinDone : reinterpret_cast<uintptr_t>(listener) | kJoinListener);
  return !ended;
}

void TaskCore::Unlisten() {
  if ((joiner.load(std::memory_order_acquire) & kJoinDone) != 0) return;
  LockJoiner();
  UnlockJoiner(joiner.load(std::memory_order_relaxed) & kJoinDone);
}

void TaskCore::DropValue() {
  const SilentEnd silent(AbortsValue());
  site->ops->destroy_result(this);
}

void TaskCore::Free() {
  const size_t size = block_size();
  this->~TaskCore();
  SlabFree(this, size);
}

SpawnSite* SiteFor(const char* name, const char* file, uint32_t line, const TaskOps* ops) {
  // Sites are few and live for ever: a chained table with a lock only for the first use of each.
  static SpinLock lock;
  static SpawnSite* table[256] = {};
  const uintptr_t hash = (reinterpret_cast<uintptr_t>(name) ^ reinterpret_cast<uintptr_t>(file) ^
                          reinterpret_cast<uintptr_t>(ops) ^ line) *
                         0x9e3779b97f4a7c15u;
  SpawnSite*& bucket = table[hash >> 56];
  SpinLockHolder hold(lock);
  for (SpawnSite* site = bucket; site != nullptr; site = site->next) {
    if (site->name == name && site->file == file && site->line == line && site->ops == ops) {
      return site;
    }
  }
  auto* site = new SpawnSite(name, file, line, ops, bucket);
  bucket = site;
  return site;
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/task_core.h"

#include <sched.h>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/instrumentation.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/cx/running_task.h"
#include "quiesce/runtime/task/promise.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace {

// The root coroutine has finished, or shall not start.
[[gnu::noinline]] void EndTask(TaskCore* core, const TaskFinish& how) {
  RegionScope* region = core->scope;
  const bool keep = (core->flags & kListened) != 0 || core->OutcomeIsShared();
  void* frame = how.root->handle().address();
  const auto offset = reinterpret_cast<uintptr_t>(frame) - reinterpret_cast<uintptr_t>(core);
  if (offset < core->block_size()) [[likely]]
    ExpectEmbeddedFrame(frame);
  TaskEnd end = core->site->ops->finish(core, how, keep);
  if (EventsWanted()) [[unlikely]] {
    Emit(EventKind::kTaskEnd, region->id, core->id, static_cast<uint64_t>(end.severity),
         core->site->name);
  }
  cx_internal::RunningTask::End();  // before the region may close: it runs no more
  region->ops->task_ended(core, &end.failure);
}

inline void Run(TaskCore* core, std::coroutine_handle<> coroutine, StepFrame& frame) {
  coroutine.resume();
  if (frame.finish.root != nullptr) EndTask(core, frame.finish);
}

[[gnu::noinline, gnu::cold]] bool MustNotStart(const TaskCore* core) {
  const uint8_t mode = (core->flags & kSpawnedInGrace)    ? task_word::kParkedGrace
                       : (core->flags & kSpawnedForDrain) ? task_word::kParkedDrain
                                                          : task_word::kParkedOrdinary;
  return cx_internal::MustFail(mode, core->scope->word.load(std::memory_order_acquire),
                               core->word.load(std::memory_order_acquire));
}

}  // namespace

void StartStep(Runnable* runnable) {
  auto* core = static_cast<TaskCore*>(runnable);
  RegionScope* region = core->scope;
  StepFrame frame;
  core->set_step_frame(&frame);
  core->step = &RunStep;
  const cx_internal::RunningTask running(core, core->site);
  // A task that was cancelled before it started does not start, unless it was spawned for drain (R3).
  const uint64_t cancelled =
      (region->word.load(std::memory_order_acquire) & region_word::kAnyCancel) |
      (core->word.load(std::memory_order_acquire) & task_word::kAnyCancel);
  PromiseBase* root = core->root;
  if (cancelled != 0 && MustNotStart(core)) [[unlikely]] {
    const Outcome<void> reason = region->ops->reason(region, core);
    EndTask(core, TaskFinish(root, nullptr, &reason));
    return;
  }
  if (region->metered.load(std::memory_order_relaxed)) [[unlikely]] {
    region->ops->charge(region, core, 1, 0);
  }
  if (EventsWanted()) [[unlikely]]
    Emit(EventKind::kStart, region->id, core->id, 0, core->site->name);
  Run(core, root->handle(), frame);
}

void RunStep(Runnable* runnable) {
  auto* core = static_cast<TaskCore*>(runnable);
  StepFrame frame;
  core->set_step_frame(&frame);
  const cx_internal::RunningTask running(core, core->site);
  Waiter* waiter = core->waiter;
  PromiseBase* waiting = waiter->frame();
  const WakeAction action = waiter->ops()->complete(waiter);
  if (action == WakeAction::kParked) return;
  Run(core, action == WakeAction::kResume ? waiting->handle() : PropagateFailure(waiting), frame);
}

bool TaskCore::TryPin() { return WaiterWord(word).TryPin(); }

bool TaskCore::PinIfParked() {
  while (!TryPin()) {
    if (!WaiterWord<>::IsParked(word.load(std::memory_order_acquire))) return false;
    sched_yield();  // pinned by another
  }
  return true;
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
  BeforeUse(this, ObjectUse::kChange);
  LockJoiner();
  const bool ended = (joiner.load(std::memory_order_relaxed) & kJoinDone) != 0;
  UnlockJoiner(ended ? kJoinDone : reinterpret_cast<uintptr_t>(listener) | kJoinListener);
  return !ended;
}

void TaskCore::Unlisten() {
  BeforeUse(this, ObjectUse::kChange);
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

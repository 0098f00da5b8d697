#include "quiesce/runtime/cx/cx.h"

#include <atomic>

#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/cx/running_task.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

namespace {

// Every thread that has run a task, while it lives. Reports of other threads read it.
struct RunningThread : ListHook {
  RunningThread();
  ~RunningThread();
  cx_internal::RunningSlot* const slot;
};

struct RunningThreads {
  SpinLock lock;
  IntrusiveList<RunningThread> threads;
};
RunningThreads& AllThreads() {
  static auto* all = new RunningThreads();
  return *all;
}

constinit thread_local bool thread_ends = false;

RunningThread::RunningThread() : slot(&cx_internal::running_slot) {
  slot->listed = true;
  SpinLockHolder lock(AllThreads().lock);
  AllThreads().threads.PushBack(this);
}
RunningThread::~RunningThread() {
  slot->listed = false;
  thread_ends = true;
  SpinLockHolder lock(AllThreads().lock);
  AllThreads().threads.Remove(this);
}

// A stale Cx may point into memory that has been given back: slab memory stays readable, and what is
// read is only compared.
#if defined(__clang__) || defined(__GNUC__)
[[gnu::no_sanitize_address, gnu::noinline]]
#endif
uint64_t IdOfMaybeEnded(const TaskScope* task) {
  return *const_cast<const volatile uint64_t*>(&task->id);
}

}  // namespace

namespace cx_internal {

QUIESCE_THREAD_WORD_USED constinit thread_local RunningSlot running_slot;

void ListThisThread() {
  if (thread_ends) return;
  thread_local RunningThread own;
}
#ifndef QUIESCE_READ_THREAD_WORD
[[gnu::noinline]] TaskScope* CurrentTask() { return running_slot.task; }
#endif
[[gnu::noinline]] void SetCurrentTask(TaskScope* task, const SpawnSite* site) {
  running_slot.Set(task, site);
}
void VisitRunningTasks(void (*visit)(void*, const SpawnSite*, uint64_t), void* argument) {
  RunningThreads& all = AllThreads();
  SpinLockHolder lock(all.lock);
  for (RunningThread* thread = all.threads.front(); thread != nullptr;
       thread = all.threads.Next(thread)) {
    const SpawnSite* site = thread->slot->site.load(std::memory_order_acquire);
    if (site != nullptr) visit(argument, site, thread->slot->id.load(std::memory_order_relaxed));
  }
}

uint8_t FlagMode(const CxBase& cx) {
  if (cx.flags() & kGraceTime) return task_word::kParkedGrace;
  if (cx.flags() & kForDrain) return task_word::kParkedDrain;
  return task_word::kParkedOrdinary;
}

uint8_t UnusualWaitMode(const CxBase& cx) {
  const uint8_t mode = FlagMode(cx);
  const bool masked = mode == task_word::kParkedOrdinary && cx.task()->masked_resumes > 0;
  return masked ? task_word::kParkedDrain : mode;
}

bool MustFail(uint8_t mode, uint64_t region, uint32_t task) {
  switch (mode) {
    case task_word::kParkedStructural:
      return false;
    case task_word::kParkedGrace:
      return (region & region_word::kGraceSpent) != 0 || (task & task_word::kGraceSpent) != 0;
    case task_word::kParkedDrain:
      // The grace of a region that ends by itself is spent without there having been a drain.
      return (region & region_word::kAnySpent) != 0 || (task & task_word::kAnySpent) != 0;
    default:
      return (region & region_word::kAnyCancel) != 0 || (task & task_word::kAnyCancel) != 0;
  }
}

bool MustFailNow(const CxBase& cx, uint8_t mode) {
  return MustFail(mode, cx.region()->word.load(std::memory_order_acquire),
                  cx.task()->word.load(std::memory_order_acquire));
}

CancelReason FailReason(const CxBase& cx, uint8_t mode) {
  RegionScope* region = cx.region();
  if (mode != task_word::kParkedOrdinary) region->ops->cut_off(region, cx.task());
  return region->ops->reason(region, cx.task());
}

}  // namespace cx_internal

CancelReason CxBase::cancel_reason() const {
  Verify();
  return region()->ops->reason(region(), task_);
}

Outcome<void> CxBase::TryCheckpoint() const {
  Verify();
  if (!AnyCancel()) [[likely]]
    return Ok();
  const uint8_t mode = cx_internal::WaitMode(*this, /*structural=*/false);
  if (!cx_internal::MustFailNow(*this, mode)) return Ok();
  return cx_internal::FailReason(*this, mode);
}

void CxBase::Charge(int64_t cost) const {
  Verify();
  if (cost < 0) {
    Fatal("Cx::Charge(%lld): a charge cannot be negative; a quota is never given back",
          static_cast<long long>(cost));
  }
  if (region()->metered.load(std::memory_order_relaxed))
    region()->ops->charge(region(), task_, 0, cost);
}

void CxBase::VerifySlow() const {
  if (DebugChecks()) CheckOwner();
  if (EventsWanted(EventKind::kScopeLook)) Emit(EventKind::kScopeLook, region()->id, task_->id);
}

void CxBase::CheckOwner() const {
  const uint64_t id = IdOfMaybeEnded(task_);
  if (static_cast<uint32_t>(id) != generation_) {
    Fatal(
        "a Cx was used after the end of its task (task %u): a Cx lives as long as the task it was "
        "given to. For later or foreign use keep a RegionRef (Cx::Ref)",
        generation_);
  }
  const TaskScope* current = cx_internal::CurrentTask();
  if (current != task_) {
    Fatal(
        "the Cx of task %u was used by %s %llu: a Cx belongs to one task. Use the Cx that the "
        "spawned callable gets as its first parameter; other threads use a RegionRef (Cx::Ref)",
        generation_, current == nullptr ? "a thread that runs no task, task" : "task",
        current == nullptr ? 0ull : static_cast<unsigned long long>(current->id));
  }
}

Instant CxBase::Now() const {
  Verify();
  return services().clock->Now();
}

Masked::Masked(const CxBase& cx, int resumes) : task_(cx.task()), outer_(task_->masked_resumes) {
  if (resumes <= 0 || resumes > 65535) {
    Fatal(
        "Masked(cx, %d): the number of resumes must be between 1 and 65535; a mask without a bound "
        "could hold up a drain for ever",
        resumes);
  }
  cx.Verify();
  start_ = static_cast<uint16_t>(resumes) > outer_ ? static_cast<uint16_t>(resumes) : outer_;
  task_->masked_resumes = start_;
}

Masked::~Masked() {
  const uint16_t used = static_cast<uint16_t>(start_ - task_->masked_resumes);
  task_->masked_resumes = outer_ > used ? static_cast<uint16_t>(outer_ - used) : uint16_t{0};
}

}  // namespace v0
}  // namespace quiesce

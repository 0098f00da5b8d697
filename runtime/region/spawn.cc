#include "quiesce/runtime/region/spawn.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/region/batched_id.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/task/frame_arena.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace spawn_internal {
namespace {

struct TaskIds;

// While the callable makes the coroutine, in a step of the spawner or on a foreign thread, the new task's
// Cx may be used (R7). Does nothing where there are no debug checks.
class ActingAs {
 public:
  explicit ActingAs(TaskCore* core) {
    if (DebugChecks()) [[unlikely]]
      Begin(core);
  }
  ~ActingAs() {
    if (acting_) [[unlikely]]
      End();
  }
  ActingAs(const ActingAs&) = delete;
  ActingAs& operator=(const ActingAs&) = delete;

 private:
  void Begin(TaskCore* core) {
    acting_ = true;
    before_ = cx_internal::CurrentTask();
    cx_internal::SetCurrentTask(core, core->site);
  }
  void End() {
    cx_internal::SetCurrentTask(
        before_, before_ == nullptr ? nullptr : static_cast<TaskCore*>(before_)->site);
  }
  bool acting_ = false;
  TaskScope* before_ = nullptr;
};

}  // namespace

void AbortValueIfCancelled(TaskCore* core) {
  const uint64_t cancelled =
      (core->scope->word.load(std::memory_order_relaxed) & region_word::kAnyCancel) |
      (core->word.load(std::memory_order_relaxed) & task_word::kAnyCancel);
  if (cancelled != 0) core->SetAbortsValue();
}

TaskEnd FinishFailed(TaskCore* core, const TaskFinish& how, void (*destroy_closure)(TaskCore*),
                     void (*keep_failure)(TaskCore*, Outcome<void>)) {
  Outcome<void> outcome =
      how.not_started == nullptr ? std::move(how.root->failure()) : *how.not_started;
  const Severity severity = outcome.severity();
  const SilentEnd silent(severity >= Severity::kCancelled);
  DestroyChain(how.unwind_from, how.root);
  {
    const bool by_another = how.unwind_from != nullptr && how.unwind_from != how.root;
    const SilentEnd silent_closure(by_another);
    destroy_closure(core);
  }
  if (keep_failure == nullptr) return TaskEnd(severity, std::move(outcome));
  TaskEnd end(severity, Ok());
  if (!core->scope->joins_only_panics || severity == Severity::kPanicked) end.failure = outcome;
  keep_failure(core, std::move(outcome));
  return end;
}

namespace {

// Inlined always, as Start: they are what each spawn costs.
[[gnu::always_inline]] inline TaskCore* MakeRecord(SpawnRamp& ramp, RegionScope* region,
                                                   uint32_t cx_flags) {
  auto* core = new (SlabAllocate(ramp.size)) TaskCore(&StartStep);
  core->id = NextBatchedId<TaskIds, 4096>();
  core->site = ramp.site;
  core->scope = region;
  core->block_units = static_cast<uint16_t>(ramp.size / 16);
  static_assert(uint32_t{kSpawnedForDrain} == kForDrain && uint32_t{kSpawnedInGrace} == kGraceTime);
  core->flags = static_cast<uint8_t>(cx_flags & (kForDrain | kGraceTime));
  ramp.core = core;
  return core;
}

// The task's coroutine, and off it goes. `spawner` is null from outside.
[[gnu::always_inline]] inline Launched Start(SpawnRamp& ramp, const CxBase* spawner) {
  TaskCore* core = ramp.core;
  char* embedded = static_cast<char*>(core->payload()) + ramp.frame_offset;
  FrameArena arena(embedded, reinterpret_cast<char*>(core) + ramp.size - embedded);
  {
    const ActingAs acting_as(core);
    std::optional<Panic> panic = CallCatching(
        [](void* given) { static_cast<SpawnRamp*>(given)->make(static_cast<SpawnRamp*>(given)); },
        &ramp);
    if (panic.has_value()) [[unlikely]]
      ramp.root = ramp.site->ops->panicked(*std::move(panic));
  }
  if (!ramp.has_closure) [[unlikely]]
    core->flags |= kNoClosure;
  PromiseBase* root = ramp.root;
  core->root = root;
  root->set_task(core);
  if (arena.taken() != nullptr && root->handle().address() != embedded) [[unlikely]] {
    // The callable made another coroutine first, whose frame now lives in this block.
    core->flags |= kAdoptsForeignFrame;
    core->RefRecord();
  }
  const auto wanted = static_cast<uint32_t>(arena.wanted());
  if (wanted > ramp.site->frame_size.load(std::memory_order_relaxed) && wanted <= kMaxSlabBlock)
      [[unlikely]] {
    ramp.site->frame_size.store(wanted, std::memory_order_relaxed);
  }
  if (EventsWanted()) [[unlikely]] {
    ObjectMade(core, ramp.site->name);
    Emit(EventKind::kSpawn, core->scope->id, core->id, spawner == nullptr ? 0 : spawner->task()->id,
         ramp.site->name);
  }
  core->Post(*core->scope, Place::kBack);
  return {core, nullptr};
}

// Once it has been asked in full whether the task may be.
[[gnu::noinline]] Launched LaunchIf(Outcome<void> admitted, SpawnRamp& ramp, RegionScope* region,
                                    uint32_t cx_flags, const CxBase* spawner,
                                    EndListener* listener) {
  TaskCore* core = MakeRecord(ramp, region, cx_flags);
  if (!admitted.ok()) return {core, new Outcome<void>(std::move(admitted))};
  if (listener != nullptr) core->ListenAlways(listener);
  return Start(ramp, spawner);
}

}  // namespace

[[gnu::noinline]] Launched Launch(SpawnRamp& ramp, const CxBase& spawner, EndListener* listener) {
  RegionScope* region = spawner.region();
  if (!CoreOf(region)->TryAdmit(spawner)) [[unlikely]] {
    return LaunchIf(CoreOf(region)->AdmitFromInside(spawner, ramp.size, /*reserved=*/false), ramp,
                    region, spawner.flags(), &spawner, listener);
  }
  TaskCore* core = MakeRecord(ramp, region, spawner.flags());
  if (listener != nullptr) core->ListenAlways(listener);
  return Start(ramp, &spawner);
}

Launched LaunchReserved(SpawnRamp& ramp, const CxBase& spawner) {
  RegionScope* region = spawner.region();
  return LaunchIf(CoreOf(region)->AdmitFromInside(spawner, ramp.size, /*reserved=*/true), ramp,
                  region, spawner.flags(), &spawner, /*listener=*/nullptr);
}

Launched LaunchFromOutside(SpawnRamp& ramp, RegionScope* region, uint32_t cx_flags) {
  return LaunchIf(CoreOf(region)->AdmitFromOutside(ramp.size, (cx_flags & kForDrain) != 0), ramp,
                  region, cx_flags, /*spawner=*/nullptr, /*listener=*/nullptr);
}

void MarkRefused(TaskCore* core) {
  ObjectMade(core, core->site->name);
  core->flags |= kHasResult;
  core->word.store(task_word::kEnded, std::memory_order_relaxed);
  core->joiner.store(TaskCore::kJoinDone, std::memory_order_relaxed);
  core->refs.store(TaskCore::kLastRef, std::memory_order_relaxed);
}

AdmissionOp::AdmissionOp(RegionScope* region, uint32_t size) : region_(region), request_(size) {}

bool AdmissionOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  CoreOf(region_)->BeforeRequest(ScopeRequest::kAdmit);
  if (!CoreOf(region_)->CanEverFit(request_.size)) {
    result.emplace(CoreOf(region_)->Full());
    return true;
  }
  if (!CoreOf(region_)->TryReserveAdmission(request_.size)) return false;
  result.emplace(Ok());
  return true;
}

Enqueued AdmissionOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
  request_.waiter = &waiter;
  const Enqueued enqueued = CoreOf(region_)->QueueForAdmission(&request_);
  if (enqueued == Enqueued::kDone) result.emplace(Ok());
  return enqueued;
}

bool AdmissionOp::Harvest(Waiter&, std::optional<Outcome<void>>& result) {
  result.emplace(Ok());
  return true;
}

void AdmissionOp::Withdraw(Waiter&) {
  CoreOf(region_)->BeforeRequest(ScopeRequest::kAdmit);
  CoreOf(region_)->LeaveAdmissionQueue(&request_);
}

absl::Status CheckMayDefer(const CxBase& cx, const SpawnName& name) {
  const uint64_t region = cx.region()->word.load(std::memory_order_relaxed);
  if ((cx.flags() & kNoSpawn) == 0 && (region & region_word::kFinalizing) == 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("Defer('", name.name, "') at ", name.file, ":", name.line,
                   ": a finalizer cannot register another for the same region; do the work in this "
                   "finalizer, or open a region in it"));
}

void AddFinalizer(const CxBase& cx, Finalizer* finalizer) {
  CoreOf(cx.region())->AddFinalizer(finalizer);
}

Authority* NewAuthority(const CxBase& cx) {
  auto* node = new Authority();
  node->region = cx.region();
  node->parent = cx.authority();
  CoreOf(cx.region())->AddAuthority(node);
  return node;
}

}  // namespace spawn_internal

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/region/spawn.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/region/batched_id.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/trace/emit.h"

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

void Start(SpawnRamp& ramp, size_t frame_offset, SpawnSite* site, const CxBase* spawner) {
  TaskCore* core = ramp.core;
  char* embedded = static_cast<char*>(core->payload()) + frame_offset;
  FrameArena arena(embedded, reinterpret_cast<char*>(core) + core->block_size() - embedded);
  {
    const ActingAs acting_as(core);
    std::optional<Panic> panic = CallCatching(
        [](void* given) { static_cast<SpawnRamp*>(given)->make(static_cast<SpawnRamp*>(given)); },
        &ramp);
    if (panic.has_value()) [[unlikely]]
      ramp.root = site->ops->panicked(*std::move(panic));
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
  if (wanted > site->frame_size.load(std::memory_order_relaxed) && wanted <= kMaxSlabBlock)
      [[unlikely]] {
    site->frame_size.store(wanted, std::memory_order_relaxed);
  }
  if (EventsWanted()) [[unlikely]] {
    Emit(EventKind::kSpawn, core->scope->id, core->id, spawner == nullptr ? 0 : spawner->task()->id,
         site->name);
  }
  core->Post(*core->scope, Place::kBack);
}

void MarkRefused(TaskCore* core) {
  core->flags |= kHasResult;
  core->word.store(task_word::kEnded, std::memory_order_relaxed);
  core->joiner.store(TaskCore::kJoinDone, std::memory_order_relaxed);
  core->refs.store(TaskCore::kLastRef, std::memory_order_relaxed);
}

namespace {

[[gnu::noinline]] Outcome<void> AdmitUnusual(Admission admission, RegionScope* region,
                                             const CxBase* spawner, uint32_t cx_flags,
                                             uint32_t size) {
  if (admission == Admission::kOutside) {
    return CoreOf(region)->AdmitFromOutside(size, (cx_flags & kForDrain) != 0);
  }
  return CoreOf(region)->AdmitFromInside(*spawner, size, admission == Admission::kReserved);
}

}  // namespace

TaskCore* AdmitTask(Admission admission, const SpawnSite* site, uint32_t size, RegionScope* region,
                    uint32_t cx_flags, const CxBase* spawner, Outcome<void>& refused) {
  if (admission != Admission::kInside || !CoreOf(region)->TryAdmit(*spawner)) [[unlikely]] {
    refused = AdmitUnusual(admission, region, spawner, cx_flags, size);
  }
  auto* core = new (SlabAllocate(size)) TaskCore(&StartStep);
  core->id = NextBatchedId<TaskIds, 4096>();
  core->site = site;
  core->scope = region;
  core->block_units = static_cast<uint16_t>(size / 16);
  static_assert(uint32_t{kSpawnedForDrain} == kForDrain && uint32_t{kSpawnedInGrace} == kGraceTime);
  core->flags = static_cast<uint8_t>(cx_flags & (kForDrain | kGraceTime));
  return core;
}

AdmissionOp::AdmissionOp(RegionScope* region, uint32_t size) : region_(region), request_(size) {}

bool AdmissionOp::Try(std::optional<Outcome<void>>& result) {
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

bool AdmissionOp::Harvest(std::optional<Outcome<void>>& result) {
  result.emplace(Ok());
  return true;
}

void AdmissionOp::Withdraw(Waiter&) { CoreOf(region_)->LeaveAdmissionQueue(&request_); }

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

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

}  // namespace

void AbortValueIfCancelled(TaskCore* core) {
  const uint64_t cancelled =
      (core->scope->word.load(std::memory_order_relaxed) & region_word::kAnyCancel) |
      (core->word.load(std::memory_order_relaxed) & task_word::kAnyCancel);
  if (cancelled != 0) core->SetAbortsValue();
}

uint32_t BlockSize(const SpawnSite* site, size_t frame_offset) {
  const size_t frame = RoundUp16(site->frame_size.load(std::memory_order_relaxed));
  const size_t without = TaskCore::kPayloadOffset + frame_offset;
  // Over the slab's largest block the frame goes its own way: it is freed by its own size.
  return static_cast<uint32_t>(without + frame > kMaxSlabBlock ? without : without + frame);
}

void ActingAs::Begin(const TaskCore* core) {
  acting_ = true;
  before_ = cx_internal::CurrentTask();
  cx_internal::SetCurrentTask(const_cast<TaskCore*>(core), core->site);
}

void ActingAs::End() {
  cx_internal::SetCurrentTask(before_,
                              before_ == nullptr ? nullptr : static_cast<TaskCore*>(before_)->site);
}

TaskCore* NewTask(const SpawnSite* site, uint32_t size, RegionScope* region, uint32_t cx_flags) {
  auto* core = new (SlabAllocate(size)) TaskCore(&StartStep);
  core->id = NextBatchedId<TaskIds, 4096>();
  core->site = site;
  core->scope = region;
  core->block_units = static_cast<uint16_t>(size / 16);
  if (cx_flags & kForDrain) core->flags |= kSpawnedForDrain;
  if (cx_flags & kGraceTime) core->flags |= kSpawnedInGrace;
  return core;
}

void Launch(TaskCore* core, PromiseBase* root, size_t frame_offset, const FrameArena& arena,
            SpawnSite* site, const CxBase* spawner) {
  core->root = root;
  root->set_task(core);
  const auto* frame = static_cast<const char*>(root->handle().address());
  const char* embedded = static_cast<const char*>(core->payload()) + frame_offset;
  if (arena.taken() != nullptr && frame != embedded) {
    // The callable made another coroutine first, whose frame now lives in this block.
    core->flags |= kAdoptsForeignFrame;
    core->RefRecord();
  }
  const auto wanted = static_cast<uint32_t>(arena.wanted());
  if (wanted > site->frame_size.load(std::memory_order_relaxed) && wanted <= kMaxSlabBlock) {
    site->frame_size.store(wanted, std::memory_order_relaxed);
  }
  Emit(EventKind::kSpawn, core->scope->id, core->id, spawner == nullptr ? 0 : spawner->task()->id,
       site->name);
  core->Post(*core->scope, Place::kBack);
}

void MarkRefused(TaskCore* core) {
  core->flags |= kHasResult;
  core->word.store(task_word::kEnded, std::memory_order_relaxed);
  core->joiner.store(TaskCore::kJoinDone, std::memory_order_relaxed);
  core->refs.store(TaskCore::kLastRef, std::memory_order_relaxed);
}

Outcome<void> Admit(Admission admission, RegionScope* region, const CxBase* spawner,
                    uint32_t cx_flags, uint32_t size) {
  if (admission == Admission::kOutside) {
    return CoreOf(region)->AdmitFromOutside(size, (cx_flags & kForDrain) != 0);
  }
  return CoreOf(region)->AdmitFromInside(*spawner, size, admission == Admission::kReserved);
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

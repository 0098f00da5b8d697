#include "quiesce/runtime/region/task_handle.h"

#include <optional>

#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {
namespace task_handle_internal {

Enqueued EnqueueJoiner(TaskCore* core, Waiter& waiter) {
  core->LockJoiner();
  const uintptr_t before = core->joiner.load(std::memory_order_relaxed) & ~TaskCore::kJoinLocked;
  if (before == TaskCore::kJoinDone) {
    core->UnlockJoiner(before);
    return Enqueued::kRetry;
  }
  if (before != 0) {
    Fatal(
        "TaskHandle::Join on task '%s' (spawned at %s:%u) while another Join of the same handle "
        "waits: join once, and share the outcome",
        core->site->name, core->site->file, core->site->line);
  }
  core->UnlockJoiner(reinterpret_cast<uintptr_t>(&waiter));
  return Enqueued::kQueued;
}

void WithdrawJoiner(TaskCore* core) {
  core->LockJoiner();
  const uintptr_t now = core->joiner.load(std::memory_order_relaxed);
  core->UnlockJoiner(now & TaskCore::kJoinDone);
}

void CancelTask(TaskCore* core, CancelKind kind, absl::string_view message, const Budget& drain) {
  const uint64_t record = uint64_t{reinterpret_cast<uintptr_t>(core)};
  Emit(EventKind::kScopeRequest, 0, 0,
       record << 8 | static_cast<uint64_t>(ScopeRequest::kCancelTask));
  RegionCore* region = nullptr;
  std::optional<RegionCore::OutsideCall> call;
  core->UnlessEnded([&] {
    region = CoreOf(core->scope);
    region->Ref();
    call.emplace(region);
  });
  if (region == nullptr) return;
  region->CancelTask(core, kind, message, drain);
  call.reset();
  region->Unref();
}

void JoinedTwice() {
  Fatal(
      "TaskHandle::Join: the task's outcome has been taken by an earlier Join. Keep the outcome "
      "that "
      "the first Join returned");
}

}  // namespace task_handle_internal
}  // namespace v0
}  // namespace quiesce

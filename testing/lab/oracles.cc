#include "quiesce/testing/lab/oracles.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/obligation/ledger.h"
#include "quiesce/runtime/outcome/cancel_reason.h"

namespace quiesce::lab {
namespace {

constexpr const char* kG1 = "G1 (no orphans)";
constexpr const char* kG2 = "G2 (close is quiescence)";
constexpr const char* kG3 = "G3 (cancel is monotone)";
constexpr const char* kG4 = "G4 (cancel reaches everyone)";
constexpr const char* kG5 = "G5 (drain is bounded)";
constexpr const char* kG6 = "G6 (finalizers run once)";
constexpr const char* kG7 = "G7 (obligations are linear)";
constexpr const char* kG8 = "G8 (two-phase effects are atomic)";
constexpr const char* kG9 = "G9 (losers drain)";
constexpr const char* kG12 = "G12 (no wakeup is lost)";

}  // namespace

void Oracles::Begin() {
  regions_.clear();
  tasks_.clear();
  violation_.clear();
  queued_.clear();
  cancel_streak_ = timed_streak_ = 0;
}

Oracles::Region* Oracles::RegionOf(uint64_t id) {
  const auto found = regions_.find(id);
  return found == regions_.end() ? nullptr : &found->second;
}

Oracles::Task* Oracles::TaskOf(uint64_t id) {
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

void Oracles::Violated(const char* guarantee, const std::string& what) {
  if (violation_.empty()) violation_ = absl::StrCat(guarantee, ": ", what, "\n");
}

void Oracles::OnEvent(EventKind kind, uint64_t region_id, uint64_t task_id, uint64_t arg,
                      const char* name) {
  if (kind == EventKind::kRegionOpen) {
    if (RegionOf(region_id) != nullptr)
      return Violated(kG3, absl::StrCat("region '", name, "' was opened twice"));
    Region& region = regions_[region_id];
    region.name = name;
    region.parent = arg;
    if (Region* parent = RegionOf(arg)) {
      ++parent->children;
      if (parent->closed)
        Violated(kG1, absl::StrCat("region '", name, "' was opened in '", parent->name,
                                   "', which had closed"));
    }
    return;
  }
  Region* const region = RegionOf(region_id);
  if (region == nullptr) return;  // of nothing in the lab
  Task* const task = TaskOf(task_id);
  switch (kind) {
    case EventKind::kSpawn: {
      if (region->closed || region->finalizing) {
        Violated(kG1, absl::StrCat("task '", name, "' was spawned into region '", region->name,
                                   "', which had ended"));
      }
      ++region->live;
      tasks_[task_id].name = name;
      return;
    }
    case EventKind::kTaskEnd:
      if (task == nullptr) return Violated(kG1, absl::StrCat("task '", name, "' ended twice"));
      --region->live;
      tasks_.erase(task_id);
      return;
    case EventKind::kCancelRequest:
      return OnCancel(*region, task_id, arg);
    case EventKind::kDraining:
      // Every descendant was told.
      for (const auto& [id, other] : tasks_) CheckParked(id, other);
      return;
    case EventKind::kBudgetSpent:
      if (task_id != 0) {
        if (task != nullptr) (arg == 0 ? task->spent : task->grace_spent) = true;
      } else {
        (arg == 0 ? region->spent : region->grace_spent) = true;
      }
      return;
    case EventKind::kDefer:
      region->finalizers.push_back(name);
      return;
    case EventKind::kFinalizerStart:
      region->finalizing = true;
      if (region->live != 0)
        Violated(kG6, absl::StrCat("finalizer '", name, "' of region '", region->name,
                                   "' began while ", region->live, " of its tasks lived"));
      if (region->in_finalizer)
        Violated(kG6, absl::StrCat("finalizer '", name, "' of region '", region->name,
                                   "' began before the one before had ended"));
      if (region->finalizers.empty() || std::strcmp(region->finalizers.back(), name) != 0) {
        Violated(kG6, absl::StrCat(
                          "finalizer '", name, "' of region '", region->name,
                          "' began, and it is not its turn: ",
                          region->finalizers.empty() ? "none is left" : region->finalizers.back()));
      } else {
        region->finalizers.pop_back();
      }
      region->in_finalizer = true;
      return;
    case EventKind::kFinalizerEnd:
      region->in_finalizer = false;
      return;
    case EventKind::kRegionClose:
      return OnClose(*region);
    case EventKind::kPermitReserve:
      ++region->permits;
      if (task != nullptr && task->wait_was_cancelled) {
        Violated(kG8, absl::StrCat("task '", task->name, "' has reserved a ", name,
                                   " in a wait that was cancelled (", task->wait, ")"));
      }
      return;
    case EventKind::kPermitEnd:
      if (static_cast<PermitEnd>(arg) == PermitEnd::kGivenBack)
        return;  // counted when it was revoked
      if (static_cast<PermitEnd>(arg) == PermitEnd::kLeaked)
        Violated(kG7, absl::StrCat("a ", name, " of region '", region->name, "' was dropped"));
      if (--region->permits < 0)
        Violated(kG7,
                 absl::StrCat("a ", name, " of region '", region->name, "' was resolved twice"));
      return;
    case EventKind::kPermitsRevoked:
      if (static_cast<int64_t>(arg) != region->permits)
        Violated(kG7, absl::StrCat("region '", region->name, "' revoked ", arg, " permits, and ",
                                   region->permits, " were open"));
      region->permits = 0;
      return;
    default:
      if (region->closed && kind != EventKind::kStall) {
        return Violated(kG2, absl::StrCat("'", EventKindName(kind), "' in region '", region->name,
                                          "', which has closed"));
      }
      if (task != nullptr) OnWaitPoint(kind, *task, region_id, arg, name);
      return;
  }
}

void Oracles::OnWaitPoint(EventKind kind, Task& task, uint64_t region, uint64_t arg,
                          const char* name) {
  switch (kind) {
    case EventKind::kScopeLook:  // another use of a Cx: that wait is over
    case EventKind::kCheckpoint:
      task.parked = task.woken = task.wait_was_cancelled = false;
      return;
    case EventKind::kPark:
      task.parked = true;
      task.waits_in = region;
      task.mode = static_cast<uint8_t>(arg);
      task.wait = name;
      return;
    case EventKind::kWake:
      task.parked = false;
      task.woken = true;
      task.wait_was_cancelled = arg != 0;
      return;
    case EventKind::kResume:
    case EventKind::kWaitSettle:
      task.parked = task.woken = false;
      return;
    default:
      return;
  }
}

void Oracles::OnCancel(Region& region, uint64_t task_id, uint64_t kind) {
  if (task_id != 0) {
    if (Task* task = TaskOf(task_id)) task->cancelled = true;
    return;
  }
  if (region.closed)
    Violated(kG3, absl::StrCat("region '", region.name, "' was cancelled after it had closed"));
  region.cancelled = true;
  region.lost = region.lost || static_cast<CancelKind>(kind) == CancelKind::kRaceLost;
}

void Oracles::OnClose(Region& region) {
  if (region.closed) Violated(kG3, absl::StrCat("region '", region.name, "' closed twice"));
  const char* const broken = region.lost ? kG9 : kG1;
  if (region.live != 0)
    Violated(broken, absl::StrCat("region '", region.name, "' closed while ", region.live,
                                  " of its tasks lived"));
  if (region.children != 0)
    Violated(kG2, absl::StrCat("region '", region.name, "' closed while ", region.children,
                               " of its regions were open"));
  if (!region.finalizers.empty())
    Violated(kG6, absl::StrCat("region '", region.name, "' closed, and its finalizer '",
                               region.finalizers.back(), "' has not run"));
  if (region.permits != 0)
    Violated(kG7, absl::StrCat("region '", region.name, "' closed over ", region.permits,
                               " open permits, without revoking them"));
  region.closed = true;
  if (Region* parent = RegionOf(region.parent)) --parent->children;
}

void Oracles::CheckParked(uint64_t id, const Task& task) {
  if (!task.parked || task.mode == task_word::kParkedStructural) return;
  const Region* region = RegionOf(task.waits_in);
  if (region == nullptr) return;
  const auto who = [&] {
    return absl::StrCat("task '", task.name, "' (", id, ") still waits in ", task.wait,
                        ", in region '", region->name, "', ");
  };
  const bool ordinary = task.mode == task_word::kParkedOrdinary;
  if (ordinary && (region->cancelled || task.cancelled))
    return Violated(kG4, who() + "which was cancelled");
  const bool grace = task.mode == task_word::kParkedGrace;
  const bool spent = region->spent || task.spent || region->grace_spent || task.grace_spent;
  if (!grace && spent) return Violated(kG5, who() + "whose drain budget is spent");
  if (grace && (region->grace_spent || task.grace_spent))
    return Violated(kG5, who() + "whose finalizers' time is over");
}

void Oracles::OnQueued(const void* step, Lane lane, Instant deadline) {
  queued_.push_back({step, lane, deadline});
}

void Oracles::OnTaken(const void* step) {
  const auto taken = std::ranges::find(queued_, step, &Queued::step);
  if (taken == queued_.end())
    return Violated("G12 (lanes)", "a step was taken that nobody had queued");
  const Queued it = *taken;
  queued_.erase(taken);
  const auto waits = [this](Lane lane) {
    return std::ranges::count(queued_, lane, &Queued::lane) != 0;
  };
  const bool ready_waits = waits(Lane::kReady);
  switch (it.lane) {
    case Lane::kCancel:
      cancel_streak_ = ready_waits || waits(Lane::kTimed) ? cancel_streak_ + 1 : 0;
      if (cancel_streak_ > kMostCancelSteps) {
        Violated("G12 (lanes)", "what is not cancelled waits behind more than 16 steps that are");
      }
      return;
    case Lane::kTimed:
      if (waits(Lane::kCancel) && cancel_streak_ < kMostCancelSteps) break;
      if (std::ranges::any_of(queued_, [&](const Queued& other) {
            return other.lane == Lane::kTimed && other.deadline < it.deadline;
          })) {
        Violated("G12 (lanes)", "a step was taken before one with an earlier deadline");
      }
      if (!ready_waits) {
        cancel_streak_ = timed_streak_ = 0;
      } else if (++timed_streak_ > kMostTimedSteps) {
        Violated("G12 (lanes)", "what has no deadline waits behind more than 32 steps that have");
      }
      return;
    case Lane::kReady:
      if (waits(Lane::kCancel) && cancel_streak_ < kMostCancelSteps) break;
      if (waits(Lane::kTimed) && timed_streak_ < kMostTimedSteps) break;
      cancel_streak_ = timed_streak_ = 0;
      return;
  }
  Violated("G12 (lanes)", "a step was taken before one of a lane above it");
}

void Oracles::OnWaitLeft(uint64_t task_id) {
  if (Task* task = TaskOf(task_id)) task->wait_was_cancelled = false;
}

void Oracles::OnQuiet() {
  for (const auto& [id, task] : tasks_) {
    CheckParked(id, task);
    if (task.woken)
      Violated(kG12, absl::StrCat("task '", task.name, "' (", id, ") was woken from ", task.wait,
                                  ", and did not go on"));
  }
}

void Oracles::OnEnd() {
  for (const auto& [id, task] : tasks_)
    Violated(kG1, absl::StrCat("task '", task.name, "' (", id, ") has not ended"));
  for (const auto& [id, region] : regions_) {
    if (!region.closed)
      Violated(kG2, absl::StrCat("region '", region.name, "' (", id, ") has not closed"));
  }
}

}  // namespace quiesce::lab

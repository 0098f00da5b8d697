#include "quiesce/testing/lab/oracles.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/obligation/ledger.h"
#include "quiesce/runtime/outcome/cancel_reason.h"
#include "quiesce/runtime/region/region.h"

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
constexpr const char* kG10 = "G10 (authority only narrows)";
constexpr const char* kG12 = "G12 (nobody starves, no wakeup is lost)";

// What is overdue is reported a moment after the end of its time; this is long after that.
constexpr int64_t kReportedWithinNs = 1'000'000'000;

// The name of an opener's wait for permits.
constexpr const char* kPermitsWait = "Region close, open permits";

// The waits of which a header promises that they are served in the order in which they came.
constexpr const char* kInOrder[] = {"Mutex::Lock",        "Notify::Wait",    "RwLock::WriteLock",
                                    "Semaphore::Acquire", "Sender::Reserve", "Sender::Send"};

bool IsInOrder(const char* wait) {
  return std::ranges::any_of(kInOrder,
                             [&](const char* one) { return std::strcmp(one, wait) == 0; });
}

std::string Seconds(int64_t ns) { return absl::StrCat(static_cast<double>(ns) / 1e9, " s"); }

}  // namespace

void Oracles::Begin() {
  regions_.clear();
  tasks_.clear();
  violation_.clear();
  queued_.clear();
  cancel_streak_ = timed_streak_ = 0;
  enqueues_ = parks_ = 0;
  now_ns_ = 0;
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
  // The operation that is queued says at what, if at anything, right before it is.
  const uint64_t enqueues = std::exchange(enqueues_, 0);
  if (kind == EventKind::kObjectUse) {
    Task* const task = enqueues == 0 ? nullptr : TaskOf(enqueues);
    if (task != nullptr) task->queue = arg >> 2;
    return;
  }
  if (kind == EventKind::kRegionOpen) return OnOpen(region_id, task_id, arg, name);
  Region* const region = RegionOf(region_id);
  if (region == nullptr) return;  // of nothing in the lab
  Task* const task = TaskOf(task_id);
  switch (kind) {
    case EventKind::kScopeRequest:
      // Of an opener whose wait for the tasks is over.
      if (static_cast<ScopeRequest>(arg & 0xff) == ScopeRequest::kSettle) CheckEnded(*region);
      return;
    case EventKind::kSpawn: {
      if (region->closed || region->finalizing) {
        Violated(kG1, absl::StrCat("task '", name, "' was spawned into region '", region->name,
                                   "', which had ended"));
      }
      if (const Task* spawner = TaskOf(arg)) CheckAuthority(arg, *spawner, region_id);
      ++region->live;
      Task& spawned = tasks_[task_id];
      spawned.name = name;
      spawned.home = region_id;
      return;
    }
    case EventKind::kTaskEnd:
      if (task == nullptr) return Violated(kG1, absl::StrCat("task '", name, "' ended twice"));
      --region->live;
      tasks_.erase(task_id);
      return;
    case EventKind::kCancelRequest:
      return OnCancel(*region, task_id, arg);
    case EventKind::kRegionClose:
      return OnClose(*region);
    case EventKind::kPermitEnd:
      return OnPermitEnd(*region, arg, name);  // also of one that has closed, if it was revoked
    default:
      break;
  }
  if (region->closed) {
    return Violated(kG2, absl::StrCat("'", EventKindName(kind), "' in region '", region->name,
                                      "', which has closed"));
  }
  switch (kind) {
    case EventKind::kDraining: {
      const auto by = static_cast<int64_t>(arg);
      region->drain_by = std::min(region->drain_by, by);
      region->latest_drain_by = std::max(region->latest_drain_by, by);
      // Every descendant was told.
      for (const auto& [id, other] : tasks_) CheckParked(id, other);
      return;
    }
    case EventKind::kRegionDeadline:
      region->deadline = static_cast<int64_t>(arg);
      return;
    case EventKind::kBudgetSpent:
      if (task_id != 0) {
        if (task != nullptr) (arg == 0 ? task->spent : task->grace_spent) = true;
        return;
      }
      (arg == 0 ? region->spent : region->grace_spent) = true;
      if (arg != 0) region->grace_spent_since = std::min(region->grace_spent_since, now_ns_);
      return;
    case EventKind::kStall:
      if (task_id == 0) region->stalled = true;
      return;
    case EventKind::kDefer:
      if (region->finalizing) {
        Violated(kG6, absl::StrCat("finalizer '", name, "' was registered in region '",
                                   region->name, "', whose finalizers had begun"));
      }
      region->finalizers.push_back(name);
      return;
    case EventKind::kFinalizerStart:
      return OnFinalizer(*region, name);
    case EventKind::kFinalizerEnd:
      region->in_finalizer = false;
      return;
    case EventKind::kPermitReserve:
      ++region->permits;
      if (task != nullptr && task->wait_was_cancelled) {
        Violated(kG8, absl::StrCat("task '", task->name, "' has reserved a ", name,
                                   " in a wait that was cancelled (", task->wait, ")"));
      }
      return;
    case EventKind::kPermitsRevoked:
      if (static_cast<int64_t>(arg) != region->permits)
        Violated(kG7, absl::StrCat("region '", region->name, "' revoked ", arg, " permits, and ",
                                   region->permits, " were open"));
      region->permits = 0;
      return;
    default:
      if (task != nullptr) OnWaitPoint(kind, task_id, *task, region_id, arg, name);
      return;
  }
}

void Oracles::OnOpen(uint64_t id, uint64_t opener, uint64_t parent_id, const char* name) {
  if (RegionOf(id) != nullptr)
    return Violated(kG3, absl::StrCat("region '", name, "' was opened twice"));
  if (const Task* task = TaskOf(opener)) CheckAuthority(opener, *task, parent_id);
  Region& region = regions_[id];
  region.name = name;
  region.parent = parent_id;
  region.opener = opener;
  if (Region* parent = RegionOf(parent_id)) {
    ++parent->children;
    if (parent->closed)
      Violated(kG1, absl::StrCat("region '", name, "' was opened in '", parent->name,
                                 "', which had closed"));
  }
}

void Oracles::OnFinalizer(Region& region, const char* name) {
  region.finalizing = true;
  if (region.live != 0)
    Violated(kG6, absl::StrCat("finalizer '", name, "' of region '", region.name, "' began while ",
                               region.live, " of its tasks lived"));
  if (region.in_finalizer)
    Violated(kG6, absl::StrCat("finalizer '", name, "' of region '", region.name,
                               "' began before the one before had ended"));
  if (region.finalizers.empty() || std::strcmp(region.finalizers.back(), name) != 0) {
    Violated(kG6,
             absl::StrCat("finalizer '", name, "' of region '", region.name,
                          "' began, and it is not its turn: ",
                          region.finalizers.empty() ? "none is left" : region.finalizers.back()));
  } else {
    region.finalizers.pop_back();
  }
  region.in_finalizer = true;
}

void Oracles::OnPermitEnd(Region& region, uint64_t arg, const char* name) {
  const auto end = static_cast<PermitEnd>(arg);
  if (end == PermitEnd::kGivenBack) return;  // counted when it was revoked
  if (end == PermitEnd::kLeaked)
    Violated(kG7, absl::StrCat("a ", name, " of region '", region.name, "' was dropped"));
  if (--region.permits < 0)
    Violated(kG7, absl::StrCat("a ", name, " of region '", region.name, "' was resolved twice"));
}

void Oracles::OnWaitPoint(EventKind kind, uint64_t id, Task& task, uint64_t region, uint64_t arg,
                          const char* name) {
  switch (kind) {
    case EventKind::kStart:
      if (std::exchange(task.began, true))
        Violated(kG1, absl::StrCat("task '", task.name, "' (", id, ") began twice"));
      return;
    case EventKind::kCheckpoint:
      if (arg != 0) CheckFinalizerMayStop(id, task, region, name);
      [[fallthrough]];
    case EventKind::kScopeLook:  // another use of a Cx: that wait is over
      CheckAuthority(id, task, region);
      task.parked = task.woken = task.decided = task.wait_was_cancelled = false;
      return;
    case EventKind::kWaitArm:
      task.decided = false;
      return;
    case EventKind::kWaitEnqueue:
      enqueues_ = id;
      task.queue = 0;
      return;
    case EventKind::kPark:
      return OnPark(id, task, region, arg, name);
    case EventKind::kWake:
      return OnWake(task, arg != 0);
    case EventKind::kResume:
    case EventKind::kWaitSettle:
      task.parked = task.woken = false;
      return;
    default:
      return;
  }
}

void Oracles::OnPark(uint64_t id, Task& task, uint64_t region, uint64_t mode, const char* name) {
  task.parked = true;
  task.waits_in = region;
  task.mode = static_cast<uint8_t>(mode);
  task.wait = name;
  task.since = ++parks_;
  if (mode == task_word::kParkedGrace && !InFinalizer(region)) {
    Violated(kG10, absl::StrCat("task '", task.name, "' (", id, ") waits in ", name,
                                " with the time of a finalizer, and is in none"));
  }
}

void Oracles::OnWake(Task& task, bool cancelled) {
  if (std::exchange(task.decided, true)) {
    const auto decision = [](bool cancel) { return cancel ? "cancelled" : "granted"; };
    Violated(kG8, absl::StrCat("a wait of task '", task.name, "' (", task.wait,
                               ") was decided twice: ", decision(task.wait_was_cancelled),
                               ", then ", decision(cancelled)));
  }
  task.parked = false;
  task.woken = true;
  task.wait_was_cancelled = cancelled;
  if (cancelled || task.queue == 0 || !IsInOrder(task.wait)) return;
  for (const auto& [id, other] : tasks_) {
    if (!other.parked || other.queue != task.queue || other.since > task.since) continue;
    if (std::strcmp(other.wait, task.wait) != 0) continue;
    return Violated(kG12, absl::StrCat("task '", other.name, "' (", id, ") waits in ", other.wait,
                                       " and was passed by '", task.name,
                                       "', which came to the same queue later"));
  }
}

void Oracles::CheckAuthority(uint64_t id, const Task& task, uint64_t region_id) {
  const uint64_t asked = region_id;
  while (region_id != task.home) {
    const Region* const region = RegionOf(region_id);
    if (region == nullptr || region->opener != id) {
      const Region* const in = RegionOf(asked);
      return Violated(kG10, absl::StrCat("task '", task.name, "' (", id, ") acts in region '",
                                         in == nullptr ? "" : in->name,
                                         "', which is neither its own nor one that it has opened"));
    }
    region_id = region->parent;
  }
}

void Oracles::CheckFinalizerMayStop(uint64_t id, const Task& task, uint64_t region_id,
                                    const char* name) {
  const Region* const region = RegionOf(region_id);
  if (!region->in_finalizer || region->opener != id || region->grace_spent || task.grace_spent) {
    return;
  }
  Violated(kG6, absl::StrCat("a finalizer of region '", region->name, "' was told to stop (", name,
                             ") before its time was over"));
}

bool Oracles::InFinalizer(uint64_t region_id) {
  for (const Region* region = RegionOf(region_id); region != nullptr;
       region = RegionOf(region->parent)) {
    if (region->in_finalizer) return true;
  }
  return false;
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

void Oracles::CheckEnded(const Region& region) {
  if (region.live == 0) return;
  Violated(region.lost ? kG9 : kG1, absl::StrCat("region '", region.name, "' closes while ",
                                                 region.live, " of its tasks live"));
}

void Oracles::OnClose(Region& region) {
  if (region.closed) Violated(kG3, absl::StrCat("region '", region.name, "' closed twice"));
  CheckEnded(region);
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
  bool cancelled = task.cancelled, spent = task.spent, grace_spent = task.grace_spent;
  // What was requested above, of a region or of who has opened one, is requested here.
  for (const Region* region = RegionOf(task.waits_in); region != nullptr;
       region = RegionOf(region->parent)) {
    cancelled = cancelled || region->cancelled;
    spent = spent || region->spent;
    grace_spent = grace_spent || region->grace_spent;
    if (const Task* opener = TaskOf(region->opener)) {
      cancelled = cancelled || opener->cancelled;
      spent = spent || opener->spent;
      grace_spent = grace_spent || opener->grace_spent;
    }
  }
  const auto who = [&] {
    const Region* region = RegionOf(task.waits_in);
    return absl::StrCat("task '", task.name, "' (", id, ") still waits in ", task.wait,
                        ", in region '", region == nullptr ? "" : region->name, "', ");
  };
  const bool grace = task.mode == task_word::kParkedGrace;
  if (task.mode == task_word::kParkedOrdinary && cancelled)
    return Violated(kG4, who() + "which was cancelled");
  if (!grace && (spent || grace_spent)) return Violated(kG5, who() + "whose drain budget is spent");
  if (grace && grace_spent) return Violated(kG5, who() + "whose finalizers' time is over");
}

// Nobody but who ends last can wake who waits for all: the innermost of the regions that it has opened.
void Oracles::CheckCloser(uint64_t id, const Task& task) {
  if (!task.parked) return;
  const bool for_tasks = std::strcmp(task.wait, region_internal::CloseOp::kName) == 0;
  if (!for_tasks && std::strcmp(task.wait, kPermitsWait) != 0) return;
  const auto is_open = [id](const Region& region) { return region.opener == id && !region.closed; };
  for (const auto& [region_id, region] : regions_) {
    const bool is_innermost =
        is_open(region) &&
        std::ranges::none_of(regions_, [&, outer = region_id](const auto& other) {
          return other.second.parent == outer && is_open(other.second);
        });
    if (is_innermost && (for_tasks ? region.live : region.permits) == 0) {
      Violated(kG12, absl::StrCat("task '", task.name, "' (", id, ") still waits for the ",
                                  for_tasks ? "tasks" : "permits", " of '", region.name,
                                  "', and the last of them has ended"));
    }
  }
}

void Oracles::OnTime(int64_t now_ns) {
  now_ns_ = now_ns;
  for (const auto& [id, region] : regions_) {
    if (region.closed) continue;
    if (region.deadline < now_ns && !region.cancelled) {
      Violated(kG4,
               absl::StrCat("the deadline of region '", region.name, "' (", id, ") was ",
                            Seconds(now_ns - region.deadline), " ago, and has not cancelled it"));
    }
    if (region.drain_by < now_ns && !region.spent) {
      const bool put_off = region.latest_drain_by >= now_ns;
      const std::string over = Seconds(now_ns - region.drain_by);
      Violated(put_off ? kG3 : kG5,
               absl::StrCat("the drain of region '", region.name, "' (", id, ") should have ended ",
                            over, " ago",
                            put_off ? ", and was put off by a later request" : ", and goes on"));
    }
    const bool reports = region.grace_spent_since != kNever && region.drain_by != kNever;
    if (reports && !region.stalled && now_ns - region.grace_spent_since > kReportedWithinNs) {
      Violated(kG5, absl::StrCat("the time of region '", region.name, "' (", id, ") was over ",
                                 Seconds(now_ns - region.grace_spent_since),
                                 " ago, and nobody reports that it has not closed"));
    }
  }
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
    CheckCloser(id, task);
    const auto who = [&id = id, &task = task] {
      return absl::StrCat("task '", task.name, "' (", id, ") ");
    };
    if (!task.began) Violated(kG12, who() + "was spawned, and has not begun");
    if (task.woken)
      Violated(kG12, absl::StrCat(who(), "was woken from ", task.wait, ", and did not go on"));
  }
}

void Oracles::OnEnd(size_t timers) {
  for (const auto& [id, task] : tasks_)
    Violated(kG1, absl::StrCat("task '", task.name, "' (", id, ") has not ended"));
  for (const auto& [id, region] : regions_) {
    if (!region.closed)
      Violated(kG2, absl::StrCat("region '", region.name, "' (", id, ") has not closed"));
  }
  if (timers != 0)
    Violated(kG2, absl::StrCat("every region has closed, and ", timers, " of their timers ",
                               timers == 1 ? "is" : "are", " still armed"));
}

}  // namespace quiesce::lab

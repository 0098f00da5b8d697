// The cancel protocol on the region tree: request, drain, the end of the budget. See region_core.h.
#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

// A cooperative region closes by finalize_by plus the steps then running; what is still there this
// much later is reported.
constexpr absl::Duration kStallSlack = absl::Milliseconds(100);
constexpr absl::Duration kLongestReportInterval = absl::Minutes(1);

void CountCancelled(DrainStats* stats, int64_t tasks, Instant when) {
  if (stats == nullptr) return;
  stats->tasks_cancelled.fetch_add(tasks, std::memory_order_relaxed);
  int64_t none = 0;
  stats->first_request_ns.compare_exchange_strong(none, when.nanos(), std::memory_order_relaxed);
}

}  // namespace

struct RegionCore::TaskCancel : Alarm {
  TaskCancel(RegionCore* region, TaskCore* task, CancelReason reason)
      : Alarm(region, &OnTaskAlarm), task(task), reason(std::move(reason)) {}
  TaskCore* task;  // null once the task has ended
  CancelReason reason;
  Instant drain_by = Instant::InfiniteFuture();
  Instant finalize_by = Instant::InfiniteFuture();
  TaskCancel* next_cancel = nullptr;
};

Alarm::Alarm(RegionCore* region, Runnable::Step on_due)
    : Timer([](Timer* timer) {
        auto* alarm = static_cast<Alarm*>(timer);
        CoreOf(alarm->region)->services->scheduler->Post(alarm, Lane::kCancel, Place::kBack,
                                                         Instant::InfiniteFuture());
      }),
      Runnable(on_due),
      region(region) {}

void RegionCore::SetAlarm(Alarm& alarm, Instant when) {
  if (alarm.pending) {
    if (alarm.when == when) return;
    if (!services->clock->Disarm(&alarm)) return;  // its step is on the way and sets it anew
    alarm.pending = false;
    Unref();
  }
  if (when.is_infinite()) return;
  alarm.when = when;
  alarm.pending = true;
  Ref();
  services->clock->Arm(&alarm);
}

void RegionCore::RearmAlarm() {
  SetAlarm(alarm_,
           std::min({own_deadline_, gentle_by_, own_drain_by_, own_finalize_by_, report_at_}));
}

void RegionCore::OnAlarm(Runnable* step) {
  RegionCore* region = static_cast<Alarm*>(step)->region;
  region->AlarmDue();
  region->Unref();
}

void RegionCore::AlarmDue() {
  bool deadline = false, shutdown = false, spent = false, grace_spent = false, report = false;
  Budget gentle_drain;
  {
    MutexLock lock(mutex_);
    alarm_.pending = false;
    const Instant now = Now();
    const auto due = [now](Instant& at) {
      if (now < at) return false;
      at = Instant::InfiniteFuture();
      return true;
    };
    deadline = due(own_deadline_);
    shutdown = due(gentle_by_);
    gentle_drain = gentle_drain_;
    spent = due(own_drain_by_);
    grace_spent = due(own_finalize_by_);
    report = due(report_at_);
    if (grace_spent) report_at_ = now + kStallSlack;
    if (report) {
      report_at_ = now + report_again_;
      report_again_ = std::min(2 * report_again_, kLongestReportInterval);
    }
    RearmAlarm();
  }
  if (deadline) Cancel(CancelKind::kDeadline, "the region's deadline has passed", Budget());
  if (shutdown) Cancel(CancelKind::kShutdown, "the gentle drain's budget is spent", gentle_drain);
  if (spent || grace_spent) {
    Ref();
    SpendSubtrees({this}, (spent ? region_word::kSpent : 0) |
                              (grace_spent ? region_word::kGraceSpent : 0));
  }
  if (report) {
    Emit(EventKind::kStall, id, 0, 0, name_);
    services->reports->Report(StallReport());
  }
}

// --- requests ------------------------------------------------------------------------------------

CancelRequest RegionCore::MakeRequest(CancelReason reason, const Budget& drain,
                                      Instant now) const {
  const Budget asked = drain.Resolve(now);
  const Budget standard = drain_default_.Resolve(now);
  const Instant drain_by =
      asked.deadline().is_infinite() ? standard.deadline() : asked.deadline();
  return CancelRequest(std::move(reason), drain_by, drain_by + grace_,
                       asked.polls() == Budget::kUnlimited ? standard.polls() : asked.polls(),
                       asked.cost() == Budget::kUnlimited ? standard.cost() : asked.cost());
}

void RegionCore::Cancel(CancelKind kind, absl::string_view message, const Budget& drain) {
  const Instant now = Now();
  const CancelRequest request =
      MakeRequest(CancelReason(kind, Origin(nullptr), now, message), drain, now);
  Mark(request, /*top=*/true);
  registry_.Sweep(ParkRegistry::Kind::kCancel);
  std::vector<RegionCore*> children;
  CollectChildren(children);
  MarkSubtrees(std::move(children), request);
  word.fetch_or(region_word::kPropagated, std::memory_order_release);
  Emit(EventKind::kDraining, id, 0, 0, name_);
}

void RegionCore::Mark(const CancelRequest& request, bool top) {
  MutexLock lock(mutex_);
  if (!reason_.has_value() ||
      CancelSeverity(request.reason.kind()) > CancelSeverity(reason_->kind())) {
    reason_ = request.reason;
  }
  drain_by_ = std::min(drain_by_, request.drain_by);
  finalize_by_ = std::min(finalize_by_, request.finalize_by);
  if (request.drain_polls != Budget::kUnlimited || request.drain_cost != Budget::kUnlimited) {
    if (top) {
      const auto tighten = [](std::atomic<int64_t>& left, int64_t to) {
        left.store(std::min(left.load(std::memory_order_relaxed), to), std::memory_order_relaxed);
      };
      tighten(drain_polls_left_, request.drain_polls);
      tighten(drain_cost_left_, request.drain_cost);
    }
    metered.store(true, std::memory_order_relaxed);
  }
  if (top && (word.load(std::memory_order_relaxed) & region_word::kClosed) == 0) {
    if ((word.load(std::memory_order_relaxed) & region_word::kSpent) == 0) {
      own_drain_by_ = std::min(own_drain_by_, request.drain_by);
    }
    if ((word.load(std::memory_order_relaxed) & region_word::kGraceSpent) == 0) {
      own_finalize_by_ = std::min(own_finalize_by_, request.finalize_by);
    }
    RearmAlarm();
  }
  const uint64_t before = word.fetch_or(region_word::kCancelled, std::memory_order_acq_rel);
  if ((before & region_word::kCancelled) == 0) {
    const int64_t body = body_running_.load(std::memory_order_relaxed) ? 1 : 0;
    CountCancelled(stats_, static_cast<int64_t>(before & region_word::kCountMask) - body,
                   request.reason.time());
  }
  Emit(EventKind::kCancelRequest, id, 0, static_cast<uint64_t>(request.reason.kind()), name_);
}

void RegionCore::CollectChildren(std::vector<RegionCore*>& to) {
  MutexLock lock(mutex_);
  for (RegionCore* child = children_.front(); child != nullptr; child = children_.Next(child)) {
    child->Ref();
    to.push_back(child);
  }
}

void RegionCore::MarkSubtrees(std::vector<RegionCore*> regions, const CancelRequest& request) {
  // Breadth first, with a list that grows: no recursion, whatever the depth.
  for (size_t i = 0; i < regions.size(); ++i) {
    RegionCore* region = regions[i];
    CancelRequest chained = request;
    chained.reason = CancelReason::Caused(CancelKind::kParent, region->Origin(nullptr),
                                          request.reason.time(), "", request.reason);
    region->Mark(chained, /*top=*/false);
    region->registry_.Sweep(ParkRegistry::Kind::kCancel);
    region->CollectChildren(regions);
  }
  for (RegionCore* region : regions) {
    region->word.fetch_or(region_word::kPropagated, std::memory_order_release);
    region->Unref();
  }
}

void RegionCore::SpendSubtrees(std::vector<RegionCore*> regions, uint64_t bits) {
  const bool grace_spent = (bits & region_word::kGraceSpent) != 0;
  for (size_t i = 0; i < regions.size(); ++i) {
    RegionCore* region = regions[i];
    {
      MutexLock lock(region->mutex_);  // a child being opened copies the bit or is in the list below
      region->word.fetch_or(bits, std::memory_order_acq_rel);
    }
    Emit(EventKind::kBudgetSpent, region->id, 0, grace_spent, region->name_);
    region->registry_.Sweep(grace_spent ? ParkRegistry::Kind::kGraceSpent
                                        : ParkRegistry::Kind::kSpent);
    region->CollectChildren(regions);
  }
  for (RegionCore* region : regions) region->Unref();
}

void RegionCore::BeginDrain(const Budget& budget) {
  const Instant by = budget.Resolve(Now()).deadline();
  {
    MutexLock lock(mutex_);
    gentle_by_ = std::min(gentle_by_, by);
    RearmAlarm();
  }
  Ref();
  std::vector<RegionCore*> regions = {this};
  for (size_t i = 0; i < regions.size(); ++i) {
    {
      MutexLock lock(regions[i]->mutex_);
      regions[i]->word.fetch_or(region_word::kGentle, std::memory_order_acq_rel);
    }
    regions[i]->CollectChildren(regions);
  }
  for (RegionCore* region : regions) region->Unref();
}

CancelReason RegionCore::ReasonFor(TaskScope* scope) {
  auto* task = static_cast<TaskCore*>(scope);
  const uint64_t region_state = word.load(std::memory_order_acquire);
  const uint32_t task_state = task == nullptr ? 0 : task->word.load(std::memory_order_acquire);
  std::optional<CancelReason> reason;
  {
    MutexLock lock(mutex_);
    reason = reason_;
  }
  if ((task_state & task_word::kAnyCancel) != 0) {
    RegionCore* home = CoreOf(task->scope);
    MutexLock lock(home->mutex_);
    const TaskCancel* cancel = home->FindTaskCancel(task);
    if (cancel != nullptr && (!reason.has_value() || CancelSeverity(cancel->reason.kind()) >
                                                         CancelSeverity(reason->kind()))) {
      reason = cancel->reason;
    }
  }
  const bool spent =
      (region_state & (region_word::kSpent | region_word::kGraceSpent)) != 0 ||
      (task_state & (task_word::kSpent | task_word::kGraceSpent)) != 0;
  if (!spent && reason.has_value()) return *std::move(reason);
  // A finalizer's own time ran out, with no request before: there is no cause to name.
  if (!reason.has_value()) {
    return CancelReason(CancelKind::kDrainBudgetSpent, Origin(nullptr), Now(),
                        "the finalizers' grace budget is spent");
  }
  return CancelReason::Caused(CancelKind::kDrainBudgetSpent, Origin(nullptr), Now(),
                              "the drain budget is spent", *std::move(reason));
}

void RegionCore::CutOff(TaskScope* task) {
  const uint32_t before = task->word.fetch_or(task_word::kCutOff, std::memory_order_relaxed);
  if ((before & task_word::kCutOff) == 0 && stats_ != nullptr) {
    stats_->tasks_cut_off.fetch_add(1, std::memory_order_relaxed);
  }
}

void RegionCore::Charge(int64_t polls, int64_t cost) {
  for (RegionCore* region = this; region != nullptr; region = region->parent_) {
    const auto use_up = [](std::atomic<int64_t>& left, int64_t amount) {
      if (amount == 0 || left.load(std::memory_order_relaxed) == Budget::kUnlimited) return false;
      const int64_t before = left.fetch_sub(amount, std::memory_order_relaxed);
      return before > 0 && before <= amount;
    };
    if (use_up(region->polls_left_, polls)) {
      region->Cancel(CancelKind::kQuota, "the poll quota is used up", Budget());
    }
    if (use_up(region->cost_left_, cost)) {
      region->Cancel(CancelKind::kQuota, "the cost quota is used up", Budget());
    }
    const bool polls_spent = use_up(region->drain_polls_left_, polls);
    if (use_up(region->drain_cost_left_, cost) || polls_spent) {
      region->Ref();
      SpendSubtrees({region}, region_word::kSpent);
    }
  }
}

// --- one task, through its handle ----------------------------------------------------------------

RegionCore::TaskCancel* RegionCore::FindTaskCancel(const TaskCore* task) {
  for (TaskCancel* cancel = task_cancels_; cancel != nullptr; cancel = cancel->next_cancel) {
    if (cancel->task == task) return cancel;
  }
  return nullptr;
}

void RegionCore::CollectOpened(const TaskCore* task, std::vector<RegionCore*>& to) {
  for (RegionCore* region = task->opened; region != nullptr; region = region->next_opened_) {
    region->Ref();
    to.push_back(region);
  }
}

void RegionCore::CancelTask(TaskCore* task, CancelKind kind, absl::string_view message,
                            const Budget& drain) {
  const Instant now = Now();
  const CancelRequest request =
      MakeRequest(CancelReason(kind, Origin(task), now, message), drain, now);
  std::vector<RegionCore*> opened;
  {
    MutexLock lock(mutex_);
    // With the bit set, the end of the task takes this mutex to forget what is made here.
    const uint32_t before = task->word.fetch_or(task_word::kCancelled, std::memory_order_acq_rel);
    if ((before & task_word::kEnded) != 0) return;
    if ((before & task_word::kCancelled) == 0) CountCancelled(stats_, 1, now);
    TaskCancel* cancel = FindTaskCancel(task);
    if (cancel == nullptr) {
      cancel = new TaskCancel(this, task, request.reason);
      cancel->next_cancel = task_cancels_;
      task_cancels_ = cancel;
    } else if (CancelSeverity(kind) > CancelSeverity(cancel->reason.kind())) {
      cancel->reason = request.reason;
    }
    cancel->drain_by = std::min(cancel->drain_by, request.drain_by);
    cancel->finalize_by = std::min(cancel->finalize_by, request.finalize_by);
    SetAlarm(*cancel, std::min(cancel->drain_by, cancel->finalize_by));
    CollectOpened(task, opened);
    Emit(EventKind::kCancelRequest, id, task->id, static_cast<uint64_t>(kind), task->site->name);
  }
  ParkRegistry::DecideParked(task, ParkRegistry::Kind::kCancel);
  MarkSubtrees(std::move(opened), request);
}

void RegionCore::InheritTaskCancel(const TaskCancel* cancel, uint32_t task_state, Instant now) {
  if (cancel == nullptr) return;
  if (!reason_.has_value()) {
    reason_ =
        CancelReason::Caused(CancelKind::kParent, Origin(nullptr), now, "", cancel->reason);
  }
  drain_by_ = std::min(drain_by_, cancel->drain_by);
  finalize_by_ = std::min(finalize_by_, cancel->finalize_by);
  uint64_t bits = region_word::kCancelled | region_word::kPropagated;
  if (task_state & task_word::kSpent) bits |= region_word::kSpent;
  if (task_state & task_word::kGraceSpent) bits |= region_word::kGraceSpent;
  word.fetch_or(bits, std::memory_order_release);
}

void RegionCore::ForgetTaskCancel(TaskCore* task) {
  MutexLock lock(mutex_);
  TaskCancel** link = &task_cancels_;
  while ((*link)->task != task) link = &(*link)->next_cancel;
  TaskCancel* cancel = *link;
  SetAlarm(*cancel, Instant::InfiniteFuture());
  *link = cancel->next_cancel;
  cancel->task = nullptr;
  if (!cancel->pending) delete cancel;  // else its step, which is on the way, does
}

void RegionCore::OnTaskAlarm(Runnable* step) {
  auto* cancel = static_cast<TaskCancel*>(static_cast<Alarm*>(step));
  RegionCore* region = cancel->region;
  region->TaskAlarmDue(cancel);
  region->Unref();
}

void RegionCore::TaskAlarmDue(TaskCancel* cancel) {
  TaskCore* task;
  bool grace_spent;
  bool report;
  std::vector<RegionCore*> opened;
  {
    MutexLock lock(mutex_);
    cancel->pending = false;
    task = cancel->task;
    if (task == nullptr) {
      delete cancel;
      return;
    }
    task->Ref();
    const Instant now = Now();
    grace_spent = now >= cancel->finalize_by;
    uint32_t bits = 0;
    if (now >= cancel->drain_by) bits |= task_word::kSpent;
    if (grace_spent) bits |= task_word::kGraceSpent;
    const uint32_t before = task->word.fetch_or(bits, std::memory_order_acq_rel);
    report = (before & task_word::kGraceSpent) != 0;
    Instant again = cancel->drain_by;
    if (now >= cancel->drain_by) again = cancel->finalize_by;
    if (grace_spent) again = now + (report ? kLongestReportInterval : kStallSlack);
    SetAlarm(*cancel, again);
    CollectOpened(task, opened);
  }
  const ParkRegistry::Kind kind =
      grace_spent ? ParkRegistry::Kind::kGraceSpent : ParkRegistry::Kind::kSpent;
  if (report) {
    for (RegionCore* region : opened) region->Unref();
    Emit(EventKind::kStall, id, task->id, 0, task->site->name);
    services->reports->Report(StallReport());
  } else {
    ParkRegistry::DecideParked(task, kind);
    SpendSubtrees(std::move(opened),
                  region_word::kSpent | (grace_spent ? region_word::kGraceSpent : 0));
  }
  task->Unref();
}

}  // namespace v0
}  // namespace quiesce

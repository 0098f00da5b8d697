// The cancel protocol on the region tree: request, drain, the end of the budget. See region_core.h.
#include <sched.h>

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

// From so many tasks on a cancelled region gives each worker a copy of its reason.
constexpr uint64_t kManyTasks = 256;

void NoteRequest(DrainStats* stats, Instant when) {
  if (stats == nullptr) return;
  int64_t none = 0;
  stats->first_request_ns.compare_exchange_strong(none, when.nanos(), std::memory_order_relaxed);
}

// Lowers `left` to `to`, if that is lower.
void Tighten(std::atomic<int64_t>& left, int64_t to) {
  int64_t now = left.load(std::memory_order_relaxed);
  while (to < now && !left.compare_exchange_weak(now, to, std::memory_order_relaxed)) {
  }
}

enum class Use { kSomeLeft, kUsesUp, kNoneLeft };

// Takes `amount` from `left`.
Use Take(std::atomic<int64_t>& left, int64_t amount) {
  if (amount == 0 || left.load(std::memory_order_relaxed) == Budget::kUnlimited) {
    return Use::kSomeLeft;
  }
  const int64_t before = left.fetch_sub(amount, std::memory_order_relaxed);
  if (before > amount) return Use::kSomeLeft;
  return before > 0 ? Use::kUsesUp : Use::kNoneLeft;
}

// True for the one who uses it up.
bool UseUp(std::atomic<int64_t>& left, int64_t amount) {
  return Take(left, amount) == Use::kUsesUp;
}

// A quota of `region` is used up, and its request may still be under way on another thread, which need not be running.
// Who goes on before that has marked everything uses more than there was.
void AwaitRequest(const RegionScope& region) {
  constexpr uint64_t kMarked = region_word::kPropagated | region_word::kClosed;
  while ((region.word.load(std::memory_order_acquire) & kMarked) == 0) sched_yield();
}

// What comes from above is of one kind: there the request behind it counts.
bool IsMoreSevere(const CancelReason& left, const CancelReason& right) {
  const int by_kind = CancelSeverity(left.kind()) - CancelSeverity(right.kind());
  if (by_kind != 0) return by_kind > 0;
  return CancelSeverity(left.root().kind()) > CancelSeverity(right.root().kind());
}

bool IsLimited(int64_t polls, int64_t cost) {
  return polls != Budget::kUnlimited || cost != Budget::kUnlimited;
}

}  // namespace

struct RegionCore::TaskCancel : Alarm {
  TaskCancel(RegionCore* region, TaskCore* task, CancelReason reason)
      : Alarm(region, &OnTaskAlarm), task(task), reason(std::move(reason)) {}
  TaskCore* task;  // null once the task has ended
  CancelReason reason;
  Instant drain_by = Instant::InfiniteFuture();
  Instant finalize_by = Instant::InfiniteFuture();
  std::atomic<int64_t> drain_polls_left{Budget::kUnlimited};
  std::atomic<int64_t> drain_cost_left{Budget::kUnlimited};
  absl::Duration report_again = kFirstReportInterval;
};

Alarm::Alarm(RegionCore* region, Runnable::Step on_due)
    : Timer([](Timer* timer) {
        auto* alarm = static_cast<Alarm*>(timer);
        alarm->region->Ref();  // for the step
        alarm->region->services->scheduler->Post(alarm, Lane::kCancel, Place::kBack,
                                                 Instant::InfiniteFuture());
      }),
      Runnable(on_due),
      region(region) {}

void RegionCore::SetAlarm(Alarm& alarm, Instant when) {
  if (alarm.pending) {
    if (alarm.when == when) return;
    if (!services->clock->Disarm(&alarm)) return;  // its step is on the way and sets it anew
    alarm.pending = false;
  }
  if (when.is_infinite()) return;
  alarm.when = when;
  alarm.pending = true;
  services->clock->Arm(&alarm);
}

void RegionCore::RearmAlarm() {
  // A request through a RegionRef may come in the moment of the close.
  if ((word.load(std::memory_order_relaxed) & region_word::kClosed) != 0) {
    SetAlarm(alarm_, Instant::InfiniteFuture());
    return;
  }
  SetAlarm(alarm_, std::min({own_deadline_, gentle_by_, own_drain_by_, own_finalize_by_,
                             permits_by_, report_at_}));
}

void RegionCore::ArmGuest(GuestAlarm* alarm, Instant when) {
  SpinLockHolder lock(lock_);
  guests_.PushBack(alarm);
  SetAlarm(*alarm, when);
}

void RegionCore::DisarmGuest(GuestAlarm* alarm) {
  SpinLockHolder lock(lock_);
  if (guests_.Linked(alarm)) DropGuest(alarm);
}

void RegionCore::DropGuest(GuestAlarm* alarm) {
  guests_.Remove(alarm);
  SetAlarm(*alarm, Instant::InfiniteFuture());
  if (!alarm->pending) alarm->dropped(alarm);  // else its step is on the way
}

void RegionCore::GuestIsDue(GuestAlarm* alarm) {
  SpinLockHolder lock(lock_);
  alarm->pending = false;
  if (guests_.Linked(alarm)) guests_.Remove(alarm);
}

void RegionCore::OnAlarm(Runnable* step) {
  RegionCore* region = static_cast<Alarm*>(step)->region;
  region->AlarmDue();
  region->Unref();
}

void RegionCore::AlarmDue() {
  // The step comes from outside: what is around the region must not go away under it.
  const OutsideCall call(this);
  bool deadline = false, shutdown = false, spent = false, grace_spent = false, report = false;
  absl::Duration overdue;
  {
    SpinLockHolder lock(lock_);
    alarm_.pending = false;
    if ((word.load(std::memory_order_relaxed) & region_word::kClosed) != 0) return;
    const Instant now = Now();
    const auto due = [now](Instant& at) {
      if (now < at) return false;
      at = Instant::InfiniteFuture();
      return true;
    };
    deadline = due(own_deadline_);
    shutdown = due(gentle_by_);
    spent = due(own_drain_by_);
    grace_spent = due(own_finalize_by_);
    report = due(report_at_);
    if (due(permits_by_)) EndPermitsTime();
    if (grace_spent) report_at_ = now + kStallSlack;
    if (report) {
      overdue = now - finalize_by_;
      report_at_ = now + report_again_;
      report_again_ = std::min(2 * report_again_, kLongestReportInterval);
    }
    RearmAlarm();
  }
  if (deadline) Cancel(CancelKind::kDeadline, "the region's deadline has passed", Budget());
  if (shutdown) Cancel(CancelKind::kShutdown, "the gentle drain's budget is spent", Budget());
  if (spent || grace_spent) {
    Ref();
    SpendSubtrees({this},
                  (spent ? region_word::kSpent : 0) | (grace_spent ? region_word::kGraceSpent : 0),
                  IsTop());
  }
  if (report) {
    Emit(EventKind::kStall, id, 0, static_cast<uint64_t>(absl::ToInt64Nanoseconds(overdue)),
         region_name);
    services->reports->Report(StallReport());
  }
}

// --- requests ------------------------------------------------------------------------------------

CancelRequest RegionCore::MakeRequest(CancelReason reason, const Budget& drain, Instant now) const {
  const DrainDefault allowed = drain_default_.With(drain);
  const Instant drain_by = allowed.EndsBy(now);
  CancelRequest request(std::move(reason), drain_by, After(drain_by, grace_nanos_), allowed.polls,
                        allowed.cost);
  request.is_shutdown = IsTop();
  return request;
}

void RegionCore::Cancel(CancelKind kind, absl::string_view message, const Budget& drain,
                        ArmAlarm alarm) {
  const Instant now = Now();
  CancelRequest request =
      MakeRequest(CancelReason(kind, RequestOrigin(nullptr), now, message), drain, now);
  std::vector<RegionCore*> children;
  const bool alone = Mark(request, /*top=*/true, children, alarm);
  registry_.Sweep(ParkRegistry::Kind::kCancel);
  if (!alone) {
    MarkSubtrees(std::move(children), request);
    word.fetch_or(region_word::kPropagated, std::memory_order_release);
  }
  if (request.drain_polls == 0 || request.drain_cost == 0) {
    Ref();
    SpendSubtrees({this}, region_word::kSpent, IsTop());
  }
  Emit(EventKind::kDraining, id, 0, static_cast<uint64_t>(request.drain_by.nanos()), region_name);
}

bool RegionCore::Mark(CancelRequest& request, bool top, std::vector<RegionCore*>& children,
                      ArmAlarm alarm) {
  const Instant requested_at = request.reason.time();
  const CancelKind kind = request.reason.kind();
  SpinLockHolder lock(lock_);
  // One that is opened from now on takes over what is marked here.
  AppendChildren(children);
  const bool alone = children_.empty();
  if (reason() == nullptr || IsMoreSevere(request.reason, *reason())) {
    SetReason(alone ? std::move(request.reason) : request.reason);
  }
  drain_by_ = std::min(drain_by_, request.drain_by);
  finalize_by_ = std::min(finalize_by_, request.finalize_by);
  if (IsLimited(request.drain_polls, request.drain_cost)) {
    if (top) {
      Tighten(drain_polls_left_, request.drain_polls);
      Tighten(drain_cost_left_, request.drain_cost);
    }
    metered.store(true, std::memory_order_relaxed);
  }
  if ((word.load(std::memory_order_relaxed) & region_word::kClosed) != 0) return alone;
  if (top) {
    if ((word.load(std::memory_order_relaxed) & region_word::kSpent) == 0) {
      own_drain_by_ = std::min(own_drain_by_, request.drain_by);
    }
    if ((word.load(std::memory_order_relaxed) & region_word::kGraceSpent) == 0) {
      own_finalize_by_ = std::min(own_finalize_by_, request.finalize_by);
    }
    if (alarm == ArmAlarm::kNow) {
      RearmAlarm();
    } else {
      alarm_is_due_to_arm_ = true;
    }
  }
  if (request.is_shutdown) {
    shutdown_.fetch_or(kShutdownReached, std::memory_order_relaxed);
    NoteRequest(stats_, requested_at);
  }
  word.fetch_or(region_word::kCancelled | (alone ? region_word::kPropagated : 0),
                std::memory_order_acq_rel);
  Emit(EventKind::kCancelRequest, id, 0, static_cast<uint64_t>(kind), region_name);
  return alone;
}

void RegionCore::CollectChildren(std::vector<RegionCore*>& to) {
  SpinLockHolder lock(lock_);
  AppendChildren(to);
}

void RegionCore::AppendChildren(std::vector<RegionCore*>& to) {
  for (RegionCore* child = children_.front(); child != nullptr; child = children_.Next(child)) {
    child->Ref();
    to.push_back(child);
  }
}

void RegionCore::MarkSubtrees(std::vector<RegionCore*> regions, const CancelRequest& request) {
  // Breadth first, with a list that grows: no recursion, whatever the depth.
  for (size_t i = 0; i < regions.size(); ++i) {
    RegionCore* region = regions[i];
    CancelRequest chained(CancelReason::Caused(CancelKind::kParent, region->Origin(nullptr),
                                               request.reason.time(), "", request.reason),
                          request.drain_by, request.finalize_by, request.drain_polls,
                          request.drain_cost);
    chained.is_shutdown = request.is_shutdown;
    region->Mark(chained, /*top=*/false, regions);
    region->registry_.Sweep(ParkRegistry::Kind::kCancel);
  }
  for (RegionCore* region : regions) {
    region->word.fetch_or(region_word::kPropagated, std::memory_order_release);
    region->Unref();
  }
}

void RegionCore::SpendSubtrees(std::vector<RegionCore*> regions, uint64_t bits, bool is_shutdown,
                               const std::optional<CancelReason>& cause) {
  const bool grace_spent = (bits & region_word::kGraceSpent) != 0;
  const size_t roots = regions.size();
  for (size_t i = 0; i < regions.size(); ++i) {
    RegionCore* region = regions[i];
    // The request itself may still be on its way down: its end must not arrive without its cause.
    const CancelReason* above = cause.has_value() ? &*cause : nullptr;
    // The parent is in the list too, and so not gone; that of a root may be.
    if (i >= roots) above = region->parent_->reason();
    {
      SpinLockHolder lock(
          region->lock_);  // a child being opened copies the bit or is in the list below
      if (region->reason() == nullptr && above != nullptr) {
        region->SetReason(CancelReason::Caused(CancelKind::kParent, region->Origin(nullptr),
                                               above->time(), "", *above));
      }
      if (is_shutdown) region->shutdown_.fetch_or(kShutdownSpent, std::memory_order_relaxed);
      region->word.fetch_or(bits, std::memory_order_acq_rel);
      if (region->awaits_permits_) region->EndPermitsTime();
    }
    Emit(EventKind::kBudgetSpent, region->id, 0, grace_spent, region->region_name);
    region->registry_.Sweep(grace_spent ? ParkRegistry::Kind::kGraceSpent
                                        : ParkRegistry::Kind::kSpent);
    region->CollectChildren(regions);
  }
  for (RegionCore* region : regions) region->Unref();
}

void RegionCore::BeginDrain(const Budget& budget) {
  const Instant by = budget.Resolve(Now()).deadline();
  const bool limited = IsLimited(budget.polls(), budget.cost());
  {
    SpinLockHolder lock(lock_);
    gentle_by_ = std::min(gentle_by_, by);
    RearmAlarm();
  }
  Tighten(gentle_polls_left_, budget.polls());
  Tighten(gentle_cost_left_, budget.cost());
  Ref();
  std::vector<RegionCore*> regions = {this};
  for (size_t i = 0; i < regions.size(); ++i) {
    {
      SpinLockHolder lock(regions[i]->lock_);
      regions[i]->word.fetch_or(region_word::kGentle, std::memory_order_acq_rel);
      if (limited) regions[i]->metered.store(true, std::memory_order_relaxed);
    }
    regions[i]->CollectChildren(regions);
  }
  for (RegionCore* region : regions) region->Unref();
  if (budget.polls() == 0 || budget.cost() == 0) {
    Cancel(CancelKind::kShutdown, "the gentle drain's budget is zero", Budget());
  }
}

void RegionCore::SetReason(CancelReason reason) {
  const GivenReason* before = reason_.load(std::memory_order_relaxed);
  const GivenReason* given = before == nullptr ? &first_reason_.emplace(std::move(reason), nullptr)
                                               : new GivenReason(std::move(reason), before);
  reason_.store(given, std::memory_order_release);
  const bool many = live() >= kManyTasks;
  if (many && reason_slots_.load(std::memory_order_relaxed) == nullptr) {
    reason_slots_.store(new ReasonSlot[services->scheduler->worker_count()],
                        std::memory_order_release);
  }
}

std::optional<CancelReason> RegionCore::CopyReason() {
  const GivenReason* given = reason_.load(std::memory_order_acquire);
  if (given == nullptr) return std::nullopt;
  ReasonSlot* slots = reason_slots_.load(std::memory_order_acquire);
  const uint32_t worker =
      slots == nullptr ? Scheduler::kNoWorker : services->scheduler->current_worker();
  if (worker == Scheduler::kNoWorker) return given->reason;
  ReasonSlot& slot = slots[worker];
  if (slot.of != given) {
    slot.of = given;
    slot.copy = given->reason.Clone();
  }
  return slot.copy;
}

CancelReason RegionCore::ReasonFor(TaskScope* scope) {
  auto* task = static_cast<TaskCore*>(scope);
  const uint64_t region_state = word.load(std::memory_order_acquire);
  const uint32_t task_state = task == nullptr ? 0 : task->word.load(std::memory_order_acquire);
  std::optional<CancelReason> reason = CopyReason();
  if ((task_state & task_word::kAnyCancel) != 0) {
    RegionCore* home = CoreOf(task->scope);
    SpinLockHolder lock(home->lock_);
    const TaskCancel* cancel = home->FindTaskCancel(task);
    if (cancel != nullptr && (!reason.has_value() || IsMoreSevere(cancel->reason, *reason))) {
      reason = cancel->reason;
    }
  }
  const bool spent = (region_state & (region_word::kSpent | region_word::kGraceSpent)) != 0 ||
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
  const bool by_shutdown = (shutdown_.load(std::memory_order_relaxed) & kShutdownSpent) != 0 ||
                           (CoreOf(static_cast<TaskCore*>(task)->scope)->IsTop() &&
                            (task->word.load(std::memory_order_relaxed) &
                             (task_word::kSpent | task_word::kGraceSpent)) != 0);
  if (!by_shutdown) return;
  const uint32_t before = task->word.fetch_or(task_word::kCutOff, std::memory_order_relaxed);
  if ((before & task_word::kCutOff) == 0 && stats_ != nullptr) {
    stats_->tasks_cut_off.fetch_add(1, std::memory_order_relaxed);
  }
}

void RegionCore::Charge(TaskCore* task, int64_t polls, int64_t cost) {
  BeforeRequest(ScopeRequest::kCharge);
  ChargeTaskCancel(task, polls, cost);
  for (RegionCore* region = this; region != nullptr; region = region->parent_) {
    const Use polls_used = Take(region->polls_left_, polls);
    const Use cost_used = Take(region->cost_left_, cost);
    if (polls_used == Use::kUsesUp) {
      region->Cancel(CancelKind::kQuota, "the poll quota is used up", Budget());
    } else if (cost_used == Use::kUsesUp) {
      region->Cancel(CancelKind::kQuota, "the cost quota is used up", Budget());
    } else if (polls_used == Use::kNoneLeft || cost_used == Use::kNoneLeft) {
      AwaitRequest(*region);
    }
    const bool gentle_polls_spent = UseUp(region->gentle_polls_left_, polls);
    if (UseUp(region->gentle_cost_left_, cost) || gentle_polls_spent) {
      region->Cancel(CancelKind::kShutdown, "the gentle drain's budget is spent", Budget());
    }
    const bool polls_spent = UseUp(region->drain_polls_left_, polls);
    if (UseUp(region->drain_cost_left_, cost) || polls_spent) {
      region->Ref();
      SpendSubtrees({region}, region_word::kSpent, region->IsTop());
    }
    // A task may have opened several of these regions, one in the other: it is charged once.
    if (region->opener_ != task && region->opener_ != nullptr) {
      task = region->opener_;
      ChargeTaskCancel(task, polls, cost);
    }
  }
}

// --- one task, through its handle ----------------------------------------------------------------

RegionCore::TaskCancel* RegionCore::FindTaskCancel(const TaskCore* task) {
  if (task_cancels_ == nullptr) return nullptr;
  const auto found = task_cancels_->find(task);
  return found == task_cancels_->end() ? nullptr : found->second;
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
  std::optional<CancelRequest> made;
  std::vector<RegionCore*> opened;
  {
    SpinLockHolder lock(lock_);
    // With the bit set, the end of the task takes this lock to forget what is made here; what changes
    // after that (the task's id) can be read until then.
    const uint32_t before = task->word.fetch_or(task_word::kCancelled, std::memory_order_acq_rel);
    if ((before & task_word::kEnded) != 0) return;
    made = MakeRequest(CancelReason(kind, RequestOrigin(task), now, message), drain, now);
    const CancelRequest& request = *made;
    if (request.is_shutdown) NoteRequest(stats_, now);
    TaskCancel* cancel = FindTaskCancel(task);
    if (cancel == nullptr) {
      cancel = new TaskCancel(this, task, request.reason);
      if (task_cancels_ == nullptr) task_cancels_ = std::make_unique<TaskCancels>();
      task_cancels_->emplace(task, cancel);
    } else if (IsMoreSevere(request.reason, cancel->reason)) {
      cancel->reason = request.reason;
    }
    cancel->drain_by = std::min(cancel->drain_by, request.drain_by);
    cancel->finalize_by = std::min(cancel->finalize_by, request.finalize_by);
    SetAlarm(*cancel, std::min(cancel->drain_by, cancel->finalize_by));
    if (IsLimited(request.drain_polls, request.drain_cost)) {
      Tighten(cancel->drain_polls_left, request.drain_polls);
      Tighten(cancel->drain_cost_left, request.drain_cost);
      metered.store(true, std::memory_order_relaxed);
      task->word.fetch_or(task_word::kMetered, std::memory_order_release);
    }
    CollectOpened(task, opened);
    Emit(EventKind::kCancelRequest, id, task->id, static_cast<uint64_t>(kind), task->site->name);
  }
  ParkRegistry::DecideParked(task, ParkRegistry::Kind::kCancel);
  MarkSubtrees(std::move(opened), *made);
  if (made->drain_polls == 0 || made->drain_cost == 0) SpendTask(task, task_word::kSpent);
}

void RegionCore::ChargeTaskCancel(TaskCore* task, int64_t polls, int64_t cost) {
  if ((task->word.load(std::memory_order_acquire) & task_word::kMetered) == 0) return;
  RegionCore* home = CoreOf(task->scope);
  bool spent = false;
  {
    SpinLockHolder lock(home->lock_);
    TaskCancel* cancel = home->FindTaskCancel(task);
    if (cancel != nullptr) {
      spent = UseUp(cancel->drain_polls_left, polls);
      spent = UseUp(cancel->drain_cost_left, cost) || spent;
    }
  }
  if (spent) home->SpendTask(task, task_word::kSpent);
}

void RegionCore::SpendTask(TaskCore* task, uint32_t task_bits) {
  const bool grace_spent = (task_bits & task_word::kGraceSpent) != 0;
  std::vector<RegionCore*> opened;
  std::optional<CancelReason> cause;
  {
    SpinLockHolder lock(lock_);
    const uint32_t before = task->word.fetch_or(task_bits, std::memory_order_acq_rel);
    if ((before & task_word::kEnded) != 0) return;
    Emit(EventKind::kBudgetSpent, id, task->id, grace_spent, task->site->name);
    CollectOpened(task, opened);
    const TaskCancel* cancel = FindTaskCancel(task);
    if (cancel != nullptr) cause = cancel->reason;
  }
  ParkRegistry::DecideParked(
      task, grace_spent ? ParkRegistry::Kind::kGraceSpent : ParkRegistry::Kind::kSpent);
  SpendSubtrees(std::move(opened),
                region_word::kSpent | (grace_spent ? region_word::kGraceSpent : 0), IsTop(), cause);
}

void RegionCore::InheritTaskCancel(const TaskCancel* cancel, uint32_t task_state, Instant now) {
  if (cancel == nullptr) return;
  if (reason() == nullptr) {
    SetReason(CancelReason::Caused(CancelKind::kParent, Origin(nullptr), now, "", cancel->reason));
  }
  drain_by_ = std::min(drain_by_, cancel->drain_by);
  finalize_by_ = std::min(finalize_by_, cancel->finalize_by);
  uint64_t bits = region_word::kCancelled | region_word::kPropagated;
  if (task_state & task_word::kSpent) bits |= region_word::kSpent;
  if (task_state & task_word::kGraceSpent) bits |= region_word::kGraceSpent;
  if (parent_->IsTop()) {
    const bool spent = (bits & (region_word::kSpent | region_word::kGraceSpent)) != 0;
    shutdown_.fetch_or(kShutdownReached | (spent ? kShutdownSpent : 0), std::memory_order_relaxed);
  }
  word.fetch_or(bits, std::memory_order_release);
}

void RegionCore::ForgetTaskCancel(TaskCore* task) {
  SpinLockHolder lock(lock_);
  const auto found = task_cancels_->find(task);
  TaskCancel* cancel = found->second;
  task_cancels_->erase(found);
  SetAlarm(*cancel, Instant::InfiniteFuture());
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
  const OutsideCall call(this);
  TaskCore* task;
  uint64_t task_id;  // of a task that has ended it may not be read any more
  bool grace_spent;
  bool report;
  absl::Duration overdue;
  {
    SpinLockHolder lock(lock_);
    cancel->pending = false;
    task = cancel->task;
    if (task == nullptr) {
      delete cancel;
      return;
    }
    task->RefRecord();
    task_id = task->id;
    const Instant now = Now();
    grace_spent = now >= cancel->finalize_by;
    overdue = now - cancel->finalize_by;
    uint32_t bits = 0;
    if (now >= cancel->drain_by) bits |= task_word::kSpent;
    if (grace_spent) bits |= task_word::kGraceSpent;
    const uint32_t before = task->word.fetch_or(bits, std::memory_order_acq_rel);
    report = (before & task_word::kGraceSpent) != 0;
    Instant again = cancel->drain_by;
    if (now >= cancel->drain_by) again = cancel->finalize_by;
    if (grace_spent) again = now + kStallSlack;
    if (report) {
      again = now + cancel->report_again;
      cancel->report_again = std::min(2 * cancel->report_again, kLongestReportInterval);
    }
    SetAlarm(*cancel, again);
  }
  if (report) {
    Emit(EventKind::kStall, id, task_id, static_cast<uint64_t>(absl::ToInt64Nanoseconds(overdue)),
         task->site->name);
    services->reports->Report(StallReport());
  } else {
    SpendTask(task, task_word::kSpent | (grace_spent ? task_word::kGraceSpent : 0));
  }
  task->UnrefRecord();
}

}  // namespace v0
}  // namespace quiesce

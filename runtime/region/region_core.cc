#include "quiesce/runtime/region/region_core.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/obligation/ledger.h"
#include "quiesce/runtime/region/batched_id.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

struct RegionIds;

// The default ErrorSink, see region_policy.h.
constexpr int kSinkLines = 16;

// Tasks of one region that have ended on this thread and are not counted down yet: in a big region workers
// would meet on its word. The word then says more than there is, never less. Given back when a task of
// another region ends, when there are many, when the region has become small, and by the worker's
// housekeeping. Read in functions that are never inlined.
struct EndedTasks {
  RegionCore* region = nullptr;
  uint32_t count = 0;
  uint32_t drained = 0;
};
constinit thread_local EndedTasks ended_tasks;
constexpr uint64_t kPoolFrom = 1024;
constexpr uint32_t kMostPooled = 256;

const RegionOps kOps = {
    .task_ended = &RegionCore::TaskEnded,
    .charge =
        [](RegionScope* region, TaskScope* task, int64_t polls, int64_t cost) {
          CoreOf(region)->Charge(static_cast<TaskCore*>(task), polls, cost);
        },
    .reason = [](RegionScope* region, TaskScope* task) { return CoreOf(region)->ReasonFor(task); },
    .ref = [](RegionScope* region) { CoreOf(region)->Ref(); },
    .unref = [](RegionScope* region) { CoreOf(region)->Unref(); },
    .cut_off = [](RegionScope* region, TaskScope* task) { CoreOf(region)->CutOff(task); },
    .permit_done = [](RegionScope* region) { CoreOf(region)->PermitDone(); },
};

}  // namespace

DrainDefault DrainDefault::With(const Budget& drain) const {
  DrainDefault all = *this;
  if (drain.is_unlimited()) [[likely]]
    return all;
  if (!drain.deadline().is_infinite() || drain.timeout() != absl::InfiniteDuration()) {
    all.deadline = drain.deadline();
    all.nanos = RoundUpToNanos(drain.timeout());
  }
  if (drain.polls() != Budget::kUnlimited) all.polls = drain.polls();
  if (drain.cost() != Budget::kUnlimited) all.cost = drain.cost();
  return all;
}

void* RegionCore::operator new(size_t size) { return SlabAllocate(size); }
void RegionCore::operator delete(void* memory, size_t size) { SlabFree(memory, size); }

RegionCore::RegionCore(const RuntimeServices* services, RegionCore* parent, TaskCore* opener,
                       const char* name, const char* file, uint32_t line)
    : parent_(parent),
      opener_(opener),
      file_(file),
      line_(line),
      registry_(this, services->scheduler) {
  this->services = services;
  ops = &kOps;
  parked = &registry_;
  id = NextBatchedId<RegionIds, 1024>();
  depth = parent == nullptr ? 0 : parent->depth + 1;
  authority_.region = this;
  region_name = name;
}

RegionCore::~RegionCore() {
  QUIESCE_CHECK(task_cancels_ == nullptr || task_cancels_->empty(),
                "region: a request to a task has outlived it");
  delete[] reason_slots_.load(std::memory_order_acquire);
  const GivenReason* given = reason_.load(std::memory_order_relaxed);
  while (given != nullptr && given->before != nullptr) delete std::exchange(given, given->before);
}

void RegionCore::Unref() {
  // Who holds the only reference needs no read-modify-write.
  if (refs_.load(std::memory_order_acquire) == 1 ||
      refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete this;
  }
}

RegionCore* RegionCore::NewRoot(const RuntimeServices* services, const char* name,
                                DrainStats* stats) {
  auto* root = new RegionCore(services, nullptr, nullptr, name, "", 0);
  root->stats_ = stats;
  root->policy_ = CollectAll();
  root->drain_default_.nanos = 5'000'000'000;
  Emit(EventKind::kRegionOpen, root->id, 0, 0, name);
  return root;
}

RegionCore* RegionCore::Open(const CxBase& cx, const char* name, const char* file, uint32_t line,
                             RegionPolicy policy, const RegionOptions& options,
                             Outcome<void>& refused) {
  cx.Verify();
  const uint8_t mode = cx_internal::WaitMode(cx, /*structural=*/false);
  if (cx_internal::MustFailNow(cx, mode)) {
    refused = cx_internal::FailReason(cx, mode);
    return nullptr;
  }
  RegionCore* parent = CoreOf(cx.region());
  auto* opener = static_cast<TaskCore*>(cx.task());
  auto* core = new RegionCore(parent->services, parent, opener, name, file, line);
  // A span of time begins now; nothing else needs the clock.
  const bool timed = options.budget().timeout() != absl::InfiniteDuration();
  const Budget budget = timed ? options.budget().Resolve(core->Now()) : options.budget();
  core->policy_ = policy;
  core->joins_only_panics = policy.kind() == RegionPolicy::Kind::kOnlyPanics;
  core->sink_ = policy.sink() != nullptr ? policy.sink() : parent->sink_;
  core->stats_ = parent->stats_;
  core->drain_default_ = parent->drain_default_.With(options.drain());
  core->grace_nanos_ = options.grace() == absl::InfiniteDuration()
                           ? parent->grace_nanos_
                           : RoundUpToNanos(options.grace());
  core->max_tasks_ = options.max_tasks();
  core->max_bytes_ = options.max_spawn_bytes();
  core->limited_ = core->max_tasks_ != Budget::kUnlimited || core->max_bytes_ != Budget::kUnlimited;
  core->polls_left_.store(budget.polls(), std::memory_order_relaxed);
  core->cost_left_.store(budget.cost(), std::memory_order_relaxed);
  core->own_quota_ = budget.polls() != Budget::kUnlimited || budget.cost() != Budget::kUnlimited;
  core->authority_.parent = cx.authority();
  core->deadline = budget.deadline() < parent->deadline ? budget.deadline() : parent->deadline;
  core->word.store(region_word::kOne, std::memory_order_relaxed);  // the body
  {
    SpinLockHolder lock(parent->lock_);
    const uint64_t above = parent->word.load(std::memory_order_acquire);
    core->metered.store(core->own_quota_ || parent->metered.load(std::memory_order_relaxed),
                        std::memory_order_relaxed);
    core->shutdown_.store(parent->shutdown_.load(std::memory_order_relaxed),
                          std::memory_order_relaxed);
    const uint64_t inherited = above & (region_word::kAnyCancel | region_word::kGentle);
    const uint32_t task_state = opener->word.load(std::memory_order_acquire);
    if (inherited != 0 || (task_state & task_word::kAnyCancel) != 0) [[unlikely]]
      core->Inherit(parent, inherited, task_state);
    parent->children_.PushBack(core);
    if (opener->scope == parent) {
      core->next_opened_ = opener->opened;
      opener->opened = core;
    }
    if (budget.deadline() < parent->deadline) {
      SpinLockHolder own_lock(core->lock_);
      core->own_deadline_ = budget.deadline();
      core->RearmAlarm();
    }
  }
  if (EventsWanted()) [[unlikely]] {
    Emit(EventKind::kRegionOpen, core->id, opener->id, parent->id, name);
    if (budget.deadline() < parent->deadline) {
      Emit(EventKind::kRegionDeadline, core->id, opener->id,
           static_cast<uint64_t>(budget.deadline().nanos()), name);
    }
  }
  if (budget.polls() == 0) core->Cancel(CancelKind::kQuota, "the poll quota is zero", Budget());
  if (budget.cost() == 0) core->Cancel(CancelKind::kQuota, "the cost quota is zero", Budget());
  return core;
}

void RegionCore::Inherit(RegionCore* parent, uint64_t inherited, uint32_t task_state) {
  SpinLockHolder lock(lock_);
  const Instant now = Now();
  if (inherited != 0) {
    // Opened for drain, or in a finalizer: what is being drained above is drained here too.
    word.fetch_or(
        inherited | ((inherited & region_word::kCancelled) ? region_word::kPropagated : 0),
        std::memory_order_release);
    drain_by_ = parent->drain_by_;
    finalize_by_ = parent->finalize_by_;
    if (const CancelReason* above = parent->reason()) {
      SetReason(CancelReason::Caused(CancelKind::kParent, Origin(nullptr), now, "", *above));
    }
  }
  if ((task_state & task_word::kAnyCancel) != 0 && opener_->scope == parent) {
    InheritTaskCancel(parent->FindTaskCancel(opener_), task_state, now);
  }
}

CancelOrigin RegionCore::Origin(const TaskCore* task) const {
  return CancelOrigin{.region = id,
                      .task = task == nullptr ? 0 : task->id,
                      .region_depth = depth,
                      .name = task == nullptr ? region_name : task->site->name};
}

CancelOrigin RegionCore::RequestOrigin(const TaskCore* task) const {
  CancelOrigin origin = Origin(task);
  origin.around.resize(depth);
  for (const RegionCore* region = parent_; region != nullptr; region = region->parent_) {
    origin.around[region->depth] = region->id;
  }
  return origin;
}

// --- tasks ---------------------------------------------------------------------------------------

Outcome<void> RegionCore::AdmitFromInside(const CxBase& cx, uint32_t size, bool reserved) {
  // By its own Cx, or by one of the body that it has captured.
  if ((cx.flags() & kNoSpawn) != 0 ||
      (word.load(std::memory_order_relaxed) & region_word::kFinalizing) != 0) {
    if (reserved && limited_) ReturnAdmission(size);
    return absl::FailedPreconditionError(
        absl::StrCat("region '", region_name,
                     "': a finalizer cannot spawn into the region that it finalizes; open a "
                     "region in the finalizer (Region::Open) and spawn there"));
  }
  const uint8_t mode = cx_internal::FlagMode(cx);
  if (limited_ && !reserved) {
    BeforeRequest(ScopeRequest::kAdmit);
    if (cx_internal::MustFailNow(cx, mode)) return cx_internal::FailReason(cx, mode);
    if (!TryReserveAdmission(size)) return Full();
  }
  // The spawner is counted itself, so the count cannot be zero and the close cannot have begun.
  const uint64_t before = CountUp();
  if (cx_internal::MustFail(mode, before, cx.task()->word.load(std::memory_order_relaxed)))
      [[unlikely]] {
    if (limited_) ReturnAdmission(size);
    CountDown(/*drained=*/0);
    return cx_internal::FailReason(cx, mode);
  }
  return Ok();
}

Outcome<void> RegionCore::AdmitFromOutside(uint32_t size, bool for_drain) {
  BeforeRequest(ScopeRequest::kAdmit);
  const OutsideCall call(this);
  if (call.region_closed()) return ClosedError();
  if (limited_ && !TryReserveAdmission(size)) return Full();
  uint64_t before = word.load(std::memory_order_acquire);
  while (true) {
    const bool over =
        (before & (region_word::kFinalizing | region_word::kClosed)) != 0 ||
        ((before & region_word::kCountMask) == 0 && (before & region_word::kCloserParked) != 0);
    const uint64_t stops = for_drain ? region_word::kAnySpent : region_word::kAnyCancel;
    if (over || (before & stops) != 0) {
      if (limited_) ReturnAdmission(size);
      if (!over) return ReasonFor(nullptr);
      return ClosedError();
    }
    if (word.compare_exchange_weak(before, before + region_word::kOne, std::memory_order_acq_rel,
                                   std::memory_order_acquire)) {
      return Ok();
    }
  }
}

Outcome<void> RegionCore::ClosedError() const {
  return absl::FailedPreconditionError(
      absl::StrCat("region '", region_name, "' (opened at ", DescribePlace(file_, line_),
                   ") is closed: a task cannot be spawned into it. Spawn before its body and its "
                   "tasks have ended, or into a region that lives longer"));
}

Outcome<void> RegionCore::Full() const {
  return absl::ResourceExhaustedError(absl::StrCat(
      "region '", region_name, "' admits no more tasks now (limits: ",
      max_tasks_ == Budget::kUnlimited ? "no limit of" : absl::StrCat(max_tasks_), " tasks, ",
      max_bytes_ == Budget::kUnlimited ? "no limit of" : absl::StrCat(max_bytes_),
      " bytes): shed the work, or wait with SpawnWhenAdmitted"));
}

void RegionCore::TaskEnded(TaskScope* scope, Outcome<void>* failure) {
  auto* task = static_cast<TaskCore*>(scope);
  RegionCore* region = CoreOf(task->scope);
  ParkRegistry::Unregister(task);
  if (!failure->ok()) [[unlikely]]
    region->JoinChild(*failure, task->site->name, /*is_body=*/false);
  if (region->limited_) [[unlikely]]
    region->ReturnAdmission(task->block_size());
  if (task->permits.load(std::memory_order_relaxed) != 0) [[unlikely]]
    LedgerOf::Flush(region, task->permits);
  // What comes after PublishEnd shares the record with a joiner or a listener, who takes the result out of it.
  const uint32_t own = task->word.load(std::memory_order_relaxed);
  const bool cancelled_itself = (own & task_word::kCancelled) != 0;
  const bool cancelled = cancelled_itself || (region->word.load(std::memory_order_relaxed) &
                                              region_word::kCancelled) != 0;
  const bool drained =
      cancelled &&
      ((region->shutdown_.load(std::memory_order_relaxed) & kShutdownReached) != 0 ||
       (cancelled_itself && region->IsTop())) &&
      (own & task_word::kCutOff) == 0 && (task->flags & kSpawnedForDrain) == 0;
  const bool listened = (task->flags & kListened) != 0;
  // With the last reference nobody can join or cancel the task any more. (Who cancels one that is listened to is a lease
  // of it, which has a reference too.)
  const bool shared = task->refs.load(std::memory_order_acquire) != TaskCore::kLastRef ||
                      (task->word.load(std::memory_order_relaxed) & task_word::kCancelled) != 0;
  if (shared) {
    const uint32_t before = task->word.fetch_or(task_word::kEnded, std::memory_order_acq_rel);
    if ((before & task_word::kCancelled) != 0) [[unlikely]]
      region->ForgetTaskCancel(task);
  }
  if (shared || listened) task->PublishEnd();
  task->id = 0;  // a Cx of this task is stale from here on (R7)
  // Nothing of the region is touched after this, nor of a record that is the listener's.
  region->CountDownHere(drained ? 1 : 0);
  if (!listened) task->Unref();
}

[[gnu::noinline]] uint64_t RegionCore::CountUp() {
  EndedTasks& mine = ended_tasks;
  if (mine.count == 0 || mine.region != this) {
    return word.fetch_add(region_word::kOne, std::memory_order_acq_rel);
  }
  --mine.count;  // the place of one that has ended
  if (mine.count == 0) CountDrained(std::exchange(mine.drained, 0));
  return word.load(std::memory_order_acquire);
}

[[gnu::noinline]] void RegionCore::CountDown(uint32_t drained) { CountDownHere(drained); }

inline void RegionCore::CountDownHere(uint32_t drained) {
  EndedTasks& mine = ended_tasks;
  if (mine.region != this) {
    FlushEndedTasks();
    mine.region = this;
  }
  ++mine.count;
  mine.drained += drained;
  const uint64_t counted = word.load(std::memory_order_relaxed) & region_word::kCountMask;
  if (counted < kPoolFrom || mine.count >= kMostPooled) FlushEndedTasks();
}

[[gnu::noinline]] void RegionCore::FlushEndedTasks() {
  EndedTasks& mine = ended_tasks;
  if (mine.count == 0) return;
  RegionCore* region = mine.region;  // held by what is not counted down yet
  const uint32_t count = std::exchange(mine.count, 0);
  region->CountDrained(std::exchange(mine.drained, 0));
  const uint64_t before = region->word.fetch_sub(count, std::memory_order_acq_rel);
  if ((before & region_word::kCountMask) != count) return;
  if ((before & region_word::kCloserParked) == 0) return;
  // The last one, and the opener waits: it cannot go on, nor the region away, before this grant.
  if (region->closer_ != nullptr) {
    region->closer_->Grant();
  } else {
    region->on_quiescent(region);
  }
}

void RegionCore::CountDrained(uint32_t tasks) {
  if (tasks != 0 && stats_ != nullptr) {
    stats_->tasks_drained.fetch_add(tasks, std::memory_order_relaxed);
  }
}

void RegionCore::BodyEnded(const Outcome<void>& failure, bool is_body) {
  // It stays counted until the opener waits for the others, or finds that there are none: see TryCloseCount.
  if (!failure.ok()) JoinChild(failure, region_name, is_body);
}

bool RegionCore::CauseLiesInside(const CancelReason& reason) const {
  const CancelReason& root = reason.root();
  const CancelOrigin& origin = root.origin();
  if (origin.LiesBelow(id, depth)) return true;
  return origin.region == id && (origin.task != 0 || root.kind() == CancelKind::kFailFast ||
                                 root.kind() == CancelKind::kRaceLost);
}

void RegionCore::JoinChild(const Outcome<void>& failure, const char* task_name, bool is_body) {
  const bool isolated = policy_.kind() == RegionPolicy::Kind::kIsolate && !is_body;
  const bool only_panics = joins_only_panics;
  if (only_panics && !is_body && !failure.is_panicked()) return;
  if (failure.is_cancelled()) {
    if (CauseLiesInside(failure.cancel_reason())) return;  // counts as Ok here (R1)
  } else if (isolated) {
    if (sink_ != nullptr) {
      sink_->OnChildFailed(region_name, task_name, failure);
    } else {
      bool print;
      {
        SpinLockHolder lock(lock_);
        print = sink_lines_ < kSinkLines;
        ++sink_lines_;
      }
      if (print) {
        std::fprintf(stderr, "quiesce: region '%s': task '%s' ended with %s\n", region_name,
                     task_name, failure.ToString().c_str());
      }
    }
    if (failure.is_error()) return;
  }
  // A tie changes nothing: a million cancelled tasks need not meet at the lock.
  const auto severity = static_cast<uint8_t>(failure.severity());
  if (severity > joined_severity_.load(std::memory_order_acquire)) {
    SpinLockHolder lock(lock_);
    JoinInto(joined_, failure);
    joined_severity_.store(static_cast<uint8_t>(joined_.severity()), std::memory_order_release);
  }
  const bool fails_fast =
      only_panics ? failure.is_panicked()
                  : policy_.kind() == RegionPolicy::Kind::kFailFast && !failure.is_cancelled();
  if (fails_fast && !failed_fast_.exchange(true, std::memory_order_relaxed)) {
    Cancel(CancelKind::kFailFast, absl::StrCat("'", task_name, "' ended with ", failure.ToString()),
           Budget());
  }
}

// --- close ---------------------------------------------------------------------------------------

bool RegionCore::TryCloseCount() {
  FlushEndedTasks();
  const uint64_t body = BodyCount();
  uint64_t before = word.load(std::memory_order_acquire);
  while ((before & region_word::kCountMask) == body) {
    // With the bits set and the count zero nobody can be admitted any more.
    if (word.compare_exchange_weak(
            before, (before - body) | region_word::kCloserParked | region_word::kFinalizing,
            std::memory_order_acq_rel, std::memory_order_acquire)) {
      return true;
    }
  }
  return false;
}

bool RegionCore::RunNextTask() {
  // One that runs although the region is cancelled may go on until its drain is over, and that alarm may not be armed
  // before the closer parks.
  const auto is_new_here = [](const Runnable* next, const void* region) {
    if (next->step != &StartStep) return false;
    const auto* task = static_cast<const TaskCore*>(next);
    return task->scope == region && (task->flags & (kSpawnedForDrain | kSpawnedInGrace)) == 0;
  };
  if (!services->scheduler->RunNextIf(is_new_here, static_cast<RegionScope*>(this))) return false;
  cx_internal::SetCurrentTask(opener_, opener_->site);
  return true;
}

void RegionCore::ArmDueAlarm() {
  if (!std::exchange(alarm_is_due_to_arm_, false)) return;
  SpinLockHolder lock(lock_);
  RearmAlarm();
}

bool RegionCore::ParkCloser(Waiter* waiter) {
  ArmDueAlarm();
  closer_ = waiter;
  // Sets the bit, which is not set yet, and counts the body down.
  const uint64_t body = BodyCount();
  const uint64_t before =
      word.fetch_add(region_word::kCloserParked - body, std::memory_order_acq_rel);
  if ((before & region_word::kCountMask) != body) return true;
  CountIsZero();
  return false;
}

void RegionCore::CountIsZero() {
  word.fetch_or(region_word::kFinalizing, std::memory_order_acq_rel);
}

void RegionCore::BeginFinalizing() {
  // Every task that may have registered one has ended.
  if (finalizers_.load(std::memory_order_acquire) == nullptr) return;
  SpinLockHolder lock(lock_);
  const uint64_t before = word.fetch_or(region_word::kFinalizing, std::memory_order_acq_rel);
  if ((before & region_word::kCancelled) == 0) {
    // Ended by itself: the finalizers' time starts now.
    const Instant by = After(Now(), grace_nanos_);
    if (by < finalize_by_) finalize_by_ = own_finalize_by_ = by;
  }
  RearmAlarm();
}

void RegionCore::AddFinalizer(Finalizer* finalizer) {
  BeforeRequest(ScopeRequest::kDefer);
  Emit(EventKind::kDefer, id, opener_ == nullptr ? 0 : opener_->id, 0, finalizer->name);
  SpinLockHolder lock(lock_);
  finalizer->next = finalizers_.load(std::memory_order_relaxed);
  finalizers_.store(finalizer, std::memory_order_release);
}

Finalizer* RegionCore::PopFinalizer() {
  Finalizer* finalizer = finalizers_.load(std::memory_order_acquire);
  if (finalizer != nullptr) {
    finalizers_.store(finalizer->next, std::memory_order_relaxed);
    Emit(EventKind::kFinalizerStart, id, opener_ == nullptr ? 0 : opener_->id, 0, finalizer->name);
  }
  return finalizer;
}

void RegionCore::FinalizerEnded(const char* name, const Outcome<void>& outcome) {
  if (stats_ != nullptr && stats_->first_request_ns.load(std::memory_order_relaxed) != 0) {
    stats_->finalizers_run.fetch_add(1, std::memory_order_relaxed);
  }
  Emit(EventKind::kFinalizerEnd, id, opener_ == nullptr ? 0 : opener_->id,
       static_cast<uint64_t>(outcome.severity()), name);
  if (outcome.ok() || (outcome.is_cancelled() && CauseLiesInside(outcome.cancel_reason()))) return;
  SpinLockHolder lock(lock_);
  JoinInto(joined_, outcome);
}

// --- permits -------------------------------------------------------------------------------------

bool RegionCore::OwesPermits() {
  BeforeRequest(ScopeRequest::kSettle);
  if (opener_permits.load(std::memory_order_relaxed) != 0) [[unlikely]]
    LedgerOf::Flush(this, opener_permits);
  if (permit_word::AllResolved(permits.load(std::memory_order_acquire))) [[likely]]
    return false;
  SpinLockHolder lock(lock_);
  awaits_permits_ = true;
  const Instant now = Now();
  const uint64_t state = word.load(std::memory_order_acquire);
  const bool cancelled = (state & region_word::kCancelled) != 0;
  // The finalizers of a region that ended by itself are done, and so is their time.
  if (!cancelled) own_finalize_by_ = Instant::InfiniteFuture();
  const bool spent = cancelled && (state & region_word::kAnySpent) != 0;
  // A request that comes from now on ends this time when its drain is spent.
  permits_by_ = spent ? now : std::min(drain_by_, drain_default_.EndsBy(now));
  RearmAlarm();
  return true;
}

bool RegionCore::PermitsSettled() {
  BeforeRequest(ScopeRequest::kSettle);
  SpinLockHolder lock(lock_);
  return permits_over_ || permit_word::AllResolved(permits.load(std::memory_order_acquire));
}

Enqueued RegionCore::AwaitPermits(Waiter* waiter) {
  SpinLockHolder lock(lock_);
  // seq_cst, against PermitDone: it sees the bit, or we see that nothing is open any more.
  const uint64_t before = permits.fetch_or(permit_word::kAwaited, std::memory_order_seq_cst);
  if (permits_over_ || permit_word::AllResolved(before)) return Enqueued::kRetry;
  permit_waiter_ = waiter;
  return Enqueued::kQueued;
}

void RegionCore::WakePermitWaiter() {
  Waiter* waiter = std::exchange(permit_waiter_, nullptr);
  if (waiter != nullptr) waiter->Grant();
}

void RegionCore::EndPermitsTime() {
  permits_over_ = true;
  WakePermitWaiter();
}

void RegionCore::PermitDone() {
  BeforeRequest(ScopeRequest::kResolve);
  const OutsideCall call(this);  // with the claim gone, the region may close
  const uint64_t before = permits.fetch_sub(permit_word::kClaimOne, std::memory_order_seq_cst);
  if ((before & permit_word::kAwaited) == 0 ||
      !permit_word::AllResolved(before - permit_word::kClaimOne)) {
    return;
  }
  SpinLockHolder lock(lock_);
  WakePermitWaiter();
}

void RegionCore::RevokePermits() {
  uint64_t before = permits.load(std::memory_order_acquire);
  int64_t open;
  do {
    // Whoever has claimed one is about to be done with it, and with this region.
    while ((before & permit_word::kClaimMask) != 0) {
      sched_yield();
      before = permits.load(std::memory_order_acquire);
    }
    open = permit_word::Open(before);
    if (open == 0) return;
    // Each keeps the record until it is given back; taken before anybody can see the bit.
    refs_.fetch_add(static_cast<uint32_t>(open), std::memory_order_relaxed);
    if (permits.compare_exchange_strong(before, before | permit_word::kRevoked,
                                        std::memory_order_acq_rel, std::memory_order_acquire)) {
      break;
    }
    refs_.fetch_sub(static_cast<uint32_t>(open), std::memory_order_relaxed);
  } while (true);
  Emit(EventKind::kPermitsRevoked, id, opener_ == nullptr ? 0 : opener_->id,
       static_cast<uint64_t>(open), region_name);
  services->counters->permits_revoked.fetch_add(static_cast<uint64_t>(open),
                                                std::memory_order_relaxed);
  const std::string which = LedgerOf::Describe(this);
  services->reports->Report(absl::StrCat(
      "quiesce: region '", region_name, "' (opened at ", DescribePlace(file_, line_),
      ") closed over ", open,
      open == 1 ? " open permit, which it revoked" : " open permits, which it revoked",
      which.empty() ? " (debug checks name them: QUIESCE_DEBUG_CHECKS=1)" : ": ", which,
      ". Consume a permit before the tasks of its region end, or Rebind it to the region that "
      "will.\n"));
}

void RegionCore::AddAuthority(Authority* node) {
  SpinLockHolder lock(lock_);
  node->next_owned = authorities_;
  authorities_ = node;
}

Outcome<void> RegionCore::Close() {
  if (!permit_word::AllResolved(permits.load(std::memory_order_acquire))) [[unlikely]] {
    BeforeRequest(ScopeRequest::kRevoke);
    RevokePermits();
  }
  if (parent_ != nullptr) {
    registry_.Leave(opener_);
    SpinLockHolder lock(parent_->lock_);
    parent_->children_.Remove(this);
    if (opener_->scope == parent_) {
      RegionCore** link = &opener_->opened;
      while (*link != this) link = &(*link)->next_opened_;
      *link = next_opened_;
    }
  }
  Outcome<void> joined = Ok();
  Authority* nodes;
  {
    SpinLockHolder lock(lock_);
    joined = std::exchange(joined_, Ok());
    nodes = std::exchange(authorities_, nullptr);
    word.fetch_or(region_word::kClosed, std::memory_order_seq_cst);
    SetAlarm(alarm_, Instant::InfiniteFuture());
    while (GuestAlarm* guest = guests_.front()) DropGuest(guest);
  }
  // Calls that came before. They are short, and what they use may go away with the last region.
  while (calls_.load(std::memory_order_seq_cst) != 0) sched_yield();
  while (nodes != nullptr) delete std::exchange(nodes, nodes->next_owned);
  Emit(EventKind::kRegionClose, id, opener_ == nullptr ? 0 : opener_->id,
       static_cast<uint64_t>(joined.severity()), region_name);
  return joined;
}

// --- admission -----------------------------------------------------------------------------------

bool RegionCore::CanEverFit(uint32_t size) const { return max_tasks_ > 0 && size <= max_bytes_; }

bool RegionCore::Fits(uint32_t size) const {
  return admitted_tasks_ < max_tasks_ && admitted_bytes_ <= max_bytes_ - size;
}

bool RegionCore::TryReserveAdmission(uint32_t size) {
  if (!limited_) return true;
  SpinLockHolder lock(lock_);
  if (!admission_queue_.empty() || !Fits(size)) return false;
  ++admitted_tasks_;
  admitted_bytes_ += size;
  return true;
}

Enqueued RegionCore::QueueForAdmission(AdmissionRequest* request) {
  SpinLockHolder lock(lock_);
  if (admission_queue_.empty() && Fits(request->size)) {
    if (!request->waiter->MayTake()) return Enqueued::kLost;
    ++admitted_tasks_;
    admitted_bytes_ += request->size;
    return Enqueued::kDone;
  }
  admission_queue_.PushBack(request);
  return Enqueued::kQueued;
}

void RegionCore::LeaveAdmissionQueue(AdmissionRequest* request) {
  SpinLockHolder lock(lock_);
  if (admission_queue_.Linked(request)) admission_queue_.Remove(request);
  GrantAdmissions();  // it may have stood before one that fits
}

void RegionCore::ReturnAdmission(uint32_t size) {
  SpinLockHolder lock(lock_);
  --admitted_tasks_;
  admitted_bytes_ -= size;
  GrantAdmissions();
}

void RegionCore::GrantAdmissions() {
  for (AdmissionRequest* request = admission_queue_.front();
       request != nullptr && Fits(request->size); request = admission_queue_.front()) {
    const uint32_t size = request->size;
    admission_queue_.Remove(request);
    if (!request->waiter->Grant()) continue;  // cancelled: it leaves by itself
    ++admitted_tasks_;
    admitted_bytes_ += size;
  }
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/testing/contract/wait_driver.h"

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/slab.h"

namespace quiesce::contract {
namespace {

constexpr int64_t kQuota = 1000;
constexpr absl::Duration kShortGrace = absl::Microseconds(100);

// The instant at which the region's deadline passes: on either side of what a Grant that moves time
// moves it by.
Instant DeadlineOf(const Scenario& scenario, Instant start) {
  return start + (scenario.GrantLeads() ? absl::Milliseconds(2) : absl::Microseconds(500));
}

bool IsByHandle(Source source) {
  return source == Source::kHandleRequest || source == Source::kHandleSpent ||
         source == Source::kHandlePollsSpent;
}

bool SpendsDrain(Source source) {
  return source == Source::kRegionSpent || source == Source::kRegionPollsSpent ||
         source == Source::kHandleSpent || source == Source::kHandlePollsSpent ||
         source == Source::kGraceSpent;
}

CancelKind RootKind(Source source) {
  switch (source) {
    case Source::kShutdown:
      return CancelKind::kShutdown;
    case Source::kDeadline:
      return CancelKind::kDeadline;
    case Source::kPollQuota:
    case Source::kCostQuota:
      return CancelKind::kQuota;
    default:
      return CancelKind::kUser;
  }
}

// The request itself takes effect before the call returns; what an alarm does, a step later.
bool IsImmediate(Source source, Mode mode) {
  switch (source) {
    case Source::kDeadline:
      return false;
    case Source::kRegionSpent:
    case Source::kHandleSpent:
    case Source::kGraceSpent:
      return mode == Mode::kOrdinary;
    default:
      return true;
  }
}

// Between these the waiting task is in the middle of a step.
bool IsInStep(Moment moment) { return moment != Moment::kBeforeStart && moment != Moment::kParked; }

}  // namespace

// Ends a test that hangs, with a dump, before the test runner does without.
class WaitDriver::Watchdog {
 public:
  explicit Watchdog(WaitDriver* driver) : driver_(driver), thread_([this] { Watch(); }) {}
  ~Watchdog() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void Next() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++scenarios_;
  }

 private:
  void Watch() {
    std::unique_lock<std::mutex> lock(mutex_);
    uint64_t seen = ~uint64_t{0};
    while (!stopping_) {
      if (seen == scenarios_) {
        std::fprintf(stderr, "contract: a scenario does not end: %s\n%s",
                     driver_->scenario_.ToString().c_str(), driver_->runtime_.Dump().c_str());
        std::abort();
      }
      seen = scenarios_;
      changed_.wait_for(lock, std::chrono::seconds(120));
    }
  }

  WaitDriver* const driver_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t scenarios_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

WaitDriver::WaitDriver()
    : observer_before_(SetEventObserver(this)), watchdog_(std::make_unique<Watchdog>(this)) {}

WaitDriver::~WaitDriver() {
  watchdog_ = nullptr;
  SetEventObserver(observer_before_);
}

// ---- the program ------------------------------------------------------------------------------------

Task<void> WaitDriver::Main(Cx cx) {
  co_await OrReturn(subject_->SetUp(cx));
  RegionOptions options = subject_->InsideOptions();
  if (scenario_.source == Source::kDeadline) {
    options.WithBudget(Budget::Deadline(DeadlineOf(scenario_, start_)));
  } else if (scenario_.source == Source::kPollQuota || scenario_.source == Source::kCostQuota) {
    options.WithBudget(Budget::Polls(kQuota).WithCost(kQuota));
  }
  options.WithGrace(scenario_.source == Source::kGraceSpent ? kShortGrace : absl::Hours(1));
  auto parent = [this, &options](Cx cx) -> Task<void> {
    parent_.emplace(cx.Ref());
    auto inside = [this](Cx cx) { return Inside(cx); };
    co_return co_await Region::Open(cx, "inside", inside, CollectAll(), options);
  };
  (void)co_await Region::Open(cx, "parent", parent, CollectAll());
  inside_closed_.store(true);
  if (!handle_.has_value() || result_.has_value()) {
    // The wait was made.
  } else {
    result_.emplace(std::move(*handle_).TakeOutcome());
  }
  if (result_.has_value() && result_->is_cancelled()) {
    Outcome<std::string> again = co_await subject_->WaitAgain(cx);
    Wrong(again.ok() ? *again : again.ToString());
  }
  co_return Ok();
}

Task<void> WaitDriver::Inside(Cx cx) {
  inside_.emplace(cx.Ref());
  opener_ = cx.task();
  subject_->SetUpInside(cx);
  if (scenario_.mode == Mode::kFinalizer) {
    const absl::Status deferred =
        cx.Defer("waiting-finalizer", [this](Cx cx) { return Waiting(cx); });
    QUIESCE_CHECK(deferred.ok(), "contract: Defer was refused");
    handle_ready_.store(true);
    Hit(Moment::kBeforeStart);
    co_return Ok();
  }
  const Cx spawning = scenario_.mode == Mode::kForDrain ? cx.ForDrain() : cx;
  handle_.emplace(spawning.Spawn("waiting", [this](Cx cx) { return Waiting(cx); }));
  handle_ready_.store(true);
  Hit(Moment::kBeforeStart);
  co_return Ok();
}

Task<void> WaitDriver::Waiting(Cx cx) {
  waiting_.store(cx.task());
  switch (scenario_.mode) {
    case Mode::kForDrain: {
      co_return co_await subject_->WaitOnce(cx.ForDrain(), *this);
    }
    case Mode::kMasked: {
      Masked mask(cx, 1000);
      co_return co_await subject_->WaitOnce(cx, *this);
    }
    default:
      co_return co_await subject_->WaitOnce(cx, *this);
  }
}

void WaitDriver::EnterWait(const CxBase& cx) {
  waiting_id_.store(cx.task()->id);
  in_wait_.store(true);
}

void WaitDriver::LeaveWait(const Waiter* waiter) {
  in_wait_.store(false);
  wait_ended_ = true;
  if (waiter == nullptr) return;
  if (static_cast<const QueueHook*>(waiter)->linked()) Wrong("the waiter is still in a wait queue");
  if ((waiter->task()->word.load() & task_word::kStateMask) != task_word::kRunning) {
    Wrong("the task's word does not say that it runs");
  }
}

void WaitDriver::Report(Outcome<void> result, std::string problem) {
  result_.emplace(std::move(result));
  Wrong(problem);
}

void WaitDriver::Wrong(const std::string& what) {
  if (what.empty()) return;
  ThreadMutexLock lock(wrong_mutex_);
  absl::StrAppend(&wrong_, "  ", what, "\n");
}

// ---- the moments ------------------------------------------------------------------------------------

void WaitDriver::OnEvent(EventKind kind, uint64_t, uint64_t task, uint64_t, const char* name) {
  if (racing_) {
    // Moves the threads against each other; a lock may be held here.
    thread_local uint32_t random = 1;
    random = random * 1664525u + 1013904223u + seed_;
    if (random >> 30 == 0) std::this_thread::yield();
    return;
  }
  if (!in_wait_.load() || task != waiting_id_.load()) return;
  if (traits_.wait_name != nullptr && name != absl::string_view(traits_.wait_name)) return;
  switch (kind) {
    case EventKind::kCheckpoint:
      return Hit(Moment::kChecked);
    case EventKind::kWaitArm:
      return Hit(Moment::kArming);
    case EventKind::kWaitRegister:
      return Hit(Moment::kRegistered);
    case EventKind::kWaitEnqueue:
      return Hit(Moment::kEnqueueing);
    case EventKind::kPark:
      return Hit(Moment::kParking);
    case EventKind::kResume:
      return Hit(Moment::kResuming);
    case EventKind::kWaitSettle:
      return Hit(Moment::kSettling);
    default:
      return;
  }
}

void WaitDriver::Hit(Moment moment) {
  if (racing_) return;
  reached_.fetch_or(Bit(moment));
  if (scenario_.cancel != moment && scenario_.grant != moment) return;
  if ((acted_.fetch_or(Bit(moment)) & Bit(moment)) != 0) return;  // a wait may come by again
  Act(moment);
}

void WaitDriver::Act(Moment moment) {
  const bool steps_follow = scenario_.from == From::kOtherWorker && IsInStep(moment);
  const auto act = [&] {
    const bool grant_first = scenario_.GrantLeads();
    if (grant_first && scenario_.grant == moment) Grant(moment, steps_follow);
    if (scenario_.cancel == moment) Cancel(moment, steps_follow);
    if (!grant_first && scenario_.grant == moment) Grant(moment, steps_follow);
  };
  switch (scenario_.from) {
    case From::kSameWorker:
      return act();
    case From::kOtherWorker:
      return runtime_.OnOtherThread(SteppedRuntime::Where::kOtherWorker, act);
    case From::kForeignThread:
      return runtime_.OnOtherThread(SteppedRuntime::Where::kForeignThread, act);
  }
}

void WaitDriver::Grant(Moment moment, bool steps_follow) {
  if (granted_.load()) return;  // a later one than planned: the wait would not have ended
  grant_ = {.moment = moment,
            .in_time = !wait_ended_,
            .immediate = steps_follow || traits_.grant_is_immediate,
            .number = ++deeds_};
  granted_.store(true);
  subject_->Grant();
  if (steps_follow) runtime_.RunReadySteps();
}

void WaitDriver::Cancel(Moment moment, bool steps_follow) {
  if (!MayUseSource()) return;
  cancel_ = {.moment = moment,
             .in_time = !wait_ended_,
             .immediate = steps_follow || IsImmediate(scenario_.source, scenario_.mode),
             .number = ++deeds_};
  cancelled_.store(true);
  RunSource();
  if (steps_follow) runtime_.RunReadySteps();
}

bool WaitDriver::MayUseSource() const {
  // In a finalizer there is no handle to cancel by, and a task that has not begun uses up nothing.
  if (IsByHandle(scenario_.source) && !handle_.has_value()) return false;
  return scenario_.source != Source::kHandlePollsSpent || waiting_.load() != nullptr;
}

void WaitDriver::RunSource() {
  const Budget nothing = Budget::Timeout(absl::ZeroDuration());
  switch (scenario_.source) {
    case Source::kRegionRequest:
      return inside_->Cancel();
    case Source::kParentRequest:
      return parent_->Cancel();
    case Source::kHandleRequest:
      return handle_->Cancel();
    case Source::kShutdown:
      return inside_->Shutdown();
    case Source::kDeadline:
      return runtime_.AdvanceTo(DeadlineOf(scenario_, start_));
    case Source::kPollQuota:
      return UseUp(opener_, kQuota, 0);
    case Source::kCostQuota:
      return UseUp(opener_, 0, kQuota);
    case Source::kRegionSpent:
      return inside_->Cancel(nothing);
    case Source::kRegionPollsSpent:
      inside_->Cancel(Budget::Polls(kQuota));
      return UseUp(opener_, kQuota, 0);
    case Source::kHandleSpent:
      return handle_->Cancel(nothing);
    case Source::kHandlePollsSpent:
      if (racing_) return handle_->Cancel(Budget::Polls(0));
      handle_->Cancel(Budget::Polls(kQuota));
      return UseUp(waiting_.load(), kQuota, 0);
    case Source::kGraceSpent:
      inside_->Cancel(nothing);
      return runtime_.AdvanceBy(kShortGrace);
  }
}

// What the resumes and the Cx::Charge of `task` do. Where threads race, `task` may end meanwhile: there another
// task of the region does it, if the region still takes one.
void WaitDriver::UseUp(TaskScope* task, int64_t polls, int64_t cost) {
  const auto use_up = [polls, cost](RegionScope* region, TaskScope* task) {
    region->ops->charge(region, task, polls, cost);
  };
  if (!racing_) return use_up(inside_->scope(), task);
  (void)inside_->SpawnForDrain("user-of-quota", [use_up](Cx cx) -> Task<void> {
    use_up(cx.region(), cx.task());
    co_return Ok();
  });
}

// ---- one scenario -----------------------------------------------------------------------------------

void WaitDriver::Begin(const Scenario& scenario, std::unique_ptr<Subject> subject) {
  watchdog_->Next();
  scenario_ = scenario;
  subject_ = std::move(subject);
  traits_ = subject_->traits();
  start_ = runtime_.Now();
  handle_ready_.store(false);
  waiting_.store(nullptr);
  acted_.store(0);
  in_wait_.store(false);
  wait_ended_ = false;
  inside_closed_.store(false);
  granted_.store(false);
  cancelled_.store(false);
  deeds_ = 0;
  grant_ = Deed();
  cancel_ = Deed();
  runtime_.Start([this](Cx cx) { return Main(cx); });
}

std::string WaitDriver::End(size_t memory_before) {
  runtime_.Finish();
  Wrong(runtime_.TakeProblems());
  Wrong(Judge());
  parent_.reset();
  inside_.reset();
  handle_.reset();
  result_.reset();
  subject_ = nullptr;
  const size_t memory = GetSlabStats().live_bytes;
  if (memory != memory_before) {
    Wrong(absl::StrCat("memory: ", memory_before, " bytes before, ", memory, " after"));
  }
  return std::exchange(wrong_, "");
}

std::string WaitDriver::Run(const Scenario& scenario, std::unique_ptr<Subject> subject) {
  racing_ = false;
  const size_t memory_before = GetSlabStats().live_bytes;
  Begin(scenario, std::move(subject));
  runtime_.RunUntilIdle();
  if (in_wait_.load()) {
    Hit(Moment::kParked);
    runtime_.RunUntilIdle();
  }
  // An alarm that comes a step later may be too late for a wait that becomes structural.
  const bool ended_by_cancel =
      cancelled_.load() && EndsWait(cancel_.moment) && (cancel_.immediate || !traits_.structural);
  if (in_wait_.load() && (traits_.ends_alone || granted_.load() || ended_by_cancel)) {
    Wrong(absl::StrCat("a wake-up is lost (G4):\n", runtime_.Dump()));
  }
  if (!in_wait_.load() && !inside_closed_.load() && !traits_.holds_region) {
    Wrong(absl::StrCat("the wait has ended but its region does not close:\n", runtime_.Dump()));
  }
  // What still waits now, waits for the grant: the wait itself if nothing has ended it, or the second.
  if (!runtime_.quiescent() && !granted_.load()) {
    Grant(Moment::kNever, /*steps_follow=*/false);
    runtime_.RunUntilIdle();
  }
  if (!runtime_.quiescent()) {
    std::fprintf(stderr, "contract: %s: granted, but something still waits:\n%s%s",
                 scenario.ToString().c_str(), runtime_.Dump().c_str(), wrong_.c_str());
    std::abort();
  }
  return End(memory_before);
}

std::string WaitDriver::Race(const Scenario& scenario, uint32_t seed,
                             std::unique_ptr<Subject> subject) {
  racing_ = true;
  seed_ = seed;
  const size_t memory_before = GetSlabStats().live_bytes;
  Begin(scenario, std::move(subject));
  const auto after_a_while = [&](uint32_t salt) {
    while (!handle_ready_.load()) std::this_thread::yield();
    std::minstd_rand random(seed * 2 + salt + 1);
    for (uint32_t spins = random() % 4 * (random() % 1000); spins > 0; --spins) {
      if (handle_ready_.load() && spins % 64 == 0) std::this_thread::yield();
    }
  };
  std::thread granter([&] {
    after_a_while(0);
    granted_.store(true);
    subject_->Grant();
  });
  std::thread canceller([&] {
    after_a_while(1);
    if (!MayUseSource()) return;
    cancelled_.store(true);
    RunSource();
  });
  std::atomic<bool> acted{false};
  std::thread joiner([&] {
    granter.join();
    canceller.join();
    acted.store(true);
  });
  runtime_.RunConcurrently(1, [&] { return acted.load() && runtime_.quiescent(); });
  joiner.join();
  // Alarms that come after the end.
  runtime_.RunUntilIdle();
  return End(memory_before);
}

// ---- the verdict ------------------------------------------------------------------------------------

// Does the cancel, coming at `moment`, end the wait?
bool WaitDriver::EndsWait(Moment moment) const {
  const bool not_started = moment == Moment::kBeforeStart;
  if (traits_.structural && !not_started &&
      (moment > Moment::kBeforeAwait || !traits_.checks_first)) {
    return false;
  }
  switch (scenario_.mode) {
    case Mode::kOrdinary:
      return true;
    case Mode::kForDrain:
      return SpendsDrain(scenario_.source);
    case Mode::kMasked:
      return not_started || SpendsDrain(scenario_.source);
    case Mode::kFinalizer:
      return scenario_.source == Source::kGraceSpent;
  }
  return false;
}

// A grant that moves the time may move it past the deadline, or the end of the finalizers' time.
bool WaitDriver::TimeMayCancel() const {
  return traits_.grant_moves_time &&
         (scenario_.source == Source::kDeadline || scenario_.source == Source::kGraceSpent);
}

std::string WaitDriver::Judge() {
  if (!result_.has_value()) return "the wait has yielded nothing";
  const Outcome<void>& result = *result_;
  if (!result.ok() && !result.is_cancelled()) return "the wait yields " + result.ToString();
  const bool time_may_cancel = TimeMayCancel();
  bool may_be_cancelled =
      cancelled_.load() && EndsWait(racing_ ? Moment::kBeforeStart : cancel_.moment);
  if (!racing_ && !cancel_.in_time) may_be_cancelled = false;
  if (result.is_cancelled()) {
    const CancelReason& reason = result.cancel_reason();
    if (!may_be_cancelled && !time_may_cancel)
      return "Cancelled without a cause: " + result.ToString();
    if (reason.root().kind() != RootKind(scenario_.source) && !time_may_cancel) {
      return "Cancelled for a wrong reason: " + result.ToString();
    }
    const bool spent_only = SpendsDrain(scenario_.source) && scenario_.mode != Mode::kOrdinary;
    if (spent_only && !racing_ && wait_ended_ && reason.kind() != CancelKind::kDrainBudgetSpent) {
      return "Cancelled, but not by the end of the drain budget: " + result.ToString();
    }
    return racing_ ? "" : JudgeOrder();
  }
  if (!granted_.load() && !traits_.ends_alone) return "Ok, but nothing was granted";
  return racing_ ? "" : JudgeOrder();
}

// Where one came wholly before the other, and the wait was at a place where that decides.
std::string WaitDriver::JudgeOrder() {
  const bool ok = result_->ok();
  const bool cancel_ends = cancel_.number != 0 && cancel_.in_time && EndsWait(cancel_.moment);
  const bool granted = grant_.number != 0 && grant_.in_time && grant_.moment != Moment::kNever;
  if (!cancel_ends || TimeMayCancel()) return "";
  if (!ok) {
    const bool granted_before =
        granted && !traits_.ends_alone && grant_.immediate && grant_.number < cancel_.number;
    const bool queued_then = grant_.moment == Moment::kParking || grant_.moment == Moment::kParked;
    const bool tried_then = traits_.try_completes && grant_.moment <= Moment::kChecked &&
                            cancel_.moment >= Moment::kChecked;
    if (granted_before && (tried_then || (queued_then && traits_.grant_is_kept))) {
      return "Cancelled, but it had been granted before (G8)";
    }
    return "";
  }
  if (!cancel_.immediate) return "";
  if (cancel_.moment <= Moment::kBeforeAwait)
    return "Ok, but it was cancelled before it began (R2)";
  if (traits_.ends_alone) return "";
  if (cancel_.moment == Moment::kArming || cancel_.moment == Moment::kRegistered) {
    return "Ok, but it was cancelled before it was queued";
  }
  if (granted && grant_.number < cancel_.number) return "";
  // At kParking a region's request decides, a task's is seen when the park is committed.
  if (cancel_.moment == Moment::kParked ||
      (cancel_.moment == Moment::kParking && !IsByHandle(scenario_.source))) {
    return "Ok, but it had been cancelled before (G8)";
  }
  return "";
}

}  // namespace quiesce::contract

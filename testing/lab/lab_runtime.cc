#include "quiesce/testing/lab/lab_runtime.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/region/region_ref.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/task/step_state.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/testing/explore/mix.h"

namespace quiesce::lab {
namespace {

using explore::Effect;

thread_local LabRuntime* current = nullptr;

// Virtual time begins here: late enough for what has happened "an hour ago".
constexpr int64_t kBeginNanos = int64_t{1'000'000} * 1'000'000'000;

bool IsFailure(Severity severity) {
  return severity == Severity::kError || severity == Severity::kPanicked;
}

}  // namespace

LabRuntime::LabRuntime(Main main, const Options& options)
    : main_(std::move(main)),
      options_(options),
      machine_([this](Machine&) { Begin(); }),
      network_(this, options.faults),
      observer_before_(SetEventObserver(this)) {
  current = this;
  services_.scheduler = this;
  services_.clock = this;
  services_.poller = this;
  services_.random = this;
  services_.sockets = &network_;
  services_.reports = this;
  services_.counters = &counters_;
  machine_.LetGoInsteadOfUnwinding();
  machine_.OnEnd([this](Ended how) { End(how); });
}

LabRuntime::~LabRuntime() {
  SetEventObserver(observer_before_);
  current = nullptr;
}

// ---- one execution ----------------------------------------------------------------------------------

void LabRuntime::Begin() {
  stats_ = std::make_unique<DrainStats>();
  outcome_ = Ok();
  reports_.clear();
  counters_.permits_leaked = counters_.permits_revoked = 0;
  quiescent_ = fires_ = false;
  crowded_ = options_.early_timers || options_.late_timers;
  now_ = kBeginNanos;
  armed_.clear();
  by_runnable_.clear();
  by_id_.clear();
  by_record_.clear();
  all_regions_.clear();
  regions_.clear();
  objects_.clear();
  of_kind_.clear();
  draws_.clear();
  timers_armed_.clear();
  ticks_.clear();
  used_tasks_.clear();
  order_.Begin();
  oracles_.Begin();
  graph_.Begin();
  made_by_.clear();
  over_ = broken_ = false;
  failed_at_.reset();
  task_failed_at_.reset();
  race_.clear();
  leaks_.clear();
  if (on_begin_) on_begin_();
  time_ = machine_.NewObject();
  root_ = RegionCore::NewRoot(&services_, "lab", stats_.get());
  root_->on_quiescent_argument = this;
  root_->on_quiescent = [](RegionCore* root) {
    static_cast<LabRuntime*>(root->on_quiescent_argument)->quiescent_ = true;
  };
  clock_ = NewTask([this](LabTask* clock) { RunClock(clock); });
  clock_->name = "clock";
  bystanders_ = options_.late_timers;
  network_.Begin();
  busy_ = 0;
  if (options_.workers != 0) {
    queue_.emplace();
    order_of_steps_ = machine_.NewObject();
  }
  running_main_.emplace(spawn_internal::SpawnFromOutside(
      root_, &root_->authority(), /*cx_flags=*/0, SpawnName("main"),
      [this](Cx cx) -> Task<void> { return Drive(cx); }));
  if (options_.cancel_sweep) StartCanceller("canceller", Budget());
  if (options_.spent_drains) StartCanceller("end of the drain", Budget::Polls(0));
  if (root_->TryCloseCount() || !root_->ParkCloser(nullptr)) quiescent_ = true;
}

void LabRuntime::StartCanceller(const char* name, const Budget& drain) {
  LabTask* const canceller = NewTask([this, drain](LabTask* self) { RunCanceller(self, drain); });
  canceller->name = name;
  canceller->bystander = bystanders_ = true;
}

void LabRuntime::RunCanceller(LabTask* canceller, const Budget& drain) {
  canceller->request = ScopeRequest::kCancel;
  canceller->target_region = FindRegion(root_->id);
  Point(canceller, Doing::kRequest);
  if (root_ == nullptr || quiescent_) return;  // all have ended before
  canceller->ended = true;                     // what follows is one step
  RegionRef(root_, &root_->authority()).Cancel(drain);
}

Task<void> LabRuntime::Drive(Cx cx) { co_return co_await Region::Open(cx, "main", main_); }

LabRuntime* LabRuntime::Current() { return current; }

void LabRuntime::End(Ended how) {
  leaks_ = how == Ended::kComplete ? network_.Leaks() : "";
  if (how == Ended::kComplete) oracles_.OnEnd(armed_.size());
  if (how == Ended::kDeadlock) oracles_.OnQuiet();
  if (!oracles_.violation().empty()) broken_ = true;
  deadlock_ = how == Ended::kDeadlock;
  waiting_.clear();
  for (const explore::TaskId id : machine_.live()) {
    if (id != clock_->id && machine_.latest(id).index != 0) waiting_.push_back(id);
  }
  over_ = true;
  if (on_end_) on_end_(how);
  const bool logs = std::exchange(logs_, false);
  CancelRest();
  logs_ = logs;
}

void LabRuntime::CancelRest() {
  if (root_ != nullptr && !broken_) {
    // Whatever is left is cancelled, and gets the time that it has for that.
    RegionRef(root_, &root_->authority()).Cancel();
    machine_.RunOn();
  }
  if (root_ != nullptr) {
    // Nothing of it may be touched again: it, and what waits in it, stays where it is.
    (void)stats_.release();
    root_ = nullptr;
    running_main_.reset();
  }
  while (timers_.PopFront() != nullptr) {
  }
  while (stray_steps_.PopFront() != nullptr) {
  }
}

// ---- tasks ------------------------------------------------------------------------------------------

LabRuntime::LabTask* LabRuntime::NewTask(std::function<void(LabTask*)> run) {
  const explore::TaskId id =
      machine_.Spawn([this, run = std::move(run)] { run(&tasks_[*machine_.running()]); });
  while (tasks_.size() <= id) tasks_.emplace_back();
  LabTask* task = &tasks_[id];
  *task = LabTask();
  task->lab = this;
  task->id = id;
  task->age = static_cast<uint32_t>(used_tasks_.size());
  used_tasks_.push_back(task);
  return task;
}

LabRuntime::LabTask* LabRuntime::Running() {
  const std::optional<explore::TaskId> running = machine_.running();
  return running.has_value() ? &tasks_[*running] : nullptr;
}

void LabRuntime::Post(Runnable* runnable, Lane lane, Place place, Instant deadline) {
  const auto found = by_runnable_.find(runnable);
  if (found != by_runnable_.end()) {
    found->second->ready = true;
    found->second->woken_by = machine_.now();
    if (const LabTask* by = Running()) order_.Join(found->second->id, by->id);
    return Queue(runnable, lane, place, deadline);
  }
  if (runnable->step != &StartStep) {
    stray_steps_.PushBack(runnable);
    return;
  }
  LabTask* task = NewTask([this, runnable](LabTask* self) { RunTask(self, runnable); });
  task->core = static_cast<TaskCore*>(runnable);
  task->runtime_id = spawned_->id;
  task->name = spawned_->name;
  task->home = task->region = FindRegion(spawned_->region);
  if (task->home->id != root_->id) task->site = task->core->site;  // main's is here
  spawned_.reset();
  if (const LabTask* by = Running()) order_.Join(task->id, by->id);
  task->cancel = machine_.NewObject();
  task->end = FindObject(reinterpret_cast<uintptr_t>(task->core)).number;
  ++task->home->live;
  by_runnable_[runnable] = task;
  by_record_[reinterpret_cast<uintptr_t>(task->core)] = task;
  by_id_[task->runtime_id] = task;
  Queue(runnable, lane, place, deadline);
}

void LabRuntime::Queue(Runnable* runnable, Lane lane, Place place, Instant deadline) {
  if (!queue_.has_value()) return;
  queue_->Push(runnable, lane, place, deadline);
  oracles_.OnQueued(runnable, lane, deadline);
  TakeWork();
}

void LabRuntime::TakeWork() {
  while (busy_ < options_.workers) {
    Runnable* const next = queue_->Pop(/*hungry=*/false);
    if (next == nullptr) return;
    by_runnable_[next]->taken = true;
    ++busy_;
    Watch([&] { oracles_.OnTaken(next); });
  }
}

void LabRuntime::LeaveWorker(LabTask* task) {
  if (!std::exchange(task->on_worker, false)) return;
  --busy_;
  TakeWork();
}

void LabRuntime::PostBatch(RunnableQueue batch, Lane lane) {
  while (Runnable* runnable = batch.PopFront()) {
    Post(runnable, lane, Place::kBack, Instant::InfiniteFuture());
  }
}

void LabRuntime::RunTask(LabTask* task, Runnable* runnable) {
  Point(task, Doing::kStart);
  while (true) {
    task->on_worker = std::exchange(task->taken, false);
    task->ready = task->arming = false;
    runnable->step(runnable);
    LeaveWorker(task);
    if (task->ended) return;
    Point(task, Doing::kResume);
    if (task->woken_by.index != 0) machine_.After(task->woken_by);
    task->waits = false;
    if (task->closes != nullptr) ComeAfterEnds(task);
  }
}

void LabRuntime::ComeAfterEnds(LabTask* task) {
  for (const explore::EventRef end : task->closes->ends) {
    machine_.After(end);
    order_.Join(task->id, end.task);
  }
  if (task->closes->live == 0) task->closes = nullptr;
}

// ---- time -------------------------------------------------------------------------------------------

void LabRuntime::Arm(Timer* timer) {
  timer->armed = true;
  if (timer->when.is_infinite()) return;
  timers_.PushBack(timer);
  ArmedTimer armed;
  const LabTask* by = Running();
  armed.by = by == nullptr ? clock_->id : by->id;
  armed.nth = timers_armed_[armed.by]++;
  armed.by_time = by == nullptr || by == clock_ || by->doing == Doing::kFire;
  armed_[timer] = armed;
}

bool LabRuntime::Disarm(Timer* timer) {
  if (!std::exchange(timer->armed, false)) return false;
  const auto found = armed_.find(timer);
  if (found == armed_.end()) return true;  // for ever
  if (found->second.fires != nullptr) {
    found->second.fires->timer = nullptr;
  } else {
    timers_.Remove(timer);
  }
  armed_.erase(found);
  return true;
}

bool LabRuntime::OthersCanGo() {
  return std::ranges::any_of(machine_.live(), [this](explore::TaskId id) {
    return id != clock_->id && !tasks_[id].bystander && machine_.Next(id).enabled;
  });
}

bool LabRuntime::MayBeEarly() {
  if (!stray_steps_.empty()) return true;
  Timer* first = timers_.front();
  for (Timer* timer = first; timer != nullptr; timer = timers_.Next(timer)) {
    if (timer->when < first->when) first = timer;
  }
  return first != nullptr && !armed_[first].by_time;
}

void LabRuntime::RunClock(LabTask* clock) {
  while (true) {
    Point(clock, Doing::kTime);
    crowded_ = options_.early_timers || options_.late_timers;
    if (!crowded_) Watch([this] { oracles_.OnQuiet(); });
    for (const LabTask* other : used_tasks_) {
      if (crowded_) break;  // nobody had to come before
      if (other->bystander) continue;
      const explore::EventRef latest = machine_.latest(other->id);
      if (latest.index != 0) machine_.After(latest);
    }
    if (!stray_steps_.empty()) {
      RunSteps();
      continue;
    }
    if (quiescent_) {
      (void)root_->Close();
      std::exchange(root_, nullptr)->Unref();
      outcome_ = (*std::exchange(running_main_, std::nullopt)).TakeOutcome();
      network_.EndAll();
      return;
    }
    Instant first = Instant::InfiniteFuture();
    for (const Timer* timer = timers_.front(); timer != nullptr; timer = timers_.Next(timer)) {
      first = std::min(first, timer->when);
    }
    now_ = std::max(now_, std::min(first.nanos(), network_.NextInstant()));
    ticks_.push_back({now_, machine_.now()});
    if (!crowded_) Watch([this] { oracles_.OnTime(now_); });
    std::vector<Timer*> due;
    for (Timer* timer = timers_.front(); timer != nullptr; timer = timers_.Next(timer)) {
      if (timer->when.nanos() <= now_) due.push_back(timer);
    }
    for (Timer* timer : due) timers_.Remove(timer);
    if (due.empty()) continue;  // something arrives
    if (due.size() == 1 && !options_.late_timers) {
      Fire(due.front());
      continue;
    }
    crowded_ = true;
    std::ranges::sort(due, {}, [this](Timer* timer) {
      const ArmedTimer& armed = armed_[timer];
      return std::pair(armed.by, armed.nth);
    });
    for (Timer* timer : due) {
      LabTask* fires = NewTask([this](LabTask* self) {
        Point(self, Doing::kFire);
        if (self->timer != nullptr) Fire(self->timer);
      });
      fires->name = "timer";
      fires->bystander = options_.late_timers;
      fires->timer = timer;
      armed_[timer].fires = fires;
    }
  }
}

void LabRuntime::Fire(Timer* timer) {
  armed_.erase(timer);
  timer->armed = false;
  fires_ = true;
  timer->fire(timer);
  fires_ = false;
  RunSteps();
}

void LabRuntime::RunSteps() {
  while (Runnable* step = stray_steps_.PopFront()) step->step(step);
}

uint64_t LabRuntime::Next() {
  const LabTask* task = Running();
  const uint32_t by = task == nullptr ? ~uint32_t{0} : task->id;
  return explore::Mix(draws_[by]++, explore::Mix(by, options_.seed));
}

// ---- the network ------------------------------------------------------------------------------------

void LabRuntime::Do(LabNetwork::Declare declare, LabNetwork::Describe describe) {
  LabTask* const task = Running();
  // While the runtime is made, and while a timer fires, nobody comes in between.
  if (task == nullptr || fires_) return;
  task->declare = &declare;
  task->describe = &describe;
  Point(task, Doing::kNetwork);
  explore::Pending done;
  declare(done);
  for (const explore::Access& access : done.op.accesses) order_.Use(task->id, access.object);
}

void LabRuntime::AfterTick(int64_t nanos) {
  const auto tick =
      std::ranges::find_if(ticks_, [nanos](const Tick& tick) { return tick.now >= nanos; });
  if (tick != ticks_.end()) machine_.After(tick->step);
}

void LabRuntime::Start(const char* name, bool fault, std::function<void()> run) {
  LabTask* const task = NewTask([run = std::move(run)](LabTask*) { run(); });
  task->name = name;
  task->bystander = fault;
  bystanders_ |= fault;
}

std::vector<uint64_t> LabRuntime::Regions() const {
  std::vector<uint64_t> regions;
  const LabTask* const task = Running();
  for (const LabRegion* at = task == nullptr ? nullptr : task->region; at != nullptr;
       at = at->parent) {
    regions.push_back(at->id);
  }
  return regions;
}

// ---- what is visible --------------------------------------------------------------------------------

LabRuntime::LabRegion* LabRuntime::FindRegion(uint64_t id) {
  const auto found = regions_.find(id);
  return found == regions_.end() ? nullptr : found->second;
}

LabRuntime::Object LabRuntime::FindObject(uintptr_t address) {
  const auto found = objects_.find(address);
  if (found != objects_.end()) return found->second;
  const auto [older, fresh] = older_objects_.try_emplace(address, older_);
  if (fresh) ++older_;
  return Object{machine_.OlderObject(older->second), "object from outside of the lab",
                older->second + 1};
}

void LabRuntime::OnEvent(EventKind kind, uint64_t region_id, uint64_t task_id, uint64_t arg,
                         const char* name) {
  if (logs_ && !IsPoint(kind)) Log(kind, region_id, task_id, arg, name);
  const auto watch = [&] {
    if (kind == EventKind::kPermitReserve && !InCancelledWait(task_id))
      oracles_.OnWaitLeft(task_id);
    oracles_.OnEvent(kind, region_id, task_id, arg, name);
  };
  LabTask* task = Running();
  if (logs_) graph_.OnEvent(kind, region_id, task_id, arg, name, task ? task->runtime_id : 0);
  const bool is_step = task != nullptr && !task->ended && !fires_;
  // Of the end of a task they hear when it is one to others, too: after the point.
  const bool hears_later = is_step && kind == EventKind::kTaskEnd;
  if (kind != EventKind::kObjectMade && !hears_later) Watch(watch);
  switch (kind) {
    case EventKind::kObjectMade:
      objects_[arg] = Object{machine_.NewObject(), name, ++of_kind_[name]};
      return;
    case EventKind::kRegionOpen: {
      LabRegion* region = &all_regions_.emplace_back();
      region->id = region_id;
      region->parent = FindRegion(arg);
      region->name = name;
      const auto opener = by_id_.find(task_id);
      if (opener != by_id_.end()) region->opener = opener->second;
      region->cancel = machine_.NewObject();
      region->life = machine_.NewObject();
      region->permits = machine_.NewObject();
      region->admission = machine_.NewObject();
      region->finalizers = machine_.NewObject();
      regions_[region_id] = region;
      return;
    }
    case EventKind::kSpawn:
      spawned_ = Spawned{task_id, region_id, name};
      return;
    default:
      break;
  }
  if (task == nullptr) return;
  if (!is_step) {
    // Within one step; but what it does is ordered all the same.
    if (kind == EventKind::kObjectUse)
      Order(task, FindObject(arg >> 2), static_cast<ObjectUse>(arg & 3));
    return;
  }
  switch (kind) {
    case EventKind::kScopeLook:
      task->region = FindRegion(region_id);
      task->used.clear();
      task->waits = false;
      return Point(task, Doing::kLook);
    case EventKind::kCheckpoint:
      task->operation = name;
      return;
    case EventKind::kWaitEnqueue:
      task->arming = task->waits = true;
      return;
    case EventKind::kObjectUse: {
      const Object object = FindObject(arg >> 2);
      const auto use = static_cast<ObjectUse>(arg & 3);
      const bool same = std::exchange(task->arming, false) && !options_.split_waits &&
                        task->doing == Doing::kUse && task->object.number == object.number &&
                        task->use == ObjectUse::kChange;
      if (same) return;
      task->object = object;
      task->use = use;
      task->function = name;
      task->used.push_back(object.number);
      Point(task, Doing::kUse);
      return Order(task, object, use);
    }
    case EventKind::kScopeRequest: {
      task->request = static_cast<ScopeRequest>(arg & 0xff);
      task->target_region = FindRegion(region_id);
      const auto target = by_record_.find(static_cast<uintptr_t>(arg >> 8));
      task->target_task = target == by_record_.end() ? nullptr : target->second;
      if (task->request == ScopeRequest::kAdmit) {
        task->used.push_back(task->target_region->admission);
        task->target_region->admits = true;
      }
      Point(task, Doing::kRequest);
      if (task->request == ScopeRequest::kClaim) ++task->target_region->claims;
      if (task->request == ScopeRequest::kResolve) --task->target_region->claims;
      if (task->request == ScopeRequest::kClose) {
        task->closes = task->target_region;
        ComeAfterEnds(task);
      }
      return;
    }
    case EventKind::kTaskEnd:
      task->severity = static_cast<Severity>(arg);
      Point(task, Doing::kEnd);
      Watch(watch);
      if (IsFailure(task->severity) && !task_failed_at_.has_value() && !over_) {
        task_failed_at_ = latest_step();
      }
      task->ended = true;
      order_.Use(task->id, task->end);
      by_runnable_.erase(task->core);
      by_id_.erase(task->runtime_id);
      task->core = nullptr;
      --task->home->live;
      task->home->ends.push_back(machine_.now());
      return;
    default:
      return;
  }
}

bool LabRuntime::InCancelledWait(uint64_t task_id) const {
  const auto found = by_id_.find(task_id);
  if (found == by_id_.end()) return false;
  const uint32_t state =
      found->second->core->word.load(std::memory_order_relaxed) & task_word::kStateMask;
  return state == task_word::kDecidedCancelled || state == task_word::kDecidedSpent;
}

template <class Hear>
void LabRuntime::Watch(Hear hear) {
  const bool fine = oracles_.violation().empty();
  hear();
  if (!fine || oracles_.violation().empty()) return;
  NoteFailure();
  const LabTask* task = Running();
  if (over_ || task == nullptr) return;
  broken_ = true;
  (void)StepState::Take();
  machine_.Visit([](const void*, explore::Pending& pending) { pending.enabled = false; }, task);
}

void LabRuntime::Order(LabTask* task, const Object& object, ObjectUse use) {
  switch (use) {
    case ObjectUse::kLook:
    case ObjectUse::kChange:
      return order_.Use(task->id, object.number);
    case ObjectUse::kPlainLook:
    case ObjectUse::kPlainChange:
      break;
  }
  const bool change = use == ObjectUse::kPlainChange;
  const std::optional<explore::TaskId> other = order_.Race(task->id, object.number, change);
  if (!other.has_value() || !race_.empty()) return;
  NoteFailure();
  race_ = absl::StrCat("DATA RACE on ", object.what, " ", object.ordinal, ": '", task->name, "' ",
                       change ? "writes" : "reads", " it, and nothing orders that after what '",
                       tasks_[*other].name, "' has done to it. Guard it, or hand it over\n");
}

void LabRuntime::Point(LabTask* task, Doing doing) {
  task->doing = doing;
  const StepState mine = StepState::Take();
  machine_.Visit(&Look, task);
  made_by_.push_back(task->age);
  if (logs_) {
    log_.steps.push_back({.task = task->age,
                          .what = Describe(*task),
                          .time_ns = now_ - kBeginNanos,
                          .quiet = doing == Doing::kLook});
  }
  mine.Restore();
  task->arming = false;
}

void LabRuntime::Look(const void* argument, explore::Pending& pending) {
  const auto& task = *static_cast<const LabTask*>(argument);
  task.lab->AddAccesses(task, pending);
  if (task.lab->broken_) pending.enabled = false;
}

void LabRuntime::AddAccesses(const LabTask& task, explore::Pending& pending) {
  explore::Op& op = pending.op;
  if (crowded_) op.Touch(time_, task.doing == Doing::kFire ? Effect::kWrite : Effect::kRead);
  if (queue_.has_value()) op.Touch(order_of_steps_, Effect::kWrite);
  switch (task.doing) {
    case Doing::kTime:
      op.accesses.clear();
      if (bystanders_ || crowded_) op.Touch(time_, Effect::kWrite);
      op.may_block = options_.early_timers;  // before the timer is armed, say
      pending.enabled = (quiescent_ || !timers_.empty() || !stray_steps_.empty() ||
                         network_.NextInstant() != Instant::InfiniteFuture().nanos()) &&
                        ((options_.early_timers && !over_ && MayBeEarly()) || !OthersCanGo());
      return;
    case Doing::kFire:
      return;
    case Doing::kNetwork:
      if (task.bystander) op.Touch(time_, Effect::kRead);
      (*task.declare)(pending);
      break;
    case Doing::kResume:
      pending.enabled = task.ready && (task.taken || !queue_.has_value());
      if (!pending.enabled) return op.accesses.clear();
      break;
    case Doing::kStart:
      pending.enabled = task.taken || !queue_.has_value();
      if (!pending.enabled) return op.accesses.clear();
      break;
    case Doing::kLook:
      break;
    case Doing::kUse:
      op.Touch(task.object.number,
               task.use == ObjectUse::kChange || task.use == ObjectUse::kPlainChange
                   ? Effect::kWrite
                   : Effect::kRead);
      break;
    case Doing::kEnd:
      op.Touch(task.end, Effect::kWrite);
      op.Touch(task.home->life, Effect::kRelease);
      // The first that ends lets somebody in.
      op.Touch(task.home->admission,
               AnyWaitsFor(task.home->admission) ? Effect::kWrite : Effect::kRelease);
      if (IsFailure(task.severity) || IsListened(task.core)) {
        AddRequest(task.home, nullptr, op);
      }
      break;
    case Doing::kRequest:
      if (task.bystander) op.Touch(time_, Effect::kRead);
      switch (task.request) {
        case ScopeRequest::kCancel:
        case ScopeRequest::kCancelTask:
          AddRequest(task.target_region, task.target_task, op);
          break;
        case ScopeRequest::kCharge:
          for (const LabRegion* region = task.target_region; region != nullptr;
               region = region->parent) {
            AddRequest(region, nullptr, op);
          }
          break;
        case ScopeRequest::kAdmit:
          op.Touch(task.target_region->life, Effect::kWhole);
          op.Touch(task.target_region->admission, Effect::kWrite);
          AddChain(nullptr, task.target_region, op);
          break;
        case ScopeRequest::kClose:
          op.Touch(task.target_region->life, ClosersPark() ? Effect::kWhole : Effect::kAcquire);
          op.Touch(task.target_region->cancel, Effect::kRead);
          op.may_block = task.target_region->admits;  // it could go before what came from outside
          pending.enabled = ClosersPark() || task.target_region->live == 0;
          break;
        case ScopeRequest::kDefer:
          op.Touch(task.target_region->finalizers, Effect::kWrite);
          break;
        case ScopeRequest::kClaim:
        case ScopeRequest::kResolve:
          op.Touch(task.target_region->permits, Effect::kRelease);
          break;
        case ScopeRequest::kSettle:
          op.Touch(task.target_region->permits, Effect::kWhole);
          op.Touch(task.target_region->cancel, Effect::kRead);
          break;
        case ScopeRequest::kRevoke:
          op.Touch(task.target_region->permits, Effect::kWhole);
          op.may_block = true;
          pending.enabled = task.target_region->claims == 0;
          break;
        case ScopeRequest::kAsk:
          op.Touch(task.target_region->cancel, Effect::kRead);
          op.Touch(task.target_region->life, Effect::kWhole);
          break;
      }
      break;
  }
  AddChain(&task, task.region, op);
}

void LabRuntime::AddChain(const LabTask* task, const LabRegion* region, explore::Op& op) {
  if (task != nullptr && task->core != nullptr) op.Touch(task->cancel, Effect::kRead);
  for (; region != nullptr; region = region->parent) {
    op.Touch(region->cancel, Effect::kRead);
    if (region->opener != nullptr && region->opener != task) {
      op.Touch(region->opener->cancel, Effect::kRead);
    }
  }
}

bool LabRuntime::LiesBelow(const LabTask& task, const LabRegion* region, const LabTask* only) {
  if (&task == only) return true;
  for (const LabRegion* at = task.region; at != nullptr; at = at->parent) {
    if (at == region || (only != nullptr && at->opener == only)) return true;
  }
  return false;
}

void LabRuntime::AddRequest(const LabRegion* region, const LabTask* only, explore::Op& op) {
  if (only != nullptr) {
    op.Touch(only->cancel, Effect::kWrite);
    region = nullptr;
  } else if (region != nullptr) {
    op.Touch(region->cancel, Effect::kWrite);
  } else {
    return;  // of what has ended
  }
  // Who waits, also if it was granted and has not gone on: whoever does that might have come after the request.
  for (const LabTask* task : used_tasks_) {
    if (!task->waits || !LiesBelow(*task, region, only)) continue;
    for (const explore::ObjectId object : task->used) op.Touch(object, Effect::kWrite);
  }
}

bool LabRuntime::WaitsFor(const LabTask& task, explore::ObjectId object) {
  return task.waits && std::ranges::count(task.used, object) != 0;
}

bool LabRuntime::AnyWaitsFor(explore::ObjectId object) const {
  return std::ranges::any_of(used_tasks_,
                             [&](const LabTask* task) { return WaitsFor(*task, object); });
}

bool LabRuntime::IsListened(const TaskCore* core) {
  return (core->flags & kListened) != 0 ||
         (core->joiner.load(std::memory_order_relaxed) & TaskCore::kJoinListener) != 0;
}

}  // namespace quiesce::lab

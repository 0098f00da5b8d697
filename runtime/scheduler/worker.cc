#include "quiesce/runtime/scheduler/worker.h"

#include <algorithm>
#include <utility>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {

constinit thread_local Worker* Worker::current_ = nullptr;

Worker::Worker(WorkerPool* pool, uint32_t index, std::unique_ptr<KernelPoller> poller)
    : pool_(pool),
      index_(index),
      poller_(std::move(poller)),
      random_(index * 2654435761u + 1),
      neighbour_(index),
      next_timer_(Instant::InfiniteFuture().nanos()),
      wheel_(pool->Now()) {}

void Worker::Run() {
  current_ = this;
  SetTraceWorker(index_);
  last_check_ = last_poll_ = ReadClock();
  while (true) {
    Runnable* runnable = Pick();
    if (runnable == nullptr) [[unlikely]] {
      runnable = Search();
      if (runnable == nullptr) break;
    }
    RunStep(runnable);
  }
  current_ = nullptr;
  SetRecentNanos(0);
}

inline void Worker::RunStep(Runnable* runnable) {
  running_.store(runnable, std::memory_order_relaxed);
  runnable->step(runnable);
  running_.store(nullptr, std::memory_order_relaxed);
  steps_.Add(1);
  if (--steps_until_check_ == 0) [[unlikely]]
    LookAround();
}

// ---- picking --------------------------------------------------------------------------------------

void Worker::Publish() {
  queue_.Publish();
  if (pool_->idle_.NeedsWake() && pool_->WakeOne()) wakes_.Add(1);
}

inline Runnable* Worker::Pick() {
  const bool hungry = pool_->idle_.hungry();
  if (!hungry) {
    if (Runnable* runnable = queue_.PopFront()) return runnable;
  }
  return PickUnusual(hungry);
}

Runnable* Worker::PickUnusual(bool hungry) {
  Runnable* runnable = queue_.Pop(hungry);
  // A step is about to begin: what is left here is for others.
  if (hungry && runnable != nullptr && queue_.shared_lanes() != 0) [[unlikely]] {
    if (pool_->idle_.NeedsWake() && pool_->WakeOne()) wakes_.Add(1);
  }
  return runnable;
}

bool Worker::RunNextIf(bool (*wanted)(const Runnable* next, const void* argument),
                       const void* argument) {
  // What others are hungry for is shared, and the look around is at the end of a step of the loop.
  if (nested_ == kMostNested || steps_until_check_ <= 1 || pool_->idle_.hungry()) return false;
  Runnable* runnable = queue_.PopIf([=](Runnable* next) { return wanted(next, argument); });
  if (runnable == nullptr) return false;
  const Runnable* outer = running_.load(std::memory_order_relaxed);
  ++nested_;
  --steps_until_check_;  // before the step, inside which there may be others
  running_.store(runnable, std::memory_order_relaxed);
  runnable->step(runnable);
  running_.store(outer, std::memory_order_relaxed);
  --nested_;
  steps_.Add(1);
  return true;
}

void Worker::KeepHouse() {
  const WorkerPoolOptions& options = pool_->options_;
  if (options.housekeeping != nullptr) options.housekeeping(options.housekeeping_context);
}

Runnable* Worker::Search() {
  KeepHouse();
  if (Runnable* runnable = Pick()) return runnable;
  // Where the last sleep was none, since events were there already, asking costs less than going to bed.
  if (events_wait_) {
    events_wait_ = poller_->may_have_events() && poller_->Wait(absl::ZeroDuration()) != 0;
    if (Runnable* runnable = Pick()) return runnable;
  }
  IdleSet& idle = pool_->idle_;
  idle.StartSearching();
  Instant slept_at = Instant::InfinitePast();
  while (true) {
    const Instant now = ReadClock();
    last_poll_ = now;  // it comes from there, or goes there
    if (now.nanos() - kNoSleepNanos < slept_at.nanos()) events_wait_ = true;
    // It may have slept until the next timer of all.
    CheckTimers(now, pool_->worker_count());
    Runnable* runnable = Pick();
    if (runnable == nullptr && (Steal() || (PublishWithheld(now) && Steal()))) runnable = Pick();
    if (runnable != nullptr) {
      StopSearching();
      // Who went to sleep meanwhile saw nobody running; and who watched may have been this one.
      if (idle.unwatched() && pool_->WakeOne()) wakes_.Add(1);
      return runnable;
    }
    if (pool_->stopping_.load(std::memory_order_seq_cst)) {
      StopSearching();
      return nullptr;
    }
    idle.Park(this);
    // From here on every producer sees us; and we see what was there before.
    if (!pool_->AnyStealable() && !pool_->stopping_.load(std::memory_order_seq_cst)) {
      slept_at = now;
      Sleep(now);
    }
    idle.Unpark(this);
    if (watched_) WatchOthers();
  }
}

void Worker::StopSearching() {
  if (pool_->idle_.StopSearching() && pool_->AnyStealable() && pool_->WakeOne()) wakes_.Add(1);
}

bool Worker::Steal() {
  const uint32_t count = pool_->worker_count();
  random_ = random_ * 1664525u + 1013904223u;
  const uint32_t first = (random_ >> 16) % count;
  for (const Lane lane : {Lane::kCancel, Lane::kTimed, Lane::kReady}) {
    for (uint32_t i = 0; i < count; ++i) {
      Worker& victim = *pool_->workers_[(first + i) % count];
      if (&victim != this && queue_.StealFrom(victim.queue_, lane)) {
        steals_.Add(1);
        return true;
      }
    }
  }
  return false;
}

void Worker::Sleep(Instant now) {
  const Instant timer_at = pool_->EarliestTimer();
  const Instant wake_at = pool_->idle_.SleepUntil(this, timer_at, WatchAt(now));
  if (wake_at == Instant::InfinitePast()) return;
  parks_.Add(1);
  poller_->Wait(wake_at.is_infinite() ? absl::InfiniteDuration() : wake_at - now);
}

// ---- watching -------------------------------------------------------------------------------------

Instant Worker::WatchAt(Instant now) {
  watched_ = false;
  const uint32_t count = pool_->worker_count();
  if (count == 1 || !pool_->idle_.wants_watcher()) return Instant::InfiniteFuture();
  bool active = pool_->idle_.anyone_running(count);
  steps_seen_.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t steps = pool_->workers_[i]->steps();
    // What only this worker has done needs no watcher: it goes to sleep.
    if (steps != steps_seen_[i] && i != index_) active = true;
    steps_seen_[i] = steps;
  }
  if (!active) return Instant::InfiniteFuture();
  watched_ = true;
  return Instant::FromNanos(now.nanos() + watch_nanos_);
}

// Slept as a watcher: a worker that is still in the step in which it was then can neither look after its
// descriptors nor share what it has posted since. (Its timers are everybody's.)
void Worker::WatchOthers() {
  stuck_.clear();
  for (uint32_t i = 0; i < pool_->worker_count(); ++i) {
    Worker& worker = *pool_->workers_[i];
    if (&worker != this && worker.steps() == steps_seen_[i] &&
        worker.running_.load(std::memory_order_relaxed) != nullptr) {
      stuck_.push_back(&worker);
    }
  }
  for (Worker* worker : stuck_) {
    // It may have gone to sleep since, and have been woken: that wake-up stays its own.
    if (worker->poller_->source_count() != 0) worker->poller_->PollForOther();
  }
  PublishForStuck();
}

bool Worker::PublishWithheld(Instant now) {
  if (now.nanos() < last_visit_.nanos() + kVisitIntervalNanos) return false;
  stuck_.clear();
  for (const std::unique_ptr<Worker>& worker : pool_->workers_) {
    if (worker.get() != this && worker->queue_.withholds()) stuck_.push_back(worker.get());
  }
  if (stuck_.empty()) return false;
  last_visit_ = now;
  PublishForStuck();
  return true;
}

void Worker::PublishForStuck() {
  if (stuck_.empty() || !OwnerGate::Supported()) return;
  std::erase_if(stuck_, [](Worker* worker) { return !worker->queue_.gate().TryClose(); });
  if (stuck_.empty()) return;
  OwnerGate::Barrier();
  for (Worker* worker : stuck_) {
    worker->queue_.gate().AwaitOwner();
    worker->queue_.PublishAsVisitor();
    worker->queue_.gate().Open();
  }
}

Instant Worker::ReadClock() {
  const Instant now = pool_->Now();
  SetRecentNanos(now.nanos());
  return now;
}

// ---- timers and readiness -------------------------------------------------------------------------

// Called every check_steps_ steps. That number follows the length of the steps, so that long ones do
// not make timers late and short ones do not pay for the clock.
void Worker::LookAround() {
  KeepHouse();
  const Instant now = ReadClock();
  const int64_t elapsed = std::max<int64_t>(now.nanos() - last_check_.nanos(), 1);
  if (elapsed >= kCheckIntervalNanos) {
    last_check_ = now;
    // Those of a worker in a long step are the others' to fire. Each looks at a few in turn, so that all together look at
    // every wheel as often as at their own, and one check costs the same among a thousand workers.
    CheckTimers(now, kNeighbours);
    TakeOverdueCancels();
    // Seldom: what is ready then comes in batches, and not one system call for each event.
    if (now.nanos() >= last_poll_.nanos() + kPollIntervalNanos) {
      last_poll_ = now;
      if (poller_->may_have_events()) poller_->Wait(absl::ZeroDuration());
    }
    check_steps_ = static_cast<uint32_t>(
        std::clamp<int64_t>(check_steps_ * kCheckIntervalNanos / elapsed, 1, kCheckSteps));
  } else {
    check_steps_ = std::min(check_steps_ * 2, kCheckSteps);
  }
  steps_until_check_ = check_steps_;
}

void Worker::CheckTimers(Instant now, uint32_t neighbours) {
  if (next_timer() <= now) FireTimers(now, *this);
  const uint32_t count = pool_->worker_count();
  for (uint32_t i = std::min(count - 1, neighbours); i > 0; --i) {
    neighbour_ = neighbour_ + 1 < count ? neighbour_ + 1 : 0;
    if (neighbour_ == index_) neighbour_ = index_ + 1 < count ? index_ + 1 : 0;
    Worker& worker = *pool_->workers_[neighbour_];
    if (worker.next_timer() <= now) worker.FireTimers(now, *this);
  }
}

// A worker whose thread the system has put aside, or which is in a long step, does not look at what others have posted to
// it. While all are busy nobody searches either, so cancel work would wait for its turn to run again.
void Worker::TakeOverdueCancels() {
  const uint32_t count = pool_->worker_count();
  // Those whose timers have just been looked at.
  for (uint32_t i = 0; i < std::min(count, kNeighbours); ++i) {
    Worker& worker = *pool_->workers_[(neighbour_ + count - i) % count];
    if (&worker == this || !queue_.StealFrom(worker.queue_, Lane::kCancel)) continue;
    steals_.Add(1);
    queue_.Publish();  // what this one does not come to, others find
    return;
  }
}

void Worker::FireTimers(Instant now, Worker& by) {
  // The lock is let go between portions: Disarm waits for it.
  for (bool done = false; !done;) {
    SpinLockHolder held(timer_lock_);
    const size_t before = wheel_.size();
    done = wheel_.Advance(now, kTimersAtOnce);
    by.timers_fired_.Add(before - wheel_.size());
    next_timer_.store(wheel_.NextExpiry().nanos(), std::memory_order_relaxed);
  }
}

void Worker::Arm(Timer* timer) {
  timer->wheel = index_ + 1;
  SpinLockHolder held(timer_lock_);
  const Instant fires = wheel_.Insert(timer);
  if (fires < next_timer()) next_timer_.store(fires.nanos(), std::memory_order_relaxed);
}

bool Worker::Disarm(Timer* timer) {
  SpinLockHolder held(timer_lock_);
  const bool armed = timer->armed;
  if (armed) wheel_.Remove(timer);
  return armed;
}

Instant Worker::RefreshNextTimer() {
  SpinLockHolder held(timer_lock_);
  const Instant next = wheel_.NextExpiry();
  next_timer_.store(next.nanos(), std::memory_order_relaxed);
  return next;
}

// ---- looking at it --------------------------------------------------------------------------------

WorkerPool::WorkerSnapshot Worker::Snapshot() const {
  WorkerPool::WorkerSnapshot snapshot;
  snapshot.running = running_.load(std::memory_order_relaxed);
  snapshot.steps = steps_.value();
  snapshot.parks = parks_.value();
  snapshot.steals = steals_.value();
  snapshot.timers_fired = timers_fired_.value();
  snapshot.wakes = wakes_.value();
  return snapshot;
}

void Worker::CheckNothingLeft() {
  if (!queue_.private_empty() || queue_.shared_lanes() != 0) {
    Fatal(
        "worker pool '%s': stopped with a step still queued on worker %u; "
        "stop it after everything has ended",
        pool_->options_.name.c_str(), index_);
  }
  SpinLockHolder held(timer_lock_);
  if (!wheel_.empty()) {
    Fatal("worker pool '%s': stopped with %zu timers still armed on worker %u; disarm them first",
          pool_->options_.name.c_str(), wheel_.size(), index_);
  }
  if (poller_->source_count() != 0) {
    Fatal(
        "worker pool '%s': stopped with %zu descriptors still added on worker %u; remove them "
        "first",
        pool_->options_.name.c_str(), poller_->source_count(), index_);
  }
}

}  // namespace v0
}  // namespace quiesce

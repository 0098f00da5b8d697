#include "quiesce/testing/contract/stepped_runtime.h"

#include <poll.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce::contract {
namespace {

thread_local uint32_t this_worker = Scheduler::kNoWorker;

// Read and written only in functions that are not inlined into coroutines.
[[gnu::noinline]] uint32_t ThisWorker() { return this_worker; }
[[gnu::noinline]] void SetThisWorker(uint32_t worker) { this_worker = worker; }

class AsWorker {
 public:
  explicit AsWorker(uint32_t worker) : before_(ThisWorker()) { SetThisWorker(worker); }
  ~AsWorker() { SetThisWorker(before_); }

 private:
  const uint32_t before_;
};

// Far more than any scenario needs.
constexpr int kMostSteps = 1'000'000;

}  // namespace

SteppedRuntime::SteppedRuntime() : random_(this, kSeed) {
  services_.scheduler = this;
  services_.clock = this;
  services_.poller = this;
  services_.random = &random_;
  struct Stderr : ReportSink {
    void Report(const std::string& text) override { std::fputs(text.c_str(), stderr); }
  };
  static auto* const reports = new Stderr();
  services_.reports = reports;
  services_.counters = &counters_;
  helper_ = std::thread([this] { HelperLoop(); });
}

SteppedRuntime::~SteppedRuntime() {
  QUIESCE_CHECK(root_ == nullptr, "stepped runtime: destroyed with a root region");
  {
    ThreadMutexLock lock(helper_mutex_);
    stopping_ = true;
    helper_changed_.NotifyAll();
  }
  helper_.join();
}

void SteppedRuntime::Problem(std::string what) {
  // queue_lock_ is held.
  absl::StrAppend(&problems_, what, "\n");
}

std::string SteppedRuntime::TakeProblems() {
  SpinLockHolder lock(queue_lock_);
  return std::exchange(problems_, "");
}

// ---- the root ---------------------------------------------------------------------------------------

void SteppedRuntime::OpenRoot() {
  QUIESCE_CHECK(root_ == nullptr, "stepped runtime: Start before Finish");
  quiescent_.store(false, std::memory_order_relaxed);
  root_ = RegionCore::NewRoot(&services_, "runtime", &stats_);
  root_->on_quiescent_argument = this;
  root_->on_quiescent = [](RegionCore* core) {
    static_cast<SteppedRuntime*>(core->on_quiescent_argument)
        ->quiescent_.store(true, std::memory_order_release);
  };
}

void SteppedRuntime::AwaitRoot() {
  if (root_->TryCloseCount() || !root_->ParkCloser(nullptr)) {
    quiescent_.store(true, std::memory_order_relaxed);
  }
}

void SteppedRuntime::Finish() {
  QUIESCE_CHECK(quiescent(), "stepped runtime: Finish before everything has ended");
  (void)root_->Close();
  std::exchange(root_, nullptr)->Unref();
  SpinLockHolder lock(timer_lock_);
  if (!timers_.empty()) {
    SpinLockHolder queue(queue_lock_);
    Problem("a timer is still armed although everything has ended");
  }
}

// ---- steps ------------------------------------------------------------------------------------------

uint32_t SteppedRuntime::current_worker() const { return ThisWorker(); }

void SteppedRuntime::Post(Runnable* runnable, Lane lane, Place place, Instant) {
  SpinLockHolder lock(queue_lock_);
  for (const std::deque<Runnable*>& queue : lanes_) {
    if (std::find(queue.begin(), queue.end(), runnable) != queue.end()) {
      return Problem("a step was posted that is posted already");
    }
  }
  std::deque<Runnable*>& queue = lanes_[static_cast<int>(lane)];
  if (place == Place::kNext) {
    queue.push_front(runnable);
  } else {
    queue.push_back(runnable);
  }
}

void SteppedRuntime::PostBatch(RunnableQueue batch, Lane lane) {
  while (Runnable* runnable = batch.PopFront()) {
    Post(runnable, lane, Place::kBack, Instant::InfiniteFuture());
  }
}

Runnable* SteppedRuntime::Pop() {
  for (std::deque<Runnable*>& queue : lanes_) {
    if (queue.empty()) continue;
    Runnable* runnable = queue.front();
    queue.pop_front();
    return runnable;
  }
  return nullptr;
}

bool SteppedRuntime::RunOne(uint32_t worker) {
  FireDue();
  PollNow();
  Runnable* runnable;
  {
    SpinLockHolder lock(queue_lock_);
    runnable = Pop();
    if (runnable == nullptr) return false;
    for (Runnable* other : running_) {
      // With threads of their own, a parked task's next step may begin before the last has returned.
      if (other == runnable && !concurrent_)
        Problem("a step began while the one before it still runs");
    }
    running_[worker] = runnable;
  }
  runnable->step(runnable);
  SpinLockHolder lock(queue_lock_);
  running_[worker] = nullptr;
  return true;
}

void SteppedRuntime::RunReadySteps() {
  const uint32_t worker = ThisWorker();
  QUIESCE_CHECK(worker != kNoWorker, "stepped runtime: steps run on workers");
  int steps = 0;
  while (RunOne(worker)) {
    QUIESCE_CHECK(++steps < kMostSteps, "stepped runtime: it does not become idle");
  }
}

void SteppedRuntime::RunUntilIdle() {
  AsWorker as_worker(0);
  RunReadySteps();
}

void SteppedRuntime::RunConcurrently(int threads, absl::FunctionRef<bool()> done) {
  QUIESCE_CHECK(threads < static_cast<int>(kWorkers), "stepped runtime: too many threads");
  const auto work = [&](uint32_t worker) {
    AsWorker as_worker(worker);
    while (!done()) {
      if (!RunOne(worker)) std::this_thread::yield();
    }
  };
  concurrent_.store(true, std::memory_order_relaxed);
  std::vector<std::thread> others;
  for (int i = 1; i <= threads; ++i) others.emplace_back(work, i);
  work(0);
  for (std::thread& other : others) other.join();
  concurrent_.store(false, std::memory_order_relaxed);
}

void SteppedRuntime::HelperLoop() {
  ThreadMutexLock lock(helper_mutex_);
  while (true) {
    while (action_ == nullptr && !stopping_) helper_changed_.Wait(helper_mutex_);
    if (stopping_) return;
    AsWorker as_worker(action_where_ == Where::kOtherWorker ? 1 : kNoWorker);
    absl::FunctionRef<void()> action = *action_;
    // The asker waits meanwhile, without the mutex.
    helper_mutex_.Unlock();
    action();
    helper_mutex_.Lock();
    action_ = nullptr;
    helper_changed_.NotifyAll();
  }
}

void SteppedRuntime::OnOtherThread(Where where, absl::FunctionRef<void()> action) {
  if (std::this_thread::get_id() == helper_.get_id()) return action();
  ThreadMutexLock lock(helper_mutex_);
  action_ = &action;
  action_where_ = where;
  helper_changed_.NotifyAll();
  while (action_ != nullptr) helper_changed_.Wait(helper_mutex_);
}

// ---- time -------------------------------------------------------------------------------------------

void SteppedRuntime::AdvanceTo(Instant when) {
  int64_t now = now_.load(std::memory_order_relaxed);
  while (now < when.nanos() && !now_.compare_exchange_weak(now, when.nanos())) {
  }
  FireDue();
}

void SteppedRuntime::FireDue() {
  SpinLockHolder lock(timer_lock_);
  Timer* next = nullptr;
  for (Timer* timer = timers_.front(); timer != nullptr; timer = next) {
    next = timers_.Next(timer);
    if (timer->when > Now()) continue;
    timers_.Remove(timer);
    timer->armed = false;
    timer->fire(timer);
  }
}

void SteppedRuntime::Arm(Timer* timer) {
  SpinLockHolder lock(timer_lock_);
  if (timer->armed) {
    SpinLockHolder queue(queue_lock_);
    return Problem("a timer was armed that is armed already");
  }
  timer->armed = true;
  timers_.PushBack(timer);
}

bool SteppedRuntime::Disarm(Timer* timer) {
  SpinLockHolder lock(timer_lock_);
  if (!timer->armed) return false;
  timer->armed = false;
  timers_.Remove(timer);
  return true;
}

// ---- readiness --------------------------------------------------------------------------------------

absl::Status SteppedRuntime::Add(IoSource* source) {
  SpinLockHolder lock(source_lock_);
  sources_.push_back(source);
  return absl::OkStatus();
}

bool SteppedRuntime::Remove(IoSource* source) {
  SpinLockHolder lock(source_lock_);
  sources_.erase(std::find(sources_.begin(), sources_.end(), source));
  return true;
}

void SteppedRuntime::PollNow() {
  SpinLockHolder lock(source_lock_);
  for (IoSource* source : sources_) {
    pollfd look = {
        .fd = source->fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP, .revents = 0};
    if (poll(&look, 1, 0) <= 0) continue;
    uint32_t events = 0;
    if (look.revents & POLLIN) events |= kReadable;
    if (look.revents & POLLOUT) events |= kWritable;
    if (look.revents & (POLLPRI | POLLRDHUP)) events |= kReadable | kMoreAfterShortRead;
    if (look.revents & (POLLHUP | POLLERR)) events |= kReadable | kWritable | kMoreAfterShortRead;
    if (events != 0) source->notify(source, events);
  }
}

}  // namespace quiesce::contract

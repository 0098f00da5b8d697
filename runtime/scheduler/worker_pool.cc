#include "quiesce/runtime/scheduler/worker_pool.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/reactor/kernel_poller.h"
#include "quiesce/runtime/scheduler/worker.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

constexpr unsigned long kTimerSlackNanos = 1'000;

uint32_t UsableProcessors() {
  cpu_set_t set;
  const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return static_cast<uint32_t>(std::max(count, 1));
}

}  // namespace

// What a foreign thread posts may run, and end everything, before the call has returned: Stop waits.
class WorkerPool::ForeignCall {
 public:
  explicit ForeignCall(WorkerPool& pool) : pool_(pool) {
    pool.foreign_calls_.fetch_add(1, std::memory_order_relaxed);
  }
  ~ForeignCall() { pool_.foreign_calls_.fetch_sub(1, std::memory_order_release); }
  ForeignCall(const ForeignCall&) = delete;
  ForeignCall& operator=(const ForeignCall&) = delete;

 private:
  WorkerPool& pool_;
};

WorkerPool::WorkerPool(WorkerPoolOptions options) : options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<WorkerPool>> WorkerPool::Create(WorkerPoolOptions options) {
  const uint32_t count =
      options.workers == 0 ? std::min(UsableProcessors(), kMaxWorkers) : options.workers;
  if (count > kMaxWorkers) {
    return absl::InvalidArgumentError(absl::StrCat("worker pool '", options.name, "': ", count,
                                                   " workers; at most ", kMaxWorkers));
  }
  std::unique_ptr<WorkerPool> pool(new WorkerPool(std::move(options)));
  for (uint32_t index = 0; index < count; ++index) {
    absl::StatusOr<std::unique_ptr<KernelPoller>> poller = KernelPoller::Create(pool->options_.io);
    if (!poller.ok()) return poller.status();
    pool->workers_.push_back(std::make_unique<Worker>(pool.get(), index, *std::move(poller)));
  }
  return pool;
}

WorkerPool::~WorkerPool() {
  if (started_) Stop();
}

absl::Status WorkerPool::Start() {
  QUIESCE_CHECK(!started_, "worker pool: started twice");
  for (const std::unique_ptr<Worker>& worker : workers_) {
    const int error = pthread_create(&worker->thread, nullptr, &ThreadMain, worker.get());
    if (error == 0) continue;
    OpenGate(kEnd);
    JoinFirst(worker->index());
    gate_.store(kShut, std::memory_order_relaxed);
    return absl::ResourceExhaustedError(absl::StrCat(
        "worker pool '", options_.name, "': the system gives no thread for worker ",
        worker->index(), " of ", workers_.size(), " (", std::strerror(error),
        "): make fewer workers, or raise the limit of threads (ulimit -u, the pids limit of the "
        "container) or of memory"));
  }
  started_ = true;
  OpenGate(kGo);
  return absl::OkStatus();
}

void* WorkerPool::ThreadMain(void* argument) {
  auto* worker = static_cast<Worker*>(argument);
  WorkerPool* pool = worker->pool();
  const std::string name = absl::StrCat(pool->options_.name, "-", worker->index());
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
  // By default the system lets a thread sleep up to 50 us longer than it has asked for, and timers would be late by that.
  // Where this is refused they are.
  prctl(PR_SET_TIMERSLACK, kTimerSlackNanos);
  // Nothing may run before it is known that there will be all threads.
  pool->gate_.wait(kShut, std::memory_order_acquire);
  if (pool->gate_.load(std::memory_order_acquire) == kGo) worker->Run();
  return nullptr;
}

void WorkerPool::OpenGate(int to) {
  gate_.store(to, std::memory_order_release);
  gate_.notify_all();
}

void WorkerPool::JoinFirst(size_t count) {
  for (size_t index = 0; index < count; ++index) pthread_join(workers_[index]->thread, nullptr);
}

void WorkerPool::Stop() {
  if (!started_) return;
  started_ = false;
  stopping_.store(true, std::memory_order_seq_cst);
  for (const std::unique_ptr<Worker>& worker : workers_) worker->poller().Wake();
  JoinFirst(workers_.size());
  while (foreign_calls_.load(std::memory_order_acquire) != 0) sched_yield();
  for (const std::unique_ptr<Worker>& worker : workers_) worker->CheckNothingLeft();
}

// ---- who ------------------------------------------------------------------------------------------

Worker* WorkerPool::Current() const {
  Worker* worker = Worker::Current();
  return worker != nullptr && worker->pool() == this ? worker : nullptr;
}

uint32_t WorkerPool::current_worker() const {
  Worker* worker = Current();
  return worker != nullptr ? worker->index() : kNoWorker;
}

Worker* WorkerPool::NextForForeign() {
  const uint32_t turn = round_robin_.fetch_add(1, std::memory_order_relaxed);
  return workers_[turn % workers_.size()].get();
}

template <class Publish>
void WorkerPool::PostFromOutside(Publish publish) {
  ForeignCall under_way(*this);
  idle_.Produce(
      [&](IdleSet::Member* target) {
        publish(target != nullptr ? *static_cast<Worker*>(target) : *NextForForeign());
      },
      [](IdleSet::Member* member) { static_cast<Worker*>(member)->poller().Wake(); });
}

bool WorkerPool::WakeOne() {
  IdleSet::Member* member = idle_.Take();
  if (member == nullptr) return false;
  static_cast<Worker*>(member)->poller().Wake();
  return true;
}

bool WorkerPool::AnyStealable() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->queue().shared_lanes() != 0; });
}

// ---- Scheduler ------------------------------------------------------------------------------------

void WorkerPool::Post(Runnable* runnable, Lane lane, Place place, Instant deadline) {
  Worker* worker = Worker::Current();
  if (lane == Lane::kReady && worker != nullptr && worker->pool() == this &&
      worker->TryPostReady(runnable, place)) [[likely]] {
    return;
  }
  PostUnusual(runnable, lane, place, deadline);
}

void WorkerPool::PostUnusual(Runnable* runnable, Lane lane, Place place, Instant deadline) {
  if (Worker* worker = Current()) return worker->PostHere(runnable, lane, place, deadline);
  PostFromOutside([&](Worker& worker) { worker.queue().PushShared(runnable, lane, deadline); });
}

void WorkerPool::PostNear(uint32_t worker, Runnable* runnable) {
  Worker* const near = workers_[worker].get();
  if (near == Current()) {
    return near->PostHere(runnable, Lane::kCancel, Place::kBack, Instant::InfiniteFuture());
  }
  ForeignCall under_way(*this);  // or another worker's, which does no harm
  near->queue().PushShared(runnable, Lane::kCancel, Instant::InfiniteFuture());
  if (!idle_.NeedsWake()) return;
  if (idle_.TakeThis(near)) {
    near->poller().Wake();
  } else {
    WakeOne();
  }
}

void WorkerPool::PostBatch(RunnableQueue batch, Lane lane) {
  QUIESCE_CHECK(lane != Lane::kTimed,
                "PostBatch: the timed lane needs a deadline for each; use Post");
  if (batch.empty()) return;
  if (Worker* worker = Current()) return worker->PostBatchHere(batch, lane);
  PostFromOutside([&](Worker& worker) { worker.queue().AppendShared(batch, lane); });
}

// ---- Clock ----------------------------------------------------------------------------------------

bool WorkerPool::RunNextIf(bool (*wanted)(const Runnable* next, const void* argument),
                           const void* argument) {
  Worker* worker = Current();
  return worker != nullptr && worker->RunNextIf(wanted, argument);
}

Instant WorkerPool::Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return Instant::FromNanos(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec);
}

// timer->wheel: 0 if no wheel knows the timer, else its worker's number plus one. It belongs to who
// arms and disarms the timer; the wheel's lock guards the rest.
void WorkerPool::Arm(Timer* timer) {
  if (timer->when.is_infinite()) {
    QUIESCE_CHECK(!timer->armed, "timer: armed twice; Disarm it, or let it fire, first");
    timer->wheel = 0;
    timer->armed = true;
    return;
  }
  Emit(EventKind::kTimerArm, 0, 0, static_cast<uint64_t>(timer->when.nanos()));
  if (Worker* worker = Current()) return worker->Arm(timer);
  ForeignCall under_way(*this);
  const Instant when = timer->when;  // the timer may have fired, and be gone, when Arm returns
  NextForForeign()->Arm(timer);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the one in IdleSet::Park
  if (!idle_.anyone_parked()) return;
  if (IdleSet::Member* member = idle_.TakeForTimer(when)) {
    static_cast<Worker*>(member)->poller().Wake();
  }
}

bool WorkerPool::Disarm(Timer* timer) {
  if (timer->wheel == 0) return std::exchange(timer->armed, false);
  const bool disarmed = workers_[timer->wheel - 1]->Disarm(timer);
  timer->wheel = 0;
  return disarmed;
}

Instant WorkerPool::EarliestTimer() {
  while (true) {
    Worker* first = workers_.front().get();
    for (const std::unique_ptr<Worker>& worker : workers_) {
      if (worker->next_timer() < first->next_timer()) first = worker.get();
    }
    // The hint may be too early: the timer it stands for was disarmed.
    const Instant hint = first->next_timer();
    if (hint.is_infinite() || first->RefreshNextTimer() <= hint) return hint;
  }
}

// ---- Poller ---------------------------------------------------------------------------------------

absl::Status WorkerPool::Add(IoSource* source) {
  Worker* worker = Current();
  if (worker == nullptr) worker = NextForForeign();
  source->home = worker->index();
  return worker->poller().Add(source);
}

bool WorkerPool::Remove(IoSource* source) {
  return workers_[source->home]->poller().Remove(source);
}

WorkerPool::WorkerSnapshot WorkerPool::Snapshot(uint32_t worker) const {
  return workers_[worker]->Snapshot();
}

}  // namespace v0
}  // namespace quiesce

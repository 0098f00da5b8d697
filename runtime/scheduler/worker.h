// worker.h: one thread of a WorkerPool: its queues, its timers, its poller and its loop.
//
// Invariants: (1) on the fast path from one step to the next two shared words are read, the attention
//             word of its queue and the idle set's, and none is written; (2) before a step begins,
//             everything else that is ready is in the shared part, if anybody is hungry.
// Threads:    Run() is the thread; what others may call says so.
#ifndef QUIESCE_RUNTIME_SCHEDULER_WORKER_H_
#define QUIESCE_RUNTIME_SCHEDULER_WORKER_H_

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/reactor/kernel_poller.h"
#include "quiesce/runtime/scheduler/idle_set.h"
#include "quiesce/runtime/scheduler/run_queue.h"
#include "quiesce/runtime/scheduler/timer_wheel.h"
#include "quiesce/runtime/scheduler/worker_pool.h"

namespace quiesce {
inline namespace v0 {

// A counter with one writer: an increment is not a read-modify-write.
class OwnedCounter {
 public:
  void Add(uint64_t count) {
    value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};  // relaxed: nothing is ordered by it
};

class Worker : public IdleSet::Member {
 public:
  Worker(WorkerPool* pool, uint32_t index, std::unique_ptr<KernelPoller> poller);

  // The worker whose thread is the caller; null on any other. For this folder's sources only: a coroutine that
  // moves to another thread must not keep the address of a thread's variable.
  static Worker* Current() { return current_; }

  WorkerPool* pool() const { return pool_; }
  uint32_t index() const { return index_; }
  KernelPoller& poller() { return *poller_; }

  // The thread's life: until the pool stops and there is nothing left to do.
  void Run();

  // ---- on this worker's thread ----

  // Wakes nobody: before the next step begins, the loop looks whether others should be.
  void PostHere(Runnable* runnable, Lane lane, Place place, Instant deadline) {
    if (queue_.Push(runnable, lane, place, deadline)) [[unlikely]]
      Publish();
  }
  // The same to the ready lane, where there is nothing to wait for; false: it has not been done.
  bool TryPostReady(Runnable* runnable, Place place) {
    bool full;
    if (!queue_.PushReady(runnable, place, full)) [[unlikely]]
      return false;
    if (full) [[unlikely]]
      Publish();
    return true;
  }
  void PostBatchHere(RunnableQueue& batch, Lane lane) {
    if (queue_.Append(batch, lane)) Publish();
  }
  // See Scheduler.
  bool RunNextIf(bool (*wanted)(const Runnable* next, const void* argument), const void* argument);

  // ---- any thread ----

  // For its shared operations.
  RunQueue& queue() { return queue_; }
  uint64_t steps() const { return steps_.value(); }
  void Arm(Timer* timer) ABSL_LOCKS_EXCLUDED(timer_lock_);
  bool Disarm(Timer* timer) ABSL_LOCKS_EXCLUDED(timer_lock_);
  // When this wheel's next timer fires, at the latest; a hint. RefreshNextTimer looks into the wheel.
  Instant next_timer() const {
    return Instant::FromNanos(next_timer_.load(std::memory_order_relaxed));
  }
  Instant RefreshNextTimer() ABSL_LOCKS_EXCLUDED(timer_lock_);
  // Fires what is due in this worker's wheel. Called by `by`'s thread.
  void FireTimers(Instant now, Worker& by) ABSL_LOCKS_EXCLUDED(timer_lock_);
  WorkerPool::WorkerSnapshot Snapshot() const;
  // Fatal if something is still queued, armed or added.
  void CheckNothingLeft();

  pthread_t thread = {};  // touched by the pool's Start and Stop only

 private:
  static constexpr uint32_t kCheckSteps = 64;
  static constexpr int64_t kCheckIntervalNanos = 50'000;
  static constexpr int64_t kPollIntervalNanos = 200'000;
  static constexpr int64_t kNoSleepNanos =
      5'000;  // the system does not switch there and back in that time
  static constexpr size_t kTimersAtOnce = 64;
  static constexpr uint32_t kNeighbours = 8;  // that are looked at between steps
  static constexpr int kMostNested = 8;       // steps inside steps: bounds the stack
  static constexpr int64_t kVisitIntervalNanos = 100'000;
  static constexpr int64_t kMinWatchNanos = 1'000'000;
  static constexpr int64_t kMaxWatchNanos = 4'000'000;

  // In a step that takes long others are given the choice of what gathers.
  [[gnu::noinline]] void Publish();
  Runnable* Pick();
  [[gnu::noinline]] Runnable* PickUnusual(bool hungry);
  // Finds work elsewhere, or sleeps until there is some. Null when the pool stops.
  Runnable* Search();
  void StopSearching();
  bool Steal();
  void Sleep(Instant now);
  // When to wake up for watching; InfiniteFuture if nothing has run since the last time.
  Instant WatchAt(Instant now);
  void WatchOthers();
  // Makes what other workers withhold everybody's. False if it has done so a moment ago.
  bool PublishWithheld(Instant now);
  void PublishForStuck();
  void KeepHouse();  // the pool's hook
  // For RecentNanos.
  Instant ReadClock();
  void LookAround();  // timers and readiness, from time to time while busy
  // Fires what is due, here and at that many of the others.
  void CheckTimers(Instant now, uint32_t neighbours);
  void TakeOverdueCancels();
  void RunStep(Runnable* runnable);

  static constinit thread_local Worker* current_;

  WorkerPool* const pool_;
  const uint32_t index_;
  const std::unique_ptr<KernelPoller> poller_;

  RunQueue queue_;

  // The owner's alone, but for what others may read.
  alignas(64) uint32_t steps_until_check_ = kCheckSteps;
  uint32_t check_steps_ = kCheckSteps;
  uint32_t random_;
  Instant last_check_;  // of the timers
  Instant last_poll_;
  uint32_t neighbour_;  // whose timers were looked at last
  int nested_ = 0;
  bool events_wait_ = false;  // a guess: the poller has some whenever the queues are empty
  int64_t watch_nanos_ = kMinWatchNanos;
  bool watched_ = false;  // slept as a watcher the last time
  Instant last_visit_ = Instant::InfinitePast();
  std::vector<Worker*> stuck_;  // scratch
  std::vector<uint64_t>
      steps_seen_;  // of each worker, when this one last went to sleep as a watcher
  std::atomic<const Runnable*> running_{nullptr};  // null between steps (relaxed: a hint to others)
  OwnedCounter steps_;
  OwnedCounter parks_;
  OwnedCounter steals_;
  OwnedCounter timers_fired_;
  OwnedCounter wakes_;

  // Lock order: before the locks that a timer's `fire` takes, and so before the lanes' and the idle set's.
  alignas(64) SpinLock timer_lock_;
  // A lower bound of wheel_.NextExpiry(), written with timer_lock_ held (relaxed). Who goes to sleep
  // reads it after the idle set's fence, which pairs with the one of a foreign Arm.
  std::atomic<int64_t> next_timer_;
  TimerWheel wheel_ ABSL_GUARDED_BY(timer_lock_);
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_WORKER_H_

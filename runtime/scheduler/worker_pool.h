// worker_pool.h: the production runtime's threads: Scheduler, Clock and Poller in one.
//
// Why:        a step, a timer and a readiness event end in the same place, a worker's queues; so one
//             loop serves all three and sleeps in one place.
// Example:    auto pool = WorkerPool::Create({.workers = 4});
//             (*pool)->Start();
//             (*pool)->Post(&runnable, Lane::kReady, Place::kBack, Instant::InfiniteFuture());
//             (*pool)->Stop();  // when everything has ended
// Invariants: (1) each posted Runnable runs once, on one worker; (2) lanes go as R9 says; (3) what was
//             ready before a step began does not wait behind that step while a worker is idle;
//             (4) an idle pool uses no processor time; (5) timers and readiness are looked after while
//             every worker is busy, between steps, at least every 64 steps.
//             What is *not* promised: a step that does not end holds up what became ready on its worker
//             during the step.
// Threads:    Create, Start, Stop and the destructor on one thread; everything else on any.
// Locks:      a caller of Post, PostBatch and Now may hold locks of its own; one of Arm, Disarm, Add and
//             Remove none that a timer's `fire` or a source's `notify` takes.
#ifndef QUIESCE_RUNTIME_SCHEDULER_WORKER_POOL_H_
#define QUIESCE_RUNTIME_SCHEDULER_WORKER_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quiesce/runtime/reactor/io_backend.h"
#include "quiesce/runtime/reactor/poller.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/scheduler/idle_set.h"
#include "quiesce/runtime/scheduler/scheduler.h"

namespace quiesce {
inline namespace v0 {

class Worker;

struct WorkerPoolOptions {
  // How many threads; 0: one for each processor that this process may use.
  uint32_t workers = 0;
  // Threads are named after it, with their number: at most 15 characters are seen by the system.
  std::string name = "quiesce";
  // Who tells that a descriptor is ready.
  IoBackend io = IoBackend::kEpoll;
  // If set, called by each worker when it has found nothing more to do, before it looks elsewhere or
  // sleeps, and between steps, at least every 64. Must not block; may Post.
  void (*housekeeping)(void* context) = nullptr;
  void* housekeeping_context = nullptr;
};

class WorkerPool final : public Scheduler, public Clock, public Poller {
 public:
  static constexpr uint32_t kMaxWorkers = 1024;

  // What a worker has done, and does. A snapshot: it may be old when it is read.
  struct WorkerSnapshot {
    const Runnable* running = nullptr;  // for comparing only: it may have been freed
    uint64_t steps = 0;
    uint64_t parks = 0;
    uint64_t steals = 0;  // successful ones
    uint64_t timers_fired = 0;
    uint64_t wakes = 0;  // other workers that it has woken
  };

  // Error(kResourceExhausted) if the process lacks descriptors, Error(kInvalidArgument) for more than
  // kMaxWorkers workers, Error(kUnavailable) if there is no such IoBackend here.
  static absl::StatusOr<std::unique_ptr<WorkerPool>> Create(WorkerPoolOptions options);
  // Stops, if it was started.
  ~WorkerPool() override;
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Starts the threads; what was posted before runs now. Once. Error(kResourceExhausted) if a thread
  // cannot be made; then none is left, nothing has run, and Start may be called again.
  absl::Status Start();
  // Returns when the workers have run everything that was posted and have ended. Nobody may Post any
  // more from outside; a call whose step has run already may still be on its way back. A timer still
  // armed or a source still added is a bug, and fatal.
  void Stop();

  // Scheduler.
  void Post(Runnable* runnable, Lane lane, Place place, Instant deadline) override;
  void PostBatch(RunnableQueue batch, Lane lane) override;
  void PostNear(uint32_t worker, Runnable* runnable) override;
  bool RunNextIf(bool (*wanted)(const Runnable* next, const void* argument),
                 const void* argument) override;
  uint32_t worker_count() const override { return static_cast<uint32_t>(workers_.size()); }
  uint32_t current_worker() const override;

  // Clock.
  Instant Now() override;
  void Arm(Timer* timer) override;
  bool Disarm(Timer* timer) override;

  // Poller.
  absl::Status Add(IoSource* source) override;
  bool Remove(IoSource* source) override;

  WorkerSnapshot Snapshot(uint32_t worker) const;

 private:
  friend class Worker;
  class ForeignCall;

  explicit WorkerPool(WorkerPoolOptions options);

  static void* ThreadMain(void* worker);
  // Lets the threads that wait in ThreadMain go on to their work, or end.
  void OpenGate(int to);
  void JoinFirst(size_t count);

  Worker* Current() const;  // null on a foreign thread
  // Apart from Post, so that its common way saves no registers.
  [[gnu::noinline]] void PostUnusual(Runnable* runnable, Lane lane, Place place, Instant deadline);
  Worker* NextForForeign();  // round robin
  // For a foreign thread, whose `publish(worker)` puts its work into the queues of that one.
  template <class Publish>
  void PostFromOutside(Publish publish);
  // Wakes a parked worker, which will search. False if none is parked.
  bool WakeOne();
  // True if there is something in a queue that any worker may take.
  bool AnyStealable() const;
  // When the earliest timer of all will fire; looks into the wheels.
  Instant EarliestTimer();

  const WorkerPoolOptions options_;
  std::vector<std::unique_ptr<Worker>> workers_;  // constant after Create
  bool started_ = false;                          // touched by Start and Stop only

  // kShut -> kGo or kEnd by Start, once it is known whether all threads can be made; kEnd -> kShut when
  // those that were made have ended. Release, so that a thread (acquire) sees what Start did.
  static constexpr int kShut = 0, kGo = 1, kEnd = 2;
  std::atomic<int> gate_{kShut};

  // false -> true by Stop (seq_cst, before it wakes everybody).
  alignas(64) std::atomic<bool> stopping_{false};
  std::atomic<uint32_t> round_robin_{0};  // a counter (relaxed)
  // Calls of foreign threads that are under way. Up (relaxed) before such a call makes its work visible,
  // down (release) when it has touched the pool for the last time; Stop waits for zero (acquire).
  std::atomic<uint32_t> foreign_calls_{0};
  alignas(64) IdleSet idle_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_WORKER_POOL_H_

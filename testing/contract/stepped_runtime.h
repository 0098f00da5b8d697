// stepped_runtime.h: a runtime whose steps, clock and readiness move only when a test moves them.
//
// Why:        a contract test puts a cancel between two instructions of a wait; so nothing may happen by
//             itself. Tasks, regions and primitives are the production code: only Scheduler, Clock and
//             Poller, the three interfaces through which they meet the world, are this file's.
// Example:    SteppedRuntime runtime;
//             runtime.Start([](Cx cx) -> Task<void> { … });
//             runtime.RunUntilIdle();                     // on this thread, as worker 0
//             runtime.AdvanceBy(absl::Seconds(1));
//             runtime.RunUntilIdle();
//             runtime.Finish();                           // a failure if something is left
// Invariants: (1) a step is posted at most once before it runs: a second time is a problem() (the waiter
//             protocol posts once for each park); (2) time moves by AdvanceTo and AdvanceBy only.
// Threads:    Start, RunUntilIdle and Finish on the test's thread; the rest on any.
#ifndef QUIESCE_TESTING_CONTRACT_STEPPED_RUNTIME_H_
#define QUIESCE_TESTING_CONTRACT_STEPPED_RUNTIME_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/reactor/poller.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/scheduler/worker_random.h"

namespace quiesce::contract {

class SteppedRuntime final : public Scheduler, public Clock, public Poller {
 public:
  SteppedRuntime();
  ~SteppedRuntime() override;

  // A contract may add what its primitive needs (signals, say) before the root is opened.
  RuntimeServices& services() { return services_; }
  const RuntimeCounters& counters() const { return counters_; }

  // Begins a root region with `body` as its main task, whose callable is kept by the task.
  template <class Body>
  void Start(Body body) {
    OpenRoot();
    (void)RegionRef(root_, &root_->authority()).Spawn("main", std::move(body));
    AwaitRoot();
  }
  // Runs steps, due timers and readiness until there is nothing to do.
  void RunUntilIdle();
  // The same, on this thread and on `threads` further ones at once, until `done`.
  void RunConcurrently(int threads, absl::FunctionRef<bool()> done);
  // Has everything that was started ended?
  bool quiescent() const { return quiescent_.load(std::memory_order_acquire); }
  // Closes the root. Precondition: quiescent().
  void Finish();

  // Runs `action` on another worker (or on a thread that is none), and returns when it has.
  enum class Where : uint8_t { kOtherWorker, kForeignThread };
  void OnOtherThread(Where where, absl::FunctionRef<void()> action);
  // The steps that are ready, on the calling thread, which is a worker; for `action`.
  void RunReadySteps();

  void AdvanceTo(Instant when);
  void AdvanceBy(absl::Duration by) { AdvanceTo(Now() + by); }

  // Broken promises of those who use the scheduler and the clock; empty if none.
  std::string TakeProblems();
  std::string Dump() { return root_ == nullptr ? "(no root)" : root_->Dump(); }

  // Scheduler.
  void Post(Runnable* runnable, Lane lane, Place place, Instant deadline) override;
  void PostBatch(RunnableQueue batch, Lane lane) override;
  uint32_t worker_count() const override { return kWorkers; }
  uint32_t current_worker() const override;

  // Clock.
  Instant Now() override { return Instant::FromNanos(now_.load(std::memory_order_acquire)); }
  void Arm(Timer* timer) override;
  bool Disarm(Timer* timer) override;

  // Poller: asks the kernel without waiting, at each look around and at PollNow.
  absl::Status Add(IoSource* source) override;
  bool Remove(IoSource* source) override;
  void PollNow();

 private:
  static constexpr uint32_t kWorkers = 4;
  static constexpr uint64_t kSeed = 1;  // each run draws the same values

  void OpenRoot();
  void AwaitRoot();
  // Null if nothing is ready.
  Runnable* Pop();
  void FireDue();
  // One step, or false.
  bool RunOne(uint32_t worker);
  void HelperLoop();
  void Problem(std::string what);

  WorkerRandom random_;
  RuntimeServices services_;
  RuntimeCounters counters_;
  DrainStats stats_;
  RegionCore* root_ = nullptr;
  std::atomic<bool> quiescent_{true};
  std::atomic<bool> concurrent_{false};

  SpinLock queue_lock_;
  std::deque<Runnable*> lanes_[3] ABSL_GUARDED_BY(queue_lock_);
  // What each worker runs now. Compared only.
  Runnable* running_[kWorkers] ABSL_GUARDED_BY(queue_lock_) = {};
  std::string problems_ ABSL_GUARDED_BY(queue_lock_);

  std::atomic<int64_t> now_{1'000'000'000};
  SpinLock timer_lock_;
  IntrusiveList<Timer> timers_ ABSL_GUARDED_BY(timer_lock_);

  SpinLock source_lock_;
  std::vector<IoSource*> sources_ ABSL_GUARDED_BY(source_lock_);

  // The other thread, and what it is to do.
  ThreadMutex helper_mutex_;
  ThreadCondition helper_changed_;
  absl::FunctionRef<void()>* action_ ABSL_GUARDED_BY(helper_mutex_) = nullptr;
  Where action_where_ ABSL_GUARDED_BY(helper_mutex_) = Where::kOtherWorker;
  bool stopping_ ABSL_GUARDED_BY(helper_mutex_) = false;
  std::thread helper_;
};

}  // namespace quiesce::contract

#endif  // QUIESCE_TESTING_CONTRACT_STEPPED_RUNTIME_H_

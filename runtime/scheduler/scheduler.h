// scheduler.h: the first of the three interfaces through which the runtime meets the world.
//
// The production pool (worker_pool.h) and the lab implement it; no primitive knows which.
#ifndef QUIESCE_RUNTIME_SCHEDULER_SCHEDULER_H_
#define QUIESCE_RUNTIME_SCHEDULER_SCHEDULER_H_

#include <cstdint>

#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/scheduler/runnable.h"

namespace quiesce {
inline namespace v0 {

// Cancel goes first, then the earliest deadline, then the rest (G12, R9).
enum class Lane : uint8_t { kCancel, kTimed, kReady };

// Where in the ready lane: a woken task runs next on this worker, since what woke it has just touched
// its data; a yielded or spawned one waits its turn. The other lanes have orders of their own.
enum class Place : uint8_t { kNext, kBack };

class Scheduler {
 public:
  virtual ~Scheduler() = default;

  // Makes `runnable` run once. `deadline` orders the timed lane and is ignored by the others.
  // Threads: any. Does not run it inline. The caller may hold a SpinLock of a primitive.
  virtual void Post(Runnable* runnable, Lane lane, Place place, Instant deadline) = 0;
  // Posts all of `batch` to the back of `lane` (kCancel or kReady) with one wake-up.
  virtual void PostBatch(RunnableQueue batch, Lane lane) = 0;

  // As Post to the back of the cancel lane, but preferably on `worker`, whose caches hold what the step
  // will touch. A hint: another worker may take it.
  virtual void PostNear(uint32_t worker, Runnable* runnable) {
    (void)worker;
    Post(runnable, Lane::kCancel, Place::kBack, Instant::InfiniteFuture());
  }

  // Runs, inside the caller's step, what this worker would run next when that step is over, if `wanted` says yes to
  // it. For a step that cannot go on before that one has run, and would have to be woken. False: it is
  // not wanted, or the worker has other things to see to; also always, where the order of steps is decided elsewhere.
  virtual bool RunNextIf(bool (*wanted)(const Runnable* next, const void* argument),
                         const void* argument) {
    (void)wanted;
    (void)argument;
    return false;
  }

  // Steps run by this scheduler happen on workers 0 .. worker_count()-1.
  virtual uint32_t worker_count() const = 0;
  // The worker whose step is the caller, or kNoWorker on a foreign thread.
  static constexpr uint32_t kNoWorker = ~uint32_t{0};
  virtual uint32_t current_worker() const = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_SCHEDULER_H_

// worker_random.h: randomness with one generator for each worker, so that nobody waits for it.
//
// How:        a step draws from the generator of the worker that it runs on; a thread that is no worker from one more,
//             under a lock. The generators are std::mt19937_64, whose values the standard prescribes: a seed
//             means the same on every machine and with every library.
// Invariants: (1) generator i depends on the seed and on i only; (2) with a seed, what is drawn on worker i is
//             the same in each run, in the order of the draws there.
// Threads:    any.
#ifndef QUIESCE_RUNTIME_SCHEDULER_WORKER_RANDOM_H_
#define QUIESCE_RUNTIME_SCHEDULER_WORKER_RANDOM_H_

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/scheduler/random_source.h"
#include "quiesce/runtime/scheduler/scheduler.h"

namespace quiesce {
inline namespace v0 {

class WorkerRandom final : public RandomSource {
 public:
  // For the workers of `scheduler`, which outlives it, and of which only the number is asked here. Without a seed
  // the system's entropy is used; a system that has none ends the process.
  WorkerRandom(const Scheduler* scheduler, std::optional<uint64_t> seed);

  uint64_t Next() override;

 private:
  // Two of them share no cache line.
  struct alignas(64) Generator {
    std::mt19937_64 engine;
  };
  static std::mt19937_64 MakeEngine(std::optional<uint64_t> seed, uint32_t index);

  const Scheduler* const scheduler_;
  std::vector<Generator> of_workers_;  // each used in the steps of its worker only
  SpinLock lock_;                      // innermost
  std::mt19937_64 of_others_ ABSL_GUARDED_BY(lock_);
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_WORKER_RANDOM_H_

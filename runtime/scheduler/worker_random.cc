#include "quiesce/runtime/scheduler/worker_random.h"

#include "absl/random/seed_sequences.h"

namespace quiesce {
inline namespace v0 {

std::mt19937_64 WorkerRandom::MakeEngine(std::optional<uint64_t> seed, uint32_t index) {
  if (!seed.has_value()) {
    absl::SeedSeq entropy = absl::MakeSeedSeq();
    return std::mt19937_64(entropy);
  }
  std::seed_seq mixed = {static_cast<uint32_t>(*seed), static_cast<uint32_t>(*seed >> 32), index};
  return std::mt19937_64(mixed);
}

WorkerRandom::WorkerRandom(const Scheduler* scheduler, std::optional<uint64_t> seed)
    : scheduler_(scheduler), of_others_(MakeEngine(seed, Scheduler::kNoWorker)) {
  const uint32_t workers = scheduler->worker_count();
  of_workers_.reserve(workers);
  for (uint32_t index = 0; index < workers; ++index) {
    of_workers_.push_back(Generator{MakeEngine(seed, index)});
  }
}

uint64_t WorkerRandom::Next() {
  const uint32_t worker = scheduler_->current_worker();
  if (worker != Scheduler::kNoWorker) [[likely]]
    return of_workers_[worker].engine();
  SpinLockHolder lock(lock_);
  return of_others_();
}

}  // namespace v0
}  // namespace quiesce

// sampler.h: some executions of a program whose behaviours are too many, chosen at random.
//
// Sources:    kPct: Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010. kPos: Yuan, Yang, Gu, CAV 2018.
// Invariants: the same seed gives the same executions on every machine (std::mt19937_64, and no distribution of the
//             standard library, which may differ).
// Threads:    none.
#ifndef QUIESCE_TESTING_EXPLORE_SAMPLER_H_
#define QUIESCE_TESTING_EXPLORE_SAMPLER_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/explore/schedule.h"
#include "quiesce/testing/explore/trace.h"

namespace quiesce::explore {

enum class Strategy : uint8_t {
  kWalk,  // each step by any task that can go
  // Tasks have priorities; before `depth` - 1 of the steps the one that would make it gets a low one. Finds each bug of
  // that depth with a known chance.
  kPct,
  kPos,  // operations have priorities, and get new ones when something has competed with them
};

struct SampleOptions {
  Strategy strategy = Strategy::kPos;
  uint64_t seed = 1;
  int depth = 3;  // kPct: how many orders of two events it takes
  size_t max_steps = kMostSteps;
};

class Sampler {
 public:
  Sampler(Model* model, SampleOptions options)
      : model_(model), options_(options), random_(options.seed) {}

  // The next execution. The sequence depends on the options alone.
  Execution Next();
  // That execution.
  const Trace& trace() const { return trace_; }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }
  TaskId Walk(const std::vector<TaskId>& can);
  TaskId Highest(const std::vector<TaskId>& can);
  TaskId Pct(const std::vector<TaskId>& can);
  TaskId Pos(const std::vector<TaskId>& can);
  uint64_t& PriorityOf(TaskId task);

  Model* const model_;
  const SampleOptions options_;
  std::mt19937_64 random_;
  Trace trace_;
  std::vector<uint64_t> priorities_;  // by task; 0: none yet
  std::vector<size_t> changes_;       // kPct: the steps before which one falls
  size_t longest_ = 0;                // of the executions that came to an end
};

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_SAMPLER_H_

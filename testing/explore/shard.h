// shard.h: one of several processes that explore a program together, without talking to each other.
//
// Example:    ShardExplorer explorer(&program, {.index = 2, .count = 4});   // of 4, the third
//             Exploration some = explorer.Run();
// How:        each splits the program in the same way (split.h), and explores every `count`th part. A class is counted with its
//             part. Those that are in none are listed, and whoever adds up the shards counts them once.
// Cost:       executions of all shards for each class, and how much sooner the last of 4 shards is done than one process:
//             writers(6) 1.0, 3.0; three_tasks(3) 1.0, 4.0; readers(10) 1.0, 1.9; indexer(14) 1.0, 2.0;
//             filesystem(18) 1.0, 4.0; wcas(8) 1.0, 2.7; philosophers(8) 1.8, 1.5; lamport(3) 1.4, 2.2; publish(200) 1.0,
//             1.0; lastzero(9) 4.4, 0.4: there most executions are given up half-way.
// Threads:    none.
#ifndef QUIESCE_TESTING_EXPLORE_SHARD_H_
#define QUIESCE_TESTING_EXPLORE_SHARD_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "quiesce/testing/explore/dpor.h"
#include "quiesce/testing/explore/exploration.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/explore/split.h"
#include "quiesce/testing/explore/trace.h"

namespace quiesce::explore {

struct Shard {
  uint32_t index = 0;  // from 0
  uint32_t count = 1;
};

class ShardExplorer {
 public:
  // `options`: no part.
  ShardExplorer(Model* model, Shard shard, ExploreOptions options = ExploreOptions());

  // Explores. Call it once. Classes are always told apart.
  Exploration Run();
  // From the model's End: that was the last execution.
  void Stop();
  // The latest execution: after a problem, the one that has it.
  const Trace& trace() const { return explorer_.has_value() ? explorer_->trace() : first_; }
  // Of this shard (Explorer::EstimateClasses), those that are counted elsewhere among them.
  double EstimateClasses() const;

  // ---- after Run ----

  // Of the program's first execution (Trace::OrderHash): equal for all shards of it.
  uint64_t program() const { return program_; }
  const Split& split() const { return *split_; }
  // Of the parts, how many are this shard's.
  size_t parts() const;
  // Of the classes that are counted here.
  uint64_t digest() const { return digest_; }
  // Classes that are in no part, by their hash, and whether they are deadlocks: other shards may have found them, too.
  const absl::flat_hash_map<uint64_t, bool>& strays() const { return strays_; }

 private:
  void Add(Exploration part);

  Model* const model_;
  const Shard shard_;
  const ExploreOptions options_;
  Exploration result_;
  Trace first_;
  std::optional<Explorer> explorer_;  // of the part at hand
  size_t parts_done_ = 0;
  std::optional<Split> split_;
  absl::flat_hash_map<uint64_t, bool> strays_;
  uint64_t program_ = 0;
  uint64_t digest_ = 0;
  bool stopped_ = false;
};

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_SHARD_H_

// every_order.h: every order of a program's steps, one after the other. What dpor.h is checked against.
#ifndef QUIESCE_TESTING_EXPLORE_EVERY_ORDER_H_
#define QUIESCE_TESTING_EXPLORE_EVERY_ORDER_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "quiesce/testing/explore/model.h"

namespace quiesce::explore {

// The hashes (Trace::ClassHash) of the classes that come to their end, and of the others; of each, how few preemptions an
// execution has: steps of another task while the one of the step before could go on.
struct EveryOrder {
  absl::flat_hash_map<uint64_t, uint32_t> classes;
  absl::flat_hash_map<uint64_t, uint32_t> deadlocks;
};
EveryOrder RunEveryOrder(Model* model);

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_EVERY_ORDER_H_

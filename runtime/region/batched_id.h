// batched_id.h: numbers that are never used twice in a process. Internal.
//
// Why:        threads that make ids at the same time shall not meet on one counter: each takes a batch.
// Example:    core->id = NextBatchedId<TaskIds, 4096>();
// Threads:    any. From 1 on; in order on one thread only.
#ifndef QUIESCE_RUNTIME_REGION_BATCHED_ID_H_
#define QUIESCE_RUNTIME_REGION_BATCHED_ID_H_

#include <atomic>
#include <cstdint>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// `Ids` names the series. Not for coroutines: one that moves to another thread must not keep the address of a thread's
// variable.
template <class Ids, uint64_t batch>
inline uint64_t NextBatchedId() {
  static std::atomic<uint64_t> next_batch{0};
  thread_local uint64_t next = 0;
  if (next % batch == 0) {
    next = next_batch.fetch_add(1, std::memory_order_relaxed) * batch + 1;
  }
  return next++;
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_BATCHED_ID_H_

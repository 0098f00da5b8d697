// random_source.h: where the randomness of a runtime comes from.
//
// Why:        a program whose dice come from one place can be run again with the same throws. Production draws
//             from worker_random.h, the lab from its seed; nobody else knows which.
#ifndef QUIESCE_RUNTIME_SCHEDULER_RANDOM_SOURCE_H_
#define QUIESCE_RUNTIME_SCHEDULER_RANDOM_SOURCE_H_

#include <cstdint>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class RandomSource {
 public:
  virtual ~RandomSource() = default;
  // 64 bits, each value as likely as any other. Threads: any.
  virtual uint64_t Next() = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_RANDOM_SOURCE_H_

// random.h: dice through the Cx.
//
// Why:        randomness that comes from anywhere makes a run that nobody can repeat. Here it has one door, which the
//             seed of the runtime (RuntimeOptions::WithSeed), or the lab, stands behind.
// Example:    if (RandomBelow(cx, 100) < 5) Trace(request);                      // one in twenty
//             RandomBits bits(cx);
//             std::shuffle(servers.begin(), servers.end(), bits);
//             absl::Duration wait = absl::Seconds(absl::Exponential(bits, 2.0));
// Invariants: (1) a value depends on the seed, the worker, and what has been drawn there before: a program with one
//             worker and a seed draws the same in each run, on every machine;
//             (2) no function here suspends, fails or takes a lock.
// Not for:    keys, tokens, and whatever an adversary must not guess: use a library for cryptography.
// Threads:    as the Cx: the task it belongs to.
#ifndef QUIESCE_RUNTIME_RANDOM_RANDOM_H_
#define QUIESCE_RUNTIME_RANDOM_RANDOM_H_

#include <cstdint>
#include <limits>

#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/scheduler/random_source.h"

namespace quiesce {
inline namespace v0 {

// 64 random bits.
inline uint64_t RandomU64(CxWith<cap::Random> cx) {
  cx.Verify();
  return cx.services().random->Next();
}

// One of 0 … bound - 1, each as likely as any other: no modulo bias. Fatal if `bound` is 0.
uint64_t RandomBelow(CxWith<cap::Random> cx, uint64_t bound, const char* file = __builtin_FILE(),
                     int line = __builtin_LINE());

// At least 0, less than 1: one of the 2^53 multiples of 2^-53, each as likely as any other.
inline double RandomDouble(CxWith<cap::Random> cx) {
  return static_cast<double>(RandomU64(cx) >> 11) * 0x1p-53;
}

// The same bits for std::shuffle and for the distributions of <random> and absl/random (whose values are not
// the same with every library). A UniformRandomBitGenerator; as a Cx, for one task.
class RandomBits {
 public:
  using result_type = uint64_t;
  explicit RandomBits(CxWith<cap::Random> cx) : cx_(cx) {}
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }
  result_type operator()() { return RandomU64(cx_); }

 private:
  CxWith<cap::Random> cx_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_RANDOM_RANDOM_H_

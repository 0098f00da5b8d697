#include "quiesce/runtime/random/random.h"

#include "absl/numeric/int128.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {

// Lemire, "Fast Random Integer Generation in an Interval", ACM TOMACS 29(1), 2019: the upper half of
// bits * bound, without the draws whose lower half is one of the 2^64 mod bound that would be too many.
uint64_t RandomBelow(CxWith<cap::Random> cx, uint64_t bound, const char* file, int line) {
  if (bound == 0) {
    Fatal("RandomBelow(cx, 0) at %s:%d: there is no number below 0; the bound must be positive",
          file, line);
  }
  absl::uint128 product = absl::uint128(RandomU64(cx)) * bound;
  if (absl::Uint128Low64(product) < bound) [[unlikely]] {
    const uint64_t too_many = -bound % bound;
    while (absl::Uint128Low64(product) < too_many) product = absl::uint128(RandomU64(cx)) * bound;
  }
  return absl::Uint128High64(product);
}

}  // namespace v0
}  // namespace quiesce

// instant.h: a point on the runtime's monotonic clock.
#ifndef QUIESCE_RUNTIME_BUDGET_INSTANT_H_
#define QUIESCE_RUNTIME_BUDGET_INSTANT_H_

#include <compare>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/time/time.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// Nanoseconds on the clock of a runtime (CLOCK_MONOTONIC in production, virtual time in the lab).
// Comparable only within one runtime.
//
// Arithmetic saturates, and the infinite instants absorb: InfiniteFuture plus anything stays. A
// duration is rounded up to whole nanoseconds, so that a deadline never comes too early.
class Instant {
 public:
  constexpr Instant() = default;
  static constexpr Instant FromNanos(int64_t nanos) { return Instant(nanos); }
  static constexpr Instant InfiniteFuture() { return Instant(std::numeric_limits<int64_t>::max()); }
  static constexpr Instant InfinitePast() { return Instant(std::numeric_limits<int64_t>::min()); }

  constexpr int64_t nanos() const { return nanos_; }
  constexpr bool is_infinite() const { return *this == InfiniteFuture(); }

  // "12.5s", "infinite-future", "infinite-past".
  std::string ToString() const;

  friend constexpr auto operator<=>(Instant, Instant) = default;

  friend Instant operator+(Instant instant, absl::Duration duration);
  friend constexpr Instant After(Instant instant, int64_t nanos);
  friend Instant operator-(Instant instant, absl::Duration duration) { return instant + -duration; }
  // Zero between equal instants; infinite if only one of them is infinite, or each on its side.
  friend absl::Duration operator-(Instant left, Instant right);

 private:
  explicit constexpr Instant(int64_t nanos) : nanos_(nanos) {}
  int64_t nanos_ = 0;
};

// The same sum where it is made often, of what has been rounded once: `nanos` = RoundUpToNanos(duration).
constexpr Instant After(Instant instant, int64_t nanos) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  if (instant.nanos_ == kMax || instant.nanos_ == kMin) return instant;
  if (nanos == kMax || nanos == kMin) return Instant(nanos);
  int64_t sum = 0;
  if (__builtin_add_overflow(instant.nanos_, nanos, &sum)) return Instant(nanos < 0 ? kMin : kMax);
  return Instant(sum);
}
// Rounded up to whole nanoseconds. Saturates: then it counts as infinite.
int64_t RoundUpToNanos(absl::Duration duration);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BUDGET_INSTANT_H_

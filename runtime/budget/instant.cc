#include "quiesce/runtime/budget/instant.h"

namespace quiesce {
inline namespace v0 {
namespace {

bool IsInfinite(Instant instant) {
  return instant == Instant::InfiniteFuture() || instant == Instant::InfinitePast();
}

// Rounded up; saturates.
int64_t CeilToNanos(absl::Duration duration) {
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  const bool exact_or_more = absl::Nanoseconds(nanos) >= duration;
  const bool saturated = nanos == std::numeric_limits<int64_t>::max();
  return exact_or_more || saturated ? nanos : nanos + 1;
}

}  // namespace

Instant operator+(Instant instant, absl::Duration duration) {
  if (IsInfinite(instant)) return instant;
  const int64_t nanos = CeilToNanos(duration);
  int64_t sum;
  if (__builtin_add_overflow(instant.nanos(), nanos, &sum)) {
    return nanos < 0 ? Instant::InfinitePast() : Instant::InfiniteFuture();
  }
  // An infinite duration is more than its saturated number of nanoseconds.
  if (duration == absl::InfiniteDuration()) return Instant::InfiniteFuture();
  if (duration == -absl::InfiniteDuration()) return Instant::InfinitePast();
  return Instant::FromNanos(sum);
}

absl::Duration operator-(Instant left, Instant right) {
  if (left == right) return absl::ZeroDuration();
  if (IsInfinite(left) || IsInfinite(right)) {
    return left > right ? absl::InfiniteDuration() : -absl::InfiniteDuration();
  }
  return absl::Nanoseconds(left.nanos()) - absl::Nanoseconds(right.nanos());
}

std::string Instant::ToString() const {
  if (*this == InfiniteFuture()) return "infinite-future";
  if (*this == InfinitePast()) return "infinite-past";
  return absl::FormatDuration(absl::Nanoseconds(nanos_));
}

}  // namespace v0
}  // namespace quiesce

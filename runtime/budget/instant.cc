#include "quiesce/runtime/budget/instant.h"

namespace quiesce {
inline namespace v0 {
namespace {

bool IsInfinite(Instant instant) {
  return instant == Instant::InfiniteFuture() || instant == Instant::InfinitePast();
}

}  // namespace

int64_t RoundUpToNanos(absl::Duration duration) {
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  const bool exact_or_more = absl::Nanoseconds(nanos) >= duration;
  const bool saturated = nanos == std::numeric_limits<int64_t>::max();
  return exact_or_more || saturated ? nanos : nanos + 1;
}

Instant operator+(Instant instant, absl::Duration duration) {
  return After(instant, RoundUpToNanos(duration));
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

#include "quiesce/runtime/budget/instant.h"

#include <cstdint>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace quiesce {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr Instant kFuture = Instant::InfiniteFuture();
constexpr Instant kPast = Instant::InfinitePast();

static_assert(sizeof(Instant) == 8);
static_assert(Instant() == Instant::FromNanos(0));
static_assert(Instant::FromNanos(1) < Instant::FromNanos(2));
static_assert(kPast < Instant::FromNanos(kMin + 1) && Instant::FromNanos(kMax - 1) < kFuture);
static_assert(kFuture.is_infinite() && !kPast.is_infinite() && !Instant().is_infinite());

Instant At(int64_t nanos) { return Instant::FromNanos(nanos); }

TEST(InstantTest, AddsAndSubtractsDurations) {
  EXPECT_EQ(At(5) + absl::Nanoseconds(3), At(8));
  EXPECT_EQ(At(5) - absl::Nanoseconds(3), At(2));
  EXPECT_EQ(At(5) + -absl::Seconds(1), At(5 - 1'000'000'000));
  EXPECT_EQ(At(8) - At(5), absl::Nanoseconds(3));
  EXPECT_EQ(At(5) - At(8), absl::Nanoseconds(-3));
}

TEST(InstantTest, ADeadlineNeverComesTooEarly) {
  EXPECT_EQ(At(5) + absl::Nanoseconds(0.25), At(6));
  EXPECT_EQ(At(5) + absl::Nanoseconds(1.75), At(7));
  EXPECT_EQ(At(5) - absl::Nanoseconds(1.75), At(4));
  EXPECT_EQ(At(5) + absl::ZeroDuration(), At(5));
}

TEST(InstantTest, SaturatesInsteadOfOverflowing) {
  EXPECT_EQ(At(kMax - 1) + absl::Nanoseconds(1), kFuture);
  EXPECT_EQ(At(kMax - 1) + absl::Hours(1), kFuture);
  EXPECT_EQ(At(kMin + 1) - absl::Nanoseconds(1), kPast);
  EXPECT_EQ(At(kMin + 1) - absl::Hours(1), kPast);
  EXPECT_EQ(At(0) + absl::Hours(24 * 365 * 1000), kFuture) << "longer than 64 bits of nanoseconds";
  EXPECT_EQ(At(0) - absl::Hours(24 * 365 * 1000), kPast);
  EXPECT_EQ(At(kMax - 1) - At(kMin + 1), absl::Nanoseconds(kMax - 1) - absl::Nanoseconds(kMin + 1));
}

TEST(InstantTest, AnInfiniteDurationLeadsToAnInfiniteInstant) {
  for (const int64_t nanos : {kMin + 1, int64_t{-5}, int64_t{0}, int64_t{5}, kMax - 1}) {
    EXPECT_EQ(At(nanos) + absl::InfiniteDuration(), kFuture);
    EXPECT_EQ(At(nanos) - absl::InfiniteDuration(), kPast);
  }
}

TEST(InstantTest, InfiniteInstantsAbsorb) {
  for (const absl::Duration duration : {absl::ZeroDuration(), absl::Hours(1), -absl::Hours(1),
                                        absl::InfiniteDuration(), -absl::InfiniteDuration()}) {
    EXPECT_EQ(kFuture + duration, kFuture);
    EXPECT_EQ(kFuture - duration, kFuture);
    EXPECT_EQ(kPast + duration, kPast);
    EXPECT_EQ(kPast - duration, kPast);
  }
  EXPECT_EQ(kFuture - At(5), absl::InfiniteDuration());
  EXPECT_EQ(At(5) - kFuture, -absl::InfiniteDuration());
  EXPECT_EQ(kPast - At(5), -absl::InfiniteDuration());
  EXPECT_EQ(kFuture - kPast, absl::InfiniteDuration());
  EXPECT_EQ(kFuture - kFuture, absl::ZeroDuration());
  EXPECT_EQ(kPast - kPast, absl::ZeroDuration());
}

TEST(InstantTest, AdditionIsMonotoneInBothArguments) {
  const std::vector<Instant> instants = {kPast, At(kMin + 1), At(-1),       At(0),
                                         At(1), At(1 << 30),  At(kMax - 1), kFuture};
  const std::vector<absl::Duration> durations = {
      -absl::InfiniteDuration(), -absl::Hours(24 * 365 * 1000), -absl::Nanoseconds(0.5),
      absl::ZeroDuration(),      absl::Nanoseconds(0.5),        absl::Seconds(1),
      absl::Nanoseconds(kMax),   absl::Hours(24 * 365 * 1000),  absl::InfiniteDuration()};
  for (size_t i = 0; i < instants.size(); ++i) {
    for (size_t d = 0; d < durations.size(); ++d) {
      if (i > 0) {
        EXPECT_LE(instants[i - 1] + durations[d], instants[i] + durations[d]);
      }
      if (d > 0) {
        EXPECT_LE(instants[i] + durations[d - 1], instants[i] + durations[d]);
      }
    }
  }
}

TEST(InstantTest, ToStringIsForPeople) {
  EXPECT_EQ(At(12'500'000'000).ToString(), "12.5s");
  EXPECT_EQ(At(0).ToString(), "0");
  EXPECT_EQ(kFuture.ToString(), "infinite-future");
  EXPECT_EQ(kPast.ToString(), "infinite-past");
}

}  // namespace
}  // namespace quiesce

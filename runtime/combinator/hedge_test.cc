#include "quiesce/runtime/combinator/hedge.h"

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "quiesce/testing/rules/fixture.h"
#include "quiesce/testing/rules/virtual_time.h"

namespace quiesce {
namespace rules {
namespace {

class HedgeTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, HedgeTest, testing::Values(1, 2));

TEST_P(HedgeTest, FastFirstAttemptIsTheOnlyOne) {
  std::atomic<int> attempts{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto ask = [&](Cx) -> Task<int> {
      ++attempts;
      co_return 7;
    };
    EXPECT_EQ(co_await OrReturn(Hedge(cx, absl::Hours(1), ask, 5)), 7);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(attempts, 1);
}

TEST_P(HedgeTest, SlowFirstAttemptIsOvertakenAndHasEnded) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto ask = [&](Cx cx, int attempt) -> Task<int> {
      Witness witness(&alive);
      if (attempt == 0) co_await OrReturn(Forever(cx));
      co_return attempt;
    };
    EXPECT_EQ(co_await OrReturn(Hedge(cx, absl::Milliseconds(1), ask)), 1);
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(HedgeTest, AttemptThatFailsStartsTheNextAtOnce) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto ask = [&](Cx, int attempt) -> Task<int> {
      if (attempt < 3) co_return absl::UnavailableError(absl::StrCat("down ", attempt));
      co_return attempt;
    };
    EXPECT_EQ(co_await OrReturn(Hedge(cx, absl::InfiniteDuration(), ask, 4)), 3);
    Outcome<int> failed = co_await Hedge(cx, absl::Hours(1), ask, 2);
    EXPECT_THAT(failed, IsErrorCode(absl::StatusCode::kUnavailable));
    EXPECT_THAT(failed, IsError("down 0 (Hedge: branch 0; branch 1: Error(UNAVAILABLE: down 1))"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(HedgeTest, PanicEndsItAtOnce) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto ask = [&](Cx cx, int attempt) -> Task<int> {
      if (attempt == 1) co_return Panic("bug");
      co_await OrReturn(Forever(cx));
      co_return 0;
    };
    EXPECT_THAT(co_await Hedge(cx, absl::ZeroDuration(), ask, 3), IsPanicked("bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(HedgeTest, AttemptsThatAreCancelledByThemselvesAreNoWinnersAlsoWithoutAValue) {
  std::atomic<int> attempts{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto ask = [&](Cx cx) {
      ++attempts;
      return CancelledByItself(cx);
    };
    EXPECT_THAT(co_await Hedge(cx, absl::Hours(1), ask, 3), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(attempts, 3);
}

TEST_P(HedgeTest, WhatFailedAttemptsHaveSpawnedIsStoppedWithTheLastOfThem) {
  std::atomic<bool> begun{false};
  std::atomic<int> told{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto ask = [&](Cx cx) -> Task<int> {
      cx.Spawn("helper", [&](Cx cx) -> Task<void> {
        begun = true;
        told += (co_await Forever(cx)).cancel_reason().root().kind() == CancelKind::kRaceLost;
        co_return Ok();
      });
      while (!begun) co_await OrReturn(Yield(cx));  // one that has not begun would not start
      co_return absl::UnavailableError("down");
    };
    // Without that it would never end.
    EXPECT_THAT(co_await Hedge(cx, absl::Hours(1), ask, 1), IsError("down"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(told, 1);
}

TEST_P(HedgeTest, AfterACancelNoFurtherAttemptIsMade) {
  std::atomic<int> attempts{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto ask = [&](Cx cx) -> Task<void> {
      ++attempts;
      return HoldAt(cx, &never);
    };
    auto hedge = [&](Cx cx) -> Task<void> { return Hedge(cx, absl::Hours(1), ask, 5); };
    auto running = cx.Spawn("hedge", hedge);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
    running.Cancel();
    EXPECT_THAT(co_await OrReturn(running.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(attempts, 1);
}

TEST_P(HedgeTest, ImpossibleNumbersOfAttemptsAreErrorsThatNameTheCall) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto ask = [](Cx) -> Task<int> { co_return 7; };
    for (int attempts : {0, kMaxHedgeAttempts + 1}) {
      Outcome<int> ended = co_await Hedge(cx, absl::Seconds(1), ask, attempts);
      EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kInvalidArgument));
      EXPECT_THAT(ended, IsError("hedge_test.cc"));
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST(HedgeDeathTest, NegativeDelayIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        (void)rt.Run([](Cx cx) -> Task<void> {
          auto ask = [](Cx) -> Task<void> { co_return Ok(); };
          co_return co_await Hedge(cx, absl::Seconds(-1), ask);
        });
      },
      "Hedge\\(cx, -1s\\) at .*hedge_test.cc.*cannot be negative");
}

class HedgeTimeTest : public VirtualTimeTest {};

// Each attempt comes exactly one delay after the one before it, and there are no more than that.
TEST_F(HedgeTimeTest, AttemptsAreOneDelayApart) {
  std::vector<int64_t> began;  // in milliseconds
  Gate answer;
  Run([&](Cx cx) -> Task<void> {
    auto ask = [&](Cx cx) -> Task<void> {
      began.push_back(absl::ToInt64Milliseconds(Elapsed()));
      return HoldAt(cx, &answer);
    };
    cx.Spawn("answers", [&](Cx cx) -> Task<void> {
      co_await OrReturn(Sleep(cx, absl::Seconds(1)));
      answer.Open();
      co_return Ok();
    });
    co_return co_await Hedge(cx, absl::Milliseconds(10), ask, 3);
  });
  EXPECT_THAT(began, testing::ElementsAre(0, 10, 20));
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

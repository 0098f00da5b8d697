// Retry, on a clock and with dice that the test moves: each pause is known to the nanosecond.
#include "quiesce/runtime/combinator/retry.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quiesce/runtime/combinator/timeout.h"
#include "quiesce/runtime/scheduler/random_source.h"
#include "quiesce/testing/contract/stepped_runtime.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Each throw is the given part of the whole range.
class LoadedDice final : public RandomSource {
 public:
  uint64_t Next() override {
    ++thrown;
    return static_cast<uint64_t>(part * 0x1p64);
  }
  double part = 0.5;
  int thrown = 0;
};

class RetryTest : public testing::Test {
 protected:
  RetryTest() { runtime.services().random = &dice; }

  // Runs body(cx) to its end; the clock moves by a millisecond whenever nothing else does.
  void Run(std::function<Task<void>(Cx)> body) {
    begin = runtime.Now();
    runtime.Start(std::move(body));
    for (runtime.RunUntilIdle(); !runtime.quiescent(); runtime.RunUntilIdle()) {
      runtime.AdvanceBy(absl::Milliseconds(1));
    }
    runtime.Finish();
    EXPECT_THAT(runtime.TakeProblems(), IsEmpty());
  }
  int Milliseconds() { return static_cast<int>(absl::ToInt64Milliseconds(runtime.Now() - begin)); }

  // Fails with `status` until the last of `attempts`.
  auto FailingUntil(size_t attempts, absl::Status status) {
    return [this, attempts, status](Cx) -> Task<int> {
      began.push_back(Milliseconds());
      if (began.size() < attempts) co_return status;
      co_return static_cast<int>(began.size());
    };
  }

  contract::SteppedRuntime runtime;
  LoadedDice dice;
  Instant begin;
  std::vector<int> began;  // each attempt, in milliseconds
};

TEST_F(RetryTest, FirstAttemptThatSucceedsIsTheOnlyOne) {
  Run([&](Cx cx) -> Task<void> {
    auto attempt = FailingUntil(1, absl::OkStatus());
    EXPECT_EQ(co_await OrReturn(Retry(cx, RetryPolicy(), attempt)), 1);
    co_return Ok();
  });
  EXPECT_THAT(began, ElementsAre(0));
  EXPECT_EQ(dice.thrown, 0);
}

TEST_F(RetryTest, PausesDoubleUpToTheMostAndAreARandomPartOfThat) {
  Run([&](Cx cx) -> Task<void> {
    auto attempt = FailingUntil(6, absl::UnavailableError("down"));
    const RetryPolicy policy = RetryPolicy().WithMaxAttempts(6).WithBackoff(
        absl::Milliseconds(100), absl::Milliseconds(500));
    EXPECT_EQ(co_await OrReturn(Retry(cx, policy, attempt)), 6);
    co_return Ok();
  });
  // Half of 100, 200, 400, 500, 500.
  EXPECT_THAT(began, ElementsAre(0, 50, 150, 350, 600, 850));
  EXPECT_EQ(dice.thrown, 5);
}

TEST_F(RetryTest, FullJitterMeansDownToNoPauseAtAll) {
  dice.part = 0;
  Run([&](Cx cx) -> Task<void> {
    auto attempt = FailingUntil(3, absl::UnavailableError("down"));
    EXPECT_EQ(co_await OrReturn(Retry(cx, RetryPolicy(), attempt)), 3);
    co_return Ok();
  });
  EXPECT_THAT(began, ElementsAre(0, 0, 0));
}

TEST_F(RetryTest, LastErrorSaysHowManyAttemptsThereWereAndKeepsItsPayloads) {
  Run([&](Cx cx) -> Task<void> {
    absl::Status down = absl::UnavailableError("down");
    down.SetPayload("test/payload", absl::Cord("kept"));
    auto attempt = FailingUntil(100, down);
    Outcome<int> ended = co_await Retry(cx, RetryPolicy().WithMaxAttempts(3), attempt);
    EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kUnavailable));
    EXPECT_THAT(ended, IsError("down (Retry at "));
    EXPECT_THAT(ended, IsError("retry_test.cc"));
    EXPECT_THAT(ended, IsError("attempt 3: the last that the policy allows)"));
    EXPECT_EQ(ended.error().GetPayload("test/payload"), absl::Cord("kept"));
    co_return Ok();
  });
  EXPECT_EQ(began.size(), 3u);
}

TEST_F(RetryTest, ErrorThatWillNotPassIsNotRetried) {
  Run([&](Cx cx) -> Task<void> {
    auto attempt = FailingUntil(100, absl::NotFoundError("no such row"));
    EXPECT_THAT(co_await Retry(cx, RetryPolicy(), attempt), IsError("no such row (Retry at"));
    EXPECT_THAT(co_await Retry(cx, RetryPolicy(), attempt),
                IsError("attempt 1: NOT_FOUND is not retried)"));
    const RetryPolicy policy =
        RetryPolicy().WithMaxAttempts(2).WithRetried({absl::StatusCode::kNotFound});
    EXPECT_THAT(co_await Retry(cx, policy, attempt), IsError("attempt 2: "));
    co_return Ok();
  });
  EXPECT_EQ(began.size(), 4u);
}

TEST_F(RetryTest, PanicIsNotRetried) {
  int attempts = 0;
  Run([&](Cx cx) -> Task<void> {
    auto attempt = [&](Cx) -> Task<void> {
      ++attempts;
      co_return Panic("bug");
    };
    EXPECT_THAT(co_await Retry(cx, RetryPolicy(), attempt), IsPanicked("bug"));
    co_return Ok();
  });
  EXPECT_EQ(attempts, 1);
}

// It came to nothing: neither an Ok, as R1 would have it in a region, nor an Error that may pass.
TEST_F(RetryTest, AttemptThatIsCancelledByItselfEndsTheMatterAlsoWithoutAValue) {
  int attempts = 0;
  Run([&](Cx cx) -> Task<void> {
    auto attempt = [&](Cx cx) {
      ++attempts;
      return CancelledByItself(cx);
    };
    EXPECT_THAT(co_await Retry(cx, RetryPolicy(), attempt), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_EQ(attempts, 1);
}

// What the failure of a child does to the attempt is not its own: it is the Error that counts, and is retried.
TEST_F(RetryTest, AttemptWhoseChildFailsIsRetried) {
  int attempts = 0;
  Run([&](Cx cx) -> Task<void> {
    auto attempt = [&](Cx cx) -> Task<void> {
      if (++attempts == 3) co_return Ok();
      cx.Spawn("child", [](Cx) -> Task<void> { co_return absl::UnavailableError("down"); });
      co_return co_await Forever(cx);
    };
    EXPECT_THAT(co_await Retry(cx, RetryPolicy(), attempt), IsOk());
    co_return Ok();
  });
  EXPECT_EQ(attempts, 3);
}

TEST_F(RetryTest, ItDoesNotSleepPastTheDeadlineButFailsAtOnce) {
  int failed_at = -1;
  Run([&](Cx cx) -> Task<void> {
    auto limited = [&](Cx cx) -> Task<int> {
      auto attempt = FailingUntil(100, absl::UnavailableError("down"));
      Outcome<int> ended = co_await Retry(cx, RetryPolicy(), attempt);
      failed_at = Milliseconds();
      co_return ended;
    };
    const auto options = RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(300)));
    // Pauses of 50, 100 and 200: the third would end at 350.
    Outcome<int> ended = co_await Region::Open(cx, "limited", limited, FailFast(), options);
    EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kUnavailable));
    EXPECT_THAT(ended, IsError("attempt 3: no time for attempt 4: it would begin in 200ms, and the "
                               "deadline is in 150ms"));
    co_return Ok();
  });
  EXPECT_THAT(began, ElementsAre(0, 50, 150));
  EXPECT_EQ(failed_at, 150);
}

TEST_F(RetryTest, AttemptThatTimesOutIsRetried) {
  Run([&](Cx cx) -> Task<void> {
    auto slow = [&](Cx cx) -> Task<void> {
      began.push_back(Milliseconds());
      return Forever(cx);
    };
    auto attempt = [&](Cx cx) { return Timeout(cx, absl::Milliseconds(20), slow); };
    EXPECT_THAT(co_await Retry(cx, RetryPolicy().WithMaxAttempts(2), attempt),
                IsErrorCode(absl::StatusCode::kDeadlineExceeded));
    co_return Ok();
  });
  EXPECT_THAT(began, ElementsAre(0, 70));
}

TEST_F(RetryTest, CancelEndsAPauseAtOnce) {
  int ended_at = -1;
  Run([&](Cx cx) -> Task<void> {
    auto retrying = cx.Spawn("retrying", [&](Cx cx) -> Task<void> {
      auto attempt = FailingUntil(100, absl::UnavailableError("down"));
      Outcome<int> ended = co_await Retry(cx, RetryPolicy(), attempt);
      EXPECT_THAT(ended, IsCancelled(CancelKind::kUser));
      ended_at = Milliseconds();
      co_return Ok();
    });
    co_await OrReturn(Sleep(cx, absl::Milliseconds(120)));
    retrying.Cancel();
    co_return Ok();
  });
  EXPECT_EQ(ended_at, 120);
  EXPECT_THAT(began, ElementsAre(0, 50));
}

TEST_F(RetryTest, CancelIsForwardedToTheAttemptAndEndsTheMatter) {
  int attempts = 0;
  Run([&](Cx cx) -> Task<void> {
    auto retrying = cx.Spawn("retrying", [&](Cx cx) -> Task<void> {
      auto attempt = [&](Cx cx) -> Task<void> {
        ++attempts;
        return Forever(cx);
      };
      co_return co_await Retry(cx, RetryPolicy(), attempt);
    });
    co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
    retrying.Cancel();
    EXPECT_THAT(co_await OrReturn(retrying.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_EQ(attempts, 1);
}

TEST_F(RetryTest, WhatAnAttemptHasSpawnedHasEndedBeforeTheNext) {
  int alive = 0;
  int most = 0;
  Run([&](Cx cx) -> Task<void> {
    auto attempt = [&](Cx cx) -> Task<void> {
      most = std::max(most, alive);
      cx.Spawn("helper", [&](Cx cx) -> Task<void> {
        ++alive;
        (void)co_await Forever(cx);
        --alive;
        co_return Ok();
      });
      co_await OrReturn(Yield(cx));
      co_return absl::UnavailableError("down");
    };
    EXPECT_THAT(co_await Retry(cx, RetryPolicy(), attempt), IsError("down"));
    co_return Ok();
  });
  EXPECT_EQ(most, 0);
}

TEST_F(RetryTest, EachAttemptIsChargedAndASpentQuotaEndsIt) {
  Run([&](Cx cx) -> Task<void> {
    auto limited = [&](Cx cx) -> Task<int> {
      auto attempt = FailingUntil(100, absl::UnavailableError("down"));
      co_return co_await Retry(cx, RetryPolicy().WithCostPerAttempt(10).WithMaxAttempts(9),
                               attempt);
    };
    const auto options = RegionOptions().WithBudget(Budget::Cost(35));
    EXPECT_THAT(co_await Region::Open(cx, "limited", limited, FailFast(), options),
                IsCancelled(CancelKind::kQuota));
    co_return Ok();
  });
  EXPECT_EQ(began.size(), 3u);
}

TEST(RetryPolicyTest, PauseStaysWithinTheMostHoweverManyAttempts) {
  const RetryPolicy policy = RetryPolicy()
                                 .WithMaxAttempts(RetryPolicy::kUnlimited)
                                 .WithBackoff(absl::Seconds(1), absl::Seconds(60), 3.0);
  EXPECT_EQ(policy.BackoffAfter(1), absl::Seconds(1));
  EXPECT_EQ(policy.BackoffAfter(2), absl::Seconds(3));
  EXPECT_EQ(policy.BackoffAfter(1'000'000), absl::Seconds(60));
  const RetryPolicy none = RetryPolicy().WithBackoff(absl::ZeroDuration(), absl::Seconds(1));
  EXPECT_EQ(none.BackoffAfter(1'000'000), absl::ZeroDuration());
}

TEST(RetryPolicyDeathTest, WhatMakesNoSenseIsFatal) {
  EXPECT_DEATH(RetryPolicy().WithMaxAttempts(0), "WithMaxAttempts\\(0\\) at .*retry_test.cc");
  EXPECT_DEATH(RetryPolicy().WithBackoff(absl::Seconds(2), absl::Seconds(1)),
               "WithBackoff\\(2s, 1s, 2\\) at .*retry_test.cc");
  EXPECT_DEATH(RetryPolicy().WithBackoff(absl::Seconds(-1), absl::Seconds(1)), "0 <= first");
  EXPECT_DEATH(RetryPolicy().WithBackoff(absl::Seconds(1), absl::Seconds(1), 0.5), "growth >= 1");
  EXPECT_DEATH(RetryPolicy().WithCostPerAttempt(-1), "WithCostPerAttempt\\(-1\\)");
}

class RetryOnWorkersTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, RetryOnWorkersTest, testing::Values(1, 2));

TEST_P(RetryOnWorkersTest, ManyAtOnceAllSucceedInTheEnd) {
  std::atomic<int> done{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 100; ++i) {
      cx.Spawn("retrying", [&](Cx cx) -> Task<void> {
        int attempts = 0;
        auto attempt = [&](Cx cx) -> Task<void> {
          co_await OrReturn(Yield(cx));
          if (++attempts < 4) co_return absl::AbortedError("again");
          co_return Ok();
        };
        const RetryPolicy policy =
            RetryPolicy().WithBackoff(absl::Microseconds(10), absl::Microseconds(100));
        co_await OrReturn(Retry(cx, policy, attempt));
        ++done;
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(done, 100);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

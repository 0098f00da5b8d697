// RateLimit, on a clock that the test moves, and with real threads. (The contract of its wait is in
// testing/contract.)
#include "quiesce/runtime/combinator/rate_limit.h"

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "quiesce/runtime/task/select.h"
#include "quiesce/testing/rules/fixture.h"
#include "quiesce/testing/rules/virtual_time.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RateLimitTest : public VirtualTimeTest {
 protected:
  int64_t Nanos() { return absl::ToInt64Nanoseconds(Elapsed()); }
  int64_t Millis() { return Nanos() / 1'000'000; }
  // A task that acquires `tokens` and notes when.
  TaskHandle<void> Acquirer(Cx cx, RateLimit& limit, int64_t tokens, std::string name) {
    return cx.Spawn(
        "acquirer",
        [this, &limit](Cx cx, int64_t tokens, std::string name) -> Task<void> {
          co_await OrReturn(limit.Acquire(cx, tokens));
          served.push_back(absl::StrCat(name, "@", Millis()));
          co_return Ok();
        },
        tokens, std::move(name));
  }

  // … which has to wait for them, and does.
  Task<TaskHandle<void>> Waiting(Cx cx, RateLimit& limit, int64_t tokens, std::string name) {
    const int64_t before = limit.waiting();
    auto acquirer = Acquirer(cx, limit, tokens, std::move(name));
    co_await OrReturn(Until(cx, [&] { return limit.waiting() > before; }));
    co_return acquirer;
  }

  std::vector<std::string> served;
};

TEST_F(RateLimitTest, BurstIsThereAtOnceAndThenTheRateHolds) {
  std::vector<int64_t> at;
  RateLimit limit(10, absl::Seconds(1), 3);
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 6; ++i) {
      co_await OrReturn(limit.Acquire(cx));
      at.push_back(Millis());
    }
    co_return Ok();
  });
  EXPECT_THAT(at, ElementsAre(0, 0, 0, 100, 200, 300));
}

// A third of a second is no whole number of nanoseconds: the error does not add up.
TEST_F(RateLimitTest, RateThatDivisionCannotHitDoesNotDrift) {
  std::vector<int64_t> at;
  RateLimit limit(3, absl::Nanoseconds(10), 1);
  Run(absl::Nanoseconds(1), [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 31; ++i) {
      co_await OrReturn(limit.Acquire(cx));
      at.push_back(Nanos());
    }
    co_return Ok();
  });
  for (int i = 0; i < 31; ++i) EXPECT_EQ(at[i], (i * 10 + 2) / 3) << i;
}

// The worker is busy for 5 ms when the first token falls due: those who waited are all due by then; one who comes
// then finds no more than the burst.
TEST_F(RateLimitTest, TaskThatResumesLateHasNotLostTheTime) {
  RateLimit limit(1, absl::Milliseconds(1), 1);
  Run(absl::Milliseconds(5), [&](Cx cx) -> Task<void> {
    EXPECT_TRUE(limit.TryAcquire(cx));
    for (const char* name : {"a", "b", "c"}) Acquirer(cx, limit, 1, name);
    co_await OrReturn(Sleep(cx, absl::Milliseconds(5)));
    co_await OrReturn(Until(cx, [&] { return limit.waiting() == 0; }));
    for (const char* name : {"d", "e"}) Acquirer(cx, limit, 1, name);
    co_return Ok();
  });
  EXPECT_THAT(served, ElementsAre("a@5", "b@5", "c@5", "d@5", "e@10"));
}

TEST_F(RateLimitTest, TimeWithoutCallsFillsItUpToTheBurstOnly) {
  RateLimit limit(1000, absl::Seconds(1), 5);
  Run(absl::Seconds(1), [&](Cx cx) -> Task<void> {
    co_await OrReturn(limit.Acquire(cx, 5));
    EXPECT_EQ(limit.available(cx), 0);
    co_await OrReturn(Sleep(cx, absl::Hours(1)));
    EXPECT_EQ(limit.available(cx), 5);
    EXPECT_TRUE(limit.TryAcquire(cx, 5));
    EXPECT_FALSE(limit.TryAcquire(cx));
    co_return Ok();
  });
}

TEST_F(RateLimitTest, ServesInTheOrderOfComingAndSmallOnesDoNotStarveALargeOne) {
  RateLimit limit(10, absl::Seconds(1), 4);
  Run([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(limit.TryAcquire(cx, 4));
    co_await OrReturn(Waiting(cx, limit, 1, "first"));
    co_await OrReturn(Waiting(cx, limit, 4, "large"));
    co_await OrReturn(Waiting(cx, limit, 1, "small"));
    co_await OrReturn(Waiting(cx, limit, 1, "last"));
    // Its tokens come before those of "large", but it is not its turn.
    EXPECT_FALSE(limit.TryAcquire(cx));
    co_await OrReturn(Sleep(cx, absl::Milliseconds(250)));
    EXPECT_EQ(limit.available(cx), 1);
    EXPECT_FALSE(limit.TryAcquire(cx));
    co_return Ok();
  });
  EXPECT_THAT(served, ElementsAre("first@100", "large@500", "small@600", "last@700"));
}

TEST_F(RateLimitTest, CancelledWaitTakesNoTokenAndThoseBehindMoveUp) {
  RateLimit limit(10, absl::Seconds(1), 10);
  Run([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(limit.TryAcquire(cx, 10));
    auto large = co_await OrReturn(Waiting(cx, limit, 10, "large"));
    co_await OrReturn(Waiting(cx, limit, 1, "a"));
    auto middle = co_await OrReturn(Waiting(cx, limit, 5, "middle"));
    co_await OrReturn(Waiting(cx, limit, 1, "b"));
    co_await OrReturn(Waiting(cx, limit, 1, "c"));
    co_await OrReturn(Sleep(cx, absl::Milliseconds(250)));
    large.Cancel();  // 2.5 tokens are there: enough for "a"
    co_await OrReturn(Sleep(cx, absl::Milliseconds(10)));
    middle.Cancel();  // 1.6
    co_return Ok();
  });
  EXPECT_THAT(served, ElementsAre("a@250", "b@260", "c@300"));
}

TEST_F(RateLimitTest, MoreThanTheBurstIsAnErrorAtOnce) {
  RateLimit limit(10, absl::Seconds(1), 4);
  Run([&](Cx cx) -> Task<void> {
    Outcome<void> acquired = co_await limit.Acquire(cx, 5);
    EXPECT_THAT(acquired, IsErrorCode(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(acquired, IsError("RateLimit::Acquire(cx, 5): more tokens than the burst of 4"));
    EXPECT_FALSE(limit.TryAcquire(cx, 5));
    EXPECT_EQ(limit.available(cx), 4);
    co_return Ok();
  });
}

TEST_F(RateLimitTest, AnotherArmOfASelectThatWinsLeavesTheTokens) {
  RateLimit limit(10, absl::Seconds(1), 1);
  Run([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(limit.TryAcquire(cx));
    auto won = co_await OrReturn(Select(cx, limit.Acquire(cx), Sleep(cx, absl::Milliseconds(99))));
    EXPECT_EQ(won.index(), 1u);
    EXPECT_EQ(limit.waiting(), 0);
    co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
    EXPECT_EQ(limit.available(cx), 1);
    co_return Ok();
  });
}

TEST_F(RateLimitTest, ARateOfAgesNeitherOverflowsNorEnds) {
  RateLimit limit(1, absl::Hours(24 * 365 * 200), INT64_MAX);
  Run([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(limit.TryAcquire(cx, INT64_MAX));
    EXPECT_FALSE(limit.TryAcquire(cx));
    auto waiting = co_await OrReturn(Waiting(cx, limit, INT64_MAX, "never"));
    co_await OrReturn(Sleep(cx, absl::Milliseconds(5)));
    EXPECT_EQ(limit.waiting(), 1);
    waiting.Cancel();
    co_return Ok();
  });
  EXPECT_THAT(served, IsEmpty());
}

TEST(RateLimitDeathTest, WhatMakesNoSenseIsFatal) {
  EXPECT_DEATH(RateLimit(0, absl::Seconds(1), 1),
               "RateLimit\\(0, 1s, 1\\) at .*rate_limit_test.cc");
  EXPECT_DEATH(RateLimit(1, absl::ZeroDuration(), 1), "positive, finite time");
  EXPECT_DEATH(RateLimit(1, absl::InfiniteDuration(), 1), "positive, finite time");
  EXPECT_DEATH(RateLimit(1, absl::Seconds(1), 0), "burst is at least 1");
  RateLimit limit(1, absl::Seconds(1), 1);
  EXPECT_DEATH((void)TestRuntime(1).Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(limit.Acquire(cx, 0));
    co_return Ok();
  }),
               "RateLimit::Acquire\\(cx, 0\\) at .*rate_limit_test.cc");
}

TEST(RateLimitDeathTest, DestroyingItWhileATaskWaitsIsFatal) {
  const auto destroy_too_early = [] {
    TestRuntime rt(1);
    (void)rt.Run([&](Cx cx) -> Task<void> {
      auto limit = std::make_unique<RateLimit>(1, absl::Hours(1), 1);
      EXPECT_TRUE(limit->TryAcquire(cx));
      cx.Spawn("waiting", [&limit](Cx cx) -> Task<void> {
        co_await OrReturn(limit->Acquire(cx));
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return limit->waiting() == 1; }));
      limit.reset();
      co_return Ok();
    });
  };
  EXPECT_DEATH(destroy_too_early(), "a RateLimit was destroyed while 1 tasks wait in its line");
}

class RateLimitOnWorkersTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, RateLimitOnWorkersTest, testing::Values(1, 2));

// Cancels come at any moment of the waits; what is taken stays within burst + rate * time.
TEST_P(RateLimitOnWorkersTest, CrowdWithCancelsKeepsTheRateAndNobodyIsForgotten) {
  constexpr int kTasks = 200;
  constexpr int kBurst = 4;
  RateLimit limit(50'000, absl::Seconds(1), kBurst);
  std::atomic<int> taken{0};
  std::atomic<int> cancelled{0};
  absl::Duration time;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    const Instant begin = cx.Now();
    std::vector<TaskHandle<void>> tasks;
    for (int i = 0; i < kTasks; ++i) {
      tasks.push_back(cx.Spawn("acquirer", [&, i](Cx cx) -> Task<void> {
        const int64_t tokens = 1 + i % 3;
        Outcome<void> acquired = co_await limit.Acquire(cx, tokens);
        if (acquired.ok()) {
          taken += static_cast<int>(tokens);
        } else {
          ++cancelled;
        }
        co_return Ok();
      }));
    }
    for (int i = 0; i < kTasks; i += 5) {
      tasks[static_cast<size_t>(i)].Cancel();
      co_await OrReturn(Yield(cx));
    }
    for (TaskHandle<void>& task : tasks) (void)co_await OrReturn(task.Join(cx));
    time = cx.Now() - begin;
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_GE(taken, kTasks - kTasks / 5);
  EXPECT_LE(taken, kBurst + absl::ToDoubleSeconds(time) * 50'000);
  EXPECT_EQ(limit.waiting(), 0);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

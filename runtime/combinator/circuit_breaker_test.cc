// CircuitBreaker, on a clock that the test moves, and with real threads.
#include "quiesce/runtime/combinator/circuit_breaker.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quiesce/testing/rules/fixture.h"
#include "quiesce/testing/rules/virtual_time.h"

namespace quiesce {
namespace rules {
namespace {

using State = CircuitBreaker::State;

CircuitBreakerOptions Options() {
  return CircuitBreakerOptions()
      .WithThreshold(3, absl::Seconds(10))
      .WithOpenFor(absl::Seconds(5))
      .WithProbes(1);
}

Task<int> Succeeds(Cx) { co_return 7; }
Task<int> Fails(Cx) { co_return absl::UnavailableError("connection refused"); }

class CircuitBreakerTest : public VirtualTimeTest {
 protected:
  Task<void> FailTimes(Cx cx, CircuitBreaker* breaker, int times) {
    for (int i = 0; i < times; ++i) {
      EXPECT_THAT(co_await breaker->Call(cx, Fails), IsError("connection refused"));
    }
    co_return Ok();
  }
};

TEST_F(CircuitBreakerTest, OpensAfterEnoughFailuresAndSaysUntilWhen) {
  CircuitBreaker breaker("payments", Options());
  int called = 0;
  Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(FailTimes(cx, &breaker, 2));
    EXPECT_EQ(breaker.state(), State::kClosed);
    co_await OrReturn(FailTimes(cx, &breaker, 1));
    EXPECT_EQ(breaker.state(), State::kOpen);
    auto counts = [&](Cx) -> Task<void> {
      ++called;
      co_return Ok();
    };
    co_await OrReturn(Sleep(cx, absl::Seconds(2)));
    Outcome<void> refused = co_await breaker.Call(cx, counts);
    EXPECT_THAT(refused, IsErrorCode(absl::StatusCode::kUnavailable));
    EXPECT_THAT(refused, IsError("circuit breaker 'payments': not called, for 3s, until "));
    EXPECT_THAT(refused, IsError("it opened after: UNAVAILABLE: connection refused"));
    co_return Ok();
  });
  EXPECT_EQ(called, 0);
}

TEST_F(CircuitBreakerTest, ACancelledCallerIsToldSoAndCallsNothing) {
  CircuitBreaker breaker("payments", Options());
  int called = 0;
  Run([&](Cx cx) -> Task<void> {
    auto cancelled = [&](Cx cx) -> Task<int> {
      cx.Ref().Cancel();
      auto counts = [&](Cx) -> Task<int> { co_return ++called; };
      co_return co_await breaker.Call(cx, counts);
    };
    EXPECT_THAT(co_await Region::Open(cx, "closed", cancelled), IsCancelled(CancelKind::kUser));
    co_await OrReturn(FailTimes(cx, &breaker, 3));
    EXPECT_THAT(co_await Region::Open(cx, "open", cancelled), IsCancelled(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_EQ(called, 0);
}

TEST_F(CircuitBreakerTest, AProbeThatSucceedsClosesItAndOneThatFailsOpensItAgain) {
  CircuitBreaker breaker("payments", Options());
  Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(FailTimes(cx, &breaker, 3));
    co_await OrReturn(Sleep(cx, absl::Seconds(5)));
    co_await OrReturn(FailTimes(cx, &breaker, 1));
    EXPECT_EQ(breaker.state(), State::kOpen);
    co_await OrReturn(Sleep(cx, absl::Seconds(4)));
    EXPECT_THAT(co_await breaker.Call(cx, Succeeds), IsError("not called"));
    co_await OrReturn(Sleep(cx, absl::Seconds(1)));
    EXPECT_EQ(co_await OrReturn(breaker.Call(cx, Succeeds)), 7);
    EXPECT_EQ(breaker.state(), State::kClosed);
    // With a clean slate.
    co_await OrReturn(FailTimes(cx, &breaker, 2));
    EXPECT_EQ(breaker.state(), State::kClosed);
    co_return Ok();
  });
}

TEST_F(CircuitBreakerTest, OnlySoManyProbesAreMadeAndAllMustSucceed) {
  CircuitBreaker breaker("payments", Options().WithProbes(2));
  Gate answer;
  int called = 0;
  Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(FailTimes(cx, &breaker, 3));
    co_await OrReturn(Sleep(cx, absl::Seconds(5)));
    auto probe = [&](Cx cx) -> Task<void> {
      ++called;
      co_await OrReturn(Pass(cx, answer));
      co_return Ok();
    };
    auto call = [&](Cx cx) -> Task<void> { return breaker.Call(cx, probe); };
    auto one = cx.Spawn("one", call);
    auto two = cx.Spawn("two", call);
    co_await OrReturn(Until(cx, [&] { return answer.waiting() == 2; }));
    EXPECT_EQ(breaker.state(), State::kHalfOpen);
    EXPECT_THAT(co_await breaker.Call(cx, probe),
                IsError("until the result of a probe is known (at most 2)"));
    answer.Open();
    EXPECT_THAT(co_await OrReturn(one.Join(cx)), IsOk());
    EXPECT_THAT(co_await OrReturn(two.Join(cx)), IsOk());
    EXPECT_EQ(breaker.state(), State::kClosed);
    co_return Ok();
  });
  EXPECT_EQ(called, 2);
}

TEST_F(CircuitBreakerTest, CancelledProbeGivesItsPlaceBackAndCountsForNothing) {
  CircuitBreaker breaker("payments", Options());
  Gate never;
  Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(FailTimes(cx, &breaker, 3));
    co_await OrReturn(Sleep(cx, absl::Seconds(5)));
    for (int i = 0; i < 3; ++i) {
      auto probe = cx.Spawn("probe", [&](Cx cx) -> Task<void> {
        auto held = [&](Cx cx) { return HoldAt(cx, &never); };
        co_return co_await breaker.Call(cx, held);
      });
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      EXPECT_THAT(co_await breaker.Call(cx, Succeeds), IsError("the result of a probe"));
      probe.Cancel();
      EXPECT_TRUE((co_await OrReturn(probe.Join(cx))).is_cancelled());
      EXPECT_EQ(breaker.state(), State::kHalfOpen);
    }
    EXPECT_THAT(co_await breaker.Call(cx, Succeeds), IsOk());
    EXPECT_EQ(breaker.state(), State::kClosed);
    co_return Ok();
  });
}

TEST_F(CircuitBreakerTest, PanicIsAFailureAndAProbeThatPanicsGivesItsPlaceBack) {
  CircuitBreaker breaker("payments", Options());
  auto panics = [](Cx) -> Task<void> { co_return Panic("bug"); };
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 3; ++i) EXPECT_THAT(co_await breaker.Call(cx, panics), IsPanicked("bug"));
    EXPECT_THAT(co_await breaker.Call(cx, Succeeds), IsError("it opened after: INTERNAL"));
    for (int i = 0; i < 2; ++i) {
      co_await OrReturn(Sleep(cx, absl::Seconds(5)));
      EXPECT_THAT(co_await breaker.Call(cx, panics), IsPanicked("bug"));
      EXPECT_EQ(breaker.state(), State::kOpen);
    }
    co_await OrReturn(Sleep(cx, absl::Seconds(5)));
    EXPECT_THAT(co_await breaker.Call(cx, Succeeds), IsOk());
    co_return Ok();
  });
}

TEST_F(CircuitBreakerTest, ErrorOfACalleeThatAnsweredIsNoFailure) {
  CircuitBreaker breaker("payments", Options());
  CircuitBreaker strict("payments", Options().WithFailures({absl::StatusCode::kNotFound}));
  auto not_found = [](Cx) -> Task<void> { co_return absl::NotFoundError("no such order"); };
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 10; ++i) {
      EXPECT_THAT(co_await breaker.Call(cx, not_found), IsError("no such order"));
    }
    EXPECT_EQ(breaker.state(), State::kClosed);
    for (int i = 0; i < 3; ++i) (void)co_await strict.Call(cx, not_found);
    EXPECT_EQ(strict.state(), State::kOpen);
    co_return Ok();
  });
}

TEST_F(CircuitBreakerTest, FailuresCountForAWindowOnly) {
  CircuitBreaker breaker("payments", Options());
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 10; ++i) {
      co_await OrReturn(FailTimes(cx, &breaker, 1));
      co_await OrReturn(Sleep(cx, absl::Seconds(5)));  // never three within 10 s
    }
    EXPECT_EQ(breaker.state(), State::kClosed);
    co_await OrReturn(FailTimes(cx, &breaker, 1));
    co_await OrReturn(Sleep(cx, absl::Seconds(1)));
    co_await OrReturn(FailTimes(cx, &breaker, 1));
    EXPECT_EQ(breaker.state(), State::kOpen);
    co_return Ok();
  });
}

TEST_F(CircuitBreakerTest, FewFailuresAmongManySuccessesDoNotOpenIt) {
  CircuitBreaker breaker("payments", Options());
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 100; ++i) {
      EXPECT_THAT(co_await breaker.Call(cx, Succeeds), IsOk());
      if (i % 3 == 0) co_await OrReturn(FailTimes(cx, &breaker, 1));
    }
    EXPECT_EQ(breaker.state(), State::kClosed);
    co_return Ok();
  });
}

TEST_F(CircuitBreakerTest, CallThatBeganInAnEarlierStateDoesNotCount) {
  CircuitBreaker breaker("payments", Options());
  Gate answer;
  Run([&](Cx cx) -> Task<void> {
    auto slow = cx.Spawn("slow", [&](Cx cx) -> Task<void> {
      auto call = [&](Cx cx) -> Task<void> {
        co_await OrReturn(Pass(cx, answer));
        co_return Ok();
      };
      co_return co_await breaker.Call(cx, call);
    });
    co_await OrReturn(Until(cx, [&] { return answer.waiting() == 1; }));
    co_await OrReturn(FailTimes(cx, &breaker, 3));
    answer.Open();
    EXPECT_THAT(co_await OrReturn(slow.Join(cx)), IsOk());
    EXPECT_EQ(breaker.state(), State::kOpen);
    co_return Ok();
  });
}

TEST(CircuitBreakerDeathTest, WhatMakesNoSenseIsFatal) {
  EXPECT_DEATH(CircuitBreakerOptions().WithThreshold(0, absl::Seconds(1)),
               "WithThreshold\\(0, 1s, 0.5\\) at .*circuit_breaker_test.cc");
  EXPECT_DEATH(CircuitBreakerOptions().WithThreshold(1, absl::ZeroDuration()),
               "positive and finite");
  EXPECT_DEATH(CircuitBreakerOptions().WithThreshold(1, absl::Seconds(1), 1.5), "from 0 to 1");
  EXPECT_DEATH(CircuitBreakerOptions().WithOpenFor(absl::ZeroDuration()), "must be positive");
  EXPECT_DEATH(CircuitBreakerOptions().WithProbes(0), "would never close");
}

TEST(CircuitBreakerDeathTest, DestroyingItUnderACallIsFatal) {
  const auto destroy_too_early = [] {
    TestRuntime rt(1);
    (void)rt.Run([&](Cx cx) -> Task<void> {
      auto breaker = std::make_unique<CircuitBreaker>("payments");
      Gate never;
      cx.Spawn("call", [&](Cx cx) -> Task<void> {
        auto held = [&](Cx cx) { return HoldAt(cx, &never); };
        co_return co_await breaker->Call(cx, held);
      });
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      breaker.reset();
      co_return Ok();
    });
  };
  EXPECT_DEATH(destroy_too_early(),
               "circuit breaker 'payments' was destroyed while 1 calls through it run");
}

class CircuitBreakerOnWorkersTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, CircuitBreakerOnWorkersTest, testing::Values(1, 2));

// Opened and closed again and again, with calls that are cancelled meanwhile: never more probes than allowed, and no
// place is lost: the last call, after the time, is made.
TEST_P(CircuitBreakerOnWorkersTest, CrowdWithCancelsLosesNoPlace) {
  CircuitBreaker breaker("flaky", CircuitBreakerOptions()
                                      .WithThreshold(2, absl::Seconds(10))
                                      .WithOpenFor(absl::Microseconds(50))
                                      .WithProbes(2));
  std::atomic<int> ended{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto crowd = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 40; ++i) {
        auto task = cx.Spawn("call", [&, i](Cx cx) -> Task<void> {
          auto call = [i](Cx cx) -> Task<void> {
            co_await OrReturn(Yield(cx));
            if (i % 2 == 0) co_return absl::UnavailableError("flaky");
            co_return Ok();
          };
          for (int k = 0; k < 20; ++k) {
            if (cx.cancelled()) break;
            (void)co_await breaker.Call(cx, call);
            (void)co_await Yield(cx);
          }
          ++ended;
          co_return Ok();
        });
        if (i % 4 == 3) task.Cancel();
        co_await OrReturn(Yield(cx));
      }
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "crowd", crowd));
    co_await OrReturn(Sleep(cx, absl::Microseconds(100)));
    for (int i = 0; i < 2; ++i) EXPECT_THAT(co_await breaker.Call(cx, Succeeds), IsOk());
    EXPECT_EQ(breaker.state(), State::kClosed);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

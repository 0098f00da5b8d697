#include "quiesce/runtime/combinator/bracket.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using testing::ElementsAre;

class BracketTest : public testing::TestWithParam<uint32_t> {
 protected:
  // What a Bracket is made of; each step is noted.
  struct Steps {
    Task<int> Acquire(Cx) {
      trail.Add("acquire");
      co_return 7;
    }
    Task<void> Release(Cx cx, int& resource) {
      EXPECT_EQ(resource, 7);
      co_await OrReturn(Yield(cx));  // a wait of the release
      trail.Add("released");
      co_return Ok();
    }
    Trail trail;
  };
  Steps steps;
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, BracketTest, testing::Values(1, 2));

TEST_P(BracketTest, ReleasesAfterEveryOutcomeOfItsUse) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto acquire = [&](Cx cx) { return steps.Acquire(cx); };
    auto release = [&](Cx cx, int& resource) { return steps.Release(cx, resource); };
    auto works = [](Cx, int& resource) -> Task<int> { co_return resource + 1; };
    EXPECT_EQ(co_await OrReturn(Bracket(cx, acquire, works, release)), 8);
    auto fails = [](Cx, int&) -> Task<int> { co_return absl::NotFoundError("gone"); };
    EXPECT_THAT(co_await Bracket(cx, acquire, fails, release), IsError("gone"));
    auto panics = [](Cx, int&) -> Task<void> { co_return Panic("bug"); };
    EXPECT_THAT(co_await Bracket(cx, acquire, panics, release), IsPanicked("bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_THAT(steps.trail.Steps(),
              ElementsAre("acquire", "released", "acquire", "released", "acquire", "released"));
}

TEST_P(BracketTest, ReleaseWaitsAlthoughTheTaskIsCancelled) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto acquire = [&](Cx cx) { return steps.Acquire(cx); };
    auto use = [&](Cx cx, int&) { return HoldAt(cx, &never); };
    auto release = [&](Cx cx, int& resource) { return steps.Release(cx, resource); };
    auto bracket = [&](Cx cx) -> Task<void> { return Bracket(cx, acquire, use, release); };
    auto running = cx.Spawn("bracket", bracket);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
    running.Cancel();
    EXPECT_THAT(co_await OrReturn(running.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_THAT(steps.trail.Steps(), ElementsAre("acquire", "released"));
}

// The moment that loses resources elsewhere: they are there, and nobody has them yet.
TEST_P(BracketTest, CancelInTheMomentOfAcquiringReleases) {
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    auto acquire = [&](Cx cx) -> Task<int> {
      cx.Ref().Cancel();
      return steps.Acquire(cx);
    };
    auto use = [&](Cx, int&) -> Task<void> {
      steps.trail.Add("used");
      co_return Ok();
    };
    auto release = [&](Cx cx, int& resource) { return steps.Release(cx, resource); };
    EXPECT_TRUE((co_await Bracket(cx, acquire, use, release)).is_cancelled());
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
  EXPECT_THAT(steps.trail.Steps(), ElementsAre("acquire", "released"));
}

TEST_P(BracketTest, WhatWasNotAcquiredIsNotReleased) {
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    auto acquire = [](Cx cx) -> Task<int> {
      co_await OrReturn(Yield(cx));
      co_return absl::UnavailableError("none free");
    };
    auto use = [&](Cx, int&) -> Task<void> {
      steps.trail.Add("used");
      co_return Ok();
    };
    auto release = [&](Cx cx, int& resource) { return steps.Release(cx, resource); };
    EXPECT_THAT(co_await Bracket(cx, acquire, use, release), IsError("none free"));
    cx.Ref().Cancel();
    EXPECT_TRUE((co_await Bracket(cx, acquire, use, release)).is_cancelled());
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
  EXPECT_THAT(steps.trail.Steps(), ElementsAre());
}

TEST_P(BracketTest, OnACancelledCxNothingIsAcquired) {
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    auto acquire = [&](Cx cx) { return steps.Acquire(cx); };
    auto use = [](Cx, int&) -> Task<void> { co_return Ok(); };
    auto release = [&](Cx cx, int& resource) { return steps.Release(cx, resource); };
    cx.Ref().Cancel();
    EXPECT_TRUE((co_await Bracket(cx, acquire, use, release)).is_cancelled());
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
  EXPECT_THAT(steps.trail.Steps(), ElementsAre());
}

TEST_P(BracketTest, WhatTheUseHasStartedEndsBeforeTheRelease) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto acquire = [&](Cx cx) { return steps.Acquire(cx); };
    auto use = [&](Cx cx, int& resource) -> Task<void> {
      cx.Spawn("helper", [&](Cx cx) -> Task<void> {
        for (int i = 0; i < 100; ++i) co_await OrReturn(Yield(cx));
        EXPECT_EQ(resource, 7);
        steps.trail.Add("helper");
        co_return Ok();
      });
      co_return Ok();
    };
    auto release = [&](Cx cx, int& resource) { return steps.Release(cx, resource); };
    EXPECT_THAT(co_await Bracket(cx, acquire, use, release), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_THAT(steps.trail.Steps(), ElementsAre("acquire", "helper", "released"));
}

TEST_P(BracketTest, FailureOfTheReleaseIsJoined) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto acquire = [&](Cx cx) { return steps.Acquire(cx); };
    auto works = [](Cx, int&) -> Task<int> { co_return 1; };
    auto fails = [](Cx, int&) -> Task<int> { co_return absl::NotFoundError("use"); };
    auto release = [](Cx, int&) -> Task<void> { co_return absl::InternalError("release"); };
    auto panics = [](Cx, int&) -> Task<void> { co_return Panic("release's bug"); };
    EXPECT_THAT(co_await Bracket(cx, acquire, works, release), IsError("release"));
    EXPECT_THAT(co_await Bracket(cx, acquire, fails, release), IsError("use"));
    EXPECT_THAT(co_await Bracket(cx, acquire, fails, panics), IsPanicked("release's bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

// The use came to nothing: for its caller that is no Ok, value or not.
TEST_P(BracketTest, UseThatIsCancelledByItselfStaysCancelled) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto acquire = [&](Cx cx) { return steps.Acquire(cx); };
    auto use = [&](Cx cx, int&) { return CancelledByItself(cx); };
    auto release = [&](Cx cx, int& resource) { return steps.Release(cx, resource); };
    EXPECT_THAT(co_await Bracket(cx, acquire, use, release), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_THAT(steps.trail.Steps(), ElementsAre("acquire", "released"));
}

// The release still starts, and no wait of it can hold up the end (G5).
TEST_P(BracketTest, OnceTheDrainBudgetIsSpentTheReleasesWaitsFail) {
  std::optional<Outcome<void>> released;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto acquire = [&](Cx cx) { return steps.Acquire(cx); };
    auto use = [&](Cx cx, int&) { return HoldAt(cx, &never); };
    auto release = [&](Cx cx, int&) -> Task<void> {
      released.emplace(co_await Pass(cx, never));
      co_return *released;
    };
    auto bracket = [&](Cx cx) -> Task<void> { return Bracket(cx, acquire, use, release); };
    auto running = cx.Spawn("bracket", bracket);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
    running.Cancel(Budget::Timeout(absl::Milliseconds(1)));
    EXPECT_TRUE((co_await OrReturn(running.Join(cx))).is_cancelled());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  ASSERT_TRUE(released.has_value());
  EXPECT_THAT(*released, IsCancelled(CancelKind::kDrainBudgetSpent));
}

TEST_P(BracketTest, MoveOnlyResourceIsGivenToAReleaseThatTakesIt) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto acquire = [&](Cx) -> Task<std::unique_ptr<Witness>> {
      co_return std::make_unique<Witness>(&alive);
    };
    auto use = [&](Cx, std::unique_ptr<Witness>&) -> Task<void> {
      EXPECT_EQ(alive, 1);
      co_return Ok();
    };
    auto release = [&](Cx, std::unique_ptr<Witness> taken) -> Task<void> {
      taken.reset();
      EXPECT_EQ(alive, 0);
      co_return Ok();
    };
    EXPECT_THAT(co_await Bracket(cx, acquire, use, release), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

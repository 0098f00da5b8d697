#include "quiesce/runtime/combinator/first_ok.h"

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

class FirstOkTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, FirstOkTest, testing::Values(1, 2));

Task<int> Seven(Cx) { co_return 7; }
Task<int> NotFound(Cx) { co_return absl::NotFoundError("gone"); }
Task<int> Unavailable(Cx) { co_return absl::UnavailableError("down"); }
Task<int> Never(Cx cx) {
  co_await OrReturn(Forever(cx));
  co_return -1;
}

TEST_P(FirstOkTest, ErrorsDoNotEndIt) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::atomic<int> failed{0};
    auto fails = [&](Cx) -> Task<int> {
      ++failed;
      co_return absl::NotFoundError("gone");
    };
    auto late = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Until(cx, [&] { return failed == 2; }));
      co_return 7;
    };
    auto loser = [&](Cx cx) -> Task<int> {
      Witness witness(&alive);
      co_return co_await Never(cx);
    };
    Winner<int> winner = co_await OrReturn(FirstOk(cx, fails, loser, late, fails));
    EXPECT_EQ(winner.index, 2u);
    EXPECT_EQ(winner.value, 7);
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(FirstOkTest, WhenAllFailTheFirstBranchsErrorSaysHowTheOthersEnded) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::atomic<bool> failed{false};
    auto first = [&](Cx cx) -> Task<int> {  // by its place, not by time
      co_await OrReturn(Until(cx, [&] { return failed.load(); }));
      absl::Status status = absl::NotFoundError("gone");
      status.SetPayload("type", absl::Cord("payload"));
      co_return status;
    };
    auto second = [&](Cx) -> Task<int> {
      failed = true;
      co_return absl::UnavailableError("down");
    };
    Outcome<Winner<int>> ended = co_await FirstOk(cx, first, second);
    EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kNotFound));
    if (!ended.is_error()) co_return Ok();
    EXPECT_EQ(ended.error().message(),
              "gone (FirstOk: branch 0; branch 1: Error(UNAVAILABLE: down))");
    EXPECT_EQ(ended.error().GetPayload("type"), absl::Cord("payload"));
    Outcome<Winner<int>> alone = co_await FirstOk(cx, Unavailable);
    EXPECT_TRUE(alone.is_error() && alone.error() == absl::UnavailableError("down"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(FirstOkTest, NamesEightOfManyFailures) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<Task<int> (*)(Cx)> branches(12, NotFound);
    Outcome<Winner<int>> ended = co_await FirstOk(cx, branches);
    EXPECT_THAT(ended, IsError("branch 8: Error(NOT_FOUND: gone); and 3 more)"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(FirstOkTest, WhatFailedBranchesHaveSpawnedIsStoppedWithTheLastOfThem) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto fails = [&](Cx cx) -> Task<int> {
      std::atomic<bool> begun{false};
      cx.Spawn("helper", [&](Cx cx) -> Task<void> {
        Witness witness(&alive);
        begun = true;
        co_return co_await Forever(cx);
      });
      co_await OrReturn(Until(cx, [&] { return begun.load(); }));
      co_return absl::NotFoundError("gone");
    };
    EXPECT_THAT(co_await FirstOk(cx, fails, fails), IsError("gone"));
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(FirstOkTest, PanicEndsItAtOnce) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto panics = [](Cx) -> Task<int> { co_return Panic("bug"); };
    EXPECT_THAT(co_await FirstOk(cx, Never, panics, NotFound), IsPanicked("bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(FirstOkTest, LosersPanicIsJoined) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto panics = [&](Cx cx) -> Task<int> {
      (void)co_await Pass(cx, never);
      co_return Panic("at the end");
    };
    auto wins = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      co_return 1;
    };
    EXPECT_THAT(co_await FirstOk(cx, panics, wins), IsPanicked("at the end"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(FirstOkTest, CancelFromOutsideIsMoreSevereThanErrors) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto waits = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Pass(cx, never));
      co_return 0;
    };
    auto first = [&](Cx cx) -> Task<Winner<int>> { return FirstOk(cx, NotFound, waits); };
    auto running = cx.Spawn("first", first);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
    running.Cancel();
    EXPECT_THAT(co_await OrReturn(running.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(FirstOkTest, DifferentTypesAndContainers) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto text = [](Cx) -> Task<std::string> { co_return "seven"; };
    std::variant<int, std::string> first = co_await OrReturn(FirstOk(cx, NotFound, text));
    EXPECT_EQ(first.index(), 1u);
    std::vector<Task<int> (*)(Cx)> branches = {NotFound, Seven, Never};
    Winner<int> winner = co_await OrReturn(FirstOk(cx, branches));
    EXPECT_EQ(winner.index, 1u);
    branches.clear();
    EXPECT_THAT(co_await FirstOk(cx, branches), IsErrorCode(absl::StatusCode::kInvalidArgument));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

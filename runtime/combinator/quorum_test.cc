#include "quiesce/runtime/combinator/quorum.h"

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

class QuorumTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, QuorumTest, testing::Values(1, 2));

Task<int> Seven(Cx) { co_return 7; }
Task<int> NotFound(Cx) { co_return absl::NotFoundError("gone"); }
Task<int> Never(Cx cx) {
  co_await OrReturn(Forever(cx));
  co_return -1;
}

TEST_P(QuorumTest, EndsWhenEnoughAreOkAndTheRestHaveEnded) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::atomic<bool> first{false};
    auto eight = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Until(cx, [&] { return first.load(); }));
      co_return 8;
    };
    auto nine = [&](Cx) -> Task<int> {
      first = true;
      co_return 9;
    };
    auto loser = [&](Cx cx) -> Task<int> {
      Witness witness(&alive);
      co_return co_await Never(cx);
    };
    std::vector<Winner<int>> winners =
        co_await OrReturn(Quorum(cx, 2, loser, eight, NotFound, nine));
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(winners.size(), 2u);
    if (winners.size() != 2) co_return Ok();
    EXPECT_EQ(winners[0].index, 3u) << "in the order of their ends";
    EXPECT_EQ(winners[0].value, 9);
    EXPECT_EQ(winners[1].index, 1u);
    EXPECT_EQ(winners[1].value, 8);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(QuorumTest, EndsAtOnceWhenItCannotBeReachedAnyMore) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto loser = [&](Cx cx) -> Task<int> {
      Witness witness(&alive);
      co_return co_await Never(cx);
    };
    auto down = [](Cx) -> Task<int> { co_return absl::UnavailableError("down"); };
    Outcome<std::vector<Winner<int>>> ended = co_await Quorum(cx, 3, loser, NotFound, Seven, down);
    EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kNotFound));
    EXPECT_THAT(ended, IsError("branch 3: Error(UNAVAILABLE: down)"));
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(QuorumTest, PanicEndsItAtOnceAlsoALosers) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto panics = [](Cx) -> Task<int> { co_return Panic("bug"); };
    EXPECT_THAT(co_await Quorum(cx, 1, Never, panics, Never), IsPanicked("bug"));
    Gate never;
    auto late = [&](Cx cx) -> Task<int> {
      (void)co_await Pass(cx, never);
      co_return Panic("at the end");
    };
    auto wins = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      co_return 1;
    };
    EXPECT_THAT(co_await Quorum(cx, 2, late, wins, wins), IsPanicked("at the end"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(QuorumTest, ImpossibleSizesAreErrorsThatNameTheCall) {
  std::atomic<int> started{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto counts = [&](Cx) -> Task<void> {
      ++started;
      co_return Ok();
    };
    for (int wanted : {0, 3, -1}) {
      Outcome<std::vector<Winner<void>>> ended = co_await Quorum(cx, wanted, counts, counts);
      EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kInvalidArgument));
      EXPECT_THAT(ended, IsError(absl::StrCat(wanted, " of 2 branches")));
      EXPECT_THAT(ended, IsError("quorum_test.cc"));
    }
    std::vector<decltype(counts)> none;
    EXPECT_THAT(co_await Quorum(cx, 1, none), IsErrorCode(absl::StatusCode::kInvalidArgument));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(started, 0);
}

TEST_P(QuorumTest, CancelFromOutsideStays) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto waits = [&](Cx cx) -> Task<void> { return HoldAt(cx, &never); };
    auto quorum = [&](Cx cx) -> Task<std::vector<Winner<void>>> {
      return Quorum(cx, 2, waits, waits, waits);
    };
    auto running = cx.Spawn("quorum", quorum);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 3; }));
    running.Cancel();
    EXPECT_THAT(co_await OrReturn(running.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(QuorumTest, ContainerOfBranches) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<std::function<Task<int>(Cx)>> branches;
    for (int i = 0; i < 31; ++i) {
      branches.push_back([i](Cx cx) -> Task<int> {
        if (i % 2 == 0) co_return co_await Never(cx);
        co_return i;
      });
    }
    std::vector<Winner<int>> winners = co_await OrReturn(Quorum(cx, 15, branches));
    EXPECT_EQ(winners.size(), 15u);
    for (const Winner<int>& winner : winners) {
      EXPECT_EQ(winner.value, static_cast<int>(winner.index));
      EXPECT_EQ(winner.index % 2, 1u);
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

#include "quiesce/runtime/combinator/race.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

class RaceTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, RaceTest, testing::Values(1, 2));

Task<int> Seven(Cx) { co_return 7; }
Task<int> Never(Cx cx) {
  co_await OrReturn(Forever(cx));
  co_return -1;
}

TEST_P(RaceTest, FirstToEndWinsAndTheOtherHasEnded) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto loser = [&](Cx cx) -> Task<int> {
      Witness witness(&alive);
      co_return co_await Never(cx);
    };
    Winner<int> winner = co_await OrReturn(Race(cx, loser, Seven));
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(winner.index, 1u);
    EXPECT_EQ(winner.value, 7);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, ErrorWinsToo) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto fails = [](Cx) -> Task<int> { co_return absl::NotFoundError("gone"); };
    EXPECT_THAT(co_await Race(cx, fails, Never), IsError("gone"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, LoserIsToldThatItHasLost) {
  std::optional<CancelReason> reason;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto loser = [&](Cx cx) -> Task<int> {
      Outcome<void> stopped = co_await Pass(cx, never);
      reason.emplace(stopped.cancel_reason());
      co_return Outcome<int>::FromFailure(std::move(stopped));
    };
    auto winner = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      co_return 1;
    };
    EXPECT_THAT(co_await Race(cx, loser, winner), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  ASSERT_TRUE(reason.has_value());
  EXPECT_EQ(reason->root().kind(), CancelKind::kRaceLost);
}

// G9: it returns after the loser, however long that drains.
TEST_P(RaceTest, ReturnsOnlyAfterALoserThatDrains) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate gate;
    std::atomic<bool> returned{false};
    auto drains = [&](Cx cx) -> Task<void> { return DrainAt(cx, &gate); };
    auto ends = [&](Cx cx) -> Task<void> { return Until(cx, [&] { return gate.waiting() == 1; }); };
    auto race = [&](Cx cx) -> Task<void> {
      Winner<void> winner = co_await OrReturn(Race(cx, drains, ends));
      EXPECT_EQ(winner.index, 1u);
      returned = true;
      co_return Ok();
    };
    TaskHandle<void> racing = cx.Spawn("race", race);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    for (int i = 0; i < 1000; ++i) {
      co_await OrReturn(Yield(cx));
      EXPECT_FALSE(returned);
    }
    gate.Open();
    EXPECT_THAT(co_await OrReturn(racing.Join(cx)), IsOk());
    EXPECT_TRUE(returned);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, LosersPanicIsJoinedAndItsErrorIsNot) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto winner = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      co_return 1;
    };
    auto panics = [&](Cx cx) -> Task<int> {
      (void)co_await Pass(cx, never);
      co_return Panic("at the end");
    };
    EXPECT_THAT(co_await Race(cx, panics, winner), IsPanicked("at the end"));
    auto fails = [&](Cx cx) -> Task<int> {
      (void)co_await Pass(cx, never);
      co_return absl::InternalError("at the end");
    };
    EXPECT_THAT(co_await Race(cx, fails, winner), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, PanicEndsItAtOnce) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto panics = [](Cx) -> Task<int> { co_return Panic("bug"); };
    EXPECT_THAT(co_await Race(cx, Never, panics, Never), IsPanicked("bug"));
    auto helper_panics = [](Cx cx) -> Task<int> {
      cx.Spawn("helper", [](Cx) -> Task<void> { co_return Panic("helper's bug"); });
      return Never(cx);
    };
    EXPECT_THAT(co_await Race(cx, Never, helper_panics), IsPanicked("helper's bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, TasksThatBranchesSpawnedLoseWithThem) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto helper = [](Cx cx, Witness) -> Task<void> { return Forever(cx); };
    auto winner = [&](Cx cx) -> Task<int> {
      Witness witness(&alive);
      cx.Spawn("helper", helper, std::move(witness));
      co_return 1;
    };
    auto loser = [&](Cx cx) -> Task<int> {
      Witness witness(&alive);
      cx.Spawn("helper", helper, std::move(witness));
      co_return co_await Never(cx);
    };
    EXPECT_THAT(co_await Race(cx, loser, winner), IsOk());
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, CancelFromOutsideReachesTheBranchesAndStays) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto waits = [&](Cx cx) -> Task<void> {
      Witness witness(&alive);
      co_return co_await HoldAt(cx, &never);
    };
    auto race = [&](Cx cx) -> Task<Winner<void>> { return Race(cx, waits, waits, waits); };
    TaskHandle<Winner<void>> racing = cx.Spawn("race", race);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 3; }));
    racing.Cancel();
    EXPECT_THAT(co_await OrReturn(racing.Join(cx)), IsCancelledBy(CancelKind::kUser));
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, AnswerThatComesAfterACancelStillWins) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    Gate drain;
    auto stops = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Pass(cx, never));
      co_return 0;
    };
    auto answers = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Pass(cx.ForDrain(), drain));
      co_return 5;
    };
    auto race = [&](Cx cx) -> Task<Winner<int>> { return Race(cx, stops, answers); };
    TaskHandle<Winner<int>> racing = cx.Spawn("race", race);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 1 && drain.waiting() == 1; }));
    racing.Cancel();
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 0; }));
    drain.Open();
    Outcome<Winner<int>> ended = co_await OrReturn(racing.Join(cx));
    EXPECT_THAT(ended, IsOk());
    if (ended.ok()) {
      EXPECT_EQ(ended->value, 5);
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

// A branch that was cancelled by something of its own has ended by itself: else this would never end.
TEST_P(RaceTest, BranchThatEndsCancelledByItselfWins) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto cancelled = [](Cx cx) -> Task<int> {
      co_return co_await Region::Open(cx, "inner", [](Cx cx) -> Task<int> {
        auto task = cx.Spawn("task", Never);
        task.Cancel();
        co_return co_await OrReturn(co_await OrReturn(task.Join(cx)));
      });
    };
    EXPECT_THAT(co_await Race(cx, cancelled, Never), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, MaskOfTheCallerIsNotOneOfItsBranches) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    const Masked mask(cx, 1000);
    Winner<int> winner = co_await OrReturn(Race(cx, Seven, Never));
    EXPECT_EQ(winner.index, 0u);
    winner = co_await OrReturn(Race(cx, Never, Seven));
    EXPECT_EQ(winner.index, 1u);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, FinalizersHaveTheirTimeWhereNobodyHadToBeWaitedFor) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto body = [](Cx cx) -> Task<void> {
      auto winner = [](Cx cx) -> Task<int> {
        EXPECT_TRUE(cx.Defer("waits", [](Cx cx) -> Task<void> {
                        co_return co_await Forever(cx.ForDrain());
                      }).ok());
        co_return 7;
      };
      // Else the finalizer would wait for ever.
      Winner<int> won = co_await OrReturn(Race(cx, Never, winner));
      EXPECT_EQ(won.value, 7);
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "hurried", body, CollectAll(),
                                    RegionOptions()
                                        .WithGrace(absl::Milliseconds(1))
                                        .WithDrain(Budget::Timeout(absl::Milliseconds(1))));
  });
  EXPECT_THAT(root, IsOk());
}

// What a loser ended with is destroyed when nothing of the region is left any more.
TEST_P(RaceTest, LosersValueCannotSpawnIntoTheRaceAnyMore) {
  struct Spawns {
    Spawns(Cx cx, std::optional<Outcome<void>>* ended) : cx(cx), ended(ended) {}
    Spawns(Spawns&& other) noexcept : cx(other.cx), ended(std::exchange(other.ended, nullptr)) {}
    ~Spawns() {
      if (ended == nullptr) return;
      auto task = cx.Spawn("late", [](Cx) -> Task<void> { co_return Ok(); });
      EXPECT_TRUE(task.ended());
      ended->emplace(std::move(task).TakeOutcome());
    }
    Cx cx;
    std::optional<Outcome<void>>* ended;
  };
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::optional<Outcome<void>> ended;
    auto winner = [](Cx) -> Task<int> { co_return 7; };
    auto loser = [&](Cx cx) -> Task<Spawns> {
      Spawns spawns(cx.ForDrain(), &ended);
      (void)co_await Forever(cx);
      co_return std::move(spawns);
    };
    auto won = co_await OrReturn(Race(cx, winner, loser));
    EXPECT_EQ(won.index(), 0u);
    EXPECT_TRUE(ended.has_value());
    if (ended.has_value()) {
      EXPECT_THAT(*ended, IsError("cannot spawn"));
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, OnACancelledCxNothingStarts) {
  std::atomic<int> started{0};
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    auto counts = [&](Cx) -> Task<void> {
      ++started;
      co_return Ok();
    };
    cx.Ref().Cancel();
    EXPECT_THAT(co_await Race(cx, counts, counts), IsCancelledBy(CancelKind::kUser));
    EXPECT_THAT(co_await Race(cx.ForDrain(), counts), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
  EXPECT_EQ(started, 1);
}

TEST_P(RaceTest, DifferentTypesGiveAVariantWhoseIndexIsTheBranch) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto text = [](Cx) -> Task<std::string> { co_return "seven"; };
    auto nothing = [](Cx) -> Task<void> { co_return Ok(); };
    std::variant<int, std::string> first = co_await OrReturn(Race(cx, Never, text));
    EXPECT_EQ(first.index(), 1u);
    EXPECT_EQ(std::get<1>(first), "seven");
    std::variant<int, std::monostate, int> second =
        co_await OrReturn(Race(cx, Never, nothing, Never));
    EXPECT_EQ(second.index(), 1u);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, NamedCallableIsNotCopiedAndAValueMayBeMoveOnly) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto held = std::make_unique<int>(3);
    auto gives = [held = std::move(held)](Cx) mutable -> Task<std::unique_ptr<int>> {
      co_return std::move(held);
    };
    auto waits = [](Cx cx) -> Task<std::unique_ptr<int>> {
      co_await OrReturn(Forever(cx));
      co_return nullptr;
    };
    Winner<std::unique_ptr<int>> winner = co_await OrReturn(Race(cx, waits, gives));
    EXPECT_EQ(*winner.value, 3);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, NarrowCxIsEnough) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    CxWith<cap::Spawn, cap::Time> narrow = cx;
    auto sleeps = [](CxWith<cap::Spawn, cap::Time> cx) -> Task<void> {
      co_await OrReturn(SleepUntil(cx, Instant::InfiniteFuture()));
      co_return Ok();
    };
    auto yields = [](CxWith<cap::Spawn> cx) -> Task<void> { co_return co_await Yield(cx); };
    EXPECT_THAT(co_await Race(narrow, sleeps, yields), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, ContainerOfBranches) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<std::function<Task<int>(Cx)>> branches;
    for (int i = 0; i < 20; ++i) {
      branches.push_back([&, i](Cx cx) -> Task<int> {
        Witness witness(&alive);
        if (i != 13) co_return co_await Never(cx);
        co_return i;
      });
    }
    Winner<int> winner = co_await OrReturn(Race(cx, branches));
    EXPECT_EQ(winner.index, 13u);
    EXPECT_EQ(winner.value, 13);
    EXPECT_EQ(alive, 0);
    Winner<int> again = co_await OrReturn(Race(cx, absl::MakeSpan(branches).subspan(12, 4)));
    EXPECT_EQ(again.index, 1u);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(RaceTest, EmptyContainerIsAnError) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<Task<int> (*)(Cx)> none;
    Outcome<Winner<int>> ended = co_await Race(cx, none);
    EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(ended, IsError("race_test.cc"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

#ifdef __cpp_exceptions
TEST_P(RaceTest, CallableThatThrowsIsABranchThatPanicked) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto throws = [](Cx) -> Task<int> { throw std::string("no task"); };
    EXPECT_TRUE((co_await Race(cx, throws, Never)).is_panicked());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}
#endif

}  // namespace
}  // namespace rules
}  // namespace quiesce

// What the losers of a combinator owe is aborted, what its winner owes is the caller's (R8, G9).
#include <array>
#include <atomic>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "quiesce/runtime/combinator/bracket.h"
#include "quiesce/runtime/combinator/first_ok.h"
#include "quiesce/runtime/combinator/hedge.h"
#include "quiesce/runtime/combinator/join_all.h"
#include "quiesce/runtime/combinator/join_set.h"
#include "quiesce/runtime/combinator/map_reduce.h"
#include "quiesce/runtime/combinator/pipeline.h"
#include "quiesce/runtime/combinator/quorum.h"
#include "quiesce/runtime/combinator/race.h"
#include "quiesce/runtime/sync/lease.h"
#include "quiesce/testing/rules/fixture.h"
#include "quiesce/testing/rules/seat_permit.h"

namespace quiesce {
namespace rules {
namespace {

struct Reserving {
  Hall hall;
  // Ends with a permit at once, or with an Error.
  auto Seat() {
    return [this](Cx cx) -> Task<SeatPermit> {
      SeatPermit permit(cx, &hall);
      co_return std::move(permit);
    };
  }
  auto Failure() {
    return [](Cx) -> Task<SeatPermit> { co_return absl::UnavailableError("no seat"); };
  }
};

// The permit is of the combinator's own region, which has to wait for it: so the winner's is rebound.
Task<SeatPermit> Seat(Cx outer, Cx cx, Hall* hall) {
  SeatPermit permit(cx, hall);
  co_await OrReturn(permit.Rebind(outer));
  co_return std::move(permit);
}

TEST(CombinatorPermitsTest, TheWinnersIsTheCallersAndTheLosersAreAborted) {
  TestRuntime rt(2);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto seat = [&, cx](Cx inner) { return Seat(cx, inner, &hall); };
    auto raced = co_await OrReturn(Race(cx, seat, seat));
    EXPECT_TRUE(std::move(raced.value).Book());
    auto first = co_await OrReturn(FirstOk(cx, seat, seat));
    EXPECT_TRUE(std::move(first.value).Book());
    auto hedged = co_await OrReturn(Hedge(cx, absl::ZeroDuration(), seat));
    EXPECT_TRUE(std::move(hedged).Book());
    auto two = co_await OrReturn(Quorum(cx, 2, seat, seat, seat));
    for (auto& winner : two) EXPECT_TRUE(std::move(winner.value).Book());
    auto all = co_await OrReturn(JoinAll(cx, seat, seat));
    EXPECT_TRUE(std::move(std::get<0>(all)).Book());
    EXPECT_TRUE(std::move(std::get<1>(all)).Book());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.booked, 7);
  EXPECT_EQ(rt->counters().permits_revoked, 0u);
}

TEST(CombinatorPermitsTest, ValuesThatNobodyGetsAreAborted) {
  TestRuntime rt(1);
  Reserving reserving;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto seat = reserving.Seat();
    auto failure = reserving.Failure();
    EXPECT_THAT(co_await JoinAll(cx, failure, seat), IsError("no seat"));
    EXPECT_THAT(co_await Quorum(cx, 2, failure, seat), IsError("no seat"));
    std::array<decltype(seat), 3> seats = {seat, seat, seat};
    auto body = [&](Cx cx) -> Task<void> {
      cx.Spawn("fails", [](Cx) -> Task<void> { co_return absl::UnavailableError("late"); });
      auto all = co_await OrReturn(JoinAll(cx, seats));
      for (SeatPermit& permit : all) std::move(permit).Abort();
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body);
    co_return Ok();
  }),
              IsOk());
  EXPECT_GE(reserving.hall.given_back, 2);
  EXPECT_EQ(reserving.hall.booked, 0);
}

// A lease cancels its holder alone, which nothing else does to a branch.
TEST(CombinatorPermitsTest, LeaseCancelsABranchThatOverstaysIt) {
  TestRuntime rt(2);
  LeaseLock lock;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Gate ended;
    auto overstays = [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, absl::Milliseconds(1)));
      (void)co_await Forever(cx);
      ended.Open();
      std::move(lease).Release();
      co_return Ok();
    };
    auto other = [&](Cx cx) { return HoldAt(cx, &ended); };
    EXPECT_THAT(co_await JoinAll(cx, overstays, other), IsOk());
    // One that ends with its lease, which outlives it.
    auto gives = [&](Cx cx) -> Task<Lease> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, absl::Hours(1)));
      co_return std::move(lease);
    };
    auto fails = [](Cx) -> Task<int> { co_return absl::UnavailableError("no"); };
    EXPECT_THAT(co_await JoinAll(cx, gives, fails), IsError("no"));
    EXPECT_THAT(co_await JoinAll(cx, fails, gives), IsError("no"));
    co_return Ok();
  }),
              IsOk());
}

// The close of the race need not wait for it until the drain is over.
TEST(CombinatorPermitsTest, WhatALoserEndedWithIsAbortedBeforeTheClose) {
  TestRuntime rt(1);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (const bool loser_first : {true, false}) {
      Gate reserved;
      auto loser = [&](Cx cx) -> Task<SeatPermit> {
        SeatPermit permit(cx, &hall);
        reserved.Open();
        (void)co_await Forever(cx);
        co_return std::move(permit);
      };
      auto winner = [&](Cx cx) -> Task<SeatPermit> {
        co_await OrReturn(Pass(cx, reserved));
        co_return absl::UnavailableError("no seat");
      };
      // Not `?:`: g++ 12 evaluates a co_await in an operand that is not chosen.
      if (loser_first) {
        EXPECT_THAT(co_await Race(cx, loser, winner), IsError("no seat"));
      } else {
        EXPECT_THAT(co_await Race(cx, winner, loser), IsError("no seat"));
      }
    }
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 2);
  EXPECT_EQ(rt->counters().permits_revoked, 0u);
}

// Each of these ends with an Error, of which nobody can say that it has to do with the permit.
// A JoinSet is many handles: whichever of the two ends first.
TEST(CombinatorPermitsTest, ValuesThatACancelledTaskWouldHaveTakenFromAJoinSetAreAborted) {
  for (const bool ends_first : {false, true}) {
    TestRuntime rt(1);
    Hall hall;
    bool may_end = ends_first;  // out here: the task that reads it outlives the body
    EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto joins = cx.Spawn("joins", [&](Cx cx) -> Task<void> {
        JoinSet<SeatPermit> set;
        set.Spawn(cx, "reserves", [&](Cx cx) -> Task<SeatPermit> {
          SeatPermit permit(cx, &hall);
          while (!may_end) co_await OrReturn(Yield(cx));
          co_return std::move(permit);
        });
        while (true) co_await OrReturn(Yield(cx));
      });
      for (int i = 0; i < 10; ++i) co_await OrReturn(Yield(cx));
      joins.Cancel();
      EXPECT_THAT(co_await OrReturn(joins.Join(cx)), IsCancelled(CancelKind::kUser));
      may_end = true;
      co_return Ok();
    }),
                IsOk());
    EXPECT_EQ(hall.given_back, 1);
  }
}

TEST(CombinatorPermitsDeathTest, ValuesThatAreLeftInAJoinSetLeak) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        Hall hall;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          JoinSet<SeatPermit> set;
          set.Spawn(cx, "reserves", ReserveSeat, &hall);
          for (int i = 0; i < 10; ++i) co_await OrReturn(Yield(cx));
          co_return Ok();
        });
      },
      "permit leaked: SeatPermit #1");
}

TEST(CombinatorPermitsTest, ValuesThatMapReduceHasWhenAMapFailsAreAborted) {
  TestRuntime rt(1);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Gate gate;
    // 0: a value that has been reduced; 2: one that waits for its turn; 1 fails; 3: a value that comes late.
    const std::vector<int> items = {0, 1, 2, 3};
    auto map = [&](Cx cx, int item) -> Task<std::vector<SeatPermit>> {
      std::vector<SeatPermit> seats;
      if (item == 1) {
        co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
        co_await OrReturn(Yield(cx));
        co_return absl::UnavailableError("no seat");
      }
      if (item == 3) (void)co_await Pass(cx, gate);  // until the failure ends it
      seats.emplace_back(cx, &hall);
      co_return std::move(seats);
    };
    auto add = [](std::vector<SeatPermit> left, std::vector<SeatPermit> right) {
      for (SeatPermit& seat : right) left.push_back(std::move(seat));
      return left;
    };
    std::vector<SeatPermit> none;
    EXPECT_THAT(co_await MapReduce(cx, items, 4, map, add, std::move(none)), IsError("no seat"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 3);
  EXPECT_EQ(rt->counters().permits_leaked, 0u);
}

TEST(CombinatorPermitsTest, ValueOfAUseAndResourceOfAReleaseThatFailsAreAborted) {
  TestRuntime rt(1);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto acquire = [&](Cx cx) -> Task<SeatPermit> { co_return SeatPermit(cx, &hall); };
    auto use = [&, cx](Cx inner, SeatPermit&) { return Seat(cx, inner, &hall); };
    auto release = [](Cx, SeatPermit&) -> Task<void> { co_return absl::UnavailableError("stuck"); };
    EXPECT_THAT(co_await Bracket(cx, acquire, use, release), IsError("stuck"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 2);
  EXPECT_EQ(rt->counters().permits_leaked, 0u);
}

TEST(CombinatorPermitsTest, ItemOfAStageThatFailsIsAborted) {
  TestRuntime rt(1);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    int given = 0;
    auto source = [&](Cx cx) -> Task<std::optional<SeatPermit>> {
      if (given++ == 2) co_return std::nullopt;
      co_return SeatPermit(cx, &hall);
    };
    // The item stays the pipeline's.
    auto stage = [](Cx, SeatPermit&&) -> Task<SeatPermit> { co_return absl::AbortedError("odd"); };
    auto store = [](Cx, SeatPermit seat) -> Task<void> {
      std::move(seat).Book();
      co_return Ok();
    };
    EXPECT_THAT(co_await Pipeline(cx, 2, source, stage, store), IsError("odd"));
    auto refuses = [](Cx, SeatPermit&&) -> Task<void> { co_return absl::AbortedError("full"); };
    given = 0;
    EXPECT_THAT(co_await Pipeline(cx, 2, source, refuses), IsError("full"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_GE(hall.given_back, 2);
  EXPECT_EQ(hall.booked, 0);
  EXPECT_EQ(rt->counters().permits_leaked, 0u);
}

TEST(CombinatorPermitsTest, ItemsThatTheDrainDoesNotSufficeForAreAborted) {
  TestRuntime rt(1);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto running = cx.Spawn("pipeline", [&](Cx cx) -> Task<void> {
      auto source = [&](Cx cx) -> Task<std::optional<SeatPermit>> {
        co_return SeatPermit(cx, &hall);
      };
      auto store = [&](Cx cx, SeatPermit seat) -> Task<void> {
        co_await OrReturn(Pass(cx, never));
        std::move(seat).Book();
        co_return Ok();
      };
      co_return co_await Pipeline(cx, 3, source, store);
    });
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
    for (int i = 0; i < 10; ++i) co_await OrReturn(Yield(cx));  // now the channel is full
    running.Cancel(Budget::Timeout(absl::ZeroDuration()));
    EXPECT_TRUE((co_await OrReturn(running.Join(cx))).is_cancelled());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 4);
  EXPECT_EQ(hall.booked, 0);
  EXPECT_EQ(rt->counters().permits_leaked, 0u);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

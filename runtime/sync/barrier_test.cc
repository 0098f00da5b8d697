#include "quiesce/runtime/sync/barrier.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::IsCancelled;
using rules::IsCancelledBy;
using rules::IsOk;
using rules::TestRuntime;
using rules::Until;

class BarrierTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, BarrierTest, ::testing::Values(1, 2));

TEST_P(BarrierTest, EachRoundEndsTogetherAndHasOneLeader) {
  TestRuntime rt(GetParam());
  constexpr int kParties = 5, kRounds = 200;
  Barrier barrier(kParties);
  std::atomic<int> arrived[kRounds] = {};
  std::atomic<int> leaders[kRounds] = {};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < kParties; ++i) {
        cx.Spawn("party", [&](Cx cx) -> Task<void> {
          for (int round = 0; round < kRounds; ++round) {
            ++arrived[round];
            if (co_await OrReturn(barrier.Arrive(cx))) ++leaders[round];
            EXPECT_EQ(arrived[round].load(), kParties);
          }
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "parties", body);
  }),
              IsOk());
  for (int round = 0; round < kRounds; ++round) EXPECT_EQ(leaders[round].load(), 1);
  EXPECT_EQ(barrier.standing(), 0u);
}

TEST_P(BarrierTest, ForOneItIsOpenAndThatOneLeads) {
  TestRuntime rt(GetParam());
  Barrier barrier(1);
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(co_await OrReturn(barrier.Arrive(cx)));
    EXPECT_TRUE(co_await OrReturn(barrier.Arrive(cx)));
    co_return Ok();
  }),
              IsOk());
}

TEST_P(BarrierTest, ACancelledOneLeavesAndAnotherIsNeeded) {
  TestRuntime rt(GetParam());
  Barrier barrier(2);
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      auto arrive = [&](Cx cx) -> Task<bool> { co_return co_await barrier.Arrive(cx); };
      auto gone = cx.Spawn("gone", arrive);
      co_await OrReturn(Until(cx, [&] { return barrier.standing() == 1; }));
      gone.Cancel();
      EXPECT_THAT(co_await OrReturn(gone.Join(cx)), IsCancelledBy(CancelKind::kUser));
      EXPECT_EQ(barrier.standing(), 0u);
      auto stays = cx.Spawn("stays", arrive);
      co_await OrReturn(Until(cx, [&] { return barrier.standing() == 1; }));
      EXPECT_TRUE(co_await OrReturn(barrier.Arrive(cx)));
      Outcome<bool> other = co_await OrReturn(stays.Join(cx));
      EXPECT_FALSE(other.value());
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "two", body);
  }),
              IsOk());
}

// The third arrives when one of the others is cancelled and has not left yet: it has not arrived, so nobody goes on, not
// even the one that had been woken before that was found.
TEST(BarrierCancelTest, WhoIsCancelledAndHasNotLeftYetDoesNotCount) {
  TestRuntime rt(1);
  Barrier barrier(3);
  std::atomic<int> went_on{0};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      auto arrive = [&](Cx cx) -> Task<void> {
        co_await OrReturn(barrier.Arrive(cx));
        ++went_on;
        co_return Ok();
      };
      auto stays = cx.Spawn("stays", arrive);
      co_await OrReturn(Until(cx, [&] { return barrier.standing() == 1; }));
      auto gone = cx.Spawn("gone", arrive);
      co_await OrReturn(Until(cx, [&] { return barrier.standing() == 2; }));
      cx.Spawn("late", [&](Cx cx) -> Task<void> {
        EXPECT_THAT(co_await OrReturn(gone.Join(cx)), IsCancelledBy(CancelKind::kUser));
        co_await OrReturn(Until(cx, [&] { return barrier.standing() == 2; }));
        EXPECT_EQ(went_on.load(), 0);
        co_return co_await arrive(cx);
      });
      gone.Cancel();  // the only worker is ours: it leaves once we wait
      co_await OrReturn(barrier.Arrive(cx));
      EXPECT_THAT(co_await OrReturn(stays.Join(cx)), IsOk());
      co_await OrReturn(Until(cx, [&] { return went_on.load() == 2; }));
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "three", body);
  }),
              IsOk());
}

// Three, of whom one is cancelled as the third arrives: either all three go on, or the cancelled one has not arrived
// and the two others need one more. Whoever goes on was one of exactly three.
TEST_P(BarrierTest, ACancelAtTheMomentOfTheLastArrivalTakesItBackOrComesTooLate) {
  TestRuntime rt(GetParam());
  for (int round = 0; round < 600; ++round) {
    Barrier barrier(3);
    std::atomic<bool> go{false};
    std::atomic<int> leaders{0}, went_on{0};
    std::thread canceller;
    ASSERT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        auto arrive = [&](Cx cx) -> Task<void> {
          if (co_await OrReturn(barrier.Arrive(cx))) ++leaders;
          ++went_on;
          co_return Ok();
        };
        auto stays = cx.Spawn("stays", arrive);
        co_await OrReturn(Until(cx, [&] { return barrier.standing() == 1; }));
        auto gone = cx.Spawn("gone", arrive);
        co_await OrReturn(Until(cx, [&] { return barrier.standing() == 2; }));
        canceller = std::thread([&] {
          while (!go.load()) std::this_thread::yield();
          gone.Cancel();
        });
        auto last = cx.Spawn("last", [&](Cx cx) -> Task<void> {
          go.store(true);
          if (round % 2 == 0) std::this_thread::yield();
          co_return co_await arrive(cx);
        });
        Outcome<void> cancelled = co_await OrReturn(gone.Join(cx));
        if (!cancelled.ok()) {
          EXPECT_EQ(went_on.load(), 0);
          co_await OrReturn(arrive(cx));
        }
        EXPECT_THAT(co_await OrReturn(stays.Join(cx)), IsOk());
        EXPECT_THAT(co_await OrReturn(last.Join(cx)), IsOk());
        EXPECT_EQ(went_on.load(), 3);
        EXPECT_EQ(leaders.load(), 1);
        canceller.join();  // it uses `gone`
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "three", body);
    }),
                IsOk());
    ASSERT_EQ(barrier.standing(), 0u);
  }
}

TEST(BarrierThreadTest, ThreadsAndTasksWaitForOneAnother) {
  TestRuntime rt;
  constexpr int kRounds = 500;
  Barrier barrier(4);
  std::atomic<int> leaders{0};
  auto thread = [&] {
    for (int i = 0; i < kRounds; ++i) leaders += barrier.BlockingArrive().value();
  };
  std::thread one(thread), two(thread);
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("task", [&](Cx cx) -> Task<void> {
        for (int i = 0; i < kRounds; ++i) leaders += co_await OrReturn(barrier.Arrive(cx));
        co_return Ok();
      });
    }
    // They use locals of this body.
    co_await OrReturn(Until(cx, [&] { return leaders.load() == kRounds; }));
    co_return Ok();
  }),
              IsOk());
  one.join();
  two.join();
  EXPECT_EQ(leaders.load(), kRounds);
  EXPECT_THAT(barrier.BlockingArrive(absl::Milliseconds(1)), IsCancelled(CancelKind::kDeadline));
  EXPECT_EQ(barrier.standing(), 0u);
}

TEST(BarrierDeathTest, ForNobodyIsFatal) { EXPECT_DEATH(Barrier(0), "a barrier for nobody"); }

TEST(BarrierDeathTest, DestroyedWhileATaskStandsThereIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          auto barrier = std::make_unique<Barrier>(2);
          cx.Spawn("stander", [raw = barrier.get()](Cx cx) -> Task<void> {
            co_await OrReturn(raw->Arrive(cx));
            co_return Ok();
          });
          co_await OrReturn(Until(cx, [&] { return barrier->standing() == 1; }));
          barrier.reset();
          co_return Ok();
        });
      },
      "a Barrier for 2 was destroyed while 1 stand there, the first being task 'stander'");
}

// One task is one arrival: with two it would be woken in vain by itself, again and again.
TEST(BarrierDeathTest, TwoArrivalsOfOneTaskAreFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const uint32_t others : {0, 1}) {
    EXPECT_DEATH(
        {
          TestRuntime rt;
          (void)rt.Run([&](Cx cx) -> Task<void> {
            Barrier barrier(2 + others);
            if (others == 1) {
              cx.Spawn("other", [&](Cx cx) -> Task<void> {
                co_await OrReturn(barrier.Arrive(cx));
                co_return Ok();
              });
            }
            (void)co_await Select(cx, barrier.Arrive(cx), barrier.Arrive(cx));
            co_return Ok();
          });
        },
        "task .* arrives twice at one Barrier, at .*barrier_test.cc:[0-9]+ and at "
        ".*barrier_test.cc:[0-9]+");
  }
}

TEST(BarrierDeathTest, DestroyedByTheLeaderBeforeTheOthersHaveGoneOnIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        (void)rt.Run([&](Cx cx) -> Task<void> {
          auto barrier = std::make_unique<Barrier>(2);
          cx.Spawn("stander", [raw = barrier.get()](Cx cx) -> Task<void> {
            co_await OrReturn(raw->Arrive(cx));
            co_return Ok();
          });
          co_await OrReturn(Until(cx, [&] { return barrier->standing() == 1; }));
          co_await OrReturn(
              barrier->Arrive(cx));  // does not suspend; the other has no worker to go on
          barrier.reset();
          co_return Ok();
        });
      },
      "before 1 of those that it has sent on, or that were cancelled, have gone on");
}

// It was found cancelled by who arrives, so it stands there no more; but it has yet to leave.
TEST(BarrierDeathTest, DestroyedBeforeACancelledOneHasLeftIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        (void)rt.Run([&](Cx cx) -> Task<void> {
          auto barrier = std::make_unique<Barrier>(2);
          auto stander = cx.Spawn("stander", [raw = barrier.get()](Cx cx) -> Task<void> {
            co_await OrReturn(raw->Arrive(cx));
            co_return Ok();
          });
          co_await OrReturn(Until(cx, [&] { return barrier->standing() == 1; }));
          stander.Cancel();  // the only worker is ours
          auto won =
              co_await OrReturn(Select(cx, barrier->Arrive(cx), Sleep(cx, absl::ZeroDuration())));
          EXPECT_EQ(won.index(), 1u);
          barrier.reset();
          co_return Ok();
        });
      },
      "before 1 of those that it has sent on, or that were cancelled, have gone on");
}

}  // namespace
}  // namespace quiesce

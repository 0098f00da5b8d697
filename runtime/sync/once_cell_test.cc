#include "quiesce/runtime/sync/once_cell.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::Gate;
using rules::IsCancelled;
using rules::IsCancelledBy;
using rules::IsError;
using rules::IsOk;
using rules::Pass;
using rules::PassStructural;
using rules::TestRuntime;
using rules::Until;

class OnceCellTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, OnceCellTest, ::testing::Values(1, 2));

TEST_P(OnceCellTest, ManyAskAndOneMakes) {
  TestRuntime rt(GetParam());
  for (int round = 0; round < 50; ++round) {
    OnceCell<std::string> cell;
    std::atomic<int> made{0};
    EXPECT_EQ(cell.TryGet(), nullptr);
    ASSERT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        for (int i = 0; i < 20; ++i) {
          cx.Spawn("asks", [&](Cx cx) -> Task<void> {
            auto init = [&](Cx cx) -> Task<std::string> {
              ++made;
              co_await OrReturn(Yield(cx));
              co_return "made once, and too long to be stored in place";
            };
            const std::string* value = co_await OrReturn(cell.Get(cx, init));
            EXPECT_EQ(value, cell.TryGet());
            EXPECT_EQ(*value, "made once, and too long to be stored in place");
            co_return Ok();
          });
        }
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "asking", body);
    }),
                IsOk());
    ASSERT_EQ(made.load(), 1);
  }
}

TEST_P(OnceCellTest, AnInitialiserThatFailsFailsItsOwnGetAndTheNextOneTries) {
  TestRuntime rt(GetParam());
  OnceCell<int> cell;
  Gate gate;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      auto failing = cx.Spawn("failing", [&](Cx cx) -> Task<void> {
        auto init = [&](Cx cx) -> Task<int> {
          co_await OrReturn(Pass(cx, gate));
          co_return absl::UnavailableError("not now");
        };
        co_await OrReturn(cell.Get(cx, init));
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
      auto next = cx.Spawn("next", [&](Cx cx) -> Task<int> {
        auto init = [](Cx) -> Task<int> { co_return 7; };
        co_return *co_await OrReturn(cell.Get(cx, init));
      });
      auto reader = cx.Spawn(
          "reader", [&](Cx cx) -> Task<int> { co_return *co_await OrReturn(cell.Wait(cx)); });
      co_await OrReturn(rt.UntilParked(cx, "OnceCell::Get"));
      co_await OrReturn(rt.UntilParked(cx, "OnceCell::Wait"));
      gate.Open();
      EXPECT_THAT(co_await OrReturn(failing.Join(cx)), IsError("not now"));
      Outcome<int> got = co_await OrReturn(next.Join(cx));
      EXPECT_EQ(got.value(), 7);
      Outcome<int> read = co_await OrReturn(reader.Join(cx));
      EXPECT_EQ(read.value(), 7);
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body, CollectAll());
    co_return Ok();
  }),
              IsOk());
  ASSERT_NE(cell.TryGet(), nullptr);
  EXPECT_EQ(*cell.TryGet(), 7);
}

TEST_P(OnceCellTest, ACancelledInitialiserGivesItsTurnToTheOneThatWaits) {
  TestRuntime rt(GetParam());
  OnceCell<int> cell;
  Gate gate;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      auto first = cx.Spawn("first", [&](Cx cx) -> Task<void> {
        auto init = [&](Cx cx) -> Task<int> {
          co_await OrReturn(Pass(cx, gate));
          co_return 1;
        };
        co_await OrReturn(cell.Get(cx, init));
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
      auto second = cx.Spawn("second", [&](Cx cx) -> Task<int> {
        auto init = [](Cx) -> Task<int> { co_return 2; };
        co_return *co_await OrReturn(cell.Get(cx, init));
      });
      co_await OrReturn(rt.UntilParked(cx, "OnceCell::Get"));
      first.Cancel();
      EXPECT_THAT(co_await OrReturn(first.Join(cx)), IsCancelledBy(CancelKind::kUser));
      Outcome<int> got = co_await OrReturn(second.Join(cx));
      EXPECT_EQ(got.value(), 2);
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "r", body);
  }),
              IsOk());
}

// Turns are taken, passed on, refused and cancelled on racing threads; in the end one has made it.
TEST_P(OnceCellTest, UnderCancelsAndFailuresSomebodyMakesItOnce) {
  TestRuntime rt(GetParam());
  for (int round = 0; round < 200; ++round) {
    OnceCell<int> cell;
    std::atomic<int> running{0}, made{0};
    ASSERT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        std::vector<TaskHandle<void>> tasks;
        for (int i = 0; i < 8; ++i) {
          tasks.push_back(cx.Spawn("asks", [&, i](Cx cx) -> Task<void> {
            auto init = [&, i](Cx cx) -> Task<int> {
              EXPECT_EQ(++running, 1);
              const Outcome<void> yielded = co_await Yield(cx);
              EXPECT_EQ(--running, 0);
              co_await OrReturn(Outcome<void>(yielded));
              if (i % 3 == 0) co_return absl::UnavailableError("not now");
              ++made;
              co_return i;
            };
            co_await OrReturn(cell.Get(cx, init));
            co_return Ok();
          }));
        }
        if (round % 2 == 0) co_await OrReturn(Yield(cx));
        for (size_t i = 0; i < tasks.size(); i += 2) tasks[i].Cancel();
        for (TaskHandle<void>& task : tasks) (void)co_await OrReturn(task.Join(cx));
        co_return Ok();
      };
      (void)co_await Region::Open(cx, "r", body, CollectAll());
      co_return Ok();
    }),
                IsOk());
    ASSERT_EQ(made.load(), 1);
    ASSERT_NE(cell.TryGet(), nullptr);
  }
}

#ifdef __cpp_exceptions
TEST(OnceCellExceptionTest, AnInitialiserThatThrowsLeavesTheCellEmpty) {
  TestRuntime rt;
  OnceCell<int> cell;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto throwing = [](Cx) -> Task<int> { throw 1; };
    EXPECT_TRUE((co_await cell.Get(cx, throwing)).is_panicked());
    auto init = [](Cx) -> Task<int> { co_return 3; };
    EXPECT_EQ(*co_await OrReturn(cell.Get(cx, init)), 3);
    co_return Ok();
  }),
              IsOk());
}
#endif

// A task that drains waits for the value: the one that makes it goes before those that are only ready (R9).
TEST(OnceCellLaneTest, TheMakerInheritsTheLaneOfADrainingWait) {
  TestRuntime rt(1);
  OnceCell<int> cell;
  Gate gate;
  bool boosted = false;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      auto maker = cx.Spawn("maker", [&](Cx cx) -> Task<void> {
        auto init = [&](Cx cx) -> Task<int> {
          co_await OrReturn(Pass(cx, gate));
          boosted = (cx.task()->word.load() & task_word::kBoostMask) != 0;
          co_return 1;
        };
        co_await OrReturn(cell.Get(cx, init));
        EXPECT_EQ(cx.task()->word.load() & task_word::kBoostMask, 0u);
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
      auto drains = cx.Spawn("drains", [&](Cx cx) -> Task<void> {
        co_await OrReturn(cell.Wait(cx.ForDrain()));
        co_return Ok();
      });
      co_await OrReturn(rt.UntilParked(cx, "OnceCell::Wait"));
      drains.Cancel();
      co_await OrReturn(Yield(cx));
      gate.Open();
      EXPECT_THAT(co_await OrReturn(maker.Join(cx)), IsOk());
      (void)co_await OrReturn(drains.Join(cx));
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body);
    co_return Ok();
  }),
              IsOk());
  EXPECT_TRUE(boosted);
}

TEST(OnceCellThreadTest, AThreadWaitsForTheValue) {
  TestRuntime rt;
  OnceCell<int> cell;
  EXPECT_THAT(cell.BlockingWait(absl::Milliseconds(1)), IsCancelled(CancelKind::kDeadline));
  std::thread reader([&] { EXPECT_EQ(*cell.BlockingWait().value(), 5); });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto init = [](Cx) -> Task<int> { co_return 5; };
    co_await OrReturn(cell.Get(cx, init));
    co_return Ok();
  }),
              IsOk());
  reader.join();
}

TEST(OnceCellDeathTest, AnInitialiserThatAsksItsOwnCellIsFatalAndBothPlacesAreNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([](Cx cx) -> Task<void> {
          OnceCell<int> cell;
          auto inner = [](Cx) -> Task<int> { co_return 1; };
          auto outer = [&](Cx cx) -> Task<int> {
            co_return *co_await OrReturn(cell.Get(cx, inner));
          };
          co_await OrReturn(cell.Get(cx, outer));
          co_return Ok();
        });
      },
      "OnceCell::Get at .*once_cell_test.cc:[0-9]+ asks for the value that task .* is making "
      "itself, for the Get at .*once_cell_test.cc:[0-9]+");
}

TEST(OnceCellDeathTest, DestroyedWhileItsValueIsBeingMadeIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([](Cx cx) -> Task<void> {
          auto cell = std::make_unique<OnceCell<int>>();
          auto init = [&](Cx) -> Task<int> {
            cell.reset();
            co_return 1;
          };
          co_await OrReturn(cell->Get(cx, init));
          co_return Ok();
        });
      },
      "a OnceCell was destroyed while task .* makes its value, for the Get at "
      ".*once_cell_test.cc:[0-9]+");
}

// The initialiser's end grants it or passes over it, so it stands in line no more; but it has yet to return.
TEST(OnceCellDeathTest, DestroyedBeforeAWaitHasLeftIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  enum Case { kGranted, kCancelled, kFails };
  for (const Case which : {kGranted, kCancelled, kFails}) {
    EXPECT_DEATH(
        {
          TestRuntime rt(1);
          (void)rt.Run([&](Cx cx) -> Task<void> {
            auto cell = std::make_unique<OnceCell<int>>();
            bool parking = false;
            auto late = cx.Spawn("late", [&](Cx cx) -> Task<void> {
              auto init = [](Cx) -> Task<int> { co_return 1; };
              parking = true;
              co_await OrReturn(cell->Get(cx, init));
              co_return Ok();
            });
            auto init = [&](Cx cx) -> Task<int> {
              while (!parking) co_await OrReturn(Yield(cx));
              if (which != kGranted) late.Cancel();  // the only worker is ours
              if (which == kFails) co_return absl::UnavailableError("no");
              co_return 1;
            };
            (void)co_await cell->Get(cx, init);
            cell.reset();
            co_return Ok();
          });
        },
        "a OnceCell was destroyed before 1 of its waits, .*Let every Get and Wait return");
  }
}

TEST(OnceCellDeathTest, DestroyedWhileATaskWaitsIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          auto cell = std::make_unique<OnceCell<int>>();
          cx.Spawn("reader", [raw = cell.get()](Cx cx) -> Task<void> {
            co_await OrReturn(raw->Wait(cx));
            co_return Ok();
          });
          co_await OrReturn(rt.UntilParked(cx, "OnceCell::Wait"));
          cell.reset();
          co_return Ok();
        });
      },
      "a OnceCell was destroyed while task 'reader' .* waits for its value");
}

}  // namespace
}  // namespace quiesce

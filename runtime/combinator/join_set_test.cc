#include "quiesce/runtime/combinator/join_set.h"

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

class JoinSetTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, JoinSetTest, testing::Values(1, 2));

TEST_P(JoinSetTest, NextGivesTasksAsTheyEnd) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    JoinSet<int> set;
    std::vector<std::unique_ptr<Gate>> gates;
    for (int i = 0; i < 10; ++i) {
      gates.push_back(std::make_unique<Gate>());
      set.Spawn(
          cx, "held",
          [](Cx cx, Gate* gate, int i) -> Task<int> {
            co_await OrReturn(Pass(cx, *gate));
            co_return i;
          },
          gates.back().get(), i);
    }
    EXPECT_EQ(set.size(), 10u);
    for (int i : {3, 9, 0, 5, 1, 2, 4, 8, 7, 6}) {
      gates[i]->Open();
      std::optional<Outcome<int>> next = co_await OrReturn(set.Next(cx));
      EXPECT_TRUE(next.has_value() && next->ok() && **next == i);
    }
    EXPECT_TRUE(set.empty());
    EXPECT_FALSE((co_await OrReturn(set.Next(cx))).has_value());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinSetTest, OrderOfTheEndsIsKeptWhenNobodyWaits) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    JoinSet<int> set;
    std::vector<std::unique_ptr<Gate>> gates;
    const std::vector<int> order = {3, 0, 4, 2, 1};
    for (int i = 0; i < 5; ++i) {
      gates.push_back(std::make_unique<Gate>());
      set.Spawn(
          cx, "held",
          [](Cx cx, Gate* gate, int i) -> Task<int> {
            co_await OrReturn(Pass(cx, *gate));
            co_return i;
          },
          gates.back().get(), i);
    }
    const RegionRef region = cx.Ref();
    for (int i : order) {
      const uint64_t live = Live(region);
      gates[i]->Open();
      co_await OrReturn(Until(cx, [&] { return Live(region) < live; }));
    }
    for (int i : order) {
      std::optional<Outcome<int>> next = co_await OrReturn(set.Next(cx));
      EXPECT_TRUE(next.has_value() && next->ok() && **next == i);
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinSetTest, PlacesAreUsedAgainOverManyRounds) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    JoinSet<std::unique_ptr<int>> set;
    int64_t sum = 0;
    int spawned = 0;
    auto work = [](Cx cx, Witness, int i) -> Task<std::unique_ptr<int>> {
      if (i % 3 == 0) co_await OrReturn(Yield(cx));
      co_return std::make_unique<int>(i);
    };
    while (spawned < 8) set.Spawn(cx, "work", work, Witness(&alive), spawned++);
    while (std::optional<Outcome<std::unique_ptr<int>>> next = co_await OrReturn(set.Next(cx))) {
      std::unique_ptr<int> value = co_await OrReturn(*std::move(next));
      sum += *value;
      if (spawned < 1000) set.Spawn(cx, "work", work, Witness(&alive), spawned++);
    }
    EXPECT_EQ(sum, 999 * 1000 / 2);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(alive, 0);
}

TEST_P(JoinSetTest, CancelledNextTakesNothing) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    JoinSet<int> set;
    Gate gate;
    set.Spawn(cx, "held", [&gate](Cx cx) -> Task<int> {
      co_await OrReturn(Pass(cx, gate));
      co_return 7;
    });
    std::atomic<bool> waiting{false};
    auto wait = [&](Cx cx) -> Task<void> {
      waiting = true;
      (void)co_await OrReturn(set.Next(cx));
      co_return Ok();
    };
    auto waiter = cx.Spawn("waiter", wait);
    co_await OrReturn(Until(cx, [&] { return waiting.load(); }));
    waiter.Cancel();
    EXPECT_TRUE((co_await OrReturn(waiter.Join(cx))).is_cancelled());
    EXPECT_EQ(set.size(), 1u);
    gate.Open();
    std::optional<Outcome<int>> next = co_await OrReturn(set.Next(cx));
    EXPECT_TRUE(next.has_value() && next->ok() && **next == 7);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinSetTest, CancelAllEndsThemAndNextStillGivesEachOutcome) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    JoinSet<void> set;
    Gate never;
    for (int i = 0; i < 5; ++i) {
      set.Spawn(
          cx, "held", [&never](Cx cx, Witness) -> Task<void> { return HoldAt(cx, &never); },
          Witness(&alive));
    }
    set.Spawn(cx, "done", [](Cx) -> Task<void> { co_return Ok(); });
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 5; }));
    set.CancelAll();
    int ok = 0;
    int cancelled = 0;
    while (std::optional<Outcome<void>> next = co_await OrReturn(set.Next(cx))) {
      ++(next->ok() ? ok : cancelled);
    }
    EXPECT_EQ(ok, 1);
    EXPECT_EQ(cancelled, 5);
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinSetTest, RefusedSpawnIsATaskThatHasEnded) {
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    JoinSet<int> set;
    cx.Ref().Cancel();
    set.Spawn(cx, "refused", [](Cx) -> Task<int> { co_return 1; });
    EXPECT_EQ(set.size(), 1u);
    std::optional<Outcome<int>> next = co_await OrReturn(set.Next(cx.ForDrain()));
    EXPECT_TRUE(next.has_value() && next->is_cancelled());
    EXPECT_TRUE((co_await set.Next(cx)).is_cancelled()) << "a checkpoint, also when empty";
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
}

// G1: the region has them, not the set.
TEST_P(JoinSetTest, SetThatGoesAwayLetsItsTasksLive) {
  std::atomic<int> ended{0};
  Gate gate;
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    {
      JoinSet<int> set;
      for (int i = 0; i < 100; ++i) {
        set.Spawn(cx, "task", [&](Cx cx) -> Task<int> {
          co_await OrReturn(Pass(cx, gate));
          ++ended;
          co_return 0;
        });
        if (i % 2 == 0) co_await OrReturn(Yield(cx));
      }
      gate.Open();  // some end while the set goes away
    }
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
  EXPECT_EQ(ended, 100);
}

// A cancelled task tells of its end even if nobody holds a reference: it must not tell a set that is gone.
TEST_P(JoinSetTest, CancelledTasksMayEndAfterTheSet) {
  std::atomic<int> alive{0};
  Gate never;
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    auto set = std::make_unique<JoinSet<void>>();
    for (int i = 0; i < 100; ++i) {
      set->Spawn(
          cx, "held", [&never](Cx cx, Witness) -> Task<void> { return HoldAt(cx, &never); },
          Witness(&alive));
    }
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 100; }));
    set->CancelAll();
    set.reset();
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
  EXPECT_EQ(alive, 0);
}

TEST_P(JoinSetTest, SetMayOutliveTheRegionOfItsTasks) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    JoinSet<int> set;
    auto body = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 3; ++i) {
        set.Spawn(cx, "task", [i](Cx) -> Task<int> { co_return i; });
      }
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "inner", body));
    set.CancelAll();  // of tasks that have ended: no effect
    int sum = 0;
    while (std::optional<Outcome<int>> next = co_await OrReturn(set.Next(cx))) sum += **next;
    EXPECT_EQ(sum, 3);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST(JoinSetDeathTest, SecondNextAtTheSameTimeIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        (void)rt.Run([](Cx cx) -> Task<void> {
          JoinSet<void> set;
          set.Spawn(cx, "forever", Forever);
          auto next = [&](Cx cx) -> Task<void> {
            (void)co_await OrReturn(set.Next(cx));
            co_return Ok();
          };
          cx.Spawn("first", next);
          cx.Spawn("second", next);
          co_return co_await Forever(cx);
        });
      },
      "JoinSet::Next while another task waits for the same tasks");
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

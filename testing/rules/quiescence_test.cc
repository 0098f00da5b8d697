// G1, G2, G6: when a region has closed, nothing of its subtree is left, whatever happened inside; and its
// finalizers have run once each.
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "quiesce/runtime/base/slab.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

// --- one by one ----------------------------------------------------------------------------------

TEST(QuiescenceTest, RegionWaitsForTasksThatNobodyHasAHandleOf) {
  TestRuntime rt;
  std::atomic<int> alive{0};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(Region::Open(cx, "r", [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 100; ++i) {
        cx.Spawn("forgotten", [&](Cx cx) -> Task<void> {
          Witness local(&alive);
          for (int i = 0; i < 10; ++i) co_await OrReturn(Yield(cx));
          co_return Ok();
        });
      }
      co_return Ok();
    }));
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(QuiescenceTest, RegionWaitsForTasksSpawnedByTasksAfterItsBodyHasEnded) {
  TestRuntime rt;
  std::atomic<int> ended{0};
  struct Chain {
    static Task<void> Link(Cx cx, int left, std::atomic<int>* ended) {
      co_await OrReturn(Yield(cx));
      if (left > 0) cx.Spawn("link", Link, left - 1, ended);
      ++*ended;
      co_return Ok();
    }
  };
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(Region::Open(cx, "r", [&](Cx cx) -> Task<void> {
      cx.Spawn("link", Chain::Link, 999, &ended);
      co_return Ok();
    }));
    EXPECT_EQ(ended, 1000);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(QuiescenceTest, BlockOnReturnsOnlyWhenEverythingHasEnded) {
  TestRuntime rt;
  std::atomic<int> alive{0};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      Witness local(&alive);
      co_await OrReturn(Sleep(cx, absl::Milliseconds(2)));
      co_return Ok();
    });
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(rt->DumpRegions(), "");
}

TEST(QuiescenceTest, ClosedRegionIsNoLongerInTheDump) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(Region::Open(cx, "gone", [&](Cx cx) -> Task<void> {
      EXPECT_THAT(rt->DumpRegions(), ::testing::HasSubstr("'gone'"));
      cx.Spawn("child", [](Cx) -> Task<void> { co_return Ok(); });
      co_return Ok();
    }));
    EXPECT_THAT(rt->DumpRegions(), ::testing::Not(::testing::HasSubstr("'gone'")));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(QuiescenceTest, ClosedRegionLeavesNoTimerBehind) {
  // A timer of a closed region would fire into memory that is in use again.
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 200; ++i) {
      Outcome<void> ended = co_await Region::Open(
          cx, "r",
          [](Cx cx) -> Task<void> {
            auto child = cx.Spawn(
                "child", [](Cx cx) -> Task<void> { co_return co_await Sleep(cx, absl::Hours(1)); });
            child.Cancel(Budget::Timeout(absl::Milliseconds(1)));
            co_await OrReturn(Yield(cx));
            cx.Ref().BeginDrain(Budget::Timeout(absl::Milliseconds(1)));
            cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(1)));
            co_return Ok();
          },
          FailFast(),
          RegionOptions()
              .WithBudget(Budget::Timeout(absl::Milliseconds(1)))
              .WithGrace(absl::Milliseconds(1)));
      EXPECT_TRUE(ended.ok() || ended.is_cancelled()) << ended.ToString();
    }
    co_await OrReturn(Sleep(cx, absl::Milliseconds(5)));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(QuiescenceTest, MemoryOfClosedRegionsIsGivenBack) {
  TestRuntime rt;
  const auto round = [&] {
    Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
      for (int i = 0; i < 100; ++i) {
        (void)co_await Region::Open(cx, "r", [](Cx cx) -> Task<void> {
          for (int i = 0; i < 20; ++i) {
            auto child = cx.Spawn("child", Forever);
            if (i % 2 == 0) child.Cancel();
          }
          EXPECT_TRUE(cx.Defer("finalizer", [](Cx) -> Task<void> { co_return Ok(); }).ok());
          cx.Ref().Cancel();
          co_return Ok();
        });
      }
      co_return Ok();
    });
    EXPECT_THAT(outcome, IsOk());
  };
  round();
  const size_t before = GetSlabStats().live_bytes;
  for (int i = 0; i < 5; ++i) round();
  const size_t after = GetSlabStats().live_bytes;
  // 500 regions and 10,000 tasks have come and gone; a few blocks may be those of the threads.
  EXPECT_LE(after, before + 16384);
}

// --- at random -----------------------------------------------------------------------------------

struct World {
  Gate gate;
  std::atomic<int> finalizers_registered{0};
  std::atomic<int> finalizers_run{0};
  std::atomic<int> tasks{0};
};

// Does something at random, in a region whose tasks are counted in `alive`.
struct RandomTask {
  static Task<void> Run(Cx cx, World* world, std::atomic<int>* alive, uint32_t seed, int depth) {
    Witness local(alive);
    ++world->tasks;
    std::mt19937 random(seed);
    for (int step = 0; step < 6; ++step) {
      const uint32_t next_seed = static_cast<uint32_t>(random());
      switch (random() % 12) {
        case 0:
        case 1:
          if (depth > 0) cx.Spawn("child", Run, world, alive, next_seed, depth - 1);
          break;
        case 2:
        case 3:
          if (depth > 0) {
            Outcome<void> ended = co_await Open(cx, world, next_seed, depth - 1);
            if (ended.is_cancelled()) co_return ended;
          }
          break;
        case 4:
          co_await OrReturn(Yield(cx));
          break;
        case 5:
          (void)co_await Sleep(cx, absl::Microseconds(random() % 200));
          break;
        case 6:
          if (random() % 4 == 0) co_await OrReturn(Pass(cx, world->gate));
          break;
        case 7:
          if (random() % 4 == 0) co_return absl::InternalError("at random");
          break;
        case 8:
          if (depth > 0) {
            auto child = cx.Spawn("victim", Run, world, alive, next_seed, depth - 1);
            if (random() % 2 == 0) co_await OrReturn(Yield(cx));
            child.Cancel(Budget::Timeout(absl::Microseconds(random() % 500)));
            if (random() % 2 == 0) (void)co_await child.Join(cx);
          }
          break;
        case 9: {
          const Masked mask(cx, 2);
          (void)co_await Sleep(cx, absl::Microseconds(random() % 100));
          (void)co_await Yield(cx);
          break;
        }
        case 10:
          (void)co_await Sleep(cx.ForDrain(), absl::Microseconds(random() % 300));
          break;
        case 11:
          if (random() % 8 == 0) {
            cx.Ref().Cancel(Budget::Timeout(absl::Microseconds(random() % 500)));
          } else {
            cx.Charge(1);
          }
          break;
      }
    }
    co_return Ok();
  }

  static Task<void> Open(Cx cx, World* world, uint32_t seed, int depth) {
    std::atomic<int> alive{0};
    std::mt19937 random(seed);
    RegionOptions options;
    options.WithGrace(absl::Milliseconds(2));
    Budget budget;
    if (random() % 4 == 0) budget = budget.WithTimeout(absl::Microseconds(random() % 2000));
    if (random() % 4 == 0) budget = budget.WithPolls(random() % 60);
    if (random() % 4 == 0) budget = budget.WithCost(random() % 4);
    options.WithBudget(budget);
    options.WithDrain(Budget::Timeout(absl::Milliseconds(3)));
    const RegionPolicy policies[] = {FailFast(), FailFast(), CollectAll()};
    auto body = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 2; ++i) {
        const absl::Status deferred = cx.Defer("finalizer", [world](Cx cx) -> Task<void> {
          (void)co_await Yield(cx);
          ++world->finalizers_run;
          co_return Ok();
        });
        if (deferred.ok()) ++world->finalizers_registered;
      }
      for (int i = 0; i < 3; ++i) {
        cx.Spawn("child", Run, world, &alive, static_cast<uint32_t>(random()), depth);
      }
      if (random() % 8 == 0) cx.Ref().BeginDrain(Budget::Timeout(absl::Milliseconds(1)));
      co_return co_await Run(cx, world, &alive, static_cast<uint32_t>(random()), depth);
    };
    Outcome<void> outcome =
        co_await Region::Open(cx, "random", body, policies[random() % 3], options);
    EXPECT_EQ(alive, 0) << "tasks are left after the close";
    co_return outcome;
  }
};

TEST(QuiescenceTest, AtRandomNothingIsLeftAfterAnyClose) {
  uint32_t first_seed = 1;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr int kRounds = 60;
#else
  constexpr int kRounds = 200;
#endif
  int tasks = 0;
  for (uint32_t seed = first_seed; seed < first_seed + kRounds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    TestRuntime rt;
    World world;
    Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
      // Those at the gate wait for a cancel, in the end that of the budget of this region.
      (void)co_await Region::Open(
          cx, "all",
          [&](Cx cx) -> Task<void> { co_return co_await RandomTask::Open(cx, &world, seed, 4); },
          CollectAll(), RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(20))));
      co_return Ok();
    });
    EXPECT_THAT(outcome, IsOk());
    EXPECT_EQ(world.finalizers_run, world.finalizers_registered);
    EXPECT_EQ(world.gate.waiting(), 0);
    tasks += world.tasks;
  }
  EXPECT_GT(tasks, kRounds * 10);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

// RegionRef: a region for other tasks, foreign threads and callbacks.
#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

TEST(RegionRefTest, ForeignThreadSpawnsIntoTheRegionWhichWaitsForTheTask) {
  TestRuntime rt;
  Gate gate, spawned;
  std::atomic<bool> done{false};
  std::thread foreign;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    foreign = std::thread([&, region = cx.Ref()] {
      region.Spawn("foreign", [&](Cx cx) -> Task<void> {
        spawned.Open();
        co_await OrReturn(Pass(cx, gate));
        done = true;
        co_return Ok();
      });
      gate.Open();
    });
    // The body ends first: the region stays open for the task, but has to be open when the spawn comes.
    co_await OrReturn(Pass(cx, spawned));
    co_return Ok();
  });
  foreign.join();
  EXPECT_THAT(outcome, IsOk());
  EXPECT_TRUE(done);
}

TEST(RegionRefTest, FailureOfWhatItSpawnsFollowsThePolicyOfTheRegion) {
  TestRuntime rt;
  std::thread foreign;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    foreign = std::thread([region = cx.Ref()] {
      region.Spawn("foreign", [](Cx) -> Task<void> { co_return absl::InternalError("foreign"); });
    });
    EXPECT_THAT(co_await SleepUntil(cx, Instant::InfiniteFuture()),
                IsCancelled(CancelKind::kFailFast));
    co_return Ok();
  });
  foreign.join();
  EXPECT_THAT(outcome, IsError("foreign"));
}

TEST(RegionRefTest, ForeignThreadCancelsParkedTasks) {
  TestRuntime rt;
  Gate gate;
  std::thread foreign;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    foreign = std::thread([&, region = cx.Ref()] {
      SpinUntil([&] { return gate.waiting() == 2; });
      EXPECT_FALSE(region.cancelled());
      region.Cancel(Budget(), "from a foreign thread");
      EXPECT_TRUE(region.cancelled());
    });
    cx.Spawn("parked", HoldAt, &gate);
    co_return co_await HoldAt(cx, &gate);
  });
  foreign.join();
  ASSERT_THAT(outcome, IsCancelled(CancelKind::kUser));
  EXPECT_EQ(outcome.cancel_reason().message(), "from a foreign thread");
}

TEST(RegionRefTest, OtherTaskSpawnsThroughItIntoTheRefsRegionAndNotIntoItsOwn) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    RegionRef outer = cx.Ref();
    co_await OrReturn(Region::Open(cx, "inner", [&](Cx) -> Task<void> {
      outer.Spawn("outer's", HoldAt, &gate);
      co_return Ok();
    }));
    // The inner region has closed, the task goes on.
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RegionRefTest, OutlivesItsRegionAndIsThenRefusedEverything) {
  std::optional<RegionRef> copy;
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    RegionRef region = cx.Ref();
    copy = region;
    RegionRef moved = std::move(region);
    EXPECT_FALSE(moved.closed());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_TRUE(copy->closed());
  copy->Cancel();
  copy->Shutdown();
  copy->BeginDrain(Budget());
  EXPECT_FALSE(copy->cancelled());
  auto refused = copy->Spawn("late", [](Cx) -> Task<void> { co_return Ok(); });
  EXPECT_THAT(std::move(refused).TakeOutcome(), IsErrorCode(absl::StatusCode::kFailedPrecondition));
}

TEST(RegionRefTest, SpawnForDrainIsAdmittedUntilTheBudgetIsSpent) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    RegionRef region = cx.Ref();
    region.Cancel();
    auto drain = region.SpawnForDrain("drain", [](Cx cx) -> Task<void> {
      co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));  // its waits are drain waits
      co_return Ok();
    });
    EXPECT_THAT(co_await OrReturn(drain.Join(cx.ForDrain())), IsOk());
    region.Cancel(Budget::Polls(0));
    auto refused = region.SpawnForDrain("late", [](Cx) -> Task<void> { co_return Ok(); });
    EXPECT_THAT(std::move(refused).TakeOutcome(), IsCancelled(CancelKind::kDrainBudgetSpent));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RegionRefTest, SpawnsThatRaceWithTheCloseAreAdmittedAndWaitedForOrRefused) {
  TestRuntime rt;
  int admitted = 0;
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> ran{0};
    std::optional<RegionRef> region;
    std::atomic<bool> ready{false};
    std::atomic<int> spawned{0};
    std::vector<TaskHandle<void>> handles;
    std::thread foreign([&] {
      SpinUntil([&] { return ready.load(); });
      for (int i = 0; i < 20; ++i) {
        handles.push_back(region->Spawn("foreign", [&](Cx cx) -> Task<void> {
          co_await OrReturn(Yield(cx));
          ++ran;
          co_return Ok();
        }));
        ++spawned;
      }
    });
    Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
      region = cx.Ref();
      ready = true;
      co_await OrReturn(Until(cx, [&] { return spawned >= round % 20; }));
      co_return Ok();
    });
    const int ran_at_close = ran;
    foreign.join();
    EXPECT_THAT(outcome, IsOk());
    int ok = 0;
    for (auto& handle : handles) {
      EXPECT_TRUE(handle.ended()) << "a task is left after the close";
      const Outcome<void> ended = std::move(handle).TakeOutcome();
      ok += ended.ok();
      if (!ended.ok()) {
        EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kFailedPrecondition));
      }
    }
    EXPECT_EQ(ok, ran_at_close);
    EXPECT_EQ(ran, ran_at_close) << "a task ran after the close";
    admitted += ok;
  }
  EXPECT_GT(admitted, 0);
}

TEST(TaskHandleTest, CancelFromForeignThreadsRacesWithTheEndOfTheTask) {
  TestRuntime rt;
  for (int round = 0; round < 100; ++round) {
    std::optional<TaskHandle<void>> handle;
    std::atomic<bool> ready{false};
    std::thread foreign([&] {
      SpinUntil([&] { return ready.load(); });
      for (int i = 0; i < 10; ++i) handle->Cancel();
    });
    Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
      handle = cx.Spawn("short", [](Cx cx) -> Task<void> {
        for (int i = 0; i < 3; ++i) co_await OrReturn(Yield(cx));
        co_return Ok();
      });
      ready = true;
      co_return Ok();
    });
    foreign.join();
    EXPECT_THAT(outcome, IsOk());
    EXPECT_TRUE(handle->ended());
  }
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

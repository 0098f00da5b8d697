// Trees of extreme shape: very deep, very wide; cancelled at their largest.
#include <atomic>
#include <cstdio>
#include <memory>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/stress/stress.h"

namespace quiesce::stress {
namespace {

constexpr int kDeep = 10'000;
constexpr int kWide = kSlow ? 20'000 : 100'000;

Task<void> SleepForEver(Cx cx, std::atomic<int>* asleep) {
  asleep->fetch_add(1);
  co_return co_await SleepUntil(cx, Instant::InfiniteFuture());
}

// Measures a test's memory from outside: the workers have ended by then.
class ShapeStressTest : public testing::Test {
 protected:
  ShapeStressTest() : memory_before_(GetSlabStats().live_bytes) {}
  void TearDown() override {
    EXPECT_EQ(GetSlabStats().live_bytes, memory_before_) << "memory that did not come back";
  }

 private:
  const size_t memory_before_;
};

// Region in region, all opened by one task.
Task<void> NestInOneTask(Cx cx, int levels, std::atomic<int>* depth) {
  depth->fetch_add(1);
  if (levels == 0) co_return co_await SleepUntil(cx, Instant::InfiniteFuture());
  auto body = [levels, depth](Cx cx) { return NestInOneTask(cx, levels - 1, depth); };
  Outcome<void> outcome = co_await Region::Open(cx, "nested", body);
  depth->fetch_sub(1);
  co_return outcome;
}

TEST_F(ShapeStressTest, TenThousandRegionsOfOneTaskCloseOnCancel) {
  for (const uint32_t workers : {1u, 4u}) {
    std::unique_ptr<Runtime> runtime = MakeRuntime(workers);
    Watchdog watchdog(runtime.get());
    std::atomic<int> depth{0};
    DrainReport report;
    Outcome<void> outcome = runtime->BlockOn(
        [&](Cx cx) -> Task<void> {
          auto deep = cx.Spawn("deep", &NestInOneTask, kDeep, &depth);
          while (depth.load() <= kDeep) co_await OrReturn(Yield(cx));
          deep.Cancel();
          Outcome<void> ended = co_await OrReturn(deep.Join(cx));
          EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
          co_return Ok();
        },
        &report);
    EXPECT_TRUE(outcome.ok()) << outcome.ToString();
    EXPECT_EQ(depth.load(), 1);  // the innermost counts itself only
    std::printf("workers %u: %s\n", workers, report.ToString().c_str());
  }
}

// Region in region, each opened by a task of the one above; and a sleeping task in each.
Task<void> NestByTasks(Cx cx, int levels, std::atomic<int>* asleep) {
  auto body = [levels, asleep](Cx cx) -> Task<void> {
    (void)cx.Spawn("sleeper", &SleepForEver, asleep);
    if (levels > 1) (void)cx.Spawn("nest", &NestByTasks, levels - 1, asleep);
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "nested", body);
}

TEST_F(ShapeStressTest, ACancelReachesTenThousandLevels) {
  for (const uint32_t workers : {1u, 4u}) {
    std::unique_ptr<Runtime> runtime = MakeRuntime(workers);
    Watchdog watchdog(runtime.get());
    std::atomic<int> asleep{0};
    Outcome<void> outcome = runtime->BlockOn([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        (void)cx.Spawn("nest", &NestByTasks, kDeep, &asleep);
        while (asleep.load() < kDeep) co_await OrReturn(Yield(cx));
        cx.Ref().Cancel();
        co_return Ok();
      };
      Outcome<void> top = co_await Region::Open(cx, "top", body);
      EXPECT_TRUE(top.is_cancelled()) << top.ToString();
      co_return Ok();
    });
    EXPECT_TRUE(outcome.ok()) << outcome.ToString();
    EXPECT_EQ(asleep.load(), kDeep);
  }
}

TEST_F(ShapeStressTest, AHundredThousandSleepersEndOnCancel) {
  for (const uint32_t workers : {1u, 2u, 8u}) {
    std::unique_ptr<Runtime> runtime = MakeRuntime(workers);
    Watchdog watchdog(runtime.get());
    std::atomic<int> asleep{0};
    DrainReport report;
    Outcome<void> outcome = runtime->BlockOn(
        [&](Cx cx) -> Task<void> {
          for (int i = 0; i < kWide; ++i) (void)cx.Spawn("sleeper", &SleepForEver, &asleep);
          while (asleep.load() < kWide) co_await OrReturn(Yield(cx));
          cx.Ref().Cancel();
          co_return Ok();
        },
        &report);
    EXPECT_TRUE(outcome.is_cancelled()) << outcome.ToString();
    EXPECT_EQ(report.tasks_drained, kWide);
    EXPECT_EQ(report.tasks_cut_off, 0);
    std::printf("workers %u: %s\n", workers, report.ToString().c_str());
  }
}

TEST_F(ShapeStressTest, AHundredThousandTasksEndByThemselves) {
  for (const uint32_t workers : {1u, 2u, 8u}) {
    std::unique_ptr<Runtime> runtime = MakeRuntime(workers);
    Watchdog watchdog(runtime.get());
    std::atomic<int> ran{0};
    Outcome<int> outcome = runtime->BlockOn([&](Cx cx) -> Task<int> {
      auto body = [&](Cx cx) -> Task<void> {
        for (int i = 0; i < kWide; ++i) {
          (void)cx.Spawn("short", [&ran](Cx cx) -> Task<void> {
            co_await OrReturn(Yield(cx));
            ran.fetch_add(1);
            co_return Ok();
          });
        }
        co_return Ok();
      };
      co_await OrReturn(Region::Open(cx, "wide", body));
      co_return ran.load();
    });
    ASSERT_TRUE(outcome.ok()) << outcome.ToString();
    EXPECT_EQ(*outcome, kWide);
  }
}

}  // namespace
}  // namespace quiesce::stress

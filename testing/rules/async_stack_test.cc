// Dumps and stall reports: task name, spawn site, and the chain of co_await sites.
#include <atomic>
#include <string>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kInnermostLine = __LINE__ + 2;
Task<void> Innermost(Cx cx, Gate* gate) {
  co_await OrReturn(PassStructural(cx, *gate));
  co_return Ok();
}
constexpr int kMiddleLine = __LINE__ + 2;
Task<void> Middle(Cx cx, Gate* gate) {
  co_await OrReturn(Innermost(cx, gate));
  co_return Ok();
}
constexpr int kOutermostLine = __LINE__ + 1;
Task<void> Outermost(Cx cx, Gate* gate) { co_return co_await Middle(cx, gate); }

std::string At(int line, const char* function) {
  return absl::StrCat("async_stack_test.cc:", line, " in quiesce::rules::", function, "\n");
}

// `text` has each of `parts`, in this order.
MATCHER_P(HasInOrder, parts, "has these parts in order") {
  size_t at = 0;
  for (const std::string& part : parts) {
    at = arg.find(part, at);
    if (at == std::string::npos) {
      *result_listener << "no '" << part << "' after the one before";
      return false;
    }
  }
  return true;
}

TEST(DumpTest, ShowsEachParkedTaskWithItsSpawnSiteItsWaitAndItsChainInnermostFirst) {
  TestRuntime rt;
  Gate gate;
  std::string dump;
  int spawn_line = 0;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    spawn_line = __LINE__ + 1;
    cx.Spawn("deep", Outermost, &gate);
    co_await OrReturn(Until(cx, [&] { return absl::StrContains(rt->DumpRegions(), "'deep'"); }));
    dump = rt->DumpRegions();
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(dump, ContainsRegex(absl::StrCat(
                        "task 'deep' #[0-9]+ \\(spawned at .*async_stack_test.cc:", spawn_line,
                        "\\): parked .* in Gate::Pass \\(structural wait\\)")));
  const std::vector<std::string> chain = {"task 'deep'", At(kInnermostLine, "Innermost"),
                                          At(kMiddleLine, "Middle"),
                                          At(kOutermostLine, "Outermost")};
  EXPECT_THAT(dump, HasInOrder(chain)) << dump;
}

TEST(DumpTest, ShowsTheTreeOfRegionsWithPhaseLiveCountDeadlineAndQuotas) {
  TestRuntime rt;
  std::string dump;
  constexpr int line = __LINE__ + 13;  // of the Open
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        auto body = [&](Cx cx) -> Task<void> {
          cx.Spawn("parked", Forever);
          cx.Charge(7);
          dump = rt->DumpRegions();
          cx.Ref().Cancel();
          dump += rt->DumpRegions();
          co_return Ok();
        };
        RegionOptions options;
        options.WithBudget(Budget::Timeout(absl::Hours(1)).WithCost(100).WithPolls(1000));
        co_return co_await Region::Open(cx, "inner", body, FailFast(), options);
      },
      FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Hours(2))));
  const std::vector<std::string> tree = {"region 'runtime'",
                                         "\n  region 'root'",
                                         "\n    region 'r'",
                                         "Open, 1 live, deadline in 1h59m",
                                         "\n      region 'inner'",
                                         absl::StrCat("async_stack_test.cc:", line),
                                         "Open, 2 live, deadline in 59m",
                                         "cost left 93",
                                         "Draining",
                                         "user: RegionRef::Cancel",
                                         "drain budget ends in"};
  EXPECT_THAT(dump, HasInOrder(tree)) << dump;
}

TEST(DumpTest, ShowsDrainAndFinalizersWaitsAndTheRunningTask) {
  TestRuntime rt;
  Gate gate;
  std::string dump, finalizing;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("draining", DrainAt, &gate);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    EXPECT_TRUE(cx.Defer("finalizer", [&](Cx) -> Task<void> {
                    finalizing = rt->DumpRegions();
                    co_return Ok();
                  }).ok());
    dump = rt->DumpRegions();
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(dump, HasSubstr("in Gate::Pass (drain wait)"));
  EXPECT_THAT(dump, ContainsRegex("running: task 'main' #[0-9]+ \\(spawned at .*runtime.h"));
  EXPECT_THAT(finalizing, HasSubstr("Finalizing, 0 live"));
}

TEST(DumpTest, CountsTheFramesOfALongChainAndTheTasksOfABigRegion) {
  struct Chain {
    static Task<void> Link(Cx cx, int n, Gate* gate) {
      if (n == 0) {
        co_await OrReturn(Pass(cx, *gate));
      } else {
        co_await OrReturn(Link(cx, n - 1, gate));
      }
      co_return Ok();
    }
  };
  TestRuntime rt;
  Gate gate;
  std::string dump;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("long", Chain::Link, 99, &gate);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    dump = rt->DumpRegions();
    for (int i = 0; i < 299; ++i) cx.Spawn("one of many", HoldAt, &gate);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 300; }));
    dump += rt->DumpRegions();
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(dump, HasSubstr("and 36 more frames"));
  EXPECT_THAT(dump, HasSubstr("and 200 more parked tasks"));
}

TEST(DumpTest, MayBeTakenWhileTasksParkWakeAndEnd) {
  TestRuntime rt;
  std::atomic<bool> done{false};
  size_t characters = 0;
  std::thread dumper([&] {
    while (!done) characters += rt->DumpRegions().size();
  });
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 200; ++i) {
      co_await OrReturn(Region::Open(cx, "short", [](Cx cx) -> Task<void> {
        for (int i = 0; i < 10; ++i) {
          cx.Spawn("child", [](Cx cx) -> Task<void> {
            co_return co_await Sleep(cx, absl::Microseconds(20));
          });
        }
        co_return Ok();
      }));
    }
    co_return Ok();
  });
  done = true;
  dumper.join();
  EXPECT_THAT(outcome, IsOk());
  EXPECT_GT(characters, 0u);
}

// --- stall reports -------------------------------------------------------------------------------

RegionOptions NoTime() { return RegionOptions().WithGrace(absl::ZeroDuration()); }

TEST(StallReportTest, NamesTheParkedTaskWithItsAsyncStack) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        cx.Spawn("stalled", Outermost, &gate);
        co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
        cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(1)));
        while (!rt.reports.Said("'stalled'")) (void)co_await Yield(cx);
        gate.Open();
        co_return Ok();
      },
      FailFast(), NoTime());
  EXPECT_THAT(outcome, IsOk());
  ASSERT_FALSE(rt.reports.empty());
  const std::string report = rt.reports.All().front();
  EXPECT_THAT(report,
              HasSubstr("region 'r' has not closed although its drain and finalizer budgets"));
  const std::vector<std::string> chain = {
      "task 'stalled'", "async_stack_test.cc", At(kInnermostLine, "Innermost"),
      At(kMiddleLine, "Middle"), At(kOutermostLine, "Outermost")};
  EXPECT_THAT(report, HasInOrder(chain)) << report;
}

TEST(StallReportTest, NamesTheTaskThatRunsAndNeverReachesACheckpoint) {
  TestRuntime rt;
  std::atomic<bool> started{false}, stop{false};
  int line = 0;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        line = __LINE__ + 1;
        cx.Spawn("spinning", [&](Cx) -> Task<void> {
          started = true;
          while (!stop) std::this_thread::yield();
          co_return Ok();
        });
        co_await OrReturn(Until(cx, [&] { return started.load(); }));
        cx.Ref().Cancel(Budget::Timeout(absl::ZeroDuration()));
        while (rt.reports.empty()) (void)co_await Yield(cx.ForDrain());
        stop = true;
        co_return Ok();
      },
      FailFast(), NoTime());
  EXPECT_THAT(outcome, IsOk());
  ASSERT_FALSE(rt.reports.empty());
  EXPECT_THAT(rt.reports.All().front(),
              ContainsRegex(absl::StrCat("running: task 'spinning' #[0-9]+ \\(spawned at "
                                         ".*async_stack_test.cc:",
                                         line, "\\)")));
}

TEST(StallReportTest, OfATaskCancelledThroughItsHandleNamesItToo) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        auto child = cx.Spawn("stalled", Outermost, &gate);
        co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
        child.Cancel(Budget::Timeout(absl::ZeroDuration()));
        co_await OrReturn(Until(cx, [&] { return rt.reports.Said("'stalled'"); }));
        gate.Open();
        co_return Ok();
      },
      FailFast(), NoTime());
  EXPECT_THAT(outcome, IsOk());
  EXPECT_TRUE(rt.reports.Said(At(kInnermostLine, "Innermost")));
}

TEST(StallReportTest, IsNotMadeOfARegionThatClosesInTime) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        cx.Spawn("good", HoldAt, &gate);
        co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
        cx.Ref().Cancel(Budget::Timeout(absl::Minutes(10)));
        co_return Ok();
      },
      FailFast(), NoTime());
  EXPECT_THAT(outcome, IsCancelled(CancelKind::kUser));
  EXPECT_TRUE(rt.reports.empty());
}

TEST(StallReportTest, IsRepeatedWhileTheStallLasts) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        cx.Spawn("stalled", Outermost, &gate);
        co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
        cx.Ref().Cancel(Budget::Timeout(absl::ZeroDuration()));
        while (rt.reports.All().size() < 2) (void)co_await Yield(cx);
        gate.Open();
        co_return Ok();
      },
      FailFast(), NoTime());
  EXPECT_THAT(outcome, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

// R8 where debug checks are off, as in production: what is leaked is aborted, counted and reported once.
#include <cstdlib>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/testing/rules/fixture.h"
#include "quiesce/testing/rules/seat_permit.h"

namespace quiesce {
namespace rules {
namespace {

// Before anybody asks for the first time.
const bool off = [] {
  setenv("QUIESCE_DEBUG_CHECKS", "0", /*overwrite=*/1);
  return !DebugChecks();
}();

TEST(PermitLeakInProductionTest, IsAbortedCountedAndReportedOnceForEachPlace) {
  ASSERT_TRUE(off);
  TestRuntime rt;
  Hall hall;
  // Not inside of a macro, where all is on one line.
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 3; ++i) SeatPermit permit(cx, &hall);
    for (int i = 0; i < 2; ++i) {
      SeatPermit permit(cx, &hall);
    }
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
  EXPECT_EQ(hall.given_back, 5);
  EXPECT_EQ(rt->counters().permits_leaked, 5u);
  ASSERT_EQ(rt.reports.All().size(), 2u);
  EXPECT_THAT(
      rt.reports.All()[0],
      ::testing::ContainsRegex("permit leaked: SeatPermit, reserved at .*r8_production_test.cc:"
                               "[0-9]+ by task [0-9]+ \\(region 'root'\\) was dropped"));
}

TEST(PermitLeakInProductionTest, OfAReboundPermitNamesTheTaskAndTheRegionThatOweIt) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [cx, &hall](Cx inner) -> Task<void> {
      SeatPermit permit(inner, &hall);
      EXPECT_TRUE(permit.Rebind(cx).ok());
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "inner", body);
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 1);
  ASSERT_EQ(rt.reports.All().size(), 1u);
  EXPECT_THAT(rt.reports.All()[0],
              ::testing::ContainsRegex("by task [0-9]+ \\(region 'root'\\) was dropped"));
}

// A blocking operation of a thread that resolves a permit which is not its own.
struct ResolvesOp {
  using Value = bool;
  static constexpr const char* kName = "Resolves";
  static constexpr bool kStructural = false;
  explicit ResolvesOp(SeatPermit* permit) : permit(permit) {}
  bool Try(Waiter&, std::optional<Outcome<bool>>& result) {
    result.emplace(std::move(*permit).Book());
    return true;
  }
  Enqueued Enqueue(Waiter&, std::optional<Outcome<bool>>&) { return Enqueued::kRetry; }
  bool Harvest(Waiter& waiter, std::optional<Outcome<bool>>& result) { return Try(waiter, result); }
  void Withdraw(Waiter&) {}
  SeatPermit* permit;
};

// The marks of permits that no task counts are no thread's id. In the first threads that ever wait.
TEST(PermitOfAThreadTest, MayBeResolvedWhileAThreadWaits) {
  TestRuntime rt;
  Hall hall;
  std::optional<SeatPermit> rebound;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx inner) -> Task<void> {
      rebound.emplace(inner, &hall);
      EXPECT_TRUE(rebound->Rebind(cx).ok());
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "inner", body), IsOk());
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] {
        SeatPermit own(&hall);
        EXPECT_THAT(BlockThread<ResolvesOp>("Resolves", "", absl::InfiniteDuration(), &own),
                    IsOk());
        if (i == 2) {
          EXPECT_THAT(BlockThread<ResolvesOp>("Resolves", "", absl::InfiniteDuration(), &*rebound),
                      IsOk());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.booked, 4);
  EXPECT_EQ(rt->counters().permits_revoked, 0u);
}

TEST(PermitLeakInProductionTest, RevokedPermitsAreCountedWithoutNames) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    std::optional<SeatPermit> kept;
    auto body = [&](Cx cx) -> Task<void> {
      kept.emplace(cx, &hall);
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "hasty", body, FailFast(),
                                RegionOptions().WithDrain(Budget::Timeout(absl::ZeroDuration())));
    EXPECT_FALSE(std::move(*kept).Book());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(rt->counters().permits_revoked, 1u);
  EXPECT_TRUE(
      rt.reports.Said("closed over 1 open permit, which it revoked (debug checks name them"));
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

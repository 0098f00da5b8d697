#include "quiesce/runtime/sync/lease.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/contract/stepped_runtime.h"
#include "quiesce/testing/rules/fixture.h"
#include "quiesce/testing/rules/virtual_time.h"

namespace quiesce {
namespace {

using rules::Gate;
using rules::Pass;
using rules::TestRuntime;
using rules::Until;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kTime = absl::Seconds(10);

// Waits for a cancel, holding a lease.
Task<void> HoldForEver(Cx cx, Lease lease) {
  co_await OrReturn(SleepUntil(cx, Instant::InfiniteFuture()));
  std::move(lease).Release();
  co_return Ok();
}
Task<void> AcquireAndHold(Cx cx, LeaseLock* lock) {
  Lease lease = co_await OrReturn(lock->Acquire(cx, kTime));
  co_return co_await HoldForEver(cx, std::move(lease));
}

// ---- time, which is virtual ---------------------------------------------------------------------------

class LeaseTimeTest : public rules::VirtualTimeTest {
 protected:
  // It happens now.
  void Note(const char* what) {
    order.push_back(absl::StrCat(what, " at ", absl::FormatDuration(Elapsed())));
  }
  LeaseLock lock;
  std::vector<std::string> order;
};

TEST_F(LeaseTimeTest, HolderIsCancelledWhenItsTimeIsOverAndTheNextGetsIt) {
  bool held = false;
  Run([&](Cx cx) -> Task<void> {
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
      held = true;
      EXPECT_EQ(lease.expires(), cx.Now() + kTime);
      EXPECT_FALSE(lease.expired());
      const Outcome<void> slept = co_await SleepUntil(cx, Instant::InfiniteFuture());
      Note("cancelled");
      EXPECT_TRUE(slept.is_cancelled());
      EXPECT_EQ(slept.cancel_reason().kind(), CancelKind::kDeadline);
      EXPECT_THAT(slept.ToString(), HasSubstr("lease_test.cc"));
      EXPECT_THAT(slept.ToString(), HasSubstr("has expired"));
      EXPECT_TRUE(lease.expired());
      std::move(lease).Release();
      co_return slept;
    });
    co_await OrReturn(Until(cx, [&] { return held; }));
    auto next = cx.Spawn("next", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
      Note("next");
      std::move(lease).Release();
      co_return Ok();
    });
    const Outcome<void> ended = co_await OrReturn(holder.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    (void)co_await OrReturn(next.Join(cx));
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("cancelled at 10s", "next at 10s"));
}

TEST_F(LeaseTimeTest, ThereAreNeverTwoHoldersEvenIfTheFirstTakesItsTimeToDrain) {
  bool held = false;
  Run([&](Cx cx) -> Task<void> {
    cx.Spawn("slow", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
      held = true;
      (void)co_await SleepUntil(cx, Instant::InfiniteFuture());
      Note("asked to stop");
      (void)co_await Sleep(cx.ForDrain(), absl::Seconds(2));
      Note("has given up");
      std::move(lease).Release();
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return held; }));
    cx.Spawn("next", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
      Note("next");
      std::move(lease).Release();
      co_return Ok();
    });
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("asked to stop at 10s", "has given up at 12s", "next at 12s"));
}

TEST_F(LeaseTimeTest, RenewBeginsTheTimeAnewAndKeepsTheToken) {
  Run([&](Cx cx) -> Task<void> {
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
      const uint64_t token = lease.token();
      for (int i = 0; i < 3; ++i) {
        co_await OrReturn(Sleep(cx, absl::Seconds(9)));
        co_await OrReturn(lease.Renew(cx, kTime));
        EXPECT_EQ(lease.expires(), cx.Now() + kTime);
        EXPECT_EQ(lease.token(), token);
      }
      Note("renewed");
      co_return co_await HoldForEver(cx, std::move(lease));
    });
    (void)co_await OrReturn(holder.Join(cx));
    Note("cancelled");
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("renewed at 27s", "cancelled at 37s"));
}

TEST_F(LeaseTimeTest, RenewOfALeaseWhoseTimeIsOverFails) {
  Run([&](Cx cx) -> Task<void> {
    cx.Spawn("late", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
      (void)co_await SleepUntil(cx, Instant::InfiniteFuture());
      const absl::Status late = lease.Renew(cx, kTime);
      EXPECT_EQ(late.code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_THAT(std::string(late.message()), HasSubstr("has expired. Give it up"));
      std::move(lease).Release();
      Note("late");
      co_return Ok();
    });
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("late at 10s"));
}

TEST_F(LeaseTimeTest, LeaseThatWasGivenUpCancelsNobody) {
  Run([&](Cx cx) -> Task<void> {
    Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
    std::move(lease).Release();
    co_await OrReturn(Sleep(cx, 2 * kTime));
    Note("not cancelled");
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("not cancelled at 20s"));
}

TEST_F(LeaseTimeTest, TheTaskThatRenewedLastIsCancelled) {
  Run([&](Cx cx) -> Task<void> {
    auto first = cx.Spawn("first", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
      auto second = cx.Spawn(
          "second",
          [](Cx cx, Lease lease) -> Task<void> {
            co_await OrReturn(lease.Renew(cx, kTime));
            co_return co_await HoldForEver(cx, std::move(lease));
          },
          std::move(lease));
      const Outcome<void> ended = co_await OrReturn(second.Join(cx));
      EXPECT_TRUE(ended.is_cancelled());
      Note("second was cancelled");
      co_return Ok();
    });
    const Outcome<void> ended = co_await OrReturn(first.Join(cx));
    EXPECT_TRUE(ended.ok()) << ended.ToString();
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("second was cancelled at 10s"));
}

TEST_F(LeaseTimeTest, LeaseWhoseHolderHasEndedStaysHeldUntilItIsConsumed) {
  std::optional<Lease> kept;
  Run([&](Cx cx) -> Task<void> {
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      kept.emplace(co_await OrReturn(lock.Acquire(cx, kTime)));
      co_return Ok();
    });
    (void)co_await OrReturn(holder.Join(cx));
    co_await OrReturn(Sleep(cx, 2 * kTime));
    EXPECT_FALSE(lock.TryAcquire(cx, kTime).has_value());
    std::move(*kept).Release();
    std::optional<Lease> next = lock.TryAcquire(cx, kTime);
    EXPECT_TRUE(next.has_value());
    std::move(*next).Release();
    Note("done");
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("done at 20s"));
}

// Its alarm is the region's, which has gone: the clock must not hear of it any more.
TEST_F(LeaseTimeTest, RevokedLeaseOutlivesItsRegionAndItsRuntime) {
  std::optional<Lease> kept;
  {
    contract::SteppedRuntime gone;
    gone.Start([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
          kept.emplace(co_await OrReturn(lock.Acquire(cx, absl::Hours(1))));
          co_return Ok();
        });
        (void)co_await OrReturn(holder.Join(cx));
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "short", body, FailFast(),
                                      RegionOptions().WithDrain(Budget::Timeout(absl::Seconds(1))));
    });
    gone.RunUntilIdle();
    gone.AdvanceBy(absl::Seconds(1));
    gone.RunUntilIdle();
    ASSERT_TRUE(gone.quiescent());
    gone.Finish();
    EXPECT_EQ(gone.TakeProblems(), "");
  }
  EXPECT_TRUE(kept->revoked());
  std::move(*kept).Release();
  Run([&](Cx cx) -> Task<void> {
    Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
    std::move(lease).Release();
    co_return Ok();
  });
}

// ---- without time -----------------------------------------------------------------------------------

class LeaseTest : public rules::WorkersTest {
 protected:
  LeaseLock lock;
};
INSTANTIATE_TEST_SUITE_P(Workers, LeaseTest, ::testing::Values(1, 2));

TEST_P(LeaseTest, ExampleOfTheHeader) {
  uint64_t newest = 0;
  int batches = 0;
  const auto write_batch = [&](Cx cx, uint64_t token) -> Task<void> {
    if (token < newest) co_return absl::AbortedError("an older token");
    newest = token;
    co_await OrReturn(Yield(cx));
    if (++batches == 5) co_return absl::OutOfRangeError("done");
    co_return Ok();
  };
  Run([&](Cx cx) -> Task<void> {
    auto lead = [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, absl::Seconds(10)));
      while (true) {
        co_await OrReturn(write_batch(cx, lease.token()));
        co_await OrReturn(lease.Renew(cx, absl::Seconds(10)));
      }
    };
    const Outcome<void> ended = co_await lead(cx);
    EXPECT_TRUE(ended.is_error()) << ended.ToString();
    std::optional<Lease> next = lock.TryAcquire(cx, kTime);
    EXPECT_TRUE(next.has_value()) << "the lease of a frame that fails is given up";
    std::move(*next).Release();
    co_return Ok();
  });
  EXPECT_EQ(batches, 5);
}

TEST_P(LeaseTest, OneAtATimeInOrderWithTokensThatGrow) {
  std::vector<uint64_t> tokens;
  std::vector<int> order;
  Gate tried;
  Run([&](Cx cx) -> Task<void> {
    Lease held = co_await OrReturn(lock.Acquire(cx, kTime));
    tokens.push_back(held.token());
    for (int i = 0; i < 3; ++i) {
      cx.Spawn("waiter", [&, i](Cx cx) -> Task<void> {
        Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
        co_await OrReturn(Pass(cx, tried));
        order.push_back(i);
        tokens.push_back(lease.token());
        std::move(lease).Release();
        co_return Ok();
      });
      co_await OrReturn(rt.UntilParked(cx, "LeaseLock::Acquire", i + 1));
    }
    std::move(held).Release();
    EXPECT_FALSE(lock.TryAcquire(cx, kTime).has_value());
    tried.Open();
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  for (size_t i = 1; i < tokens.size(); ++i) EXPECT_GT(tokens[i], tokens[i - 1]);
}

TEST_P(LeaseTest, LeaseMayOutliveItsLock) {
  Run([&](Cx cx) -> Task<void> {
    std::optional<Lease> lease;
    {
      LeaseLock gone;
      lease.emplace(co_await OrReturn(gone.Acquire(cx, kTime)));
    }
    std::move(*lease).Release();
    co_return Ok();
  });
}

// A lease that is the outcome of the task that holds it goes with the last who could join that.
TEST_P(LeaseTest, TheOutcomeThatNobodyJoinedGivesItsLeaseUp) {
  Run([&](Cx cx) -> Task<void> {
    auto forgets = [&](Cx cx) -> Task<void> {
      auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<Lease> {
        Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
        co_return lease;
      });
      while (!holder.ended()) co_await OrReturn(Yield(cx));
      EXPECT_FALSE(lock.TryAcquire(cx, kTime).has_value()) << "the handle still has it";
      co_await OrReturn(absl::AbortedError("so what the handle has is given up"));
      co_return Ok();
    };
    EXPECT_TRUE((co_await forgets(cx)).is_error());
    std::optional<Lease> next = lock.TryAcquire(cx, kTime);
    EXPECT_TRUE(next.has_value());
    if (next.has_value()) std::move(*next).Release();
    co_return Ok();
  });
}

// … also where the handle went before, and the task alone has its outcome.
TEST_P(LeaseTest, TheOutcomeOfACancelledTaskWithoutAHandleGivesItsLeaseUp) {
  Run([&](Cx cx) -> Task<void> {
    std::atomic<bool> held{false}, ended{false};
    auto body = [&](Cx cx) -> Task<void> {
      cx.Spawn("holder", [&](Cx cx) -> Task<Lease> {
        Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
        held.store(true);
        while (!cx.cancelled()) (void)co_await Yield(cx);
        ended.store(true);
        co_return lease;
      });
      while (!held.load()) co_await OrReturn(Yield(cx));
      cx.Ref().Cancel();
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "cancelled", body);
    EXPECT_TRUE(ended.load());
    std::optional<Lease> next = lock.TryAcquire(cx, kTime);
    EXPECT_TRUE(next.has_value());
    if (next.has_value()) std::move(*next).Release();
    co_return Ok();
  });
}

// Releases, renewals and the end of the time come at the same moment; on any thread.
TEST(LeaseStressTest, ExpiryRacesWithRenewalsAndReleases) {
  TestRuntime rt(3);
  LeaseLock lock;
  std::atomic<int> holders{0};
  for (int round = 0; round < 40; ++round) {
    const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        for (int i = 0; i < 12; ++i) {
          cx.Spawn("holder", [&, i](Cx cx) -> Task<void> {
            Lease lease = co_await OrReturn(lock.Acquire(cx, absl::Microseconds(1 + 13 * (i % 7))));
            EXPECT_EQ(++holders, 1);
            for (int k = 0; k < i && !cx.cancelled(); ++k) {
              (void)co_await Yield(cx);
              if (k % 2 == 0) (void)lease.Renew(cx, absl::Microseconds(1 + 17 * (k % 5)));
            }
            --holders;
            std::move(lease).Release();
            co_return Ok();
          });
        }
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "stress", body, CollectAll());
    });
    ASSERT_TRUE(ended.ok()) << ended.ToString();
  }
}

// ---- bugs -------------------------------------------------------------------------------------------

using LeaseDeathTest = rules::OneWorkerDeathTest;

TEST_F(LeaseDeathTest, TimesThatMakeNoSense) {
  EXPECT_DEATH(
      RunOnce([](Cx cx) -> Task<void> {
        LeaseLock lock;
        (void)co_await lock.Acquire(cx, absl::ZeroDuration());
        co_return Ok();
      }),
      "a lease of 0 at .*lease_test.cc:[0-9]+: the time must be positive, and have an end");
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 LeaseLock lock;
                 (void)lock.TryAcquire(cx, absl::InfiniteDuration());
                 co_return Ok();
               }),
               "a lease of inf at .*the time must be positive, and have an end");
}

TEST_F(LeaseDeathTest, UsedAfterItWasConsumed) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 LeaseLock lock;
                 Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
                 std::move(lease).Release();
                 (void)lease.Renew(cx, kTime);
                 co_return Ok();
               }),
               "Lease::Renew: the lease was consumed before, or moved from");
}

TEST_F(LeaseDeathTest, AnOutcomeWithALeaseThatIsDroppedIsALeak) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 LeaseLock lock;
                 {
                   auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<Lease> {
                     Lease lease = co_await OrReturn(lock.Acquire(cx, kTime));
                     co_return lease;
                   });
                   while (!holder.ended()) co_await OrReturn(Yield(cx));
                 }
                 co_return Ok();
               }),
               "permit leaked: Lease #1, reserved at .*lease_test.cc:[0-9]+");
}

// The release passes over it, so it stands in line no more; but it has yet to leave.
TEST_F(LeaseDeathTest, LockDestroyedBeforeACancelledWaitHasLeft) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 auto lock = std::make_unique<LeaseLock>();
                 Lease lease = co_await OrReturn(lock->Acquire(cx, kTime));
                 bool parking = false;
                 auto late = cx.Spawn("late", [&](Cx cx) -> Task<void> {
                   parking = true;
                   co_return co_await AcquireAndHold(cx, lock.get());
                 });
                 while (!parking) co_await OrReturn(Yield(cx));
                 late.Cancel();  // the only worker is ours
                 std::move(lease).Release();
                 lock.reset();
                 co_return Ok();
               }),
               "a LeaseLock was destroyed before 1 of its waits, .*Let every Acquire return");
}

TEST_F(LeaseDeathTest, LockDestroyedWhileATaskWaits) {
  EXPECT_DEATH(
      RunOnce([](Cx cx) -> Task<void> {
        auto lock = std::make_unique<LeaseLock>();
        Lease lease = co_await OrReturn(lock->Acquire(cx, kTime));
        bool parking = false;
        cx.Spawn("late", [&](Cx cx) -> Task<void> {
          parking = true;
          co_return co_await AcquireAndHold(cx, lock.get());
        });
        while (!parking) co_await OrReturn(Yield(cx));
        lock.reset();
        std::move(lease).Release();
        co_return Ok();
      }),
      "a LeaseLock was destroyed while it is held by task .*; 1 waits for it: task 'late'");
}

}  // namespace
}  // namespace quiesce

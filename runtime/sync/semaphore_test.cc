#include "quiesce/runtime/sync/semaphore.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::Gate;
using rules::Pass;
using rules::TestRuntime;
using ::testing::ElementsAre;

class SemaphoreTest : public rules::WorkersTest {
 protected:
  // Spawns a task that acquires `count`, notes `number` and ends, and returns once it waits.
  Task<TaskHandle<void>> SpawnWaiting(Cx cx, int64_t count, int number, int waiting) {
    auto waiter = cx.Spawn("waiter", [this, count, number](Cx cx) -> Task<void> {
      SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx, count));
      order.push_back(number);
      std::move(permit).Release();
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "Semaphore::Acquire", waiting));
    co_return waiter;
  }
  Semaphore semaphore{2};
  std::vector<int> order;
};
INSTANTIATE_TEST_SUITE_P(Workers, SemaphoreTest, ::testing::Values(1, 2));

// ---- acquiring --------------------------------------------------------------------------------------

TEST_P(SemaphoreTest, NoMoreAtOnceThanThereArePermits) {
  std::atomic<int> inside{0};
  std::atomic<bool> both_used = false;
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 20; ++i) {
      cx.Spawn("upload", [&](Cx cx) -> Task<void> {
        for (int k = 0; k < 20; ++k) {
          SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx));
          const int now = ++inside;
          if (now == 2) both_used = true;
          EXPECT_LE(now, 2);
          co_await OrReturn(Yield(cx));
          --inside;
          std::move(permit).Release();
        }
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_TRUE(both_used);
  EXPECT_EQ(semaphore.available(), 2);
}

TEST_P(SemaphoreTest, ReleaseCompleteAndAbortGiveBackWhatThePermitHolds) {
  Run([&](Cx cx) -> Task<void> {
    SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx, 2));
    EXPECT_EQ(permit.count(), 2);
    EXPECT_EQ(semaphore.available(), 0);
    std::move(permit).Release();
    EXPECT_EQ(semaphore.available(), 2);
    (co_await OrReturn(semaphore.Acquire(cx))).Complete();
    EXPECT_EQ(semaphore.available(), 2);
    (co_await OrReturn(semaphore.Acquire(cx))).Abort();
    EXPECT_EQ(semaphore.available(), 2);
    co_return Ok();
  });
}

TEST_P(SemaphoreTest, PermitOfATaskThatFailsIsGivenBack) {
  Run([&](Cx cx) -> Task<void> {
    auto failing = [&](Cx cx) -> Task<void> {
      SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx, 2));
      co_await OrReturn(absl::UnavailableError("no answer"));
      std::move(permit).Release();
      co_return Ok();
    };
    Outcome<void> failed = co_await failing(cx);
    EXPECT_TRUE(failed.is_error());
    EXPECT_EQ(semaphore.available(), 2);
    co_return Ok();
  });
}

TEST_P(SemaphoreTest, NobodyPassesOneThatWantsMany) {
  Run([&](Cx cx) -> Task<void> {
    SemaphorePermit held = co_await OrReturn(semaphore.Acquire(cx));
    co_await OrReturn(SpawnWaiting(cx, 2, 0, 1));
    co_await OrReturn(SpawnWaiting(cx, 1, 1, 2));
    EXPECT_EQ(semaphore.available(), 1) << "enough for the second, but it is not its turn";
    EXPECT_FALSE(semaphore.TryAcquire(cx).has_value());
    std::move(held).Release();
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre(0, 1));
}

TEST_P(SemaphoreTest, WaiterThatLeavesLetsThoseBehindItGo) {
  Run([&](Cx cx) -> Task<void> {
    SemaphorePermit held = co_await OrReturn(semaphore.Acquire(cx));
    auto first = co_await OrReturn(SpawnWaiting(cx, 2, 0, 1));
    auto second = co_await OrReturn(SpawnWaiting(cx, 1, 1, 2));
    first.Cancel();
    (void)co_await OrReturn(second.Join(cx));
    std::move(held).Release();
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre(1));
  EXPECT_EQ(semaphore.available(), 2);
}

TEST_P(SemaphoreTest, OneReleaseServesAllThatFit) {
  Run([&](Cx cx) -> Task<void> {
    SemaphorePermit held = co_await OrReturn(semaphore.Acquire(cx, 2));
    Gate tried;
    auto body = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 2; ++i) {
        cx.Spawn("waiter", [&](Cx cx) -> Task<void> {
          SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx));
          co_await OrReturn(Pass(cx, tried));
          std::move(permit).Release();
          co_return Ok();
        });
      }
      co_await OrReturn(rt.UntilParked(cx, "Semaphore::Acquire", 2));
      std::move(held).Release();
      EXPECT_EQ(semaphore.available(), 0) << "both are granted, not only the first";
      EXPECT_FALSE(semaphore.TryAcquire(cx).has_value());
      tried.Open();
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "waiters", body);
  });
}

TEST_P(SemaphoreTest, AddedPermitsServeWhoWaits) {
  Run([&](Cx cx) -> Task<void> {
    auto waiter = co_await OrReturn(SpawnWaiting(cx, 3, 0, 1));  // more than there are
    semaphore.AddPermits(1);
    (void)co_await OrReturn(waiter.Join(cx));
    EXPECT_EQ(semaphore.available(), 3);
    co_return Ok();
  });
}

// ---- close ------------------------------------------------------------------------------------------

TEST_P(SemaphoreTest, CloseEndsThoseWhoWaitAndRefusesThoseWhoCome) {
  Run([&](Cx cx) -> Task<void> {
    SemaphorePermit held = co_await OrReturn(semaphore.Acquire(cx, 2));
    auto waiter = cx.Spawn("waiter", [&](Cx cx) -> Task<void> {
      const Outcome<SemaphorePermit> got = co_await semaphore.Acquire(cx);
      EXPECT_EQ(got.ToString(),
                "Error(FAILED_PRECONDITION: Semaphore::Acquire: the semaphore is closed)");
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "Semaphore::Acquire"));
    EXPECT_FALSE(semaphore.closed());
    semaphore.Close();
    (void)co_await OrReturn(waiter.Join(cx));
    std::move(held).Release();
    EXPECT_TRUE(semaphore.closed());
    EXPECT_EQ(semaphore.available(), 2);
    EXPECT_TRUE((co_await semaphore.Acquire(cx)).is_error());
    EXPECT_FALSE(semaphore.TryAcquire(cx).has_value());
    co_return Ok();
  });
}

// ---- lifetime ---------------------------------------------------------------------------------------

TEST_P(SemaphoreTest, ClosedOneWinsASelectBeforeALaterArmThatIsReady) {
  Run([&](Cx cx) -> Task<void> {
    Semaphore open(1);
    semaphore.Close();
    auto won = co_await OrReturn(Select(cx, semaphore.Acquire(cx), open.Acquire(cx)));
    EXPECT_EQ(won.index(), 0u);
    if (won.index() == 0) {
      EXPECT_EQ(std::get<0>(won).ToStatus().code(), absl::StatusCode::kFailedPrecondition);
    } else {
      std::move(*std::get<1>(won)).Release();
    }
    EXPECT_EQ(open.available(), 1);
    co_return Ok();
  });
}

TEST_P(SemaphoreTest, LastOfSeveralPermitsThatOutliveItsSemaphoreFreesWhatTheyShare) {
  Run([&](Cx cx) -> Task<void> {
    auto gone = std::make_unique<Semaphore>(3);
    SemaphorePermit two = co_await OrReturn(gone->Acquire(cx, 2));
    SemaphorePermit one = co_await OrReturn(gone->Acquire(cx));
    gone.reset();
    std::move(two).Release();
    std::move(one).Release();  // a leak or a use after the end is AddressSanitizer's to see
    co_return Ok();
  });
}

TEST_P(SemaphoreTest, PermitMayOutliveItsSemaphore) {
  Run([&](Cx cx) -> Task<void> {
    std::optional<SemaphorePermit> permit;
    {
      Semaphore gone(1);
      permit.emplace(co_await OrReturn(gone.Acquire(cx)));
    }
    std::move(*permit).Release();
    co_return Ok();
  });
}

TEST_P(SemaphoreTest, RevokedPermitIsGivenBackByItsRelease) {
  std::optional<SemaphorePermit> permit;
  Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      permit.emplace(co_await OrReturn(semaphore.Acquire(cx, 2)));
      co_return Ok();
    };
    co_return co_await Region::Open(
        cx, "short", body, FailFast(),
        RegionOptions().WithDrain(Budget::Timeout(absl::ZeroDuration())));
  });
  EXPECT_TRUE(permit->revoked());
  EXPECT_EQ(semaphore.available(), 0);
  std::move(*permit).Release();
  EXPECT_EQ(semaphore.available(), 2);
}

// ---- threads ----------------------------------------------------------------------------------------

TEST(SemaphoreThreadTest, ThreadsAndTasksShareOneQueue) {
  TestRuntime rt(2);
  Semaphore semaphore(3);
  std::atomic<int64_t> held{0};
  const auto use = [&](int64_t count) {
    EXPECT_LE(held += count, 3);
    held -= count;
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 2000; ++k) {
        Outcome<SemaphorePermit> permit = semaphore.BlockingAcquire(1 + (k + i) % 3);
        ASSERT_TRUE(permit.ok());
        use(permit->count());
        std::move(*permit).Release();
      }
    });
  }
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 4; ++i) {
      cx.Spawn("task", [&, i](Cx cx) -> Task<void> {
        for (int k = 0; k < 2000; ++k) {
          SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx, 1 + (k + i) % 3));
          if (k % 16 == 0) co_await OrReturn(Yield(cx));
          use(permit.count());
          std::move(permit).Release();
        }
        co_return Ok();
      });
    }
    co_return Ok();
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_EQ(semaphore.available(), 3);
}

TEST(SemaphoreThreadTest, BlockingAcquireThatTimesOutTakesNothing) {
  Semaphore semaphore(1);
  std::optional<SemaphorePermit> held = semaphore.TryAcquire();
  ASSERT_TRUE(held.has_value());
  EXPECT_FALSE(semaphore.TryAcquire().has_value());
  const Outcome<SemaphorePermit> late = semaphore.BlockingAcquire(1, absl::Milliseconds(1));
  EXPECT_TRUE(late.is_cancelled()) << late.ToString();
  std::move(*held).Release();
  EXPECT_EQ(semaphore.available(), 1);
}

// ---- stress -----------------------------------------------------------------------------------------

TEST(SemaphoreStressTest, NothingIsLostWhileWaitersAreCancelled) {
  TestRuntime rt(4);
  Semaphore semaphore(5);
  for (int round = 0; round < 60; ++round) {
    std::atomic<int64_t> held{0};
    const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        for (int i = 0; i < 24; ++i) {
          auto task = cx.Spawn("acquirer", [&, i](Cx cx) -> Task<void> {
            for (int k = 0; k < 40; ++k) {
              const Cx with = k % 3 == 0 ? cx.ForDrain() : cx;
              SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(with, 1 + (i + k) % 5));
              EXPECT_LE(held += permit.count(), 5);
              if (k % 4 == 0) (void)co_await Yield(cx.ForDrain());
              held -= permit.count();
              std::move(permit).Release();
              co_await OrReturn(cx.TryCheckpoint());
            }
            co_return Ok();
          });
          if (i % 3 == 0) {
            cx.Spawn("canceller", [task = std::move(task), i](Cx cx) -> Task<void> {
              for (int k = 0; k < i; ++k) co_await OrReturn(Yield(cx));
              task.Cancel();
              co_return Ok();
            });
          }
        }
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "stress", body, CollectAll());
    });
    ASSERT_TRUE(ended.ok()) << ended.ToString();
    ASSERT_EQ(semaphore.available(), 5);
  }
}

// ---- bugs -------------------------------------------------------------------------------------------

using SemaphoreDeathTest = rules::OneWorkerDeathTest;

TEST_F(SemaphoreDeathTest, NumbersThatMakeNoSense) {
  EXPECT_DEATH(Semaphore(-1), "Semaphore\\(-1\\): the number of permits cannot be negative");
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 Semaphore semaphore(1);
                 (void)co_await semaphore.Acquire(cx, 0);
                 co_return Ok();
               }),
               "Semaphore: an Acquire of 0 at .*semaphore_test.cc:[0-9]+: the count must be "
               "positive");
  EXPECT_DEATH((void)Semaphore(1).TryAcquire(-3), "an Acquire of -3 at .*must be positive");
  EXPECT_DEATH(Semaphore(1).AddPermits(-1),
               "Semaphore::AddPermits\\(-1\\): permits cannot be taken");
  EXPECT_DEATH(Semaphore(INT64_MAX).AddPermits(1), "more than 2\\^63 cannot be counted");
}

// Who was passed over and has left is not missed: neither one that was cancelled nor a Select's arm that has lost.
TEST(SemaphoreLifetimeTest, MayBeDestroyedOnceThoseThatWerePassedOverHaveLeft) {
  TestRuntime rt(1);
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto one = std::make_unique<Semaphore>(0);
    auto other = std::make_unique<Semaphore>(0);
    auto cancelled = cx.Spawn("cancelled", [&](Cx cx) -> Task<void> {
      (co_await OrReturn(one->Acquire(cx))).Release();
      co_return Ok();
    });
    auto selects = cx.Spawn("selects", [&](Cx cx) -> Task<void> {
      auto won = co_await OrReturn(Select(cx, one->Acquire(cx), other->Acquire(cx)));
      EXPECT_EQ(won.index(), 1u);
      std::move(*std::get<1>(won)).Release();
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "Semaphore::Acquire"));
    co_await OrReturn(rt.UntilParked(cx, "Select"));
    cancelled.Cancel();  // the only worker is ours
    other->AddPermits(1);
    one->AddPermits(1);  // passes over both
    EXPECT_EQ(one->available(), 1);
    (void)co_await OrReturn(cancelled.Join(cx));
    EXPECT_TRUE((co_await OrReturn(selects.Join(cx))).ok());
    one.reset();
    other.reset();
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// It is passed over, by a permit's end or by Close, so it stands in line no more; but it has yet to leave.
TEST_F(SemaphoreDeathTest, DestroyedBeforeACancelledWaitHasLeft) {
  for (const bool close : {false, true}) {
    EXPECT_DEATH(RunOnce([&](Cx cx) -> Task<void> {
                   auto semaphore = std::make_unique<Semaphore>(0);
                   bool parking = false;
                   auto late = cx.Spawn("late", [&](Cx cx) -> Task<void> {
                     parking = true;
                     (co_await OrReturn(semaphore->Acquire(cx))).Release();
                     co_return Ok();
                   });
                   while (!parking) co_await OrReturn(Yield(cx));
                   late.Cancel();  // the only worker is ours
                   if (close) {
                     semaphore->Close();
                   } else {
                     semaphore->AddPermits(1);
                   }
                   semaphore.reset();
                   co_return Ok();
                 }),
                 "a Semaphore was destroyed before 1 of its waits, .*Let every Acquire return");
  }
}

TEST_F(SemaphoreDeathTest, DestroyedWhileATaskWaits) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 auto semaphore = std::make_unique<Semaphore>(0);
                 bool parking = false;
                 cx.Spawn("late", [&](Cx cx) -> Task<void> {
                   parking = true;
                   (co_await OrReturn(semaphore->Acquire(cx))).Release();
                   co_return Ok();
                 });
                 while (!parking) co_await OrReturn(Yield(cx));
                 semaphore.reset();
                 co_return Ok();
               }),
               "a Semaphore was destroyed while task 'late' .* waits for it, in an Acquire of 1 at "
               ".*semaphore_test.cc:[0-9]+\\. Close it");
}

TEST_F(SemaphoreDeathTest, PermitThatIsDroppedNamesWhereItWasAcquired) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 Semaphore semaphore(1);
                 {
                   SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx));
                 }
                 co_return Ok();
               }),
               "permit leaked: SemaphorePermit #[0-9]+, reserved at .*semaphore_test.cc:[0-9]+ by "
               "task");
}

// A wait that took at once has no result that would give it away.
TEST_F(SemaphoreDeathTest, AcquireAwaitedTwice) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 Semaphore semaphore(2);
                 auto acquire = semaphore.Acquire(cx);
                 SemaphorePermit first = co_await OrReturn(acquire);
                 SemaphorePermit second = co_await OrReturn(acquire);
                 std::move(first).Release();
                 std::move(second).Release();
                 co_return Ok();
               }),
               "Semaphore::Acquire: this wait has been awaited before");
}

TEST_F(SemaphoreDeathTest, ReleasedTwice) {
  EXPECT_DEATH(
      {
        Semaphore semaphore(1);
        auto permit = semaphore.TryAcquire();
        std::move(*permit).Release();
        std::move(*permit).Release();
      },
      "SemaphorePermit: consumed twice");
}

TEST_F(SemaphoreDeathTest, FormsForThreadsInATask) {
  EXPECT_DEATH(RunOnce([](Cx) -> Task<void> {
                 Semaphore semaphore(1);
                 (void)semaphore.BlockingAcquire();
                 co_return Ok();
               }),
               "Semaphore::BlockingAcquire was called in a task");
  EXPECT_DEATH(RunOnce([](Cx) -> Task<void> {
                 Semaphore semaphore(1);
                 (void)semaphore.TryAcquire();
                 co_return Ok();
               }),
               "Semaphore::TryAcquire\\(1\\) at .*: a task's permit is owed by a region. Use "
               "TryAcquire\\(cx, 1\\)");
}

}  // namespace
}  // namespace quiesce

#include "quiesce/runtime/sync/mutex.h"

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

class MutexTest : public rules::WorkersTest {};
INSTANTIATE_TEST_SUITE_P(Workers, MutexTest, ::testing::Values(1, 2));

// ---- locking ----------------------------------------------------------------------------------------

struct Cache {
  bool Has(int key) const { return key == held_key; }
  void Put(int key, int value) { held_key = key, held_value = value; }
  int held_key = 0;
  int held_value = 0;
};
Task<int> Fetch(Cx cx, int key) {
  co_await OrReturn(Yield(cx));
  co_return key * 10;
}

TEST_P(MutexTest, ExampleOfTheHeader) {
  MutexOf<Cache> cache;
  std::atomic<int> fetched{0};
  Run([&](Cx cx) -> Task<void> {
    const auto get = [&](Cx cx, int key) -> Task<void> {
      auto locked = co_await OrReturn(cache.Lock(cx));
      if (!locked->Has(key)) {
        ++fetched;
        locked->Put(key, co_await OrReturn(Fetch(cx, key)));
      }
      std::move(locked).Unlock();
      co_return Ok();
    };
    for (int i = 0; i < 10; ++i) cx.Spawn("get", get, 7);
    co_return Ok();
  });
  EXPECT_EQ(fetched, 1);
  EXPECT_EQ((*cache.TryLock())->held_value, 70);
}

TEST_P(MutexTest, OneTaskAtATimeHoldsItAlsoOverSuspensions) {
  Mutex mutex;
  int inside = 0;
  int passed = 0;
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 20; ++i) {
      cx.Spawn("worker", [&](Cx cx) -> Task<void> {
        for (int k = 0; k < 50; ++k) {
          MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
          EXPECT_EQ(++inside, 1);
          if (k % 3 == 0) co_await OrReturn(Yield(cx));
          ++passed;
          EXPECT_EQ(--inside, 0);
        }
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_EQ(passed, 1000);
}

TEST_P(MutexTest, IsHandedOverInOrderAndNobodyComesInBetween) {
  Mutex mutex;
  Gate tried;
  std::vector<int> order;
  Run([&](Cx cx) -> Task<void> {
    std::optional<MutexGuard> guard(co_await OrReturn(mutex.Lock(cx)));
    for (int i = 0; i < 3; ++i) {
      cx.Spawn("waiter", [&, i](Cx cx) -> Task<void> {
        MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
        co_await OrReturn(Pass(cx, tried));
        order.push_back(i);
        co_return Ok();
      });
      co_await OrReturn(rt.UntilParked(cx, "Mutex::Lock", i + 1));
    }
    std::move(*guard).Unlock();
    EXPECT_FALSE(mutex.TryLock().has_value()) << "it is the first waiter's";
    tried.Open();
    guard.emplace(co_await OrReturn(mutex.Lock(cx)));
    order.push_back(3);
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
}

TEST_P(MutexTest, GuardUnlocksOnceWhereverItIsMovedInItsTask) {
  Mutex mutex, other;
  Run([&](Cx cx) -> Task<void> {
    MutexGuard first = co_await OrReturn(mutex.Lock(cx));
    MutexGuard second = std::move(first);
    EXPECT_FALSE(first.holds());  // NOLINT(bugprone-use-after-move)
    EXPECT_TRUE(second.holds());
    EXPECT_FALSE(mutex.TryLock().has_value()) << "also by its holder it only fails";
    second = co_await OrReturn(other.Lock(cx));
    EXPECT_TRUE(mutex.TryLock().has_value()) << "assigning unlocks what was held";
    EXPECT_FALSE(other.TryLock().has_value());
    std::move(second).Unlock();
    EXPECT_FALSE(second.holds());  // NOLINT(bugprone-use-after-move)
    EXPECT_TRUE(other.TryLock().has_value());
    co_return Ok();
  });
}

TEST_P(MutexTest, DetachedGuardIsUnlockedByAnyTaskOrThread) {
  Mutex mutex;
  Run([&](Cx cx) -> Task<void> {
    MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
    guard.Detach();
    auto other = cx.Spawn(
        "other",
        [](Cx, MutexGuard guard) -> Task<void> {
          std::move(guard).Unlock();
          co_return Ok();
        },
        std::move(guard));
    (void)co_await OrReturn(other.Join(cx));
    MutexGuard again = co_await OrReturn(mutex.Lock(cx));
    again.Detach();
    std::thread([moved = std::move(again)]() mutable { std::move(moved).Unlock(); }).join();
    EXPECT_TRUE(mutex.TryLock().has_value());
    co_return Ok();
  });
}

TEST_P(MutexTest, WhatOneHolderWroteTheNextReads) {
  MutexOf<std::vector<int>> numbers;
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 8; ++i) {
      cx.Spawn("append", [&, i](Cx cx) -> Task<void> {
        for (int k = 0; k < 100; ++k) {
          (co_await OrReturn(numbers.Lock(cx)))->push_back(i);
        }
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_EQ((*numbers.TryLock())->size(), 800u);
}

// After many locks in a row that were free the task lets others run. If it held the lock then, they would queue for
// it, and each lock after that would be a hand-over.
TEST(MutexConvoyTest, TaskThatLetsOthersGoFirstHoldsNothing) {
  TestRuntime rt(1);
  const Outcome<void> ended = rt.Run([](Cx cx) -> Task<void> {
    Mutex mutex;
    bool stop = false;
    int looks = 0;
    auto other = cx.Spawn("other", [&](Cx cx) -> Task<void> {
      while (!stop) {
        ++looks;
        EXPECT_TRUE(mutex.TryLock().has_value());
        co_await OrReturn(Yield(cx));
      }
      co_return Ok();
    });
    for (int i = 0; i < 2000; ++i) std::move(co_await OrReturn(mutex.Lock(cx))).Unlock();
    stop = true;
    (void)co_await OrReturn(other.Join(cx));
    EXPECT_GT(looks, 2) << "it never let others go first";
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// ---- cancel -----------------------------------------------------------------------------------------

TEST_P(MutexTest, CancelledWaiterLeavesTheOrderOfTheOthers) {
  Mutex mutex;
  std::vector<int> order;
  Run([&](Cx cx) -> Task<void> {
    MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
    std::vector<TaskHandle<void>> waiters;
    for (int i = 0; i < 4; ++i) {
      waiters.push_back(cx.Spawn("waiter", [&, i](Cx cx) -> Task<void> {
        MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
        order.push_back(i);
        co_return Ok();
      }));
      co_await OrReturn(rt.UntilParked(cx, "Mutex::Lock", i + 1));
    }
    waiters[0].Cancel();
    waiters[2].Cancel();
    const Outcome<void> first = co_await OrReturn(waiters[0].Join(cx));
    EXPECT_TRUE(first.is_cancelled()) << first.ToString();
    std::move(guard).Unlock();
    (void)co_await OrReturn(waiters[3].Join(cx));
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre(1, 3));
}

TEST(MutexCancelTest, OfAnUnlockAndACancelTheFirstDecides) {
  TestRuntime rt(1);
  for (const bool cancel_first : {true, false}) {
    const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
      Mutex mutex;
      MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
      Gate both_have_happened;
      auto waiter = cx.Spawn("waiter", [&](Cx cx) -> Task<void> {
        MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
        co_await OrReturn(Pass(cx.ForDrain(), both_have_happened));
        co_return Ok();
      });
      co_await OrReturn(rt.UntilParked(cx, "Mutex::Lock"));
      if (cancel_first) waiter.Cancel();
      std::move(guard).Unlock();
      EXPECT_EQ(mutex.TryLock().has_value(), cancel_first)
          << "handed over, unless cancelled before";
      if (!cancel_first) waiter.Cancel();
      both_have_happened.Open();
      const Outcome<void> got = co_await OrReturn(waiter.Join(cx));
      EXPECT_EQ(got.is_cancelled(), cancel_first) << got.ToString();
      EXPECT_TRUE(mutex.TryLock().has_value());
      co_return Ok();
    });
    EXPECT_TRUE(ended.ok()) << ended.ToString();
  }
}

TEST_P(MutexTest, CancelledTaskLocksNothingUnlessItDrains) {
  Mutex mutex;
  Run([&](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    EXPECT_TRUE((co_await mutex.Lock(cx)).is_cancelled());
    EXPECT_TRUE(mutex.TryLock().has_value());
    MutexGuard guard = co_await OrReturn(mutex.Lock(cx.ForDrain()));
    co_return Ok();
  });
}

TEST_P(MutexTest, ArmOfASelectThatLosesLocksNothing) {
  Mutex mutex;
  Run([&](Cx cx) -> Task<void> {
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
      co_await OrReturn(SleepUntil(cx, Instant::InfiniteFuture()));
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "Sleep"));
    auto lost = co_await OrReturn(Select(cx, mutex.Lock(cx), Sleep(cx, absl::Milliseconds(1))));
    EXPECT_EQ(lost.index(), 1u);
    holder.Cancel();
    (void)co_await OrReturn(holder.Join(cx));
    auto won = co_await OrReturn(Select(cx, Sleep(cx, absl::Hours(1)), mutex.Lock(cx)));
    EXPECT_EQ(won.index(), 1u);
    EXPECT_FALSE(mutex.TryLock().has_value());
    co_return Ok();
  });
  EXPECT_TRUE(mutex.TryLock().has_value());
}

// ---- threads ----------------------------------------------------------------------------------------

TEST(MutexThreadTest, ThreadsAndTasksShareOneQueue) {
  TestRuntime rt(2);
  MutexOf<int> counter(0);
  constexpr int kTimes = 2000;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < kTimes; ++k) {
        Outcome<MutexGuardOf<int>> locked = counter.BlockingLock();
        ASSERT_TRUE(locked.ok());
        ++**locked;
      }
    });
  }
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 4; ++i) {
      cx.Spawn("task", [&](Cx cx) -> Task<void> {
        for (int k = 0; k < kTimes; ++k) {
          auto locked = co_await OrReturn(counter.Lock(cx));
          const int before = *locked;
          if (k % 16 == 0) co_await OrReturn(Yield(cx));
          *locked = before + 1;
        }
        co_return Ok();
      });
    }
    co_return Ok();
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_EQ(**counter.TryLock(), 6 * kTimes);
}

TEST(MutexThreadTest, BlockingLockThatTimesOutLocksNothing) {
  Mutex mutex;
  std::optional<MutexGuard> guard = mutex.TryLock();
  ASSERT_TRUE(guard.has_value());
  std::thread([&] {
    EXPECT_FALSE(mutex.TryLock().has_value());
    const Outcome<MutexGuard> late = mutex.BlockingLock(absl::Milliseconds(1));
    ASSERT_TRUE(late.is_cancelled()) << late.ToString();
    EXPECT_EQ(late.cancel_reason().kind(), CancelKind::kDeadline);
  }).join();
  guard.reset();
  EXPECT_TRUE(mutex.BlockingLock().ok());
}

// ---- stress -----------------------------------------------------------------------------------------

// Random locks, several at once (in order), with waits that drain and are cancelled, by tasks and threads.
TEST(MutexStressTest, ManyTasksLockManyMutexesWhileRegionsAreCancelled) {
  TestRuntime rt(4);
  constexpr int kMutexes = 5;
  struct Guarded {
    Mutex mutex;
    int inside = 0;
  };
  std::vector<Guarded> all(kMutexes);
  std::atomic<int> locked{0};
  std::atomic<bool> stop{false};
  std::thread foreign([&] {
    for (uint32_t i = 0; !stop; ++i) {
      Outcome<MutexGuard> guard =
          all[i % kMutexes].mutex.BlockingLock(absl::Microseconds(i % 7 == 0 ? 1 : 100000));
      if (!guard.ok()) continue;
      EXPECT_EQ(++all[i % kMutexes].inside, 1);
      --all[i % kMutexes].inside;
    }
  });
  const auto worker = [&](Cx cx, uint32_t seed) -> Task<void> {
    const auto next = [&seed] { return (seed = seed * 1664525u + 1013904223u) >> 16; };
    while (true) {
      const bool drains = next() % 3 == 0;
      const Cx with = drains ? cx.ForDrain() : cx;
      const size_t low = next() % kMutexes;
      const size_t high = low + next() % (kMutexes - low);
      MutexGuard first = co_await OrReturn(all[low].mutex.Lock(with));
      EXPECT_EQ(++all[low].inside, 1);
      if (next() % 4 == 0) (void)co_await Yield(cx.ForDrain());
      std::optional<MutexGuard> second;
      if (high != low) {
        Outcome<MutexGuard> got = co_await all[high].mutex.Lock(with);
        if (got.ok()) {
          second.emplace(*std::move(got));
          EXPECT_EQ(++all[high].inside, 1);
          if (next() % 8 == 0) (void)co_await Yield(cx.ForDrain());
          --all[high].inside;
        }
      }
      ++locked;
      --all[low].inside;
      // A drain wait goes on while the task is cancelled: this ends the loop.
      co_await OrReturn(cx.TryCheckpoint());
    }
  };
  for (int round = 0; round < 60; ++round) {
    const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
      auto opener = cx.Spawn("opener", [&](Cx cx) -> Task<void> {
        auto body = [&](Cx cx) -> Task<void> {
          for (int i = 0; i < 16; ++i) {
            auto task = cx.Spawn("locker", worker, static_cast<uint32_t>(round * 100 + i));
            if (i % 4 == 0) {
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
      const int before = locked;
      while (locked < before + 200) (void)co_await Yield(cx);
      opener.Cancel();
      (void)co_await OrReturn(opener.Join(cx));
      co_return Ok();
    });
    ASSERT_TRUE(ended.ok()) << ended.ToString();
  }
  stop = true;
  foreign.join();
  for (Guarded& each : all) EXPECT_TRUE(each.mutex.TryLock().has_value());
}

// ---- bugs -------------------------------------------------------------------------------------------

using MutexDeathTest = rules::OneWorkerDeathTest;

TEST_F(MutexDeathTest, LockByItsHolderNamesBothPlaces) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 Mutex mutex;
                 auto task = cx.Spawn("saver", [&](Cx cx) -> Task<void> {
                   MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
                   MutexGuard again = co_await OrReturn(mutex.Lock(cx));
                   co_return Ok();
                 });
                 (void)co_await OrReturn(task.Join(cx));
                 co_return Ok();
               }),
               "Mutex::Lock at .*mutex_test.cc:[0-9]+ would wait for ever, since the lock is held "
               "by the same task: task 'saver' #[0-9]+ \\(spawned at .*\\), locked at "
               ".*mutex_test.cc:[0-9]+");
}

TEST_F(MutexDeathTest, BlockingLockByItsHolder) {
  EXPECT_DEATH(
      {
        Mutex mutex;
        auto guard = mutex.TryLock();
        (void)mutex.BlockingLock();
      },
      "would wait for ever, .* same task: a thread that is no task, locked at");
}

TEST_F(MutexDeathTest, UnlockedTwiceOrAfterAMove) {
  EXPECT_DEATH(
      {
        Mutex mutex;
        auto guard = mutex.TryLock();
        std::move(*guard).Unlock();
        std::move(*guard).Unlock();
      },
      "MutexGuard::Unlock: this guard holds no lock: it was unlocked before, or moved from");
  EXPECT_DEATH(
      {
        Mutex mutex;
        auto guard = mutex.TryLock();
        const MutexGuard moved = *std::move(guard);
        guard->Detach();
      },
      "MutexGuard::Detach: this guard holds no lock");
  EXPECT_DEATH(
      {
        MutexOf<int> number(1);
        auto guard = number.TryLock();
        std::move(*guard).Unlock();
        (void)**guard;
      },
      "the data of a lock: this guard holds no lock");
}

TEST_F(MutexDeathTest, UnlockedByAnotherTask) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 Mutex mutex;
                 std::optional<MutexGuard> guard(co_await OrReturn(mutex.Lock(cx)));
                 auto other = cx.Spawn("other", [&](Cx) -> Task<void> {
                   guard.reset();
                   co_return Ok();
                 });
                 (void)co_await OrReturn(other.Join(cx));
                 co_return Ok();
               }),
               "a Mutex was unlocked by task 'other' .*, but it is held by .*Detach the guard");
}

// The unlock passes over it, so it stands in line no more; but it has yet to leave.
TEST_F(MutexDeathTest, DestroyedBeforeACancelledWaitHasLeft) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 auto mutex = std::make_unique<Mutex>();
                 MutexGuard guard = co_await OrReturn(mutex->Lock(cx));
                 bool parking = false;
                 auto late = cx.Spawn("late", [&](Cx cx) -> Task<void> {
                   parking = true;
                   MutexGuard guard = co_await OrReturn(mutex->Lock(cx));
                   co_return Ok();
                 });
                 while (!parking) co_await OrReturn(Yield(cx));
                 late.Cancel();  // the only worker is ours
                 std::move(guard).Unlock();
                 mutex.reset();
                 co_return Ok();
               }),
               "a Mutex was destroyed before 1 of its waits, which the queue has let go, could "
               "return. Let every Lock return");
}

TEST_F(MutexDeathTest, DestroyedWhileItIsHeldNamesHolderAndWaiter) {
  EXPECT_DEATH(
      {
        auto mutex = std::make_unique<Mutex>();
        auto guard = mutex->TryLock();
        mutex.reset();
      },
      "a Mutex was destroyed while it is held by a thread that is no task, locked at "
      ".*mutex_test.cc:[0-9]+\\. Unlock it");
  EXPECT_DEATH(
      RunOnce([](Cx cx) -> Task<void> {
        auto mutex = std::make_unique<Mutex>();
        MutexGuard guard = co_await OrReturn(mutex->Lock(cx));
        bool parking = false;
        cx.Spawn("late", [&](Cx cx) -> Task<void> {
          parking = true;
          MutexGuard guard = co_await OrReturn(mutex->Lock(cx));
          co_return Ok();
        });
        while (!parking) co_await OrReturn(Yield(cx));
        mutex.reset();
        co_return Ok();
      }),
      "a Mutex was destroyed while it is held by task .*; 1 waits for it: task 'late' .*at "
      ".*mutex_test.cc");
}

TEST_F(MutexDeathTest, BlockingLockInATask) {
  EXPECT_DEATH(RunOnce([](Cx) -> Task<void> {
                 Mutex mutex;
                 (void)mutex.BlockingLock();
                 co_return Ok();
               }),
               "Mutex::BlockingLock was called in a task, whose worker it would block: use "
               "co_await OrReturn\\(mutex.Lock\\(cx\\)\\)");
}

}  // namespace
}  // namespace quiesce

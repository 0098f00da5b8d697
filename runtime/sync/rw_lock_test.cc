#include "quiesce/runtime/sync/rw_lock.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::TestRuntime;
using ::testing::ElementsAre;

class RwLockTest : public rules::WorkersTest {
 protected:
  // Each of these spawns a task that locks, notes `name` and unlocks after it was let go on, and returns once it waits.
  Task<TaskHandle<void>> SpawnReader(Cx cx, std::string name) {
    auto reader = cx.Spawn("reader", [this, name](Cx cx) -> Task<void> {
      ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
      Note(name);
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "RwLock::ReadLock", ++readers_));
    co_return reader;
  }
  Task<TaskHandle<void>> SpawnWriter(Cx cx, std::string name) {
    auto writer = cx.Spawn("writer", [this, name](Cx cx) -> Task<void> {
      WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
      Note(name);
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "RwLock::WriteLock", ++writers_));
    co_return writer;
  }
  void Note(std::string name) {
    SpinLockHolder hold(order_lock_);
    order.push_back(std::move(name));
  }
  bool IsFree() { return lock.TryWriteLock().has_value(); }

  RwLock lock;
  std::vector<std::string> order;

 private:
  SpinLock order_lock_;
  int readers_ = 0;
  int writers_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Workers, RwLockTest, ::testing::Values(1, 2));

// ---- locking ----------------------------------------------------------------------------------------

TEST_P(RwLockTest, ReadersShareItAndAWriterHasItAlone) {
  std::atomic<int> reading{0};
  std::atomic<bool> writing{false}, together{false};
  int written = 0;
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 12; ++i) {
      cx.Spawn("reader", [&](Cx cx) -> Task<void> {
        for (int k = 0; k < 30; ++k) {
          ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
          if (++reading > 1) together = true;
          EXPECT_FALSE(writing);
          co_await OrReturn(Yield(cx));
          --reading;
        }
        co_return Ok();
      });
    }
    for (int i = 0; i < 3; ++i) {
      cx.Spawn("writer", [&](Cx cx) -> Task<void> {
        for (int k = 0; k < 30; ++k) {
          WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
          EXPECT_FALSE(writing.exchange(true));
          EXPECT_EQ(reading, 0);
          ++written;
          co_await OrReturn(Yield(cx));
          writing = false;
        }
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_EQ(written, 90);
  EXPECT_TRUE(together);
  EXPECT_TRUE(IsFree());
}

TEST_P(RwLockTest, DataIsConstToReaders) {
  RwLockOf<std::vector<int>> numbers;
  Run([&](Cx cx) -> Task<void> {
    auto write = co_await OrReturn(numbers.WriteLock(cx));
    write->push_back(7);
    std::move(write).Unlock();
    auto read = co_await OrReturn(numbers.ReadLock(cx));
    static_assert(std::is_same_v<decltype(*read), const std::vector<int>&>);
    EXPECT_EQ(read->at(0), 7);
    EXPECT_TRUE(numbers.TryReadLock().has_value());
    EXPECT_FALSE(numbers.TryWriteLock().has_value());
    co_return Ok();
  });
}

// ---- order ------------------------------------------------------------------------------------------

TEST_P(RwLockTest, WriterThatWaitsKeepsNewReadersOutAndGoesFirst) {
  Run([&](Cx cx) -> Task<void> {
    std::optional<ReadGuard> read(co_await OrReturn(lock.ReadLock(cx)));
    std::optional<ReadGuard> too(lock.TryReadLock());
    EXPECT_TRUE(too.has_value());
    co_await OrReturn(SpawnWriter(cx, "writer"));
    EXPECT_FALSE(lock.TryReadLock().has_value());
    co_await OrReturn(SpawnReader(cx, "reader"));
    read.reset();
    EXPECT_TRUE(order.empty()) << "one still reads";
    too.reset();
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("writer", "reader"));
}

TEST_P(RwLockTest, AfterAWriterAllReadersThatWaitGoBeforeTheNextWriter) {
  Run([&](Cx cx) -> Task<void> {
    std::optional<WriteGuard> write(co_await OrReturn(lock.WriteLock(cx)));
    co_await OrReturn(SpawnReader(cx, "reader"));
    co_await OrReturn(SpawnWriter(cx, "writer one"));
    co_await OrReturn(SpawnReader(cx, "reader"));
    co_await OrReturn(SpawnWriter(cx, "writer two"));
    co_await OrReturn(SpawnReader(cx, "reader"));
    write.reset();
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("reader", "reader", "reader", "writer one", "writer two"));
}

TEST_P(RwLockTest, ReadersThatComeWhileAWriterWaitsGoAfterThatOneOnly) {
  Run([&](Cx cx) -> Task<void> {
    std::optional<ReadGuard> read(co_await OrReturn(lock.ReadLock(cx)));
    co_await OrReturn(SpawnWriter(cx, "writer one"));
    co_await OrReturn(SpawnWriter(cx, "writer two"));
    co_await OrReturn(SpawnReader(cx, "reader"));
    read.reset();
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("writer one", "reader", "writer two"));
}

// ---- cancel -----------------------------------------------------------------------------------------

TEST_P(RwLockTest, WriterThatLeavesLetsTheReadersInThatItKeptOut) {
  Run([&](Cx cx) -> Task<void> {
    std::optional<ReadGuard> read(co_await OrReturn(lock.ReadLock(cx)));
    auto first = co_await OrReturn(SpawnWriter(cx, "writer one"));
    auto second = co_await OrReturn(SpawnWriter(cx, "writer two"));
    auto reader = co_await OrReturn(SpawnReader(cx, "reader"));
    first.Cancel();
    const Outcome<void> gone = co_await OrReturn(first.Join(cx));
    EXPECT_TRUE(gone.is_cancelled());
    EXPECT_FALSE(lock.TryReadLock().has_value()) << "another writer waits";
    second.Cancel();
    (void)co_await OrReturn(reader.Join(cx));
    EXPECT_TRUE(lock.TryReadLock().has_value());
    read.reset();
    co_return Ok();
  });
  EXPECT_THAT(order, ElementsAre("reader"));
  EXPECT_TRUE(IsFree());
}

// With one worker the writers only run when everything has happened.
TEST(RwLockCancelTest, WritersThatAreCancelledWhenTheirTurnComesLetTheReadersIn) {
  TestRuntime rt(1);
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    RwLock lock;
    std::optional<ReadGuard> read(co_await OrReturn(lock.ReadLock(cx)));
    int parking = 0;
    bool was_read = false;
    auto writer = cx.Spawn("writer", [&](Cx cx) -> Task<void> {
      ++parking;
      WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
      co_return Ok();
    });
    while (parking < 1) co_await OrReturn(Yield(cx));
    auto reader = cx.Spawn("reader", [&](Cx cx) -> Task<void> {
      ++parking;
      ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
      was_read = true;
      co_return Ok();
    });
    while (parking < 2) co_await OrReturn(Yield(cx));
    writer.Cancel();
    read.reset();  // would be the writer's
    (void)co_await OrReturn(reader.Join(cx));
    EXPECT_TRUE(was_read);
    (void)co_await OrReturn(writer.Join(cx));
    EXPECT_TRUE(lock.TryWriteLock().has_value());
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST_P(RwLockTest, GuardsAreMovedUnlockedAndDetached) {
  Run([&](Cx cx) -> Task<void> {
    ReadGuard read = co_await OrReturn(lock.ReadLock(cx));
    ReadGuard moved = std::move(read);
    EXPECT_FALSE(read.holds());  // NOLINT(bugprone-use-after-move)
    std::move(moved).Unlock();
    EXPECT_TRUE(IsFree());
    WriteGuard write = co_await OrReturn(lock.WriteLock(cx));
    RwLock other;
    write = co_await OrReturn(other.WriteLock(cx));
    EXPECT_TRUE(IsFree()) << "assigning unlocks what was held";
    write.Detach();
    auto task = cx.Spawn(
        "other",
        [](Cx, WriteGuard guard) -> Task<void> {
          std::move(guard).Unlock();
          co_return Ok();
        },
        std::move(write));
    (void)co_await OrReturn(task.Join(cx));
    EXPECT_TRUE(other.TryReadLock().has_value());
    co_return Ok();
  });
}

// ---- threads and stress -----------------------------------------------------------------------------

TEST(RwLockStressTest, ThreadsAndTasksReadAndWriteWhileWaitersAreCancelled) {
  TestRuntime rt(3);
  struct Pair {
    int64_t a = 0;
    int64_t b = 0;
  };
  RwLockOf<Pair> pair;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (int i = 0; !stop; ++i) {
      auto write = pair.BlockingWriteLock(i % 5 == 0 ? absl::Microseconds(1) : absl::Seconds(100));
      if (!write.ok()) continue;
      ++(*write)->a;
      ++(*write)->b;
    }
  });
  threads.emplace_back([&] {
    for (int i = 0; !stop; ++i) {
      auto read = pair.BlockingReadLock(i % 5 == 0 ? absl::Microseconds(1) : absl::Seconds(100));
      if (!read.ok()) continue;
      EXPECT_EQ((*read)->a, (*read)->b);
    }
  });
  for (int round = 0; round < 30; ++round) {
    const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        for (int i = 0; i < 20; ++i) {
          auto task = cx.Spawn("locker", [&, i](Cx cx) -> Task<void> {
            for (int k = 0; k < 40; ++k) {
              const Cx with = k % 3 == 0 ? cx.ForDrain() : cx;
              if ((i + k) % 4 == 0) {
                auto write = co_await OrReturn(pair.WriteLock(with));
                ++write->a;
                if (k % 2 == 0) (void)co_await Yield(cx.ForDrain());
                ++write->b;
              } else {
                auto read = co_await OrReturn(pair.ReadLock(with));
                EXPECT_EQ(read->a, read->b);
                if (k % 2 == 0) (void)co_await Yield(cx.ForDrain());
                EXPECT_EQ(read->a, read->b);
              }
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
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  auto last = pair.TryWriteLock();
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ((*last)->a, (*last)->b);
}

// ---- bugs -------------------------------------------------------------------------------------------

using RwLockDeathTest = rules::OneWorkerDeathTest;

TEST_F(RwLockDeathTest, WriterThatLocksAgain) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 RwLock lock;
                 WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
                 WriteGuard again = co_await OrReturn(lock.WriteLock(cx));
                 co_return Ok();
               }),
               "RwLock::WriteLock at .*rw_lock_test.cc:[0-9]+ would wait for ever, since the lock "
               "is held by the same task: .*, locked at .*rw_lock_test.cc:[0-9]+");
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 RwLock lock;
                 WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
                 ReadGuard again = co_await OrReturn(lock.ReadLock(cx));
                 co_return Ok();
               }),
               "RwLock::ReadLock at .* would wait for ever, since the lock is held by the same");
}

TEST_F(RwLockDeathTest, ReaderThatWaitsForItself) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 RwLock lock;
                 ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
                 WriteGuard write = co_await OrReturn(lock.WriteLock(cx));
                 co_return Ok();
               }),
               "RwLock::WriteLock at .*rw_lock_test.cc:[0-9]+ would wait for ever: task .* reads "
               "the same lock, locked at .*rw_lock_test.cc:[0-9]+");
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 RwLock lock;
                 ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
                 bool parking = false;
                 cx.Spawn("writer", [&](Cx cx) -> Task<void> {
                   parking = true;
                   WriteGuard write = co_await OrReturn(lock.WriteLock(cx));
                   co_return Ok();
                 });
                 while (!parking) co_await OrReturn(Yield(cx));
                 ReadGuard again = co_await OrReturn(lock.ReadLock(cx));
                 co_return Ok();
               }),
               "RwLock::ReadLock at .* would wait for ever: task .* reads the same lock");
}

TEST_F(RwLockDeathTest, GuardThatHoldsNothing) {
  EXPECT_DEATH(
      {
        RwLock lock;
        auto guard = lock.TryReadLock();
        std::move(*guard).Unlock();
        std::move(*guard).Unlock();
      },
      "ReadGuard::Unlock: this guard holds no lock");
  EXPECT_DEATH(
      {
        RwLock lock;
        auto guard = lock.TryWriteLock();
        std::move(*guard).Unlock();
        guard->Detach();
      },
      "WriteGuard::Detach: this guard holds no lock");
}

// The unlock passes over it, so it stands in line no more; but it has yet to leave.
TEST_F(RwLockDeathTest, DestroyedBeforeACancelledWaitHasLeft) {
  for (const bool writes : {false, true}) {
    EXPECT_DEATH(
        RunOnce([&](Cx cx) -> Task<void> {
          auto lock = std::make_unique<RwLock>();
          WriteGuard guard = co_await OrReturn(lock->WriteLock(cx));
          bool parking = false;
          auto late = cx.Spawn("late", [&](Cx cx) -> Task<void> {
            parking = true;
            if (writes) {
              WriteGuard guard = co_await OrReturn(lock->WriteLock(cx));
            } else {
              ReadGuard guard = co_await OrReturn(lock->ReadLock(cx));
            }
            co_return Ok();
          });
          while (!parking) co_await OrReturn(Yield(cx));
          late.Cancel();  // the only worker is ours
          std::move(guard).Unlock();
          lock.reset();
          co_return Ok();
        }),
        writes ? "an RwLock was destroyed before 1 of its waits, .*Let every WriteLock return"
               : "an RwLock was destroyed before 1 of its waits, .*Let every ReadLock return");
  }
}

TEST_F(RwLockDeathTest, DestroyedWhileItIsLocked) {
  EXPECT_DEATH(
      {
        auto lock = std::make_unique<RwLock>();
        auto guard = lock->TryReadLock();
        auto too = lock->TryReadLock();
        lock.reset();
      },
      // Who reads is only kept where debug checks are on.
      DebugChecks() ? "an RwLock was destroyed while 2 read it, locked at "
                      ".*rw_lock_test.cc:[0-9]+\\. Unlock it"
                    : "an RwLock was destroyed while 2 read it\\. Unlock it");
  EXPECT_DEATH(
      {
        auto lock = std::make_unique<RwLock>();
        auto guard = lock->TryWriteLock();
        lock.reset();
      },
      "an RwLock was destroyed while it is written by a thread that is no task, locked at");
}

}  // namespace
}  // namespace quiesce

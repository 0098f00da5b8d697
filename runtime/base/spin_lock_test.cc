#include "quiesce/runtime/base/spin_lock.h"

#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace quiesce {
namespace {

static_assert(sizeof(SpinLock) == 1);

// Analysis is off where a test looks at a lock from the outside.
TEST(SpinLockTest, TryLockFailsWhileHeld) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  SpinLock lock;
  ASSERT_TRUE(lock.TryLock());
  EXPECT_FALSE(lock.TryLock());
  lock.Unlock();
  ASSERT_TRUE(lock.TryLock());
  lock.Unlock();
}

TEST(SpinLockTest, TheHolderUnlocksAtTheEndOfItsScope) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  SpinLock lock;
  {
    SpinLockHolder holder(lock);
    EXPECT_FALSE(lock.TryLock());
  }
  ASSERT_TRUE(lock.TryLock());
  lock.Unlock();
}

TEST(SpinLockTest, OneThreadAtATimeAndEachSeesWhatTheLastWrote) {
  // More threads than processors, so that some lose theirs while they hold the lock.
  constexpr int kThreads = 6;
  constexpr int kEach = 5'000;
  SpinLock lock;
  int64_t plain_counter = 0;
  int inside = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        SpinLockHolder holder(lock);
        ASSERT_EQ(++inside, 1);
        const int64_t seen = plain_counter;
        if (i % 1024 == 0) sched_yield();
        plain_counter = seen + 1;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(plain_counter, kThreads * kEach);
}

TEST(SpinLockTest, TryLockIsExclusiveToo) {
  SpinLock lock;
  int64_t plain_counter = 0;
  std::atomic<int64_t> taken{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        if (lock.TryLock()) {
          ++plain_counter;
          lock.Unlock();
          taken.fetch_add(1, std::memory_order_relaxed);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(plain_counter, taken.load());
  EXPECT_GT(plain_counter, 0);
}

TEST(SpinLockTest, AWaiterGetsTheLockOnceItIsFree) {
  SpinLock lock;
  std::atomic<bool> got_it{false};
  lock.Lock();
  std::thread waiter([&] {
    SpinLockHolder holder(lock);
    got_it = true;
  });
  for (int i = 0; i < 200; ++i) sched_yield();  // past the waiter's short spin
  EXPECT_FALSE(got_it);
  lock.Unlock();
  waiter.join();
  EXPECT_TRUE(got_it);
}

}  // namespace
}  // namespace quiesce

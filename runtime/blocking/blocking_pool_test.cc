#include "quiesce/runtime/blocking/blocking_pool.h"

#include <pthread.h>

#include <atomic>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace quiesce {
namespace {

// A job that says where it was called.
struct RecordingJob : BlockingJob {
  RecordingJob() : BlockingJob(&Run, &Finished) {}
  static void Run(BlockingJob* job) {
    auto* self = static_cast<RecordingJob*>(job);
    self->thread = std::this_thread::get_id();
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    self->thread_name = name;
    self->began = true;
    while (self->held) std::this_thread::yield();
  }
  static void Finished(BlockingJob* job) { static_cast<RecordingJob*>(job)->finished = true; }
  void AwaitEnd() {
    while (!finished) std::this_thread::yield();
  }

  std::thread::id thread;
  std::string thread_name;
  std::atomic<bool> began{false};
  std::atomic<bool> held{false};
  std::atomic<bool> finished{false};
};

void AwaitIdle(const BlockingPool& pool, uint32_t idle) {
  while (pool.load().idle != idle) std::this_thread::yield();
}

TEST(BlockingPoolTest, ThreadsAreMadeOnDemandAndTheLastIdleOneIsUsedAgain) {
  BlockingPool pool(BlockingPoolOptions().WithMaxThreads(8));
  EXPECT_EQ(pool.load().threads, 0u);
  RecordingJob first, second;
  first.held = second.held = true;
  ASSERT_TRUE(pool.TryStart(&first).value());
  ASSERT_TRUE(pool.TryStart(&second).value());
  EXPECT_EQ(pool.load().threads, 2u);
  first.held = false;
  first.AwaitEnd();
  AwaitIdle(pool, 1);
  second.held = false;
  second.AwaitEnd();
  AwaitIdle(pool, 2);
  EXPECT_NE(first.thread, second.thread);
  EXPECT_EQ(second.thread_name, "quiesce-block");
  for (int i = 0; i < 10; ++i) {
    RecordingJob next;
    ASSERT_TRUE(pool.TryStart(&next).value());
    next.AwaitEnd();
    AwaitIdle(pool, 2);
    EXPECT_EQ(next.thread, second.thread);
  }
  EXPECT_EQ(pool.load().threads, 2u);
}

TEST(BlockingPoolTest, AFullPoolRefusesToStart) {
  BlockingPool pool(BlockingPoolOptions().WithMaxThreads(1));
  RecordingJob first, second;
  first.held = true;
  ASSERT_TRUE(pool.TryStart(&first).value());
  EXPECT_FALSE(pool.TryStart(&second).value());
  first.held = false;
  first.AwaitEnd();
  AwaitIdle(pool, 1);
  EXPECT_TRUE(pool.TryStart(&second).value());
  second.AwaitEnd();
  EXPECT_EQ(second.thread, first.thread);
}

TEST(BlockingPoolTest, IdleThreadsEndAfterTheTimeout) {
  BlockingPool pool(BlockingPoolOptions().WithMaxThreads(4).WithIdleTimeout(absl::Milliseconds(1)));
  for (int round = 0; round < 5; ++round) {
    RecordingJob jobs[4];
    for (RecordingJob& job : jobs) job.held = true;
    for (RecordingJob& job : jobs) ASSERT_TRUE(pool.TryStart(&job).value());
    EXPECT_EQ(pool.load().threads, 4u);
    for (RecordingJob& job : jobs) job.held = false;
    for (RecordingJob& job : jobs) job.AwaitEnd();
    while (pool.load().threads != 0) std::this_thread::yield();
    EXPECT_EQ(pool.load().idle, 0u);
  }
}

// The owner goes on as soon as `finish` has told it to, while the thread is still in there.
TEST(BlockingPoolTest, ThePoolMayBeDestroyedAsSoonAsItsJobsHaveEnded) {
  struct Job : BlockingJob {
    Job() : BlockingJob([](BlockingJob*) {}, &Finished) {}
    static void Finished(BlockingJob* job) {
      auto* self = static_cast<Job*>(job);
      self->finished = true;
      while (!self->destroying) std::this_thread::yield();
      for (int i = 0; i < 100; ++i) std::this_thread::yield();
      self->returned = true;
    }
    std::atomic<bool> finished{false}, destroying{false}, returned{false};
  };
  Job jobs[3];
  {
    // Its threads would be idle for ever.
    BlockingPool pool(BlockingPoolOptions().WithIdleTimeout(absl::InfiniteDuration()));
    for (Job& job : jobs) ASSERT_TRUE(pool.TryStart(&job).value());
    for (Job& job : jobs) {
      while (!job.finished) std::this_thread::yield();
    }
    for (Job& job : jobs) job.destroying = true;
  }
  for (Job& job : jobs) EXPECT_TRUE(job.returned);
}

TEST(BlockingPoolTest, WithoutThreadsAJobIsCalledByItsStarter) {
  BlockingPool pool(BlockingPoolOptions().WithMaxThreads(0));
  RecordingJob job;
  ASSERT_TRUE(pool.TryStart(&job).value());
  EXPECT_TRUE(job.finished);
  EXPECT_EQ(job.thread, std::this_thread::get_id());
  EXPECT_EQ(pool.load().threads, 0u);
}

TEST(BlockingPoolDeathTest, DestroyingAPoolWithARunningJobIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        RecordingJob job;
        job.held = true;
        BlockingPool pool;
        (void)pool.TryStart(&job);
        while (!job.began) std::this_thread::yield();
      },
      "a BlockingPool was destroyed while a job");
}

}  // namespace
}  // namespace quiesce

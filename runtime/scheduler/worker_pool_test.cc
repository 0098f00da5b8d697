#include "quiesce/runtime/scheduler/worker_pool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/reactor/io_backend.h"

namespace quiesce {
namespace {

constexpr Instant kNever = Instant::InfiniteFuture();

std::unique_ptr<WorkerPool> StartPool(uint32_t workers, IoBackend io = IoBackend::kEpoll) {
  WorkerPoolOptions options;
  options.workers = workers;
  options.io = io;
  options.name = "test";
  auto pool = WorkerPool::Create(options);
  EXPECT_TRUE(pool.ok()) << pool.status();
  EXPECT_TRUE((*pool)->Start().ok());
  return *std::move(pool);
}

// Something that happens a number of times, and can be waited for. May be destroyed by who waited.
class Count {
 public:
  void Add() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++value_;
    changed_.notify_all();
  }
  void WaitFor(int target) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return value_ >= target; });
  }
  int value() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return value_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int value_ = 0;
};

// A step that is a function.
struct Call : Runnable {
  explicit Call(std::function<void()> function) : Runnable(&Run), function(std::move(function)) {}
  static void Run(Runnable* runnable) {
    // A copy: the step may free or post the Call.
    const std::function<void()> function = static_cast<Call*>(runnable)->function;
    function();
  }
  std::function<void()> function;
};

void Post(WorkerPool& pool, Runnable* runnable, Lane lane = Lane::kReady,
          Place place = Place::kBack, Instant deadline = kNever) {
  pool.Post(runnable, lane, place, deadline);
}

// Runs `function` as a step of `pool` and waits until it has ended.
void RunOn(WorkerPool& pool, std::function<void()> function) {
  Count done;
  Call call([&] {
    function();
    done.Add();
  });
  Post(pool, &call);
  done.WaitFor(1);
}

void WaitUntilParked(WorkerPool& pool) {
  for (uint32_t worker = 0; worker < pool.worker_count(); ++worker) {
    while (pool.Snapshot(worker).parks == 0) std::this_thread::yield();
  }
}

struct TestTimer : Timer {
  TestTimer() : Timer(&Fired) {}
  static void Fired(Timer* timer) { static_cast<TestTimer*>(timer)->fired.Add(); }
  Count fired;
};

struct TestSource : IoSource {
  explicit TestSource(int fd) : IoSource(fd, &Notified) {}
  static void Notified(IoSource* source, uint32_t io_events) {
    if ((io_events & kReadable) != 0) static_cast<TestSource*>(source)->readable.Add();
  }
  Count readable;
};

class WorkerPoolTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, WorkerPoolTest, ::testing::Values(1, 2, 4));

TEST_P(WorkerPoolTest, RunsEachPostOnceOnAWorker) {
  auto pool = StartPool(GetParam());
  EXPECT_EQ(pool->worker_count(), GetParam());
  EXPECT_EQ(pool->current_worker(), Scheduler::kNoWorker);
  Count ran;
  std::deque<Call> calls;
  for (int i = 0; i < 1000; ++i) {
    calls.emplace_back([&] {
      EXPECT_LT(pool->current_worker(), GetParam());
      ran.Add();
    });
  }
  constexpr Lane kLanes[] = {Lane::kCancel, Lane::kTimed, Lane::kReady};
  for (int i = 0; i < 1000; ++i) Post(*pool, &calls[i], kLanes[i % 3], Place::kBack, Instant());
  ran.WaitFor(1000);
  pool->Stop();
  EXPECT_EQ(ran.value(), 1000);
}

TEST(WorkerPoolTest, PostsBeforeStartRunAfterIt) {
  auto pool = WorkerPool::Create({});
  ASSERT_TRUE(pool.ok());
  EXPECT_GE((*pool)->worker_count(), 1u);
  Count ran;
  Call call([&] { ran.Add(); });
  Post(**pool, &call);
  ASSERT_TRUE((*pool)->Start().ok());
  ran.WaitFor(1);
}

TEST(WorkerPoolTest, LanesGoByUrgencyAndTheTimedOneByDeadline) {
  auto pool = StartPool(1);
  std::string order;
  Count ran;
  std::deque<Call> calls;
  const auto post = [&](char name, Lane lane, Place place, int64_t deadline) {
    calls.emplace_back([&, name] {
      order += name;
      ran.Add();
    });
    Post(*pool, &calls.back(), lane, place, Instant::FromNanos(deadline));
  };
  RunOn(*pool, [&] {
    post('f', Lane::kReady, Place::kBack, 0);
    post('g', Lane::kReady, Place::kBack, 0);
    post('e', Lane::kReady, Place::kNext, 0);
    post('d', Lane::kTimed, Place::kBack, 20);
    post('c', Lane::kTimed, Place::kBack, 10);
    post('a', Lane::kCancel, Place::kBack, 0);
    post('b', Lane::kCancel, Place::kBack, 0);
  });
  ran.WaitFor(7);
  EXPECT_EQ(order, "abcdefg");
}

TEST(WorkerPoolTest, ThievesTakeCancelThenTimedThenReady) {
  auto pool = StartPool(2);
  WaitUntilParked(*pool);
  std::string order;
  Count ran;
  std::deque<Call> calls;
  RunOn(*pool, [&] {
    const uint32_t here = pool->current_worker();
    const auto post = [&](char name, Lane lane) {
      calls.emplace_back([&, name, here] {
        EXPECT_NE(pool->current_worker(), here);
        order += name;
        ran.Add();
      });
      Post(*pool, &calls.back(), lane, Place::kBack, Instant());
    };
    calls.emplace_back([&] { ran.WaitFor(3); });  // keeps this worker busy
    Post(*pool, &calls.back(), Lane::kCancel);
    post('r', Lane::kReady);
    post('t', Lane::kTimed);
    post('c', Lane::kCancel);
  });
  ran.WaitFor(3);
  pool->Stop();
  EXPECT_EQ(order, "ctr");
}

// As many steps as workers meet each other: each needs a worker of its own, so one left waiting beside
// an idle worker would hang the test.
class Meeting {
 public:
  explicit Meeting(int size) : size_(size) {
    for (int i = 0; i < size; ++i) {
      calls_.emplace_back([this] {
        here_.Add();
        here_.WaitFor(size_);
        done_.Add();
      });
    }
  }
  Runnable* at(int i) { return &calls_[i]; }
  int size() const { return size_; }
  RunnableQueue Batch() {
    RunnableQueue batch;
    for (Call& call : calls_) batch.PushBack(&call);
    return batch;
  }
  void WaitUntilOver() { done_.WaitFor(size_); }

 private:
  const int size_;
  std::deque<Call> calls_;
  Count here_;
  Count done_;
};

TEST_P(WorkerPoolTest, WorkForAllWorkersReachesAllWorkers) {
  auto pool = StartPool(GetParam());
  const int size = static_cast<int>(GetParam());
  for (int round = 0; round < 50; ++round) {
    for (Lane lane : {Lane::kCancel, Lane::kTimed, Lane::kReady}) {
      for (Place place : {Place::kNext, Place::kBack}) {
        Meeting from_outside(size);
        for (int i = 0; i < size; ++i) Post(*pool, from_outside.at(i), lane, place, Instant());
        from_outside.WaitUntilOver();

        Meeting from_a_step(size);
        RunOn(*pool, [&] {
          for (int i = 0; i < size; ++i) Post(*pool, from_a_step.at(i), lane, place, Instant());
        });
        from_a_step.WaitUntilOver();
      }
      if (lane == Lane::kTimed) continue;
      Meeting batch_from_outside(size);
      pool->PostBatch(batch_from_outside.Batch(), lane);
      batch_from_outside.WaitUntilOver();

      Meeting batch_from_a_step(size);
      RunOn(*pool, [&] { pool->PostBatch(batch_from_a_step.Batch(), lane); });
      batch_from_a_step.WaitUntilOver();
    }
  }
}

TEST_P(WorkerPoolTest, WorkThatComesBitByBitReachesAllWorkers) {
  auto pool = StartPool(GetParam());
  for (int round = 0; round < 200; ++round) {
    Meeting meeting(static_cast<int>(GetParam()));
    // Each step posts the next one, and then waits for all.
    Count done;
    std::deque<Call> chain;
    for (int i = 0; i < meeting.size(); ++i) {
      chain.emplace_back([&, i] {
        if (i + 1 < meeting.size()) Post(*pool, &chain[i + 1], Lane::kReady, Place::kNext);
        Post(*pool, meeting.at(i));
        done.Add();
      });
    }
    Post(*pool, &chain[0]);
    meeting.WaitUntilOver();
    done.WaitFor(meeting.size());
  }
}

TEST(WorkerPoolTest, YieldingStepsShareOneWorkerFairly) {
  auto pool = StartPool(1);
  // Two that always want to be next, and one at the back.
  std::atomic<bool> stop{false};
  Count ended;
  std::deque<Call> greedy;
  for (int i = 0; i < 2; ++i) {
    greedy.emplace_back([&, i] {
      if (stop.load()) return ended.Add();
      Post(*pool, &greedy[i], Lane::kReady, Place::kNext);
    });
  }
  Call modest([&] {
    stop.store(true);
    ended.Add();
  });
  RunOn(*pool, [&] {
    for (Call& call : greedy) Post(*pool, &call, Lane::kReady, Place::kNext);
    Post(*pool, &modest);
  });
  ended.WaitFor(3);
}

// ---- timers ---------------------------------------------------------------------------------------

TEST(WorkerPoolTest, StepRunsInsideAnotherOnlyIfItIsNext) {
  auto pool = StartPool(1);
  WorkerPool* const scheduler = pool.get();
  const auto is = [](const Runnable* next, const void* wanted) { return next == wanted; };
  EXPECT_FALSE(scheduler->RunNextIf(is, nullptr)) << "a foreign thread has no step";
  std::string order;
  Count ran;
  Call second([&] {
    order += '2';
    ran.Add();
  });
  Call third([&] {
    order += '3';
    ran.Add();
  });
  Call urgent([&] {
    order += 'u';
    ran.Add();
  });
  RunOn(*pool, [&] {
    Post(*scheduler, &second);
    Post(*scheduler, &third);
    order += '1';
    EXPECT_FALSE(scheduler->RunNextIf(is, &third));
    EXPECT_TRUE(scheduler->RunNextIf(is, &second));
    EXPECT_EQ(order, "12");
    Post(*scheduler, &urgent, Lane::kCancel);
    EXPECT_FALSE(scheduler->RunNextIf(is, &third)) << "the cancel lane comes first";
    order += '1';
  });
  ran.WaitFor(3);
  EXPECT_EQ(order, "121u3");
  pool->Stop();
}

TEST(WorkerPoolTest, StepsInsideStepsAreBounded) {
  auto pool = StartPool(1);
  WorkerPool* const scheduler = pool.get();
  std::deque<Call> calls;
  Count ran;
  int depth = 0;
  int deepest = 0;
  for (int i = 0; i < 100; ++i) {
    calls.emplace_back([&] {
      deepest = std::max(deepest, ++depth);
      scheduler->RunNextIf([](const Runnable*, const void*) { return true; }, nullptr);
      --depth;
      ran.Add();
    });
  }
  RunOn(*pool, [&] {
    for (Call& call : calls) Post(*scheduler, &call);
  });
  ran.WaitFor(100);
  EXPECT_GT(deepest, 1);
  EXPECT_LT(deepest, 20);
  pool->Stop();
}

TEST(WorkerPoolTest, StepsInsideStepsDoNotKeepTheWorkerFromLookingAround) {
  auto pool = StartPool(1);
  WorkerPool* const scheduler = pool.get();
  const auto any = [](const Runnable*, const void*) { return true; };
  // A chain of ten steps, each inside the one before, that makes itself anew.
  std::atomic<bool> stop{false};
  Count ended;
  std::deque<Call> calls;
  for (int i = 0; i < 10; ++i) {
    calls.emplace_back([&, i] {
      while (scheduler->RunNextIf(any, nullptr)) {
      }
      if (stop) return ended.Add();
      Post(*scheduler, &calls[static_cast<size_t>(i)]);
    });
  }
  TestTimer timer;
  timer.when = pool->Now() + absl::Milliseconds(1);
  RunOn(*pool, [&] {
    for (Call& call : calls) Post(*scheduler, &call);
    scheduler->Arm(&timer);
  });
  timer.fired.WaitFor(1);
  stop = true;
  ended.WaitFor(10);
  pool->Stop();
}

TEST_P(WorkerPoolTest, TimerFiresAtItsInstantWhoeverArmsIt) {
  auto pool = StartPool(GetParam());
  for (int64_t delay : {int64_t{-1'000'000}, int64_t{0}, int64_t{1'000}, int64_t{3'000'000}}) {
    for (bool foreign : {true, false}) {
      TestTimer timer;
      timer.when = Instant::FromNanos(pool->Now().nanos() + delay);
      if (foreign) {
        pool->Arm(&timer);
      } else {
        RunOn(*pool, [&] { pool->Arm(&timer); });
      }
      timer.fired.WaitFor(1);
      EXPECT_GE(pool->Now(), timer.when);
      EXPECT_FALSE(pool->Disarm(&timer));
      EXPECT_EQ(timer.fired.value(), 1);
    }
  }
}

TEST_P(WorkerPoolTest, EarlierTimerShortensASleepForALaterOne) {
  auto pool = StartPool(GetParam());
  TestTimer late, early;
  late.when = Instant::FromNanos(pool->Now().nanos() + int64_t{3600} * 1'000'000'000);
  pool->Arm(&late);
  WaitUntilParked(*pool);
  early.when = Instant::FromNanos(pool->Now().nanos() + 1'000'000);
  pool->Arm(&early);
  early.fired.WaitFor(1);  // in an hour, if nobody was woken
  EXPECT_TRUE(pool->Disarm(&late));
  EXPECT_FALSE(pool->Disarm(&early));
}

TEST_P(WorkerPoolTest, TimersAreServedWhileEveryWorkerIsBusy) {
  auto pool = StartPool(GetParam());
  std::atomic<bool> stop{false};
  Count ended;
  std::deque<Call> busy;
  for (uint32_t i = 0; i < 2 * GetParam(); ++i) {
    busy.emplace_back([&, i] {
      if (stop.load(std::memory_order_relaxed)) return ended.Add();
      Post(*pool, &busy[i]);
    });
  }
  for (Call& call : busy) Post(*pool, &call);
  for (int i = 0; i < 20; ++i) {
    TestTimer timer;
    timer.when = Instant::FromNanos(pool->Now().nanos() + 100'000);
    pool->Arm(&timer);
    timer.fired.WaitFor(1);
    pool->Disarm(&timer);
  }
  stop.store(true);
  ended.WaitFor(static_cast<int>(busy.size()));
}

TEST(WorkerPoolTest, IdleWorkerServesTheTimerOfOneInALongStep) {
  auto pool = StartPool(2);
  for (int round = 0; round < 10; ++round) {
    RunOn(*pool, [&] {
      TestTimer timer;
      timer.when = Instant::FromNanos(pool->Now().nanos() + 500'000);
      pool->Arm(&timer);
      timer.fired.WaitFor(1);
      EXPECT_FALSE(pool->Disarm(&timer));
    });
    WaitUntilParked(*pool);
  }
}

TEST(WorkerPoolTest, InfiniteTimerNeverFiresAndDisarms) {
  auto pool = StartPool(1);
  TestTimer timer;
  EXPECT_FALSE(pool->Disarm(&timer));
  timer.when = Instant::InfiniteFuture();
  pool->Arm(&timer);
  EXPECT_TRUE(pool->Disarm(&timer));
  EXPECT_FALSE(pool->Disarm(&timer));
  EXPECT_EQ(timer.fired.value(), 0);
}

// Whoever wins, exactly one of them does; and after a Disarm the timer's memory may go.
TEST_P(WorkerPoolTest, TimerEitherFiresOrIsDisarmed) {
  auto pool = StartPool(GetParam());
  Count ended;
  std::deque<Call> calls;
  for (int i = 0; i < 4; ++i) {
    calls.emplace_back([&, delay = int64_t{0}]() mutable {
      auto timer = std::make_unique<TestTimer>();
      delay = (delay + 7919) % 20'000;
      timer->when = Instant::FromNanos(pool->Now().nanos() + delay);
      pool->Arm(timer.get());
      while (pool->Now().nanos() < timer->when.nanos() - 5'000) {
      }
      const bool disarmed = pool->Disarm(timer.get());
      EXPECT_EQ(timer->fired.value(), disarmed ? 0 : 1);
      timer.reset();
    });
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 1000; ++round) calls[i].function();
    });
  }
  std::deque<Call> loops;
  std::atomic<int> left{2000};
  for (int i = 0; i < 2; ++i) {
    loops.emplace_back([&, i] {
      calls[2 + i].function();
      if (left.fetch_sub(1) <= 0) return ended.Add();
      Post(*pool, &loops[i]);
    });
  }
  for (Call& loop : loops) Post(*pool, &loop);
  for (std::thread& thread : threads) thread.join();
  ended.WaitFor(2);
}

// ---- readiness ------------------------------------------------------------------------------------

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe2(fds_, O_NONBLOCK | O_CLOEXEC), 0); }
  ~Pipe() {
    close(fds_[0]);
    close(fds_[1]);
  }
  int reader() const { return fds_[0]; }
  void Write() { EXPECT_EQ(write(fds_[1], "x", 1), 1); }

 private:
  int fds_[2];
};

// The number of workers, and who tells that a descriptor is ready.
class WorkerPoolIoTest : public ::testing::TestWithParam<std::tuple<uint32_t, IoBackend>> {
 protected:
  uint32_t workers() const { return std::get<0>(GetParam()); }
  IoBackend io() const { return std::get<1>(GetParam()); }
  void SetUp() override {
    WorkerPoolOptions options;
    options.workers = 1;
    options.io = io();
    const absl::Status status = WorkerPool::Create(options).status();
    if (absl::IsUnavailable(status)) GTEST_SKIP() << status;
  }
};
INSTANTIATE_TEST_SUITE_P(, WorkerPoolIoTest,
                         ::testing::Combine(::testing::Values(1, 2, 4),
                                            ::testing::Values(IoBackend::kEpoll,
                                                              IoBackend::kIoUring)),
                         [](const auto& info) {
                           return std::to_string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) == IoBackend::kEpoll ? "Epoll"
                                                                                : "IoUring");
                         });

TEST_P(WorkerPoolIoTest, ReadinessIsReportedWhoeverAdds) {
  auto pool = StartPool(workers(), io());
  for (bool foreign : {true, false}) {
    Pipe pipe;
    TestSource source(pipe.reader());
    const auto add = [&] { EXPECT_TRUE(pool->Add(&source).ok()); };
    if (foreign) {
      add();
    } else {
      RunOn(*pool, add);
    }
    for (int i = 1; i <= 10; ++i) {
      pipe.Write();
      source.readable.WaitFor(i);
    }
    pool->Remove(&source);
  }
}

TEST_P(WorkerPoolIoTest, ReadinessIsServedWhileEveryWorkerIsBusy) {
  auto pool = StartPool(workers(), io());
  std::atomic<bool> stop{false};
  Count ended;
  std::deque<Call> busy;
  for (uint32_t i = 0; i < 2 * workers(); ++i) {
    busy.emplace_back([&, i] {
      if (stop.load(std::memory_order_relaxed)) return ended.Add();
      Post(*pool, &busy[i]);
    });
  }
  for (Call& call : busy) Post(*pool, &call);
  Pipe pipe;
  TestSource source(pipe.reader());
  ASSERT_TRUE(pool->Add(&source).ok());
  for (int i = 1; i <= 20; ++i) {
    pipe.Write();
    source.readable.WaitFor(i);
  }
  pool->Remove(&source);
  stop.store(true);
  ended.WaitFor(static_cast<int>(busy.size()));
}

TEST_P(WorkerPoolIoTest, IdleWorkerServesTheDescriptorsOfOneInALongStep) {
  if (workers() == 1) GTEST_SKIP() << "there is no idle one beside the one in a long step";
  auto pool = StartPool(workers(), io());
  for (int round = 0; round < 10; ++round) {
    RunOn(*pool, [&] {
      Pipe pipe;
      TestSource source(pipe.reader());
      ASSERT_TRUE(pool->Add(&source).ok());
      pipe.Write();
      source.readable.WaitFor(1);
      pool->Remove(&source);
    });
  }
}

TEST_P(WorkerPoolIoTest, DescriptorThatCannotBeWaitedForIsRefused) {
  auto pool = StartPool(workers(), io());
  TestSource source(-1);
  EXPECT_EQ(pool->Add(&source).code(), absl::StatusCode::kInvalidArgument);
}

// ---- idleness -------------------------------------------------------------------------------------

TEST_P(WorkerPoolIoTest, IdlePoolSleeps) {
  auto pool = StartPool(workers(), io());
  TestTimer far;  // a sleeping worker has a reason to wake, but not now
  far.when = Instant::FromNanos(pool->Now().nanos() + int64_t{3600} * 1'000'000'000);
  RunOn(*pool, [&] { pool->Arm(&far); });
  const auto parks = [&] {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < pool->worker_count(); ++i) sum += pool->Snapshot(i).parks;
    return sum;
  };
  const auto cpu = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
  };
  // The last watchers may look a few times more; then nobody moves.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const uint64_t parks_before = parks();
  const absl::Duration cpu_before = cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LE(parks() - parks_before, 1u);
  EXPECT_LT(cpu() - cpu_before, absl::Milliseconds(20));
  EXPECT_TRUE(pool->Disarm(&far));
}

TEST(WorkerPoolTest, HousekeepingHookRunsBeforeASleep) {
  std::atomic<int> idle{0};
  WorkerPoolOptions options;
  options.workers = 2;
  options.housekeeping = [](void* context) {
    static_cast<std::atomic<int>*>(context)->fetch_add(1);
  };
  options.housekeeping_context = &idle;
  auto pool = WorkerPool::Create(options);
  ASSERT_TRUE(pool.ok());
  ASSERT_TRUE((*pool)->Start().ok());
  WaitUntilParked(**pool);
  EXPECT_GE(idle.load(), 2);
}

// ---- several pools --------------------------------------------------------------------------------

TEST(WorkerPoolTest, WorkerOfOnePoolIsForeignToAnother) {
  auto first = StartPool(2);
  auto second = StartPool(2);
  RunOn(*first, [&] {
    EXPECT_NE(first->current_worker(), Scheduler::kNoWorker);
    EXPECT_EQ(second->current_worker(), Scheduler::kNoWorker);
    RunOn(*second, [&] {
      EXPECT_EQ(first->current_worker(), Scheduler::kNoWorker);
      EXPECT_NE(second->current_worker(), Scheduler::kNoWorker);
    });
  });
}

// ---- errors ---------------------------------------------------------------------------------------

TEST(WorkerPoolTest, CreateWithoutDescriptorsIsResourceExhausted) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(0);
  close(next);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(next) + 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  WorkerPoolOptions options;
  options.workers = 8;
  const auto pool = WorkerPool::Create(options);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kResourceExhausted) << pool.status();
}

TEST(WorkerPoolTest, TooManyWorkersAreRefused) {
  WorkerPoolOptions options;
  options.workers = WorkerPool::kMaxWorkers + 1;
  EXPECT_EQ(WorkerPool::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(WorkerPoolDeathTest, StopWithAnArmedTimerIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto pool = StartPool(1);
        TestTimer timer;
        timer.when = Instant::FromNanos(pool->Now().nanos() + int64_t{3600} * 1'000'000'000);
        pool->Arm(&timer);
        pool->Stop();
      },
      "worker pool 'test': stopped with 1 timers still armed on worker 0");
}

TEST(WorkerPoolDeathTest, ArmingTwiceIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto pool = StartPool(1);
        TestTimer timer;
        timer.when = Instant::FromNanos(pool->Now().nanos() + int64_t{3600} * 1'000'000'000);
        pool->Arm(&timer);
        pool->Arm(&timer);
      },
      "armed twice");
}

}  // namespace
}  // namespace quiesce

// Storms against a WorkerPool: many posters, thieves, sleepers and timers at once. A lost wake-up hangs a
// test; a lost or doubled step fails one; a race is for ThreadSanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/scheduler/runnable.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/scheduler/worker_pool.h"

namespace quiesce {
namespace {

std::unique_ptr<WorkerPool> StartPool(uint32_t workers) {
  WorkerPoolOptions options;
  options.workers = workers;
  auto pool = WorkerPool::Create(options);
  EXPECT_TRUE(pool.ok()) << pool.status();
  EXPECT_TRUE((*pool)->Start().ok());
  return *std::move(pool);
}

// A number that only grows, and that can be waited for.
class Count {
 public:
  void Add() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++value_;
    changed_.notify_all();
  }
  void WaitFor(int64_t target) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return value_ >= target; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t value_ = 0;
};

void Post(WorkerPool& pool, Runnable* runnable, uint32_t random) {
  pool.Post(runnable, static_cast<Lane>(random % 3), random % 2 == 0 ? Place::kNext : Place::kBack,
            Instant::FromNanos(random % 1000));
}

class WorkerPoolStressTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, WorkerPoolStressTest, ::testing::Values(1, 2, 5));

// A tree of steps in all lanes, planted by several foreign threads: each runs once and frees itself.
struct Tree {
  WorkerPool* pool;
  std::atomic<int64_t> live{0};
  std::atomic<int64_t> grown{0};
  Count* done;

  void Ended() {  // the tree may be gone after the last one
    if (live.fetch_sub(1) == 1) done->Add();
  }
};
struct Node : Runnable {
  Node(Tree* tree, int depth, uint32_t seed)
      : Runnable(&Grow), tree(tree), depth(depth), seed(seed) {
    tree->live.fetch_add(1);
  }
  static void Grow(Runnable* runnable) {
    std::unique_ptr<Node> node(static_cast<Node*>(runnable));
    std::minstd_rand random(node->seed);
    RunnableQueue batch;
    for (int i = 0; node->depth > 0 && i < 4; ++i) {
      Node* child = new Node(node->tree, node->depth - 1, static_cast<uint32_t>(random()));
      if (random() % 8 == 0) {
        batch.PushBack(child);
      } else if (random() % 8 == 0) {
        const uint32_t worker = static_cast<uint32_t>(random()) % node->tree->pool->worker_count();
        node->tree->pool->PostNear(worker, child);
      } else {
        Post(*node->tree->pool, child, static_cast<uint32_t>(random()));
      }
    }
    if (!batch.empty()) {
      node->tree->pool->PostBatch(std::move(batch),
                                  random() % 2 == 0 ? Lane::kCancel : Lane::kReady);
    }
    node->tree->grown.fetch_add(1);
    node->tree->Ended();
  }
  Tree* tree;
  int depth;
  uint32_t seed;
};

TEST_P(WorkerPoolStressTest, EachStepOfAStormRunsOnce) {
  auto pool = StartPool(GetParam());
  for (int round = 0; round < 10; ++round) {
    Count done;
    Tree tree{pool.get(), {}, {}, &done};
    std::vector<std::thread> planters;
    tree.live.fetch_add(1);  // not done before all have planted
    for (int i = 0; i < 3; ++i) {
      planters.emplace_back([&, i] {
        for (int j = 0; j < 10; ++j) {
          Post(*pool, new Node(&tree, 4, static_cast<uint32_t>(round * 100 + i * 10 + j + 1)),
               static_cast<uint32_t>(j));
        }
      });
    }
    for (std::thread& planter : planters) planter.join();
    tree.Ended();
    done.WaitFor(1);
    EXPECT_EQ(tree.grown.load(), 3 * 10 * (1 + 4 + 16 + 64 + 256));
  }
}

// One thing at a time, so that everybody falls asleep between: each hop needs a wake-up.
struct Ball : Runnable {
  explicit Ball(Count* over) : Runnable(&Hop), over(over) {}
  static void Hop(Runnable* runnable) {
    Ball* ball = static_cast<Ball*>(runnable);
    if (--ball->hops_left == 0) return ball->over->Add();
    ball->at = (ball->at + 1) % ball->pools.size();
    Post(*ball->pools[ball->at], ball, static_cast<uint32_t>(ball->hops_left));
  }
  std::vector<WorkerPool*> pools;
  size_t at = 0;
  int hops_left = 0;
  Count* over;
};

TEST_P(WorkerPoolStressTest, NoWakeUpIsLostBetweenPools) {
  auto first = StartPool(GetParam());
  auto second = StartPool(1);
  for (int balls_in_play : {1, 2, 3}) {
    Count over;
    std::deque<Ball> balls;
    for (int i = 0; i < balls_in_play; ++i) {
      Ball& ball = balls.emplace_back(&over);
      ball.pools = {first.get(), second.get()};
      ball.hops_left = 5'000;
    }
    for (Ball& ball : balls) Post(*first, &ball, 0);
    over.WaitFor(balls_in_play);
  }
}

TEST_P(WorkerPoolStressTest, NoWakeUpOfAForeignPostIsLost) {
  auto pool = StartPool(GetParam());
  std::vector<std::thread> posters;
  for (int i = 0; i < 2; ++i) {
    posters.emplace_back([&, i] {
      for (int round = 0; round < 5'000; ++round) {
        Count over;
        Ball ball(&over);
        ball.pools = {pool.get()};
        ball.hops_left = 1 + (round + i) % 3;
        Post(*pool, &ball, static_cast<uint32_t>(round));
        over.WaitFor(1);
      }
    });
  }
  for (std::thread& poster : posters) poster.join();
}

// Two steps meet, again and again: the second must reach an idle worker while the first is in its step.
TEST_P(WorkerPoolStressTest, NoStepWaitsBehindAnotherWhileAWorkerIsIdle) {
  if (GetParam() == 1) GTEST_SKIP() << "needs two workers";
  auto pool = StartPool(GetParam());
  struct Half : Runnable {
    explicit Half(std::atomic<int>* here, Count* over) : Runnable(&Meet), here(here), over(over) {}
    static void Meet(Runnable* runnable) {
      Half* half = static_cast<Half*>(runnable);
      half->here->fetch_add(1);
      while (half->here->load() < 2) std::this_thread::yield();
      half->over->Add();
    }
    std::atomic<int>* here;
    Count* over;
  };
  struct Both : Runnable {
    Both(WorkerPool* pool, Runnable* first, Runnable* second)
        : Runnable(&Start), pool(pool), first(first), second(second) {}
    static void Start(Runnable* runnable) {
      Both* both = static_cast<Both*>(runnable);
      WorkerPool* pool = both->pool;
      Runnable* second = both->second;
      pool->Post(both->first, Lane::kReady, Place::kNext, Instant());
      pool->Post(second, Lane::kReady, Place::kBack, Instant());
    }
    WorkerPool* pool;
    Runnable* first;
    Runnable* second;
  };
  for (int round = 0; round < 2'000; ++round) {
    std::atomic<int> here{0};
    Count over;
    Half first(&here, &over), second(&here, &over);
    Both both(pool.get(), &first, &second);
    pool->Post(&both, Lane::kReady, Place::kBack, Instant());
    over.WaitFor(2);
  }
}

// Sleepers in a saturated pool: each timer fires, though no worker is ever idle.
struct Sleeper : Runnable {
  explicit Sleeper(Count* over) : Runnable(&Run), timer(this), over(over) {}
  struct WakeUp : Timer {
    explicit WakeUp(Sleeper* sleeper) : Timer(&Fire), sleeper(sleeper) {}
    static void Fire(Timer* timer) {
      Sleeper* sleeper = static_cast<WakeUp*>(timer)->sleeper;
      Post(*sleeper->pool, sleeper, static_cast<uint32_t>(sleeper->naps_left));
    }
    Sleeper* sleeper;
  };
  static void Run(Runnable* runnable) {
    Sleeper* self = static_cast<Sleeper*>(runnable);
    // The timer has fired; `fire` may still be about to return on another worker.
    if (self->pool->Disarm(&self->timer)) self->broken = true;
    if (self->pool->Now() < self->timer.when) self->broken = true;
    if (--self->naps_left == 0) return self->over->Add();
    self->timer.when = Instant::FromNanos(self->pool->Now().nanos() + self->naps_left % 7 * 13'000);
    self->pool->Arm(&self->timer);
  }
  WorkerPool* pool = nullptr;
  WakeUp timer;
  int naps_left = 0;
  bool broken = false;
  Count* over;
};
struct Spinner : Runnable {
  explicit Spinner(Count* over) : Runnable(&Spin), over(over) {}
  static void Spin(Runnable* runnable) {
    Spinner* self = static_cast<Spinner*>(runnable);
    if (self->stop->load(std::memory_order_relaxed)) return self->over->Add();
    self->pool->Post(self, Lane::kReady, Place::kBack, Instant());
  }
  WorkerPool* pool = nullptr;
  std::atomic<bool>* stop = nullptr;
  Count* over;
};

TEST_P(WorkerPoolStressTest, SleepersWakeInASaturatedPool) {
  auto pool = StartPool(GetParam());
  Count spinners_over, sleepers_over;
  std::atomic<bool> stop{false};
  std::deque<Spinner> spinners;
  for (uint32_t i = 0; i < GetParam() + 1; ++i) {
    Spinner& spinner = spinners.emplace_back(&spinners_over);
    spinner.pool = pool.get();
    spinner.stop = &stop;
    pool->Post(&spinner, Lane::kReady, Place::kBack, Instant());
  }
  std::deque<Sleeper> sleepers;
  for (int i = 0; i < 50; ++i) {
    Sleeper& sleeper = sleepers.emplace_back(&sleepers_over);
    sleeper.pool = pool.get();
    sleeper.naps_left = 100;
    Post(*pool, &sleeper, 2);
  }
  sleepers_over.WaitFor(50);
  for (Sleeper& sleeper : sleepers) EXPECT_FALSE(sleeper.broken);
  stop.store(true);
  spinners_over.WaitFor(static_cast<int64_t>(spinners.size()));
}

TEST_P(WorkerPoolStressTest, SleepersWakeInAnIdlePool) {
  auto pool = StartPool(GetParam());
  Count over;
  std::deque<Sleeper> sleepers;
  for (int i = 0; i < 5; ++i) {
    Sleeper& sleeper = sleepers.emplace_back(&over);
    sleeper.pool = pool.get();
    sleeper.naps_left = 1'000;
    Post(*pool, &sleeper, 2);
  }
  over.WaitFor(5);
  for (Sleeper& sleeper : sleepers) EXPECT_FALSE(sleeper.broken);
}

// Pools that are made, used and stopped: nothing posted before Stop is lost.
TEST_P(WorkerPoolStressTest, StopRunsWhatWasPosted) {
  for (int round = 0; round < 100; ++round) {
    Count over;
    std::deque<Ball> balls;
    auto pool = StartPool(GetParam());
    for (int i = 0; i < 20; ++i) {
      Ball& ball = balls.emplace_back(&over);
      ball.pools = {pool.get()};
      ball.hops_left = 1 + i;
      Post(*pool, &ball, static_cast<uint32_t>(i));
    }
    pool->Stop();
    over.WaitFor(20);
  }
}

}  // namespace
}  // namespace quiesce

#include "quiesce/runtime/scheduler/worker_random.h"

#include <cstdint>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/scheduler/runnable.h"
#include "quiesce/runtime/scheduler/scheduler.h"

namespace quiesce {
namespace {

thread_local uint32_t this_worker = Scheduler::kNoWorker;

// Workers are whom the test says.
class Workers final : public Scheduler {
 public:
  explicit Workers(uint32_t count) : count_(count) {}
  void Post(Runnable*, Lane, Place, Instant) override {}
  void PostBatch(RunnableQueue, Lane) override {}
  uint32_t worker_count() const override { return count_; }
  uint32_t current_worker() const override { return this_worker; }

 private:
  const uint32_t count_;
};

std::vector<uint64_t> Draw(RandomSource& random, uint32_t worker, int count) {
  this_worker = worker;
  std::vector<uint64_t> drawn;
  for (int i = 0; i < count; ++i) drawn.push_back(random.Next());
  this_worker = Scheduler::kNoWorker;
  return drawn;
}

TEST(WorkerRandomTest, TheSameSeedDrawsTheSameOnEachWorkerWhateverTheOthersDraw) {
  Workers workers(2);
  WorkerRandom first(&workers, 7);
  WorkerRandom again(&workers, 7);
  (void)Draw(again, 0, 100);
  (void)Draw(again, Scheduler::kNoWorker, 100);
  EXPECT_EQ(Draw(first, 1, 1000), Draw(again, 1, 1000));
}

// The values of a seed are a promise: whoever has noted one wants the same run years later.
TEST(WorkerRandomTest, TheValuesOfASeedAreThoseOfTheStandard) {
  Workers workers(1);
  WorkerRandom random(&workers, 0x0123456789abcdef);
  std::seed_seq seeds = {0x89abcdefu, 0x01234567u, 0u};
  std::mt19937_64 expected(seeds);
  for (const uint64_t drawn : Draw(random, 0, 1000)) ASSERT_EQ(drawn, expected());
}

TEST(WorkerRandomTest, SeedsAndWorkersDrawDifferently) {
  Workers workers(2);
  WorkerRandom one(&workers, 1);
  WorkerRandom two(&workers, 2);
  WorkerRandom high(&workers, uint64_t{1} << 32);
  WorkerRandom unseeded(&workers, std::nullopt);
  WorkerRandom unseeded_too(&workers, std::nullopt);
  std::set<std::vector<uint64_t>> all;
  for (WorkerRandom* random : {&one, &two, &high, &unseeded, &unseeded_too}) {
    for (const uint32_t worker : {0u, 1u, Scheduler::kNoWorker}) {
      all.insert(Draw(*random, worker, 4));
    }
  }
  EXPECT_EQ(all.size(), 15u);
}

TEST(WorkerRandomTest, ThreadsThatAreNoWorkersMayDrawAtOnce) {
  Workers workers(2);
  WorkerRandom random(&workers, 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&random, i] {
      (void)Draw(random, i < 2 ? static_cast<uint32_t>(i) : Scheduler::kNoWorker, 10'000);
    });
  }
  for (std::thread& thread : threads) thread.join();
  WorkerRandom same(&workers, 1);
  (void)Draw(same, Scheduler::kNoWorker, 20'000);
  // None was drawn twice, and none was lost.
  EXPECT_EQ(Draw(random, Scheduler::kNoWorker, 10), Draw(same, Scheduler::kNoWorker, 10));
}

}  // namespace
}  // namespace quiesce

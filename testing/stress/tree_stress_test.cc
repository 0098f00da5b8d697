// Random trees of regions and tasks, with everything at once: cancels, deadlines, quotas, failures, drains,
// joins, handles let go, spawns and cancels from foreign threads. Whatever happens, every region closes
// to quiescence.
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/contract/mailbox.h"
#include "quiesce/testing/stress/stress.h"

namespace quiesce::stress {
namespace {

constexpr int kDepth = 12;

// A region as the test sees it: shared by everybody who may act in it.
struct Life {
  std::atomic<bool> closed{false};
  std::atomic<int> finalizers_owed{0};
};
using LifePtr = std::shared_ptr<Life>;

class NoErrors final : public ErrorSink {
 public:
  void OnChildFailed(const char*, const char*, const Outcome<void>&) override {}
};

// One program: what its tasks share.
struct World {
  explicit World(uint64_t seed, int tasks) : seed(seed), tasks_left(tasks) {}

  // Another task is wanted: a fresh random stream, unless the program is big enough.
  std::optional<Random> NewTask() {
    const int left = tasks_left.fetch_sub(1, std::memory_order_relaxed);
    if (left <= 0) return std::nullopt;
    return Random(seed * 1'000'003 + static_cast<uint64_t>(left));
  }
  void Publish(const RegionRef& ref, const LifePtr& life, uint32_t slot) {
    std::lock_guard<std::mutex> lock(mutex);
    if (published.size() < 64) {
      published.emplace_back(ref, life);
    } else {
      published[slot % 64] = {ref, life};
    }
  }
  std::optional<std::pair<RegionRef, LifePtr>> Pick(uint32_t slot) {
    std::lock_guard<std::mutex> lock(mutex);
    if (published.empty()) return std::nullopt;
    return published[slot % published.size()];
  }

  const uint64_t seed;
  NoErrors sink;
  std::atomic<int> tasks_left;
  std::atomic<int64_t> tasks_live{0};
  std::atomic<int64_t> tasks_run{0};
  std::atomic<int64_t> regions_open{0};
  std::atomic<int64_t> regions_opened{0};
  std::atomic<int64_t> ran_after_close{0};
  std::atomic<int64_t> finalizers_missed{0};
  std::atomic<int64_t> puts{0};
  std::atomic<int64_t> takes{0};
  contract::Mailbox boxes[4];
  std::mutex mutex;
  std::vector<std::pair<RegionRef, LifePtr>> published;
};

// In the frame of each task: counts it, and looks whether its region is still there.
class Alive {
 public:
  Alive(World& world, const LifePtr& life) : world_(world), life_(life) {
    world_.tasks_live.fetch_add(1, std::memory_order_relaxed);
    world_.tasks_run.fetch_add(1, std::memory_order_relaxed);
    Check();
  }
  ~Alive() {
    Check();
    world_.tasks_live.fetch_sub(1, std::memory_order_relaxed);
  }
  void Check() {
    if (life_->closed.load(std::memory_order_acquire)) world_.ran_after_close.fetch_add(1);
  }

 private:
  World& world_;
  LifePtr life_;
};

Budget RandomBudget(Random& random) {
  Budget budget;
  if (random.OneIn(3)) budget = budget.WithTimeout(absl::Microseconds(random.Below(2000)));
  if (random.OneIn(5)) budget = budget.WithPolls(random.Below(50));
  if (random.OneIn(8)) budget = budget.WithCost(random.Below(20));
  return budget;
}

RegionPolicy RandomPolicy(Random& random, World& world) {
  switch (random.Below(3)) {
    case 0:
      return FailFast();
    case 1:
      return CollectAll();
    default:
      return Isolate(&world.sink);
  }
}

RegionOptions RandomOptions(Random& random) {
  RegionOptions options;
  if (random.OneIn(2)) options.WithBudget(RandomBudget(random));
  if (random.OneIn(3)) options.WithDrain(RandomBudget(random));
  if (random.OneIn(4)) options.WithGrace(absl::Microseconds(random.Below(1000)));
  if (random.OneIn(4)) options.WithMaxTasks(1 + random.Below(8));
  if (random.OneIn(6)) options.WithMaxSpawnBytes(1024 + random.Below(16384));
  return options;
}

Task<void> Grow(Cx cx, World& world, LifePtr life, Random random, int depth);

Task<void> OpenRegion(Cx cx, World& world, Random random, int depth) {
  auto life = std::make_shared<Life>();
  world.regions_open.fetch_add(1, std::memory_order_relaxed);
  world.regions_opened.fetch_add(1, std::memory_order_relaxed);
  auto body = [&world, life, random, depth](Cx cx) mutable -> Task<void> {
    if (random.OneIn(2)) world.Publish(cx.Ref(), life, random.Below(64));
    for (uint32_t i = random.Below(3); i > 0; --i) {
      life->finalizers_owed.fetch_add(1, std::memory_order_relaxed);
      const uint64_t choice = random.Next();
      auto finalizer = [life, choice](Cx cx) -> Task<void> {
        life->finalizers_owed.fetch_sub(1, std::memory_order_relaxed);
        if (choice % 2 == 0) (void)co_await Sleep(cx, absl::Microseconds(choice % 300));
        if (choice % 5 == 0) co_return absl::DataLossError("a finalizer fails");
        co_return Ok();
      };
      if (!cx.Defer("finalizer", finalizer).ok()) life->finalizers_owed.fetch_sub(1);
    }
    co_return co_await Grow(cx, world, life, random, depth);
  };
  RegionPolicy policy = RandomPolicy(random, world);
  RegionOptions options = RandomOptions(random);
  // Inherited by all of the tree: a wait that goes on in the drain ends soon.
  if (depth == kDepth) options.WithDrain(Budget::Timeout(absl::Milliseconds(2)));
  Outcome<void> outcome = co_await Region::Open(cx, "grown", body, policy, options);
  life->closed.store(true, std::memory_order_release);
  world.regions_open.fetch_sub(1, std::memory_order_relaxed);
  if (life->finalizers_owed.load() != 0) world.finalizers_missed.fetch_add(1);
  co_return outcome;
}

Task<int> Leaf(Cx cx, World& world, LifePtr life, Random random) {
  Alive alive(world, life);
  if (random.OneIn(2)) co_await OrReturn(Yield(cx));
  if (random.OneIn(2)) co_await OrReturn(Sleep(cx, absl::Microseconds(random.Below(400))));
  if (random.OneIn(16)) co_return absl::UnavailableError("a leaf fails");
  co_return 42;
}

// Takes a letter, under every kind of wait, in a region that soon ends. Counts it exactly if the wait
// was Ok.
Task<void> TakeLetter(Cx cx, World& world, Random random) {
  auto body = [&world, random](Cx cx) mutable -> Task<void> {
    contract::Mailbox& box = world.boxes[random.Below(4)];
    const uint32_t kind = random.Below(3);
    std::optional<Masked> mask;
    if (kind == 2) mask.emplace(cx, 1 + static_cast<int>(random.Below(4)));
    const Cx waiting = kind == 1 ? cx.ForDrain() : cx;
    while (true) {
      co_await OrReturn(box.Take(waiting));
      world.takes.fetch_add(1, std::memory_order_relaxed);
    }
  };
  RegionOptions options;
  options.WithBudget(Budget::Timeout(absl::Microseconds(random.Below(500))));
  options.WithDrain(Budget::Timeout(absl::Microseconds(random.Below(500))));
  (void)co_await Region::Open(cx, "letters", body, FailFast(), options);
  co_return Ok();
}

// Several tasks of a region queue for few places, until its deadline.
Task<void> SpawnThroughAdmission(Cx cx, World& world, Random random) {
  auto life = std::make_shared<Life>();
  auto body = [&world, life](Cx cx) -> Task<void> {
    for (int i = 0; i < 3; ++i) {
      // Each holds a place of its own while it queues for others.
      (void)cx.Spawn("queueing", [&world, life](Cx cx) -> Task<void> {
        Alive alive(world, life);
        while (std::optional<Random> fresh = world.NewTask()) {
          (void)co_await OrReturn(
              cx.SpawnWhenAdmitted("admitted", &Leaf, std::ref(world), life, *fresh));
        }
        co_return Ok();
      });
    }
    co_return Ok();
  };
  RegionOptions options;
  options.WithBudget(Budget::Timeout(absl::Microseconds(random.Below(500))));
  if (random.OneIn(2)) options.WithMaxTasks(2 + random.Below(4));
  if (random.OneIn(2)) options.WithMaxSpawnBytes(1024 + random.Below(4096));
  (void)co_await Region::Open(cx, "admission", body, CollectAll(), options);
  life->closed.store(true, std::memory_order_release);
  co_return Ok();
}

Task<void> Grow(Cx cx, World& world, LifePtr life, Random random, int depth) {
  Alive alive(world, life);
  std::vector<TaskHandle<void>> growing;
  std::vector<TaskHandle<int>> leaves;
  for (uint32_t step = 2 + random.Below(8); step > 0; --step) {
    alive.Check();
    switch (random.Below(16)) {
      case 0:
        co_await OrReturn(Yield(cx));
        break;
      case 1:
        co_await OrReturn(Sleep(cx, absl::Microseconds(random.Below(500))));
        break;
      case 2:
      case 3:
      case 4:
        if (std::optional<Random> fresh = world.NewTask(); fresh && depth > 0) {
          growing.push_back(cx.Spawn("grow", &Grow, std::ref(world), life, *fresh, depth - 1));
        }
        break;
      case 5:
        if (std::optional<Random> fresh = world.NewTask()) {
          leaves.push_back(cx.ForDrain().Spawn("leaf", &Leaf, std::ref(world), life, *fresh));
        }
        break;
      case 6:
      case 7:
        if (std::optional<Random> fresh = world.NewTask(); fresh && depth > 0) {
          Outcome<void> outcome = co_await OpenRegion(cx, world, *fresh, depth - 1);
          if (random.OneIn(4)) co_await OrReturn(std::move(outcome));
        }
        break;
      case 8:
        if (!leaves.empty()) {
          Outcome<int> joined = co_await OrReturn(leaves.back().Join(cx));
          if (joined.ok() && *joined != 42) std::abort();
          leaves.pop_back();
        }
        break;
      case 9:
        if (!growing.empty()) {
          TaskHandle<void> last = std::move(growing.back());
          growing.pop_back();
          if (random.OneIn(2)) last.Cancel(RandomBudget(random));
          if (random.OneIn(2)) (void)co_await OrReturn(last.Join(cx.ForDrain()));
        }
        break;
      case 10:
        growing.clear();  // handles let go
        break;
      case 11:
        co_await OrReturn(TakeLetter(cx, world, Random(random.Next())));
        break;
      case 12:
        for (int i = 0; i < 3; ++i) {
          world.puts.fetch_add(1, std::memory_order_relaxed);
          world.boxes[random.Below(4)].Put(1);
        }
        break;
      case 13:
        co_await OrReturn(SpawnThroughAdmission(cx, world, Random(random.Next())));
        break;
      case 14:
        cx.Charge(random.Below(4));
        if (random.OneIn(8)) cx.Ref().Cancel(RandomBudget(random));
        break;
      default:
        if (random.OneIn(8)) co_return absl::InternalError("a task fails");
        if (random.OneIn(16)) co_return Panic("a task panics");
        break;
    }
  }
  co_return Ok();
}

// Acts on regions from outside, a little for each task that has run, until told to stop.
void Meddle(World& world, uint64_t seed, const std::atomic<bool>& stop) {
  Random random(seed);
  int64_t next = 0;
  while (!stop.load(std::memory_order_acquire)) {
    std::optional<std::pair<RegionRef, LifePtr>> picked;
    if (world.tasks_run.load(std::memory_order_relaxed) >= next) {
      picked = world.Pick(random.Below(1024));
    }
    if (!picked.has_value()) {
      std::this_thread::yield();
      continue;
    }
    next = world.tasks_run.load(std::memory_order_relaxed) + random.Below(6);
    auto& [ref, life] = *picked;
    switch (random.Below(8)) {
      case 0:
        ref.Cancel(RandomBudget(random));
        break;
      case 1:
        ref.BeginDrain(Budget::Timeout(absl::Microseconds(random.Below(2000))));
        break;
      case 2:
        if (random.OneIn(8)) ref.Shutdown(RandomBudget(random));
        break;
      case 3:
        if (std::optional<Random> fresh = world.NewTask()) {
          (void)ref.Spawn("foreign-grow", &Grow, std::ref(world), life, *fresh, 2);
        }
        break;
      case 4:
        if (std::optional<Random> fresh = world.NewTask()) {
          auto leaf = ref.SpawnForDrain("foreign-leaf", &Leaf, std::ref(world), life, *fresh);
          if (random.OneIn(2)) leaf.Cancel();
        }
        break;
      case 5:
        world.puts.fetch_add(1, std::memory_order_relaxed);
        world.boxes[random.Below(4)].Put(1);
        break;
      default:
        std::this_thread::yield();
    }
  }
}

struct Totals {
  int64_t programs = 0;
  int64_t tasks = 0;
  int64_t regions = 0;
};

void RunProgram(uint32_t workers, uint64_t seed, Totals& totals) {
  SCOPED_TRACE(testing::Message() << "workers " << workers << ", program seed " << seed);
  const size_t memory_before = GetSlabStats().live_bytes;
  {
    World world(seed, kSlow ? 400 : 1500);
    {
      std::unique_ptr<Runtime> runtime = MakeRuntime(workers);
      Watchdog watchdog(runtime.get());
      std::atomic<bool> stop{false};
      std::vector<std::thread> meddlers;
      for (uint64_t i = 0; i < 2; ++i) {
        meddlers.emplace_back([&world, &stop, i, seed] { Meddle(world, seed * 31 + i, stop); });
      }
      for (int trees = 0; trees < 64 && world.tasks_left.load() > 0; ++trees) {
        (void)runtime->BlockOn([&](Cx cx) {
          return OpenRegion(cx, world, Random(seed + static_cast<uint64_t>(trees)), kDepth);
        });
        EXPECT_EQ(world.tasks_live.load(), 0) << "a task outlives its root (G1)";
        EXPECT_EQ(world.regions_open.load(), 0);
      }
      stop.store(true, std::memory_order_release);
      for (std::thread& meddler : meddlers) meddler.join();
      world.published.clear();
    }  // the workers have ended: a timer or a step that is left would be fatal there
    ++totals.programs;
    totals.tasks += world.tasks_run.load();
    totals.regions += world.regions_opened.load();
    EXPECT_EQ(world.tasks_live.load(), 0);
    EXPECT_EQ(world.ran_after_close.load(), 0) << "a task ran after its region had closed (G2)";
    EXPECT_EQ(world.finalizers_missed.load(), 0) << "(G6)";
    int64_t letters = 0;
    for (contract::Mailbox& box : world.boxes) {
      letters += static_cast<int64_t>(box.letters());
      EXPECT_EQ(box.reserved(), 0u);
      EXPECT_TRUE(box.queue_empty());
    }
    EXPECT_EQ(world.puts.load(), world.takes.load() + letters)
        << "a letter is lost or doubled (G8)";
  }
  EXPECT_EQ(GetSlabStats().live_bytes, memory_before) << "memory that did not come back";
}

class TreeStressTest : public testing::TestWithParam<uint32_t> {};

TEST_P(TreeStressTest, EveryRegionOfARandomTreeCloses) {
  Duration duration;
  Totals totals;
  do {
    RunProgram(GetParam(), Seed() + static_cast<uint64_t>(totals.programs), totals);
  } while (duration.Going() && !HasFailure());
  std::printf("%lld programs, %lld tasks, %lld regions\n", static_cast<long long>(totals.programs),
              static_cast<long long>(totals.tasks), static_cast<long long>(totals.regions));
}
INSTANTIATE_TEST_SUITE_P(Workers, TreeStressTest, testing::Values(1, 2, 3, 4, 8));

// ---- letters ----------------------------------------------------------------------------------------

// Many takers, each in a region that ends at any moment; every letter arrives once or stays in the box.
TEST(MailboxStressTest, NoLetterIsLostOrDoubledWhileTakersAreCancelled) {
  constexpr int kLetters = kSlow ? 2'000 : 20'000;
  std::vector<std::atomic<int>> taken(kLetters);
  contract::Mailbox box;
  std::unique_ptr<Runtime> runtime = MakeRuntime(4);
  Watchdog watchdog(runtime.get());
  std::atomic<int> next{0};
  std::atomic<int> arrived{0};
  std::thread putters[2];
  for (std::thread& putter : putters) {
    putter = std::thread([&] {
      for (int letter; (letter = next.fetch_add(1)) < kLetters;) box.Put(letter);
    });
  }
  Outcome<void> outcome = runtime->BlockOn([&](Cx cx) -> Task<void> {
    for (uint64_t i = 0; i < 16; ++i) {
      (void)cx.Spawn("taker", [&, i](Cx cx) -> Task<void> {
        Random random(Seed() + i);
        while (arrived.load() < kLetters) {
          auto body = [&](Cx cx) -> Task<void> {
            while (arrived.load() < kLetters) {
              const int letter = co_await OrReturn(box.Take(cx));
              taken[static_cast<size_t>(letter)].fetch_add(1);
              if (arrived.fetch_add(1) + 1 == kLetters) {
                for (int j = 0; j < 64; ++j) box.Put(0);  // lets those who still wait go
              }
            }
            co_return Ok();
          };
          RegionOptions options;
          options.WithBudget(Budget::Timeout(absl::Microseconds(random.Below(300))));
          (void)co_await Region::Open(cx, "short", body, FailFast(), options);
        }
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_TRUE(outcome.ok()) << outcome.ToString();
  for (std::thread& putter : putters) putter.join();
  for (int letter = 1; letter < kLetters; ++letter) {
    ASSERT_EQ(taken[static_cast<size_t>(letter)].load(), 1) << "letter " << letter;
  }
}

}  // namespace
}  // namespace quiesce::stress

// What tasks can see of each other's stores, over each memory: the litmus tests of x86-TSO.
#include "quiesce/testing/lab/store_buffer.h"

#include <array>
#include <atomic>
#include <memory>
#include <set>
#include <utility>

#include "gtest/gtest.h"
#include "quiesce/testing/explore/dpor.h"
#include "quiesce/testing/explore/every_order.h"
#include "quiesce/testing/lab/machine.h"
#include "quiesce/testing/lab/memory.h"

namespace quiesce::lab {
namespace {

using Seen = std::array<int, 4>;
constexpr auto kRelaxed = std::memory_order_relaxed;

template <class Memory>
struct Shared {
  StoreBuffers buffers;
  typename Memory::template Atomic<int> x{0};
  typename Memory::template Atomic<int> y{0};
  typename Memory::Lock lock;
  Seen seen = {};
};

// What the two tasks `one(shared)` and `two(shared)` can see. The explorer finds the same as every order of their steps.
template <class Memory, class One, class Two>
std::set<Seen> Outcomes(One one, Two two) {
  std::unique_ptr<Shared<Memory>> shared;
  Machine machine([&](Machine& to) {
    shared.reset();
    shared = std::make_unique<Shared<Memory>>();
    to.Spawn([&] { one(*shared); });
    to.Spawn([&] { two(*shared); });
  });
  std::set<Seen> outcomes;
  machine.OnEnd([&](Machine::Ended how) {
    if (how != Machine::Ended::kGivenUp) outcomes.insert(shared->seen);
  });
  const explore::EveryOrder every = explore::RunEveryOrder(&machine);
  const std::set<Seen> all = std::exchange(outcomes, {});
  explore::ExploreOptions options;
  options.tell_classes_apart = true;
  const explore::Exploration explored = explore::Explorer(&machine, options).Run();
  EXPECT_TRUE(explored.exhausted) << explored.problem;
  EXPECT_EQ(explored.classes, every.classes.size());
  EXPECT_EQ(explored.deadlocks, every.deadlocks.size());
  EXPECT_EQ(explored.duplicates, 0u);
  EXPECT_EQ(outcomes, all);
  return all;
}

// Each stores, and looks whether the other has.
template <class Memory, class Between>
bool BothMissIt(Between between) {
  const std::set<Seen> outcomes = Outcomes<Memory>(
      [&](Shared<Memory>& shared) {
        shared.x.store(1, kRelaxed);
        between();
        shared.seen[0] = shared.y.load(kRelaxed);
      },
      [&](Shared<Memory>& shared) {
        shared.y.store(1, kRelaxed);
        between();
        shared.seen[1] = shared.x.load(kRelaxed);
      });
  return outcomes.contains(Seen{0, 0});
}

TEST(StoreBufferTest, AStoreIsOvertakenByALoadUnlessAFenceIsBetween) {
  EXPECT_FALSE(BothMissIt<SequentialMemory>([] {}));
  EXPECT_TRUE(BothMissIt<StoreBufferMemory>([] {}));
  EXPECT_TRUE(BothMissIt<StoreBufferMemory>(&StoreBufferMemory::CompilerFence));
  EXPECT_FALSE(BothMissIt<StoreBufferMemory>(&StoreBufferMemory::Fence));
}

TEST(StoreBufferTest, AFenceForAllSparesTheOtherSideItsOwn) {
  using Memory = StoreBufferMemory;
  const std::set<Seen> outcomes = Outcomes<Memory>(
      [](Shared<Memory>& shared) {
        shared.x.store(1, kRelaxed);
        shared.seen[0] = shared.y.load(kRelaxed);
      },
      [](Shared<Memory>& shared) {
        shared.y.store(1, kRelaxed);
        Memory::FenceForAll();
        shared.seen[1] = shared.x.load(kRelaxed);
      });
  EXPECT_EQ(outcomes, (std::set<Seen>{{0, 1}, {1, 0}, {1, 1}}));
}

TEST(StoreBufferTest, StoresKeepTheirOrder) {
  using Memory = StoreBufferMemory;
  const std::set<Seen> outcomes = Outcomes<Memory>(
      [](Shared<Memory>& shared) {
        shared.x.store(1, kRelaxed);
        shared.y.store(1, kRelaxed);
      },
      [](Shared<Memory>& shared) {
        shared.seen[0] = shared.y.load(kRelaxed);
        shared.seen[1] = shared.x.load(kRelaxed);
      });
  EXPECT_EQ(outcomes, (std::set<Seen>{{0, 0}, {0, 1}, {1, 1}}));
}

// The paper's n6: x is 1 for its writer before the 2 that comes before it in memory.
TEST(StoreBufferTest, ATaskSeesItsOwnStoreBeforeOthersDo) {
  using Memory = StoreBufferMemory;
  const std::set<Seen> outcomes = Outcomes<Memory>(
      [](Shared<Memory>& shared) {
        shared.x.store(1, kRelaxed);
        shared.seen[0] = shared.x.load(kRelaxed);
        shared.seen[1] = shared.y.load(kRelaxed);
      },
      [](Shared<Memory>& shared) {
        shared.y.store(2, kRelaxed);
        shared.seen[2] = shared.y.load(kRelaxed);
        shared.seen[3] = shared.x.load(kRelaxed);
      });
  EXPECT_TRUE(outcomes.contains(Seen{1, 0, 2, 0}));
  for (const Seen& seen : outcomes) {
    EXPECT_EQ(seen[0], 1);
    EXPECT_EQ(seen[2], 2);
  }
}

TEST(StoreBufferTest, AReadModifyWriteIsAFence) {
  using Memory = StoreBufferMemory;
  const std::set<Seen> outcomes = Outcomes<Memory>(
      [](Shared<Memory>& shared) {
        shared.x.store(1, kRelaxed);
        shared.seen[0] = shared.y.fetch_add(1, kRelaxed);
      },
      [](Shared<Memory>& shared) {
        shared.y.store(2, kRelaxed);
        shared.seen[1] = shared.x.fetch_add(1, kRelaxed);
      });
  EXPECT_FALSE(outcomes.contains(Seen{0, 0}));
}

TEST(StoreBufferTest, WhatIsWrittenUnderALockIsSeenByTheNextHolder) {
  using Memory = StoreBufferMemory;
  const auto increment = [](Shared<Memory>& shared) {
    typename Memory::LockHolder held(shared.lock);
    const int before = shared.x.load(kRelaxed);
    shared.x.store(before + 1, kRelaxed);
    shared.seen[static_cast<size_t>(before)] = 1;
  };
  EXPECT_EQ(Outcomes<Memory>(increment, increment), (std::set<Seen>{{1, 1}}));
}

}  // namespace
}  // namespace quiesce::lab

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/sanitizers.h"
#include "quiesce/testing/explore/bounded.h"
#include "quiesce/testing/explore/dpor.h"
#include "quiesce/testing/explore/estimate.h"
#include "quiesce/testing/explore/every_order.h"
#include "quiesce/testing/explore/exploration.h"
#include "quiesce/testing/explore/mix.h"
#include "quiesce/testing/explore/sampler.h"
#include "quiesce/testing/explore/schedule.h"
#include "quiesce/testing/explore/shard.h"
#include "quiesce/testing/explore/trace.h"
#include "quiesce/testing/lab/atomic.h"
#include "quiesce/testing/lab/blocking.h"
#include "quiesce/testing/lab/golden_programs.h"
#include "quiesce/testing/lab/machine.h"

namespace quiesce::lab {
namespace {

using explore::BoundedExplorer;
using explore::Exploration;
using explore::ExploreOptions;
using explore::Explorer;

// ---- goldens ----------------------------------------------------------------------------------------

struct Expected {
  const char* program;
  int n;
  uint64_t classes;
  uint64_t deadlocks = 0;
  friend void PrintTo(const Expected& expected, std::ostream* to) { *to << expected.program; }
};

class GoldenTest : public ::testing::TestWithParam<Expected> {};

TEST_P(GoldenTest, HasAsManyClassesAsPublishedAndEachOnce) {
  const Expected& expected = GetParam();
  const Golden* golden = FindGolden(expected.program);
  ASSERT_NE(golden, nullptr);
  const Exploration all = ExploreGolden(*golden, expected.n);
  EXPECT_EQ(all.problem, "");
  EXPECT_TRUE(all.exhausted);
  EXPECT_EQ(all.classes, expected.classes);
  EXPECT_EQ(all.deadlocks, expected.deadlocks);
  EXPECT_EQ(all.duplicates, 0u);
  EXPECT_EQ(all.blocked, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenTest,
    ::testing::Values(
        Expected{"writers", 2, 2}, Expected{"writers", 5, 120}, Expected{"writers_apart", 6, 1},
        Expected{"writers_reader", 3, 24}, Expected{"writers_reader", 4, 120},
        Expected{"fetch_add", 4, 24}, Expected{"fetch_add", 6, 720}, Expected{"three_tasks", 2, 90},
        Expected{"three_tasks", 4, 34650}, Expected{"locked_increment", 3, 6},
        Expected{"locked_increment", 5, 120}, Expected{"readers", 2, 4},
        Expected{"readers", 8, 256}, Expected{"readers", 13, 8192}, Expected{"lastzero", 2, 5},
        Expected{"lastzero", 3, 12}, Expected{"lastzero", 4, 28}, Expected{"lastzero", 5, 64},
        Expected{"lastzero", 10, 3328}, Expected{"indexer", 11, 1}, Expected{"indexer", 12, 8},
        Expected{"indexer", 15, 4096}, Expected{"filesystem", 13, 1}, Expected{"filesystem", 14, 2},
        Expected{"filesystem", 16, 8}, Expected{"filesystem", 19, 64}, Expected{"cas", 2, 2},
        Expected{"cas", 5, 5}, Expected{"wcas", 2, 5}, Expected{"wcas", 3, 13},
        Expected{"wcas", 4, 33}, Expected{"wcas", 5, 81}, Expected{"philosophers", 2, 2, 1},
        Expected{"philosophers", 5, 30, 1}, Expected{"lamport", 2, 16, 16},
        Expected{"peterson", 2, 4, 6}, Expected{"szymanski", 2, 6, 97}, Expected{"publish", 41, 42},
        Expected{"one_to_one", 8, 1}, Expected{"many_to_one", 3, 6},
        Expected{"many_to_one", 5, 120}),
    [](const auto& info) { return absl::StrCat(info.param.program, "_", info.param.n); });

// ---- estimates ----------------------------------------------------------------------------------------

// After a part of it: how far off both estimates are, as a factor.
std::pair<double, double> EstimateErrors(const char* program, int n, double part) {
  const Golden* golden = FindGolden(program);
  const Exploration all = ExploreGolden(*golden, n);
  const auto truth = static_cast<double>(all.classes + all.deadlocks);
  Machine machine([&](Machine& to) { golden->build(to, n); });
  ExploreOptions options;
  options.tell_classes_apart = true;
  options.max_executions = static_cast<uint64_t>(truth * part);
  Explorer explorer(&machine, options);
  const Exploration some = explorer.Run();
  explore::Sampler sampler(&machine, {.strategy = explore::Strategy::kWalk, .seed = 1});
  uint64_t recaught = 0;
  for (int i = 0; i < 1000; ++i) {
    sampler.Next();
    if (some.hashes.contains(sampler.trace().ClassHash())) ++recaught;
  }
  return {explorer.EstimateClasses() / truth,
          explore::EstimateByRecapture(some.hashes.size(), 1000, recaught) / truth};
}

TEST(EstimateTest, OfTreesThatLookTheSameEverywhereTheRecursiveOneIsExact) {
  for (const double part : {0.01, 0.1, 0.5, 1.0}) {
    EXPECT_EQ(EstimateErrors("locked_increment", 6, part).first, 1) << part;
  }
  EXPECT_EQ(EstimateErrors("indexer", 14, 0.1).first, 1);
}

TEST(EstimateTest, OfClassesThatAreAsLikelyAsEachOtherTheOneByRecaptureIsClose) {
  const double error = EstimateErrors("writers", 7, 0.1).second;
  EXPECT_GT(error, 0.7);
  EXPECT_LT(error, 1.4);
}

TEST(EstimateTest, AtTheEndTheRecursiveOneIsTheTruth) {
  for (const char* program : {"readers", "wcas", "philosophers", "lastzero"}) {
    EXPECT_EQ(EstimateErrors(program, 5, 1.0).first, 1) << program;
  }
}

// As estimate.h says.
TEST(EstimateTest, AreAsRoughAsItSays) {
  for (const auto& [program, n] :
       {std::pair("writers", 7), std::pair("three_tasks", 3), std::pair("readers", 10),
        std::pair("lastzero", 9), std::pair("wcas", 8), std::pair("philosophers", 8)}) {
    const auto [by_recursion, by_recapture] = EstimateErrors(program, n, 0.1);
    EXPECT_GT(std::max(by_recursion, by_recapture), 0.3) << program;
    EXPECT_LT(std::min(by_recursion, by_recapture), 5) << program;
  }
}

// ---- shards -------------------------------------------------------------------------------------------

using Strays = absl::flat_hash_map<uint64_t, bool>;

Exploration ExploreShard(Machine& machine, explore::Shard shard, Strays* strays) {
  ExploreOptions options;
  options.tell_classes_apart = true;
  explore::ShardExplorer explorer(&machine, shard, options);
  Exploration some = explorer.Run();
  strays->insert(explorer.strays().begin(), explorer.strays().end());
  uint64_t digest = 0;
  for (const uint64_t hash : some.hashes) digest += explore::Mix(1, hash);
  EXPECT_EQ(explorer.digest(), digest);
  return some;
}

// All shards, each as `explore` does it: is what they have found what the whole exploration has? Their executions, by which
// a class is more than one if several of them begin a part.
uint64_t CheckShards(const Exploration& whole, uint32_t count,
                     const std::function<Exploration(explore::Shard, Strays*)>& explore) {
  Exploration all;
  Strays strays;
  uint64_t executions = 0;
  for (uint32_t index = 0; index < count; ++index) {
    const Exploration some = explore({.index = index, .count = count}, &strays);
    EXPECT_EQ(some.problem, "");
    EXPECT_TRUE(some.complete);
    EXPECT_EQ(some.exhausted, count == 1);
    EXPECT_EQ(some.duplicates, 0u);
    all.classes += some.classes;
    all.deadlocks += some.deadlocks;
    all.hashes.insert(some.hashes.begin(), some.hashes.end());
    executions += Executions(some);
  }
  for (const auto& [hash, deadlock] : strays) {
    EXPECT_TRUE(all.hashes.insert(hash).second);
    ++(deadlock ? all.deadlocks : all.classes);
  }
  // None twice, and none that is not there.
  EXPECT_EQ(all.classes, whole.classes);
  EXPECT_EQ(all.deadlocks, whole.deadlocks);
  EXPECT_EQ(all.hashes, whole.hashes);
  return executions;
}

constexpr uint32_t kShards[] = {1, 2, 3, 7};

TEST(ShardTest, TogetherFindTheClassesOfGoldensEachOnce) {
  for (const auto& [name, n] :
       {std::pair("writers", 5), std::pair("writers_apart", 5), std::pair("three_tasks", 3),
        std::pair("locked_increment", 4), std::pair("readers", 6), std::pair("lastzero", 4),
        std::pair("indexer", 12), std::pair("wcas", 4), std::pair("philosophers", 4),
        std::pair("lamport", 2), std::pair("szymanski", 2), std::pair("publish", 10),
        std::pair("one_to_one", 4), std::pair("many_to_one", 4)}) {
    const Golden* golden = FindGolden(name);
    const Exploration whole = ExploreGolden(*golden, n);
    for (const uint32_t count : kShards) {
      SCOPED_TRACE(absl::StrCat(name, ", ", count, " shards"));
      const uint64_t executions =
          CheckShards(whole, count, [&](explore::Shard shard, Strays* strays) {
            Machine machine([&](Machine& to) { golden->build(to, n); });
            return ExploreShard(machine, shard, strays);
          });
      EXPECT_LE(executions, whole.hashes.size() * 3);
    }
  }
}

// ---- against every order ----------------------------------------------------------------------------

// A condition that may come and go, and on which one waits.
class Flag {
 public:
  void Set(bool value) {
    Machine::Current().Visit(
        [](const void* self, explore::Pending& pending) {
          pending.op.accesses.push_back(
              {static_cast<const Flag*>(self)->object_, explore::Effect::kWrite});
        },
        this);
    value_ = value;
  }
  void Await() {
    Machine::Current().Visit(
        [](const void* self, explore::Pending& pending) {
          const auto* flag = static_cast<const Flag*>(self);
          pending.op.accesses.push_back({flag->object_, explore::Effect::kRead});
          pending.op.may_block = true;
          pending.enabled = flag->value_;
        },
        this);
  }

 private:
  const explore::ObjectId object_ = Machine::Current().NewObject();
  bool value_ = false;
};

// A program of a few tasks that each do a few operations of any kind. The same for the same seed.
class RandomProgram {
 public:
  explicit RandomProgram(uint32_t seed) {
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    // Few long ones, or many short ones.
    const uint32_t tasks = 2 + below(4);
    const uint32_t most[] = {5, 3, 2, 2};
    uint32_t left = 8;
    for (uint32_t number = 0; number < tasks; ++number) {
      Task& task = tasks_.emplace_back();
      bool holds[kObjects] = {};
      const uint32_t count = std::min(left, 1 + below(most[tasks - 2]));
      left -= count;
      for (uint32_t i = 0; i < count; ++i) {
        Operation op{static_cast<Kind>(below(kKinds)), below(kObjects)};
        // Locks are held by one that has them, and given back.
        if (op.kind == kLock && holds[op.object]) op.kind = kUnlock;
        if (op.kind == kUnlock && !holds[op.object]) op.kind = kLock;
        if (op.kind == kLock) holds[op.object] = true;
        if (op.kind == kUnlock) holds[op.object] = false;
        task.operations.push_back(op);
      }
      // Some are made by another task, which does so before one of its operations.
      if (number == 0 || below(3) != 0) continue;
      task.made_by = below(number);
      task.made_before = below(2);
    }
  }

  explore::Exploration Explore(ExploreOptions options = ExploreOptions()) {
    Machine machine([this](Machine& to) { Build(to); });
    Note(machine);
    options.tell_classes_apart = true;
    return Explorer(&machine, options).Run();
  }
  explore::Exploration ExploreBounded(uint32_t preemptions) {
    Machine machine([this](Machine& to) { Build(to); });
    Note(machine);
    return BoundedExplorer(&machine, preemptions).Run();
  }
  explore::Exploration ExploreShard(explore::Shard shard, Strays* strays) {
    Machine machine([this](Machine& to) { Build(to); });
    Note(machine);
    return lab::ExploreShard(machine, shard, strays);
  }
  explore::EveryOrder RunEveryOrder() {
    Machine machine([this](Machine& to) { Build(to); });
    Note(machine);
    return explore::RunEveryOrder(&machine);
  }
  // What its tasks have read, in all the executions since it was asked last.
  std::set<std::vector<int>> TakeOutcomes() { return std::exchange(outcomes_, {}); }

 private:
  static constexpr uint32_t kObjects = 2;
  static constexpr uint32_t kBuild = ~uint32_t{0};
  enum Kind {
    kLoad,
    kStore,
    kAdd,
    kCompare,
    kLoadAndStore,
    kLock,
    kUnlock,
    kSend,
    kReceive,
    kSet,
    kClear,
    kAwait,
  };
  static constexpr uint32_t kKinds = 12;
  struct Operation {
    Kind kind;
    uint32_t object;
  };
  struct Task {
    std::vector<Operation> operations;
    uint32_t made_by = kBuild;
    uint32_t made_before = 0;
  };
  struct Shared {
    Atomic<int> vars[kObjects];
    Lock locks[kObjects];
    Queue queues[kObjects] = {Queue(1), Queue(2)};
    Flag flags[kObjects];
  };

  void Build(Machine& machine) {
    shared_ = std::make_unique<Shared>();
    read_.assign(tasks_.size(), {});
    for (uint32_t task = 0; task < tasks_.size(); ++task) {
      if (tasks_[task].made_by == kBuild) machine.Spawn([this, task] { Run(task); });
    }
  }
  void Note(Machine& machine) {
    machine.OnEnd([this](Machine::Ended how) {
      if (how == Machine::Ended::kGivenUp) return;
      std::vector<int> outcome;
      for (const std::vector<int>& read : read_) {
        outcome.push_back(-1);
        outcome.insert(outcome.end(), read.begin(), read.end());
      }
      outcomes_.insert(std::move(outcome));
    });
  }
  void Run(uint32_t number) {
    const std::vector<Operation>& operations = tasks_[number].operations;
    for (uint32_t i = 0; i < operations.size(); ++i) {
      for (uint32_t task = 0; task < tasks_.size(); ++task) {
        if (tasks_[task].made_by == number && tasks_[task].made_before == i) {
          Machine::Current().Spawn([this, task] { Run(task); });
        }
      }
      Do(operations[i], read_[number]);
    }
  }
  void Do(const Operation& op, std::vector<int>& read) {
    Atomic<int>& var = shared_->vars[op.object];
    int expected = 0;
    switch (op.kind) {
      case kLoad:
        read.push_back(var.load());
        break;
      case kStore:
        var.store(1);
        break;
      case kAdd:
        read.push_back(var.fetch_add(1));
        break;
      case kCompare:
        read.push_back(var.compare_exchange_strong(expected, 2));
        break;
      case kLoadAndStore:
        if (var.load() == 0) var.store(3);
        break;
      case kLock:
        shared_->locks[op.object].Acquire();
        break;
      case kUnlock:
        shared_->locks[op.object].Release();
        break;
      case kSend:
        shared_->queues[op.object].Send();
        break;
      case kReceive:
        shared_->queues[op.object].Receive();
        break;
      case kSet:
      case kClear:
        shared_->flags[op.object].Set(op.kind == kSet);
        break;
      case kAwait:
        shared_->flags[op.object].Await();
        break;
    }
  }

  std::vector<Task> tasks_;
  std::unique_ptr<Shared> shared_;
  std::vector<std::vector<int>> read_;  // by task
  std::set<std::vector<int>> outcomes_;
};

// The sanitizers take ten times as long.
constexpr uint32_t kPrograms = QUIESCE_ASAN || QUIESCE_TSAN ? 60 : 1000;
constexpr uint32_t kFewerPrograms = kPrograms / 10;

TEST(ExplorerTest, FindsTheClassesAndOutcomesOfEveryOrderOfRandomPrograms) {
  uint64_t deadlocks = 0;
  uint64_t classes = 0;
  for (uint32_t seed = 0; seed < kPrograms; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomProgram program(seed);
    const explore::EveryOrder every = program.RunEveryOrder();
    const std::set<std::vector<int>> outcomes = program.TakeOutcomes();
    const Exploration all = program.Explore();
    ASSERT_EQ(all.problem, "");
    ASSERT_TRUE(all.exhausted);
    ASSERT_EQ(all.classes, every.classes.size());
    ASSERT_EQ(all.deadlocks, every.deadlocks.size());
    ASSERT_EQ(program.TakeOutcomes(), outcomes);
    ASSERT_EQ(all.duplicates, 0u);
    ASSERT_EQ(all.blocked, 0u);
    deadlocks += all.deadlocks;
    classes += all.classes;
  }
  EXPECT_GT(deadlocks, kPrograms / 4);
  EXPECT_GT(classes, kPrograms);
}

// ---- shards of random programs ------------------------------------------------------------------------

// What a machine calls its tasks depends on what it has done before; two shards have done different things.
TEST(ShardTest, ClassesHaveTheSameHashesWhereTasksHaveOtherNumbers) {
  const auto build = [](Machine& to) {
    auto x = std::make_shared<Atomic<int>>(0);
    for (int i = 0; i < 2; ++i) {
      to.Spawn([x] {
        x->fetch_add(1);
        for (int j = 0; j < 2; ++j) Machine::Current().Spawn([x] { x->fetch_add(1); });
      });
    }
  };
  ExploreOptions options;
  options.tell_classes_apart = true;
  Machine one(build);
  const Exploration usual = Explorer(&one, options).Run();
  ASSERT_TRUE(usual.exhausted);
  Machine other(build);
  explore::Trace trace;
  explore::Follow(&other, &trace, {{.step = 0, .age = 1}});
  EXPECT_EQ(Explorer(&other, options).Run().hashes, usual.hashes);
}

TEST(ShardTest, TogetherFindTheClassesOfRandomProgramsEachOnce) {
  for (uint32_t seed = 0; seed < kFewerPrograms && !testing::Test::HasFailure(); ++seed) {
    RandomProgram program(seed);
    const Exploration whole = program.Explore();
    const std::set<std::vector<int>> outcomes = program.TakeOutcomes();
    for (const uint32_t count : kShards) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, ", ", count, " shards"));
      CheckShards(whole, count, [&](explore::Shard shard, Strays* strays) {
        return program.ExploreShard(shard, strays);
      });
      EXPECT_EQ(program.TakeOutcomes(), outcomes);
    }
  }
}

// ---- within a bound -----------------------------------------------------------------------------------

TEST(BoundedExplorerTest, FindsTheClassesOfRandomProgramsThatTakeSoFewPreemptionsAndNoOthers) {
  uint64_t classes = 0;
  uint64_t left_out = 0;
  for (uint32_t seed = 0; seed < kFewerPrograms; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomProgram program(seed);
    const explore::EveryOrder every = program.RunEveryOrder();
    for (uint32_t most = 0; most < 4; ++most) {
      absl::flat_hash_set<uint64_t> expected;
      for (const auto* all : {&every.classes, &every.deadlocks}) {
        for (const auto& [hash, preemptions] : *all) {
          if (preemptions <= most) expected.insert(hash);
        }
      }
      const Exploration some = program.ExploreBounded(most);
      ASSERT_EQ(some.problem, "");
      ASSERT_EQ(some.hashes, expected) << "preemptions: " << most;
      ASSERT_EQ(some.classes + some.deadlocks, expected.size());
      const size_t all = every.classes.size() + every.deadlocks.size();
      ASSERT_TRUE(!some.exhausted || expected.size() == all);
      classes += expected.size();
      left_out += all - expected.size();
    }
  }
  EXPECT_GT(classes, kFewerPrograms);
  EXPECT_GT(left_out, kFewerPrograms / 2);
}

TEST(BoundedExplorerTest, WithoutABoundThatMattersItIsExhaustive) {
  for (uint32_t seed = 0; seed < kFewerPrograms / 4; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomProgram program(seed);
    const Exploration all = program.Explore();
    const std::set<std::vector<int>> outcomes = program.TakeOutcomes();
    const Exploration some = program.ExploreBounded(100);
    ASSERT_TRUE(some.exhausted);
    ASSERT_EQ(some.hashes, all.hashes);
    ASSERT_EQ(some.deadlocks, all.deadlocks);
    ASSERT_EQ(program.TakeOutcomes(), outcomes);
  }
}

// n writers are in every order without any preemption. Philosophers need one: whoever holds a fork is left; the others wait
// for it, one for the other, by themselves.
TEST(BoundedExplorerTest, WhoEndsIsNotPreempted) {
  Machine machine([](Machine& to) { FindGolden("writers")->build(to, 4); });
  const Exploration all = BoundedExplorer(&machine, 0).Run();
  EXPECT_EQ(all.classes, 24u);
  Machine philosophers([](Machine& to) { FindGolden("philosophers")->build(to, 3); });
  EXPECT_EQ(BoundedExplorer(&philosophers, 0).Run().deadlocks, 0u);
  EXPECT_EQ(BoundedExplorer(&philosophers, 1).Run().deadlocks, 1u);
}

TEST(BoundedExplorerTest, WhatTakesFewerPreemptionsComesFirst) {
  Machine machine([](Machine& to) { FindGolden("philosophers")->build(to, 4); });
  BoundedExplorer explorer(&machine, 100);
  uint32_t found_with = 0;
  machine.OnEnd([&](Machine::Ended how) {
    if (how != Machine::Ended::kDeadlock) return;
    found_with = explorer.preemptions();
    explorer.Stop();
  });
  EXPECT_EQ(explorer.Run().deadlocks, 1u);
  EXPECT_EQ(found_with, 1u);
}

TEST(BoundedExplorerTest, StopsWhereItIsToldAndReportsWhatDoesNotRepeat) {
  Machine machine([](Machine& to) { FindGolden("writers")->build(to, 4); });
  ExploreOptions options;
  options.max_executions = 5;
  const Exploration some = BoundedExplorer(&machine, 0, options).Run();
  EXPECT_EQ(some.classes + some.blocked, 5u);
  EXPECT_FALSE(some.exhausted);
  options = ExploreOptions();
  options.max_steps = 3;
  EXPECT_EQ(BoundedExplorer(&machine, 0, options).Run().problem,
            "an execution of more than 3 steps");
  int executions = 0;
  Machine changing([&](Machine& to) {
    ++executions;
    auto all = std::make_shared<std::array<Atomic<int>, 2>>();
    to.Spawn([all, &executions] {
      (*all)[executions > 2 ? 1 : 0].store(1);
      (*all)[0].store(1);
    });
    to.Spawn([all] { (*all)[0].store(2); });
  });
  EXPECT_EQ(BoundedExplorer(&changing, 1).Run().problem,
            "nondeterminism: step 1 of an execution, of task 0, does something else when it is "
            "repeated");
}

// ---- without wakeup trees -----------------------------------------------------------------------------

TEST(SourceSetsTest, FindTheClassesOfEveryOrderOfRandomPrograms) {
  ExploreOptions options;
  options.keep_wakeup_trees = false;
  uint64_t blocked = 0;
  uint64_t classes = 0;
  for (uint32_t seed = 0; seed < kFewerPrograms; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomProgram program(seed);
    const explore::EveryOrder every = program.RunEveryOrder();
    const std::set<std::vector<int>> outcomes = program.TakeOutcomes();
    const Exploration all = program.Explore(options);
    ASSERT_EQ(all.problem, "");
    ASSERT_TRUE(all.exhausted);
    ASSERT_EQ(all.classes, every.classes.size());
    ASSERT_EQ(all.deadlocks, every.deadlocks.size());
    ASSERT_EQ(program.TakeOutcomes(), outcomes);
    ASSERT_EQ(all.duplicates, 0u);
    blocked += all.blocked;
    classes += all.classes;
  }
  // Seldom, in programs as small as these.
  EXPECT_LE(blocked, classes / 10);
}

TEST_P(GoldenTest, HasThemAllWithoutWakeupTrees) {
  const Expected& expected = GetParam();
  const Golden* golden = FindGolden(expected.program);
  Machine machine([&](Machine& to) { golden->build(to, expected.n); });
  ExploreOptions options;
  options.tell_classes_apart = true;
  options.keep_wakeup_trees = false;
  const Exploration all = Explorer(&machine, options).Run();
  EXPECT_TRUE(all.exhausted);
  EXPECT_EQ(all.classes, expected.classes);
  EXPECT_EQ(all.deadlocks, expected.deadlocks);
  EXPECT_EQ(all.duplicates, 0u);
}

// ---- what was missed once -----------------------------------------------------------------------------

// What the programs below share.
struct Small {
  Atomic<int> x{0};
  Atomic<int> y{0};
  Lock lock;
};

// A compare-exchange that has failed is a read; one that comes earlier may write.
TEST(ExplorerTest, ACompareExchangeThatComesEarlierMaySucceed) {
  Machine machine([](Machine& to) {
    auto shared = std::make_shared<Small>();
    to.Spawn([shared] {
      int zero = 0;
      shared->x.compare_exchange_strong(zero, 2);
    });
    to.Spawn([shared] { (void)shared->x.load(); });
    to.Spawn([shared] { (void)shared->x.load(); });
    to.Spawn([shared] { shared->y.store(1); });
    to.Spawn([shared] {
      (void)shared->y.load();
      shared->x.store(1);
    });
  });
  const Exploration all = Explorer(&machine).Run();
  EXPECT_EQ(all.classes, 26u);
  EXPECT_EQ(explore::RunEveryOrder(&machine).classes.size(), 26u);
}

// An explorer that remembers too little of the execution in which it has found a race leaves this to two branches, each of
// which takes the other for the one that does it.
TEST(ExplorerTest, NoBranchIsLeftToAnotherThatLeavesItToThis) {
  Machine machine([](Machine& to) {
    auto shared = std::make_shared<Small>();
    to.Spawn([shared] { (void)shared->y.load(); });
    to.Spawn([shared] {
      shared->x.store(1);
      (void)shared->x.load();
    });
    to.Spawn([shared] { shared->y.fetch_add(1); });
    to.Spawn([shared] { (void)shared->y.load(); });
    to.Spawn([shared] {
      shared->x.store(1);
      shared->x.store(1);
    });
  });
  EXPECT_EQ(Explorer(&machine).Run().classes, 24u);
  EXPECT_EQ(explore::RunEveryOrder(&machine).classes.size(), 24u);
}

TEST(ExplorerTest, AmongDeadlocksNoBranchIsLeftEither) {
  Machine machine([](Machine& to) {
    auto shared = std::make_shared<Small>();
    to.Spawn([shared] { (void)shared->y.load(); });
    to.Spawn([shared] { shared->x.store(1); });
    to.Spawn([shared] {
      shared->lock.Acquire();  // and does not give it back
      shared->y.store(1);
    });
    to.Spawn([shared] {
      shared->lock.Acquire();
      shared->lock.Release();
    });
    to.Spawn([shared] {
      if (shared->x.load() == 0) shared->x.store(3);
    });
  });
  const Exploration all = Explorer(&machine).Run();
  EXPECT_EQ(all.classes, 6u);
  EXPECT_EQ(all.deadlocks, 6u);
  const explore::EveryOrder every = explore::RunEveryOrder(&machine);
  EXPECT_EQ(every.classes.size(), 6u);
  EXPECT_EQ(every.deadlocks.size(), 6u);
}

TEST(ExplorerTest, ADeadlockUnderAGuardIsFoundAndUnwound) {
  struct Guard {
    explicit Guard(Lock* lock) : lock(lock) { lock->Acquire(); }
    ~Guard() { lock->Release(); }
    Lock* lock;
  };
  int inside = 0;
  Machine machine([&](Machine& to) {
    auto locks = std::make_shared<std::array<Lock, 2>>();
    for (size_t first : {0, 1}) {
      to.Spawn([&inside, locks, first] {
        const Guard outer(&(*locks)[first]);
        const Guard inner(&(*locks)[1 - first]);
        ++inside;
      });
    }
  });
  const Exploration all = Explorer(&machine).Run();
  EXPECT_EQ(all.deadlocks, 1u);
  EXPECT_EQ(all.classes, 2u);
}

TEST(ExplorerTest, AProgramThatDoesNotRepeatItselfIsReported) {
  int executions = 0;
  int ends = 0;
  Machine machine([&](Machine& to) {
    ++executions;
    auto all = std::make_shared<std::array<Atomic<int>, 2>>();
    to.Spawn([all, &executions] { (*all)[executions > 1 ? 1 : 0].store(1); });
    for (int i = 0; i < 2; ++i) to.Spawn([all] { (*all)[0].store(2); });
  });
  machine.OnEnd([&](Machine::Ended) { ++ends; });
  const Exploration all = Explorer(&machine).Run();
  EXPECT_EQ(all.problem,
            "nondeterminism: step 1 of an execution, of task 0, does something else when it is "
            "repeated");
  EXPECT_FALSE(all.exhausted);
  EXPECT_EQ(ends, executions);
}

TEST(ExplorerTest, StopsWhereItIsTold) {
  Machine machine([](Machine& to) { FindGolden("writers")->build(to, 4); });
  ExploreOptions options;
  options.max_executions = 5;
  const Exploration some = Explorer(&machine, options).Run();
  EXPECT_EQ(some.classes, 5u);
  EXPECT_FALSE(some.exhausted);
  options = ExploreOptions();
  options.max_steps = 3;
  EXPECT_EQ(Explorer(&machine, options).Run().problem, "an execution of more than 3 steps");
}

}  // namespace
}  // namespace quiesce::lab

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/testing/explore/dpor.h"
#include "quiesce/testing/explore/every_order.h"
#include "quiesce/testing/lab/atomic.h"
#include "quiesce/testing/lab/blocking.h"
#include "quiesce/testing/lab/golden_programs.h"
#include "quiesce/testing/lab/machine.h"

namespace quiesce::lab {
namespace {

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
  for (const Golden& golden : Goldens()) {
    if (std::string(golden.name) != expected.program) continue;
    const Exploration all = ExploreGolden(golden, expected.n);
    EXPECT_EQ(all.problem, "");
    EXPECT_TRUE(all.exhausted);
    EXPECT_EQ(all.classes, expected.classes);
    EXPECT_EQ(all.deadlocks, expected.deadlocks);
    EXPECT_EQ(all.duplicates, 0u);
    EXPECT_EQ(all.blocked, 0u);
    return;
  }
  FAIL() << "there is no such program";
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

// ---- against every order ----------------------------------------------------------------------------

// A program of a few tasks that each do a few operations of any kind. The same for the same seed.
class RandomProgram {
 public:
  explicit RandomProgram(uint32_t seed) {
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    const uint32_t tasks = 2 + below(2);
    for (uint32_t task = 0; task < tasks; ++task) {
      std::vector<Operation>& all = tasks_.emplace_back();
      bool holds[kObjects] = {};
      const uint32_t count = 2 + below(tasks == 2 ? 4 : 2);
      for (uint32_t i = 0; i < count; ++i) {
        Operation op{static_cast<Kind>(below(kKinds)), below(kObjects)};
        // Locks are held by one that has them, and given back.
        if (op.kind == kLock && holds[op.object]) op.kind = kUnlock;
        if (op.kind == kUnlock && !holds[op.object]) op.kind = kLock;
        if (op.kind == kLock) holds[op.object] = true;
        if (op.kind == kUnlock) holds[op.object] = false;
        all.push_back(op);
      }
    }
  }
  void Build(Machine& machine) const {
    struct Shared {
      Atomic<int> vars[kObjects];
      Lock locks[kObjects];
      Queue queues[kObjects] = {Queue(1), Queue(2)};
    };
    auto shared = std::make_shared<Shared>();
    for (const std::vector<Operation>& operations : tasks_) {
      machine.Spawn([&operations, shared] {
        for (const Operation& op : operations) {
          Atomic<int>& var = shared->vars[op.object];
          int expected = 0;
          switch (op.kind) {
            case kLoad:
              (void)var.load();
              break;
            case kStore:
              var.store(1);
              break;
            case kAdd:
              var.fetch_add(1);
              break;
            case kCompare:
              var.compare_exchange_strong(expected, 2);
              break;
            case kLoadAndStore:
              if (var.load() == 0) var.store(3);
              break;
            case kLock:
              shared->locks[op.object].Acquire();
              break;
            case kUnlock:
              shared->locks[op.object].Release();
              break;
            case kSend:
              shared->queues[op.object].Send();
              break;
            case kReceive:
              shared->queues[op.object].Receive();
              break;
          }
        }
      });
    }
  }

 private:
  static constexpr uint32_t kObjects = 2;
  enum Kind { kLoad, kStore, kAdd, kCompare, kLoadAndStore, kLock, kUnlock, kSend, kReceive };
  static constexpr uint32_t kKinds = 9;
  struct Operation {
    Kind kind;
    uint32_t object;
  };
  std::vector<std::vector<Operation>> tasks_;
};

// The sanitizers take a hundred times as long for a fiber, and more.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint32_t kPrograms = 40;
#elif defined(__has_feature)
constexpr uint32_t kPrograms =
    __has_feature(thread_sanitizer) || __has_feature(address_sanitizer) ? 40 : 1500;
#else
constexpr uint32_t kPrograms = 1500;
#endif

TEST(ExplorerTest, FindsTheClassesOfEveryOrderOfRandomPrograms) {
  uint64_t deadlocks = 0;
  uint64_t classes = 0;
  for (uint32_t seed = 0; seed < kPrograms; ++seed) {
    const RandomProgram program(seed);
    Machine machine([&](Machine& to) { program.Build(to); });
    ExploreOptions options;
    options.tell_classes_apart = true;
    const Exploration all = Explorer(&machine, options).Run();
    const explore::EveryOrder every = explore::RunEveryOrder(&machine);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    ASSERT_EQ(all.problem, "");
    ASSERT_EQ(all.classes, every.classes.size());
    ASSERT_EQ(all.deadlocks, every.deadlocks.size());
    ASSERT_EQ(all.duplicates, 0u);
    ASSERT_EQ(all.blocked, 0u);
    deadlocks += all.deadlocks;
    classes += all.classes;
  }
  EXPECT_GT(deadlocks, kPrograms / 4);
  EXPECT_GT(classes, kPrograms / 4);
}

}  // namespace
}  // namespace quiesce::lab

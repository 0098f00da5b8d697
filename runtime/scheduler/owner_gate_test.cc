#include "quiesce/runtime/scheduler/owner_gate.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace quiesce {
namespace {

// Plain variables: a race is a lost increment, and a report of ThreadSanitizer.
struct Guarded {
  OwnerGate gate;
  int64_t first ABSL_GUARDED_BY(gate) = 0;
  int64_t second ABSL_GUARDED_BY(gate) = 0;
};

TEST(OwnerGateTest, OwnerAndVisitorsExcludeEachOther) {
  if (!OwnerGate::Supported()) GTEST_SKIP() << "no membarrier";
  constexpr int kVisitors = 2;
  constexpr int64_t kVisits = 5'000;
  std::array<Guarded, 2> guarded;
  std::atomic<int64_t> turns{0};
  std::atomic<int64_t> visits{0};
  std::atomic<bool> owners_done{false};
  std::vector<std::thread> owners, visitors;
  for (Guarded& mine : guarded) {
    owners.emplace_back([&] {
      int64_t my_turns = 0;
      while (my_turns % 1024 != 0 || visits.load(std::memory_order_relaxed) < kVisits) {
        OwnerScope inside(mine.gate);
        ++mine.first;
        ++mine.second;
        ++my_turns;
      }
      turns.fetch_add(my_turns);
    });
  }
  std::atomic<bool> torn{false};
  for (int visitor = 0; visitor < kVisitors; ++visitor) {
    visitors.emplace_back([&] {
      while (!owners_done.load()) {
        for (Guarded& other : guarded) {
          if (!other.gate.TryClose()) continue;
          OwnerGate::Barrier();
          other.gate.AwaitOwner();
          if (other.first != other.second) torn.store(true);
          ++other.first;
          ++other.second;
          other.gate.Open();
          visits.fetch_add(1);
        }
      }
    });
  }
  for (std::thread& owner : owners) owner.join();
  owners_done.store(true);
  for (std::thread& visitor : visitors) visitor.join();
  EXPECT_FALSE(torn.load());
  int64_t sum = 0;
  for (Guarded& mine : guarded) {
    OwnerScope inside(mine.gate);
    EXPECT_EQ(mine.first, mine.second);
    sum += mine.first;
  }
  EXPECT_EQ(sum, turns.load() + visits.load());
}

}  // namespace
}  // namespace quiesce

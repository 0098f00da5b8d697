// OwnerGate, in every order of its operations.
#include "quiesce/runtime/scheduler/owner_gate.h"

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "gtest/gtest.h"
#include "quiesce/testing/lab/machine.h"
#include "quiesce/testing/lab/memory.h"
#include "quiesce/testing/lab/store_buffer.h"
#include "quiesce/testing/lock_free/explore_all.h"

namespace quiesce::lock_free {
namespace {

// What the gate guards: an increment in two halves, of which one is lost when two are inside at once.
template <class Memory>
struct Guarded {
  void Use() {
    value.store(value.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    ++uses;
  }
  void Visit() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!gate.TryClose()) return;
    BasicOwnerGate<Memory>::Barrier();
    gate.AwaitOwner();
    ++visits;
    Use();
    gate.Open();
  }

  BasicOwnerGate<Memory> gate;
  typename Memory::template Atomic<int> value{0};
  int uses = 0;
  int visits = 0;
};

template <class Memory>
void ExpectNoneLost(Guarded<Memory>& guarded, int at_least) {
  EXPECT_EQ(guarded.value.load(), guarded.uses);
  EXPECT_GE(guarded.uses, at_least) << "somebody waits for ever";
}

template <class Memory>
class OwnerGateTest : public ::testing::Test {};
using Memories = ::testing::Types<lab::SequentialMemory, lab::StoreBufferMemory>;
TYPED_TEST_SUITE(OwnerGateTest, Memories);

TYPED_TEST(OwnerGateTest, OwnerAndVisitorExcludeEachOther) {
  using Shared = Guarded<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] {
          for (int turn = 0; turn < 2; ++turn) {
            BasicOwnerScope<TypeParam> inside(shared.gate);
            shared.Use();
          }
        });
        machine.Spawn([&] { shared.Visit(); });
      },
      [](Shared& shared) {
        ExpectNoneLost(shared, 3);
        EXPECT_EQ(shared.visits, 1);
      });
}

TYPED_TEST(OwnerGateTest, WhoOnlyTriesExcludesAVisitorAndDoesNotWait) {
  using Shared = Guarded<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
          for (int turn = 0; turn < 2; ++turn) {
            if (!shared.gate.TryEnter()) continue;
            shared.Use();
            shared.gate.Leave();
          }
        });
        machine.Spawn([&] { shared.Visit(); });
      },
      [](Shared& shared) {
        ExpectNoneLost(shared, 1);
        EXPECT_EQ(shared.visits, 1);
      });
}

TYPED_TEST(OwnerGateTest, OfTwoVisitorsOneIsInsideAndTheOwnerGetsItsTurn) {
  using Shared = Guarded<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] {
          BasicOwnerScope<TypeParam> inside(shared.gate);
          shared.Use();
        });
        for (int visitor = 0; visitor < 2; ++visitor) {
          machine.Spawn([&] { shared.Visit(); });
        }
      },
      [](Shared& shared) {
        ExpectNoneLost(shared, 2);
        EXPECT_GE(shared.visits, 1);
      });
}

}  // namespace
}  // namespace quiesce::lock_free

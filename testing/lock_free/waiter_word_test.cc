// WaiterWord, in every order of the operations of a task that waits, of who grants and of who cancels.
//
// The wait here is ResultWait reduced to what it does with the word: its steps are those of wait.h, the primitive is one
// lock with room for one waiter, and a sweep is that of ParkRegistry.
#include "quiesce/runtime/task/waiter_word.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "gtest/gtest.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/testing/lab/machine.h"
#include "quiesce/testing/lab/memory.h"
#include "quiesce/testing/lock_free/explore_all.h"

namespace quiesce::lock_free {
namespace {

template <class Memory>
struct Waiting {
  template <class T>
  using Atomic = typename Memory::template Atomic<T>;
  using Lock = typename Memory::Lock;
  using LockHolder = typename Memory::LockHolder;
  using Word = WaiterWord<Atomic<uint32_t>>;

  // Something of which there may be some, and for which the task may wait.
  struct Primitive {
    Lock lock;
    bool queued = false;
    int units = 0;
  };

  // ---- the task ----

  // A whole wait, for one of the first `arms` primitives. True: it has a unit of it.
  bool Wait(size_t arms = 1) {
    in_wait.store(true);
    const bool got = WaitFor(arms);
    in_wait.store(false);
    for (const Primitive& primitive : primitives) EXPECT_FALSE(primitive.queued) << "invariant 4";
    EXPECT_FALSE(is_parked);
    (got ? grants_seen : cancels_seen)++;
    return got;
  }
  bool WaitFor(size_t arms) {
    {
      LockHolder held(shard_lock);
      registered = true;
    }
    if (MustFail(region.load(std::memory_order_relaxed), word.load(std::memory_order_relaxed))) {
      Word(word).Disarm();
      return false;
    }
    std::optional<size_t> taken;
    bool all_queued = true;
    for (size_t arm = 0; arm < arms && all_queued; ++arm) {
      Primitive& primitive = primitives[arm];
      LockHolder held(primitive.lock);
      const bool may_take =
          primitive.units > 0 && (arms == 1 || Word(word).Claim(static_cast<uint8_t>(arm + 1)));
      if (may_take) {
        --primitive.units;
        taken = arm;
      }
      primitive.queued = primitive.units == 0 && !may_take;
      all_queued = primitive.queued;
    }
    if (taken.has_value() && arms == 1) {
      Word(word).Disarm();
      return true;
    }
    if (all_queued && Commit()) AwaitPost();
    const bool granted = Word(word).IsGranted();
    EXPECT_TRUE(Word(word).IsDecided());
    const size_t kept = !granted ? arms : arms == 1 ? 0 : Word(word).GrantedArm() - 1;
    for (size_t arm = 0; arm < arms; ++arm) {
      if (arm == kept) continue;
      LockHolder held(primitives[arm].lock);
      primitives[arm].queued = false;
    }
    if (Word(word).EndDecision()) {
      Memory::Await(
          word, [](uint32_t word) { return (word & task_word::kPinned) == 0; },
          std::memory_order_acquire);
    }
    return granted;
  }
  bool Commit() {
    if (!Word(word).TryPark(mode) &&
        !Word(word).Park(
            mode, [this](uint32_t word) { return FailsToPark(word); }, [] { return false; })) {
      return false;
    }
    is_parked = true;
    return true;
  }
  void AwaitPost() {
    Memory::Await(posts, [](int posts) { return posts != 0; }, std::memory_order_acquire);
    posts.exchange(0);
  }
  bool MustFail(uint64_t region, uint32_t word) const {
    return cx_internal::MustFail(mode, region, word);
  }
  // As Waiter::FailsToPark.
  bool FailsToPark(uint32_t word) const {
    return MustFail((word & task_word::kLook) == 0 ? 0 : region.load(std::memory_order_acquire),
                    word);
  }

  // ---- others ----

  // Whoever has decided a wait that was parked.
  void Post() {
    EXPECT_TRUE(is_parked) << "posted twice, or before it was parked";
    is_parked = false;
    posts.fetch_add(1);
  }
  void Release(size_t arm = 0, uint8_t number = 0) {
    Primitive& primitive = primitives[arm];
    LockHolder held(primitive.lock);
    ++primitive.units;
    if (!primitive.queued) return;
    primitive.queued = false;
    bool parked = number == 0 && Word(word).TryGrant(mode);
    if (!parked) {
      const auto fails = [this](uint32_t word) { return FailsToPark(word); };
      const auto grant = Word(word).Grant(mode, number, fails);
      if (grant == Word::Granted::kLost) return;
      parked = grant == Word::Granted::kParked;
    }
    --primitive.units;
    ++given;
    if (parked) Post();
  }
  void CancelRegion(uint64_t bit, SweepKind kind) {
    region.fetch_or(bit, std::memory_order_acq_rel);
    LockHolder held(shard_lock);
    if (!registered) return;
    if (!Word(word).template Decide</*tell=*/true>(kind)) return;
    registered = false;
    Post();
  }
  void CancelTask() {
    word.fetch_or(task_word::kCancelled, std::memory_order_acq_rel);
    if (Word(word).template Decide</*tell=*/false>(SweepKind::kCancel)) Post();
  }
  void ReadItsWait() {
    if (!Word(word).TryPin()) return;
    EXPECT_TRUE(in_wait.load()) << "it has left while it was read";
    Word(word).Unpin();
  }

  uint8_t mode = task_word::kParkedOrdinary;
  Atomic<uint32_t> word{0};
  Atomic<uint64_t> region{0};
  std::array<Primitive, 2> primitives;
  Lock shard_lock;
  bool registered = false;
  Atomic<int> posts{0};
  Atomic<bool> in_wait{false};

  // What is seen of it.
  bool is_parked = false;
  int given = 0;  // units, by grants
  int grants_seen = 0;
  int cancels_seen = 0;
};

// What was released is there, or the task has it, by `waits` waits.
template <class Memory>
void ExpectUnits(const Waiting<Memory>& waiting, int released, int waits) {
  EXPECT_EQ(waiting.primitives[0].units + waiting.primitives[1].units + waiting.grants_seen,
            released);
  EXPECT_EQ(waiting.grants_seen + waiting.cancels_seen, waits) << "it waits for ever";
}

template <class Memory>
class WaiterWordTest : public ::testing::Test {};
// Nothing but read-modify-writes changes the word, so there is nothing that a store buffer could delay.
using Memories = ::testing::Types<lab::SequentialMemory>;
TYPED_TEST_SUITE(WaiterWordTest, Memories);

TYPED_TEST(WaiterWordTest, EachGrantResumesOncePerPark) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] {
          for (int i = 0; i < 2; ++i) shared.Wait();
        });
        for (int i = 0; i < 2; ++i) machine.Spawn([&] { shared.Release(); });
      },
      [](Shared& shared) {
        ExpectUnits(shared, 2, 2);
        EXPECT_EQ(shared.grants_seen, 2);
      });
}

TYPED_TEST(WaiterWordTest, OfAGrantAndACancelOfTheRegionOneWins) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] { shared.Wait(); });
        machine.Spawn([&] { shared.Release(); });
        machine.Spawn([&] { shared.CancelRegion(region_word::kCancelled, SweepKind::kCancel); });
      },
      [](Shared& shared) { ExpectUnits(shared, 1, 1); });
}

TYPED_TEST(WaiterWordTest, OfAGrantAndTwoCancelsOneWins) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] { shared.Wait(); });
        machine.Spawn([&] { shared.Release(); });
        machine.Spawn([&] { shared.CancelRegion(region_word::kCancelled, SweepKind::kCancel); });
        machine.Spawn([&] { shared.CancelTask(); });
      },
      [](Shared& shared) { ExpectUnits(shared, 1, 1); });
}

// Nobody grants: what ends the wait is the cancel, however it comes.
TYPED_TEST(WaiterWordTest, ACancelReachesWhoIsAboutToPark) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] { shared.Wait(); });
        machine.Spawn([&] { shared.CancelRegion(region_word::kCancelled, SweepKind::kCancel); });
      },
      [](Shared& shared) { ExpectUnits(shared, 0, 1); });
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] { shared.Wait(); });
        machine.Spawn([&] { shared.CancelTask(); });
      },
      [](Shared& shared) { ExpectUnits(shared, 0, 1); });
}

// Of the region's that holds only until the task has taken the mark.
TYPED_TEST(WaiterWordTest, AGrantThatComesAfterACancelOfTheTaskIsLost) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] { shared.Wait(); });
        machine.Spawn([&] {
          shared.CancelTask();
          shared.Release();
          EXPECT_EQ(shared.given, 0);
        });
      },
      [](Shared& shared) { ExpectUnits(shared, 1, 1); });
}

TYPED_TEST(WaiterWordTest, ADrainWaitGoesOnUntilTheBudgetIsSpent) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        shared.mode = task_word::kParkedDrain;
        machine.Spawn([&] {
          for (int i = 0; i < 2; ++i) shared.Wait();
        });
        machine.Spawn([&] { shared.Release(); });
        machine.Spawn([&] {
          shared.CancelRegion(region_word::kCancelled, SweepKind::kCancel);
          shared.CancelRegion(region_word::kSpent, SweepKind::kSpent);
        });
      },
      [](Shared& shared) { ExpectUnits(shared, 1, 2); });
}

TYPED_TEST(WaiterWordTest, ACancelDoesNotEndADrainWait) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        shared.mode = task_word::kParkedDrain;
        machine.Spawn([&] { shared.Wait(); });
        machine.Spawn([&] { shared.Release(); });
        machine.Spawn([&] { shared.CancelRegion(region_word::kCancelled, SweepKind::kCancel); });
      },
      [](Shared& shared) {
        ExpectUnits(shared, 1, 1);
        EXPECT_EQ(shared.grants_seen, 1);
      });
}

TYPED_TEST(WaiterWordTest, OfTheArmsOfASelectOneIsGranted) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] { shared.Wait(/*arms=*/2); });
        for (uint8_t arm : {0, 1}) {
          machine.Spawn([&shared, arm] { shared.Release(arm, static_cast<uint8_t>(arm + 1)); });
        }
      },
      [](Shared& shared) {
        ExpectUnits(shared, 2, 1);
        EXPECT_EQ(shared.grants_seen, 1);
      });
}

TYPED_TEST(WaiterWordTest, OfASelectAndACancelOneWins) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] { shared.Wait(/*arms=*/2); });
        for (uint8_t arm : {0, 1}) {
          machine.Spawn([&shared, arm] { shared.Release(arm, static_cast<uint8_t>(arm + 1)); });
        }
        machine.Spawn([&] { shared.CancelRegion(region_word::kCancelled, SweepKind::kCancel); });
      },
      [](Shared& shared) { ExpectUnits(shared, 2, 1); });
}

TYPED_TEST(WaiterWordTest, APinnedTaskStaysInItsWait) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] {
          for (int i = 0; i < 2; ++i) shared.Wait();
        });
        machine.Spawn([&] {
          shared.Release();
          shared.CancelTask();
        });
        machine.Spawn([&] { shared.ReadItsWait(); });
      },
      [](Shared& shared) {
        ExpectUnits(shared, 1, 2);
        EXPECT_GE(shared.cancels_seen, 1);
      });
}

TYPED_TEST(WaiterWordTest, OneAtATimeReadsAPinnedTask) {
  using Shared = Waiting<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& shared) {
        machine.Spawn([&] { shared.Wait(); });
        machine.Spawn([&] { shared.Release(); });
        for (int i = 0; i < 2; ++i) machine.Spawn([&] { shared.ReadItsWait(); });
      },
      [](Shared& shared) { ExpectUnits(shared, 1, 1); });
}

}  // namespace
}  // namespace quiesce::lock_free

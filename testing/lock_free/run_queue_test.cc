// RunQueue, in every order of the operations of its owner, thieves, visitors and foreign threads.
#include "quiesce/runtime/scheduler/run_queue.h"

#include <array>
#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/scheduler/owner_gate.h"
#include "quiesce/runtime/scheduler/run_queue_impl.h"
#include "quiesce/runtime/scheduler/runnable.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/testing/lab/machine.h"
#include "quiesce/testing/lab/memory.h"
#include "quiesce/testing/lab/store_buffer.h"
#include "quiesce/testing/lock_free/explore_all.h"

namespace quiesce::lock_free {
namespace {

constexpr Lane kLanes[] = {Lane::kCancel, Lane::kTimed, Lane::kReady};

struct Item : Runnable {
  Item() : Runnable([](Runnable*) {}) {}
  bool posted = false;
  int taken = 0;
};

// A worker's queue, and what others do to it.
template <class Memory>
struct Queues {
  using Queue = BasicRunQueue<Memory>;

  // ---- the owner's ----
  void Push(size_t item, Lane lane = Lane::kReady, Place place = Place::kBack) {
    items[item].posted = true;
    mine.Push(&items[item], lane, place, Instant::FromNanos(static_cast<int64_t>(item)));
  }
  // As Worker::TryPostReady and Worker::PostHere.
  void PushFast(size_t item, Place place = Place::kBack) {
    items[item].posted = true;
    bool full = false;
    if (!mine.PushReady(&items[item], place, full)) Push(item, Lane::kReady, place);
  }
  // As Worker::Pick. False: there is nothing.
  bool Pop(bool hungry) {
    Runnable* runnable = hungry ? nullptr : mine.PopFront();
    if (runnable == nullptr) runnable = mine.Pop(hungry);
    return Take(runnable);
  }

  // ---- others' ----
  void Post(size_t item, Lane lane = Lane::kReady) {
    items[item].posted = true;
    mine.PushShared(&items[item], lane, Instant::FromNanos(static_cast<int64_t>(item)));
  }
  void Steal(Lane lane = Lane::kReady) {
    if (!thief.StealFrom(mine, lane)) return;
    const bool any = Take(thief.Pop(false));
    EXPECT_TRUE(any) << "what it has stolen is its own";
  }
  void Visit() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!mine.gate().TryClose()) return;
    BasicOwnerGate<Memory>::Barrier();
    mine.gate().AwaitOwner();
    mine.PublishAsVisitor();
    mine.gate().Open();
  }

  bool Take(Runnable* runnable) {
    if (runnable == nullptr) return false;
    ++static_cast<Item*>(runnable)->taken;
    return true;
  }

  Queue mine;
  Queue thief;
  Queue second_thief;
  std::array<Item, 7> items;
};

template <class Memory>
class RunQueueTest : public ::testing::Test {
 protected:
  using Shared = Queues<Memory>;

  template <class Spawn>
  static void ExploreAll(Spawn spawn) {
    lock_free::ExploreAll<Shared>(spawn, &ExpectEachTakenOnce);
  }

 private:
  static void ExpectEachTakenOnce(Shared& shared) {
    while (shared.Take(shared.mine.Pop(false)) || shared.Take(shared.thief.Pop(false))) {
    }
    for (const Item& item : shared.items) EXPECT_EQ(item.taken, item.posted ? 1 : 0);
    for (auto* queue : {&shared.mine, &shared.thief, &shared.second_thief}) {
      EXPECT_EQ(queue->shared_lanes(), 0u);
      EXPECT_TRUE(queue->private_empty());
    }
  }
};
using Memories = ::testing::Types<lab::SequentialMemory, lab::StoreBufferMemory>;
TYPED_TEST_SUITE(RunQueueTest, Memories);

TYPED_TEST(RunQueueTest, OwnerThiefAndForeignThreadLoseNothingAndTakeNothingTwice) {
  using Shared = Queues<TypeParam>;
  this->ExploreAll([](lab::Machine& machine, Shared& shared) {
    machine.Spawn([&] {
      shared.PushFast(0);
      shared.PushFast(1, Place::kNext);
      shared.Pop(/*hungry=*/true);
      shared.Pop(/*hungry=*/false);
    });
    machine.Spawn([&] { shared.Steal(); });
    machine.Spawn([&] { shared.Post(2); });
  });
}

TYPED_TEST(RunQueueTest, WhatIsSharedIsTakenBackOrStolen) {
  using Shared = Queues<TypeParam>;
  this->ExploreAll([](lab::Machine& machine, Shared& shared) {
    for (size_t item : {0, 1, 2}) shared.Push(item);
    shared.mine.Publish();
    machine.Spawn([&] {
      while (shared.Pop(/*hungry=*/false)) {
      }
    });
    for (auto* own : {&shared.thief, &shared.second_thief}) {
      machine.Spawn([&shared, own] {
        if (!own->StealFrom(shared.mine, Lane::kReady)) return;
        while (shared.Take(own->Pop(false))) {
        }
      });
    }
  });
}

TYPED_TEST(RunQueueTest, AVisitorPublishesBesideItsOwner) {
  using Shared = Queues<TypeParam>;
  this->ExploreAll([](lab::Machine& machine, Shared& shared) {
    machine.Spawn([&] {
      shared.PushFast(0);
      shared.PushFast(1, Place::kNext);
      shared.Pop(/*hungry=*/false);
      shared.Pop(/*hungry=*/false);
    });
    machine.Spawn([&] {
      shared.Visit();
      shared.Steal();
    });
  });
}

TYPED_TEST(RunQueueTest, EachLaneIsStolenFromWhileItsOwnerPops) {
  using Shared = Queues<TypeParam>;
  for (const bool hungry : {false, true}) {
    for (const Lane lane : kLanes) {
      this->ExploreAll([hungry, lane](lab::Machine& machine, Shared& shared) {
        for (size_t item : {0, 1}) shared.Push(item, Lane::kCancel);
        for (size_t item : {2, 3}) shared.Push(item, Lane::kTimed);
        for (size_t item : {4, 5}) shared.Push(item, Lane::kReady);
        shared.mine.Publish();
        machine.Spawn([&shared, hungry] {
          for (int i = 0; i < 3; ++i) {
            const bool any = shared.Pop(hungry);
            EXPECT_TRUE(any) << "no thief takes so many";
          }
        });
        machine.Spawn([&shared, lane] { shared.Steal(lane); });
        machine.Spawn([&shared, lane] { shared.Post(6, lane); });
      });
    }
  }
}

TYPED_TEST(RunQueueTest, WhatComesWhileItsLaneIsEmptiedIsSeen) {
  using Shared = Queues<TypeParam>;
  for (const bool hungry : {false, true}) {
    for (const Lane lane : kLanes) {
      this->ExploreAll([hungry, lane](lab::Machine& machine, Shared& shared) {
        shared.Post(0, lane);
        machine.Spawn([&shared, hungry] { shared.Pop(hungry); });
        machine.Spawn([&shared, lane] { shared.Steal(lane); });
        machine.Spawn([&shared, lane] { shared.Post(1, lane); });
      });
    }
  }
}

TYPED_TEST(RunQueueTest, NothingIsPrivateAfterAHungryPop) {
  using Shared = Queues<TypeParam>;
  this->ExploreAll([](lab::Machine& machine, Shared& shared) {
    machine.Spawn([&] {
      for (const Lane lane : kLanes) shared.Push(static_cast<size_t>(lane), lane);
      shared.Pop(/*hungry=*/true);
      EXPECT_TRUE(shared.mine.private_empty());
      EXPECT_FALSE(shared.mine.withholds());
    });
    machine.Spawn([&] { shared.Steal(); });
    machine.Spawn([&] { shared.Post(5, Lane::kCancel); });
  });
}

TYPED_TEST(RunQueueTest, WhatIsWantedAndNextIsWhatPopIfGives) {
  using Shared = Queues<TypeParam>;
  this->ExploreAll([](lab::Machine& machine, Shared& shared) {
    shared.Push(0);
    shared.Push(1);
    machine.Spawn([&] {
      Runnable* const wanted = &shared.items[0];
      // In the middle of the owner's section it looks at what a visitor writes: a moment at which none may be inside.
      Runnable* next = shared.mine.PopIf([&](Runnable* first) {
        (void)shared.mine.withholds();
        return first == wanted;
      });
      if (next != nullptr) {
        EXPECT_EQ(next, wanted);
        shared.Take(next);
      }
      shared.Pop(/*hungry=*/false);
    });
    machine.Spawn([&] { shared.Visit(); });
    machine.Spawn([&] { shared.Post(2); });
  });
}

}  // namespace
}  // namespace quiesce::lock_free

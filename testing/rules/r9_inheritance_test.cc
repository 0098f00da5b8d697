// R9, G12: the holder of what a draining task waits for goes in the cancel lane, until it lets go. One worker, and
// tasks that are always ready, so that the order of steps says in which lane a task went.
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/rw_lock.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

constexpr int kBusy = 300;

// What happens in one runtime: hundreds of busy tasks, and the tasks of the test among them.
struct Scene {
  explicit Scene(Cx cx) : cx(cx) {}
  Cx cx;
  bool stop = false;
  int64_t busy_steps = 0;
  Gate gate;

  void SpawnBusy() {
    for (int i = 0; i < kBusy; ++i) {
      cx.Spawn("busy", [this](Cx cx) -> Task<void> {
        while (!stop) {
          ++busy_steps;
          co_await OrReturn(Yield(cx));
        }
        co_return Ok();
      });
    }
  }
  // Opens a region below the one of the scene in which body(cx) waits; `region` is for its cancel.
  template <class Body>
  TaskHandle<void> SpawnInRegion(std::optional<RegionRef>& region, Body body) {
    return cx.Spawn("opener", [body, &region](Cx cx) -> Task<void> {
      const auto in_region = [&](Cx cx) -> Task<void> {
        region = cx.Ref();
        return body(cx);
      };
      co_return co_await Region::Open(cx, "draining", in_region);
    });
  }
};

template <class Body>
void OnOneWorker(Body body) {
  TestRuntime rt(1);
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Scene scene(cx);
    // Inside a region: what is spawned has ended before the scene goes.
    const auto in_region = [&](Cx cx) -> Task<void> {
      scene.cx = cx;
      scene.SpawnBusy();
      Outcome<void> ended = co_await body(cx, scene);
      scene.stop = true;
      co_return ended;
    };
    co_return co_await Region::Open(cx, "scene", in_region);
  }),
              IsOk());
}

// A step of a ready task among kBusy ready tasks comes once in so many steps; one of the cancel lane at once.
constexpr int kSteps = 5;
constexpr int64_t kGotAhead = kBusy;         // at most so many busy steps while it makes kSteps
constexpr int64_t kStoodInLine = 3 * kBusy;  // at least so many, if it waits for its turn each time

// Makes kSteps steps, and says how many the busy tasks made meanwhile.
Task<int64_t> StepsOfOthers(Cx cx, Scene* scene) {
  const int64_t before = scene->busy_steps;
  for (int i = 0; i < kSteps; ++i) co_await OrReturn(Yield(cx));
  co_return scene->busy_steps - before;
}

// ---- a drain wait that parks after the cancel ----------------------------------------------------------

TEST(InheritanceTest, HolderGetsAheadOfReadyTasksWhileADrainingTaskWaitsForIt) {
  OnOneWorker([](Cx cx, Scene& scene) -> Task<void> {
    Mutex mutex;
    std::optional<RegionRef> region;
    int64_t before = -1, during = -1, after = -1;
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      std::optional<MutexGuard> guard(co_await OrReturn(mutex.Lock(cx)));
      before = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_await OrReturn(Pass(cx, scene.gate));
      during = co_await OrReturn(StepsOfOthers(cx, &scene));
      guard.reset();
      co_await OrReturn(Yield(cx));  // leaves the lane at its next enqueue
      after = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_return Ok();
    });
    auto waiter = scene.SpawnInRegion(region, [&](Cx cx) -> Task<void> {
      co_await OrReturn(Until(cx, [&] { return scene.gate.waiting() == 1; }));
      region->Cancel();
      MutexGuard guard = co_await OrReturn(mutex.Lock(cx.ForDrain()));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return region.has_value() && region->cancelled(); }));
    scene.gate.Open();
    (void)co_await OrReturn(holder.Join(cx));
    (void)co_await OrReturn(waiter.Join(cx));
    EXPECT_GE(before, kStoodInLine);
    EXPECT_LE(during, kGotAhead);
    EXPECT_GE(after, kStoodInLine) << "the lane is lent until the release";
    co_return Ok();
  });
}

// ---- the wait is there, and then the cancel comes ---------------------------------------------------------

// The steps of the others while the holder holds, once `cancel` has been called with the waiter parked.
template <class Wait>
void ExpectLent(Wait wait, void (*cancel)(RegionRef&, TaskHandle<void>&), bool is_lent = true,
                int masked = 0) {
  OnOneWorker([&](Cx cx, Scene& scene) -> Task<void> {
    Mutex mutex;
    std::optional<RegionRef> region;
    int64_t during = -1;
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      std::optional<MutexGuard> guard(co_await OrReturn(mutex.Lock(cx)));
      co_await OrReturn(Pass(cx, scene.gate));
      during = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return scene.gate.waiting() == 1; }));
    bool parking = false;
    auto opener = scene.SpawnInRegion(region, [&](Cx cx) -> Task<void> {
      std::optional<Masked> mask;
      if (masked > 0) mask.emplace(cx, masked);
      parking = true;
      Outcome<MutexGuard> guard = co_await wait(cx, mutex);
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return parking; }));
    cancel(*region, opener);
    scene.gate.Open();
    (void)co_await OrReturn(holder.Join(cx));
    (void)co_await OrReturn(opener.Join(cx));
    if (is_lent) {
      EXPECT_LE(during, kGotAhead);
    } else {
      EXPECT_GE(during, kStoodInLine);
    }
    co_return Ok();
  });
}

LockWait DrainLock(Cx cx, Mutex& mutex) { return mutex.Lock(cx.ForDrain()); }
LockWait PlainLock(Cx cx, Mutex& mutex) { return mutex.Lock(cx); }
void CancelRegion(RegionRef& region, TaskHandle<void>&) { region.Cancel(); }
void CancelByHandle(RegionRef&, TaskHandle<void>& opener) { opener.Cancel(); }

TEST(InheritanceTest, CancelOfTheRegionThatComesWhileADrainWaitIsParked) {
  ExpectLent(&DrainLock, &CancelRegion);
}
TEST(InheritanceTest, CancelThroughAHandleThatComesWhileADrainWaitIsParked) {
  ExpectLent(&DrainLock, &CancelByHandle);
}
TEST(InheritanceTest, MaskedWaitLendsTheLaneToo) {
  ExpectLent(&PlainLock, &CancelRegion, true, /*masked=*/10);
}
TEST(InheritanceTest, OrdinaryWaitThatIsCancelledLendsNothing) {
  ExpectLent(&PlainLock, &CancelRegion, /*is_lent=*/false);
}
TEST(InheritanceTest, ArmOfASelectThatDrainsLendsTheLane) {
  ExpectLent(
      [](Cx cx, Mutex& mutex) -> Task<MutexGuard> {
        const Cx drain = cx.ForDrain();
        auto won = co_await OrReturn(
            Select(drain, SleepUntil(drain, Instant::InfiniteFuture()), mutex.Lock(drain)));
        co_return std::get<1>(std::move(won));
      },
      &CancelRegion);
}

// The task of the handle itself waits, not one in a region that it has opened.
TEST(InheritanceTest, TaskThatIsCancelledByItsHandleWhileItsDrainWaitIsParked) {
  OnOneWorker([](Cx cx, Scene& scene) -> Task<void> {
    Mutex mutex;
    int64_t during = -1;
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
      co_await OrReturn(Pass(cx, scene.gate));
      during = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return scene.gate.waiting() == 1; }));
    bool parking = false;
    auto waiter = cx.Spawn("waiter", [&](Cx cx) -> Task<void> {
      parking = true;
      MutexGuard guard = co_await OrReturn(mutex.Lock(cx.ForDrain()));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return parking; }));
    waiter.Cancel();
    scene.gate.Open();
    (void)co_await OrReturn(holder.Join(cx));
    (void)co_await OrReturn(waiter.Join(cx));
    EXPECT_LE(during, kGotAhead);
    co_return Ok();
  });
}

// ---- chains and queues ------------------------------------------------------------------------------

// drains -> first (held by 'middle', which waits for) -> second (held by 'last').
void ExpectTransitive(bool middle_parks_last) {
  OnOneWorker([&](Cx cx, Scene& scene) -> Task<void> {
    Mutex first, second;
    Gate before_middle;
    std::optional<RegionRef> region;
    int64_t last_steps = -1, middle_steps = -1;
    bool middle_parks = false;
    auto last = cx.Spawn("last", [&](Cx cx) -> Task<void> {
      MutexGuard guard = co_await OrReturn(second.Lock(cx));
      co_await OrReturn(Pass(cx, scene.gate));
      last_steps = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_return Ok();
    });
    auto middle = cx.Spawn("middle", [&](Cx cx) -> Task<void> {
      MutexGuard guard = co_await OrReturn(first.Lock(cx));
      co_await OrReturn(Pass(cx, before_middle));
      middle_parks = true;
      MutexGuard inner = co_await OrReturn(second.Lock(cx));
      middle_steps = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_return Ok();
    });
    co_await OrReturn(
        Until(cx, [&] { return scene.gate.waiting() == 1 && before_middle.waiting() == 1; }));
    if (!middle_parks_last) {
      before_middle.Open();
      co_await OrReturn(Until(cx, [&] { return middle_parks; }));
    }
    bool parking = false;
    auto opener = scene.SpawnInRegion(region, [&](Cx cx) -> Task<void> {
      parking = true;
      MutexGuard guard = co_await OrReturn(first.Lock(cx.ForDrain()));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return parking; }));
    region->Cancel();
    if (middle_parks_last) {
      before_middle.Open();
      co_await OrReturn(Until(cx, [&] { return middle_parks; }));
    }
    scene.gate.Open();
    (void)co_await OrReturn(last.Join(cx));
    (void)co_await OrReturn(middle.Join(cx));
    (void)co_await OrReturn(opener.Join(cx));
    EXPECT_LE(last_steps, kGotAhead);
    EXPECT_LE(middle_steps, kGotAhead);
    co_return Ok();
  });
}
TEST(InheritanceTest, LaneIsLentOnToWhatTheHolderIsParkedFor) {
  ExpectTransitive(/*middle_parks_last=*/false);
}
TEST(InheritanceTest, LaneIsLentOnWhenTheBoostedHolderParks) {
  ExpectTransitive(/*middle_parks_last=*/true);
}

TEST(InheritanceTest, NextHolderInheritsWhileOneThatDrainsStillWaitsAndTheOneAfterThatDoesNot) {
  OnOneWorker([](Cx cx, Scene& scene) -> Task<void> {
    Mutex mutex;
    std::optional<RegionRef> region;
    int64_t before_it = -1, behind_it = -1;
    int parking = 0;
    std::optional<MutexGuard> guard(co_await OrReturn(mutex.Lock(cx)));
    const auto wait = [&](Cx cx, int64_t* steps) -> Task<void> {
      ++parking;
      MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
      co_await OrReturn(Yield(cx));  // one step in the lane that the grant was posted in
      *steps = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_return Ok();
    };
    auto first = cx.Spawn("before", wait, &before_it);
    co_await OrReturn(Until(cx, [&] { return parking == 1; }));
    auto opener = scene.SpawnInRegion(region, [&](Cx cx) -> Task<void> {
      ++parking;
      MutexGuard guard = co_await OrReturn(mutex.Lock(cx.ForDrain()));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return parking == 2; }));
    auto third = cx.Spawn("behind", wait, &behind_it);
    co_await OrReturn(Until(cx, [&] { return parking == 3; }));
    region->Cancel();
    guard.reset();
    (void)co_await OrReturn(first.Join(cx));
    (void)co_await OrReturn(third.Join(cx));
    (void)co_await OrReturn(opener.Join(cx));
    EXPECT_LE(before_it, kGotAhead);
    EXPECT_GE(behind_it, kStoodInLine);
    co_return Ok();
  });
}

// The task's word counts the locks that lend in a few bits, with the arm of a Select beside them.
TEST(InheritanceTest, HolderOfHundredsOfLocksThatAllLendGetsTheArmThatWasGranted) {
  OnOneWorker([](Cx cx, Scene& scene) -> Task<void> {
    constexpr size_t kLocks = 600;
    std::vector<std::unique_ptr<Mutex>> locks;
    for (size_t i = 0; i < kLocks; ++i) locks.push_back(std::make_unique<Mutex>());
    std::optional<RegionRef> region;
    size_t parking = 0;
    int64_t during = -1, after = -1;
    Mutex other;
    std::optional<MutexGuard> guard(co_await OrReturn(other.Lock(cx)));
    bool selects = false;
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      std::vector<MutexGuard> guards;
      for (auto& lock : locks) guards.push_back(co_await OrReturn(lock->Lock(cx)));
      selects = true;
      auto won =
          co_await OrReturn(Select(cx, SleepUntil(cx, Instant::InfiniteFuture()), other.Lock(cx)));
      EXPECT_EQ(won.index(), 1u);
      during = co_await OrReturn(StepsOfOthers(cx, &scene));
      guards.clear();
      co_await OrReturn(Yield(cx));
      after = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return selects; }));
    auto opener = scene.SpawnInRegion(region, [&](Cx cx) -> Task<void> {
      for (auto& lock : locks) {
        cx.Spawn("waiter", [&](Cx cx) -> Task<void> {
          ++parking;
          MutexGuard guard = co_await OrReturn(lock->Lock(cx.ForDrain()));
          co_return Ok();
        });
      }
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return parking == kLocks; }));
    guard.reset();  // the arm is granted, and before the task reads which one it was …
    region->Cancel();
    (void)co_await OrReturn(holder.Join(cx));
    (void)co_await OrReturn(opener.Join(cx));
    EXPECT_LE(during, kGotAhead);
    EXPECT_GE(after, kStoodInLine);
    co_return Ok();
  });
}

// ---- a lock of readers and a writer --------------------------------------------------------------------

TEST(InheritanceTest, WriterInheritsTheLaneOfAReaderThatDrains) {
  OnOneWorker([](Cx cx, Scene& scene) -> Task<void> {
    RwLock lock;
    std::optional<RegionRef> region;
    int64_t during = -1;
    auto writer = cx.Spawn("writer", [&](Cx cx) -> Task<void> {
      WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
      co_await OrReturn(Pass(cx, scene.gate));
      during = co_await OrReturn(StepsOfOthers(cx, &scene));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return scene.gate.waiting() == 1; }));
    bool parking = false;
    auto opener = scene.SpawnInRegion(region, [&](Cx cx) -> Task<void> {
      parking = true;
      ReadGuard guard = co_await OrReturn(lock.ReadLock(cx.ForDrain()));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return parking; }));
    region->Cancel();
    scene.gate.Open();
    (void)co_await OrReturn(writer.Join(cx));
    (void)co_await OrReturn(opener.Join(cx));
    EXPECT_LE(during, kGotAhead);
    co_return Ok();
  });
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

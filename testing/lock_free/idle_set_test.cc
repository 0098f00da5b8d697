// IdleSet, in every order of the operations of workers that go to sleep and of those who bring them work.
//
// The pool here is WorkerPool reduced to how its threads sleep and wake: what a worker does is what Worker::Search does, and
// what others do is what WorkerPool::Post, PostNear and Arm do. It has no watchers, who would repair what is lost.
#include "quiesce/runtime/scheduler/idle_set.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <deque>

#include "gtest/gtest.h"
#include "quiesce/runtime/base/sanitizers.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/testing/lab/machine.h"
#include "quiesce/testing/lab/store_buffer.h"
#include "quiesce/testing/lock_free/explore_all.h"

namespace quiesce::lock_free {
namespace {

constexpr Instant kNever = Instant::InfiniteFuture();

template <class Memory>
struct Pool {
  template <class T>
  using Atomic = typename Memory::template Atomic<T>;
  using IdleSet = BasicIdleSet<Memory>;

  // A worker's poller: a wake-up that comes before the wait ends that.
  class Bell {
   public:
    void Ring() { rings_.exchange(true); }
    void Wait() {
      Memory::Await(rings_, [](bool rings) { return rings; }, std::memory_order_acquire);
      rings_.exchange(false);
    }

   private:
    Atomic<bool> rings_{false};
  };
  struct Worker : IdleSet::Member {
    Bell bell;
    Instant asleep_until = Instant::InfinitePast();  // while it sleeps
  };
  // Something to run, in a queue that everybody may take it from.
  struct Step {
    Atomic<bool> queued{false};
    int runs = 0;
  };

  // ---- a worker ----
  void Work(Worker& worker) {
    do {
      Step* step = worker.parked ? nullptr : Pick();  // it may be asleep when all begins
      if (step == nullptr) step = Search(worker);
      ++step->runs;
    } while (steps_end);
  }
  Step* Pick() {
    for (Step& step : steps) {
      bool queued = step.queued.load(std::memory_order_relaxed);
      if (queued && step.queued.compare_exchange_strong(queued, false)) return &step;
    }
    return nullptr;
  }
  Step* Search(Worker& worker) {
    bool sleeps = worker.parked;
    if (!sleeps) idle.StartSearching();
    while (true) {
      if (!sleeps) {
        if (Step* step = Pick()) {
          if (idle.StopSearching() && AnyStealable()) WakeOne();
          return step;
        }
        idle.Park(&worker);
      }
      if (sleeps || !AnyStealable()) Sleep(worker);
      sleeps = false;
      idle.Unpark(&worker);
    }
  }
  void Sleep(Worker& worker) {
    if (!has_timers) return worker.bell.Wait();
    const Instant timer_at = Instant::FromNanos(next_timer.load(std::memory_order_relaxed));
    const Instant until = idle.SleepUntil(&worker, timer_at, kNever);
    if (until == Instant::InfinitePast()) return;
    worker.asleep_until = until;
    worker.bell.Wait();
    worker.asleep_until = Instant::InfinitePast();
  }
  bool AnyStealable() const {
    for (const Step& step : steps) {
      if (step.queued.load(std::memory_order_relaxed)) return true;
    }
    return false;
  }
  void WakeOne() {
    if (auto* member = idle.Take()) static_cast<Worker*>(member)->bell.Ring();
  }

  // ---- others ----
  void Post(size_t step) {
    idle.Produce([&](auto*) { steps[step].queued.store(true, std::memory_order_relaxed); },
                 [](auto* member) { static_cast<Worker*>(member)->bell.Ring(); });
  }
  void PostNear(Worker& near, size_t step) {
    steps[step].queued.store(true, std::memory_order_relaxed);
    if (!idle.NeedsWake()) return;
    if (idle.TakeThis(&near)) {
      near.bell.Ring();
    } else {
      WakeOne();
    }
  }
  void Arm(Instant when) {
    next_timer.store(when.nanos(), std::memory_order_relaxed);
    Memory::Fence();
    if (!idle.anyone_parked()) return;
    if (auto* member = idle.TakeForTimer(when)) static_cast<Worker*>(member)->bell.Ring();
  }

  // ---- at the end ----
  // All that is left sleeps.
  void ExpectAllRan() const {
    for (const Step& step : steps) EXPECT_EQ(step.runs, 1) << "all sleep, and there is work";
  }
  void ExpectSomebodyAwakeBy(Instant when) const {
    bool somebody = false;
    for (const Worker& worker : workers) somebody |= worker.asleep_until <= when;
    EXPECT_TRUE(somebody) << "all sleep longer than the timer";
  }

  IdleSet idle;
  std::deque<Worker> workers;
  std::deque<Step> steps;
  bool steps_end = true;    // else a worker that has begun one is not seen again
  bool has_timers = false;  // else to look at them would only be more steps
  Atomic<int64_t> next_timer{kNever.nanos()};
};

template <class Memory>
class IdleSetTest : public ::testing::Test {
 protected:
  using Shared = Pool<Memory>;

  // The first `asleep` of the workers sleep.
  static void Make(lab::Machine& machine, Shared& pool, size_t workers, size_t asleep,
                   size_t steps) {
    for (size_t i = 0; i < steps; ++i) pool.steps.emplace_back();
    for (size_t i = 0; i < workers; ++i) {
      auto& worker = pool.workers.emplace_back();
      if (i < asleep) {
        pool.idle.StartSearching();
        pool.idle.Park(&worker);
      }
      machine.Spawn([&] { pool.Work(worker); });
    }
  }
  static void ExpectAllRan(Shared& pool) { pool.ExpectAllRan(); }
};
// What happens over a sequentially consistent memory happens over this one, too.
using Memories = ::testing::Types<lab::StoreBufferMemory>;
TYPED_TEST_SUITE(IdleSetTest, Memories);

TYPED_TEST(IdleSetTest, AWorkerThatGoesToSleepIsWokenOrSeesTheWork) {
  using Shared = Pool<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& pool) {
        TestFixture::Make(machine, pool, /*workers=*/1, /*asleep=*/0, /*steps=*/1);
        machine.Spawn([&] { pool.Post(0); });
      },
      &TestFixture::ExpectAllRan);
}

TYPED_TEST(IdleSetTest, TwoWhoPostWakeOneWorkerThatRunsBoth) {
  using Shared = Pool<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& pool) {
        TestFixture::Make(machine, pool, /*workers=*/1, /*asleep=*/1, /*steps=*/2);
        for (size_t step : {0, 1}) machine.Spawn([&pool, step] { pool.Post(step); });
      },
      &TestFixture::ExpectAllRan);
}

TYPED_TEST(IdleSetTest, OfTwoWorkersThatGoToSleepOneRunsIt) {
  using Shared = Pool<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& pool) {
        TestFixture::Make(machine, pool, /*workers=*/2, /*asleep=*/1, /*steps=*/1);
        machine.Spawn([&] { pool.Post(0); });
      },
      &TestFixture::ExpectAllRan);
}

TYPED_TEST(IdleSetTest, WorkThatIsNearAWorkerThatSleepsNotIsRun) {
  using Shared = Pool<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& pool) {
        TestFixture::Make(machine, pool, /*workers=*/1, /*asleep=*/0, /*steps=*/2);
        machine.Spawn([&] {
          pool.Post(0);
          pool.PostNear(pool.workers.front(), 1);
        });
      },
      &TestFixture::ExpectAllRan);
}

TYPED_TEST(IdleSetTest, NoneWaitsBehindAStepThatDoesNotEnd) {
  if (QUIESCE_ASAN || QUIESCE_TSAN) GTEST_SKIP() << "would take minutes";
  using Shared = Pool<TypeParam>;
  ExploreAll<Shared>(
      [](lab::Machine& machine, Shared& pool) {
        TestFixture::Make(machine, pool, /*workers=*/2, /*asleep=*/1, /*steps=*/2);
        pool.steps_end = false;
        machine.Spawn([&] {
          pool.Post(0);
          pool.Post(1);
        });
      },
      &TestFixture::ExpectAllRan);
}

TYPED_TEST(IdleSetTest, SomebodySleepsNoLongerThanTheTimer) {
  using Shared = Pool<TypeParam>;
  constexpr Instant kWhen = Instant::FromNanos(1000);
  ExploreAll<Shared>(
      [=](lab::Machine& machine, Shared& pool) {
        pool.has_timers = true;
        TestFixture::Make(machine, pool, /*workers=*/2, /*asleep=*/0, /*steps=*/0);
        machine.Spawn([&] { pool.Arm(kWhen); });
      },
      [=](Shared& pool) { pool.ExpectSomebodyAwakeBy(kWhen); });
}

}  // namespace
}  // namespace quiesce::lock_free

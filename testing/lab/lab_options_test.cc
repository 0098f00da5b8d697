// What Explore's options let happen, and what without them does not.
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/sync/notify.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/runtime/trace/shared_object.h"
#include "quiesce/testing/lab/lab.h"
#include "quiesce/testing/lab/oracles.h"
#include "quiesce/testing/lab/outcomes.h"

namespace quiesce {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::set<std::string> Seen(const Explore& how,
                           const std::function<Task<void>(Cx, std::string&)>& body) {
  const lab::Outcomes all = lab::OutcomesOf(how, body);
  EXPECT_TRUE(all.result.ok()) << all.result.failure;
  EXPECT_TRUE(all.result.exhausted) << all.result.verdict;
  return all.seen;
}

// ---- timers -----------------------------------------------------------------------------------------

Task<void> TwoSleeps(Cx cx, std::string& seen) {
  auto both = [&](Cx cx) -> Task<void> {
    for (const int ms : {1, 2}) {
      cx.Spawn("sleeper", [&seen, ms](Cx cx) -> Task<void> {
        co_await OrReturn(Sleep(cx, absl::Milliseconds(ms)));
        lab::Write(seen, ms);
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "both", both);
}

TEST(LabOptionsTest, TimersFireInTheirOrderUnlessTheyMayBeLate) {
  EXPECT_THAT(Seen(Explore::Exhaustive(), TwoSleeps), ElementsAre("12"));
  EXPECT_THAT(Seen(Explore::Exhaustive().WithLateTimers(), TwoSleeps),
              UnorderedElementsAre("12", "21"));
}

// ---- workers ----------------------------------------------------------------------------------------

Task<void> ThreeTasks(Cx cx, std::string& seen) {
  auto three = [&](Cx cx) -> Task<void> {
    for (const char name : {'a', 'b', 'c'}) {
      cx.Spawn("task", [&seen, name](Cx cx) -> Task<void> {
        lab::Write(seen, std::string(1, name));
        co_await OrReturn(Yield(cx));
        lab::Write(seen, std::string(1, name));
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "three", three);
}

TEST(LabOptionsTest, OneWorkerHasOneOrder) {
  std::string seen;
  const LabResult result = RunLab(Explore::Exhaustive().WithWorkers(1), [&](Cx cx) -> Task<void> {
    seen.clear();
    co_await OrReturn(ThreeTasks(cx, seen));
    EXPECT_EQ(seen, "abcabc");
    co_return Ok();
  });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(result.exhausted);
  EXPECT_EQ(result.executions, 1u);
  EXPECT_THAT(result.verdict, HasSubstr("other orders than those of 1 worker"));
}

TEST(LabOptionsTest, TwoWorkersHaveMore) {
  const auto three = [](Cx cx, std::string& seen) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      for (const char name : {'a', 'b', 'c'}) {
        cx.Spawn("task", [&seen, name](Cx) -> Task<void> {
          lab::Write(seen, std::string(1, name));
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "three", body);
  };
  // The third is taken by nobody before one of the first two has let go of its worker.
  EXPECT_THAT(Seen(Explore::Exhaustive().WithWorkers(2), three),
              UnorderedElementsAre("abc", "acb", "bac", "bca"));
}

// A task that is cancelled, and one that was ready before it.
Task<void> CancelBesideReady(Cx cx, std::string& seen) {
  Notify never;
  auto both = [&](Cx cx) -> Task<void> {
    TaskHandle<void> waits = cx.Spawn("waits", [&](Cx cx) -> Task<void> {
      (void)co_await never.Wait(cx);
      lab::Write(seen, "c");
      co_return Ok();
    });
    co_await OrReturn(Yield(cx));
    co_await OrReturn(Yield(cx));
    cx.Spawn("ready", [&](Cx) -> Task<void> {
      lab::Write(seen, "r");
      co_return Ok();
    });
    waits.Cancel();
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "both", both);
}

TEST(LabOptionsTest, CancelledTaskGoesFirstOnAWorker) {
  EXPECT_THAT(Seen(Explore::Exhaustive().WithWorkers(1), CancelBesideReady), ElementsAre("cr"));
  EXPECT_THAT(Seen(Explore::Exhaustive(), CancelBesideReady),
              ::testing::IsSupersetOf({"cr", "rc"}));
}

// ---- the oracle of lanes ----------------------------------------------------------------------------

class LanesTest : public ::testing::Test {
 protected:
  LanesTest() { oracles_.Begin(); }
  void Queue(const int& step, Lane lane, int64_t deadline = 0) {
    oracles_.OnQueued(&step, lane, Instant::FromNanos(deadline));
  }
  const std::string& Take(const int& step) {
    oracles_.OnTaken(&step);
    return oracles_.violation();
  }
  lab::Oracles oracles_;
  int steps_[64] = {};
};

TEST_F(LanesTest, CancelGoesFirst) {
  Queue(steps_[0], Lane::kReady);
  Queue(steps_[1], Lane::kCancel);
  EXPECT_THAT(Take(steps_[0]), HasSubstr("G12 (lanes)"));
}

TEST_F(LanesTest, EarliestDeadlineGoesFirst) {
  Queue(steps_[0], Lane::kTimed, 2);
  Queue(steps_[1], Lane::kTimed, 1);
  EXPECT_THAT(Take(steps_[0]), HasSubstr("earlier deadline"));
}

TEST_F(LanesTest, SeventeenCancelledStepsInARow) {
  Queue(steps_[63], Lane::kReady);
  for (int i = 0; i < 17; ++i) Queue(steps_[i], Lane::kCancel);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(Take(steps_[i]), "");
  EXPECT_THAT(Take(steps_[16]), HasSubstr("more than 16 steps"));
}

TEST_F(LanesTest, ThirtyThreeTimedStepsInARow) {
  Queue(steps_[63], Lane::kReady);
  for (int i = 0; i < 33; ++i) Queue(steps_[i], Lane::kTimed, i);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(Take(steps_[i]), "");
  EXPECT_THAT(Take(steps_[32]), HasSubstr("more than 32 steps"));
}

TEST_F(LanesTest, NobodyHadQueuedIt) { EXPECT_THAT(Take(steps_[0]), HasSubstr("nobody")); }

// ---- waits in two steps -----------------------------------------------------------------------------

// Loses its only signal if that comes between the two.
class Forgetful {
 public:
  void Set() {
    PrimitiveLockHolder lock(lock_);
    set_ = true;
    if (waiter_ != nullptr) waiter_->Grant();
  }

  class Op {
   public:
    using Value = void;
    static constexpr const char* kName = "Forgetful::Wait";
    static constexpr bool kStructural = false;
    explicit Op(Forgetful& of) : of_(of) {}
    bool Try(Waiter&, std::optional<Outcome<void>>& result) {
      PrimitiveLockHolder lock(of_.lock_);
      if (!of_.set_) return false;
      result.emplace(Ok());
      return true;
    }
    Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>&) {
      PrimitiveLockHolder lock(of_.lock_);
      of_.waiter_ = &waiter;  // and does not look once more
      return Enqueued::kQueued;
    }
    bool Harvest(Waiter&, std::optional<Outcome<void>>& result) {
      PrimitiveLockHolder lock(of_.lock_);
      of_.waiter_ = nullptr;
      result.emplace(Ok());
      return true;
    }
    void Withdraw(Waiter&) {
      PrimitiveLockHolder lock(of_.lock_);
      of_.waiter_ = nullptr;
    }

   private:
    Forgetful& of_;
  };
  ::quiesce::Wait<Op> Wait(const CxBase& cx) { return ::quiesce::Wait<Op>(cx, *this); }

 private:
  PrimitiveLock lock_{"Forgetful"};
  bool set_ = false;
  Waiter* waiter_ = nullptr;
};

TEST(LabOptionsTest, WhatComesBetweenATryAndItsQueueing) {
  const LabMain body = [](Cx cx) -> Task<void> {
    Forgetful signal;
    auto both = [&](Cx cx) -> Task<void> {
      cx.Spawn("sets", [&](Cx) -> Task<void> {
        signal.Set();
        co_return Ok();
      });
      co_return co_await signal.Wait(cx);
    };
    co_return co_await Region::Open(cx, "both", both);
  };
  EXPECT_TRUE(RunLab(Explore::Exhaustive(), body).ok());
  EXPECT_THAT(RunLab(Explore::Exhaustive().WithSplitWaits(), body).failure, HasSubstr("DEADLOCK"));
}

// ---- drains -----------------------------------------------------------------------------------------

TEST(LabOptionsTest, TimeOfADrainEndsAtSomeMoment) {
  bool drained = false, cut_off = false;
  const LabMain body = [&](Cx cx) -> Task<void> {
    (void)co_await Yield(cx);
    if (!cx.cancelled()) co_return Ok();
    const Outcome<void> drain = co_await Sleep(cx.ForDrain(), absl::Milliseconds(1));
    (drain.ok() ? drained : cut_off) = true;
    co_return Ok();
  };
  EXPECT_TRUE(RunLab(Explore::Exhaustive().WithCancelSweep(), body).ok());
  EXPECT_TRUE(drained);
  EXPECT_FALSE(cut_off);
  const LabResult result = RunLab(Explore::Exhaustive().WithCancelSweep().WithSpentDrains(), body);
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(cut_off);
}

TEST(LabOptionsDeathTest, NoWorkers) {
  EXPECT_DEATH((void)Explore::Exhaustive().WithWorkers(0), "nobody would run anything");
}

}  // namespace
}  // namespace quiesce

// R2: the three kinds of waits: ordinary, drain and structural; and Join.
#include <atomic>
#include <string>
#include <thread>

#include "quiesce/runtime/blocking/blocking.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;

// --- ordinary waits ------------------------------------------------------------------------------

TEST(OrdinaryWaitTest, CancelEndsTheParkedWaitAndEveryLaterOneAgainAndAgain) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx, gate)).ok());
      for (int i = 0; i < 1000; ++i) {
        EXPECT_FALSE((co_await Pass(cx, gate)).ok());
        EXPECT_FALSE((co_await Sleep(cx, absl::Hours(1))).ok());
        EXPECT_FALSE((co_await Yield(cx)).ok());
        EXPECT_FALSE(cx.TryCheckpoint().ok());
      }
      EXPECT_EQ(gate.waiting(), 0);
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    cx.Ref().Cancel();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(OrdinaryWaitTest, CancelledWaitHasNoEffectEvenIfItNeedNotWait) {
  TestRuntime rt;
  Gate open;
  open.Open();
  std::atomic<int> passed{0};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    // The gate is open: without the cancel each of these would pass at once.
    for (int i = 0; i < 1000; ++i) passed += (co_await Pass(cx, open)).ok();
    co_return Ok();
  });
  EXPECT_EQ(passed, 0);
  EXPECT_THAT(outcome, IsOk());
}

TEST(OrdinaryWaitTest, ForgottenChecksDoNotHangADrain) {
  TestRuntime rt;
  // Ignores every outcome, and would wait for 1000 hours.
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    cx.Spawn("careless", [](Cx cx) -> Task<void> {
      for (int i = 0; i < 1000; ++i) (void)co_await Sleep(cx, absl::Hours(1));
      co_return Ok();
    });
    co_await OrReturn(Yield(cx));
    cx.Ref().Cancel();
    co_return Ok();
  });
  EXPECT_TRUE(outcome.ok() || outcome.is_cancelled()) << outcome.ToString();
}

TEST(OrdinaryWaitTest, CheckpointThatNeverSuspendsFailsAsAWaitWould) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    EXPECT_THAT(cx.TryCheckpoint(), IsOk());
    cx.Ref().Cancel();
    EXPECT_THAT(cx.TryCheckpoint(), IsCancelled(CancelKind::kUser));
    EXPECT_THAT(cx.ForDrain().TryCheckpoint(), IsOk());
    EXPECT_TRUE(cx.ForDrain().cancelled()) << "ForDrain decides what waits do, not what is asked";
    {
      Masked mask(cx, 1);
      EXPECT_THAT(cx.TryCheckpoint(), IsOk());
    }
    EXPECT_THAT(cx.TryCheckpoint(), IsCancelled(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// --- drain waits ---------------------------------------------------------------------------------

TEST(DrainWaitTest, MadeBeforeTheRequestItGoesOn) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_THAT(co_await Pass(cx.ForDrain(), gate), IsOk());
      EXPECT_TRUE(cx.cancelled());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    cx.Ref().Cancel();
    EXPECT_EQ(gate.waiting(), 1);
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(DrainWaitTest, MadeAfterTheRequestItWorks) {
  TestRuntime rt;
  Gate gate, parked;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx, parked)).ok());
      EXPECT_THAT(co_await Pass(cx.ForDrain(), gate), IsOk());
      EXPECT_THAT(co_await Sleep(cx.ForDrain(), absl::Milliseconds(1)), IsOk());
      EXPECT_THAT(co_await Yield(cx.ForDrain()), IsOk());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return parked.waiting() == 1; }));
    cx.Ref().Cancel();
    co_await OrReturn(Until(cx.ForDrain(), [&] { return gate.waiting() == 1; }));
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// Cancels a region with one task parked in a drain wait and one that makes drain waits in a loop.
void ExpectBudgetEndsDrainWaits(const Budget& drain, bool through_handle) {
  TestRuntime rt;
  Gate gate;
  std::atomic<bool> looping{false};
  DrainReport report;
  Instant begin, ended;
  Outcome<void> outcome = rt.Run(
      [&](Cx cx) -> Task<void> {
        begin = cx.Now();
        auto opener = cx.Spawn("opener", [&](Cx cx) -> Task<void> {
          co_return co_await Region::Open(cx, "r", [&](Cx cx) -> Task<void> {
            cx.Spawn("parked", [&](Cx cx) -> Task<void> {
              Outcome<void> passed = co_await Pass(cx.ForDrain(), gate);
              EXPECT_THAT(passed, IsCancelled(CancelKind::kDrainBudgetSpent));
              EXPECT_THAT(passed, IsCancelledBy(CancelKind::kUser));
              EXPECT_FALSE((co_await Pass(cx.ForDrain(), gate)).ok());
              co_return Ok();
            });
            cx.Spawn("looping", [&](Cx cx) -> Task<void> {
              looping = true;
              while ((co_await Yield(cx.ForDrain())).ok()) cx.Charge(1);
              EXPECT_FALSE((co_await Yield(cx.ForDrain())).ok());
              co_return Ok();
            });
            if (!through_handle) {
              co_await OrReturn(Until(cx, [&] { return looping && gate.waiting() == 1; }));
              cx.Ref().Cancel(drain);
            }
            co_return Ok();
          });
        });
        if (through_handle) {
          co_await OrReturn(Until(cx, [&] { return looping && gate.waiting() == 1; }));
          opener.Cancel(drain);
        }
        EXPECT_THAT(co_await OrReturn(opener.Join(cx)), IsOk());
        ended = cx.Now();
        co_return Ok();
      },
      &report);
  EXPECT_THAT(outcome, IsOk());
  // A region further down is cancelled without a shutdown, which is what the report is about.
  EXPECT_EQ(report.tasks_cut_off, through_handle ? 2 : 0);
  EXPECT_LT(ended - begin, absl::Seconds(4))
      << "the default of five seconds has ended it, not the budget";
}

TEST(DrainWaitTest, EndsWhenTheTimeToDrainIsSpent) {
  ExpectBudgetEndsDrainWaits(Budget::Timeout(absl::Milliseconds(2)), false);
}
TEST(DrainWaitTest, EndsWhenThePollsToDrainAreSpent) {
  ExpectBudgetEndsDrainWaits(Budget::Polls(50), false);
}
TEST(DrainWaitTest, EndsWhenTheCostToDrainIsSpent) {
  ExpectBudgetEndsDrainWaits(Budget::Cost(50), false);
}
TEST(DrainWaitTest, EndsAtOnceWithABudgetOfNoTime) {
  ExpectBudgetEndsDrainWaits(Budget::Timeout(absl::ZeroDuration()), false);
}
TEST(DrainWaitTest, EndsAtOnceWithABudgetOfNoPolls) {
  ExpectBudgetEndsDrainWaits(Budget::Polls(0), false);
}
TEST(DrainWaitTest, EndsAtOnceWithABudgetOfNoCost) {
  ExpectBudgetEndsDrainWaits(Budget::Cost(0), false);
}
TEST(DrainWaitTest, EndsWhenTheTimeOfAHandleCancelIsSpent) {
  ExpectBudgetEndsDrainWaits(Budget::Timeout(absl::Milliseconds(2)), true);
}
TEST(DrainWaitTest, EndsWhenThePollsOfAHandleCancelAreSpent) {
  ExpectBudgetEndsDrainWaits(Budget::Polls(50), true);
}
TEST(DrainWaitTest, EndsWhenTheCostOfAHandleCancelIsSpent) {
  ExpectBudgetEndsDrainWaits(Budget::Cost(50), true);
}

TEST(DrainWaitTest, EndsAtOnceWithAHandleCancelOfNoTime) {
  ExpectBudgetEndsDrainWaits(Budget::Timeout(absl::ZeroDuration()), true);
}
TEST(DrainWaitTest, EndsAtOnceWithAHandleCancelOfNoPolls) {
  ExpectBudgetEndsDrainWaits(Budget::Polls(0), true);
}

TEST(DrainWaitTest, OfTheCancelledTaskItselfEndsWhenTheHandlesBudgetIsSpent) {
  for (const Budget& drain :
       {Budget::Timeout(absl::Milliseconds(2)), Budget::Polls(20), Budget::Cost(20)}) {
    TestRuntime rt;
    DrainReport report;
    const auto body = [&](Cx cx) -> Task<void> {
      Gate started;
      auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
        started.Open();
        while (true) {
          Outcome<void> yielded = co_await Yield(cx.ForDrain());
          if (!yielded.ok()) co_return yielded;
          cx.Charge(1);
        }
      });
      co_await OrReturn(Pass(cx, started));
      child.Cancel(drain);
      Outcome<void> ended = co_await OrReturn(child.Join(cx));
      EXPECT_THAT(ended, IsCancelled(CancelKind::kDrainBudgetSpent)) << drain.ToString();
      co_return Ok();
    };
    EXPECT_THAT(rt.Run(body, &report), IsOk());
    EXPECT_LT(report.time, absl::Seconds(4)) << drain.ToString();
  }
}

// --- structural waits ----------------------------------------------------------------------------

TEST(StructuralWaitTest, RegionCloseForwardsTheCancelAndDoesNotEndBeforeItsTasks) {
  TestRuntime rt;
  Gate gate, cancelled;
  std::atomic<bool> closed{false};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto opener = cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      Outcome<void> inner = co_await Region::Open(cx, "r", [&](Cx cx) -> Task<void> {
        cx.Spawn("child", [&](Cx cx) -> Task<void> {
          EXPECT_FALSE((co_await Pass(cx, cancelled)).ok()) << "the cancel was not forwarded";
          co_return co_await DrainAt(cx, &gate);
        });
        co_return Ok();
      });
      closed = true;
      co_return inner;
    });
    co_await OrReturn(Until(cx, [&] { return cancelled.waiting() == 1; }));
    opener.Cancel();
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    for (int i = 0; i < 100; ++i) co_await OrReturn(Yield(cx));
    EXPECT_FALSE(closed);
    gate.Open();
    EXPECT_THAT(co_await OrReturn(opener.Join(cx)), IsOk());
    EXPECT_TRUE(closed);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(StructuralWaitTest, IsReportedWhenOverdueAndStillDoesNotEnd) {
  TestRuntime rt;
  Gate gate;
  std::atomic<bool> ended{false};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto holding = cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      co_return co_await Region::Open(
          cx, "r",
          [&](Cx cx) -> Task<void> {
            cx.Spawn("stuck", [&](Cx cx) -> Task<void> {
              EXPECT_THAT(co_await PassStructural(cx, gate), IsOk());
              ended = true;
              co_return Ok();
            });
            co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
            cx.Ref().Cancel(Budget::Timeout(absl::ZeroDuration()));
            co_return Ok();
          },
          FailFast(), RegionOptions().WithGrace(absl::ZeroDuration()));
    });
    co_await OrReturn(Until(cx, [&] { return rt.reports.Said("Gate::Pass (structural wait)"); }));
    EXPECT_TRUE(rt.reports.Said("'stuck'"));
    EXPECT_FALSE(ended);
    gate.Open();
    EXPECT_THAT(co_await OrReturn(holding.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_TRUE(ended);
}

// --- Join ----------------------------------------------------------------------------------------

TEST(JoinTest, YieldsTheTasksOutcomeApartFromTheJoinersOwn) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
    auto ok = cx.Spawn("ok", [](Cx) -> Task<int> { co_return 3; });
    Outcome<Outcome<int>> joined = co_await ok.Join(cx);
    EXPECT_THAT(joined, IsOk());
    EXPECT_EQ(**joined, 3);
    // A cancelled task is a join that went well.
    auto cancelled = cx.Spawn("cancelled", Forever);
    cancelled.Cancel();
    Outcome<Outcome<void>> of_cancelled = co_await cancelled.Join(cx);
    EXPECT_THAT(of_cancelled, IsOk());
    EXPECT_THAT(*of_cancelled, IsCancelled(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(JoinTest, CancelOfTheJoinerFailsTheJoinAndTheResultStays) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto worker = cx.Spawn("worker", [&](Cx cx) -> Task<int> {
      co_await OrReturn(Pass(cx, gate));
      co_return 9;
    });
    std::atomic<bool> joining{false};
    auto joiner = cx.Spawn("joiner", [&](Cx cx) -> Task<void> {
      joining = true;
      Outcome<Outcome<int>> joined = co_await worker.Join(cx);
      EXPECT_THAT(joined, IsCancelled(CancelKind::kUser));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return joining && gate.waiting() == 1; }));
    joiner.Cancel();
    EXPECT_THAT(co_await OrReturn(joiner.Join(cx)), IsOk());
    EXPECT_FALSE(worker.ended()) << "the task that was waited for goes on";
    gate.Open();
    Outcome<int> result = co_await OrReturn(worker.Join(cx));
    EXPECT_THAT(result, IsOk());
    EXPECT_EQ(*result, 9);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(JoinTest, FailsInACancelledRegionAlsoIfTheTaskHasEndedAndWorksForDrain) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    auto child = cx.Spawn("child", [](Cx) -> Task<int> { co_return 4; });
    co_await OrReturn(Until(cx, [&] { return child.ended(); }));
    cx.Ref().Cancel();
    EXPECT_THAT(co_await child.Join(cx), IsCancelled(CancelKind::kUser));
    Outcome<int> result = co_await OrReturn(child.Join(cx.ForDrain()));
    EXPECT_THAT(result, IsOk());
    EXPECT_EQ(*result, 4);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(JoinTest, HandleKeepsTheResultButNeitherTheFrameNorTheCallableNorItsArguments) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn(
        "child",
        [&trail, callable = Witness(&trail, "callable")](
            Cx, [[maybe_unused]] Witness argument) -> Task<std::string> {
          Witness local(&trail, "local");
          co_return "result";
        },
        Witness(&trail, "argument"));
    co_await OrReturn(Until(cx, [&] { return child.ended(); }));
    trail.Add("ended");
    Outcome<std::string> result = co_await OrReturn(child.Join(cx));
    EXPECT_EQ(*result, "result");
    trail.Add("joined");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(),
              ElementsAre("local gone", "argument gone", "callable gone", "ended", "joined"));
}

TEST(JoinTest, HandleOutlivesItsRegion) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
    std::optional<TaskHandle<std::string>> handle;
    co_await OrReturn(Region::Open(cx, "r", [&](Cx cx) -> Task<void> {
      handle = cx.Spawn("child", [](Cx) -> Task<std::string> { co_return "kept"; });
      co_return Ok();
    }));
    EXPECT_TRUE(handle->ended());
    handle->Cancel();  // without effect
    Outcome<std::string> result = co_await OrReturn(handle->Join(cx));
    EXPECT_EQ(*result, "kept");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(JoinTest, LettingTheHandleGoChangesNothing) {
  TestRuntime rt;
  Gate gate;
  std::atomic<bool> done{false};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    {
      auto handle = cx.Spawn("child", [&](Cx cx) -> Task<void> {
        co_await OrReturn(Pass(cx, gate));
        done = true;
        co_return Ok();
      });
    }
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_TRUE(done);
}

TEST(StructuralWaitTest, BlockingCallIsReportedByItsNameWhenOverdueAndStillWaitedFor) {
  TestRuntime rt;
  std::atomic<bool> running{false}, release{false};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto opener = cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        cx.Spawn("caller", [&](Cx cx) -> Task<void> {
          auto call = [&] {
            running = true;
            SpinUntil([&] { return release.load(); });
          };
          co_return co_await RunBlocking(cx, "resolve", call);
        });
        co_await OrReturn(Until(cx, [&] { return running.load(); }));
        cx.Ref().Cancel(Budget::Timeout(absl::ZeroDuration()));
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "r", body, FailFast(),
                                      RegionOptions().WithGrace(absl::ZeroDuration()));
    });
    co_await OrReturn(Until(cx, [&] { return rt.reports.Said("in resolve (structural wait)"); }));
    EXPECT_TRUE(rt.reports.Said("task 'caller'"));
    EXPECT_FALSE(opener.ended());
    release = true;
    EXPECT_THAT(co_await OrReturn(opener.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// A loop that ignores failures must not keep its worker: with one worker the rest would never run.
template <class Loop>
void ExpectFailingLoopLetsOthersRun(Loop loop) {
  TestRuntime rt(1);
  std::atomic<bool> stop{false};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("looping", [&](Cx cx) -> Task<void> {
      cx.Ref().Cancel();
      while (!stop) (void)co_await loop(cx);
      co_return Ok();
    });
    cx.ForDrain().Spawn("stopping", [&](Cx) -> Task<void> {
      stop = true;
      co_return Ok();
    });
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(FailingLoopTest, OfWaitsLetsOthersRun) {
  ExpectFailingLoopLetsOthersRun([](Cx cx) -> Task<void> {
    (void)co_await Yield(cx);
    co_return Ok();
  });
}
TEST(FailingLoopTest, OfCallsThatEndThroughOrReturnLetsOthersRun) {
  ExpectFailingLoopLetsOthersRun([](Cx cx) -> Task<void> {
    co_await OrReturn(Sleep(cx, absl::Hours(1)));
    co_return Ok();
  });
}
TEST(FailingLoopTest, OfAdmissionsLetsOthersRun) {
  ExpectFailingLoopLetsOthersRun([](Cx cx) -> Task<void> {
    (void)co_await cx.SpawnWhenAdmitted("late", [](Cx) -> Task<void> { co_return Ok(); });
    co_return Ok();
  });
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

// R3: budget spent > Masked > ForDrain > cancelled; refused spawns; tasks that do not start.
#include <atomic>
#include <string>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A region whose drain budget has been spent.
template <class Body>
Outcome<void> InSpentRegion(TestRuntime& rt, Body body) {
  return rt.Open([&](Cx cx) -> Task<void> {
    cx.Ref().Cancel(Budget::Timeout(absl::ZeroDuration()));
    // Drain waits work until the budget is spent, which comes at once.
    while (true) {
      Outcome<void> yielded =
          co_await Yield(cx.ForDrain());  // g++ 12 wants a type here, in a template
      if (!yielded.ok()) break;
    }
    co_return co_await body(cx);
  });
}

// --- the order -----------------------------------------------------------------------------------

TEST(PrecedenceTest, SpentBudgetEndsTheWaitsOfAMaskedTask) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = InSpentRegion(rt, [&](Cx cx) -> Task<void> {
    Masked mask(cx, 100);
    EXPECT_THAT(co_await Pass(cx, gate), IsCancelled(CancelKind::kDrainBudgetSpent));
    EXPECT_THAT(co_await Pass(cx.ForDrain(), gate), IsCancelled(CancelKind::kDrainBudgetSpent));
    EXPECT_THAT(cx.TryCheckpoint(), IsCancelled(CancelKind::kDrainBudgetSpent));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(PrecedenceTest, SpentBudgetWakesAParkedMaskedTask) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("masked", [&](Cx cx) -> Task<void> {
      Masked mask(cx, 100);
      EXPECT_THAT(co_await Pass(cx, gate), IsCancelled(CancelKind::kDrainBudgetSpent));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(2)));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(PrecedenceTest, SpentBudgetEndsDrainWaits) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = InSpentRegion(rt, [&](Cx cx) -> Task<void> {
    EXPECT_THAT(co_await Pass(cx.ForDrain(), gate), IsCancelled(CancelKind::kDrainBudgetSpent));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(PrecedenceTest, MaskedTaskGoesOnThroughACancel) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("masked", [&](Cx cx) -> Task<void> {
      Masked mask(cx, 1);
      EXPECT_THAT(co_await Pass(cx, gate), IsOk());
      EXPECT_TRUE(cx.cancelled()) << "a mask does not hide that one is asked to stop";
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    cx.Ref().Cancel();
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(PrecedenceTest, MaskedTaskGoesOnThroughACancelOfItsHandle) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("masked", [&](Cx cx) -> Task<void> {
      Masked mask(cx, 1);
      EXPECT_THAT(co_await Pass(cx, gate), IsOk());
      EXPECT_TRUE(cx.cancelled());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    child.Cancel();
    gate.Open();
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// --- Masked --------------------------------------------------------------------------------------

// Runs `body` with a cx whose region is cancelled.
template <class Body>
void InCancelledRegion(Body body) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    co_return co_await body(cx);
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(MaskedTest, EndsAfterSoManyResumes) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    Masked mask(cx, 3);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE((co_await Yield(cx)).ok()) << i;
    EXPECT_FALSE((co_await Yield(cx)).ok());
    co_return Ok();
  });
}

TEST(MaskedTest, EndsWithItsScope) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    {
      Masked mask(cx, 100);
      EXPECT_TRUE((co_await Yield(cx)).ok());
    }
    EXPECT_FALSE((co_await Yield(cx)).ok());
    co_return Ok();
  });
}

TEST(MaskedTest, WaitThatNeedNotSuspendUsesNoResume) {
  Gate open;
  open.Open();
  InCancelledRegion([&](Cx cx) -> Task<void> {
    Masked mask(cx, 1);
    for (int i = 0; i < 100; ++i) EXPECT_TRUE((co_await Pass(cx, open)).ok());
    EXPECT_TRUE((co_await Yield(cx)).ok());
    EXPECT_FALSE((co_await Pass(cx, open)).ok());
    co_return Ok();
  });
}

TEST(MaskedTest, OuterMaskGoesOnWhereAnInnerEnds) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    Masked outer(cx, 3);
    {
      Masked inner(cx, 1);
      EXPECT_TRUE((co_await Yield(cx)).ok());
      // The outer mask covers this scope too.
      EXPECT_TRUE((co_await Yield(cx)).ok());
    }
    EXPECT_TRUE((co_await Yield(cx)).ok());
    EXPECT_FALSE((co_await Yield(cx)).ok()) << "what the inner scope used, the outer mask has used";
    co_return Ok();
  });
}

TEST(MaskedTest, LongerInnerMaskEndsWithItsScope) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    Masked outer(cx, 1);
    {
      Masked inner(cx, 3);
      for (int i = 0; i < 3; ++i) EXPECT_TRUE((co_await Yield(cx)).ok()) << i;
    }
    EXPECT_FALSE((co_await Yield(cx)).ok());
    co_return Ok();
  });
}

TEST(MaskedTest, CoversTheCalleesOfTheTaskAndEndsWhenTheFrameIsUnwound) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    auto callee = [](Cx cx) -> Task<void> {
      co_await OrReturn(Yield(cx));
      co_return Ok();
    };
    auto failing = [&](Cx cx) -> Task<void> {
      Masked mask(cx, 10);
      EXPECT_THAT(co_await callee(cx), IsOk());
      co_await OrReturn(absl::InternalError("unwinds the mask"));
      co_return Ok();
    };
    EXPECT_THAT(co_await failing(cx), IsError("unwinds"));
    EXPECT_FALSE((co_await Yield(cx)).ok());
    co_return Ok();
  });
}

TEST(MaskedTest, IsOfTheTaskAndNotOfWhatItSpawns) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    {
      Masked mask(cx, 100);
      cx.Spawn("child", [&](Cx cx) -> Task<void> {
        EXPECT_FALSE((co_await Pass(cx, gate)).ok());
        co_return Ok();
      });
    }
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    Masked mask(cx, 100);
    cx.Ref().Cancel();
    auto refused = cx.Spawn("late", [](Cx) -> Task<void> { co_return Ok(); });
    EXPECT_TRUE(refused.ended()) << "a mask admits no spawns";
    EXPECT_THAT(co_await OrReturn(refused.Join(cx)), IsCancelled(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(MaskedDeathTest, MaskWithoutABoundIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto mask = [](int resumes) {
    TestRuntime rt(1);
    (void)rt.Run([&](Cx cx) -> Task<void> {
      Masked mask(cx, resumes);
      co_return Ok();
    });
  };
  EXPECT_DEATH(mask(0), "Masked\\(cx, 0\\): the number of resumes must be between 1 and 65535");
  EXPECT_DEATH(mask(65536), "Masked\\(cx, 65536\\)");
}

// --- ForDrain ------------------------------------------------------------------------------------

TEST(ForDrainTest, CalleesGetTheFlagByCopyAndTheCallersCxStaysOrdinary) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    auto callee = [](Cx cx) -> Task<void> {
      co_await OrReturn(Yield(cx));
      co_return Ok();
    };
    EXPECT_THAT(co_await callee(cx.ForDrain()), IsOk());
    EXPECT_THAT(co_await callee(cx), IsCancelled(CancelKind::kUser));
    co_return Ok();
  });
}

TEST(ForDrainTest, NarrowingKeepsTheFlag) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    CxWith<cap::Time> narrow = cx.ForDrain();
    EXPECT_THAT(co_await Sleep(narrow, absl::Milliseconds(1)), IsOk());
    co_return Ok();
  });
}

TEST(ForDrainTest, TaskSpawnedThroughItInheritsItAndSoDoWhatItSpawnsAndOpens) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    auto child = cx.ForDrain().Spawn("child", [](Cx cx) -> Task<void> {
      EXPECT_THAT(co_await Yield(cx), IsOk());
      auto grandchild = cx.Spawn("grandchild", [](Cx cx) -> Task<void> {
        EXPECT_THAT(co_await Sleep(cx, absl::Milliseconds(1)), IsOk());
        co_return Ok();
      });
      EXPECT_THAT(co_await OrReturn(grandchild.Join(cx)), IsOk());
      bool ran = false;
      EXPECT_THAT(co_await Region::Open(cx, "inner",
                                        [&](Cx cx) -> Task<void> {
                                          ran = true;
                                          co_await OrReturn(Yield(cx));
                                          co_return Ok();
                                        }),
                  IsOk());
      EXPECT_TRUE(ran);
      co_return Ok();
    });
    EXPECT_THAT(co_await OrReturn(child.Join(cx.ForDrain())), IsOk());
    co_return Ok();
  });
}

// --- refused spawns ------------------------------------------------------------------------------

TEST(SpawnRefusedTest, InACancelledRegionArgumentsAndCallableAreDestroyedAndTheHandleSaysWhy) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    auto refused = cx.Spawn(
        "late",
        [callable = Witness(&trail, "callable")](Cx, Witness) -> Task<int> {
          ADD_FAILURE() << "it ran";
          co_return 1;
        },
        Witness(&trail, "argument"));
    trail.Add("refused");
    EXPECT_TRUE(refused.ended());
    EXPECT_EQ(Live(cx.Ref()), 1u) << "a refused task never belonged to the region";
    Outcome<int> why = co_await OrReturn(refused.Join(cx.ForDrain()));
    EXPECT_THAT(why, IsCancelled(CancelKind::kUser));
    refused.Cancel();  // without effect
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk()) << "a refused spawn is nobody's child";
  EXPECT_THAT(trail.Steps(), ElementsAre("argument gone", "callable gone", "refused"));
}

TEST(SpawnRefusedTest, ByACancelledTaskInARegionThatIsOpen) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx, gate)).ok());
      auto refused = cx.Spawn("late", [](Cx) -> Task<void> { co_return Ok(); });
      EXPECT_THAT(co_await OrReturn(refused.Join(cx.ForDrain())), IsCancelled(CancelKind::kUser));
      auto admitted = cx.ForDrain().Spawn("drain", [](Cx) -> Task<void> { co_return Ok(); });
      EXPECT_THAT(co_await OrReturn(admitted.Join(cx.ForDrain())), IsOk());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    child.Cancel();
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(SpawnRefusedTest, ForDrainOnceTheDrainBudgetIsSpent) {
  TestRuntime rt;
  Outcome<void> outcome = InSpentRegion(rt, [](Cx cx) -> Task<void> {
    auto refused = cx.ForDrain().Spawn("late", [](Cx) -> Task<void> { co_return Ok(); });
    EXPECT_TRUE(refused.ended());
    EXPECT_THAT(std::move(refused).TakeOutcome(), IsCancelled(CancelKind::kDrainBudgetSpent));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// --- tasks that do not start ---------------------------------------------------------------------

// One worker: what is spawned cannot start before its spawner suspends.
TEST(NotStartedTest, TaskOfACancelledRegionDoesNotRunAndItsArgumentsAreDestroyed) {
  TestRuntime rt(1);
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn(
        "child",
        [&trail, callable = Witness(&trail, "callable")](Cx, Witness) -> Task<void> {
          trail.Add("ran");
          co_return Ok();
        },
        Witness(&trail, "argument"));
    cx.Ref().Cancel();
    EXPECT_THAT(co_await OrReturn(child.Join(cx.ForDrain())), IsCancelled(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsCancelled(CancelKind::kUser));
  EXPECT_THAT(trail.Steps(), ElementsAre("argument gone", "callable gone"));
}

TEST(NotStartedTest, TaskCancelledThroughItsHandleDoesNotRun) {
  TestRuntime rt(1);
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn(
        "child",
        [&trail](Cx, Witness) -> Task<void> {
          trail.Add("ran");
          co_return Ok();
        },
        Witness(&trail, "argument"));
    child.Cancel();
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsCancelled(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("argument gone"));
}

TEST(NotStartedTest, TaskSpawnedForDrainBeforeTheRequestDoesRun) {
  TestRuntime rt(1);
  std::atomic<bool> ran{false};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.ForDrain().Spawn("child", [&](Cx) -> Task<void> {
      ran = true;
      co_return Ok();
    });
    cx.Ref().Cancel();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_TRUE(ran);
}

TEST(NotStartedTest, TaskSpawnedForDrainDoesNotRunOnceTheBudgetIsSpent) {
  TestRuntime rt(1);
  std::atomic<bool> ran{false};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.ForDrain().Spawn("child", [&](Cx) -> Task<void> {
      ran = true;
      co_return Ok();
    });
    cx.Ref().Cancel(Budget::Polls(0));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsCancelled(CancelKind::kDrainBudgetSpent));
  EXPECT_FALSE(ran);
}

TEST(NotStartedTest, TaskSpawnedForDrainAndCancelledThroughItsHandleDoesRun) {
  TestRuntime rt(1);
  std::atomic<bool> ran{false};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto child = cx.ForDrain().Spawn("child", [&](Cx cx) -> Task<void> {
      ran = true;
      EXPECT_TRUE(cx.cancelled());
      EXPECT_THAT(co_await Yield(cx), IsOk());
      co_return Ok();
    });
    child.Cancel();
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_TRUE(ran);
}

TEST(SpawnRefusedTest, ForDrainByATaskWhoseOwnBudgetIsSpentInARegionThatIsOpen) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx.ForDrain(), gate)).ok());
      auto refused = cx.ForDrain().Spawn("late", [](Cx) -> Task<void> { co_return Ok(); });
      EXPECT_TRUE(refused.ended());
      EXPECT_THAT(std::move(refused).TakeOutcome(), IsCancelled(CancelKind::kDrainBudgetSpent));
      EXPECT_FALSE(cx.Ref().cancelled());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    child.Cancel(Budget::Polls(0));
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(MaskedTest, DrainWaitsUseItsResumesToo) {
  InCancelledRegion([](Cx cx) -> Task<void> {
    Masked mask(cx, 2);
    EXPECT_TRUE((co_await Yield(cx.ForDrain())).ok());
    EXPECT_TRUE((co_await Yield(cx)).ok());
    EXPECT_FALSE((co_await Yield(cx)).ok());
    co_return Ok();
  });
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

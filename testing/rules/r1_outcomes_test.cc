// R1: what a region's outcome is.
#include <atomic>
#include <string>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Task<void> FailAfter(Cx cx, Gate* gate, const char* message) {
  co_await OrReturn(Pass(cx.ForDrain(), *gate));
  co_return absl::InternalError(message);
}
Task<void> PanicAfter(Cx cx, Gate* gate, const char* message) {
  co_await OrReturn(Pass(cx.ForDrain(), *gate));
  co_return Panic(message);
}

// --- the body's joined with its children's, in order of completion -------------------------------

TEST(RegionOutcomeTest, TheValueIsTheBodys) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx cx) -> Task<int> {
    co_return co_await Region::Open(cx, "r", [](Cx cx) -> Task<int> {
      cx.Spawn("child", [](Cx) -> Task<std::string> { co_return "unused"; });
      co_return 42;
    });
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, 42);
}

TEST(RegionOutcomeTest, ChildsErrorIsMoreSevereThanTheBodysOk) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx cx) -> Task<int> {
    co_return co_await Region::Open(
        cx, "r",
        [](Cx cx) -> Task<int> {
          cx.Spawn("child", [](Cx) -> Task<void> { co_return absl::InternalError("child"); });
          co_return 42;
        },
        CollectAll());
  });
  EXPECT_THAT(outcome, IsError("child"));
}

TEST(RegionOutcomeTest, OfTwoErrorsTheOneThatCompletedFirstStays) {
  TestRuntime rt;
  Gate first, second;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "r",
        [&](Cx cx) -> Task<void> {
          // Spawned in the other order than they end.
          cx.Spawn("b", FailAfter, &second, "ended second");
          auto a = cx.Spawn("a", FailAfter, &first, "ended first");
          first.Open();
          (void)co_await OrReturn(a.Join(cx));
          second.Open();
          co_return Ok();
        },
        CollectAll());
  });
  EXPECT_THAT(outcome, IsError("ended first"));
}

TEST(RegionOutcomeTest, ChildsErrorBeforeTheBodysStays) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "r",
        [&](Cx cx) -> Task<void> {
          auto child =
              cx.Spawn("child", [](Cx) -> Task<void> { co_return absl::InternalError("child"); });
          (void)co_await OrReturn(child.Join(cx));
          co_return absl::InternalError("body");
        },
        CollectAll());
  });
  EXPECT_THAT(outcome, IsError("child"));
}

TEST(RegionOutcomeTest, BodysErrorBeforeAChildsStays) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> inner = Ok();
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    std::optional<RegionRef> region;
    Gate opened;
    auto opener = cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      inner = co_await Region::Open(
          cx, "r",
          [&](Cx cx) -> Task<void> {
            cx.Spawn("child", FailAfter, &gate, "child");
            region = cx.Ref();
            opened.Open();
            co_return absl::InternalError("body");
          },
          CollectAll());
      co_return Ok();
    });
    co_await OrReturn(Pass(cx, opened));
    // Only the child is left.
    co_await OrReturn(Until(cx, [&] { return Live(*region) == 1; }));
    gate.Open();
    co_return co_await OrReturn(opener.Join(cx));
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(inner, IsError("body"));
}

TEST(RegionOutcomeTest, PanicIsMoreSevereThanAnEarlierError) {
  TestRuntime rt;
  Gate first, second;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "r",
        [&](Cx cx) -> Task<void> {
          auto a = cx.Spawn("a", FailAfter, &first, "error");
          cx.Spawn("b", PanicAfter, &second, "broken");
          first.Open();
          (void)co_await OrReturn(a.Join(cx));
          second.Open();
          co_return Ok();
        },
        CollectAll());
  });
  EXPECT_THAT(outcome, IsPanicked("broken"));
}

TEST(RegionOutcomeTest, ErrorDoesNotReplaceAnEarlierPanic) {
  TestRuntime rt;
  Gate first, second;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "r",
        [&](Cx cx) -> Task<void> {
          auto a = cx.Spawn("a", PanicAfter, &first, "broken");
          cx.Spawn("b", FailAfter, &second, "error");
          first.Open();
          (void)co_await OrReturn(a.Join(cx));
          second.Open();
          co_return Ok();
        },
        CollectAll());
  });
  EXPECT_THAT(outcome, IsPanicked("broken"));
}

// --- Cancelled, with the cause inside ------------------------------------------------------------

TEST(CancelInsideTest, TaskCancelledThroughItsHandleCountsAsOk) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx cx) -> Task<int> {
    co_return co_await Region::Open(cx, "r", [](Cx cx) -> Task<int> {
      auto child = cx.Spawn("child", Forever);
      child.Cancel();
      Outcome<void> ended = co_await OrReturn(child.Join(cx));
      EXPECT_THAT(ended, IsCancelledBy(CancelKind::kUser));
      co_return 7;
    });
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, 7);
}

TEST(CancelInsideTest, FailFastCountsAsOkAndTheErrorThatTriggeredItStays) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
    co_return co_await Region::Open(cx, "r", [](Cx cx) -> Task<void> {
      cx.Spawn("sibling", Forever);
      cx.Spawn("failing", [](Cx) -> Task<void> { co_return absl::NotFoundError("trigger"); });
      co_return co_await Forever(cx);
    });
  });
  EXPECT_THAT(outcome, IsError("trigger"));
}

TEST(CancelInsideTest, FailFastCountsAsOkAndThePanicThatTriggeredItStays) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
    co_return co_await Region::Open(cx, "r", [](Cx cx) -> Task<void> {
      cx.Spawn("sibling", Forever);
      cx.Spawn("failing", [](Cx) -> Task<void> { co_return Panic("trigger"); });
      co_return co_await Forever(cx);
    });
  });
  EXPECT_THAT(outcome, IsPanicked("trigger"));
}

TEST(CancelInsideTest, DeadlineOfARegionBelowCountsAsOkAbove) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
    co_return co_await Region::Open(cx, "outer", [](Cx cx) -> Task<void> {
      Outcome<void> inner = co_await Region::Open(
          cx, "inner", [](Cx cx) -> Task<void> { co_return co_await Forever(cx); }, FailFast(),
          RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(2))));
      // The region's own deadline is not inside of it, but it is inside of the outer one.
      EXPECT_THAT(inner, IsCancelled(CancelKind::kDeadline));
      co_return inner;
    });
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(CancelInsideTest, ErrorOfATaskThatWasCancelledIsStillAnError) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "r",
        [&](Cx cx) -> Task<void> {
          auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
            (void)co_await Pass(cx, gate);
            co_return absl::DataLossError("while cleaning up");
          });
          co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
          child.Cancel();
          co_return Ok();
        },
        CollectAll());
  });
  EXPECT_THAT(outcome, IsError("while cleaning up"));
}

TEST(CancelInsideTest, HandleCancelIsOutsideForTheRegionsThatTheTaskHasOpened) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> inner = Ok();
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(cx, "outer", [&](Cx cx) -> Task<void> {
      auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
        inner = co_await Region::Open(cx, "inner", [&](Cx cx) -> Task<void> {
          cx.Spawn("grandchild", HoldAt, &gate);
          co_return Ok();
        });
        co_return inner;
      });
      co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
      child.Cancel();
      co_return Ok();
    });
  });
  EXPECT_THAT(inner, IsCancelled(CancelKind::kParent));
  EXPECT_THAT(inner, IsCancelledBy(CancelKind::kUser));
  EXPECT_THAT(outcome, IsOk());
}

// --- cancelled from outside ----------------------------------------------------------------------

TEST(CancelOutsideTest, TaskThatEndsCancelledMakesTheRegionCancelled) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx cx) -> Task<int> {
    co_return co_await Region::Open(cx, "r", [](Cx cx) -> Task<int> {
      cx.Spawn("child", Forever);
      cx.Ref().Cancel();
      co_return 7;
    });
  });
  EXPECT_THAT(outcome, IsCancelled(CancelKind::kUser));
}

TEST(CancelOutsideTest, EverythingThatEndsOkLeavesTheRegionOk) {
  TestRuntime rt;
  Gate gate;
  Outcome<int> outcome = rt.Run([&](Cx cx) -> Task<int> {
    co_return co_await Region::Open(cx, "r", [&](Cx cx) -> Task<int> {
      cx.Spawn("child", [&](Cx cx) -> Task<void> {
        EXPECT_FALSE((co_await Pass(cx, gate)).ok());
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
      cx.Ref().Cancel();
      co_return 7;
    });
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, 7);
}

TEST(CancelOutsideTest, DeadlineOfTheRegionItselfMakesItCancelled) {
  TestRuntime rt;
  Outcome<void> inner = rt.Run([](Cx cx) -> Task<void> {
    Outcome<void> timed = co_await Region::Open(
        cx, "r",
        [](Cx cx) -> Task<void> {
          cx.Spawn("child", Forever);
          co_return Ok();
        },
        FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(2))));
    EXPECT_THAT(timed, IsCancelled(CancelKind::kDeadline));
    co_return Ok();
  });
  EXPECT_THAT(inner, IsOk());
}

TEST(CancelOutsideTest, RequestFromAboveMakesEveryRegionBelowCancelledWithTheParentAsReason) {
  TestRuntime rt;
  Outcome<void> inner = Ok();
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(cx, "outer", [&](Cx cx) -> Task<void> {
      RegionRef outer = cx.Ref();
      inner = co_await Region::Open(cx, "inner", [&](Cx cx) -> Task<void> {
        outer.Cancel();
        co_return co_await Forever(cx);
      });
      co_return Ok();
    });
  });
  EXPECT_THAT(inner, IsCancelled(CancelKind::kParent));
  EXPECT_THAT(outcome, IsOk()) << "the outer body handled it";
}

TEST(CancelOutsideTest, ErrorIsLessSevereThanACancelFromOutside) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open(
      [](Cx cx) -> Task<void> {
        auto child =
            cx.Spawn("child", [](Cx) -> Task<void> { co_return absl::InternalError("child"); });
        (void)co_await OrReturn(child.Join(cx));
        cx.Ref().Cancel();
        co_return co_await Forever(cx);
      },
      CollectAll());
  EXPECT_THAT(outcome, IsCancelled(CancelKind::kUser));
}

// --- policies ------------------------------------------------------------------------------------

TEST(RegionFailFastTest, ErrorOfOneChildCancelsParkedSiblings) {
  TestRuntime rt;
  Gate gate;
  std::atomic<int> alive{0};
  Outcome<void> sibling = Ok();
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(cx, "r", [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 10; ++i) {
        cx.Spawn("sibling", [&](Cx cx) -> Task<void> {
          Witness witness(&alive);
          Outcome<void> passed = co_await Pass(cx, gate);
          EXPECT_THAT(passed, IsCancelled(CancelKind::kFailFast));
          co_return passed;
        });
      }
      co_await OrReturn(Until(cx, [&] { return gate.waiting() == 10; }));
      cx.Spawn("failing", [](Cx) -> Task<void> { co_return absl::InternalError("trigger"); });
      co_return Ok();
    });
  });
  EXPECT_THAT(outcome, IsError("trigger"));
  EXPECT_EQ(alive, 0);
}

TEST(RegionFailFastTest, PanicOfOneChildCancelsParkedSiblings) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("sibling", Forever);
    cx.Spawn("failing", [](Cx) -> Task<void> { co_return Panic("trigger"); });
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsPanicked("trigger"));
}

TEST(RegionFailFastTest, ErrorOfTheBodyCancelsItsChildren) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("child", Forever);
    co_return absl::InternalError("body");
  });
  EXPECT_THAT(outcome, IsError("body"));
}

TEST(RegionFailFastTest, ErrorReachesTasksOfRegionsThatSiblingsHaveOpened) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> deep = Ok();
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      co_return co_await Region::Open(cx, "inner", [&](Cx cx) -> Task<void> {
        cx.Spawn("deep", [&](Cx cx) -> Task<void> {
          deep = co_await Pass(cx, gate);
          co_return Ok();
        });
        co_return Ok();
      });
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    co_return absl::InternalError("trigger");
  });
  EXPECT_THAT(outcome, IsError("trigger"));
  EXPECT_THAT(deep, IsCancelled(CancelKind::kParent));
  EXPECT_THAT(deep, IsCancelledBy(CancelKind::kFailFast));
}

TEST(RegionCollectAllTest, ErrorOfOneChildLeavesSiblingsAlone) {
  TestRuntime rt;
  Gate gate;
  std::atomic<bool> sibling_done{false};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "r",
        [&](Cx cx) -> Task<void> {
          cx.Spawn("sibling", [&](Cx cx) -> Task<void> {
            co_await OrReturn(Pass(cx, gate));
            sibling_done = true;
            co_return Ok();
          });
          auto failing =
              cx.Spawn("failing", [](Cx) -> Task<void> { co_return absl::InternalError("e"); });
          (void)co_await OrReturn(failing.Join(cx));
          EXPECT_FALSE(cx.cancelled());
          gate.Open();
          co_return Ok();
        },
        CollectAll());
  });
  EXPECT_THAT(outcome, IsError("e"));
  EXPECT_TRUE(sibling_done);
}

TEST(RegionIsolateTest, ErrorOfAChildGoesToTheSinkAndChangesNothingElse) {
  TestRuntime rt;
  Gate gate;
  Sink sink;
  std::atomic<bool> sibling_done{false};
  Outcome<int> outcome = rt.Run([&](Cx cx) -> Task<int> {
    co_return co_await Region::Open(
        cx, "clients",
        [&](Cx cx) -> Task<int> {
          cx.Spawn("good", [&](Cx cx) -> Task<void> {
            co_await OrReturn(Pass(cx, gate));
            sibling_done = true;
            co_return Ok();
          });
          auto bad = cx.Spawn("bad", [](Cx) -> Task<void> { co_return absl::InternalError("e"); });
          Outcome<void> ended = co_await OrReturn(bad.Join(cx));
          EXPECT_THAT(ended, IsError("e"));
          EXPECT_FALSE(cx.cancelled());
          gate.Open();
          co_return 5;
        },
        Isolate(&sink));
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, 5);
  EXPECT_TRUE(sibling_done);
  EXPECT_THAT(sink.trail.Steps(), ElementsAre("clients/bad: Error"));
}

TEST(RegionIsolateTest, PanicOfAChildGoesToTheSinkAndIsJoinedButCancelsNobody) {
  TestRuntime rt;
  Gate gate;
  Sink sink;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "clients",
        [&](Cx cx) -> Task<void> {
          auto bad = cx.Spawn("bad", [](Cx) -> Task<void> { co_return Panic("p"); });
          (void)co_await OrReturn(bad.Join(cx));
          EXPECT_FALSE(cx.cancelled());
          co_return Ok();
        },
        Isolate(&sink));
  });
  EXPECT_THAT(outcome, IsPanicked("p"));
  EXPECT_THAT(sink.trail.Steps(), ElementsAre("clients/bad: Panicked"));
}

TEST(RegionIsolateTest, ErrorOfTheBodyIsJoined) {
  TestRuntime rt;
  Sink sink;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "clients", [](Cx) -> Task<void> { co_return absl::InternalError("body"); },
        Isolate(&sink));
  });
  EXPECT_THAT(outcome, IsError("body"));
  EXPECT_THAT(sink.trail.Steps(), ElementsAre());
}

TEST(RegionIsolateTest, WithoutASinkOfItsOwnItUsesTheNearestAbove) {
  TestRuntime rt;
  Sink sink;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_return co_await Region::Open(
        cx, "outer",
        [](Cx cx) -> Task<void> {
          co_return co_await Region::Open(cx, "between", [](Cx cx) -> Task<void> {
            co_return co_await Region::Open(
                cx, "inner",
                [](Cx cx) -> Task<void> {
                  cx.Spawn("bad", [](Cx) -> Task<void> { co_return absl::InternalError("e"); });
                  co_return Ok();
                },
                Isolate());
          });
        },
        Isolate(&sink));
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(sink.trail.Steps(), ElementsAre("inner/bad: Error"));
}

TEST(RegionIsolateTest, WithoutAnySinkTheFirstSixteenFailuresAreALineOnStderr) {
  ::testing::internal::CaptureStderr();
  {
    TestRuntime rt;
    Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
      co_return co_await Region::Open(
          cx, "clients",
          [](Cx cx) -> Task<void> {
            for (int i = 0; i < 20; ++i) {
              cx.Spawn("bad", [](Cx) -> Task<void> { co_return absl::InternalError("why"); });
            }
            co_return Ok();
          },
          Isolate());
    });
    EXPECT_THAT(outcome, IsOk());
  }
  const std::string printed = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(printed, HasSubstr("region 'clients': task 'bad' ended with Error(INTERNAL: why)"));
  size_t lines = 0;
  for (const char c : printed) lines += c == '\n';
  EXPECT_EQ(lines, 16u);
}

TEST(RegionIsolateTest, CancelOfAChildFromOutsideIsJoined) {
  TestRuntime rt;
  Sink sink;
  Outcome<void> outcome = rt.Open(
      [](Cx cx) -> Task<void> {
        cx.Spawn("child", Forever);
        cx.Ref().Cancel();
        co_return Ok();
      },
      Isolate(&sink));
  EXPECT_THAT(outcome, IsCancelled(CancelKind::kUser));
  EXPECT_THAT(sink.trail.Steps(), ElementsAre());
}

TEST(CancelInsideTest, BodyThatHasNoValueToGiveStaysCancelled) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Open([](Cx cx) -> Task<int> {
    co_return co_await Region::Open(
        cx, "inner",
        [](Cx cx) -> Task<int> {
          co_await OrReturn(SleepUntil(cx, Instant::InfiniteFuture()));
          co_return 1;
        },
        FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(1))));
  });
  EXPECT_THAT(outcome, IsCancelledBy(CancelKind::kDeadline));
}

// The region of the cause is deeper, but not below.
TEST(CancelInsideTest, CauseInAnUnrelatedDeeperRegionLiesOutside) {
  TestRuntime rt;
  std::optional<TaskHandle<void>> deep;
  Gate leave;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto other = cx.Spawn("other", [&](Cx cx) -> Task<void> {
      auto inner = [&](Cx cx) -> Task<void> {
        deep.emplace(cx.Spawn("deep", Forever));
        deep->Cancel();
        co_return co_await Pass(cx, leave);
      };
      auto middle = [&](Cx cx) -> Task<void> { co_return co_await Region::Open(cx, "b", inner); };
      co_return co_await Region::Open(cx, "a", middle);
    });
    co_await OrReturn(Until(cx, [&] { return leave.waiting() == 1; }));
    auto joining = [&](Cx cx) -> Task<void> {
      cx.Spawn("joiner", [&](Cx cx) -> Task<void> {
        Outcome<void> of_deep = co_await OrReturn(deep->Join(cx));
        co_return of_deep;
      });
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "joining", joining), IsCancelledBy(CancelKind::kUser));
    leave.Open();
    EXPECT_THAT(co_await OrReturn(other.Join(cx)), IsOk()) << "there it does lie below";
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

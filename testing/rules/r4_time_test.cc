// R4: how long a drain may take; finalizers.
#include <atomic>
#include <string>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What the dump says of a cancelled region with these options.
std::string DumpOfCancelled(RegionOptions options, const Budget& asked = Budget(),
                            RegionOptions outer = RegionOptions()) {
  TestRuntime rt;
  std::string dump;
  (void)rt.Open(
      [&](Cx cx) -> Task<void> {
        (void)co_await Region::Open(
            cx, "subject",
            [&](Cx cx) -> Task<void> {
              cx.Ref().Cancel(asked);
              dump = rt->DumpRegions();
              co_return Ok();
            },
            FailFast(), options);
        co_return Ok();
      },
      FailFast(), outer);
  return dump.substr(dump.find("'subject'"));
}

TEST(DrainTimeTest, IsFiveSecondsAndOneForFinalizersUnlessSaidOtherwise) {
  EXPECT_THAT(DumpOfCancelled(RegionOptions()),
              ContainsRegex("drain budget ends in (5s|4[.0-9]*s), finalizers' in (6s|5[.0-9]*s)"));
}

TEST(DrainTimeTest, IsTheRegionsOwnDefault) {
  EXPECT_THAT(
      DumpOfCancelled(RegionOptions()
                          .WithDrain(Budget::Timeout(absl::Minutes(10)))
                          .WithGrace(absl::Minutes(10))),
      ContainsRegex("drain budget ends in (10m|9m[.0-9]*s), finalizers' in (20m|19m[.0-9]*s)"));
}

TEST(DrainTimeTest, IsInheritedFromTheRegionsAbove) {
  EXPECT_THAT(
      DumpOfCancelled(RegionOptions(), Budget(),
                      RegionOptions()
                          .WithDrain(Budget::Timeout(absl::Minutes(10)))
                          .WithGrace(absl::Minutes(10))),
      ContainsRegex("drain budget ends in (10m|9m[.0-9]*s), finalizers' in (20m|19m[.0-9]*s)"));
}

TEST(DrainTimeTest, IsInheritedByARegionThatOnlySetsAnotherField) {
  EXPECT_THAT(DumpOfCancelled(RegionOptions().WithDrain(Budget::Polls(1000000)), Budget(),
                              RegionOptions().WithDrain(Budget::Timeout(absl::Minutes(10)))),
              ContainsRegex("drain budget ends in (10m|9m[.0-9]*s)"));
}

TEST(DrainTimeTest, IsWhatTheRequestSays) {
  EXPECT_THAT(DumpOfCancelled(RegionOptions(), Budget::Timeout(absl::Minutes(10))),
              ContainsRegex("drain budget ends in (10m|9m[.0-9]*s), finalizers' in (10m|9m)"));
}

TEST(DrainTimeTest, LaterRequestsOnlyTighten) {
  TestRuntime rt;
  std::string first, longer, shorter;
  (void)rt.Open([&](Cx cx) -> Task<void> {
    RegionRef region = cx.Ref();
    region.Cancel(Budget::Timeout(absl::Hours(10)));
    first = rt->DumpRegions();
    region.Cancel(Budget::Timeout(absl::Hours(20)));
    longer = rt->DumpRegions();
    region.Cancel(Budget::Timeout(absl::Hours(5)));
    shorter = rt->DumpRegions();
    co_return Ok();
  });
  EXPECT_THAT(first, ContainsRegex("drain budget ends in (10h|9h)"));
  EXPECT_THAT(longer, ContainsRegex("drain budget ends in (10h|9h)"));
  EXPECT_THAT(shorter, ContainsRegex("drain budget ends in (5h|4h)"));
}

TEST(DrainTimeTest, ShorterLaterRequestEndsDrainWaits) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx.ForDrain(), gate)).ok());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    cx.Ref().Cancel(Budget::Timeout(absl::Hours(10)));
    cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(1)));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(DrainTimeTest, LongerLaterRequestDoesNotProlong) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx.ForDrain(), gate)).ok());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(1)));
    cx.Ref().Shutdown(Budget::Timeout(absl::Hours(10)));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(DrainTimeTest, HandleCancelsOnlyTightenToo) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("child", DrainAt, &gate);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    child.Cancel(Budget::Timeout(absl::Hours(10)));
    child.Cancel(Budget::Timeout(absl::Milliseconds(1)));
    child.Cancel(Budget::Timeout(absl::Hours(10)));
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsCancelled(CancelKind::kDrainBudgetSpent));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(DrainTimeTest, TheFirstRequestFixesItForTheWholeSubtree) {
  TestRuntime rt;
  Gate gate;
  std::string dump;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    RegionRef top = cx.Ref();
    (void)co_await Region::Open(
        cx, "inner",
        [&](Cx) -> Task<void> {
          top.Cancel(Budget::Timeout(absl::Hours(10)));
          dump = rt->DumpRegions();
          co_return Ok();
        },
        FailFast(), RegionOptions().WithDrain(Budget::Timeout(absl::Hours(100))));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(dump.substr(dump.find("'inner'")), ContainsRegex("drain budget ends in (10h|9h)"));
}

// --- finalizers ----------------------------------------------------------------------------------

TEST(FinalizerTest, RunOnceEachLastRegisteredFirstAfterTheTasks) {
  TestRuntime rt;
  Trail trail;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    for (const char* name : {"first", "second", "third"}) {
      EXPECT_TRUE(cx.Defer("finalizer", [&trail, name](Cx) -> Task<void> {
                      trail.Add(name);
                      co_return Ok();
                    }).ok());
    }
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      Witness local(&trail, "task");
      co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
      co_return Ok();
    });
    trail.Add("body");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("body", "task gone", "third", "second", "first"));
}

TEST(FinalizerTest, RegisteredByATaskRunsAtTheCloseOfTheRegion) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_TRUE(cx.Defer("finalizer", [&trail](Cx) -> Task<void> {
                      trail.Add("finalizer");
                      co_return Ok();
                    }).ok());
      co_return Ok();
    });
    (void)co_await OrReturn(child.Join(cx));
    trail.Add("joined");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("joined", "finalizer"));
}

TEST(FinalizerTest, RunsMaskedUnderACancelAndPastTheDrainBudget) {
  TestRuntime rt;
  Outcome<void> waited = Panic("it did not run");
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                        EXPECT_TRUE(cx.cancelled());
                        waited = co_await Sleep(cx, absl::Milliseconds(1));
                        co_return waited;
                      }).ok());
        cx.Ref().Cancel(Budget::Timeout(absl::ZeroDuration()));
        while ((co_await Yield(cx.ForDrain())).ok()) {
        }
        co_return Ok();
      },
      FailFast(), RegionOptions().WithGrace(absl::Minutes(1)));
  EXPECT_THAT(waited, IsOk());
  EXPECT_THAT(outcome, IsOk());
}

TEST(FinalizerTest, PastTheGraceTheirWaitsFailAndTheRemainingOnesStillStart) {
  TestRuntime rt;
  Trail trail;
  Gate never;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        for (const char* name : {"third", "second"}) {
          EXPECT_TRUE(cx.Defer("finalizer", [&, name](Cx cx) -> Task<void> {
                          trail.Add(name);
                          EXPECT_FALSE((co_await Yield(cx)).ok());
                          EXPECT_FALSE((co_await Yield(cx.ForDrain())).ok());
                          co_return Ok();
                        }).ok());
        }
        EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                        trail.Add("first");
                        // Parked when its time runs out.
                        EXPECT_THAT(co_await Pass(cx, never),
                                    IsCancelled(CancelKind::kDrainBudgetSpent));
                        co_return Ok();
                      }).ok());
        co_return Ok();
      },
      FailFast(), RegionOptions().WithGrace(absl::Milliseconds(2)));
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("first", "second", "third"));
}

TEST(FinalizerTest, PastFinalizeByOfARequestTheirWaitsFail) {
  TestRuntime rt;
  Gate never;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                        EXPECT_FALSE((co_await Pass(cx, never)).ok());
                        co_return Ok();
                      }).ok());
        cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(1)));
        co_return Ok();
      },
      FailFast(), RegionOptions().WithGrace(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(FinalizerTest, RequestFromAboveBoundsTheFinalizersBelow) {
  TestRuntime rt;
  Gate never;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        RegionRef top = cx.Ref();
        (void)co_await Region::Open(
            cx, "inner",
            [&](Cx cx) -> Task<void> {
              EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                              EXPECT_FALSE((co_await Pass(cx, never)).ok());
                              co_return Ok();
                            }).ok());
              top.Cancel(Budget::Timeout(absl::Milliseconds(1)));
              co_return Ok();
            },
            FailFast(), RegionOptions().WithGrace(absl::Hours(1)));
        co_return Ok();
      },
      FailFast(), RegionOptions().WithGrace(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(FinalizerTest, ErrorOfOneIsJoinedAndTheOthersStillRun) {
  TestRuntime rt;
  Trail trail;
  Outcome<int> outcome = rt.Open([&](Cx cx) -> Task<int> {
    EXPECT_TRUE(cx.Defer("first", [&](Cx) -> Task<void> {
                    trail.Add("first");
                    co_return Ok();
                  }).ok());
    EXPECT_TRUE(cx.Defer("second", [&](Cx) -> Task<void> {
                    trail.Add("second");
                    co_return absl::DataLossError("flush failed");
                  }).ok());
    co_return 3;
  });
  EXPECT_THAT(outcome, IsError("flush failed"));
  EXPECT_THAT(trail.Steps(), ElementsAre("second", "first"));
}

TEST(FinalizerTest, PanicOfOneIsJoinedAndTheOthersStillRun) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(cx.Defer("first", [&](Cx) -> Task<void> {
                    trail.Add("first");
                    co_return absl::InternalError("later and less severe");
                  }).ok());
    EXPECT_TRUE(cx.Defer("second", [&](Cx) -> Task<void> {
                    trail.Add("second");
                    co_return Panic("broken");
                  }).ok());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsPanicked("broken"));
  EXPECT_THAT(trail.Steps(), ElementsAre("second", "first"));
}

#if defined(__cpp_exceptions)
TEST(FinalizerTest, ExceptionOfOneIsAPanicAndTheOthersStillRun) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(cx.Defer("first", [&](Cx) -> Task<void> {
                    trail.Add("first");
                    co_return Ok();
                  }).ok());
    EXPECT_TRUE(cx.Defer("throws", [&](Cx) -> Task<void> {
                    throw std::runtime_error("thrown");
                    co_return Ok();
                  }).ok());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsPanicked("thrown"));
  EXPECT_THAT(trail.Steps(), ElementsAre("first"));
}

TEST(FinalizerTest, ThatThrowsBeforeItGivesATaskIsAPanicAndTheOthersStillRun) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(cx.Defer("first", [&](Cx) -> Task<void> {
                    trail.Add("first");
                    co_return Ok();
                  }).ok());
    // Not a coroutine.
    EXPECT_TRUE(
        cx.Defer("throws", [&](Cx) -> Task<void> { throw std::runtime_error("thrown"); }).ok());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsPanicked("thrown"));
  EXPECT_THAT(trail.Steps(), ElementsAre("first"));
}
#endif

TEST(FinalizerTest, SpawnAndDeferAreRefusedInOne) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(
        cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
            auto refused = cx.Spawn("late", [](Cx) -> Task<void> { co_return Ok(); });
            EXPECT_TRUE(refused.ended());
            EXPECT_THAT(std::move(refused).TakeOutcome(), IsError("a finalizer cannot spawn into"));
            auto for_drain = cx.ForDrain().Spawn("late", [](Cx) -> Task<void> { co_return Ok(); });
            EXPECT_THAT(std::move(for_drain).TakeOutcome(),
                        IsErrorCode(absl::StatusCode::kFailedPrecondition));
            const absl::Status deferred =
                cx.Defer("again", [](Cx) -> Task<void> { co_return Ok(); });
            EXPECT_EQ(deferred.code(), absl::StatusCode::kFailedPrecondition);
            EXPECT_THAT(std::string(deferred.message()), HasSubstr("Defer('again')"));
            co_return Ok();
          }).ok());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(FinalizerTest, SpawnAndDeferAreRefusedAlsoThroughACxOfTheBodyThatItHasCaptured) {
  TestRuntime rt;
  std::atomic<bool> ran{false};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(cx.Defer("finalizer", [&, cx](Cx) -> Task<void> {
                    auto refused = cx.Spawn("late", [&](Cx) -> Task<void> {
                      ran = true;
                      co_return Ok();
                    });
                    EXPECT_TRUE(refused.ended());
                    EXPECT_EQ(Live(cx.Ref()), 0u);
                    auto drain = cx.ForDrain().Spawn("late", [&](Cx) -> Task<void> {
                      ran = true;
                      co_return Ok();
                    });
                    EXPECT_TRUE(drain.ended());
                    EXPECT_FALSE(cx.Defer("again", [&](Cx) -> Task<void> {
                                     ran = true;
                                     co_return Ok();
                                   }).ok());
                    co_return Ok();
                  }).ok());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_FALSE(ran);
}

// Whether or not the region that is being finalized has been cancelled.
void ExpectRegionWorksInFinalizer(bool cancel) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                    co_return co_await Region::Open(cx, "inner", [&](Cx cx) -> Task<void> {
                      EXPECT_TRUE(cx.Defer("inner finalizer", [&](Cx cx) -> Task<void> {
                                      co_await OrReturn(Yield(cx));
                                      trail.Add("inner finalizer");
                                      co_return Ok();
                                    }).ok());
                      auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
                        co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
                        trail.Add("child");
                        co_return Ok();
                      });
                      co_return co_await OrReturn(child.Join(cx));
                    });
                  }).ok());
    if (cancel) cx.Ref().Cancel();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("child", "inner finalizer"));
}
TEST(FinalizerTest, MayOpenARegionAndSpawnThere) { ExpectRegionWorksInFinalizer(false); }
TEST(FinalizerTest, MayOpenARegionAlsoAfterACancel) { ExpectRegionWorksInFinalizer(true); }

TEST(FinalizerTest, RegionThatItOpensEndsWithItsTime) {
  TestRuntime rt;
  Gate never;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                        (void)co_await Region::Open(cx, "inner", [&](Cx cx) -> Task<void> {
                          cx.Spawn("child", [&](Cx cx) -> Task<void> {
                            EXPECT_FALSE((co_await Pass(cx, never)).ok());
                            co_return Ok();
                          });
                          co_return Ok();
                        });
                        co_return Ok();
                      }).ok());
        co_return Ok();
      },
      FailFast(), RegionOptions().WithGrace(absl::Milliseconds(2)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(FinalizerTest, OfARegionInARegionRunsBeforeThatOfTheOuter) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(cx.Defer("outer", [&](Cx) -> Task<void> {
                    trail.Add("outer");
                    co_return Ok();
                  }).ok());
    cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      co_return co_await Region::Open(cx, "inner", [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("inner", [&](Cx) -> Task<void> {
                        trail.Add("inner");
                        co_return Ok();
                      }).ok());
        co_return Ok();
      });
    });
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("inner", "outer"));
}

TEST(FinalizerTest, CallableIsDestroyedBeforeTheRegionCloses) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(Region::Open(cx, "r", [&](Cx cx) -> Task<void> {
      EXPECT_TRUE(
          cx.Defer("finalizer",
                   [&, held = std::make_unique<Witness>(&trail, "captured")](Cx) -> Task<void> {
                     trail.Add("runs");
                     co_return Ok();
                   })
              .ok());
      co_return Ok();
    }));
    trail.Add("closed");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("runs", "captured gone", "closed"));
}

// --- the end -------------------------------------------------------------------------------------

TEST(DrainEndTest, CooperativeRegionClosesSoonAfterFinalizeBy) {
  TestRuntime rt;
  Gate never;
  std::atomic<int> cut_off{0};
  Instant begin, end;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    begin = cx.Now();
    (void)co_await Region::Open(
        cx, "r",
        [&](Cx cx) -> Task<void> {
          for (int i = 0; i < 100; ++i) {
            cx.Spawn("stubborn", [&](Cx cx) -> Task<void> {
              Masked mask(cx, 1000);
              (void)co_await Pass(cx, never);
              if (!(co_await Pass(cx.ForDrain(), never)).ok()) ++cut_off;
              co_return Ok();
            });
          }
          EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                          if (!(co_await Pass(cx, never)).ok()) ++cut_off;
                          co_return Ok();
                        }).ok());
          co_await OrReturn(Until(cx, [&] { return never.waiting() == 100; }));
          cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(5)));
          co_return Ok();
        },
        FailFast(), RegionOptions().WithGrace(absl::Milliseconds(5)));
    end = cx.Now();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  // The finalizer, run by the opener, is one more.
  EXPECT_EQ(cut_off, 101);
  EXPECT_LT(end - begin, absl::Seconds(4));
}

TEST(DrainEndTest, ReportCountsWhatWasDrainedAndWhatWasCutOff) {
  TestRuntime rt;
  Gate parked, never;
  DrainReport report;
  Outcome<void> outcome = rt.Run(
      [&](Cx cx) -> Task<void> {
        for (int i = 0; i < 7; ++i) cx.Spawn("good", HoldAt, &parked);
        for (int i = 0; i < 3; ++i) cx.Spawn("late", DrainAt, &never);
        co_await OrReturn(Until(cx, [&] { return parked.waiting() == 7 && never.waiting() == 3; }));
        cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(5)));
        co_return Ok();
      },
      &report);
  EXPECT_THAT(outcome, IsCancelledBy(CancelKind::kUser));
  EXPECT_EQ(report.tasks_drained, 7);
  EXPECT_EQ(report.tasks_cut_off, 3);
  EXPECT_THAT(report.ToString(), HasSubstr("drained 7 tasks, cut off 3, ran 0 finalizers"));
}

TEST(FinalizerTest, SpawnWhenAdmittedIsRefusedInOneAndGivesItsPlaceBack) {
  TestRuntime rt;
  std::atomic<bool> ran{false};
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                        auto late = [&](Cx) -> Task<void> {
                          ran = true;
                          co_return Ok();
                        };
                        for (int i = 0; i < 2; ++i) {
                          auto refused = co_await OrReturn(cx.SpawnWhenAdmitted("late", late));
                          EXPECT_TRUE(refused.ended());
                          EXPECT_THAT(std::move(refused).TakeOutcome(),
                                      IsErrorCode(absl::StatusCode::kFailedPrecondition));
                        }
                        co_return Ok();
                      }).ok());
        co_return Ok();
      },
      FailFast(), RegionOptions().WithMaxTasks(1));
  EXPECT_THAT(outcome, IsOk());
  EXPECT_FALSE(ran);
}

TEST(FinalizerTest, RegionOpenedPastItsTimeIsRefusedWithoutRunningItsBody) {
  TestRuntime rt;
  Gate never;
  bool ran = false;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                        EXPECT_FALSE((co_await Pass(cx, never)).ok());
                        auto body = [&](Cx) -> Task<void> {
                          ran = true;
                          co_return Ok();
                        };
                        EXPECT_THAT(co_await Region::Open(cx, "late", body),
                                    IsCancelled(CancelKind::kDrainBudgetSpent));
                        co_return Ok();
                      }).ok());
        co_return Ok();
      },
      FailFast(), RegionOptions().WithGrace(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
  EXPECT_FALSE(ran);
}

TEST(FinalizerTest, CancelOfAHandleBoundsTheFinalizersOfWhatTheTaskHasOpened) {
  TestRuntime rt;
  Gate parked, never;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        auto opener = cx.Spawn("opener", [&](Cx cx) -> Task<void> {
          auto body = [&](Cx cx) -> Task<void> {
            EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                            EXPECT_THAT(co_await Pass(cx, never),
                                        IsCancelled(CancelKind::kDrainBudgetSpent));
                            co_return Ok();
                          }).ok());
            EXPECT_FALSE((co_await Pass(cx, parked)).ok());
            co_return Ok();
          };
          co_return co_await Region::Open(cx, "inner", body, FailFast(),
                                          RegionOptions().WithGrace(absl::Hours(1)));
        });
        co_await OrReturn(Until(cx, [&] { return parked.waiting() == 1; }));
        opener.Cancel(Budget::Timeout(absl::Milliseconds(1)));
        EXPECT_THAT(co_await OrReturn(opener.Join(cx)), IsOk());
        co_return Ok();
      },
      FailFast(), RegionOptions().WithGrace(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
}

// A region whose grace alone is spent: it ended by itself, so there never was a drain.
TEST(FinalizerTest, DrainWaitsInARegionThatAFinalizerOpenedEndWithTheGrace) {
  TestRuntime rt;
  Gate never;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                        auto body = [&](Cx cx) -> Task<void> {
                          (void)cx.Ref().SpawnForDrain("drain", [&](Cx cx) -> Task<void> {
                            EXPECT_FALSE((co_await Pass(cx, never)).ok());
                            EXPECT_FALSE((co_await Pass(cx, never)).ok()) << "also the next one";
                            co_return Ok();
                          });
                          co_return Ok();
                        };
                        co_return co_await Region::Open(cx, "clean-up", body);
                      }).ok());
        co_return Ok();
      },
      FailFast(), RegionOptions().WithGrace(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

// R5: what a request carries, how it travels, and whom it wakes.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "quiesce/runtime/trace/observer.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// --- what it carries -----------------------------------------------------------------------------

TEST(RequestTest, CarriesKindOriginTimeMessageAndCauseChain) {
  TestRuntime rt;
  Outcome<void> deep = Ok();
  Instant before, after;
  uint64_t top_id = 0;
  uint64_t middle_id = 0;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    RegionRef top = cx.Ref();
    top_id = cx.region()->id;
    (void)co_await Region::Open(cx, "middle", [&](Cx cx) -> Task<void> {
      middle_id = cx.region()->id;
      (void)co_await Region::Open(cx, "bottom", [&](Cx cx) -> Task<void> {
        before = cx.Now();
        top.Cancel(Budget(), "enough");
        after = cx.Now();
        deep = co_await Yield(cx);
        co_return Ok();
      });
      co_return Ok();
    });
    co_return Ok();
  });
  ASSERT_THAT(deep, IsCancelled(CancelKind::kParent));
  const CancelReason& reason = deep.cancel_reason();
  EXPECT_STREQ(reason.origin().name, "bottom");
  ASSERT_NE(reason.cause(), nullptr);
  const CancelReason& root = reason.root();
  EXPECT_EQ(root.kind(), CancelKind::kUser);
  EXPECT_STREQ(root.origin().name, "r");
  EXPECT_EQ(root.origin().region, top_id);
  EXPECT_EQ(root.origin().task, 0u);
  EXPECT_NE(root.origin().region, middle_id);
  EXPECT_EQ(root.message(), "enough");
  EXPECT_GE(root.time(), before);
  EXPECT_LE(root.time(), after);
  EXPECT_EQ(root.cause(), nullptr);
  EXPECT_THAT(reason.ToString(), HasSubstr("user: enough (region 'r')"));
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestTest, ThroughAHandleNamesTheTask) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
    auto child = cx.Spawn("victim", Forever);
    child.Cancel();
    Outcome<void> ended = co_await OrReturn(child.Join(cx));
    EXPECT_THAT(ended, IsCancelled(CancelKind::kUser));
    if (!ended.is_cancelled()) co_return Ok();
    EXPECT_STREQ(ended.cancel_reason().origin().name, "victim");
    EXPECT_NE(ended.cancel_reason().origin().task, 0u);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// --- kinds ---------------------------------------------------------------------------------------

TEST(RequestKindTest, MoreSevereKindReplacesALessSevereOne) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kUser);
    cx.Ref().Shutdown();
    EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kShutdown);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestKindTest, LessSevereKindDoesNotReplaceAMoreSevereOne) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    cx.Ref().Shutdown();
    cx.Ref().Cancel(Budget(), "later");
    EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kShutdown);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestKindTest, OfTwoOfTheSameKindTheFirstStays) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    cx.Ref().Cancel(Budget(), "first");
    cx.Ref().Cancel(Budget(), "second");
    EXPECT_EQ(cx.cancel_reason().message(), "first");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestKindTest, DeadlineWakesAParkedTask) {
  TestRuntime rt;
  Outcome<void> waited = Ok();
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        cx.Spawn("parked", [&](Cx cx) -> Task<void> {
          waited = co_await SleepUntil(cx, Instant::InfiniteFuture());
          co_return Ok();
        });
        co_return Ok();
      },
      FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(2))));
  EXPECT_THAT(waited, IsCancelled(CancelKind::kDeadline));
  EXPECT_EQ(waited.ToStatus().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestKindTest, DeadlineThatHasPassedCancelsAtOnce) {
  TestRuntime rt;
  Outcome<void> outcome =
      rt.Open([&](Cx cx) -> Task<void> { co_return co_await Forever(cx); }, FailFast(),
              RegionOptions().WithBudget(Budget::Deadline(Instant::FromNanos(1))));
  EXPECT_THAT(outcome, IsCancelled(CancelKind::kDeadline));
}

TEST(RequestKindTest, PollQuotaCountsResumesOfEveryTaskOfTheRegionAndBelow) {
  TestRuntime rt;
  std::atomic<int> resumes{0};
  const auto spin = [&](Cx cx) -> Task<void> {
    while ((co_await Yield(cx)).ok()) ++resumes;
    co_return Ok();
  };
  Outcome<void> reason = Ok();
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        for (int i = 0; i < 3; ++i) cx.Spawn("spinning", spin);
        cx.Spawn("opener", [&](Cx cx) -> Task<void> {
          co_return co_await Region::Open(cx, "inner", [&](Cx cx) -> Task<void> {
            cx.Spawn("spinning", spin);
            co_return Ok();
          });
        });
        reason = co_await SleepUntil(cx, Instant::InfiniteFuture());
        co_return Ok();
      },
      FailFast(), RegionOptions().WithBudget(Budget::Polls(1000)));
  EXPECT_THAT(reason, IsCancelled(CancelKind::kQuota));
  // Cancelled, if one of the tasks came too late to start.
  EXPECT_THAT(outcome, ::testing::AnyOf(IsOk(), IsCancelledBy(CancelKind::kQuota)));
  EXPECT_GT(resumes, 900);
  EXPECT_LE(resumes, 1000 + 2 * 64) << "overshoot is at most workers * 64";
}

TEST(RequestKindTest, CostQuotaCountsChargesOfEveryTaskOfTheRegionAndBelow) {
  TestRuntime rt;
  std::atomic<int64_t> charged{0};
  const auto spend = [&](Cx cx) -> Task<void> {
    while ((co_await Yield(cx)).ok()) {
      cx.Charge(10);
      charged += 10;
    }
    co_return Ok();
  };
  Outcome<void> reason = Ok();
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        for (int i = 0; i < 3; ++i) cx.Spawn("spending", spend);
        (void)co_await Region::Open(cx, "inner", [&](Cx cx) -> Task<void> {
          cx.Spawn("spending", spend);
          co_return Ok();
        });
        reason = co_await SleepUntil(cx, Instant::InfiniteFuture());
        co_return Ok();
      },
      FailFast(), RegionOptions().WithBudget(Budget::Cost(5000)));
  EXPECT_THAT(reason, IsCancelled(CancelKind::kQuota));
  // Cancelled, if one of the tasks came too late to start.
  EXPECT_THAT(outcome, ::testing::AnyOf(IsOk(), IsCancelledBy(CancelKind::kQuota)));
  EXPECT_GE(charged, 5000);
  EXPECT_LE(charged, 5000 + 10 * 2 * 64);
}

TEST(RequestKindTest, ChargeThatUsesUpTheQuotaCancelsAtOnce) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open(
      [](Cx cx) -> Task<void> {
        cx.Charge(9);
        EXPECT_FALSE(cx.cancelled());
        cx.Charge(0);
        EXPECT_FALSE(cx.cancelled());
        cx.Charge(1);
        EXPECT_TRUE(cx.cancelled());
        EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kQuota);
        co_return Ok();
      },
      FailFast(), RegionOptions().WithBudget(Budget::Cost(10)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestKindTest, QuotaOfZeroIsSpentAtOnce) {
  for (const Budget& budget : {Budget::Polls(0), Budget::Cost(0)}) {
    TestRuntime rt;
    Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> { co_return co_await Forever(cx); },
                                    FailFast(), RegionOptions().WithBudget(budget));
    EXPECT_THAT(outcome, IsCancelled(CancelKind::kQuota)) << budget.ToString();
  }
}

TEST(RequestKindTest, QuotaOfARegionAboveIsUsedToo) {
  TestRuntime rt;
  Outcome<void> inner = Ok();
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        inner = co_await Region::Open(
            cx, "inner",
            [](Cx cx) -> Task<void> {
              cx.Charge(10);
              co_return co_await Forever(cx);
            },
            FailFast(), RegionOptions().WithBudget(Budget::Cost(1000)));
        co_return Ok();
      },
      FailFast(), RegionOptions().WithBudget(Budget::Cost(10)));
  EXPECT_THAT(inner, IsCancelled(CancelKind::kParent));
  EXPECT_THAT(inner, IsCancelledBy(CancelKind::kQuota));
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestKindTest, ShutdownOfTheRuntimeReachesEveryRoot) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> first = Ok(), second = Ok();
  std::thread a([&] { first = rt.Run([&](Cx cx) { return HoldAt(cx, &gate); }); });
  std::thread b([&] { second = rt.Run([&](Cx cx) { return HoldAt(cx, &gate); }); });
  SpinUntil([&] { return gate.waiting() == 2; });
  rt->Shutdown(Budget(), "asked to");
  a.join();
  b.join();
  EXPECT_THAT(first, IsCancelledBy(CancelKind::kShutdown));
  EXPECT_THAT(second, IsCancelledBy(CancelKind::kShutdown));
  EXPECT_THAT(first.ToString(), HasSubstr("asked to"));
}

// --- whom it reaches -----------------------------------------------------------------------------

TEST(RequestReachTest, EveryDescendantAlsoParkedOnes) {
  TestRuntime rt;
  Gate gate;
  std::atomic<int> reached{0};
  // Three levels of three regions, each with a parked task, and a parked body in the leaves.
  struct Tree {
    static Task<void> Grow(Cx cx, int levels, Gate* gate, std::atomic<int>* reached) {
      cx.Spawn("leaf", [gate, reached](Cx cx) -> Task<void> {
        *reached += !(co_await Pass(cx, *gate)).ok();
        co_return Ok();
      });
      if (levels == 0) co_return Ok();
      for (int i = 0; i < 3; ++i) {
        cx.Spawn("opener", [=](Cx cx) -> Task<void> {
          co_return co_await Region::Open(cx, "inner", [=](Cx cx) -> Task<void> {
            co_return co_await Grow(cx, levels - 1, gate, reached);
          });
        });
      }
      co_return Ok();
    }
  };
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    (void)co_await Tree::Grow(cx, 3, &gate, &reached);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1 + 3 + 9 + 27; }));
    cx.Ref().Cancel();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(reached, 40);
}

TEST(RequestReachTest, RegionsThatAreOpenedWhileItTravels) {
  // Each region is marked by the request or copies the mark: one that is forgotten waits for ever.
  for (int round = 0; round < 100; ++round) {
    TestRuntime rt;
    std::atomic<int> opened{0};
    std::thread canceller;
    struct Tree {
      static Task<void> Dig(Cx cx, int levels, std::atomic<int>* opened) {
        ++*opened;
        cx.Spawn("parked", Forever);
        if (levels == 0) co_return co_await Forever(cx);
        co_return co_await Region::Open(cx, "inner", [=](Cx cx) -> Task<void> {
          co_return co_await Dig(cx, levels - 1, opened);
        });
      }
    };
    Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
      canceller = std::thread([&, top = cx.Ref()] {
        SpinUntil([&] { return opened > round; });
        top.Cancel();
      });
      for (int i = 0; i < 30; ++i) cx.Spawn("digging", Tree::Dig, 4, &opened);
      co_return Ok();
    });
    canceller.join();
    EXPECT_THAT(outcome, IsCancelledBy(CancelKind::kUser));
  }
}

TEST(RequestReachTest, NeitherSiblingRegionsNorTheParent) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    std::optional<RegionRef> one;
    Gate opened;
    auto sibling = cx.Spawn("sibling", [&](Cx cx) -> Task<void> {
      co_return co_await Region::Open(
          cx, "other", [&](Cx cx) -> Task<void> { co_return co_await HoldAt(cx, &gate); });
    });
    auto cancelled = cx.Spawn("cancelled", [&](Cx cx) -> Task<void> {
      (void)co_await Region::Open(cx, "one", [&](Cx cx) -> Task<void> {
        one = cx.Ref();
        opened.Open();
        co_return co_await Forever(cx);
      });
      EXPECT_FALSE(cx.cancelled());
      co_return Ok();
    });
    co_await OrReturn(Pass(cx, opened));
    one->Cancel();
    EXPECT_THAT(co_await OrReturn(cancelled.Join(cx)), IsOk());
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    gate.Open();
    EXPECT_THAT(co_await OrReturn(sibling.Join(cx)), IsOk());
    EXPECT_FALSE(cx.cancelled());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestReachTest, HandleCancelReachesTheRegionsThatTheTaskHasOpenedAndNoOther) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto open = [&](Cx cx) -> Task<void> {
      co_return co_await Region::Open(cx, "a", [&](Cx cx) -> Task<void> {
        cx.Spawn("parked", HoldAt, &gate);
        co_return co_await Region::Open(cx, "b", [&](Cx cx) -> Task<void> {
          cx.Spawn("parked", HoldAt, &gate);
          co_return co_await HoldAt(cx, &gate);
        });
      });
    };
    auto victim = cx.Spawn("victim", open);
    auto other = cx.Spawn("other", open);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 6; }));
    victim.Cancel();
    EXPECT_THAT(co_await OrReturn(victim.Join(cx)), IsCancelledBy(CancelKind::kUser));
    EXPECT_EQ(gate.waiting(), 3);
    gate.Open();
    EXPECT_THAT(co_await OrReturn(other.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestReachTest, HandleCancelBeforeTheTaskOpensARegionIsFoundThere) {
  TestRuntime rt;
  Gate gate, parked;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx, parked)).ok());
      bool ran = false;
      EXPECT_THAT(co_await Region::Open(cx, "refused",
                                        [&](Cx) -> Task<void> {
                                          ran = true;
                                          co_return Ok();
                                        }),
                  IsCancelled(CancelKind::kUser));
      EXPECT_FALSE(ran);
      co_return co_await Region::Open(cx.ForDrain(), "drain", [&](Cx cx) -> Task<void> {
        ran = true;
        EXPECT_TRUE(cx.cancelled());
        EXPECT_EQ(cx.cancel_reason().root().kind(), CancelKind::kUser);
        co_await OrReturn(Yield(cx));
        co_return Ok();
      });
    });
    co_await OrReturn(Until(cx, [&] { return parked.waiting() == 1; }));
    child.Cancel();
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RegionOpenTest, OnACancelledCxFailsWithoutRunningItsBody) {
  TestRuntime rt;
  bool ran = false;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    Outcome<int> refused = co_await Region::Open(cx, "refused", [&](Cx) -> Task<int> {
      ran = true;
      co_return 1;
    });
    EXPECT_THAT(refused, IsCancelled(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_FALSE(ran);
  EXPECT_THAT(outcome, IsOk());
}

TEST(RegionOpenTest, ThroughForDrainOrMaskedRunsItsBodyUnderTheCancelThatIsThere) {
  TestRuntime rt;
  int ran = 0;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    auto body = [&](Cx cx) -> Task<void> {
      ++ran;
      EXPECT_TRUE(cx.cancelled());
      EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kParent);
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx.ForDrain(), "drain", body), IsOk());
    {
      Masked mask(cx, 1);
      EXPECT_THAT(co_await Region::Open(cx, "masked", body), IsOk());
    }
    co_return Ok();
  });
  EXPECT_EQ(ran, 2);
  EXPECT_THAT(outcome, IsOk());
}

// --- wakes ---------------------------------------------------------------------------------------

// Counts the wakes by cancel (arg 1) of waits at a gate.
class WakeCounter final : public EventObserver {
 public:
  WakeCounter() { SetEventObserver(this); }
  ~WakeCounter() override { SetEventObserver(nullptr); }
  void OnEvent(EventKind kind, uint64_t, uint64_t, uint64_t arg, const char* name) override {
    if (kind == EventKind::kWake && arg == 1 && absl::string_view(name) == "Gate::Pass") ++wakes;
  }
  std::atomic<int> wakes{0};
};

TEST(RequestWakeTest, EachParkedOrdinaryWaitIsWokenOnceHoweverManyRequestsCome) {
  WakeCounter counter;
  TestRuntime rt(1);  // a task that is held is parked then, and not on its way there
  Gate gate, hold;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 50; ++i) {
      cx.Spawn("parked", [&](Cx cx) -> Task<void> {
        EXPECT_FALSE((co_await Pass(cx, gate)).ok());
        co_return Ok();
      });
    }
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 50; }));
    for (int i = 0; i < 10; ++i) cx.Ref().Cancel();
    cx.Ref().Shutdown();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(counter.wakes, 50);
}

TEST(RequestWakeTest, DrainWaitsAreWokenOnceMoreWhenTheirBudgetIsSpent) {
  WakeCounter counter;
  TestRuntime rt(1);  // a task that is held is parked then, and not on its way there
  Gate ordinary, drain;
  int wakes_at_request = 0;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 50; ++i) {
      cx.Spawn("ordinary", HoldAt, &ordinary);
      cx.Spawn("drain", DrainAt, &drain);
    }
    co_await OrReturn(Until(cx, [&] { return ordinary.waiting() == 50 && drain.waiting() == 50; }));
    cx.Ref().Cancel(Budget::Timeout(absl::Hours(1)));
    wakes_at_request = counter.wakes;
    EXPECT_EQ(drain.waiting(), 50);
    cx.Ref().Cancel(Budget::Timeout(absl::ZeroDuration()));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsCancelledBy(CancelKind::kUser));
  EXPECT_EQ(wakes_at_request, 50);
  EXPECT_EQ(counter.wakes, 100);
}

// A value is handed to a waiter, or stays with the giver.
class Slot {
 public:
  // True if a waiting task has taken `value`.
  bool Give(int value) {
    SpinLockHolder lock(lock_);
    if (waiter_ == nullptr || !waiter_->Grant()) return false;
    *target_ = value;
    waiter_ = nullptr;
    return true;
  }
  class TakeOp {
   public:
    using Value = int;
    static constexpr const char* kName = "Slot::Take";
    static constexpr bool kStructural = false;
    explicit TakeOp(Slot* slot) : slot_(slot) {}
    bool Try(Waiter&, std::optional<Outcome<int>>&) { return false; }
    Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<int>>&) {
      SpinLockHolder lock(slot_->lock_);
      slot_->waiter_ = &waiter;
      slot_->target_ = &value_;
      return Enqueued::kQueued;
    }
    bool Harvest(Waiter&, std::optional<Outcome<int>>& result) {
      SpinLockHolder lock(slot_->lock_);
      result.emplace(value_);
      return true;
    }
    void Withdraw(Waiter&) {
      SpinLockHolder lock(slot_->lock_);
      slot_->waiter_ = nullptr;
    }

   private:
    Slot* slot_;
    int value_ = 0;
  };

 private:
  SpinLock lock_;
  Waiter* waiter_ = nullptr;
  int* target_ = nullptr;
};

TEST(GrantAndCancelTest, ValueHandedOverAtTheSameMomentIsNeitherLostNorDoubled) {
  TestRuntime rt;
  int granted = 0;
  int refused = 0;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    for (int round = 0; round < 3000; ++round) {
      Slot slot;
      std::atomic<int> state{0};
      std::atomic<int> given{0};
      auto taker = cx.Spawn("taker", [&](Cx cx) -> Task<int> {
        state = 1;
        co_return co_await OrReturn(Wait<Slot::TakeOp>(cx, &slot));
      });
      auto giver = cx.Spawn("giver", [&](Cx) -> Task<void> {
        while (state == 0) std::this_thread::yield();
        for (int i = 0; i < 1 + round % 50; ++i) {
          if (slot.Give(round + 1)) {
            ++given;
            break;
          }
        }
        co_return Ok();
      });
      while (state == 0) co_await OrReturn(Yield(cx));
      for (int i = 0; i < round % 7; ++i) co_await OrReturn(Yield(cx));
      taker.Cancel();
      Outcome<int> taken = co_await OrReturn(taker.Join(cx));
      (void)co_await OrReturn(giver.Join(cx));
      if (taken.ok()) {
        EXPECT_EQ(*taken, round + 1);
        EXPECT_EQ(given, 1);
        ++granted;
      } else {
        EXPECT_EQ(given, 0) << "a cancelled wait took something";
        ++refused;
      }
    }
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(granted + refused, 3000);
}

// --- deadlines -----------------------------------------------------------------------------------

TEST(DeadlineTest, ChildsIsTheEarlierOfItsOwnAndItsParents) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open(
      [](Cx cx) -> Task<void> {
        const Instant outer = cx.deadline();
        EXPECT_FALSE(outer.is_infinite());
        co_await OrReturn(Region::Open(
            cx, "later",
            [&](Cx cx) -> Task<void> {
              EXPECT_EQ(cx.deadline(), outer);
              co_return Ok();
            },
            FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Hours(2)))));
        co_await OrReturn(Region::Open(
            cx, "earlier",
            [&](Cx cx) -> Task<void> {
              EXPECT_LT(cx.deadline(), outer);
              co_return Ok();
            },
            FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Minutes(30)))));
        co_await OrReturn(Region::Open(cx, "none", [&](Cx cx) -> Task<void> {
          EXPECT_EQ(cx.deadline(), outer);
          co_return Ok();
        }));
        co_return Ok();
      },
      FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Hours(1))));
  EXPECT_THAT(outcome, IsOk());
}

TEST(DeadlineTest, IsRequestedOnceByTheRegionThatIntroducedIt) {
  TestRuntime rt;
  Outcome<void> inner = Ok();
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        inner = co_await Region::Open(
            cx, "inner", [](Cx cx) -> Task<void> { co_return co_await Forever(cx); }, FailFast(),
            RegionOptions().WithBudget(Budget::Timeout(absl::Hours(1))));
        co_return inner;
      },
      FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(2))));
  ASSERT_THAT(inner, IsCancelled(CancelKind::kParent));
  EXPECT_EQ(inner.cancel_reason().root().kind(), CancelKind::kDeadline);
  EXPECT_STREQ(inner.cancel_reason().root().origin().name, "r");
  EXPECT_THAT(outcome, IsCancelledBy(CancelKind::kDeadline));
}

TEST(DeadlineTest, InnerOneLeavesTheOuterRegionAlone) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_THAT(
            co_await Region::Open(
                cx, "inner", [](Cx cx) -> Task<void> { co_return co_await Forever(cx); },
                FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(2)))),
            IsCancelled(CancelKind::kDeadline));
        EXPECT_FALSE(cx.cancelled());
        co_await OrReturn(Yield(cx));
        co_return Ok();
      },
      FailFast(), RegionOptions().WithBudget(Budget::Timeout(absl::Hours(1))));
  EXPECT_THAT(outcome, IsOk());
}

TEST(DeadlineTest, OfARegionThatHasClosedDoesNothing) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 100; ++i) {
      co_await OrReturn(Region::Open(
          cx, "short", [](Cx) -> Task<void> { co_return Ok(); }, FailFast(),
          RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(1)))));
    }
    co_await OrReturn(Sleep(cx, absl::Milliseconds(5)));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// --- BeginDrain ----------------------------------------------------------------------------------

TEST(BeginDrainTest, RaisesDrainingForEveryoneBelowAndCancelsNobody) {
  TestRuntime rt;
  Gate gate;
  std::atomic<int> saw{0};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    RegionRef top = cx.Ref();
    EXPECT_FALSE(cx.Draining());
    const auto look = [&](Cx cx) -> Task<void> {
      EXPECT_FALSE(cx.Draining());
      co_await OrReturn(Pass(cx, gate));  // an ordinary wait goes on
      saw += cx.Draining() && !cx.cancelled();
      co_return Ok();
    };
    cx.Spawn("child", look);
    cx.Spawn("opener",
             [&](Cx cx) -> Task<void> { co_return co_await Region::Open(cx, "inner", look); });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 2; }));
    top.BeginDrain(Budget::Timeout(absl::Hours(1)));
    EXPECT_TRUE(cx.Draining());
    EXPECT_FALSE(cx.cancelled());
    EXPECT_THAT(cx.TryCheckpoint(), IsOk());
    gate.Open();
    // Regions that are opened from now on know it too, and spawns are still admitted.
    auto late = cx.Spawn("late", [&](Cx cx) -> Task<void> {
      co_return co_await Region::Open(cx, "late", [&](Cx cx) -> Task<void> {
        saw += cx.Draining() && !cx.cancelled();
        co_return Ok();
      });
    });
    EXPECT_THAT(co_await OrReturn(late.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(saw, 3);
}

TEST(BeginDrainTest, LeavesTheRegionsAboveAlone) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    co_await OrReturn(Region::Open(cx, "inner", [](Cx cx) -> Task<void> {
      cx.Ref().BeginDrain(Budget::Timeout(absl::Hours(1)));
      EXPECT_TRUE(cx.Draining());
      co_return Ok();
    }));
    EXPECT_FALSE(cx.Draining());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(BeginDrainTest, BecomesAShutdownRequestWhenItsBudgetEnds) {
  for (const Budget& budget :
       {Budget::Timeout(absl::Milliseconds(2)), Budget::Polls(50), Budget::Cost(50),
        Budget::Timeout(absl::ZeroDuration()), Budget::Polls(0), Budget::Cost(0)}) {
    TestRuntime rt;
    Gate gate;
    Outcome<void> parked = Ok();
    Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
      cx.Spawn("parked", [&](Cx cx) -> Task<void> {
        parked = co_await Pass(cx, gate);
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
      cx.Ref().BeginDrain(budget);
      while ((co_await Yield(cx)).ok()) cx.Charge(1);
      co_return Ok();
    });
    EXPECT_THAT(parked, IsCancelled(CancelKind::kShutdown)) << budget.ToString();
    EXPECT_THAT(outcome, IsOk());
  }
}

TEST(BeginDrainTest, ThatIsFinishedInTimeEndsOk) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("serving", [](Cx cx) -> Task<void> {
      while (!cx.Draining()) co_await OrReturn(Yield(cx));
      co_return Ok();
    });
    cx.Ref().BeginDrain(Budget::Timeout(absl::Hours(1)));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(BeginDrainTest, IsFollowedByADrainOfItsOwn) {
  TestRuntime rt;
  Gate started;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("draining", [&](Cx cx) -> Task<void> {
      started.Open();
      // Cut off neither when the gentle drain ends nor by the request that follows.
      while (!cx.cancelled()) co_await OrReturn(Yield(cx.ForDrain()));
      co_await OrReturn(Sleep(cx.ForDrain(), absl::Milliseconds(1)));
      co_return Ok();
    });
    co_await OrReturn(Pass(cx, started));
    cx.Ref().BeginDrain(Budget::Timeout(absl::Milliseconds(1)));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestKindTest, OfARequestToATaskAndOneToItsRegionTheMoreSevereIsSeen) {
  TestRuntime rt;
  Gate parked, go;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx, parked)).ok());
      EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kUser);
      EXPECT_STREQ(cx.cancel_reason().origin().name, "child");
      co_await OrReturn(Pass(cx.ForDrain(), go));
      EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kShutdown);
      EXPECT_STREQ(cx.cancel_reason().origin().name, "r");
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return parked.waiting() == 1; }));
    child.Cancel();
    co_await OrReturn(Until(cx, [&] { return go.waiting() == 1; }));
    cx.Ref().Shutdown();
    go.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(RequestKindTest, BelowItsTargetTheMoreSevereRequestIsSeenToo) {
  TestRuntime rt;
  Gate parked, go;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    RegionRef above = cx.Ref();
    auto body = [&](Cx cx) -> Task<void> {
      EXPECT_FALSE((co_await Pass(cx, parked)).ok());
      EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kParent);
      EXPECT_EQ(cx.cancel_reason().root().kind(), CancelKind::kUser);
      above.Shutdown();
      EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kParent);
      EXPECT_EQ(cx.cancel_reason().root().kind(), CancelKind::kShutdown);
      co_return Ok();
    };
    cx.Spawn("canceller", [&](Cx cx) -> Task<void> {
      co_await OrReturn(Until(cx, [&] { return parked.waiting() == 1; }));
      above.Cancel();
      co_return Ok();
    });
    co_return co_await Region::Open(cx, "inner", body);
  });
  EXPECT_THAT(outcome, IsOk());
}

class DeadlineCounter final : public EventObserver {
 public:
  DeadlineCounter() { SetEventObserver(this); }
  ~DeadlineCounter() override { SetEventObserver(nullptr); }
  void OnEvent(EventKind kind, uint64_t, uint64_t, uint64_t arg, const char*) override {
    if (kind == EventKind::kCancelRequest && arg == static_cast<uint64_t>(CancelKind::kDeadline)) {
      ++requests;
    }
  }
  std::atomic<int> requests{0};
};

Task<void> OpenNested(Cx cx, int depth) {
  if (depth == 0) {
    EXPECT_FALSE((co_await SleepUntil(cx, Instant::InfiniteFuture())).ok());
    // Every other timer of the same instant is earlier than this one.
    co_await OrReturn(Sleep(cx.ForDrain(), absl::Milliseconds(20)));
    co_return Ok();
  }
  co_return co_await Region::Open(
      cx, "inner", [depth](Cx cx) { return OpenNested(cx, depth - 1); }, FailFast(),
      RegionOptions().WithBudget(Budget::Timeout(absl::Hours(1))));
}

TEST(DeadlineTest, OnlyTheRegionThatIntroducedItMakesARequest) {
  DeadlineCounter counter;
  TestRuntime rt;
  Outcome<void> outcome =
      rt.Open([](Cx cx) { return OpenNested(cx, 10); }, FailFast(),
              RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(2))));
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(counter.requests, 1);
}

TEST(BeginDrainTest, LongerOneLaterDoesNotProlong) {
  TestRuntime rt;
  Gate never;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Ref().BeginDrain(Budget::Timeout(absl::Milliseconds(1)));
    cx.Ref().BeginDrain(Budget::Timeout(absl::Hours(10)));
    EXPECT_THAT(co_await Pass(cx, never), IsCancelled(CancelKind::kShutdown));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(BeginDrainTest, ItsQuotaIsUsedByRegionsBelowOpenedBeforeAndAfter) {
  for (const bool opened_before : {true, false}) {
    TestRuntime rt;
    Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
      RegionRef top = cx.Ref();
      if (!opened_before) top.BeginDrain(Budget::Cost(10));
      auto body = [&](Cx cx) -> Task<void> {
        if (opened_before) top.BeginDrain(Budget::Cost(10));
        cx.Charge(9);
        EXPECT_FALSE(cx.cancelled());
        cx.Charge(1);
        EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kParent);
        EXPECT_EQ(cx.cancel_reason().root().kind(), CancelKind::kShutdown);
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "inner", body);
    });
    EXPECT_THAT(outcome, IsOk());
  }
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

// R6: the phases of a region and of a task, and each row of the state table in region/region.h: what each
// event does in each of Open, CancelRequested, Draining, Finalizing and Closed.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
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

// --- in which phase is it? -----------------------------------------------------------------------

std::string Phase(const RegionRef& region) {
  const uint64_t word = region.scope()->word.load(std::memory_order_acquire);
  if (word & region_word::kClosed) return "Closed";
  if (word & region_word::kFinalizing) return "Finalizing";
  if (word & region_word::kPropagated) return "Draining";
  if (word & region_word::kCancelled) return "CancelRequested";
  return "Open";
}

// Was the spawn refused, and how?
template <class CxOrRef>
Outcome<void> TrySpawn(const CxOrRef& into) {
  auto handle = into.Spawn("probe", [](Cx) -> Task<void> { co_return Ok(); });
  // One that was admitted may end at once, but is still Ok.
  if (!handle.ended()) return Ok();
  return std::move(handle).TakeOutcome();
}
Outcome<void> TrySpawnForDrain(const RegionRef& into) {
  auto handle = into.SpawnForDrain("probe", [](Cx) -> Task<void> { co_return Ok(); });
  if (!handle.ended()) return Ok();
  return std::move(handle).TakeOutcome();
}

// Brings a region 'r' into CancelRequested and keeps it there: a foreign thread cancels it, and is held at
// the moment at which it marks a child region of 'r', whose mutex it then has: whoever else wants to mark
// or to close the child waits as well, with its whole worker.
class HeldRequest final : public EventObserver {
 public:
  HeldRequest() { SetEventObserver(this); }
  ~HeldRequest() override {
    Release();
    SetEventObserver(nullptr);
  }

  // To be called by the body of 'r', which has one child region already.
  void Cancel(RegionRef region, const Budget& drain = Budget()) {
    top_ = region.scope()->id;
    thread_ = std::thread([region, drain] {
      this_thread_is_held_ = true;
      region.Cancel(drain);
    });
    SpinUntil([&] { return held_.load(); });
  }
  void Release() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      released_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  void OnEvent(EventKind kind, uint64_t region, uint64_t, uint64_t, const char*) override {
    if (!this_thread_is_held_ || kind != EventKind::kCancelRequest || region == top_) return;
    std::unique_lock<std::mutex> lock(mutex_);
    held_ = true;
    while (!released_) changed_.wait(lock);
  }

 private:
  static thread_local bool this_thread_is_held_;
  std::thread thread_;
  uint64_t top_ = 0;
  std::atomic<bool> held_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool released_ = false;
};
thread_local bool HeldRequest::this_thread_is_held_ = false;

// Runs body(cx, held) in a region 'r' that is in CancelRequested. `cx` is one for drain, so that the body
// can wait; the region's own waits are ordinary.
template <class Body>
Outcome<void> InCancelRequested(TestRuntime& rt, Body body, RegionPolicy policy = CollectAll(),
                                RegionOptions options = RegionOptions(),
                                const Budget& drain = Budget()) {
  HeldRequest held;
  Gate child_may_end;
  return rt.Open(
      [&](Cx cx) -> Task<void> {
        Gate child_is_open;
        // Its body waits for drain, so that nothing in it is woken by the request.
        cx.ForDrain().Spawn("opener", [&](Cx cx) -> Task<void> {
          (void)co_await Region::Open(cx, "child", [&](Cx cx) -> Task<void> {
            child_is_open.Open();
            co_await OrReturn(Pass(cx, child_may_end));
            co_return Ok();
          });
          co_return Ok();  // it may have been cut off, or not
        });
        co_await OrReturn(Pass(cx, child_is_open));
        held.Cancel(cx.Ref(), drain);
        EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
        Outcome<void> outcome = co_await body(cx, held);
        held.Release();
        child_may_end.Open();
        co_return outcome;
      },
      policy, options);
}

// Runs body(cx) in a region 'r' that is in Draining.
template <class Body>
Outcome<void> InDraining(TestRuntime& rt, Body body, RegionPolicy policy = CollectAll(),
                         RegionOptions options = RegionOptions(), const Budget& drain = Budget()) {
  return rt.Open(
      [&](Cx cx) -> Task<void> {
        cx.Ref().Cancel(drain);
        EXPECT_EQ(Phase(cx.Ref()), "Draining");
        co_return co_await body(cx);
      },
      policy, options);
}

// Runs body(finalizer's cx) in a finalizer of a region 'r' that ends by itself.
template <class Body>
Outcome<void> InFinalizing(TestRuntime& rt, Body body, RegionPolicy policy = CollectAll(),
                           RegionOptions options = RegionOptions()) {
  return rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                        EXPECT_EQ(Phase(cx.Ref()), "Finalizing");
                        co_return co_await body(cx);
                      }).ok());
        co_return Ok();
      },
      policy, options);
}

RegionRef ClosedRegion(TestRuntime& rt) {
  std::optional<RegionRef> region;
  (void)rt.Open([&](Cx cx) -> Task<void> {
    region = cx.Ref();
    co_return Ok();
  });
  EXPECT_EQ(Phase(*region), "Closed");
  return *region;
}

// --- row: Spawn ----------------------------------------------------------------------------------

TEST(StateTableSpawn, InOpenIsAdmitted) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    EXPECT_EQ(Phase(cx.Ref()), "Open");
    EXPECT_THAT(TrySpawn(cx), IsOk());
    EXPECT_THAT(TrySpawn(cx.Ref()), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableSpawn, InCancelRequestedIsRefusedUnlessForDrain) {
  TestRuntime rt;
  Outcome<void> outcome = InCancelRequested(rt, [](Cx cx, HeldRequest&) -> Task<void> {
    EXPECT_THAT(TrySpawn(cx), IsCancelled(CancelKind::kUser));
    EXPECT_THAT(TrySpawn(cx.Ref()), IsCancelled(CancelKind::kUser));
    EXPECT_THAT(TrySpawn(cx.ForDrain()), IsOk());
    EXPECT_THAT(TrySpawnForDrain(cx.Ref()), IsOk());
    EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableSpawn, InDrainingIsRefusedUnlessForDrain) {
  TestRuntime rt;
  Outcome<void> outcome = InDraining(rt, [](Cx cx) -> Task<void> {
    EXPECT_THAT(TrySpawn(cx), IsCancelled(CancelKind::kUser));
    EXPECT_THAT(TrySpawn(cx.Ref()), IsCancelled(CancelKind::kUser));
    EXPECT_THAT(TrySpawn(cx.ForDrain()), IsOk());
    EXPECT_THAT(TrySpawnForDrain(cx.Ref()), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableSpawn, InDrainingWithASpentBudgetIsRefusedAlsoForDrain) {
  TestRuntime rt;
  Outcome<void> outcome = InDraining(
      rt,
      [](Cx cx) -> Task<void> {
        EXPECT_THAT(TrySpawn(cx.ForDrain()), IsCancelled(CancelKind::kDrainBudgetSpent));
        EXPECT_THAT(TrySpawnForDrain(cx.Ref()), IsCancelled(CancelKind::kDrainBudgetSpent));
        co_return Ok();
      },
      CollectAll(), RegionOptions(), Budget::Polls(0));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableSpawn, InFinalizingIsRefused) {
  TestRuntime rt;
  Outcome<void> outcome = InFinalizing(rt, [](Cx cx) -> Task<void> {
    EXPECT_THAT(TrySpawn(cx), IsErrorCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(TrySpawn(cx.ForDrain()), IsErrorCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(TrySpawn(cx.Ref()), IsErrorCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(TrySpawnForDrain(cx.Ref()), IsErrorCode(absl::StatusCode::kFailedPrecondition));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableSpawn, InClosedIsRefused) {
  TestRuntime rt;
  RegionRef region = ClosedRegion(rt);
  EXPECT_THAT(TrySpawn(region), IsErrorCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(TrySpawnForDrain(region), IsErrorCode(absl::StatusCode::kFailedPrecondition));
}

// --- row: request --------------------------------------------------------------------------------

TEST(StateTableRequest, InOpenMarksWakesAndSpreads) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> own = Ok(), below = Ok();
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("parked", [&](Cx cx) -> Task<void> {
      own = co_await Pass(cx, gate);
      co_return Ok();
    });
    cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      co_return co_await Region::Open(cx, "child", [&](Cx cx) -> Task<void> {
        below = co_await Pass(cx, gate);
        co_return Ok();
      });
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 2; }));
    EXPECT_EQ(Phase(cx.Ref()), "Open");
    cx.Ref().Cancel();
    EXPECT_TRUE(cx.cancelled());
    EXPECT_EQ(Phase(cx.Ref()), "Draining") << "the call returns once every descendant is marked";
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(own, IsCancelled(CancelKind::kUser));
  EXPECT_THAT(below, IsCancelled(CancelKind::kParent));
}

TEST(StateTableRequest, InCancelRequestedSeverityRisesAndDeadlinesTighten) {
  TestRuntime rt(3);
  Outcome<void> outcome = InCancelRequested(
      rt,
      [&](Cx cx, HeldRequest& held) -> Task<void> {
        // The second request is held up too, at the same child, once it has marked 'r'.
        std::thread second(
            [region = cx.Ref()] { region.Shutdown(Budget::Timeout(absl::ZeroDuration())); });
        SpinUntil([&] { return cx.cancel_reason().root().kind() == CancelKind::kShutdown; });
        EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
        held.Release();
        second.join();
        // Its drain time of zero is the one that counts.
        while ((co_await Yield(cx.ForDrain())).ok()) {
        }
        EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kDrainBudgetSpent);
        co_return Ok();
      },
      CollectAll(), RegionOptions(), Budget::Timeout(absl::Hours(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableRequest, InDrainingSeverityRisesAndDeadlinesTighten) {
  TestRuntime rt;
  Outcome<void> outcome = InDraining(
      rt,
      [](Cx cx) -> Task<void> {
        cx.Ref().Shutdown(Budget::Timeout(absl::ZeroDuration()));
        EXPECT_EQ(cx.cancel_reason().root().kind(), CancelKind::kShutdown);
        while ((co_await Yield(cx.ForDrain())).ok()) {
        }
        co_return Ok();
      },
      CollectAll(), RegionOptions(), Budget::Timeout(absl::Hours(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableRequest, InFinalizingAnEarlierFinalizeByEndsTheFinalizersWaits) {
  TestRuntime rt;
  Gate never;
  Outcome<void> outcome = InFinalizing(
      rt,
      [&](Cx cx) -> Task<void> {
        EXPECT_THAT(co_await Yield(cx), IsOk());
        // The hour of grace has just begun; the request's counts from an hour ago, and so is over.
        cx.Ref().Cancel(Budget::Deadline(cx.Now() - absl::Hours(1)));
        EXPECT_EQ(Phase(cx.Ref()), "Finalizing");
        EXPECT_FALSE((co_await Pass(cx, never)).ok());
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithGrace(absl::Hours(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableRequest, FromAboveInFinalizingTightensTheFinalizersTime) {
  TestRuntime rt;
  Gate never;
  Outcome<void> inner = Panic("not run");
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        RegionRef top = cx.Ref();
        inner = co_await Region::Open(
            cx, "inner",
            [&](Cx cx) -> Task<void> {
              EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                              // An hour of grace, until the request comes.
                              top.Cancel(Budget::Timeout(absl::ZeroDuration()));
                              EXPECT_FALSE((co_await Pass(cx, never)).ok());
                              co_return Ok();
                            }).ok());
              co_return Ok();
            },
            CollectAll(), RegionOptions().WithGrace(absl::Hours(1)));
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithGrace(absl::ZeroDuration()));
  EXPECT_THAT(inner, IsOk());
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableRequest, InClosedHasNoEffect) {
  TestRuntime rt;
  RegionRef region = ClosedRegion(rt);
  region.Cancel();
  region.Shutdown();
  region.BeginDrain(Budget::Timeout(absl::ZeroDuration()));
  EXPECT_FALSE(region.cancelled());
  EXPECT_EQ(Phase(region), "Closed");
}

// --- row: all below marked -----------------------------------------------------------------------

TEST(StateTableAllMarked, MovesCancelRequestedToDraining) {
  TestRuntime rt;
  Outcome<void> outcome = InCancelRequested(rt, [](Cx cx, HeldRequest& held) -> Task<void> {
    EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
    held.Release();
    EXPECT_EQ(Phase(cx.Ref()), "Draining");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// --- row: deadline, quota ------------------------------------------------------------------------

TEST(StateTableDeadline, InOpenCancels) {
  TestRuntime rt;
  Outcome<void> outcome =
      rt.Open([](Cx cx) -> Task<void> { co_return co_await Forever(cx); }, CollectAll(),
              RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(1))));
  EXPECT_THAT(outcome, IsCancelled(CancelKind::kDeadline));
}

TEST(StateTableDeadline, InCancelRequestedTightens) {
  TestRuntime rt(3);
  Outcome<void> outcome = InCancelRequested(
      rt,
      [](Cx cx, HeldRequest& held) -> Task<void> {
        // More severe than kUser. The deadline's request is held up at the child, on another worker.
        while (cx.cancel_reason().root().kind() != CancelKind::kDeadline) {
          co_await OrReturn(Yield(cx.ForDrain()));
        }
        EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
        held.Release();
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithBudget(Budget::Timeout(absl::Seconds(1))));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableDeadline, InDrainingTightens) {
  TestRuntime rt;
  Gate never;
  Outcome<void> outcome = InDraining(
      rt,
      [&](Cx cx) -> Task<void> {
        // The request gave an hour to drain; the deadline, 1 ms from the opening on, gives none.
        EXPECT_THAT(co_await Pass(cx.ForDrain(), never),
                    IsCancelled(CancelKind::kDrainBudgetSpent));
        EXPECT_EQ(cx.cancel_reason().root().kind(), CancelKind::kDeadline);
        co_return Ok();
      },
      CollectAll(),
      RegionOptions()
          .WithBudget(Budget::Timeout(absl::Milliseconds(1)))
          .WithDrain(Budget::Timeout(absl::ZeroDuration())),
      Budget::Timeout(absl::Hours(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableDeadline, QuotaInDrainingTightens) {
  TestRuntime rt;
  Outcome<void> outcome = InDraining(
      rt,
      [&](Cx cx) -> Task<void> {
        cx.Charge(10);
        EXPECT_EQ(cx.cancel_reason().root().kind(), CancelKind::kQuota);
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithBudget(Budget::Cost(10)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableDeadline, InFinalizingTightensAndDoesNotStopTheFinalizer) {
  TestRuntime rt;
  Outcome<void> outcome = InFinalizing(
      rt,
      [](Cx cx) -> Task<void> {
        while (!cx.cancelled()) co_await OrReturn(Yield(cx));
        EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kDeadline);
        co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
        co_return Ok();
      },
      CollectAll(),
      RegionOptions()
          .WithBudget(Budget::Timeout(absl::Milliseconds(2)))
          .WithGrace(absl::Minutes(1)));
  EXPECT_THAT(outcome, IsOk());
}

// --- row: Error or Panic of a child --------------------------------------------------------------

Task<void> EndWithError(Cx) { co_return absl::InternalError("child"); }

TEST(StateTableChildFailed, InOpenOfFailFastCancels) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    cx.Spawn("child", EndWithError);
    EXPECT_THAT(co_await SleepUntil(cx, Instant::InfiniteFuture()),
                IsCancelled(CancelKind::kFailFast));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsError("child"));
}

TEST(StateTableChildFailed, InOpenOfCollectAllIsJoinedOnly) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open(
      [](Cx cx) -> Task<void> {
        auto child = cx.Spawn("child", EndWithError);
        (void)co_await OrReturn(child.Join(cx));
        EXPECT_EQ(Phase(cx.Ref()), "Open");
        co_return Ok();
      },
      CollectAll());
  EXPECT_THAT(outcome, IsError("child"));
}

TEST(StateTableChildFailed, InCancelRequestedIsJoined) {
  TestRuntime rt;
  Outcome<void> outcome = InCancelRequested(rt, [](Cx cx, HeldRequest&) -> Task<void> {
    auto child = cx.ForDrain().Spawn("child", EndWithError);
    (void)co_await OrReturn(child.Join(cx.ForDrain()));
    EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsError("child"));
}

TEST(StateTableChildFailed, InDrainingIsJoinedAlsoByFailFast) {
  for (const RegionPolicy& policy : {FailFast(), CollectAll()}) {
    TestRuntime rt;
    Outcome<void> outcome = InDraining(
        rt,
        [](Cx cx) -> Task<void> {
          auto child = cx.ForDrain().Spawn("child", EndWithError);
          (void)co_await OrReturn(child.Join(cx.ForDrain()));
          co_return Ok();
        },
        policy);
    EXPECT_THAT(outcome, IsError("child"));
  }
}

TEST(StateTableChildFailed, FinalizersErrorInFinalizingIsJoinedAndCancelsNothing) {
  TestRuntime rt;
  std::atomic<bool> cancelled{true};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(cx.Defer("second", [&](Cx cx) -> Task<void> {
                    cancelled = cx.cancelled();
                    co_return Ok();
                  }).ok());
    EXPECT_TRUE(cx.Defer("first", EndWithError).ok());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsError("child"));
  EXPECT_FALSE(cancelled);
}

// --- row: drain_by passes, drain quota spent -----------------------------------------------------

TEST(StateTableDrainSpent, InCancelRequestedOrdinaryAndDrainWaitsFail) {
  TestRuntime rt(3);
  Outcome<void> outcome = InCancelRequested(
      rt,
      [&](Cx cx, HeldRequest& held) -> Task<void> {
        // Not parked: the step that spends the budget is held up at the child, with all that it woke.
        while ((co_await Yield(cx.ForDrain())).ok()) {
        }
        EXPECT_THAT(co_await Yield(cx.ForDrain()), IsCancelled(CancelKind::kDrainBudgetSpent));
        EXPECT_FALSE((co_await Yield(cx)).ok());
        EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
        held.Release();
        co_return Ok();
      },
      CollectAll(), RegionOptions(), Budget::Timeout(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableDrainSpent, InDrainingParkedDrainWaitsAreWokenAndAllWaitsFail) {
  for (const Budget& drain :
       {Budget::Timeout(absl::Milliseconds(1)), Budget::Polls(20), Budget::Cost(20)}) {
    TestRuntime rt;
    Gate never;
    Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
      cx.Spawn("parked", [&](Cx cx) -> Task<void> {
        EXPECT_THAT(co_await Pass(cx.ForDrain(), never),
                    IsCancelled(CancelKind::kDrainBudgetSpent));
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      cx.Ref().Cancel(drain);
      while ((co_await Yield(cx.ForDrain())).ok()) cx.Charge(1);
      EXPECT_FALSE((co_await Yield(cx)).ok());
      co_return Ok();
    });
    EXPECT_THAT(outcome, IsOk()) << drain.ToString();
  }
}

TEST(StateTableDrainSpent, InFinalizingLeavesTheFinalizersTheirGrace) {
  TestRuntime rt;
  Outcome<void> outcome = InFinalizing(
      rt,
      [](Cx cx) -> Task<void> {
        cx.Ref().Cancel(Budget::Polls(0));
        EXPECT_THAT(co_await Sleep(cx, absl::Milliseconds(1)), IsOk());
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithGrace(absl::Minutes(1)));
  EXPECT_THAT(outcome, IsOk());
}

// --- row: finalize_by passes ---------------------------------------------------------------------

TEST(StateTableFinalizeBy, InDrainingWhatStillRunsIsReported) {
  TestRuntime rt;
  Outcome<void> outcome = InDraining(
      rt,
      [&](Cx cx) -> Task<void> {
        // Ignores every outcome.
        while (!rt.reports.Said("region 'r' has not closed")) (void)co_await Yield(cx);
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithGrace(absl::ZeroDuration()),
      Budget::Timeout(absl::ZeroDuration()));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableFinalizeBy, InCancelRequestedWhatStillRunsIsReported) {
  TestRuntime rt(3);
  Outcome<void> outcome = InCancelRequested(
      rt,
      [&](Cx cx, HeldRequest& held) -> Task<void> {
        // The request that spends the budgets marks 'r' first and is held up at the child as well.
        while ((co_await Yield(cx.ForDrain())).ok()) {
        }
        EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
        held.Release();
        while (!rt.reports.Said("region 'r' has not closed")) (void)co_await Yield(cx);
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithGrace(absl::ZeroDuration()),
      Budget::Timeout(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableFinalizeBy, InFinalizingWaitsFailAndTheRestStillStart) {
  TestRuntime rt;
  Gate never;
  Trail trail;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        EXPECT_TRUE(cx.Defer("rest", [&](Cx) -> Task<void> {
                        trail.Add("rest");
                        co_return Ok();
                      }).ok());
        EXPECT_TRUE(cx.Defer("first", [&](Cx cx) -> Task<void> {
                        EXPECT_FALSE((co_await Pass(cx, never)).ok());
                        trail.Add("first");
                        co_return Ok();
                      }).ok());
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithGrace(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("first", "rest"));
}

// --- rows: body and all tasks have ended; finalizers done ----------------------------------------

// The kinds of events of one region, in order.
class Phases final : public EventObserver {
 public:
  Phases() { SetEventObserver(this); }
  ~Phases() override { SetEventObserver(nullptr); }
  void OnEvent(EventKind kind, uint64_t region, uint64_t, uint64_t, const char* name) override {
    if (kind == EventKind::kRegionOpen && absl::string_view(name) == "r") region_ = region;
    if (region != region_) return;
    switch (kind) {
      case EventKind::kRegionOpen:
      case EventKind::kTaskEnd:
      case EventKind::kCancelRequest:
      case EventKind::kDraining:
      case EventKind::kFinalizerStart:
      case EventKind::kFinalizerEnd:
      case EventKind::kRegionClose:
        trail.Add(EventKindName(kind));
        break;
      default:
        break;
    }
  }
  Trail trail;

 private:
  std::atomic<uint64_t> region_{0};
};

TEST(StateTableEnd, RegionThatEndsByItselfGoesFromOpenToFinalizingToClosed) {
  Phases phases;
  TestRuntime rt;
  std::optional<RegionRef> region;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    region = cx.Ref();
    EXPECT_TRUE(cx.Defer("finalizer", [&](Cx cx) -> Task<void> {
                    EXPECT_EQ(Phase(*region), "Finalizing");
                    EXPECT_EQ(Live(*region), 0u);
                    EXPECT_FALSE(cx.cancelled());
                    co_return Ok();
                  }).ok());
    cx.Spawn("child",
             [](Cx cx) -> Task<void> { co_return co_await Sleep(cx, absl::Milliseconds(1)); });
    EXPECT_EQ(Phase(*region), "Open");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(Phase(*region), "Closed");
  EXPECT_THAT(phases.trail.Steps(), ElementsAre("region-open", "task-end", "finalizer-start",
                                                "finalizer-end", "region-close"));
}

TEST(StateTableEnd, CancelledRegionGoesThroughEveryPhase) {
  Phases phases;
  TestRuntime rt;
  std::optional<RegionRef> region;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    region = cx.Ref();
    EXPECT_TRUE(cx.Defer("finalizer", [&](Cx) -> Task<void> {
                    EXPECT_EQ(Phase(*region), "Finalizing");
                    co_return Ok();
                  }).ok());
    Gate gate;
    auto child = cx.Spawn("child", DrainAt, &gate);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    region->Cancel();
    EXPECT_EQ(Phase(*region), "Draining");
    gate.Open();
    (void)co_await OrReturn(child.Join(cx.ForDrain()));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(Phase(*region), "Closed");
  EXPECT_THAT(phases.trail.Steps(),
              ElementsAre("region-open", "cancel-request", "draining", "task-end",
                          "finalizer-start", "finalizer-end", "region-close"));
}

TEST(StateTableEnd, InCancelRequestedTheRegionWaitsForTheRequestToArriveEverywhere) {
  TestRuntime rt;
  std::optional<RegionRef> region;
  Outcome<void> outcome = InCancelRequested(rt, [&](Cx cx, HeldRequest&) -> Task<void> {
    region = cx.Ref();
    for (int i = 0; i < 100; ++i) co_await OrReturn(Yield(cx.ForDrain()));
    EXPECT_EQ(Phase(*region), "CancelRequested");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(Phase(*region), "Closed");
}

TEST(StateTableEnd, CloseRacesWithRequestsFromOutside) {
  // Whatever comes first, the region closes.
  TestRuntime rt;
  for (int round = 0; round < 200; ++round) {
    std::optional<RegionRef> region;
    std::atomic<bool> ready{false};
    std::thread canceller([&] {
      SpinUntil([&] { return ready.load(); });
      region->Cancel(Budget::Timeout(absl::ZeroDuration()));
    });
    Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
      region = cx.Ref();
      ready = true;
      for (int i = 0; i < round % 5; ++i) {
        cx.Spawn("child", [](Cx cx) -> Task<void> { co_return co_await Yield(cx); });
      }
      EXPECT_TRUE(cx.Defer("finalizer", [](Cx cx) -> Task<void> {
                      (void)co_await Yield(cx);
                      co_return Ok();
                    }).ok());
      co_return Ok();
    });
    EXPECT_TRUE(outcome.ok() || outcome.is_cancelled()) << outcome.ToString();
    EXPECT_EQ(Phase(*region), "Closed");
    canceller.join();
  }
}

// --- a task --------------------------------------------------------------------------------------

TEST(TaskStateTest, CreatedRunningCancelRequestedEnded) {
  TestRuntime rt(1);
  Gate gate;
  std::atomic<bool> started{false};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
      started = true;
      EXPECT_FALSE(cx.cancelled());
      EXPECT_FALSE((co_await Pass(cx, gate)).ok());
      EXPECT_TRUE(cx.cancelled());
      co_return Ok();
    });
    EXPECT_FALSE(started) << "created: a spawn runs nothing inline";
    EXPECT_FALSE(child.ended());
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    EXPECT_TRUE(started);
    child.Cancel();
    EXPECT_FALSE(child.ended());
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsOk());
    EXPECT_TRUE(child.ended());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableSpawn, InCancelRequestedWithASpentBudgetIsRefusedAlsoForDrain) {
  TestRuntime rt(3);
  Outcome<void> outcome = InCancelRequested(
      rt,
      [](Cx cx, HeldRequest& held) -> Task<void> {
        while ((co_await Yield(cx.ForDrain())).ok()) {
        }
        EXPECT_THAT(TrySpawn(cx.ForDrain()), IsCancelled(CancelKind::kDrainBudgetSpent));
        EXPECT_THAT(TrySpawnForDrain(cx.Ref()), IsCancelled(CancelKind::kDrainBudgetSpent));
        EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
        held.Release();
        co_return Ok();
      },
      CollectAll(), RegionOptions(), Budget::Timeout(absl::Milliseconds(1)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableDeadline, QuotaInCancelRequestedTightens) {
  TestRuntime rt(3);
  Outcome<void> outcome = InCancelRequested(
      rt,
      [](Cx cx, HeldRequest& held) -> Task<void> {
        // The request that follows is held up at the child, with the worker that charged.
        cx.ForDrain().Spawn("charging", [](Cx cx) -> Task<void> {
          cx.Charge(10);
          co_return Ok();
        });
        while (cx.cancel_reason().root().kind() != CancelKind::kQuota) {
          co_await OrReturn(Yield(cx.ForDrain()));
        }
        EXPECT_EQ(Phase(cx.Ref()), "CancelRequested");
        held.Release();
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithBudget(Budget::Cost(10)));
  EXPECT_THAT(outcome, IsOk());
}

TEST(StateTableDeadline, QuotaInFinalizingTightensAndDoesNotStopTheFinalizer) {
  TestRuntime rt;
  Outcome<void> outcome = InFinalizing(
      rt,
      [](Cx cx) -> Task<void> {
        cx.Charge(10);
        EXPECT_EQ(cx.cancel_reason().kind(), CancelKind::kQuota);
        EXPECT_EQ(Phase(cx.Ref()), "Finalizing");
        co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
        co_return Ok();
      },
      CollectAll(), RegionOptions().WithBudget(Budget::Cost(10)).WithGrace(absl::Minutes(1)));
  EXPECT_THAT(outcome, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

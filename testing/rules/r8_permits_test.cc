// R8 and G7: a permit is resolved exactly once, and its region does not close over it.
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/runtime/trace/recorder.h"
#include "quiesce/testing/contract/stepped_runtime.h"
#include "quiesce/testing/rules/fixture.h"
#include "quiesce/testing/rules/seat_permit.h"

namespace quiesce {
namespace rules {
namespace {

// Where a permit is left for somebody else.
class Locker {
 public:
  void Put(SeatPermit permit) {
    ThreadMutexLock lock(mutex_);
    permit_.emplace(std::move(permit));
  }
  std::optional<SeatPermit> Take() {
    ThreadMutexLock lock(mutex_);
    return std::exchange(permit_, std::nullopt);
  }

 private:
  ThreadMutex mutex_;
  std::optional<SeatPermit> permit_ ABSL_GUARDED_BY(mutex_);
};

// ---- consuming --------------------------------------------------------------------------------------

TEST(PermitTest, IsConsumedByItsActionByCompleteOrByAbort) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(SeatPermit(cx, &hall).Book());
    SeatPermit(cx, &hall).Complete();
    SeatPermit(cx, &hall).Abort();
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.booked, 1);
  EXPECT_EQ(hall.completed, 1);
  EXPECT_EQ(hall.given_back, 1);
  EXPECT_EQ(rt->counters().permits_revoked, 0u);
}

TEST(PermitTest, ConsumedTwiceIsFatal) {
  EXPECT_DEATH(
      {
        TestRuntime rt;
        Hall hall;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          SeatPermit permit(cx, &hall);
          (void)std::move(permit).Book();
          (void)std::move(permit).Book();  // NOLINT: what is tested
          co_return Ok();
        });
      },
      "SeatPermit: consumed twice");
}

TEST(PermitTest, OfAThreadIsOwedByNoRegion) {
  Hall hall;
  EXPECT_TRUE(SeatPermit(&hall).Book());
  EXPECT_EQ(hall.booked, 1);
}

// ---- dropped by a failure ---------------------------------------------------------------------------

Task<void> Fails(Cx) { co_return absl::UnavailableError("no"); }

TEST(PermitDropTest, WithAFrameThatEndsThroughOrReturnIsAborted) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto outer = [&](Cx cx) -> Task<void> {
      SeatPermit permit(cx, &hall);
      co_await OrReturn(Fails(cx));
      (void)std::move(permit).Book();
      co_return Ok();
    };
    EXPECT_THAT(co_await outer(cx), IsError("no"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 1);
  EXPECT_EQ(hall.booked, 0);
}

TEST(PermitDropTest, WithAFrameThatReturnsACancelOrAPanicIsAborted) {
  TestRuntime rt;
  Hall hall;
  auto cancelled = [&](Cx cx, SeatPermit) -> Task<void> {
    SeatPermit permit(cx, &hall);
    Outcome<void> waited = co_await SleepUntil(cx, Instant::InfiniteFuture());
    co_return waited;
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto task = cx.Spawn("cancelled", cancelled, SeatPermit(cx, &hall));
    co_await OrReturn(Yield(cx));
    task.Cancel();
    Outcome<void> ended = co_await OrReturn(task.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    auto panics = [&](Cx cx, SeatPermit) -> Task<void> {
      SeatPermit permit(cx, &hall);
      co_return Panic("broken");
    };
    EXPECT_THAT(co_await panics(cx, SeatPermit(cx, &hall)), IsPanicked("broken"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 4);
}

#if defined(__cpp_exceptions)
TEST(PermitDropTest, WithAnExceptionThatPassesIsAborted) {
  TestRuntime rt;
  Hall hall;
  auto throws = [&](Cx cx) -> Task<void> {
    SeatPermit permit(cx, &hall);
    throw std::runtime_error("broken");
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_THAT(co_await throws(cx), IsPanicked("broken"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 1);
}
#endif

TEST(PermitDropTest, InTheArgumentsOfATaskThatDoesNotStartIsAborted) {
  TestRuntime rt(1);
  Hall hall;
  auto books = [](Cx, SeatPermit permit) -> Task<void> {
    (void)std::move(permit).Book();
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto cancelled = cx.Spawn("cancelled", books, SeatPermit(cx, &hall));
    cancelled.Cancel();
    Outcome<void> ended = co_await OrReturn(cancelled.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    auto body = [&](Cx cx) -> Task<void> {
      cx.Ref().Cancel();
      auto refused = cx.Spawn("refused", books, SeatPermit(cx, &hall));
      EXPECT_TRUE(refused.ended());
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 2);
  EXPECT_EQ(hall.booked, 0);
}

TEST(PermitDropTest, InTheValueOfACancelledTaskThatNobodyJoinsIsAborted) {
  TestRuntime rt(1);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      (void)cx.ForDrain().Spawn("reserves", ReserveSeat, &hall);
      cx.Ref().Cancel();
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 1);
}

TEST(PermitDropTest, InTheValueOfACancelledTaskWhoseHandleIsLetGoIsAborted) {
  TestRuntime rt(1);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    {
      auto reserves = cx.ForDrain().Spawn("reserves", ReserveSeat, &hall);
      reserves.Cancel();
      while (!reserves.ended()) co_await OrReturn(Yield(cx));
    }
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 1);
}

TEST(PermitDropTest, InTheValueThatACancelledTaskWouldHaveJoinedIsAborted) {
  TestRuntime rt(1);
  Hall hall;
  bool may_end = false;  // out here: the task that reads it outlives the body
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto joins = cx.Spawn("joins", [&](Cx cx) -> Task<void> {
      auto reserves = cx.Spawn("reserves", [&](Cx cx) -> Task<SeatPermit> {
        SeatPermit permit(cx, &hall);
        while (!may_end) co_await OrReturn(Yield(cx));
        co_return std::move(permit);
      });
      Outcome<SeatPermit> permit = co_await OrReturn(reserves.Join(cx));
      EXPECT_FALSE(permit.ok()) << "joined";
      co_return Ok();
    });
    for (int i = 0; i < 10; ++i) co_await OrReturn(Yield(cx));
    joins.Cancel();
    EXPECT_THAT(co_await OrReturn(joins.Join(cx)), IsCancelled(CancelKind::kUser));
    may_end = true;
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 1);
}

TEST(PermitDropTest, InTheValueThatAFailingTaskWouldHaveJoinedIsAborted) {
  TestRuntime rt(1);
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      auto reserves = cx.Spawn("reserves", ReserveSeat, &hall);
      while (!reserves.ended()) co_await OrReturn(Yield(cx));
      co_await OrReturn(Fails(cx));
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "r", body), IsError("no"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 1);
}

TEST(PermitDropTest, InTheValueOfARegionThatFailsIsAborted) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx inner) -> Task<SeatPermit> {
      inner.Spawn("fails", Fails);
      SeatPermit permit(cx, &hall);
      co_return std::move(permit);
    };
    Outcome<SeatPermit> ended = co_await Region::Open(cx, "r", body);
    EXPECT_THAT(ended, IsError("no"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 1);
}

// ---- leaked -----------------------------------------------------------------------------------------

template <class Drop>
void RunDropping(Drop drop) {
  TestRuntime rt;
  Hall hall;
  (void)rt.Run([&](Cx cx) -> Task<void> {
    drop(cx, &hall);
    co_return Ok();
  });
}

TEST(PermitLeakTest, DroppedPermitIsFatalAndNamed) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  EXPECT_DEATH(
      RunDropping([](Cx cx, Hall* hall) { SeatPermit permit(cx, hall); }),
      "permit leaked: SeatPermit #[0-9]+, reserved at .*r8_permits_test.cc:[0-9]+ by task [0-9]+ "
      "'main' \\(region 'root'\\) was dropped. Book, Complete or Abort it on every path");
}
TEST(PermitLeakTest, OverwrittenPermitIsFatal) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  EXPECT_DEATH(RunDropping([](Cx cx, Hall* hall) {
                 SeatPermit permit(cx, hall);
                 permit = SeatPermit(cx, hall);
                 (void)std::move(permit).Book();
               }),
               "permit leaked");
}
TEST(PermitLeakTest, TaskThatIsNeverRunLeaksItsArguments) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  EXPECT_DEATH(RunDropping([](Cx cx, Hall* hall) {
                 auto books = [](Cx, SeatPermit permit) -> Task<void> {
                   (void)std::move(permit).Book();
                   co_return Ok();
                 };
                 Task<void> unused = books(cx, SeatPermit(cx, hall));
               }),
               "permit leaked");
}
TEST(PermitLeakTest, CoroutineThatReturnsAnErrorLeaks) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  EXPECT_DEATH(
      {
        TestRuntime rt;
        Hall hall;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          SeatPermit permit(cx, &hall);
          co_return absl::UnavailableError("early");
        });
      },
      "permit leaked");
}
TEST(PermitLeakTest, CoroutineThatReturnsAnErrorLeaksItsParameters) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  const auto fails = [](Cx, SeatPermit) -> Task<void> {
    co_return absl::UnavailableError("early");
  };
  for (const bool spawned : {false, true}) {
    EXPECT_DEATH(
        {
          TestRuntime rt;
          Hall hall;
          (void)rt.Run([&](Cx cx) -> Task<void> {
            if (spawned) {
              cx.Spawn("fails", fails, SeatPermit(cx, &hall));
            } else {
              SeatPermit permit(cx, &hall);
              co_await OrReturn(fails(cx, std::move(permit)));
            }
            co_return Ok();
          });
        },
        "permit leaked");
  }
}

// Nothing was cancelled and nothing failed, whoever ends first.
TEST(PermitLeakTest, InTheValueOfATaskThatNobodyJoinsIsFatal) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  for (const bool ends_first : {false, true}) {
    EXPECT_DEATH(RunDropping([&](Cx cx, Hall* hall) {
                   cx.Spawn("parent", [=](Cx cx) -> Task<void> {
                     auto reserves = cx.Spawn("reserves", ReserveSeat, hall);
                     while (ends_first && !reserves.ended()) co_await OrReturn(Yield(cx));
                     co_return Ok();
                   });
                 }),
                 "permit leaked: SeatPermit #1");
  }
}

TEST(PermitLeakTest, OfAThreadIsFatalToo) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  EXPECT_DEATH(
      {
        Hall hall;
        SeatPermit permit(&hall);
      },
      "permit leaked: SeatPermit, reserved at .* by a thread that is no task was dropped");
}

// ---- the region's close -----------------------------------------------------------------------------

TEST(PermitCloseTest, WaitsForAPermitThatHasTravelled) {
  TestRuntime rt;
  Hall hall;
  Locker locker;
  Trail trail;
  std::thread elsewhere([&] {
    std::optional<SeatPermit> permit;
    SpinUntil([&] { return (permit = locker.Take()).has_value(); });
    trail.Add("booking");
    EXPECT_TRUE(std::move(*permit).Book());
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      cx.Spawn("reserves", [&](Cx cx) -> Task<void> {
        locker.Put(SeatPermit(cx, &hall));
        co_return Ok();
      });
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "r", body), IsOk());
    trail.Add("closed");
    EXPECT_EQ(hall.booked, 1);
    co_return Ok();
  }),
              IsOk());
  elsewhere.join();
  EXPECT_THAT(trail.Steps(), ::testing::ElementsAre("booking", "closed"));
}

// In a message, and then as the argument of a task of another region.
struct Order {
  explicit Order(SeatPermit seat) : seat(std::move(seat)) {}
  SeatPermit seat;
};

TEST(PermitCloseTest, WaitsForAPermitThatTravelsThroughAChannelIntoATask) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeMpsc<Order>(1);
    const auto serve = [&](Cx cx, Receiver<Order> receiver) -> Task<void> {
      std::optional<Order> order = co_await OrReturn(receiver.Receive(cx));
      while (rt->DumpRegions().find("Region close, open permits") == std::string::npos) {
        co_await OrReturn(Yield(cx));
      }
      const auto book = [](Cx, Order order) -> Task<void> {
        EXPECT_TRUE(std::move(order.seat).Book());
        co_return Ok();
      };
      cx.Spawn("books", book, *std::move(order));
      co_return Ok();
    };
    cx.Spawn("serves", serve, std::move(receiver));
    auto body = [&](Cx inner) -> Task<void> {
      Order order(SeatPermit(inner, &hall));
      co_await OrReturn(sender.Send(inner, std::move(order)));
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "reserves", body), IsOk());
    EXPECT_EQ(hall.booked, 1);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.given_back, 0);
  EXPECT_EQ(rt->counters().permits_revoked, 0u);
}

TEST(PermitCloseTest, CountsThoseOfTheBodyAndOfFinalizers) {
  TestRuntime rt;
  Hall hall;
  for (const bool in_finalizer : {false, true}) {
    Locker locker;
    std::atomic<bool> closed{false};
    std::thread elsewhere([&] {
      std::optional<SeatPermit> permit;
      SpinUntil([&] { return (permit = locker.Take()).has_value(); });
      EXPECT_FALSE(closed);
      EXPECT_TRUE(std::move(*permit).Book());
    });
    EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        if (in_finalizer) {
          EXPECT_TRUE(cx.Defer("reserves", [&](Cx cx) -> Task<void> {
                          locker.Put(SeatPermit(cx, &hall));
                          co_return Ok();
                        }).ok());
        } else {
          locker.Put(SeatPermit(cx, &hall));
        }
        co_return Ok();
      };
      EXPECT_THAT(co_await Region::Open(cx, "r", body), IsOk());
      closed = true;
      co_return Ok();
    }),
                IsOk());
    elsewhere.join();
  }
  EXPECT_EQ(hall.booked, 2);
}

TEST(PermitCloseTest, PermitsOfAnInnerRegionDoNotCountForTheOuterOne) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    std::optional<SeatPermit> outer(SeatPermit(cx, &hall));
    auto body = [&](Cx cx) -> Task<void> {
      SeatPermit inner(cx, &hall);
      EXPECT_TRUE(std::move(*outer).Book());
      EXPECT_TRUE(std::move(inner).Book());
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "inner", body), IsOk());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.booked, 2);
  EXPECT_EQ(rt->counters().permits_revoked, 0u);
}

TEST(PermitCloseTest, ReboundPermitIsOwedByTheOtherRegion) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Locker locker;
    auto body = [&](Cx inner) -> Task<void> {
      SeatPermit permit(inner, &hall);
      EXPECT_TRUE(permit.Rebind(cx).ok());
      locker.Put(std::move(permit));
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "inner", body), IsOk());
    EXPECT_TRUE(std::move(*locker.Take()).Book());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.booked, 1);
  EXPECT_EQ(rt->counters().permits_revoked, 0u);
}

TEST(PermitEventTest, AReboundPermitEndsInOneRegionAndIsReservedInTheOther) {
  TestRuntime rt;
  Hall hall;
  std::vector<uint64_t> regions;  // that of the task, and the inner one
  StartRecording();
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx inner) -> Task<void> {
      regions = {cx.region()->id, inner.region()->id};
      SeatPermit permit(inner, &hall);
      EXPECT_TRUE(permit.Rebind(cx).ok());
      EXPECT_TRUE(std::move(permit).Book());
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "inner", body);
  }),
              IsOk());
  StopRecording();
  struct Seen {
    EventKind kind;
    uint64_t region;
    uint64_t arg;
    bool operator==(const Seen&) const = default;
  };
  std::vector<Seen> seen;
  uint64_t task = 0;
  for (const Event& event : CollectEvents()) {
    if (event.kind != EventKind::kPermitReserve && event.kind != EventKind::kPermitEnd) continue;
    if (task == 0) task = event.task;
    EXPECT_EQ(event.task, task);
    seen.push_back({event.kind, event.region, event.arg});
  }
  const auto end = [](PermitEnd end) { return static_cast<uint64_t>(end); };
  EXPECT_EQ(seen, (std::vector<Seen>{
                      {EventKind::kPermitReserve, regions[1], 0},
                      {EventKind::kPermitEnd, regions[1], end(PermitEnd::kRebound)},
                      {EventKind::kPermitReserve, regions[0], 0},
                      {EventKind::kPermitEnd, regions[0], end(PermitEnd::kActed)},
                  }));
}

TEST(PermitCloseTest, MorePermitsThanATaskCountsItself) {
  TestRuntime rt;
  Hall hall;
  constexpr int kMany = 100'000;  // what is left after half of them is over 2^15
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    std::vector<SeatPermit> permits;
    auto body = [&](Cx cx) -> Task<void> {
      auto reserves = cx.Spawn("reserves", [&](Cx cx) -> Task<void> {
        for (int i = 0; i < kMany; ++i) permits.emplace_back(cx, &hall);
        for (int i = 0; i < kMany / 2; ++i) EXPECT_TRUE(std::move(permits[i]).Book());
        co_return Ok();
      });
      (void)co_await OrReturn(reserves.Join(cx));
      for (int i = kMany / 2; i < kMany; ++i) EXPECT_TRUE(std::move(permits[i]).Book());
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "r", body), IsOk());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.booked, kMany);
  EXPECT_EQ(rt->counters().permits_revoked, 0u);
}

// ---- revoked ----------------------------------------------------------------------------------------

using contract::SteppedRuntime;

struct Revocation {
  SteppedRuntime runtime;
  Hall hall;
  Locker locker;
  std::optional<RegionRef> region;
  std::atomic<bool> closed{false};
  bool with_finalizer = false;

  // A region whose task leaves a permit in the locker.
  void Start() {
    runtime.Start([this](Cx cx) -> Task<void> {
      auto body = [this](Cx cx) -> Task<void> {
        region.emplace(cx.Ref());
        if (with_finalizer) {
          EXPECT_TRUE(cx.Defer("done at once", [](Cx) -> Task<void> { co_return Ok(); }).ok());
        }
        cx.Spawn("reserves", [this](Cx cx) -> Task<void> {
          locker.Put(SeatPermit(cx, &hall));
          co_return Ok();
        });
        co_return Ok();
      };
      EXPECT_THAT(
          co_await Region::Open(cx, "owing", body, FailFast(),
                                RegionOptions().WithDrain(Budget::Timeout(absl::Seconds(3)))),
          IsOk());
      closed = true;
      co_return Ok();
    });
    runtime.RunUntilIdle();
  }
  void Finish() {
    runtime.RunUntilIdle();
    EXPECT_TRUE(closed);
    EXPECT_EQ(runtime.counters().permits_revoked, 1u);
    std::optional<SeatPermit> permit = locker.Take();
    ASSERT_TRUE(permit.has_value());
    EXPECT_TRUE(permit->revoked());
    EXPECT_FALSE(std::move(*permit).Book());
    EXPECT_EQ(hall.booked, 0);
    EXPECT_EQ(hall.given_back, 1);
    region.reset();
    runtime.Finish();
  }
};

TEST(PermitRevocationTest, ARegionThatEndsByItselfWaitsAsLongAsADrainMayTake) {
  Revocation test;
  test.Start();
  EXPECT_FALSE(test.closed);
  test.runtime.AdvanceBy(absl::Seconds(3) - absl::Nanoseconds(1));
  test.runtime.RunUntilIdle();
  EXPECT_FALSE(test.closed);
  EXPECT_NE(
      test.runtime.Dump().find(DebugChecks() ? "owes 1 permit: SeatPermit #" : "owes 1 permit\n"),
      std::string::npos)
      << test.runtime.Dump();
  test.runtime.AdvanceBy(absl::Nanoseconds(1));
  test.Finish();
}

// The finalizers' grace, of one second, is over when they are done.
TEST(PermitRevocationTest, AFinalizerTakesNothingOfThatTime) {
  Revocation test;
  test.with_finalizer = true;
  test.Start();
  test.runtime.AdvanceBy(absl::Seconds(3) - absl::Nanoseconds(1));
  test.runtime.RunUntilIdle();
  EXPECT_FALSE(test.closed);
  test.runtime.AdvanceBy(absl::Nanoseconds(1));
  test.Finish();
}

TEST(PermitRevocationTest, ARequestWhileTheCloseWaitsTightensTheTime) {
  Revocation test;
  test.Start();
  test.region->Cancel(Budget::Timeout(absl::Seconds(1)));
  test.runtime.AdvanceBy(absl::Seconds(1) - absl::Nanoseconds(1));
  test.runtime.RunUntilIdle();
  EXPECT_FALSE(test.closed);
  test.runtime.AdvanceBy(absl::Nanoseconds(1));
  test.Finish();
}

TEST(PermitRevocationTest, ADrainThatIsSpentRevokesAtOnce) {
  Revocation test;
  test.Start();
  test.region->Cancel(Budget::Timeout(absl::ZeroDuration()));
  test.Finish();
}

TEST(PermitRevocationTest, OfTheOpenersOwnAndReboundTooLate) {
  TestRuntime rt;
  Hall hall;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Locker locker;
    auto body = [&](Cx inner) -> Task<void> {
      locker.Put(SeatPermit(inner, &hall));
      co_return Ok();
    };
    const auto no_time = RegionOptions().WithDrain(Budget::Timeout(absl::ZeroDuration()));
    EXPECT_THAT(co_await Region::Open(cx, "a", body, FailFast(), no_time), IsOk());
    EXPECT_FALSE(std::move(*locker.Take()).Book());
    EXPECT_THAT(co_await Region::Open(cx, "b", body, FailFast(), no_time), IsOk());
    std::optional<SeatPermit> late = locker.Take();
    EXPECT_EQ(late->Rebind(cx).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_FALSE(late->live());
    EXPECT_THAT(co_await Region::Open(cx, "c", body, FailFast(), no_time), IsOk());
    (void)locker.Take();  // dropped: it has been reported already
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(hall.booked, 0);
  EXPECT_EQ(hall.given_back, 3);
  EXPECT_EQ(rt->counters().permits_revoked, 3u);
  EXPECT_TRUE(rt.reports.Said("region 'a'"));
  EXPECT_TRUE(rt.reports.Said(DebugChecks()
                                  ? "closed over 1 open permit, which it revoked: SeatPermit #"
                                  : "closed over 1 open permit, which it revoked (debug checks"));
}

// ---- with threads -----------------------------------------------------------------------------------

// Permits that are booked on other threads while their regions close: each is booked or given back, once.
TEST(PermitStressTest, EachIsResolvedOnceWhereverItIs) {
  TestRuntime rt;
  constexpr int kRounds = 2'000;
  Hall hall;
  std::vector<Locker> lockers(4);
  std::atomic<bool> done{false};
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; !done; ++i) {
        std::optional<SeatPermit> permit = lockers[(i + static_cast<uint32_t>(t)) % 4].Take();
        if (!permit.has_value()) {
          std::this_thread::yield();
          continue;
        }
        if (i % 3 == 0) {
          std::move(*permit).Abort();
        } else {
          (void)std::move(*permit).Book();
        }
        ++taken;
      }
    });
  }
  int reserved = 0;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (int round = 0; round < kRounds; ++round) {
      auto body = [&](Cx cx) -> Task<void> {
        for (uint32_t i = 0; i < 4; ++i) {
          if (std::optional<SeatPermit> left = lockers[i].Take()) std::move(*left).Complete();
          ++reserved;
          cx.Spawn("reserves", [&lockers, &hall, i](Cx cx) -> Task<void> {
            lockers[i].Put(SeatPermit(cx, &hall));
            co_return Ok();
          });
        }
        co_return Ok();
      };
      // Every other one is in a hurry: its permits are revoked if they are not booked by then.
      const Budget drain = Budget::Timeout(round % 2 == 0 ? absl::ZeroDuration() : absl::Hours(1));
      (void)co_await Region::Open(cx, "r", body, FailFast(), RegionOptions().WithDrain(drain));
    }
    co_return Ok();
  }),
              IsOk());
  done = true;
  for (std::thread& thread : threads) thread.join();
  for (Locker& locker : lockers) {
    if (std::optional<SeatPermit> left = locker.Take()) std::move(*left).Abort();
  }
  EXPECT_EQ(hall.booked + hall.completed + hall.given_back, reserved);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

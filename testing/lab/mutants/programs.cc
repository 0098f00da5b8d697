#include "quiesce/testing/lab/mutants/programs.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/combinator/race.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/region/region_ref.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/notify.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"

namespace quiesce::lab {
namespace {

Explore AsItIs(Explore how) { return how; }
Explore Parked(Explore how) { return how.WithParkedClosers(); }

// For programs that are reported for what they do.
Explore Reported(Explore how) {
  class Nobody final : public ReportSink {
    void Report(const std::string&) override {}
  };
  static auto* const nobody = new Nobody();
  return how.WithReports(nobody);
}

Task<void> Nothing(Cx) { co_return Ok(); }

Task<void> WaitFor(Cx cx, Notify* notify) {
  co_await OrReturn(notify->Wait(cx));
  co_return Ok();
}

Task<void> SleepFor(Cx cx, absl::Duration time) {
  co_await OrReturn(Sleep(cx, time));
  co_return Ok();
}

// Somebody outside spawns into a region while its finalizer runs.
Task<void> LateSpawn(Cx cx) {
  std::optional<RegionRef> region;
  Notify finalizing;
  auto outer = [&](Cx cx) -> Task<void> {
    cx.Spawn("outsider", [&](Cx cx) -> Task<void> {
      co_await OrReturn(finalizing.Wait(cx));
      region->Spawn("late", Nothing);
      co_return Ok();
    });
    auto inner = [&](Cx cx) -> Task<void> {
      region = cx.Ref();
      (void)cx.Defer("clean up", [&](Cx cx) -> Task<void> {
        finalizing.NotifyOne();
        co_return co_await Sleep(cx, absl::Milliseconds(1));
      });
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "inner", inner);
  };
  co_return co_await Region::Open(cx, "outer", outer);
}

// A region that ends long before its deadline.
Task<void> EarlyEnd(Cx cx) {
  co_return co_await Region::Open(cx, "early", Nothing, FailFast(),
                                  RegionOptions().WithBudget(Budget::Timeout(absl::Hours(1))));
}

// A region that would last longer than its deadline, two regions above.
Task<void> LateEnd(Cx cx) {
  auto outer = [](Cx cx) -> Task<void> {
    auto inner = [](Cx cx) -> Task<void> { return SleepFor(cx, absl::Hours(1)); };
    co_return co_await Region::Open(cx, "inner", inner);
  };
  (void)co_await Region::Open(cx, "late", outer, FailFast(),
                              RegionOptions().WithBudget(Budget::Timeout(absl::Seconds(1))));
  co_return Ok();
}

// Two requests, the second of which gives more time, and a drain that would take it.
Task<void> TwoRequests(Cx cx) {
  auto body = [](Cx cx) -> Task<void> {
    cx.Spawn("slow", [](Cx cx) { return SleepFor(cx.ForDrain(), absl::Seconds(5)); });
    const RegionRef region = cx.Ref();
    region.Cancel(Budget::Timeout(absl::Seconds(1)));
    region.Cancel(Budget::Timeout(absl::Seconds(10)));
    co_return Ok();
  };
  (void)co_await Region::Open(cx, "twice", body);
  co_return Ok();
}

// A wait two regions below the one that is cancelled.
Task<void> DeepWait(Cx cx) {
  Notify never;
  auto outer = [&](Cx cx) -> Task<void> {
    cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      auto inner = [&](Cx cx) -> Task<void> { return WaitFor(cx, &never); };
      co_return co_await Region::Open(cx, "inner", inner);
    });
    cx.Ref().Cancel();
    co_return Ok();
  };
  (void)co_await Region::Open(cx, "outer", outer);
  co_return Ok();
}

// A drain that takes longer than it may.
Task<void> SlowDrain(Cx cx) {
  auto body = [](Cx cx) -> Task<void> {
    cx.Spawn("slow", [](Cx cx) { return SleepFor(cx.ForDrain(), absl::Minutes(1)); });
    cx.Ref().Cancel(Budget::Timeout(absl::Seconds(1)));
    co_return Ok();
  };
  (void)co_await Region::Open(cx, "slow drain", body);
  co_return Ok();
}

// Two finalizers, one of which waits.
Task<void> TwoFinalizers(Cx cx) {
  auto body = [](Cx cx) -> Task<void> {
    (void)cx.Defer("close file", Nothing);
    (void)cx.Defer("flush file", [](Cx cx) { return SleepFor(cx, absl::Milliseconds(1)); });
    cx.Spawn("writer", Nothing);
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "two finalizers", body);
}

// A finalizer of a cancelled region, which does what it may and tries what it may not.
Task<void> BusyFinalizer(Cx cx) {
  auto body = [](Cx cx) -> Task<void> {
    (void)cx.Defer("busy", [](Cx cx) -> Task<void> {
      co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
      (void)cx.Defer("another", Nothing);
      cx.Spawn("task", Nothing);
      co_return Ok();
    });
    cx.Ref().Cancel();
    co_return Ok();
  };
  (void)co_await Region::Open(cx, "busy finalizer", body);
  co_return Ok();
}

// A permit of one region that a task of the region above resolves.
Task<void> TravellingPermit(Cx cx) {
  Semaphore seats(1);
  std::optional<SemaphorePermit> kept;
  Notify closing;
  auto outer = [&](Cx cx) -> Task<void> {
    cx.Spawn("releases", [&](Cx cx) -> Task<void> {
      co_await OrReturn(closing.Wait(cx));
      co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
      std::move(*kept).Release();
      co_return Ok();
    });
    auto inner = [&](Cx cx) -> Task<void> {
      cx.Spawn("takes", [&](Cx cx) -> Task<void> {
        kept = co_await OrReturn(seats.Acquire(cx));
        closing.NotifyOne();
        co_return Ok();
      });
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "inner", inner);
  };
  co_return co_await Region::Open(cx, "outer", outer);
}

// A task is cancelled by its handle, and waits in a region that it has opened.
Task<void> CancelledOpener(Cx cx) {
  Notify never;
  auto body = [&](Cx cx) -> Task<void> {
    TaskHandle<void> opener = cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      auto inner = [&](Cx cx) -> Task<void> {
        cx.Spawn("deep", WaitFor, &never);
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "inner", inner);
    });
    co_await OrReturn(Yield(cx));
    opener.Cancel();
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "handles", body);
}

// A permit that is still open when the time of its region's close is over, and is resolved afterwards.
Task<void> LatePermit(Cx cx) {
  Semaphore seats(1);
  std::optional<SemaphorePermit> kept;
  auto body = [&](Cx cx) -> Task<void> {
    cx.Spawn("takes and keeps", [&](Cx cx) -> Task<void> {
      kept = co_await OrReturn(seats.Acquire(cx));
      co_return Ok();
    });
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "owes", body));
  std::move(*kept).Release();
  co_return Ok();
}

// A wait that is granted and cancelled in the same moment.
Task<void> GrantAndCancel(Cx cx) {
  Semaphore seats(1);
  auto body = [&](Cx cx) -> Task<void> {
    SemaphorePermit first = co_await OrReturn(seats.Acquire(cx));
    TaskHandle<void> waits = cx.Spawn("waits", [&](Cx cx) -> Task<void> {
      SemaphorePermit second = co_await OrReturn(seats.Acquire(cx));
      std::move(second).Release();
      co_return Ok();
    });
    co_await OrReturn(Yield(cx));
    waits.Cancel();
    std::move(first).Release();
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "seats", body));
  SemaphorePermit again = co_await OrReturn(seats.Acquire(cx));
  std::move(again).Release();
  co_return Ok();
}

// A race whose loser takes its time to end.
Task<void> SlowLoser(Cx cx) {
  auto loser = [](Cx cx) -> Task<int> {
    (void)co_await Sleep(cx, absl::Hours(1));
    co_await OrReturn(Sleep(cx.ForDrain(), absl::Seconds(1)));
    co_return 1;
  };
  auto winner = [](Cx) -> Task<int> { co_return 2; };
  (void)co_await OrReturn(Race(cx, loser, winner));
  co_return Ok();
}

// A body that waits after its region was cancelled.
Task<void> DrainingBody(Cx cx) {
  auto body = [](Cx cx) -> Task<void> {
    co_await OrReturn(Sleep(cx, absl::Seconds(1)));
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "drains", body);
}

// A task that is told to go on, and its region waits for it.
Task<void> HandShake(Cx cx) {
  Notify notify;
  auto body = [&](Cx cx) -> Task<void> {
    cx.Spawn("waits", WaitFor, &notify);
    co_await OrReturn(Yield(cx));
    notify.NotifyOne();
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "hand-shake", body);
}

// Two tasks, one of which takes longer.
Task<void> TwoTasks(Cx cx) {
  auto body = [](Cx cx) -> Task<void> {
    cx.Spawn("short", Nothing);
    cx.Spawn("long", SleepFor, absl::Seconds(1));
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "two tasks", body);
}

// Three that want the only seat.
Task<void> Contenders(Cx cx) {
  Semaphore seats(1);
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 3; ++i) {
      cx.Spawn("contender", [&](Cx cx) -> Task<void> {
        SemaphorePermit seat = co_await OrReturn(seats.Acquire(cx));
        std::move(seat).Release();
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "contenders", body);
}

// Two that share a lock.
Task<void> LockedCount(Cx cx) {
  Mutex mutex;
  int count = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("increment", [&](Cx cx) -> Task<void> {
        const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
        ++count;
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "locked count", body);
}

// A permit that goes to a task as an argument, and somebody who waits for it.
Task<void> PermitToATask(Cx cx) {
  Semaphore seats(1);
  auto body = [&](Cx cx) -> Task<void> {
    SemaphorePermit seat = co_await OrReturn(seats.Acquire(cx));
    cx.Spawn(
        "holder",
        [](Cx, SemaphorePermit held) -> Task<void> {
          std::move(held).Release();
          co_return Ok();
        },
        std::move(seat));
    SemaphorePermit again = co_await OrReturn(seats.Acquire(cx));
    std::move(again).Release();
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "permit to a task", body);
}

// A wait that nothing ends early, and that takes longer than the drain and the finalizers may.
struct ForeignCall : time_internal::SleepOp {
  using SleepOp::SleepOp;
  static constexpr const char* kName = "ForeignCall";
  static constexpr bool kStructural = true;
};

Task<void> Overdue(Cx cx) {
  auto body = [](Cx cx) -> Task<void> {
    cx.Spawn("stubborn", [](Cx cx) -> Task<void> {
      co_return co_await Wait<ForeignCall>(cx, cx.services().clock, cx.Now() + absl::Minutes(1));
    });
    co_await OrReturn(Yield(cx));
    cx.Ref().Cancel(Budget::Timeout(absl::Seconds(1)));
    co_return Ok();
  };
  (void)co_await Region::Open(cx, "overdue", body);
  co_return Ok();
}

// A body and a task that wait in their own regions, below a policy.
Task<void> Restricted(Cx cx) {
  static const Policy anything;
  auto outer = [](Cx cx) -> Task<void> {
    auto inner = [](Cx cx) -> Task<void> {
      cx.Spawn("restricted",
               [](Cx cx) -> Task<void> { co_return co_await Yield(cx.Restrict(anything)); });
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "inner", inner);
  };
  co_return co_await Region::Open(cx, "outer", outer);
}

constexpr MutantProgram kPrograms[] = {
    {"late-spawn", AsItIs, LateSpawn},
    {"early-end", AsItIs, EarlyEnd},
    {"late-end", AsItIs, LateEnd},
    {"two-requests", AsItIs, TwoRequests},
    {"deep-wait", AsItIs, DeepWait},
    {"slow-drain", AsItIs, SlowDrain},
    {"two-finalizers", AsItIs, TwoFinalizers},
    {"busy-finalizer", AsItIs, BusyFinalizer},
    {"travelling-permit", AsItIs, TravellingPermit},
    {"cancelled-opener", AsItIs, CancelledOpener},
    {"late-permit", Reported, LatePermit},
    {"grant-and-cancel", AsItIs, GrantAndCancel},
    {"slow-loser", Parked, SlowLoser},
    {"draining-body", AsItIs, DrainingBody},
    {"hand-shake", AsItIs, HandShake},
    {"two-tasks", Parked, TwoTasks},
    {"contenders", AsItIs, Contenders},
    {"locked-count", AsItIs, LockedCount},
    {"permit-to-a-task", AsItIs, PermitToATask},
    {"overdue", Reported, Overdue},
    {"restricted", AsItIs, Restricted},
};

}  // namespace

absl::Span<const MutantProgram> MutantPrograms() { return kPrograms; }

}  // namespace quiesce::lab

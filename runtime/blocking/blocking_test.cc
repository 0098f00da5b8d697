#include "quiesce/runtime/blocking/blocking.h"

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/spawn_name.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/yield.h"

namespace quiesce {
namespace {

using ::testing::HasSubstr;

// What a blocked call waits for.
class Event {
 public:
  void Set() {
    ThreadMutexLock lock(mutex_);
    set_ = true;
    changed_.NotifyAll();
  }
  void Wait() {
    ThreadMutexLock lock(mutex_);
    while (!set_) changed_.Wait(mutex_);
  }
  bool is_set() {
    ThreadMutexLock lock(mutex_);
    return set_;
  }

 private:
  ThreadMutex mutex_;
  ThreadCondition changed_;
  bool set_ ABSL_GUARDED_BY(mutex_) = false;
};

std::unique_ptr<Runtime> MakeRuntime(uint32_t blocking_threads, uint32_t workers = 2) {
  auto runtime =
      Runtime::Create(RuntimeOptions().WithWorkers(workers).WithBlockingThreads(blocking_threads));
  EXPECT_TRUE(runtime.ok()) << runtime.status();
  return *std::move(runtime);
}

// Lets other tasks run until `condition` holds. Goes on while cancelled.
template <class Predicate>
Task<void> Until(Cx cx, Predicate condition) {
  while (!condition()) (void)co_await Yield(cx.ForDrain());
  co_return Ok();
}

TEST(RunBlockingTest, EachKindOfReturnBecomesAnOutcome) {
  auto runtime = MakeRuntime(2);
  const Outcome<void> ended = runtime->BlockOn([](Cx cx) -> Task<void> {
    const int value = co_await OrReturn(RunBlocking(cx, "value", [] { return 42; }));
    EXPECT_EQ(value, 42);

    bool called = false;
    const Outcome<void> nothing = co_await RunBlocking(cx, "void", [&] { called = true; });
    EXPECT_TRUE(nothing.ok());
    EXPECT_TRUE(called);

    const Outcome<void> good = co_await RunBlocking(cx, "ok", [] { return absl::OkStatus(); });
    EXPECT_TRUE(good.ok());
    const Outcome<void> bad =
        co_await RunBlocking(cx, "status", [] { return absl::NotFoundError("no such host"); });
    EXPECT_EQ(bad.ToString(), "Error(NOT_FOUND: no such host)");

    const Outcome<std::string> text =
        co_await RunBlocking(cx, "statusor", []() -> absl::StatusOr<std::string> { return "x"; });
    EXPECT_EQ(text.value(), "x");
    const Outcome<std::string> none = co_await RunBlocking(
        cx, "statusor", []() -> absl::StatusOr<std::string> { return absl::AbortedError("y"); });
    EXPECT_TRUE(none.is_error());

    const Outcome<int> outcome =
        co_await RunBlocking(cx, "outcome", []() -> Outcome<int> { return Panic("bug"); });
    EXPECT_TRUE(outcome.is_panicked());

    const std::unique_ptr<int> moved =
        co_await OrReturn(RunBlocking(cx, "move-only", [] { return std::make_unique<int>(7); }));
    EXPECT_EQ(*moved, 7);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(RunBlockingTest, ACallOnItsOwnThreadDoesNotHoldUpTheOnlyWorker) {
  auto runtime = MakeRuntime(1, /*workers=*/1);
  Event released;
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    cx.Spawn("blocked", [&](Cx cx) -> Task<void> {
      co_return co_await RunBlocking(cx, "wait", [&] { released.Wait(); });
    });
    cx.Spawn("releaser", [&](Cx) -> Task<void> {
      released.Set();
      co_return Ok();
    });
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(RunBlockingTest, ANamedCallableIsUsedByReferenceAndMayBeUsedAgain) {
  auto runtime = MakeRuntime(1);
  const Outcome<int> sum = runtime->BlockOn([](Cx cx) -> Task<int> {
    auto next = [count = std::make_unique<int>(0)] { return ++*count; };
    int sum = 0;
    for (int i = 0; i < 3; ++i) sum += co_await OrReturn(RunBlocking(cx, "next", next));
    co_return sum;
  });
  EXPECT_EQ(sum.value(), 1 + 2 + 3);
}

#if defined(__cpp_exceptions)
TEST(RunBlockingTest, AnExceptionThatEscapesBecomesAPanic) {
  auto runtime = MakeRuntime(1);
  const Outcome<int> outcome = runtime->BlockOn([](Cx cx) -> Task<int> {
    co_return co_await RunBlocking(cx, "throw",
                                   []() -> int { throw std::runtime_error("disk on fire"); });
  });
  ASSERT_TRUE(outcome.is_panicked());
  EXPECT_THAT(outcome.ToString(), HasSubstr("disk on fire"));
}
#endif

TEST(RunBlockingCancelTest, ATaskThatIsCancelledBeforeTheCallDoesNotMakeIt) {
  auto runtime = MakeRuntime(1);
  bool called = false;
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    const Outcome<void> refused = co_await RunBlocking(cx, "late", [&] { called = true; });
    EXPECT_TRUE(refused.is_cancelled()) << refused.ToString();
    EXPECT_FALSE(called);
    // A drain call goes on.
    co_return co_await RunBlocking(cx.ForDrain(), "drain", [&] { called = true; });
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_TRUE(called);
}

// Between the hand-over to a thread and the call a cancel may come.
TEST(RunBlockingCancelTest, AThreadThatSeesTheCancelDoesNotBeginTheCall) {
  auto runtime = MakeRuntime(1);
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    bool called = false;
    auto fn = [&] { called = true; };
    blocking_internal::CallOf<void, decltype(fn)> call(cx, fn);
    cx.Ref().Cancel();
    call.call(&call);
    EXPECT_FALSE(called);
    EXPECT_FALSE(call.result().has_value());
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(RunBlockingCancelTest, AQueuedCallIsGivenUpAtOnceAndNeverBegins) {
  auto runtime = MakeRuntime(1);
  const BlockingPool& pool = *runtime->services().blocking;
  Event release;
  bool began = false;
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    Event occupied;
    auto first = cx.Spawn("occupant", [&](Cx cx) -> Task<int> {
      auto call = [&] {
        occupied.Set();
        release.Wait();
        return 1;
      };
      co_return co_await RunBlocking(cx, "occupy", call);
    });
    co_await OrReturn(Until(cx, [&] { return occupied.is_set(); }));
    auto queued = cx.Spawn("queued", [&](Cx cx) -> Task<void> {
      co_return co_await RunBlocking(cx, "queued", [&] { began = true; });
    });
    co_await OrReturn(Until(cx, [&] { return pool.load().queued == 1; }));
    EXPECT_THAT(runtime->DumpRegions(), HasSubstr("in queued (wait)"));
    queued.Cancel();
    // The only thread is still taken: the wait ends without it.
    const Outcome<void> given_up = co_await OrReturn(queued.Join(cx));
    EXPECT_TRUE(given_up.is_cancelled()) << given_up.ToString();
    EXPECT_FALSE(release.is_set());
    EXPECT_EQ(pool.load().queued, 0u);
    release.Set();
    const Outcome<int> kept = co_await OrReturn(first.Join(cx));
    EXPECT_EQ(kept.value(), 1);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_FALSE(began);
}

TEST(RunBlockingCancelTest, ARunningCallIsWaitedForAndItsResultIsKept) {
  auto runtime = MakeRuntime(1);
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    Event running, release;
    auto task = cx.Spawn("caller", [&](Cx cx) -> Task<int> {
      auto call = [&] {
        running.Set();
        release.Wait();
        return 7;
      };
      co_return co_await RunBlocking(cx, "resolve", call);
    });
    co_await OrReturn(Until(cx, [&] { return running.is_set(); }));
    co_await OrReturn(Until(cx, [&] {
      return runtime->DumpRegions().find("in resolve (structural wait)") != std::string::npos;
    }));
    // No budget to drain at all: the call is waited for all the same.
    task.Cancel(Budget::Timeout(absl::ZeroDuration()));
    for (int i = 0; i < 100; ++i) co_await OrReturn(Yield(cx));
    EXPECT_FALSE(task.ended());
    release.Set();
    const Outcome<int> result = co_await OrReturn(task.Join(cx));
    EXPECT_EQ(result.value(), 7);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(RunBlockingCancelTest, TheProbeForwardsTheCancelToTheRunningCall) {
  auto runtime = MakeRuntime(1);
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    std::atomic<bool> running{false};
    auto task = cx.Spawn("caller", [&](Cx cx) -> Task<int> {
      co_return co_await RunBlocking(cx, "loop", [&](const CancelProbe& probe) {
        EXPECT_FALSE(probe.ShouldStop());
        running = true;
        while (!probe.ShouldStop()) std::this_thread::yield();
        return 7;
      });
    });
    co_await OrReturn(Until(cx, [&] { return running.load(); }));
    task.Cancel();
    const Outcome<int> result = co_await OrReturn(task.Join(cx));
    EXPECT_EQ(result.value(), 7);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// Not an Error, which would make a region fail that was asked to stop.
TEST(RunBlockingCancelTest, ACallThatReturnsTheProbesReasonIsCancelled) {
  auto runtime = MakeRuntime(1);
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    std::atomic<bool> running{false};
    auto task = cx.Spawn("caller", [&](Cx cx) -> Task<int> {
      auto loop = [&](const CancelProbe& probe) -> Outcome<int> {
        running = true;
        while (!probe.ShouldStop()) std::this_thread::yield();
        return probe.reason();
      };
      co_return co_await RunBlocking(cx, "loop", loop);
    });
    co_await OrReturn(Until(cx, [&] { return running.load(); }));
    task.Cancel();
    const Outcome<int> result = co_await OrReturn(task.Join(cx));
    EXPECT_TRUE(result.is_cancelled()) << result.ToString();
    if (result.is_cancelled()) {
      EXPECT_EQ(result.cancel_reason().kind(), CancelKind::kUser);
    }
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(RunBlockingCancelTest, TheProbeOfADrainCallStopsItOnlyWhenTheBudgetIsSpent) {
  auto runtime = MakeRuntime(1);
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    std::atomic<bool> running{false}, checked{false};
    auto task = cx.Spawn("caller", [&](Cx cx) -> Task<int> {
      co_return co_await RunBlocking(cx.ForDrain(), "loop", [&](const CancelProbe& probe) {
        running = true;
        while (!checked) {
          EXPECT_FALSE(probe.ShouldStop());
          std::this_thread::yield();
        }
        while (!probe.ShouldStop()) std::this_thread::yield();
        return 7;
      });
    });
    co_await OrReturn(Until(cx, [&] { return running.load(); }));
    task.Cancel(Budget::Timeout(absl::Hours(1)));
    checked = true;
    task.Cancel(Budget::Timeout(absl::ZeroDuration()));
    const Outcome<int> result = co_await OrReturn(task.Join(cx));
    EXPECT_EQ(result.value(), 7);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// G8: whatever the order of the cancel and of the threads, a call was made if and only if its task got
// the result.
TEST(RunBlockingCancelTest, ACallWasMadeIfAndOnlyIfItsResultWasReturned) {
  auto runtime = MakeRuntime(2);
  constexpr int kRounds = 200, kTasks = 16;
  int made = 0, cancelled = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<int> calls(kTasks), results(kTasks);
    const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
      std::vector<TaskHandle<void>> tasks;
      for (int i = 0; i < kTasks; ++i) {
        tasks.push_back(cx.Spawn("caller", [&calls, &results, i](Cx cx) -> Task<void> {
          const Outcome<int> result =
              co_await RunBlocking(cx, "call", [&calls, i] { return ++calls[i]; });
          if (result.ok()) results[i] = *result;
          co_return Ok();
        }));
      }
      // In another order in each round, and sooner or later.
      for (int i = 0; i < round % 7; ++i) co_await OrReturn(Yield(cx));
      for (int i = 0; i < kTasks; i += 2) tasks[(i * 5 + round) % kTasks].Cancel();
      co_return Ok();
    });
    ASSERT_TRUE(ended.ok()) << ended.ToString();
    ASSERT_EQ(calls, results);
    for (int call : calls) ++(call == 1 ? made : cancelled);
  }
  EXPECT_GT(made, 0);
  EXPECT_GT(cancelled, 0);
}

TEST(RunBlockingQueueTest, CallsGetTheOnlyThreadInOrderOfArrival) {
  auto runtime = MakeRuntime(1, /*workers=*/1);
  const BlockingPool& pool = *runtime->services().blocking;
  std::vector<int> order;
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    Event release;
    cx.Spawn("occupant", [&](Cx cx) -> Task<void> {
      co_return co_await RunBlocking(cx, "occupy", [&] { release.Wait(); });
    });
    co_await OrReturn(Until(cx, [&] { return pool.load().threads == 1; }));
    for (uint32_t i = 0; i < 10; ++i) {
      cx.Spawn("caller", [&order, i](Cx cx) -> Task<void> {
        co_return co_await RunBlocking(cx, "call", [&order, i] { order.push_back(i); });
      });
      co_await OrReturn(Until(cx, [&] { return pool.load().queued == i + 1; }));
    }
    release.Set();
    // The body stays until all have ended: `release` is its own.
    co_return co_await Until(cx, [&] { return pool.load().queued == 0 && pool.load().idle == 1; });
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST(RunBlockingQueueTest, ManyCallsUseNoMoreThreadsThanAllowed) {
  auto runtime = MakeRuntime(3);
  std::atomic<int> now{0}, most{0}, calls{0};
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 500; ++i) {
      cx.Spawn("caller", [&](Cx cx) -> Task<void> {
        auto call = [&] {
          const int running = ++now;
          int before = most;
          while (before < running && !most.compare_exchange_weak(before, running)) {
          }
          ++calls;
          --now;
        };
        co_return co_await RunBlocking(cx, "call", call);
      });
    }
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_EQ(calls, 500);
  EXPECT_LE(most, 3);
  EXPECT_LE(runtime->services().blocking->load().threads, 3u);
}

TEST(RunBlockingTest, WithoutAPoolTheErrorSaysWhatToDo) {
  const SpawnName name("resolve");
  // No runtime has none: the wait is made by a thread.
  const Outcome<void> result = BlockThread<blocking_internal::StartOp>(
      "the test", "co_await", absl::InfiniteDuration(), nullptr, &name, nullptr);
  ASSERT_TRUE(result.is_error());
  EXPECT_EQ(result.error().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(result.ToString(), HasSubstr("RunBlocking('resolve')"));
  EXPECT_THAT(result.ToString(), HasSubstr("WithBlockingThreads"));
}

}  // namespace
}  // namespace quiesce

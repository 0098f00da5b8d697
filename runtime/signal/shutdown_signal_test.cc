#include "quiesce/runtime/signal/shutdown_signal.h"

#include <signal.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/cancel_reason.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/signal/signal_hub.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"

namespace quiesce {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Runtime> MakeRuntime() {
  auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(2).WithSignals());
  EXPECT_TRUE(runtime.ok()) << runtime.status();
  // As if some task had called ShutdownSignal: else a signal that comes first cancels every region.
  (*runtime)->services().signals->Claim();
  return *std::move(runtime);
}

// Yields until `tasks` tasks are parked in ShutdownSignal. Goes on while cancelled.
Task<void> UntilParked(Cx cx, Runtime* runtime, int tasks) {
  while (true) {
    const std::string dump = runtime->DumpRegions();
    int parked = 0;
    for (size_t at = dump.find("in ShutdownSignal"); at != std::string::npos;
         at = dump.find("in ShutdownSignal", at + 1)) {
      ++parked;
    }
    if (parked >= tasks) break;
    (void)co_await Yield(cx.ForDrain());
  }
  co_return Ok();
}

TEST(ShutdownSignalTest, EveryWaitingTaskGetsTheSignal) {
  auto runtime = MakeRuntime();
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    auto wait = [](Cx cx) -> Task<int> { co_return co_await ShutdownSignal(cx); };
    std::vector<TaskHandle<int>> tasks;
    for (int i = 0; i < 3; ++i) tasks.push_back(cx.Spawn("waiting", wait));
    co_await OrReturn(UntilParked(cx, runtime.get(), 3));
    raise(SIGTERM);
    for (TaskHandle<int>& task : tasks) {
      const Outcome<int> got = co_await OrReturn(task.Join(cx));
      EXPECT_EQ(got.value(), SIGTERM);
    }
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(ShutdownSignalTest, ASignalThatCameBeforeTheCallStaysForEachCaller) {
  auto runtime = MakeRuntime();
  raise(SIGINT);
  for (int i = 0; i < 2; ++i) {
    const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
      EXPECT_EQ(co_await OrReturn(ShutdownSignal(cx)), SIGINT);
      EXPECT_EQ(co_await OrReturn(ShutdownSignal(cx)), SIGINT);
      co_return Ok();
    });
    EXPECT_TRUE(ended.ok()) << ended.ToString();
  }
}

TEST(ShutdownSignalTest, ACancelledWaitEndsAndTakesTheSignalFromNobody) {
  auto runtime = MakeRuntime();
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    auto wait = [](Cx cx) -> Task<int> { co_return co_await ShutdownSignal(cx); };
    auto cancelled = cx.Spawn("cancelled", wait);
    auto stays = cx.Spawn("stays", wait);
    co_await OrReturn(UntilParked(cx, runtime.get(), 2));
    cancelled.Cancel();
    const Outcome<int> none = co_await OrReturn(cancelled.Join(cx));
    EXPECT_TRUE(none.is_cancelled()) << none.ToString();
    raise(SIGINT);
    const Outcome<int> got = co_await OrReturn(stays.Join(cx));
    EXPECT_EQ(got.value(), SIGINT);
    // Level-triggered, and a checkpoint all the same.
    cx.Ref().Cancel();
    EXPECT_TRUE((co_await ShutdownSignal(cx)).is_cancelled());
    EXPECT_EQ(co_await OrReturn(ShutdownSignal(cx.ForDrain())), SIGINT);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// G8: the signal and the cancel come at the same moment; nobody is left behind in the hub's queue.
TEST(ShutdownSignalTest, ACancelAtTheMomentOfTheSignalLosesNothing) {
  for (int round = 0; round < 100; ++round) {
    auto runtime = MakeRuntime();
    const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
      auto wait = [](Cx cx) -> Task<int> { co_return co_await ShutdownSignal(cx); };
      std::vector<TaskHandle<int>> tasks;
      for (int i = 0; i < 8; ++i) tasks.push_back(cx.Spawn("waiting", wait));
      if (round % 2 == 0) co_await OrReturn(UntilParked(cx, runtime.get(), 8));
      raise(SIGTERM);
      for (int i = 0; i < 8; i += 2) tasks[i].Cancel();
      for (int i = 0; i < 8; ++i) {
        const Outcome<int> got = co_await OrReturn(tasks[i].Join(cx));
        EXPECT_TRUE(got.is_cancelled() ? i % 2 == 0 : got.value() == SIGTERM) << got.ToString();
      }
      co_return Ok();
    });
    ASSERT_TRUE(ended.ok()) << ended.ToString();
  }
}

TEST(ShutdownSignalTest, ASignalThatNobodyAsksForCancelsEveryRegion) {
  auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(2).WithSignals());
  const Outcome<void> ended = (*runtime)->BlockOn([](Cx cx) -> Task<void> {
    raise(SIGTERM);
    while (true) co_await OrReturn(Yield(cx));
  });
  ASSERT_TRUE(ended.is_cancelled()) << ended.ToString();
  EXPECT_EQ(ended.cancel_reason().root().kind(), CancelKind::kShutdown);
}

class CountReports final : public ReportSink {
 public:
  void Report(const std::string&) override { ++count; }
  std::atomic<int> count{0};
};

// The process is asked to end between two calls of BlockOn: the next one is told, and so is each later one.
TEST(ShutdownSignalTest, ASignalThatNobodyAsksForStaysForRegionsThatAreOpenedLater) {
  CountReports reports;
  auto runtime =
      Runtime::Create(RuntimeOptions().WithWorkers(2).WithSignals().WithReports(&reports));
  const auto body = [](Cx) -> Task<void> { co_return Ok(); };
  EXPECT_TRUE((*runtime)->BlockOn(body).ok());
  raise(SIGTERM);
  raise(SIGQUIT);
  while (reports.count == 0) std::this_thread::yield();  // the first has been dealt with
  for (int i = 0; i < 2; ++i) {
    const Outcome<void> ended = (*runtime)->BlockOn(body);
    ASSERT_TRUE(ended.is_cancelled()) << ended.ToString();
    EXPECT_EQ(ended.cancel_reason().root().kind(), CancelKind::kShutdown);
    EXPECT_THAT(ended.ToString(), HasSubstr("SIGTERM"));
  }
}

TEST(ShutdownSignalTest, ARuntimeWithoutSignalsSaysHowToTurnThemOn) {
  auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(1));
  const Outcome<int> refused =
      (*runtime)->BlockOn([](Cx cx) -> Task<int> { co_return co_await ShutdownSignal(cx); });
  ASSERT_TRUE(refused.is_error());
  EXPECT_EQ(refused.error().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.ToString(), HasSubstr("WithSignals()"));
}

TEST(ShutdownSignalTest, ASecondRuntimeWithSignalsIsRefused) {
  auto first = MakeRuntime();
  auto second = Runtime::Create(RuntimeOptions().WithWorkers(1).WithName("second").WithSignals());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  first.reset();
  EXPECT_TRUE(Runtime::Create(RuntimeOptions().WithWorkers(1).WithSignals()).ok());
}

}  // namespace
}  // namespace quiesce

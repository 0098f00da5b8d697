// What RuntimeOptions ask for, and what the production runtime records: each event's `arg` is what
// trace/event.h says.
#include "quiesce/runtime/runtime.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/blocking/blocking.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/reactor/poller.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/runtime/trace/recorder.h"

namespace quiesce {
namespace {

using ::testing::HasSubstr;

class CountReports final : public ReportSink {
 public:
  void Report(const std::string&) override { ++count; }
  std::atomic<int> count{0};
};

std::unique_ptr<Runtime> MakeRuntime(RuntimeOptions options) {
  auto runtime = Runtime::Create(options);
  EXPECT_TRUE(runtime.ok()) << runtime.status();
  return *std::move(runtime);
}

// A worker is for tasks: without threads of its own a blocking call is refused, not made there.
TEST(RuntimeTest, WithoutBlockingThreadsRunBlockingIsRefused) {
  auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(1).WithBlockingThreads(0));
  bool called = false;
  const Outcome<void> refused = runtime->BlockOn([&](Cx cx) -> Task<void> {
    auto call = [&] { called = true; };
    co_return co_await RunBlocking(cx, "resolve", call);
  });
  ASSERT_TRUE(refused.is_error()) << refused.ToString();
  EXPECT_EQ(refused.error().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.ToString(), HasSubstr("WithBlockingThreads"));
  EXPECT_FALSE(called);
}

// --- the drain report ----------------------------------------------------------------------------

// Waits for ever, also while draining, unless it is cut off.
Task<void> Stubborn(Cx cx) {
  co_return co_await SleepUntil(cx.ForDrain(), Instant::InfiniteFuture());
}
Task<void> Forever(Cx cx) { co_return co_await SleepUntil(cx, Instant::InfiniteFuture()); }

// A request whose time is up at once, with a finalizer and a task that has to be cut off.
Task<void> RequestThatIsCutOff(Cx cx) {
  const auto body = [](Cx cx) -> Task<void> {
    cx.Defer("release", [](Cx) -> Task<void> { co_return Ok(); }).IgnoreError();
    auto handler = cx.Spawn("handler", Stubborn);
    while (!handler.ended()) {
      handler.Cancel(Budget::Timeout(absl::ZeroDuration()));
      co_await OrReturn(Yield(cx));
    }
    co_return Ok();
  };
  (void)co_await Region::Open(cx, "request", body);
  const auto late = [](Cx cx) -> Task<void> { co_return co_await Stubborn(cx); };
  const RegionOptions options = RegionOptions()
                                    .WithBudget(Budget::Timeout(absl::Milliseconds(1)))
                                    .WithDrain(Budget::Timeout(absl::ZeroDuration()));
  const Outcome<void> cut = co_await Region::Open(cx, "request", late, FailFast(), options);
  EXPECT_TRUE(cut.is_cancelled()) << cut.ToString();
  co_return Ok();
}

TEST(DrainReportTest, IsNotBegunByARequestFurtherDown) {
  auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(2));
  DrainReport report;
  EXPECT_TRUE(runtime->BlockOn(RequestThatIsCutOff, &report).ok());
  EXPECT_FALSE(report.cancelled);
  EXPECT_EQ(report.ToString(), "drained 0 tasks, cut off 0, ran 0 finalizers, in 0");
}

// Also of the task that has run the requests: what they did to it is no part of its shutdown.
TEST(DrainReportTest, CountsTheShutdownOnly) {
  for (const bool cut_off : {false, true}) {
    auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(2));
    std::atomic<bool> ready{false};
    Instant asked;
    DrainReport report;
    const Outcome<void> ended = runtime->BlockOn(
        [&](Cx cx) -> Task<void> {
          auto server = cx.Spawn("server", [&](Cx cx) -> Task<void> {
            co_await OrReturn(RequestThatIsCutOff(cx));
            const auto body = [&](Cx cx) -> Task<void> {
              cx.Defer("close", [](Cx) -> Task<void> { co_return Ok(); }).IgnoreError();
              for (int i = 0; i < 3; ++i) cx.Spawn("connection", Forever);
              ready = true;
              co_return co_await (cut_off ? Stubborn(cx) : Forever(cx));
            };
            co_return co_await Region::Open(cx, "connections", body);
          });
          while (!ready) co_await OrReturn(Yield(cx));
          asked = cx.Now();
          server.Cancel(cut_off ? Budget::Timeout(absl::ZeroDuration()) : Budget());
          co_return Ok();
        },
        &report);
    EXPECT_TRUE(ended.ok()) << ended.ToString();
    EXPECT_TRUE(report.cancelled);
    // The connections, and the server itself.
    EXPECT_EQ(report.tasks_drained, cut_off ? 3 : 4);
    EXPECT_EQ(report.tasks_cut_off, cut_off ? 1 : 0);
    EXPECT_EQ(report.finalizers_run, 1);
    EXPECT_GT(report.time, absl::ZeroDuration());
    EXPECT_LE(report.time, runtime->services().clock->Now() - asked);
  }
}

// While the shutdown goes on: a request of its own accord cuts a task off, which had time left.
TEST(DrainReportTest, DoesNotCountWhatARequestFurtherDownCutsOffDuringTheShutdown) {
  auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(2));
  DrainReport report;
  const Outcome<void> ended = runtime->BlockOn(
      [&](Cx cx) -> Task<void> {
        auto server = cx.Spawn("server", [](Cx cx) -> Task<void> {
          (void)co_await Forever(cx);
          co_return co_await RequestThatIsCutOff(cx.ForDrain());
        });
        co_await OrReturn(Yield(cx));
        server.Cancel(Budget::Timeout(absl::Hours(1)));
        co_return Ok();
      },
      &report);
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_TRUE(report.cancelled);
  EXPECT_EQ(report.tasks_cut_off, 0);
}

TEST(DrainReportTest, IsBegunByARequestToTheRootFromOutside) {
  auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(2));
  DrainReport report;
  const Outcome<void> ended = runtime->BlockOn(
      [&](Cx cx) -> Task<void> {
        cx.Spawn("idle", Forever);
        cx.Spawn("stubborn", Stubborn);
        co_await OrReturn(Yield(cx));
        runtime->Shutdown(Budget::Timeout(absl::ZeroDuration()));
        co_return Ok();
      },
      &report);
  EXPECT_TRUE(report.cancelled);
  EXPECT_EQ(report.tasks_drained + report.tasks_cut_off, 3) << report.ToString();
}

// --- what is recorded ----------------------------------------------------------------------------

class RuntimeTraceTest : public ::testing::Test {
 protected:
  RuntimeTraceTest() { StartRecording({.capacity_per_thread = 1 << 20}); }
  ~RuntimeTraceTest() override {
    StopRecording();
    CollectEvents();
  }

  // Those of `kind` and, if given, with `name`.
  std::vector<Event> Recorded(EventKind kind, absl::string_view name = "") {
    StopRecording();
    if (events_.empty()) events_ = CollectEvents();
    std::vector<Event> found;
    for (const Event& event : events_) {
      if (event.kind != kind) continue;
      if (name.empty() || (event.name != nullptr && event.name == name)) found.push_back(event);
    }
    return found;
  }

  std::vector<Event> events_;
};

TEST_F(RuntimeTraceTest, EachWorkerHasARowOfItsOwn) {
  auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(2));
  std::atomic<int> met{0};
  // Neither ends its step before the other one runs, so they run on two workers.
  const auto meet = [&](Cx) -> Task<void> {
    ++met;
    while (met < 2) std::this_thread::yield();
    co_return Ok();
  };
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    cx.Spawn("meet", meet);
    cx.Spawn("meet", meet);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  std::set<uint32_t> workers;
  for (const Event& start : Recorded(EventKind::kStart, "meet")) workers.insert(start.worker);
  EXPECT_EQ(workers, (std::set<uint32_t>{0, 1}));
  for (const Event& open : Recorded(EventKind::kRegionOpen, "runtime")) {
    EXPECT_EQ(open.worker, kNoTraceWorker);  // by BlockOn's thread
  }
  const std::string trace = FormatChromeTrace(events_);
  EXPECT_THAT(trace, HasSubstr("\"tid\":0,"));
  EXPECT_THAT(trace, HasSubstr("\"tid\":1,"));
}

TEST_F(RuntimeTraceTest, ATimerIsArmedAndFiresWithItsInstant) {
  auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(1));
  Instant until;
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    until = cx.Now() + absl::Microseconds(300);
    co_return co_await SleepUntil(cx, until);
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  const auto instant = static_cast<uint64_t>(until.nanos());
  const auto armed = Recorded(EventKind::kTimerArm);
  const auto fired = Recorded(EventKind::kTimerFire);
  ASSERT_EQ(armed.size(), 1u);
  ASSERT_EQ(fired.size(), 1u);
  EXPECT_EQ(armed[0].arg, instant);
  EXPECT_EQ(fired[0].arg, instant);
  EXPECT_GE(fired[0].time_ns, until.nanos());
}

TEST_F(RuntimeTraceTest, ReadinessNamesTheDescriptorAndWhatItIsReadyFor) {
  auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(1));
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  static std::atomic<bool> readable;
  readable = false;
  IoSource source(ends[0], [](IoSource*, uint32_t io_events) {
    if ((io_events & kReadable) != 0) readable = true;
  });
  ASSERT_TRUE(runtime->services().poller->Add(&source).ok());
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  while (!readable) std::this_thread::yield();
  runtime->services().poller->Remove(&source);
  const auto ready = Recorded(EventKind::kIoReady);
  ASSERT_FALSE(ready.empty());
  EXPECT_EQ(ready.back().arg >> 32, static_cast<uint64_t>(ends[0]));
  EXPECT_NE(ready.back().arg & kReadable, 0u);
  close(ends[0]);
  close(ends[1]);
}

// A region that is cancelled, does not end in time, and runs a finalizer.
TEST_F(RuntimeTraceTest, ADrainIsRecordedWithItsDeadlineItsSpentBudgetsAndItsStall) {
  CountReports reports;
  std::atomic<bool> holds{false};
  auto runtime = MakeRuntime(RuntimeOptions().WithWorkers(3).WithReports(&reports));
  const Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    auto region = [&](Cx cx) -> Task<void> {
      cx.Defer("release", [](Cx) -> Task<void> {
          co_return absl::InternalError("stuck");
        }).IgnoreError();
      cx.Ref().Cancel(Budget::Timeout(absl::Milliseconds(1)));
      while (reports.count == 0) std::this_thread::yield();  // a step that does not end
      co_return Ok();
    };
    const RegionOptions options = RegionOptions().WithGrace(absl::Milliseconds(1));
    (void)co_await Region::Open(cx, "late", region, CollectAll(), options);
    // The same with one task, which only its own region reports.
    auto held = cx.Spawn("held", [&](Cx) -> Task<void> {
      holds = true;
      while (reports.count < 2) std::this_thread::yield();
      co_return Ok();
    });
    while (!holds) co_await OrReturn(Yield(cx));
    held.Cancel(Budget::Timeout(absl::ZeroDuration()));
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();

  const auto requested = Recorded(EventKind::kCancelRequest, "late");
  const auto draining = Recorded(EventKind::kDraining, "late");
  ASSERT_EQ(requested.size(), 1u);
  ASSERT_EQ(draining.size(), 1u);
  // The deadline was set just before the event of the request.
  const int64_t drain_by = static_cast<int64_t>(draining[0].arg);
  EXPECT_LE(drain_by, requested[0].time_ns + 1'000'000);
  EXPECT_GE(drain_by, requested[0].time_ns + 1'000'000 - 60'000'000'000);

  for (const char* name : {"late", "held"}) {
    std::vector<uint64_t> spent;
    for (const Event& event : Recorded(EventKind::kBudgetSpent, name)) {
      EXPECT_EQ(event.task != 0, name == absl::string_view("held"));
      spent.push_back(event.arg);
    }
    ASSERT_FALSE(spent.empty()) << name;
    EXPECT_EQ(spent.back(), 1u) << name;
    EXPECT_TRUE(std::is_sorted(spent.begin(), spent.end())) << name;
    const auto stalls = Recorded(EventKind::kStall, name);
    ASSERT_FALSE(stalls.empty()) << name;
    EXPECT_GE(stalls[0].arg, 100'000'000u) << name;  // the slack before a stall is one
    EXPECT_LE(stalls[0].arg, 60'000'000'000u) << name;
  }
  ASSERT_EQ(Recorded(EventKind::kFinalizerStart, "release").size(), 1u);
  const auto finalized = Recorded(EventKind::kFinalizerEnd, "release");
  ASSERT_EQ(finalized.size(), 1u);
  EXPECT_EQ(finalized[0].arg, static_cast<uint64_t>(Severity::kError));
}

}  // namespace
}  // namespace quiesce

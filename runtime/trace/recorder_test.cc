#include "quiesce/runtime/trace/recorder.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/event_clock.h"

namespace quiesce {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The recorder is the process's: each test leaves it empty, off and without hooks.
class RecorderTest : public ::testing::Test {
 protected:
  void TearDown() override {
    StopRecording();
    CollectEvents();
    SetRecorderHooks({});
  }
};

std::vector<uint64_t> Args(const std::vector<Event>& events) {
  std::vector<uint64_t> args;
  for (const Event& event : events) args.push_back(event.arg);
  return args;
}

void EmitArg(uint64_t arg) { Emit(EventKind::kCheckpoint, 1, 2, arg); }

std::vector<uint64_t> Range(uint64_t first, uint64_t end) {
  std::vector<uint64_t> range;
  for (; first < end; ++first) range.push_back(first);
  return range;
}

TEST_F(RecorderTest, OffRecordsNothing) {
  EXPECT_FALSE(Recording());
  EmitArg(1);
  StartRecording();
  EXPECT_TRUE(Recording());
  StopRecording();
  EXPECT_FALSE(Recording());
  EmitArg(2);
  EXPECT_THAT(CollectEvents(), IsEmpty());
}

TEST_F(RecorderTest, AnEventKeepsWhatItWasEmittedWith) {
  StartRecording();
  Emit(EventKind::kSpawn, 3, 17, 5, "connection");
  Emit(EventKind::kRegionClose, 3, 0);
  const std::vector<Event> events = CollectEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, EventKind::kSpawn);
  EXPECT_EQ(events[0].region, 3u);
  EXPECT_EQ(events[0].task, 17u);
  EXPECT_EQ(events[0].arg, 5u);
  EXPECT_STREQ(events[0].name, "connection");
  EXPECT_EQ(events[0].worker, kNoTraceWorker);
  EXPECT_GT(events[0].time_ns, 0);
  EXPECT_EQ(events[1].kind, EventKind::kRegionClose);
  EXPECT_EQ(events[1].arg, 0u);
  EXPECT_EQ(events[1].name, nullptr);
  EXPECT_GE(events[1].time_ns, events[0].time_ns);
}

TEST_F(RecorderTest, AnEventIsCollectedOnce) {
  StartRecording();
  EmitArg(1);
  EXPECT_THAT(Args(CollectEvents()), ElementsAre(1));
  EmitArg(2);
  StopRecording();
  EXPECT_THAT(Args(CollectEvents()), ElementsAre(2));
  EXPECT_THAT(CollectEvents(), IsEmpty());
}

TEST_F(RecorderTest, AFullRingKeepsTheNewestAndCountsTheRest) {
  StartRecording({.capacity_per_thread = 4});
  for (uint64_t i = 0; i < 4; ++i) EmitArg(i);
  EXPECT_EQ(DroppedEvents(), 0u);
  for (uint64_t i = 4; i < 11; ++i) EmitArg(i);
  EXPECT_EQ(DroppedEvents(), 7u);
  EXPECT_EQ(Args(CollectEvents()), Range(7, 11));
  for (uint64_t i = 20; i < 23; ++i) EmitArg(i);
  EXPECT_EQ(Args(CollectEvents()), Range(20, 23)) << "collecting makes room";
  EXPECT_EQ(DroppedEvents(), 7u);
}

TEST_F(RecorderTest, ACapacityOfOneKeepsTheLast) {
  StartRecording({.capacity_per_thread = 1});
  for (uint64_t i = 0; i < 3; ++i) EmitArg(i);
  EXPECT_THAT(Args(CollectEvents()), ElementsAre(2));
  EXPECT_EQ(DroppedEvents(), 2u);
}

TEST_F(RecorderTest, StartForgetsWhatWasThere) {
  StartRecording({.capacity_per_thread = 2});
  std::thread([] { EmitArg(1); }).join();
  for (int i = 0; i < 5; ++i) EmitArg(2);
  StartRecording({.capacity_per_thread = 3});
  EXPECT_EQ(DroppedEvents(), 0u);
  EXPECT_THAT(CollectEvents(), IsEmpty());
  for (uint64_t i = 0; i < 4; ++i) EmitArg(i);
  EXPECT_EQ(Args(CollectEvents()), Range(1, 4)) << "with the new capacity";
}

TEST_F(RecorderTest, ThreadsThatEndedKeepTheirEvents) {
  StartRecording();
  EmitArg(1);
  std::thread([] { EmitArg(2); }).join();
  std::thread([] { EmitArg(3); }).join();
  EmitArg(4);
  StopRecording();
  EXPECT_THAT(Args(CollectEvents()), ElementsAre(1, 2, 3, 4));
}

TEST_F(RecorderTest, OnlySoManyEndedThreadsAreRemembered) {
  StartRecording({.capacity_per_thread = 2});
  constexpr uint64_t kThreads = 200;
  for (uint64_t i = 0; i < kThreads; ++i) {
    std::thread([i] { EmitArg(i); }).join();
  }
  const uint64_t dropped = DroppedEvents();
  const std::vector<Event> events = CollectEvents();
  EXPECT_EQ(events.size() + dropped, kThreads);
  EXPECT_LT(events.size(), kThreads);
  EXPECT_EQ(Args(events), Range(dropped, kThreads)) << "the newest stay";
  EXPECT_EQ(DroppedEvents(), dropped);
}

// Emits when it is destroyed, with its thread.
struct EmitsAtThreadEnd {
  void Touch() {}
  ~EmitsAtThreadEnd() { EmitArg(9); }
};

TEST_F(RecorderTest, ADestructorMayEmitWhileItsThreadIsTornDown) {
  StartRecording();
  std::thread([] {
    thread_local EmitsAtThreadEnd emits_at_thread_end;
    emits_at_thread_end.Touch();  // constructed before the ring, so destroyed after it
    EmitArg(1);
  }).join();
  EXPECT_THAT(Args(CollectEvents()), ElementsAre(1));
  EXPECT_EQ(DroppedEvents(), 1u);
}

std::atomic<int64_t> virtual_now{0};
int64_t VirtualNow() { return virtual_now; }
uint32_t WorkerSeven() { return 7; }

TEST_F(RecorderTest, HooksSupplyTimeAndWorker) {
  EXPECT_EQ(SetRecorderHooks({.time_ns = VirtualNow, .worker = WorkerSeven}).time_ns, nullptr);
  StartRecording();
  virtual_now = 50;
  EmitArg(1);
  virtual_now = 60;
  EmitArg(2);
  const std::vector<Event> events = CollectEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].time_ns, 50);
  EXPECT_EQ(events[0].worker, 7u);
  EXPECT_EQ(events[1].time_ns, 60);
  const RecorderHooks previous = SetRecorderHooks({});
  EXPECT_EQ(previous.time_ns, VirtualNow);
  EXPECT_EQ(previous.worker, WorkerSeven);
}

TEST_F(RecorderTest, EventsOfOneInstantKeepTheirOrderAcrossThreads) {
  SetRecorderHooks({.time_ns = VirtualNow});
  virtual_now = 5;
  StartRecording();
  for (uint64_t i = 0; i < 20; i += 2) {
    EmitArg(i);
    std::thread([i] { EmitArg(i + 1); }).join();
  }
  EXPECT_EQ(Args(CollectEvents()), Range(0, 20));
}

TEST_F(RecorderTest, TimeComesBeforeTheOrderOfRecording) {
  SetRecorderHooks({.time_ns = VirtualNow});
  StartRecording();
  virtual_now = 2;
  EmitArg(2);
  virtual_now = 1;
  EmitArg(1);
  EXPECT_THAT(Args(CollectEvents()), ElementsAre(1, 2));
}

TEST_F(RecorderTest, WithoutAHookTimeIsThatOfTheMonotonicClock) {
  StartRecording();
  const int64_t before = trace_internal::MonotonicNanos();
  EmitArg(1);
  while (trace_internal::MonotonicNanos() < before + 20'000'000) EmitArg(2);
  const int64_t just_before = trace_internal::MonotonicNanos();
  Emit(EventKind::kTaskEnd, 1, 2);
  const int64_t just_after = trace_internal::MonotonicNanos();
  const std::vector<Event> events = CollectEvents();
  // A millisecond is generous: it is the unit that must be right.
  EXPECT_GT(events.back().time_ns, just_before - 1'000'000);
  EXPECT_LT(events.back().time_ns, just_after + 1'000'000);
}

TEST_F(RecorderTest, AParkHasTheTimeOfTheEventBefore) {
  StartRecording();
  Emit(EventKind::kPark, 1, 2);
  EmitArg(1);
  Emit(EventKind::kPark, 1, 2);
  const std::vector<Event> events = CollectEvents();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_GT(events[0].time_ns, 0) << "nothing was before it";
  EXPECT_GT(events[1].time_ns, events[0].time_ns);
  EXPECT_EQ(events[2].time_ns, events[1].time_ns);
}

TEST_F(RecorderTest, PointsOfAWaitAreNotRecorded) {
  StartRecording();
  Emit(EventKind::kWaitArm, 1, 2);
  EXPECT_FALSE(EventsWanted(EventKind::kWaitArm));
  EXPECT_TRUE(EventsWanted(EventKind::kPark));
  EXPECT_THAT(CollectEvents(), IsEmpty());
}

TEST(EventClockTest, AReadingBecomesATimeByAStraightLine) {
  const trace_internal::ClockPair first = {.reading = 1'000, .ns = 500'000};
  const trace_internal::ClockPair last = {.reading = 4'000, .ns = 501'000};
  EXPECT_EQ(trace_internal::NanosAt(1'000, first, last), 500'000);
  EXPECT_EQ(trace_internal::NanosAt(2'500, first, last), 500'500);
  EXPECT_EQ(trace_internal::NanosAt(4'000, first, last), 501'000);
  EXPECT_EQ(trace_internal::NanosAt(4'300, first, last), 501'100)
      << "a thread may have read a moment later";
  EXPECT_EQ(trace_internal::NanosAt(9'000, first, first), 500'000) << "no time has passed";
}

TEST_F(RecorderTest, CollectingWhileRecordingLosesAndDoublesNothing) {
  constexpr uint64_t kThreads = 3;
  constexpr uint64_t kEach = 4'000;
  StartRecording({.capacity_per_thread = kEach});
  std::atomic<uint64_t> running{kThreads};
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([thread, &running] {
      for (uint64_t i = 0; i < kEach; ++i) Emit(EventKind::kResume, 1, thread, i);
      --running;
    });
  }
  std::map<uint64_t, std::vector<uint64_t>> by_thread;
  const auto collect = [&by_thread] {
    int64_t before = 0;
    for (const Event& event : CollectEvents()) {
      EXPECT_GE(event.time_ns, before);
      before = event.time_ns;
      by_thread[event.task].push_back(event.arg);
    }
  };
  while (running > 0) collect();
  for (std::thread& thread : threads) thread.join();
  collect();
  EXPECT_EQ(DroppedEvents(), 0u);
  ASSERT_EQ(by_thread.size(), kThreads);
  for (const auto& [thread, args] : by_thread) EXPECT_EQ(args, Range(0, kEach)) << thread;
}

TEST_F(RecorderTest, NothingIsAddedOnceStopHasReturned) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&done] {
      while (!done) EmitArg(1);
    });
  }
  for (int round = 0; round < 200 && !HasFailure(); ++round) {
    StartRecording({.capacity_per_thread = 64});
    std::this_thread::yield();
    StopRecording();
    CollectEvents();
    std::this_thread::yield();
    EXPECT_THAT(CollectEvents(), IsEmpty());
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_F(RecorderTest, StartingAndStoppingWhileThreadsComeAndGoIsSafe) {
  std::atomic<bool> done{false};
  std::thread churn([&done] {
    while (!done) std::thread([] { EmitArg(1); }).join();
  });
  for (int round = 0; round < 100; ++round) {
    StartRecording({.capacity_per_thread = static_cast<size_t>(1 + round % 3)});
    EmitArg(2);
    DroppedEvents();
    if (round % 2 == 0) CollectEvents();
    StopRecording();
  }
  done = true;
  churn.join();
}

Event Make(int64_t time_ns, uint32_t worker, EventKind kind, uint64_t task, uint64_t arg = 0,
           const char* name = nullptr) {
  return {.time_ns = time_ns,
          .region = 3,
          .task = task,
          .arg = arg,
          .name = name,
          .worker = worker,
          .kind = kind};
}

TEST(FormatEventsTest, OneLineForEachEvent) {
  EXPECT_EQ(FormatEvents({}), "");
  EXPECT_EQ(FormatEvents({Make(12'000'000'345, 0, EventKind::kPark, 17, 5, "Channel.Reserve"),
                          Make(7, kNoTraceWorker, EventKind::kRegionClose, 0)}),
            "    12.000000345 w0 park region 3 task 17 arg 5 'Channel.Reserve'\n"
            "     0.000000007 -- region-close region 3 arg 0\n");
}

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(FormatChromeTraceTest, AStepIsASliceNamedAfterItsTask) {
  const std::string trace = FormatChromeTrace({Make(1'500, 0, EventKind::kSpawn, 17, 0, "fetch"),
                                               Make(2'001, 1, EventKind::kStart, 17),
                                               Make(3'000, 1, EventKind::kPark, 17)});
  EXPECT_THAT(trace, HasSubstr(R"({"name":"spawn","ph":"i","ts":1.500,"pid":0,"tid":0,"s":"t",)"
                               R"("args":{"region":3,"task":17,"arg":0}})"));
  EXPECT_THAT(trace, HasSubstr(R"({"name":"fetch","ph":"B","ts":2.001,"pid":0,"tid":1,)"));
  EXPECT_THAT(trace, HasSubstr(R"("ph":"E","ts":3.000,"pid":0,"tid":1,)"));
}

TEST(FormatChromeTraceTest, SlicesAreBalancedEvenIfEventsAreMissing) {
  const std::string trace = FormatChromeTrace({
      Make(1, 0, EventKind::kTaskEnd, 1),  // its start was overwritten
      Make(2, 0, EventKind::kStart, 2),
      Make(3, 0, EventKind::kResume, 3),  // task 2 yielded
      Make(4, 1, EventKind::kResume, 4),  // still running at the end
      Make(5, 0, EventKind::kPark, 3),
  });
  EXPECT_EQ(Count(trace, R"("ph":"B")"), 3u);
  EXPECT_EQ(Count(trace, R"("ph":"E")"), 3u);
  EXPECT_THAT(trace, HasSubstr(R"("ph":"E","ts":0.005,"pid":0,"tid":1,)"));
}

TEST(FormatChromeTraceTest, NamesAreEscaped) {
  const std::string trace = FormatChromeTrace(
      {Make(1, 0, EventKind::kSpawn, 1, 0, "a\"b\\c\n"), Make(2, 0, EventKind::kStart, 1)});
  EXPECT_THAT(trace, HasSubstr(R"("name":"a\"b\\c\u000a")"));
}

TEST(FormatChromeTraceTest, AnEmptyTraceIsStillJson) {
  EXPECT_EQ(FormatChromeTrace({}), "{\"traceEvents\":[\n]}\n");
}

TEST(RecorderDeathTest, ACapacityOfZeroIsFatal) {
  EXPECT_DEATH(StartRecording({.capacity_per_thread = 0}),
               "capacity_per_thread must be at least 1");
}

}  // namespace
}  // namespace quiesce

#include "quiesce/testing/lab/hottest_loop.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "quiesce/testing/lab/lab_trace.h"
#include "quiesce/testing/lab/numbers.h"

namespace quiesce::lab {
namespace {

LabTrace Log() {
  LabTrace log;
  log.tasks = {{"main", "", 1}, {"poller", "server.cc:12", 2}, {"ticker", "server.cc:20", 3}};
  return log;
}

void Add(LabTrace& log, uint32_t task, const std::string& what) {
  LabTrace::Step step;
  step.task = task;
  step.what = what;
  log.steps.push_back(step);
}

TEST(HottestLoopTest, OneTaskThatGoesRound) {
  LabTrace log = Log();
  for (int i = 0; i < 500; ++i) Add(log, 0, "starts something");
  for (int i = 0; i < 250; ++i) {
    Add(log, 1, "Mutex 1: TryLock");
    Add(log, 1, "looks whether it is cancelled");
  }
  EXPECT_EQ(
      HottestLoops(log),
      "the hottest loop, 500 of the last 500 steps: 'poller' (server.cc:12): Mutex 1: TryLock "
      "-> looks whether it is cancelled\n");
}

TEST(HottestLoopTest, TwoThatTakeTurnsAndObjectsThatAreMadeAnew) {
  LabTrace log = Log();
  for (int i = 0; i < 1000; ++i) {
    Add(log, 1, "Mutex 1: Lock");
    Add(log, 2, "Notify " + std::to_string(i) + ": Wait");
    Add(log, 1, "Mutex 1: Unlock");
    if (i == 700) Add(log, 0, "ends");
  }
  EXPECT_EQ(HottestLoops(log),
            "the hottest loop, 1,000 of the last 1,501 steps: 'poller' (server.cc:12): Mutex 1: "
            "Lock -> Mutex 1: Unlock\n"
            "then, 500 of the last 1,501 steps: 'ticker' (server.cc:20): Notify 999: Wait\n");
}

TEST(HottestLoopTest, WhatHasNoPeriodIsCounted) {
  LabTrace log = Log();
  uint32_t random = 1;
  for (int i = 0; i < 400; ++i) {
    random = random * 1664525 + 1013904223;
    Add(log, 0, random >> 30 == 0 ? "Queue 1: Send" : random >> 30 == 1 ? "ends" : "starts");
  }
  EXPECT_EQ(
      HottestLoops(log),
      "the hottest loop, 200 of the last 200 steps: 'main': in no fixed order, most often starts "
      "(109 times), ends (53 times), Queue 1: Send (38 times)\n");
}

TEST(HottestLoopTest, OfNothingNothingIsSaid) { EXPECT_EQ(HottestLoops(LabTrace()), ""); }

TEST(NumbersTest, AreReadable) {
  EXPECT_EQ(WithSeparators(0), "0");
  EXPECT_EQ(WithSeparators(999), "999");
  EXPECT_EQ(WithSeparators(1000), "1,000");
  EXPECT_EQ(WithSeparators(1234567), "1,234,567");
  EXPECT_EQ(Roughly(0), "0");
  EXPECT_EQ(Roughly(7), "7");
  EXPECT_EQ(Roughly(1234567), "1,200,000");
  EXPECT_EQ(Roughly(998), "1,000");
  EXPECT_EQ(Roughly(1.26e20), "1e+20");
  EXPECT_EQ(Roughly(std::numeric_limits<double>::infinity()), "inf");
}

}  // namespace
}  // namespace quiesce::lab

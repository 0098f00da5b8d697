// Interval, on a clock that moves only when the test moves it. (The contract of its waits, and of Sleep's,
// is in testing/contract.)
#include "quiesce/runtime/time/sleep.h"

#include <functional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/testing/contract/stepped_runtime.h"

namespace quiesce {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class IntervalTest : public ::testing::Test {
 protected:
  // Runs `body` to its end while the clock moves by `step` at a time.
  void Run(int step, std::function<Task<void>(Cx)> body) {
    begin_ = runtime_.Now();
    runtime_.Start(std::move(body));
    for (runtime_.RunUntilIdle(); !runtime_.quiescent(); runtime_.RunUntilIdle()) Work(step);
    runtime_.Finish();
    EXPECT_THAT(runtime_.TakeProblems(), IsEmpty());
  }
  // A tick has come.
  void Note() { seen_.push_back(Milliseconds()); }
  // The loop's body takes so long.
  void Work(int milliseconds) { runtime_.AdvanceBy(absl::Milliseconds(milliseconds)); }
  int Milliseconds() {
    return static_cast<int>(absl::ToInt64Milliseconds(runtime_.Now() - begin_));
  }

  contract::SteppedRuntime runtime_;
  Instant begin_;
  std::vector<int> seen_;  // in milliseconds from the start
};

TEST_F(IntervalTest, TheFirstTickIsOnePeriodFromTheStart) {
  Run(1, [&](Cx cx) -> Task<void> {
    Interval tick(cx, absl::Milliseconds(100));
    Work(30);
    co_await OrReturn(tick.Next(cx));
    Note();
    co_return Ok();
  });
  EXPECT_THAT(seen_, ElementsAre(100));
}

// Each tick is seen up to 6 ms late, and the loop takes 30 ms: neither adds up.
TEST_F(IntervalTest, DoesNotDrift) {
  Run(7, [&](Cx cx) -> Task<void> {
    Interval tick(cx, absl::Milliseconds(100));
    for (int i = 0; i < 50; ++i) {
      co_await OrReturn(tick.Next(cx));
      Note();
      Work(30);
    }
    co_return Ok();
  });
  ASSERT_EQ(seen_.size(), 50u);
  for (int i = 0; i < 50; ++i) {
    EXPECT_GE(seen_[i], (i + 1) * 100);
    EXPECT_LT(seen_[i], (i + 1) * 100 + 7);
  }
}

TEST_F(IntervalTest, MissedTicksAreSkippedAndNotMadeUpFor) {
  Run(1, [&](Cx cx) -> Task<void> {
    Interval tick(cx, absl::Milliseconds(100));
    for (const int work : {350, 0, 100, 99, 0}) {
      co_await OrReturn(tick.Next(cx));
      Note();
      Work(work);
    }
    co_return Ok();
  });
  // 100 and on to 450; 500; 600 and on to 700, whose tick is due at the moment of the call and missed; 800
  // and on to 899.
  EXPECT_THAT(seen_, ElementsAre(100, 500, 600, 800, 900));
}

TEST_F(IntervalTest, ACancelMovesNoTick) {
  for (const int until_next_call : {0, 49, 50, 120}) {
    seen_.clear();
    contract::SteppedRuntime& runtime = runtime_;
    Run(1, [&, until_next_call](Cx cx) -> Task<void> {
      auto ticking = cx.Spawn("ticking", [&, until_next_call](Cx cx) -> Task<void> {
        Interval tick(cx, absl::Milliseconds(100));
        const Outcome<void> cancelled = co_await tick.Next(cx);
        EXPECT_TRUE(cancelled.is_cancelled()) << cancelled.ToString();
        Note();
        runtime.AdvanceBy(absl::Milliseconds(until_next_call));
        co_await OrReturn(tick.Next(cx.ForDrain()));
        Note();
        co_await OrReturn(tick.Next(cx.ForDrain()));
        Note();
        co_return Ok();
      });
      co_await OrReturn(Sleep(cx, absl::Milliseconds(50)));
      ticking.Cancel(Budget::Timeout(absl::Hours(1)));
      co_return Ok();
    });
    // Still to come at 50 and at 99; missed at 100 and at 170.
    if (until_next_call < 50) {
      EXPECT_THAT(seen_, ElementsAre(50, 100, 200)) << until_next_call;
    } else {
      EXPECT_THAT(seen_, ElementsAre(50, 200, 300)) << until_next_call;
    }
  }
}

}  // namespace
}  // namespace quiesce

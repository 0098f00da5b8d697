// virtual_time.h: a test whose time moves when nothing else can.
//
// Why:        what happens when is a number that can be compared, and an hour takes no time.
// Example:    TEST_F(MyTest, TakesTwoSeconds) {          // class MyTest : public rules::VirtualTimeTest
//               Run([&](Cx cx) -> Task<void> {
//                 co_await OrReturn(Sleep(cx, absl::Seconds(2)));
//                 co_return Ok();
//               });
//               EXPECT_EQ(Elapsed(), absl::Seconds(2));
//             }
// How:        on a SteppedRuntime, whose clock moves by a step at a time; in the lab (QUIESCE_IN_LAB) to the next timer.
#ifndef QUIESCE_TESTING_RULES_VIRTUAL_TIME_H_
#define QUIESCE_TESTING_RULES_VIRTUAL_TIME_H_

#include <functional>
#include <utility>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/testing/rules/fixture.h"
#ifdef QUIESCE_IN_LAB
#include "quiesce/testing/lab/lab_runtime.h"
#else
#include "quiesce/testing/contract/stepped_runtime.h"
#endif

namespace quiesce {
namespace rules {

class VirtualTimeTest : public ::testing::Test {
 protected:
  // Runs body(cx) to its end; the clock moves by `step` whenever nothing else does.
#ifdef QUIESCE_IN_LAB
  void Run(absl::Duration, std::function<Task<void>(Cx)> body) {
    const Outcome<void> ended = TestRuntime().Run([&](Cx cx) -> Task<void> {
      begin_ = cx.Now();
      co_return co_await body(cx);
    });
    EXPECT_TRUE(ended.ok()) << ended.ToString();
  }
#else
  void Run(absl::Duration step, std::function<Task<void>(Cx)> body) {
    begin_ = runtime_.Now();
    runtime_.Start(std::move(body));
    for (runtime_.RunUntilIdle(); !runtime_.quiescent(); runtime_.RunUntilIdle()) {
      runtime_.AdvanceBy(step);
    }
    runtime_.Finish();
    EXPECT_THAT(runtime_.TakeProblems(), ::testing::IsEmpty());
  }
#endif
  void Run(std::function<Task<void>(Cx)> body) { Run(absl::Milliseconds(1), std::move(body)); }
  // Since the beginning of Run; from its tasks.
  absl::Duration Elapsed() {
#ifdef QUIESCE_IN_LAB
    return lab::LabRuntime::Current()->now() - begin_;
#else
    return runtime_.Now() - begin_;
#endif
  }

 private:
#ifndef QUIESCE_IN_LAB
  contract::SteppedRuntime runtime_;
#endif
  Instant begin_;
};

}  // namespace rules
}  // namespace quiesce

#endif  // QUIESCE_TESTING_RULES_VIRTUAL_TIME_H_

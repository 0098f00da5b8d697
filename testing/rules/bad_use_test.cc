// Bad use ends with a message that says what, which, where and what to do next; R7.
#include <atomic>
#include <optional>
#include <string>
#include <thread>

#include "quiesce/runtime/base/check.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Runs body(cx) in a runtime of its own: for statements that die.
template <class Body>
void RunOnce(Body body) {
  TestRuntime rt(1);
  (void)rt.Run(body);
}

class BadUseDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};
// Found where debug checks are on only.
class CxDeathTest : public BadUseDeathTest {
 protected:
  void SetUp() override {
    BadUseDeathTest::SetUp();
    if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  }
};

// --- refusals ------------------------------------------------------------------------------------

TEST(BadUseTest, SpawnIntoAClosedRegionNamesTheRegionWhereItWasOpenedAndWhatToDo) {
  TestRuntime rt;
  std::optional<RegionRef> region;
  int line = 0;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    line = __LINE__ + 1;
    co_return co_await Region::Open(cx, "fetch-all", [&](Cx cx) -> Task<void> {
      region = cx.Ref();
      co_return Ok();
    });
  });
  EXPECT_THAT(outcome, IsOk());
  Outcome<void> refused =
      region->Spawn("late", [](Cx) -> Task<void> { co_return Ok(); }).ended()
          ? region->Spawn("late", [](Cx) -> Task<void> { co_return Ok(); }).TakeOutcome()
          : Outcome<void>(Ok());
  ASSERT_THAT(refused, IsErrorCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(
      std::string(refused.error().message()),
      AllOf(HasSubstr("region 'fetch-all'"), HasSubstr(absl::StrCat("bad_use_test.cc:", line)),
            HasSubstr("is closed"), HasSubstr("Spawn before")));
}

TEST(BadUseTest, RefusedAdmissionSaysTheLimitsAndWhatToDo) {
  TestRuntime rt;
  Gate gate;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        cx.Spawn("first", HoldAt, &gate);
        auto second = cx.Spawn("second", HoldAt, &gate);
        EXPECT_TRUE(second.ended());
        Outcome<void> refused = co_await OrReturn(second.Join(cx));
        EXPECT_THAT(refused, IsErrorCode(absl::StatusCode::kResourceExhausted));
        EXPECT_THAT(refused.ToString(),
                    AllOf(HasSubstr("region 'r' admits no more tasks"),
                          HasSubstr("limits: 1 tasks"), HasSubstr("SpawnWhenAdmitted")));
        gate.Open();
        co_return Ok();
      },
      FailFast(), RegionOptions().WithMaxTasks(1));
  EXPECT_THAT(outcome, IsOk());
}

// --- a Cx ----------------------------------------------------------------------------------------

TEST_F(CxDeathTest, OuterCxCapturedByASpawnedLambdaIsFound) {
  EXPECT_DEATH(
      RunOnce([](Cx outer) -> Task<void> {
        outer.Spawn("capturing", [outer](Cx) -> Task<void> {
          co_await OrReturn(Yield(outer));
          co_return Ok();
        });
        co_return Ok();
      }),
      "the Cx of task [0-9]+ was used by task [0-9]+: a Cx belongs to one task. Use the Cx "
      "that the spawned callable gets as its first parameter");
}

TEST_F(CxDeathTest, UseAfterTheEndOfItsTaskIsFound) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 std::optional<Cx> leaked;
                 auto child = cx.Spawn("leaking", [&](Cx cx) -> Task<void> {
                   leaked = cx;
                   co_return Ok();
                 });
                 (void)co_await OrReturn(child.Join(cx));
                 (void)leaked->cancelled();
                 co_return Ok();
               }),
               "a Cx was used after the end of its task \\(task [0-9]+\\).*keep a RegionRef");
}

TEST_F(CxDeathTest, UseByAForeignThreadIsFound) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 std::thread foreign([cx] { (void)cx.TryCheckpoint(); });
                 foreign.join();
                 co_return Ok();
               }),
               "a thread that runs no task.*other threads use a RegionRef");
}

// Each door asks.
TEST_F(CxDeathTest, EveryUseOfAForeignCxIsFound) {
  const auto use = [](auto how) {
    RunOnce([how](Cx outer) -> Task<void> {
      outer.Spawn("capturing", [outer, how](Cx) -> Task<void> {
        how(outer);
        co_return Ok();
      });
      co_return Ok();
    });
  };
  const char* const message = "a Cx belongs to one task";
  EXPECT_DEATH(use([](Cx cx) { (void)cx.cancelled(); }), message);
  EXPECT_DEATH(use([](Cx cx) { (void)cx.Draining(); }), message);
  EXPECT_DEATH(use([](Cx cx) { (void)cx.TryCheckpoint(); }), message);
  EXPECT_DEATH(use([](Cx cx) { (void)cx.Now(); }), message);
  EXPECT_DEATH(use([](Cx cx) { cx.Charge(1); }), message);
  EXPECT_DEATH(use([](Cx cx) { (void)cx.Ref(); }), message);
  EXPECT_DEATH(use([](Cx cx) { cx.Spawn("x", Forever); }), message);
  EXPECT_DEATH(use([](Cx cx) { (void)cx.Defer("x", Forever); }), message);
  EXPECT_DEATH(use([](Cx cx) { Masked mask(cx, 1); }), message);
  EXPECT_DEATH(use([](Cx cx) { (void)cx.cancel_reason(); }), message);
  EXPECT_DEATH(use([](Cx cx) { (void)cx.deadline(); }), message);
  EXPECT_DEATH(use([](Cx cx) { (void)Sleep(cx, absl::Seconds(1)); }), message);
  EXPECT_DEATH(use([](Cx cx) {
                 static int ledger;
                 (void)cx.Provide<int>(ledger);
               }),
               message);
  EXPECT_DEATH(use([](Cx cx) {
                 static Policy everything;
                 (void)cx.Restrict(everything);
               }),
               message);
}

TEST_F(CxDeathTest, RegionOpenedThroughAForeignCxIsFound) {
  EXPECT_DEATH(RunOnce([](Cx outer) -> Task<void> {
                 outer.Spawn("capturing", [outer](Cx) -> Task<void> {
                   co_return co_await Region::Open(outer, "r",
                                                   [](Cx) -> Task<void> { co_return Ok(); });
                 });
                 co_return Ok();
               }),
               "a Cx belongs to one task");
}

// --- a Task and its handle -----------------------------------------------------------------------

TEST_F(BadUseDeathTest, TaskAwaitedTwice) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 auto callee = [](Cx) -> Task<void> { co_return Ok(); };
                 Task<void> task = callee(cx);
                 (void)co_await task;
                 (void)co_await task;
                 co_return Ok();
               }),
               "a Task was awaited or spawned twice.*call the coroutine function again");
}

TEST_F(BadUseDeathTest, TaskAwaitedAfterItWasMovedFrom) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 auto callee = [](Cx) -> Task<void> { co_return Ok(); };
                 Task<void> task = callee(cx);
                 Task<void> other = std::move(task);
                 (void)co_await task;
                 co_return Ok();
               }),
               "a Task was awaited or spawned twice, or after it was moved from");
}

TEST_F(BadUseDeathTest, ResultJoinedTwice) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 auto child = cx.Spawn("child", [](Cx) -> Task<void> { co_return Ok(); });
                 (void)co_await child.Join(cx);
                 (void)co_await child.Join(cx);
                 co_return Ok();
               }),
               "TaskHandle::Join: the task's outcome has been taken by an earlier Join");
}

TEST_F(BadUseDeathTest, HandleJoinedByTwoAtOnce) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 auto child = cx.Spawn("worker", Forever);
                 auto join = [&](Cx cx) -> Task<void> {
                   (void)co_await child.Join(cx);
                   co_return Ok();
                 };
                 cx.Spawn("joiner", join);
                 cx.Spawn("joiner", join);
                 co_return co_await Forever(cx);
               }),
               "TaskHandle::Join on task 'worker' \\(spawned at .*bad_use_test.cc:[0-9]+\\) while "
               "another Join of the same handle waits");
}

TEST_F(BadUseDeathTest, OkStatusReturnedAsAnError) {
  EXPECT_DEATH(RunOnce([](Cx) -> Task<void> { co_return absl::OkStatus(); }),
               "made of an absl::Status that is OK.*ToOutcome");
}

// --- arguments -----------------------------------------------------------------------------------

TEST_F(BadUseDeathTest, NegativeTimeouts) {
  EXPECT_DEATH(
      RunOnce([](Cx cx) -> Task<void> { co_return co_await Sleep(cx, -absl::Seconds(1)); }),
      "Sleep\\(cx, -1s\\) at .*bad_use_test.cc:[0-9]+: a timeout cannot be negative; use "
      "SleepUntil");
  EXPECT_DEATH((void)Budget::Timeout(-absl::Seconds(2)),
               "a budget's timeout of -2s at .*bad_use_test.cc:[0-9]+ is negative");
  EXPECT_DEATH(RegionOptions().WithGrace(-absl::Seconds(3)),
               "WithGrace\\(-3s\\): a grace budget cannot be negative");
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 Interval interval(cx, absl::ZeroDuration());
                 co_return Ok();
               }),
               "Interval\\(cx, 0\\) at .*bad_use_test.cc:[0-9]+: the period must be positive");
}

TEST_F(BadUseDeathTest, NegativeQuotasAndLimits) {
  EXPECT_DEATH((void)Budget::Polls(-1), "poll quota of -1 at .*bad_use_test.cc:[0-9]+ is negative");
  EXPECT_DEATH((void)Budget::Cost(-1), "cost quota of -1 at .*bad_use_test.cc:[0-9]+ is negative");
  EXPECT_DEATH(RegionOptions().WithMaxTasks(0), "WithMaxTasks\\(0\\): the limit must be positive");
  EXPECT_DEATH(RegionOptions().WithMaxSpawnBytes(-1), "WithMaxSpawnBytes\\(-1\\)");
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 cx.Charge(-1);
                 co_return Ok();
               }),
               "Cx::Charge\\(-1\\): a charge cannot be negative");
}

// --- a Runtime -----------------------------------------------------------------------------------

TEST_F(BadUseDeathTest, BlockOnFromAWorkerOfTheSameRuntime) {
  EXPECT_DEATH(
      {
        TestRuntime rt(2);
        (void)rt.Run(
            [&](Cx) -> Task<void> { co_return rt.Run([](Cx) -> Task<void> { co_return Ok(); }); });
      },
      "BlockOn was called on a worker of the same runtime, which it would block");
}

TEST_F(CxDeathTest, UseByALaterTaskInTheSameBlockIsFound) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 std::optional<Cx> leaked;
                 int round = 0;  // the first spawn of a site has a smaller block
                 const auto leak = [&](Cx cx) -> Task<void> {
                   if (round == 1) leaked = cx;
                   if (round == 2) (void)leaked->cancelled();
                   ++round;
                   co_return Ok();
                 };
                 while (round < 3) {
                   auto child = cx.Spawn("leaking", leak);
                   (void)co_await OrReturn(child.Join(cx));
                 }
                 co_return Ok();
               }),
               "a Cx was used after the end of its task");
}

// Only a coroutine's body runs in the new task's steps; what makes the coroutine may use the Cx as well.
TEST_F(CxDeathTest, CallableThatIsNoCoroutineMayUseItsCx) {
  TestRuntime rt;
  int ledger = 7;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("wrapping", [&](Cx cx) -> Task<void> {
      EXPECT_FALSE(cx.cancelled());
      auto serve = [](CxWith<int> cx) -> Task<void> {
        EXPECT_EQ(cx.Get<int>(), 7);
        co_return Ok();
      };
      return serve(cx.Provide<int>(ledger));
    });
    co_return co_await OrReturn(child.Join(cx));
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(WaitDeathTest, WaitAwaitedTwiceIsFound) {
  EXPECT_DEATH(RunOnce([](Cx cx) -> Task<void> {
                 auto wait = Sleep(cx, absl::ZeroDuration());
                 co_await OrReturn(wait);
                 co_await OrReturn(wait);
                 co_return Ok();
               }),
               "Sleep: this wait has been awaited before");
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

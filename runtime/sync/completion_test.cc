#include "quiesce/runtime/sync/completion.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::TestRuntime;
using ::testing::HasSubstr;

// --- values --------------------------------------------------------------------------------------

TEST(CompletionTest, AParkedTaskGetsTheValueOfAForeignThread) {
  TestRuntime rt;
  std::thread foreign;
  const Outcome<std::string> value = rt.Run([&](Cx cx) -> Task<std::string> {
    Completion<std::string> done;
    cx.Spawn("start foreign", [&, answer = done.completer()](Cx cx) -> Task<void> {
      co_await OrReturn(rt.UntilParked(cx, "Completion::Wait"));
      foreign = std::thread([answer] { answer.Complete("hello"); });
      co_return Ok();
    });
    co_return co_await done.Wait(cx);
  });
  foreign.join();
  EXPECT_EQ(value.value(), "hello");
}

TEST(CompletionTest, AValueThatCameBeforeTheWaitIsTakenAtOnce) {
  TestRuntime rt;
  const Outcome<int> value = rt.Run([](Cx cx) -> Task<int> {
    Completion<int> done;
    done.Complete(42);
    co_return co_await OrReturn(done.Wait(cx));
  });
  EXPECT_EQ(value.value(), 42);
}

TEST(CompletionTest, FailuresArriveAsTheyWereGiven) {
  TestRuntime rt;
  const Outcome<void> ended = rt.Run([](Cx cx) -> Task<void> {
    Completion<int> error, cancelled, panicked, never;
    error.Complete(absl::NotFoundError("no row"));
    EXPECT_EQ((co_await error.Wait(cx)).ToString(), "Error(NOT_FOUND: no row)");
    panicked.Complete(Panic("bug"));
    EXPECT_TRUE((co_await panicked.Wait(cx)).is_panicked());
    Completion<void> nothing, failed;
    nothing.Complete();
    EXPECT_TRUE((co_await nothing.Wait(cx)).ok());
    failed.Complete(Outcome<void>(absl::AbortedError("no")));
    EXPECT_TRUE((co_await failed.Wait(cx)).is_error());
    Completion<std::unique_ptr<int>> moved;
    moved.Complete(std::make_unique<int>(7));
    EXPECT_EQ(*co_await OrReturn(moved.Wait(cx)), 7);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(CompletionTest, OfSeveralTryCompletesTheFirstCounts) {
  Completion<int> done;
  EXPECT_TRUE(done.TryComplete(1));
  EXPECT_FALSE(done.TryComplete(2));
  EXPECT_FALSE(done.completer().TryComplete(3));
  EXPECT_EQ(done.BlockingWait().value(), 1);
}

TEST(CompletionTest, WhatHappenedBeforeCompleteIsSeenAfterTheWait) {
  TestRuntime rt;
  int plain = 0;  // ThreadSanitizer would see a race
  std::thread foreign;
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    Completion<void> done;
    foreign = std::thread([&plain, answer = done.completer()] {
      plain = 42;
      answer.Complete();
    });
    co_await OrReturn(done.Wait(cx));
    EXPECT_EQ(plain, 42);
    co_return Ok();
  });
  foreign.join();
  EXPECT_TRUE(ended.ok());
}

// The steps of a wait, with the value between the first look and the queue.
TEST(CompletionTest, AValueThatComesWhileTheTaskIsAboutToQueueIsNotMissed) {
  TestRuntime rt;
  const Outcome<void> ended = rt.Run([](Cx cx) -> Task<void> {
    auto* block = new completion_internal::ValueBlock<int>();
    completion_internal::WaitOp<int> op(block);
    std::optional<Outcome<int>> result;
    Waiter waiter(cx);
    EXPECT_FALSE(op.Try(waiter, result));
    block->Complete(42);
    EXPECT_EQ(op.Enqueue(waiter, result), Enqueued::kDone);
    EXPECT_EQ(result->value(), 42);
    block->Unref();
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// --- plain threads ---------------------------------------------------------------------------------

TEST(CompletionBlockingWaitTest, APlainThreadWaitsForATask) {
  TestRuntime rt;
  Completion<int> done;
  std::thread waiting([&] { EXPECT_EQ(done.BlockingWait().value(), 42); });
  const Outcome<void> ended = rt.Run([&](Cx) -> Task<void> {
    done.Complete(42);
    co_return Ok();
  });
  waiting.join();
  EXPECT_TRUE(ended.ok());
}

TEST(CompletionBlockingWaitTest, ACompletionMayGoAsSoonAsItsValueIsTaken) {
  for (int i = 0; i < 1000; ++i) {
    auto done = std::make_unique<Completion<int>>();
    std::thread foreign([&done = *done] { done.Complete(1); });
    EXPECT_EQ(done->BlockingWait().value(), 1);
    done.reset();
    foreign.join();
  }
}

// --- cancel ----------------------------------------------------------------------------------------

TEST(CompletionCancelTest, ACancelledWaitLeavesTheValueForTheNext) {
  TestRuntime rt;
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    Completion<int> done;
    auto first = cx.Spawn("first", [&](Cx cx) -> Task<int> { co_return co_await done.Wait(cx); });
    co_await OrReturn(rt.UntilParked(cx, "Completion::Wait"));
    first.Cancel();
    const Outcome<int> cancelled = co_await OrReturn(first.Join(cx));
    EXPECT_TRUE(cancelled.is_cancelled()) << cancelled.ToString();
    done.Complete(42);
    EXPECT_EQ(co_await OrReturn(done.Wait(cx)), 42);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(CompletionCancelTest, AWaitOfACancelledTaskTakesNothingAlsoWhereTheValueIsThere) {
  TestRuntime rt;
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    Completion<int> done;
    done.Complete(42);
    cx.Ref().Cancel();
    EXPECT_TRUE((co_await done.Wait(cx)).is_cancelled());
    EXPECT_EQ(co_await OrReturn(done.Wait(cx.ForDrain())), 42);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// G8: with one worker, the waiting task only runs when both have happened.
TEST(CompletionCancelTest, OfACancelAndAValueTheFirstDecidesAndTheValueIsNeverLost) {
  TestRuntime rt(1);
  for (const bool cancel_first : {true, false}) {
    const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
      Completion<int> done;
      auto first = cx.Spawn("first", [&](Cx cx) -> Task<int> { co_return co_await done.Wait(cx); });
      co_await OrReturn(rt.UntilParked(cx, "Completion::Wait"));
      if (cancel_first) first.Cancel();
      done.Complete(42);
      if (!cancel_first) first.Cancel();
      const Outcome<int> got = co_await OrReturn(first.Join(cx));
      EXPECT_EQ(got.is_cancelled(), cancel_first) << got.ToString();
      // Not `?:`: g++ 12 evaluates a co_await in an operand that is not chosen.
      if (cancel_first) {
        EXPECT_EQ(co_await OrReturn(done.Wait(cx)), 42);
      } else {
        EXPECT_EQ(got.value(), 42);
      }
      co_return Ok();
    });
    EXPECT_TRUE(ended.ok()) << ended.ToString();
  }
}

// G8: the value and the cancel come at the same moment.
TEST(CompletionCancelTest, AValueIsTakenByTheCancelledWaitOrByTheNext) {
  TestRuntime rt;
  constexpr int kRounds = 3000;
  for (int round = 0; round < kRounds; ++round) {
    const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
      Completion<int> done;
      auto first = cx.Spawn("first", [&](Cx cx) -> Task<int> { co_return co_await done.Wait(cx); });
      auto complete = cx.Spawn("complete", [&](Cx) -> Task<void> {
        done.Complete(42);
        co_return Ok();
      });
      if (round % 3 != 0) co_await OrReturn(Yield(cx));
      first.Cancel();
      (void)co_await OrReturn(complete.Join(cx));
      const Outcome<int> got = co_await OrReturn(first.Join(cx));
      if (got.ok()) {
        EXPECT_EQ(*got, 42);
      } else {
        EXPECT_EQ(co_await OrReturn(done.Wait(cx)), 42);
      }
      co_return Ok();
    });
    ASSERT_TRUE(ended.ok()) << ended.ToString();
  }
}

// --- lifetime ----------------------------------------------------------------------------------------

TEST(CompletionLifetimeTest, AnAnswerAfterTheCancelIsDroppedByTheLastHolder) {
  struct Counted {
    explicit Counted(int* destroyed) : destroyed(destroyed) {}
    ~Counted() { ++*destroyed; }
    int* destroyed;
  };
  int destroyed = 0;
  std::optional<TestRuntime> rt(std::in_place);
  std::function<void()> late;
  const Outcome<void> ended = rt->Run([&](Cx cx) -> Task<void> {
    Completion<std::unique_ptr<Counted>> done;
    late = [&destroyed, answer = done.completer()] {
      answer.Complete(std::make_unique<Counted>(&destroyed));
    };
    cx.Ref().Cancel();
    EXPECT_TRUE((co_await done.Wait(cx)).is_cancelled());
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok());
  rt.reset();
  late();
  EXPECT_EQ(destroyed, 0);
  late = nullptr;
  EXPECT_EQ(destroyed, 1);
}

TEST(CompletionLifetimeTest, ACallbackThatIsThrownAwayUncalledEndsTheWait) {
  TestRuntime rt;
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    Completion<int> done;
    {
      const std::function<void()> callback = [answer = done.completer()] { answer.Complete(1); };
      const std::function<void()> copy = callback;
    }
    const Outcome<int> aborted = co_await done.Wait(cx);
    EXPECT_TRUE(aborted.is_error());
    EXPECT_THAT(aborted.ToString(), HasSubstr("destroyed uncalled"));
    // One that was called is not.
    Completion<int> called;
    called.completer().Complete(1);
    EXPECT_EQ(co_await OrReturn(called.Wait(cx)), 1);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// The callback is destroyed by the task that it wakes, together with the Completion, while it returns.
TEST(CompletionLifetimeTest, TheWokenTaskMayDestroyTheCallbackThatIsStillReturning) {
  TestRuntime rt;
  for (int i = 0; i < 2000; ++i) {
    const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
      auto done = std::make_unique<Completion<int>>();
      auto answer = std::make_unique<Completer<int>>(done->completer());
      cx.Spawn("foreign", [raw = answer.get()](Cx) -> Task<void> {
        raw->Complete(1);
        co_return Ok();
      });
      EXPECT_EQ(co_await OrReturn(done->Wait(cx)), 1);
      answer.reset();
      done.reset();
      co_return Ok();
    });
    ASSERT_TRUE(ended.ok()) << ended.ToString();
  }
}

TEST(CompletionLifetimeTest, TheRuntimeMayGoAsSoonAsTheValueIsTaken) {
  for (int i = 0; i < 200; ++i) {
    std::optional<TestRuntime> rt(std::in_place);
    std::thread foreign;
    const Outcome<int> value = rt->Run([&](Cx cx) -> Task<int> {
      Completion<int> done;
      foreign = std::thread([&done] { done.Complete(1); });
      co_return co_await done.Wait(cx);
    });
    rt.reset();
    foreign.join();
    EXPECT_EQ(value.value(), 1);
  }
}

// --- bugs ------------------------------------------------------------------------------------------

TEST(CompletionDeathTest, CompletingTwiceIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Completion<int> done;
        done.Complete(1);
        done.Complete(2);
      },
      "a Completion was completed twice");
}

TEST(CompletionDeathTest, TakingTwiceIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Completion<int> done;
        done.Complete(1);
        (void)done.BlockingWait();
        (void)done.BlockingWait();
      },
      "after the value was taken");
}

TEST(CompletionDeathTest, ASecondWaitAtTheSameTimeIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          Completion<int> done;
          auto wait = [&](Cx cx) -> Task<int> { co_return co_await done.Wait(cx); };
          cx.Spawn("one", wait);
          cx.Spawn("two", wait);
          co_return (co_await done.Wait(cx)).ToStatus();
        });
      },
      "its value can be taken once");
}

// Also where the wait has been given the value, and its task has not gone on yet.
TEST(CompletionDeathTest, DestroyedWhileATaskWaitsIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const bool complete : {false, true}) {
    EXPECT_DEATH(
        {
          TestRuntime rt(1);
          (void)rt.Run([&](Cx cx) -> Task<void> {
            auto done = std::make_unique<Completion<int>>();
            cx.Spawn("waits",
                     [raw = done.get()](Cx cx) -> Task<int> { co_return co_await raw->Wait(cx); });
            co_await OrReturn(rt.UntilParked(cx, "Completion::Wait"));
            const Completer<int> answer = done->completer();
            if (complete) answer.Complete(1);
            done.reset();
            co_return Ok();
          });
        },
        "a Completion was destroyed while task 'waits' .* waits for it");
  }
}

TEST(CompletionDeathTest, ACompleterThatWasMovedFromIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Completion<int> done;
        Completer<int> answer = done.completer();
        const Completer<int> taken = std::move(answer);
        answer.Complete(1);
      },
      "a Completer was used after it had been moved from");
}

TEST(CompletionDeathTest, BlockingAWorkerIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([&](Cx) -> Task<int> {
          Completion<int> done;
          co_return done.BlockingWait();
        });
      },
      "BlockingWait was called in a task");
}

}  // namespace
}  // namespace quiesce

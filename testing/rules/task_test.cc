// Task and OrReturn: how a coroutine ends, and what has been destroyed when its caller goes on.
#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "quiesce/testing/rules/fixture.h"

#if defined(__cpp_exceptions)
#include <stdexcept>
#endif

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

static_assert(!std::is_copy_constructible_v<Task<int>> && !std::is_copy_assignable_v<Task<int>>);
static_assert(std::is_nothrow_move_constructible_v<Task<int>>);
static_assert(!std::is_default_constructible_v<Task<int>>);
static_assert(!std::is_copy_constructible_v<TaskHandle<int>>);

// --- Task ----------------------------------------------------------------------------------------

TEST(TaskTest, IsLazyAndDestroyedUnstartedDestroysItsArguments) {
  Trail trail;
  {
    auto work = [&](Witness) -> Task<void> {
      trail.Add("ran");
      co_return Ok();
    };
    Task<void> task = work(Witness(&trail, "argument"));
    trail.Add("made");
  }
  EXPECT_THAT(trail.Steps(), ElementsAre("made", "argument gone"));
}

TEST(TaskTest, MovedIntoAnotherRunsThere) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx) -> Task<int> {
    auto one = []() -> Task<int> { co_return 1; };
    auto two = []() -> Task<int> { co_return 2; };
    Task<int> a = one();
    Task<int> b = two();
    a = std::move(b);
    co_return co_await OrReturn(a);
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, 2);
}

TEST(TaskTest, YieldsAnOutcomeOfEachKind) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
    auto value = [](Cx) -> Task<int> { co_return 5; };
    auto error = [](Cx) -> Task<int> { co_return absl::NotFoundError("nothing here"); };
    auto panic = [](Cx) -> Task<int> { co_return Panic("broken"); };
    auto cancelled = [](Cx cx) -> Task<int> {
      co_return CancelReason(CancelKind::kUser, CancelOrigin(), cx.Now(), "by hand");
    };
    auto whole = [](Cx) -> Task<int> { co_return Outcome<int>(absl::AbortedError("whole")); };
    auto nothing = [](Cx) -> Task<void> { co_return Ok(); };
    Outcome<int> five = co_await value(cx);
    EXPECT_THAT(five, IsOk());
    EXPECT_EQ(*five, 5);
    EXPECT_THAT(co_await error(cx), IsErrorCode(absl::StatusCode::kNotFound));
    EXPECT_THAT(co_await panic(cx), IsPanicked("broken"));
    EXPECT_THAT(co_await cancelled(cx), IsCancelled(CancelKind::kUser));
    EXPECT_THAT(co_await whole(cx), IsErrorCode(absl::StatusCode::kAborted));
    EXPECT_THAT(co_await nothing(cx), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(TaskTest, CarriesMoveOnlyValuesAndThoseWithoutADefault) {
  struct Number {
    explicit Number(int n) : n(std::make_unique<int>(n)) {}
    std::unique_ptr<int> n;
  };
  TestRuntime rt;
  Outcome<Number> outcome = rt.Run([](Cx cx) -> Task<Number> {
    auto child = cx.Spawn("child", [](Cx) -> Task<Number> { co_return Number(6); });
    Outcome<Number> joined = co_await OrReturn(child.Join(cx));
    auto callee = [](Cx) -> Task<Number> { co_return Number(7); };
    Number seven = co_await OrReturn(callee(cx));
    co_return Number(*joined->n * *seven.n);
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome->n, 42);
}

TEST(TaskTest, LocalsAreDestroyedBeforeTheCallerSeesTheOutcome) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto ok = [&](Cx cx) -> Task<int> {
      Witness local(&trail, "ok's local");
      co_await OrReturn(Yield(cx));
      co_return 1;
    };
    auto error = [&](Cx cx) -> Task<int> {
      Witness local(&trail, "error's local");
      co_await OrReturn(Yield(cx));
      co_await OrReturn(absl::InternalError("e"));
      co_return 1;
    };
    (void)co_await ok(cx);
    trail.Add("caller");
    (void)co_await error(cx);
    trail.Add("caller");
    (void)co_await OrReturn(ok(cx));
    trail.Add("caller");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("ok's local gone", "caller", "error's local gone",
                                         "caller", "ok's local gone", "caller"));
}

// --- OrReturn ------------------------------------------------------------------------------------

TEST(OrReturnTest, OfAnOkYieldsTheValue) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx cx) -> Task<int> {
    auto callee = [](Cx) -> Task<int> { co_return 1; };
    const int of_task = co_await OrReturn(callee(cx));
    const int of_outcome = co_await OrReturn(Outcome<int>(2));
    const int of_status_or = co_await OrReturn(absl::StatusOr<int>(4));
    co_await OrReturn(absl::OkStatus());
    co_await OrReturn(Outcome<void>(Ok()));
    co_await OrReturn(Yield(cx));
    co_await OrReturn(Sleep(cx, absl::ZeroDuration()));
    auto child = cx.Spawn("child", [](Cx) -> Task<int> { co_return 8; });
    Outcome<int> joined = co_await OrReturn(child.Join(cx));
    const int of_join = co_await OrReturn(std::move(joined));
    co_return of_task + of_outcome + of_status_or + of_join;
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, 15);
}

TEST(OrReturnTest, OfAFailureEndsTheCoroutineWithTheSame) {
  TestRuntime rt;
  int beyond = 0;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto failing = [](Cx) -> Task<std::string> { co_return absl::NotFoundError("n"); };
    auto of_task = [&](Cx cx) -> Task<int> {
      (void)co_await OrReturn(failing(cx));
      ++beyond;
      co_return 1;
    };
    auto of_outcome = [&](Cx) -> Task<int> {
      (void)co_await OrReturn(Outcome<std::string>(Panic("p")));
      ++beyond;
      co_return 1;
    };
    auto of_status_or = [&](Cx) -> Task<int> {
      (void)co_await OrReturn(absl::StatusOr<std::string>(absl::AbortedError("a")));
      ++beyond;
      co_return 1;
    };
    auto of_status = [&](Cx) -> Task<int> {
      co_await OrReturn(absl::DataLossError("d"));
      ++beyond;
      co_return 1;
    };
    EXPECT_THAT(co_await of_task(cx), IsErrorCode(absl::StatusCode::kNotFound));
    EXPECT_THAT(co_await of_outcome(cx), IsPanicked("p"));
    EXPECT_THAT(co_await of_status_or(cx), IsErrorCode(absl::StatusCode::kAborted));
    EXPECT_THAT(co_await of_status(cx), IsErrorCode(absl::StatusCode::kDataLoss));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(beyond, 0);
}

TEST(OrReturnTest, OfAWaitThatIsCancelledEndsTheCoroutineParkedOrNot) {
  TestRuntime rt;
  Gate gate;
  int beyond = 0;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      auto parked = [&](Cx cx) -> Task<void> {
        co_await OrReturn(Pass(cx, gate));
        ++beyond;
        co_return Ok();
      };
      auto yielding = [&](Cx cx) -> Task<void> {
        co_await OrReturn(Yield(cx));
        ++beyond;
        co_return Ok();
      };
      EXPECT_THAT(co_await parked(cx), IsCancelled(CancelKind::kUser));
      EXPECT_THAT(co_await parked(cx), IsCancelled(CancelKind::kUser));
      EXPECT_THAT(co_await yielding(cx), IsCancelled(CancelKind::kUser));
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    cx.Ref().Cancel();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(beyond, 0);
}

TEST(OrReturnTest, OfANamedTaskOrWaitWorksToo) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx cx) -> Task<int> {
    auto callee = [](Cx) -> Task<int> { co_return 3; };
    Task<int> task = callee(cx);
    SleepWait sleep = Sleep(cx, absl::ZeroDuration());
    co_await OrReturn(sleep);
    co_return co_await OrReturn(task);
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, 3);
}

TEST(OrReturnTest, ThatIsNotAwaitedDestroysItsTask) {
  Trail trail;
  {
    auto work = [](Witness) -> Task<void> { co_return Ok(); };
    auto unused = OrReturn(work(Witness(&trail, "argument")));
    trail.Add("made");
  }
  EXPECT_THAT(trail.Steps(), ElementsAre("made", "argument gone"));
}

TEST(OrReturnTest, ChainIsDestroyedLeafFirstBeforeTheCallerGoesOn) {
  TestRuntime rt;
  Trail trail;
  struct Chain {
    static Task<void> Link(Cx cx, Trail* trail, int n) {
      Witness local(trail, absl::StrCat("link ", n));
      if (n == 0) co_return absl::InternalError("leaf");
      co_await OrReturn(Link(cx, trail, n - 1));
      ADD_FAILURE() << "went on after a failure";
      co_return Ok();
    }
  };
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_THAT(co_await Chain::Link(cx, &trail, 3), IsError("leaf"));
    trail.Add("caller");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(),
              ElementsAre("link 0 gone", "link 1 gone", "link 2 gone", "link 3 gone", "caller"));
}

TEST(OrReturnTest, ChainUpToTheRootOfATaskIsDestroyedBeforeItsJoinerGoesOn) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open(
      [&](Cx cx) -> Task<void> {
        auto child = cx.Spawn("child", [&](Cx cx) -> Task<void> {
          Witness root(&trail, "root");
          auto leaf = [&](Cx) -> Task<void> {
            Witness local(&trail, "leaf");
            co_await OrReturn(absl::InternalError("e"));
            co_return Ok();
          };
          co_await OrReturn(leaf(cx));
          co_return Ok();
        });
        EXPECT_THAT(co_await OrReturn(child.Join(cx.ForDrain())), IsError("e"));
        trail.Add("joined");
        co_return Ok();
      },
      CollectAll());
  EXPECT_THAT(outcome, IsError("e"));
  EXPECT_THAT(trail.Steps(), ElementsAre("leaf gone", "root gone", "joined"));
}

// --- depth 10,000 --------------------------------------------------------------------------------

constexpr int kDeep = 10000;

struct Deep {
  enum class End { kOk, kError, kPanic, kCancel };
  static Task<int> Go(Cx cx, int depth, End end, Gate* gate, std::atomic<int>* alive) {
    Witness local(alive);
    if (depth > 0) co_return 1 + co_await OrReturn(Go(cx, depth - 1, end, gate, alive));
    if (end == End::kError) co_return absl::InternalError("deep");
    if (end == End::kPanic) co_return Panic("deep");
    if (end == End::kCancel) co_await OrReturn(Pass(cx, *gate));
    co_return 0;
  }
};

TEST(DeepChainTest, FailureReachesTheTopAndEveryLocalIsGone) {
  TestRuntime rt;
  Gate gate;
  std::atomic<int> alive{0};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_THAT(co_await Deep::Go(cx, kDeep, Deep::End::kError, &gate, &alive), IsError("deep"));
    EXPECT_EQ(alive, 0);
    EXPECT_THAT(co_await Deep::Go(cx, kDeep, Deep::End::kPanic, &gate, &alive), IsPanicked("deep"));
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(DeepChainTest, SuccessReachesTheTop) {
  TestRuntime rt;
  Gate gate;
  std::atomic<int> alive{0};
  Outcome<int> outcome =
      rt.Run([&](Cx cx) { return Deep::Go(cx, kDeep, Deep::End::kOk, &gate, &alive); });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, kDeep);
  EXPECT_EQ(alive, 0);
}

TEST(DeepChainTest, CancelOfTheParkedLeafReachesTheTop) {
  TestRuntime rt;
  Gate gate;
  std::atomic<int> alive{0};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto child = cx.Spawn("deep", Deep::Go, kDeep, Deep::End::kCancel, &gate, &alive);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    EXPECT_EQ(alive, kDeep + 1);
    child.Cancel();
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsCancelled(CancelKind::kUser));
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(DeepChainTest, OfRegionsClosesFromTheInside) {
  struct Nest {
    static Task<int> Open(Cx cx, int depth) {
      if (depth == 0) co_return absl::InternalError("deep");
      co_return co_await Region::Open(cx, "nest", [=](Cx cx) -> Task<int> {
        co_return co_await OrReturn(Open(cx, depth - 1));
      });
    }
  };
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx cx) { return Nest::Open(cx, 500); });
  EXPECT_THAT(outcome, IsError("deep"));
}

TEST(DeepChainTest, LoopOfAMillionAwaitsNeedsNoStack) {
  TestRuntime rt;
  Outcome<int> outcome = rt.Run([](Cx cx) -> Task<int> {
    auto one = [](Cx) -> Task<int> { co_return 1; };
    int sum = 0;
    for (int i = 0; i < 1000000; ++i) sum += co_await OrReturn(one(cx));
    co_return sum;
  });
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(*outcome, 1000000);
}

// --- panics and exceptions -----------------------------------------------------------------------

TEST(PanicTest, ReturnedByATaskKeepsItsPlace) {
  TestRuntime rt;
  const int line = __LINE__ + 1;
  Outcome<void> outcome = rt.Run([](Cx) -> Task<void> { co_return Panic("balance below zero"); });
  ASSERT_THAT(outcome, IsPanicked("balance below zero"));
  EXPECT_EQ(outcome.panic().line(), line);
  EXPECT_THAT(outcome.panic().file(), HasSubstr("task_test.cc"));
}

#if defined(__cpp_exceptions)
TEST(ExceptionTest, ThatEscapesATaskBecomesAPanic) {
  TestRuntime rt;
  std::atomic<int> alive{0};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto throws = [&](Cx cx) -> Task<int> {
      Witness local(&alive);
      co_await OrReturn(Yield(cx));
      throw std::runtime_error("out of luck");
    };
    auto passes_on = [&](Cx cx) -> Task<int> {
      Witness local(&alive);
      co_return co_await OrReturn(throws(cx));
    };
    EXPECT_THAT(co_await passes_on(cx), IsPanicked("out of luck"));
    EXPECT_EQ(alive, 0);
    auto throws_int = [](Cx) -> Task<int> {
      throw 42;
      co_return 1;
    };
    EXPECT_THAT(co_await throws_int(cx), IsPanicked("not a std::exception"));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(ExceptionTest, ThatEscapesASpawnedTaskFailsItsRegionFast) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Open([](Cx cx) -> Task<void> {
    cx.Spawn("throws", [](Cx) -> Task<void> {
      throw std::runtime_error("out of luck");
      co_return Ok();
    });
    co_return co_await Forever(cx);
  });
  EXPECT_THAT(outcome, IsPanicked("out of luck"));
}

TEST(ExceptionTest, OfABodyThatIsNoCoroutineIsAPanicAndTheRegionCloses) {
  TestRuntime rt;
  std::atomic<int> alive{0};
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("child", [&](Cx cx) -> Task<void> {
      Witness local(&alive);
      co_return co_await Forever(cx);
    });
    throw std::runtime_error("before the task");
  });
  EXPECT_THAT(outcome, IsPanicked("before the task"));
  EXPECT_EQ(alive, 0);
}

TEST(ExceptionTest, OfASpawnedCallableThatIsNoCoroutineIsAPanic) {
  TestRuntime rt;
  Trail trail;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn(
        "throws", [](Cx, Witness&&) -> Task<void> { throw std::runtime_error("before the task"); },
        Witness(&trail, "argument"));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsPanicked("before the task"));
  EXPECT_THAT(trail.Steps(), ElementsAre("argument gone"));
}
#endif

// --- spawn ---------------------------------------------------------------------------------------

TEST(SpawnTest, CallableThatMakesOtherCoroutinesFirstKeepsTheirFramesApart) {
  // A spawn's first frame shares the task's block: here the first frame is not the task's.
  TestRuntime rt;
  for (int round = 0; round < 3; ++round) {
    std::vector<Task<int>> kept;
    Outcome<int> outcome = rt.Run([&](Cx cx) -> Task<int> {
      auto other = [](Cx cx) -> Task<int> {
        co_await OrReturn(Yield(cx));
        co_return 1;
      };
      auto child = cx.Spawn("child", [&kept, other](Cx cx) -> Task<int> {
        kept.push_back(other(cx));
        kept.push_back(other(cx));
        return [](Cx cx) -> Task<int> {
          co_await OrReturn(Yield(cx));
          co_return 2;
        }(cx);
      });
      Outcome<int> joined = co_await OrReturn(child.Join(cx));
      co_return co_await OrReturn(std::move(joined));
    });
    EXPECT_EQ(*outcome, 2);
    kept.clear();
  }
}

TEST(SpawnTest, FramesOfEverySizeWork) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([](Cx cx) -> Task<void> {
    auto spawn = [&]<size_t size>(std::integral_constant<size_t, size>) {
      return cx.Spawn("sized", [](Cx cx) -> Task<int> {
        std::array<volatile char, size> local{};
        local[size - 1] = 7;
        co_await OrReturn(Yield(cx));
        co_return local[size - 1];
      });
    };
    for (int i = 0; i < 3; ++i) {
      auto a = spawn(std::integral_constant<size_t, 1>());
      auto b = spawn(std::integral_constant<size_t, 500>());
      auto c = spawn(std::integral_constant<size_t, 4000>());
      auto d = spawn(std::integral_constant<size_t, 20000>());
      EXPECT_EQ(*co_await OrReturn(a.Join(cx)), 7);
      EXPECT_EQ(*co_await OrReturn(b.Join(cx)), 7);
      EXPECT_EQ(*co_await OrReturn(c.Join(cx)), 7);
      EXPECT_EQ(*co_await OrReturn(d.Join(cx)), 7);
    }
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

// --- fairness ------------------------------------------------------------------------------------

TEST(FairnessTest, TaskWhoseWaitsAreAlwaysReadyLetsOthersRun) {
  TestRuntime rt(1);
  Gate open;
  open.Open();
  std::atomic<bool> other_ran{false};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("other", [&](Cx) -> Task<void> {
      other_ran = true;
      co_return Ok();
    });
    while (!other_ran) co_await OrReturn(Pass(cx, open));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

TEST(FairnessTest, TaskThatIgnoresItsFailedWaitsLetsOthersRun) {
  TestRuntime rt(1);
  Gate gate;
  for (const bool yields : {false, true}) {
    std::atomic<bool> other_ran{false};
    Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
      cx.ForDrain().Spawn("other", [&](Cx) -> Task<void> {
        other_ran = true;
        co_return Ok();
      });
      cx.Ref().Cancel();
      while (!other_ran) {
        if (yields) {
          EXPECT_FALSE((co_await Yield(cx)).ok());
        } else {
          EXPECT_FALSE((co_await Pass(cx, gate)).ok());
        }
      }
      // Also where a failed wait ends a coroutine.
      auto ending = [](Cx cx) -> Task<void> {
        co_await OrReturn(Yield(cx));
        co_return Ok();
      };
      for (int i = 0; i < 1000; ++i) {
        if ((co_await ending(cx)).ok()) ADD_FAILURE();
      }
      co_return Ok();
    });
    EXPECT_THAT(outcome, IsOk());
  }
}

TEST(FairnessTest, YieldPutsTheTaskBehindWhatIsReady) {
  TestRuntime rt(1);
  Trail trail;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    for (const char* name : {"a", "b", "c"}) {
      cx.Spawn("child", [&trail, name](Cx cx) -> Task<void> {
        for (int i = 0; i < 2; ++i) {
          trail.Add(name);
          co_await OrReturn(Yield(cx));
        }
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("a", "b", "c", "a", "b", "c"));
}

TEST(YieldTest, SeesACancelThatComesWhileItIsQueued) {
  TestRuntime rt(1);
  Outcome<void> yielded = Ok();
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("canceller", [](Cx cx) -> Task<void> {
      cx.Ref().Cancel();
      co_return Ok();
    });
    yielded = co_await Yield(cx);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(yielded, IsCancelled(CancelKind::kUser));
}

Task<std::string> Echoed(std::string text) { co_return text; }

// The callable makes another coroutine first, whose frame gets the place in the block and outlives the task: the
// outcome, which is larger than the callable, must not be written over it.
TEST(SpawnBlockTest, OutcomeDoesNotOverwriteAForeignFrameInTheBlock) {
  TestRuntime rt;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<Task<std::string>> kept;
    for (int i = 0; i < 3; ++i) {  // from the second on the frame's size is known
      auto child = cx.Spawn("child", [&kept](Cx) -> Task<std::string> {
        kept.push_back(Echoed(std::string(100, 'k')));
        return Echoed(std::string(100, 'r'));
      });
      Outcome<std::string> result = co_await OrReturn(child.Join(cx));
      EXPECT_EQ(result.value(), std::string(100, 'r'));
    }
    for (Task<std::string>& task : kept) {
      const std::string text = co_await OrReturn(task);
      EXPECT_EQ(text, std::string(100, 'k'));
    }
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

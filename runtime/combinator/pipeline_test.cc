#include "quiesce/runtime/combinator/pipeline.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "quiesce/runtime/combinator/in_order.h"
#include "quiesce/testing/contract/stepped_runtime.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Gives 0, 1, 2 … below `end`. Used by one task at a time.
class Numbers {
 public:
  explicit Numbers(int end) : end_(end) {}
  Task<std::optional<int>> Next(Cx cx) {
    co_await OrReturn(Yield(cx));  // where a cancel may end it: before it has taken anything
    if (given_ == end_) co_return std::nullopt;
    co_return given_++;
  }
  int given() const { return given_; }

 private:
  const int end_;
  std::atomic<int> given_{0};
};

// What a sink has got, from several workers.
class Got {
 public:
  void Add(int item) {
    ThreadMutexLock lock(mutex_);
    items_.push_back(item);
  }
  std::vector<int> Items() {
    ThreadMutexLock lock(mutex_);
    return items_;
  }
  std::vector<int> Sorted() {
    std::vector<int> items = Items();
    std::sort(items.begin(), items.end());
    return items;
  }

 private:
  ThreadMutex mutex_;
  std::vector<int> items_ ABSL_GUARDED_BY(mutex_);
};

std::vector<int> Range(int end) {
  std::vector<int> numbers(static_cast<size_t>(end));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

class PipelineTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
  Got got;
};
INSTANTIATE_TEST_SUITE_P(Workers, PipelineTest, testing::Values(1, 2));

TEST_P(PipelineTest, EachItemGoesThroughEachStageInOrderWhateverTheType) {
  std::vector<std::string> stored;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Numbers numbers(100);
    auto source = [&](Cx cx) { return numbers.Next(cx); };
    auto own = [](Cx, int item) -> Task<std::unique_ptr<int>> {
      co_return std::make_unique<int>(item * item);
    };
    auto print = [](Cx cx, const std::unique_ptr<int>& item) -> Task<std::string> {
      co_await OrReturn(Yield(cx));
      co_return std::to_string(*item);
    };
    auto store = [&](Cx, std::string item) -> Task<void> {
      stored.push_back(std::move(item));
      co_return Ok();
    };
    co_return co_await Pipeline(cx, 3, source, own, print, store);
  });
  EXPECT_THAT(root, IsOk());
  ASSERT_EQ(stored.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(stored[static_cast<size_t>(i)], std::to_string(i * i));
}

// Items take differently long, so they overtake one another.
TEST_P(PipelineTest, SeveralWorkersKeepTheOrderUnlessTheyNeedNot) {
  for (const StageOrder order : {StageOrder::kKept, StageOrder::kAsReady}) {
    Got stored;
    std::atomic<int> now{0};
    std::atomic<int> most{0};
    Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
      Numbers numbers(300);
      auto source = [&](Cx cx) { return numbers.Next(cx); };
      auto slow = [&](Cx cx, int item) -> Task<int> {
        most = std::max<int>(most, ++now);
        for (int i = (item * 37) % 11; i > 0; --i) co_await OrReturn(Yield(cx));
        --now;
        co_return item;
      };
      auto store = [&](Cx, int item) -> Task<void> {
        stored.Add(item);
        co_return Ok();
      };
      co_return co_await Pipeline(cx, 2, source, Parallel(4, slow, order), store);
    });
    EXPECT_THAT(root, IsOk());
    EXPECT_EQ(stored.Sorted(), Range(300));
    EXPECT_EQ(stored.Items() == Range(300), order == StageOrder::kKept);
    EXPECT_GT(most, 1);
    EXPECT_LE(most, 4);
  }
}

TEST_P(PipelineTest, SinkMayHaveSeveralWorkers) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Numbers numbers(200);
    auto source = [&](Cx cx) { return numbers.Next(cx); };
    auto store = [&](Cx cx, int item) -> Task<void> {
      co_await OrReturn(Yield(cx));
      got.Add(item);
      co_return Ok();
    };
    co_return co_await Pipeline(cx, 4, source, Parallel(3, store));
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(got.Sorted(), Range(200));
}

TEST_P(PipelineTest, SlowSinkHoldsUpTheSourceSoThatNoMoreThanTheCapacityIsUnderWay) {
  Numbers numbers(1000);
  Gate gate;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("pipeline", [&](Cx cx) -> Task<void> {
      auto source = [&](Cx cx) { return numbers.Next(cx); };
      auto pass = [](Cx, int item) -> Task<int> { co_return item; };
      auto store = [&](Cx cx, int item) -> Task<void> {
        co_await OrReturn(Pass(cx, gate));
        got.Add(item);
        co_return Ok();
      };
      co_return co_await Pipeline(cx, 5, source, pass, store);
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    // At the sink: 1; in the channels: 5 and 5.
    co_await OrReturn(Until(cx, [&] { return numbers.given() == 11; }));
    for (int i = 0; i < 100; ++i) co_await OrReturn(Yield(cx));
    EXPECT_EQ(numbers.given(), 11);
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(got.Items(), Range(1000));
}

// The point of it all.
TEST_P(PipelineTest, AfterACancelEachItemThatWasGivenIsThroughAndNoOtherIsTouched) {
  for (int round = 0; round < 50; ++round) {
    Got stored;
    Numbers numbers(1'000'000);
    Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
      auto running = cx.Spawn("pipeline", [&](Cx cx) -> Task<void> {
        auto source = [&](Cx cx) { return numbers.Next(cx); };
        auto stage = [](Cx cx, int item) -> Task<int> {
          co_await OrReturn(Yield(cx));
          co_return item;
        };
        auto parallel = [](Cx cx, int item) -> Task<int> {
          for (int i = item % 3; i > 0; --i) co_await OrReturn(Yield(cx));
          co_return item;
        };
        auto store = [&](Cx cx, int item) -> Task<void> {
          co_await OrReturn(Yield(cx));
          stored.Add(item);
          co_return Ok();
        };
        co_return co_await Pipeline(cx, 2, source, stage, Parallel(3, parallel), store);
      });
      co_await OrReturn(Until(cx, [&] { return numbers.given() > round * 3; }));
      running.Cancel();
      EXPECT_THAT(co_await OrReturn(running.Join(cx)), IsCancelledBy(CancelKind::kUser));
      co_return Ok();
    });
    EXPECT_THAT(root, IsOk());
    EXPECT_EQ(stored.Items(), Range(numbers.given()));
  }
}

TEST_P(PipelineTest, CancelThatComesBeforeItStartsTouchesNothing) {
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    Numbers numbers(10);
    auto source = [&](Cx cx) { return numbers.Next(cx); };
    auto store = [&](Cx, int) -> Task<void> { co_return Ok(); };
    cx.Ref().Cancel();
    EXPECT_TRUE((co_await Pipeline(cx, 2, source, store)).is_cancelled());
    EXPECT_EQ(numbers.given(), 0);
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
}

TEST_P(PipelineTest, ItemThatFailsStopsTheSourceAndTheOthersGoThrough) {
  for (const size_t workers : {1, 3}) {
    Got stored;
    Numbers numbers(1'000'000);
    Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
      auto source = [&](Cx cx) { return numbers.Next(cx); };
      auto stage = [](Cx cx, int item) -> Task<int> {
        co_await OrReturn(Yield(cx));
        if (item == 20) co_return absl::DataLossError("item 20");
        co_return item;
      };
      auto store = [&](Cx, int item) -> Task<void> {
        stored.Add(item);
        co_return Ok();
      };
      Outcome<void> ended = co_await Pipeline(cx, 4, source, Parallel(workers, stage), store);
      EXPECT_THAT(ended, IsError("item 20"));
      co_return Ok();
    });
    EXPECT_THAT(root, IsOk());
    std::vector<int> expected = Range(numbers.given());
    expected.erase(expected.begin() + 20);
    EXPECT_EQ(stored.Items(), expected);
    EXPECT_LT(numbers.given(), 1'000'000);
  }
}

TEST_P(PipelineTest, PanicsOfStageAndSinkAreTheOutcomeAndLoseTheirItemOnly) {
  Numbers numbers(1'000'000);
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto source = [&](Cx cx) { return numbers.Next(cx); };
    auto stage = [&](Cx cx, int item) -> Task<int> {
      if (item != 5) co_return item;
      co_await OrReturn(Until(cx, [&] { return numbers.given() > 7; }));
      co_return absl::DataLossError("item 5");
    };
    auto store = [&](Cx, int item) -> Task<void> {
      if (item == 7) co_return Panic("bug");
      got.Add(item);
      co_return Ok();
    };
    EXPECT_THAT(co_await Pipeline(cx, 16, source, stage, store), IsPanicked("bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  std::vector<int> expected = Range(numbers.given());
  std::erase(expected, 5);
  std::erase(expected, 7);
  EXPECT_EQ(got.Items(), expected);
}

// In a region R1 counts it as Ok; but the item is lost, and the caller has to hear of that.
TEST_P(PipelineTest, ItemThatIsCancelledByItselfIsTheOutcomeAndStopsTheSource) {
  for (const bool in_sink : {false, true}) {
    for (const size_t workers : {1, 3}) {
      Got stored;
      Numbers numbers(1'000'000);
      Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
        auto source = [&](Cx cx) { return numbers.Next(cx); };
        auto stage = [&](Cx cx, int item) -> Task<int> {
          // By a quota of a region of its own, which is spent.
          auto limited = [](Cx cx) -> Task<void> {
            cx.Charge(2);
            co_return cx.cancel_reason();
          };
          const auto options = RegionOptions().WithBudget(Budget::Cost(1));
          if (item == 20 && !in_sink) {
            co_await OrReturn(Region::Open(cx, "limited", limited, FailFast(), options));
          }
          co_return item;
        };
        auto store = [&](Cx cx, int item) -> Task<void> {
          if (item == 20 && in_sink) co_return co_await CancelledByItself(cx);
          stored.Add(item);
          co_return Ok();
        };
        Outcome<void> ended = co_await Pipeline(cx, 4, source, Parallel(workers, stage), store);
        EXPECT_THAT(ended, IsCancelledBy(in_sink ? CancelKind::kUser : CancelKind::kQuota));
        co_return Ok();
      });
      EXPECT_THAT(root, IsOk());
      std::vector<int> expected = Range(numbers.given());
      expected.erase(expected.begin() + 20);
      EXPECT_EQ(stored.Items(), expected);
      EXPECT_LT(numbers.given(), 1'000'000);
    }
  }
}

// The waits of such a source do not fail when it is stopped, until the drain budget is spent.
TEST_P(PipelineTest, ItemThatFailsStopsTheSourceAlsoOfAPipelineThatRunsForDrain) {
  Numbers numbers(1'000'000);
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto source = [&](Cx cx) { return numbers.Next(cx); };
    auto store = [](Cx, int item) -> Task<void> {
      if (item == 20) co_return absl::DataLossError("item 20");
      co_return Ok();
    };
    EXPECT_THAT(co_await Pipeline(cx.ForDrain(), 4, source, store), IsError("item 20"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_LT(numbers.given(), 1000);
}

TEST_P(PipelineTest, ErrorOfAnItemCountsBesideOneThatIsCancelledByItself) {
  for (const int first : {0, 1}) {
    Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
      Numbers numbers(2);
      auto source = [&](Cx cx) { return numbers.Next(cx); };
      auto store = [&](Cx cx, int item) -> Task<void> {
        if (item == first) co_return co_await CancelledByItself(cx);
        co_return absl::DataLossError("item");
      };
      // Both are in the channel before the first one fails.
      auto both = [&](Cx cx, int item) -> Task<int> {
        co_await OrReturn(Until(cx, [&] { return numbers.given() == 2; }));
        co_return item;
      };
      EXPECT_THAT(co_await Pipeline(cx, 4, source, both, store), IsError("item"));
      co_return Ok();
    });
    EXPECT_THAT(root, IsOk());
  }
}

TEST_P(PipelineTest, SourceThatIsCancelledByItselfIsTheOutcome) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    int given = 0;
    auto source = [&](Cx cx) -> Task<std::optional<int>> {
      if (given == 3) co_await OrReturn(CancelledByItself(cx));
      co_return given++;
    };
    auto store = [&](Cx, int item) -> Task<void> {
      got.Add(item);
      co_return Ok();
    };
    EXPECT_THAT(co_await Pipeline(cx, 100, source, store), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(got.Items(), Range(3));
}

TEST_P(PipelineTest, SourceThatFailsEndsThePipelineAfterWhatItHasGiven) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    int given = 0;
    auto source = [&](Cx) -> Task<std::optional<int>> {
      if (given == 10) co_return absl::UnavailableError("no more");
      co_return given++;
    };
    auto store = [&](Cx cx, int item) -> Task<void> {
      co_await OrReturn(Yield(cx));
      got.Add(item);
      co_return Ok();
    };
    EXPECT_THAT(co_await Pipeline(cx, 100, source, store), IsError("no more"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(got.Items(), Range(10));
}

TEST_P(PipelineTest, StagesWithoutStateMayBeTemporaries) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Numbers numbers(10);
    auto source = [&](Cx cx) { return numbers.Next(cx); };
    co_return co_await Pipeline(
        cx, 2, source, [](Cx, int item) -> Task<int> { co_return item + 1; },
        Parallel(2, [](Cx, int item) -> Task<int> { co_return item - 1; }),
        [this](Cx, int item) -> Task<void> {
          got.Add(item);
          co_return Ok();
        });
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(got.Items(), Range(10));
}

// What the drain budget does not suffice for is dropped, and destroyed.
TEST(PipelineDrainTest, EndsWithTheDrainBudgetThoughAStageWaitsForEver) {
  contract::SteppedRuntime runtime;
  std::atomic<int> alive{0};
  Gate never;
  std::optional<Outcome<void>> ended;
  runtime.Start([&](Cx cx) -> Task<void> {
    auto running = cx.Spawn("pipeline", [&](Cx cx) -> Task<void> {
      auto source = [&](Cx) -> Task<std::optional<Witness>> { co_return Witness(&alive); };
      auto stage = [&](Cx cx, Witness item) -> Task<Witness> {
        co_await OrReturn(Pass(cx, never));
        co_return item;
      };
      auto store = [](Cx, Witness) -> Task<void> { co_return Ok(); };
      co_return co_await Pipeline(cx, 3, source, Parallel(2, stage), store);
    });
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 2 && alive == 5; }));
    running.Cancel(Budget::Timeout(absl::Seconds(1)));
    ended.emplace(co_await OrReturn(running.Join(cx)));
    co_return Ok();
  });
  runtime.RunUntilIdle();
  EXPECT_FALSE(ended.has_value());
  EXPECT_EQ(alive, 5);
  runtime.AdvanceBy(absl::Seconds(1));
  runtime.RunUntilIdle();
  ASSERT_TRUE(runtime.quiescent());
  runtime.Finish();
  EXPECT_THAT(runtime.TakeProblems(), IsEmpty());
  ASSERT_TRUE(ended.has_value());
  EXPECT_TRUE(ended->is_cancelled());
  EXPECT_EQ(alive, 0);
}

TEST(PipelineDumpTest, SaysWhichStageATaskIs) {
  contract::SteppedRuntime runtime;
  Gate gate;
  runtime.Start([&](Cx cx) -> Task<void> {
    auto source = [&](Cx cx) -> Task<std::optional<int>> {
      co_await OrReturn(Pass(cx, gate));
      co_return std::nullopt;
    };
    auto pass = [](Cx, int item) -> Task<int> { co_return item; };
    auto store = [](Cx, int) -> Task<void> { co_return Ok(); };
    co_return co_await Pipeline(cx, 3, source, pass, Parallel(2, pass), store);
  });
  runtime.RunUntilIdle();
  const std::string dump = runtime.Dump();
  for (const char* name :
       {"'pipeline source'", "'pipeline stage 1'", "'pipeline stage 2'", "'pipeline sink'"}) {
    EXPECT_THAT(dump, ::testing::HasSubstr(name));
  }
  gate.Open();
  runtime.RunUntilIdle();
  runtime.Finish();
}

TEST_P(PipelineTest, InOrderSendsInOrderWhateverTheOrderOfComing) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<uint64_t> order = {0, 1, 2, 3, 4};
    do {
      auto [sender, receiver] = MakeMpsc<int>(5);
      combinator_internal::InOrder<int> in_order;
      for (const uint64_t number : order) {
        std::optional<SendPermit<int>> place = sender.TryReserve(cx);
        std::optional<int> value;
        if (number != 2) value = static_cast<int>(number);  // number 2 has come to nothing
        in_order.Done(number, *std::move(place), value);
      }
      std::vector<int> sent;
      while (std::optional<int> item = receiver.TryReceive()) sent.push_back(*item);
      EXPECT_THAT(sent, ElementsAre(0, 1, 3, 4));
    } while (std::next_permutation(order.begin(), order.end()));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST(PipelineDeathTest, WhatMakesNoSenseIsFatal) {
  const auto run = [](size_t capacity, size_t workers) {
    (void)TestRuntime(1).Run([=](Cx cx) -> Task<void> {
      auto source = [](Cx) -> Task<std::optional<int>> { co_return std::nullopt; };
      auto store = [](Cx, int) -> Task<void> { co_return Ok(); };
      co_return co_await Pipeline(cx, capacity, source, Parallel(workers, store));
    });
  };
  EXPECT_DEATH(run(0, 1), "Pipeline\\(cx, 0, ...\\) at .*pipeline_test.cc");
  EXPECT_DEATH(run(1, 0), "Pipeline at .*pipeline_test.cc.*a stage with 0 workers");
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

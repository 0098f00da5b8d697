#include "quiesce/runtime/combinator/map_reduce.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <memory>
#include <numeric>
#include <ranges>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using combinator_internal::OrderedReducer;

std::string Append(std::string left, std::string right) { return left + right; }

class MapReduceTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, MapReduceTest, testing::Values(1, 2));

// Counts how many maps live.
class Census {
 public:
  class Stay {
   public:
    explicit Stay(Census* census) : census_(census) {
      const int now = ++census_->now_;
      int most = census_->most_.load();
      while (most < now && !census_->most_.compare_exchange_weak(most, now)) {
      }
      ++census_->all_;
    }
    ~Stay() { --census_->now_; }

   private:
    Census* census_;
  };
  int now() const { return now_; }
  int most() const { return most_; }
  int all() const { return all_; }

 private:
  std::atomic<int> now_{0};
  std::atomic<int> most_{0};
  std::atomic<int> all_{0};
};

TEST_P(MapReduceTest, ReducesInTheOrderOfTheItemsWhicheverEndsFirst) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<int> items(100);
    std::iota(items.begin(), items.end(), 0);
    std::string expected = "start";
    for (int item : items) absl::StrAppend(&expected, ",", item);
    auto map = [](Cx cx, int item) -> Task<std::string> {
      for (int i = (item * 37) % 11; i > 0; --i) co_await OrReturn(Yield(cx));
      co_return absl::StrCat(",", item);
    };
    const std::string initial = "start";
    for (const size_t parallelism : {1, 2, 7, 1000}) {
      EXPECT_EQ(co_await OrReturn(MapReduce(cx, items, parallelism, map, Append, initial)),
                expected);
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(MapReduceTest, ReducesInTheOrderOfTheEndsIfAsked) {
  std::vector<Gate> gates(3);
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    int ended = 0;
    std::vector<int> items = {0, 1, 2};
    auto map = [&](Cx cx, int item) -> Task<std::string> {
      co_await OrReturn(Pass(cx, gates[static_cast<size_t>(item)]));
      co_return std::to_string(item);
    };
    auto reduce = [&](std::string left, std::string right) {
      ++ended;
      // The next one ends when this one has been reduced.
      if (ended < 3) gates[static_cast<size_t>(2 - ended)].Open();
      return left + right;
    };
    cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      co_await OrReturn(Until(cx, [&] { return gates[0].waiting() + gates[1].waiting() == 2; }));
      gates[2].Open();
      co_return Ok();
    });
    const std::string initial;
    EXPECT_EQ(co_await OrReturn(MapReduce(cx, items, 3, map, reduce, initial, ReduceOrder::kEnds)),
              "210");
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(MapReduceTest, NoMoreThanParallelismLiveAndItemsAreLookedAtOnlyThen) {
  Census census;
  int looked_at = 0;
  bool too_early = false;
  // Makes its items up, and can be passed once only.
  struct Source {
    struct End {};
    struct Iterator {
      using value_type = int;
      using difference_type = std::ptrdiff_t;
      int operator*() const {
        ++*source->looked_at;
        if (source->census->now() >= 4) *source->too_early = true;
        return next;
      }
      Iterator& operator++() {
        ++next;
        return *this;
      }
      void operator++(int) { ++next; }
      bool operator==(End) const { return next == 50; }
      const Source* source;
      int next;
    };
    Iterator begin() const { return {this, 0}; }
    End end() const { return {}; }
    int* looked_at;
    Census* census;
    bool* too_early;
  };
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Source source = {&looked_at, &census, &too_early};
    auto map = [&](Cx cx, int item) -> Task<int> {
      const Census::Stay stay(&census);
      // The first four meet: that so many may live at once is no matter of the schedule.
      co_await OrReturn(Until(cx, [&] { return census.most() >= 4; }));
      for (int i = 0; i < 3; ++i) co_await OrReturn(Yield(cx));
      co_return item;
    };
    EXPECT_EQ(co_await OrReturn(MapReduce(cx, source, 4, map, std::plus<int>(), 0)), 49 * 50 / 2);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(census.most(), 4);
  EXPECT_EQ(census.all(), 50);
  EXPECT_EQ(looked_at, 50);
  EXPECT_FALSE(too_early);
}

TEST_P(MapReduceTest, FirstErrorStopsTheOthersAndNoFurtherItemIsLookedAt) {
  Census census;
  int looked_at = 0;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    std::vector<int> items(1000);
    std::iota(items.begin(), items.end(), 0);
    auto look = [&](int item) {
      ++looked_at;
      return item;
    };
    auto seen = items | std::views::transform(look);
    auto map = [&](Cx cx, int item) -> Task<int> {
      const Census::Stay stay(&census);
      if (item == 2) {
        co_await OrReturn(Until(cx, [&] { return never.waiting() == 2; }));
        co_return absl::DataLossError("item 2");
      }
      co_await OrReturn(Pass(cx, never));
      co_return item;
    };
    EXPECT_THAT(co_await MapReduce(cx, seen, 3, map, std::plus<int>(), 0), IsError("item 2"));
    EXPECT_EQ(census.now(), 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(looked_at, 3);
  EXPECT_EQ(census.all(), 3);
}

TEST_P(MapReduceTest, PanicOfAMapOrOfTheReductionIsThePanicOfTheWhole) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    const std::vector<int> items = {1, 2, 3};
    auto panics = [](Cx, int item) -> Task<int> {
      if (item == 2) co_return Panic("bug");
      co_return item;
    };
    EXPECT_THAT(co_await MapReduce(cx, items, 3, panics, std::plus<int>(), 0), IsPanicked("bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

#if defined(__cpp_exceptions)
TEST_P(MapReduceTest, ReductionThatThrowsEndsTheMapsFirst) {
  Census census;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    const std::vector<int> items = {0, 1, 2};
    auto map = [&](Cx cx, int item) -> Task<int> {
      const Census::Stay stay(&census);
      if (item > 0) {
        co_await OrReturn(Pass(cx, never));
      } else {
        co_await OrReturn(Until(cx, [&] { return never.waiting() == 2; }));
      }
      co_return item;
    };
    auto reduce = [](int, int) -> int { throw std::runtime_error("cannot add"); };
    EXPECT_THAT(co_await MapReduce(cx, items, 3, map, reduce, 0), IsPanicked("cannot add"));
    EXPECT_EQ(census.now(), 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}
#endif

TEST_P(MapReduceTest, CancelReachesTheMapsAndNoItemIsLookedAtAfterIt) {
  Census census;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    std::vector<int> items(1000);
    auto running = cx.Spawn("map-reduce", [&](Cx cx) -> Task<int> {
      auto map = [&](Cx cx, int) -> Task<int> {
        const Census::Stay stay(&census);
        (void)co_await Pass(cx, never);
        co_return 1;  // whatever has come
      };
      co_return co_await MapReduce(cx, items, 4, map, std::plus<int>(), 0);
    });
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 4; }));
    running.Cancel();
    EXPECT_THAT(co_await OrReturn(running.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(census.all(), 4);
}

// A stream of 1, 2, 3 … `end` that can be passed once: to begin, and to move on, reads a number from it.
class Stream {
 public:
  explicit Stream(int end) : end_(end) {}
  int read() const { return read_; }

  class Iterator {
   public:
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    explicit Iterator(Stream* stream) : stream_(stream) { ++*this; }
    int operator*() const { return stream_->read_; }
    Iterator& operator++() {
      ++stream_->read_;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return stream_->read_ > stream_->end_; }

   private:
    Stream* stream_;
  };
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() { return {}; }

 private:
  const int end_;
  int read_ = 0;
};

TEST_P(MapReduceTest, NoItemIsReadAheadOfTheMapThatItIsFor) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Stream stream(100);
    int started = 0;
    auto map = [&](Cx cx, int item) -> Task<int> {
      EXPECT_EQ(item, ++started);
      co_await OrReturn(Yield(cx));
      EXPECT_EQ(stream.read(), item);
      co_return item;
    };
    EXPECT_EQ(co_await OrReturn(MapReduce(cx, stream, 1, map, std::plus<int>(), 0)), 5050);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

// The maps end Ok although they are told to stop; what has not been read is still there for somebody else.
TEST_P(MapReduceTest, AfterACancelNothingIsReadAndTheOutcomeIsNoPartOfTheWhole) {
  Stream stream(1000);
  std::atomic<int> mapped{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto running = cx.Spawn("map-reduce", [&](Cx cx) -> Task<int> {
      auto map = [&](Cx cx, int) -> Task<int> {
        (void)co_await Pass(cx, never);
        ++mapped;
        co_return 1;
      };
      co_return co_await MapReduce(cx, stream, 3, map, std::plus<int>(), 0);
    });
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 3; }));
    running.Cancel();
    EXPECT_THAT(co_await OrReturn(running.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(mapped, 3);
  EXPECT_EQ(stream.read(), 3);
}

TEST_P(MapReduceTest, CancelThatComesAfterTheLastItemOfARangeWithASizeChangesNothing) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    std::vector<int> items(3);
    auto running = cx.Spawn("map-reduce", [&](Cx cx) -> Task<int> {
      auto map = [&](Cx cx, int) -> Task<int> {
        (void)co_await Pass(cx, never);
        co_return 1;
      };
      co_return co_await MapReduce(cx, items, 3, map, std::plus<int>(), 0);
    });
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 3; }));
    running.Cancel();
    EXPECT_EQ(co_await OrReturn(co_await OrReturn(running.Join(cx))), 3);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

// Under cx.ForDrain() a cancel does not stop the starts, as it does not stop the waits.
TEST_P(MapReduceTest, ForDrainGoesOnToTheLastItem) {
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    Stream stream(10);
    auto map = [&](Cx cx, int item) -> Task<int> {
      if (item == 2) cx.Ref().Cancel();
      co_await OrReturn(Yield(cx));
      co_return item;
    };
    cx.Ref().Cancel();
    EXPECT_EQ(co_await OrReturn(MapReduce(cx.ForDrain(), stream, 2, map, std::plus<int>(), 0)), 55);
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
}

TEST_P(MapReduceTest, MapThatIsCancelledByItselfIsTheOutcomeAndStartsNoOther) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::atomic<int> started{0};
    const std::vector<int> items = {1, 2, 3};
    auto map = [&](Cx cx, int item) -> Task<int> {
      ++started;
      if (item == 2) co_await OrReturn(CancelledByItself(cx));
      co_return item;
    };
    EXPECT_THAT(co_await MapReduce(cx, items, 1, map, std::plus<int>(), 0),
                IsCancelledBy(CancelKind::kUser));
    EXPECT_EQ(started, 2);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(MapReduceTest, EmptyRangeYieldsTheInitialValueAndRefusalStartsNothing) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    int called = 0;
    auto map = [&](Cx, int item) -> Task<int> {
      ++called;
      co_return item;
    };
    const std::vector<int> none;
    EXPECT_EQ(co_await OrReturn(MapReduce(cx, none, 3, map, std::plus<int>(), 42)), 42);
    auto cancelled = [&](Cx cx) -> Task<void> {
      cx.Ref().Cancel();
      const std::vector<int> items = {1};
      EXPECT_TRUE((co_await MapReduce(cx, items, 3, map, std::plus<int>(), 0)).is_cancelled());
      co_return Ok();
    };
    EXPECT_THAT(co_await Region::Open(cx, "cancelled", cancelled), IsOk());
    EXPECT_EQ(called, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(MapReduceTest, ItemsThatStayArePassedAsTheyAreAndOthersLiveAsLongAsTheirMap) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    // Not copyable, and written to.
    std::vector<std::unique_ptr<int>> items;
    for (int i = 0; i < 10; ++i) items.push_back(std::make_unique<int>(i));
    auto doubles = [](Cx cx, std::unique_ptr<int>& item) -> Task<int> {
      co_await OrReturn(Yield(cx));
      *item *= 2;
      co_return *item;
    };
    EXPECT_EQ(
        co_await OrReturn(MapReduce(cx, absl::MakeSpan(items), 3, doubles, std::plus<int>(), 0)),
        90);
    EXPECT_EQ(*items[9], 18);

    struct Words {
      std::istream_iterator<std::string> begin() const {
        return std::istream_iterator<std::string>(*text);
      }
      std::istream_iterator<std::string> end() const { return {}; }
      std::istringstream* text;
    };
    std::istringstream text("a word that is too long for the small buffer: Donaudampfschifffahrt");
    const Words words = {&text};
    auto length = [](Cx cx, const std::string& word) -> Task<size_t> {
      for (int i = 0; i < 5; ++i) co_await OrReturn(Yield(cx));
      co_return word.size();
    };
    EXPECT_EQ(co_await OrReturn(MapReduce(cx, words, 4, length, std::plus<size_t>(), size_t{0})),
              57u);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST(OrderedReducerTest, AnyOrderOfComingGivesTheSameAndHoldsNoMoreThanTheGaps) {
  std::vector<uint64_t> order = {1, 2, 3, 4, 5, 6};
  do {
    auto reduce = Append;
    OrderedReducer<std::string, decltype(reduce)> reducer(reduce, "0");
    std::vector<bool> here(8);
    for (const uint64_t number : order) {
      reducer.Add(number, std::to_string(number));
      here[number] = true;
      size_t runs = 1;
      for (size_t i = 1; i < 7; ++i) runs += here[i] && !here[i - 1] && i > 1 ? 1 : 0;
      EXPECT_EQ(reducer.size(), runs);
    }
    EXPECT_EQ(std::move(reducer).Take(), "0123456");
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(MapReduceDeathTest, NoParallelismIsFatal) {
  EXPECT_DEATH((void)TestRuntime(1).Run([](Cx cx) -> Task<void> {
    const std::vector<int> items = {1};
    auto map = [](Cx, int item) -> Task<int> { co_return item; };
    (void)co_await MapReduce(cx, items, 0, map, std::plus<int>(), 0);
    co_return Ok();
  }),
               "MapReduce\\(cx, range, 0, ...\\) at .*map_reduce_test.cc");
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

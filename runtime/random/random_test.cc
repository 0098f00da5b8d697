#include "quiesce/runtime/random/random.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "absl/random/distributions.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/scheduler/random_source.h"
#include "quiesce/testing/contract/stepped_runtime.h"

namespace quiesce {
namespace {

using ::testing::ElementsAre;

// Gives what the test says.
class Script final : public RandomSource {
 public:
  explicit Script(std::vector<uint64_t> values) : values_(std::move(values)) {}
  uint64_t Next() override { return values_.at(drawn_++); }
  size_t drawn() const { return drawn_; }

 private:
  const std::vector<uint64_t> values_;
  size_t drawn_ = 0;
};

template <class Body>
void WithDice(RandomSource& dice, Body body) {
  contract::SteppedRuntime runtime;
  runtime.services().random = &dice;
  runtime.Start([&](Cx cx) -> Task<void> {
    body(cx);
    co_return Ok();
  });
  runtime.RunUntilIdle();
  runtime.Finish();
}

std::vector<uint64_t> DrawTen(const RuntimeOptions& options) {
  auto runtime = Runtime::Create(options).value();
  std::vector<uint64_t> drawn;
  (void)runtime->BlockOn([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 10; ++i) drawn.push_back(RandomU64(cx));
    co_return Ok();
  });
  return drawn;
}

// As in README.md.
Task<std::string> Pick(CxWith<cap::Random> cx, std::vector<std::string> servers) {
  if (RandomBelow(cx, 100) < 5) co_return "canary";  // one in twenty
  RandomBits bits(cx);
  std::shuffle(servers.begin(), servers.end(), bits);  // and absl's and std's distributions
  co_return servers.front();
}

TEST(RandomTest, ExampleOfThePagePicksEachServerAndSometimesTheCanary) {
  auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(1).WithSeed(7)).value();
  std::map<std::string, int> picked;
  Outcome<void> root = runtime->BlockOn([&](Cx cx) -> Task<void> {
    const std::vector<std::string> servers = {"a", "b"};
    for (int i = 0; i < 1000; ++i) ++picked[co_await OrReturn(Pick(cx, servers))];
    co_return Ok();
  });
  EXPECT_TRUE(root.ok());
  EXPECT_EQ(picked.size(), 3u);
  EXPECT_GT(picked["canary"], 25);
  EXPECT_LT(picked["canary"], 100);
  EXPECT_GT(picked["a"], 400);
  EXPECT_GT(picked["b"], 400);
}

TEST(RandomTest, ARuntimeWithASeedDrawsTheSameAgain) {
  const auto options = RuntimeOptions().WithWorkers(1);
  const std::vector<uint64_t> seven = DrawTen(RuntimeOptions(options).WithSeed(7));
  EXPECT_EQ(seven, DrawTen(RuntimeOptions(options).WithSeed(7)));
  EXPECT_NE(seven, DrawTen(RuntimeOptions(options).WithSeed(8)));
  EXPECT_NE(DrawTen(options), DrawTen(options));
}

TEST(RandomTest, TasksOnTwoWorkersMayDrawAtOnce) {
  auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(2)).value();
  Outcome<void> root = runtime->BlockOn([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 64; ++i) {
      cx.Spawn("draw", [](CxWith<cap::Random> cx) -> Task<void> {
        for (int k = 0; k < 1000; ++k) (void)RandomU64(cx);
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_TRUE(root.ok());
}

TEST(RandomBelowTest, DrawsEachValueAboutEquallyOften) {
  contract::SteppedRuntime runtime;
  std::vector<int> counts(7);
  runtime.Start([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 70'000; ++i) ++counts[RandomBelow(cx, 7)];
    co_return Ok();
  });
  runtime.RunUntilIdle();
  runtime.Finish();
  for (const int count : counts) {  // the runtime is seeded: this does not change
    EXPECT_GT(count, 9'700);
    EXPECT_LT(count, 10'300);
  }
}

TEST(RandomBelowTest, RejectsTheDrawsThatWouldFavourSomeValues) {
  // With 3 as a bound 2^64 mod 3 = 1 draw is too many: 0. The others are kept.
  Script zero_first({0, 1, ~uint64_t{0}, uint64_t{1} << 63});
  WithDice(zero_first, [](Cx cx) {
    EXPECT_EQ(RandomBelow(cx, 3), 0u);  // of the 1
    EXPECT_EQ(RandomBelow(cx, 3), 2u);
    EXPECT_EQ(RandomBelow(cx, 3), 1u);
  });
  EXPECT_EQ(zero_first.drawn(), 4u);
}

TEST(RandomBelowTest, TakesBoundsOfAnySize) {
  Script dice({12345, 12345, ~uint64_t{0}, uint64_t{1} << 63});
  WithDice(dice, [](Cx cx) {
    EXPECT_EQ(RandomBelow(cx, 1), 0u);
    EXPECT_EQ(RandomBelow(cx, uint64_t{1} << 32), 0u);
    EXPECT_EQ(RandomBelow(cx, ~uint64_t{0}), ~uint64_t{0} - 1);
    EXPECT_EQ(RandomBelow(cx, uint64_t{1} << 63), uint64_t{1} << 62);
  });
}

TEST(RandomBelowDeathTest, ThereIsNoNumberBelowZero) {
  Script dice({1});
  EXPECT_DEATH(WithDice(dice, [](Cx cx) { (void)RandomBelow(cx, 0); }),
               "RandomBelow\\(cx, 0\\) at .*random_test.cc.*must be positive");
}

TEST(RandomDoubleTest, IsAtLeastZeroAndLessThanOne) {
  Script dice({0, uint64_t{1} << 63, ~uint64_t{0}});
  WithDice(dice, [](Cx cx) {
    EXPECT_EQ(RandomDouble(cx), 0.0);
    EXPECT_EQ(RandomDouble(cx), 0.5);
    EXPECT_EQ(RandomDouble(cx), 1.0 - 0x1p-53);
  });
}

TEST(RandomBitsTest, ServesShuffleAndDistributions) {
  contract::SteppedRuntime runtime;
  runtime.Start([&](Cx cx) -> Task<void> {
    RandomBits bits(cx);
    std::vector<int> numbers(100);
    std::iota(numbers.begin(), numbers.end(), 0);
    std::shuffle(numbers.begin(), numbers.end(), bits);
    EXPECT_FALSE(std::is_sorted(numbers.begin(), numbers.end()));
    std::set<int> rolled;
    for (int i = 0; i < 1000; ++i) rolled.insert(absl::Uniform(absl::IntervalClosed, bits, 1, 3));
    EXPECT_THAT(rolled, ElementsAre(1, 2, 3));
    co_return Ok();
  });
  runtime.RunUntilIdle();
  runtime.Finish();
}

}  // namespace
}  // namespace quiesce

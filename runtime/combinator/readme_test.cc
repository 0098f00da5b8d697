// The example of README.md, word for word, and what it promises.
#include <atomic>
#include <string>

#include "quiesce/runtime/combinator/first_ok.h"
#include "quiesce/runtime/combinator/hedge.h"
#include "quiesce/runtime/combinator/timeout.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

std::atomic<int> alive{0};

Task<int> Ask(Cx cx, int attempt, const std::string& item) {
  Witness witness(&alive);
  if (attempt < 2) co_await OrReturn(Forever(cx));  // slow shops
  co_return static_cast<int>(item.size());
}
Task<int> Lookup(Cx, const std::string&) { co_return absl::NotFoundError("not in the cache"); }

Task<int> Price(Cx cx, std::string item) {
  auto shop = [&](Cx cx, int attempt) { return Ask(cx, attempt, item); };
  auto hedged = [&](Cx cx) { return Hedge(cx, absl::Milliseconds(20), shop, /*max_attempts=*/3); };
  auto cached = [&](Cx cx) { return Lookup(cx, item); };
  auto either = [&](Cx cx) -> Task<int> {
    co_return (co_await OrReturn(FirstOk(cx, cached, hedged))).value;
  };
  co_return co_await Timeout(cx, absl::Seconds(2), either);
}

TEST(CombinatorReadmeTest, ThirdShopAnswersAndNothingIsLeft) {
  TestRuntime rt;
  Outcome<int> price = rt.Run([](Cx cx) -> Task<int> { return Price(cx, "tea"); });
  EXPECT_THAT(price, IsOk());
  if (price.ok()) {
    EXPECT_EQ(*price, 3);
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

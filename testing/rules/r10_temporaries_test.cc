// R10: g++ 12 destroys aggregate temporaries of a co_await expression twice, so awaiters and arguments are none.
#include <atomic>
#include <type_traits>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

template <class... T>
inline constexpr bool kSafe =
    (... && (!std::is_aggregate_v<T> || std::is_trivially_destructible_v<T>));
static_assert(kSafe<TaskAwait<int>, TaskOrReturn<int>, OutcomeOrReturn<int>,
                    WaitOrReturn<SleepWait>, SleepWait, YieldWait, JoinWait<int>, PassWait>,
              "an awaiter has a constructor (R10)");
static_assert(kSafe<Budget, RegionPolicy, RegionOptions, SpawnName, CancelReason, Panic,
                    Outcome<int>, Task<int>, TaskHandle<int>>,
              "an argument has a constructor (R10)");

TEST(TemporariesTest, OfACoAwaitExpressionAreDestroyedOnce) {
  TestRuntime rt;
  std::atomic<int> alive{0};
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto callee = [](Cx cx, Witness) -> Task<void> { co_return co_await Yield(cx); };
    co_await OrReturn(callee(cx, Witness(&alive)));
    EXPECT_EQ(alive, 0);
    auto child = co_await OrReturn(cx.SpawnWhenAdmitted("child", callee, Witness(&alive)));
    (void)co_await OrReturn(child.Join(cx));
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

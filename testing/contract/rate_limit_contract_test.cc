// The contract (wait_contract.h) for RateLimit::Acquire, as the first in line and as the second.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/combinator/rate_limit.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

// The bucket is empty at the start, and the wait's token falls due after the millisecond of the grant.
struct RateLimitContract : WaitContractDefaults {
  static constexpr bool kGrantMovesTime = true;
  explicit RateLimitContract(SteppedRuntime& runtime)
      : runtime(runtime), until(runtime.Now() + absl::Milliseconds(1)) {}
  Task<void> SetUp(Cx cx) {
    if (!limit.TryAcquire(cx)) co_return Panic("the bucket is not full at first");
    co_return Ok();
  }
  auto Start(const Cx& cx) {
    waiting.emplace(cx);
    return limit.Acquire(cx);
  }
  void Grant() { runtime.AdvanceTo(until); }
  std::string CheckValue(Outcome<void>&) { return runtime.Now() >= until ? "" : "came too early"; }
  std::string CheckState(bool ok, bool) {
    if (limit.waiting() != 0) return "a waiter is left in the line";
    // What has fallen due since then, when the clock has moved on.
    const int64_t later = std::max<int64_t>((runtime.Now() - until) / absl::Milliseconds(1), 0);
    const int64_t available = limit.available(*waiting);
    if (ok) return available <= later ? "" : "no token was taken";
    const int64_t expected = runtime.Now() >= until ? 1 : 0;
    return available == expected ? "" : absl::StrCat(available, " tokens, not ", expected);
  }
  SteppedRuntime& runtime;
  const Instant until;
  RateLimit limit{1, absl::Milliseconds(1), 1};
  std::optional<Cx> waiting;
};
INSTANTIATE_TYPED_TEST_SUITE_P(RateLimit, WaitContract, RateLimitContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectRateLimit, WaitContract, SelectContract<RateLimitContract>);

// Another task stands before it, whose token falls due at half of the time; it has to go first.
struct SecondInLineContract : RateLimitContract {
  static constexpr bool kGrantIsImmediate = false;
  using RateLimitContract::RateLimitContract;
  Task<void> SetUp(Cx cx) {
    if (!limit.TryAcquire(cx)) co_return Panic("the bucket is not full at first");
    cx.Spawn("first", [this](Cx cx) -> Task<void> {
      co_await OrReturn(limit.Acquire(cx));
      first_served = true;
      co_return Ok();
    });
    while (limit.waiting() == 0) co_await OrReturn(Yield(cx));
    co_return Ok();
  }
  auto Start(const Cx& cx) { return limit.Acquire(cx); }
  std::string CheckValue(Outcome<void>& got) {
    if (limit.waiting() != 0) return "overtook the first in line";
    return RateLimitContract::CheckValue(got);
  }
  std::string CheckState(bool, bool) {
    return limit.waiting() == (first_served ? 0 : 1) ? "" : "the line is not as it was";
  }
  RateLimit limit{2, absl::Milliseconds(1), 1};
  std::atomic<bool> first_served{false};
};
INSTANTIATE_TYPED_TEST_SUITE_P(RateLimitSecond, WaitContract, SecondInLineContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectRateLimitSecond, WaitContract,
                               SelectContract<SecondInLineContract>);

}  // namespace
}  // namespace quiesce::contract

// timeout.h: something that must not take longer than so long.
//
// Why:        a timeout that abandons what it waited for leaves it running. This one stops it and waits until
//             it has stopped.
// Example:    auto ask = [&](Cx cx) { return Ask(cx, question); };
//             Answer answer = co_await OrReturn(Timeout(cx, absl::Seconds(2), ask));
#ifndef QUIESCE_RUNTIME_COMBINATOR_TIMEOUT_H_
#define QUIESCE_RUNTIME_COMBINATOR_TIMEOUT_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

// Was it the deadline of that region, and nothing else?
bool EndedByDeadlineOf(uint64_t region, const CancelReason& reason);
absl::Status TimedOut(absl::Duration duration, const char* file, uint32_t line,
                      const CancelReason& reason);

// F: a reference, or trivially destructible.
template <class T, class CxType, class F>
Task<T> RunTimeout(CxType cx, F callable, absl::Duration duration, RegionOptions options,
                   const char* file, uint32_t line) {
  uint64_t region = 0;
  auto body = [&](CxType cx) {
    region = cx.region()->id;
    return callable(cx);
  };
  Outcome<T> ended = co_await RunBody(cx, "timeout", body, FailFast(), options);
  if (ended.is_cancelled() && EndedByDeadlineOf(region, ended.cancel_reason())) {
    co_return TimedOut(duration, file, line, ended.cancel_reason());
  }
  co_return ended;
}

}  // namespace combinator_internal

// Runs callable(cx), as part of the calling task, in a region whose deadline is `duration` from now.
// Returns  the outcome of the callable, joined with those of what it has spawned (R1). A Cancelled of its own stays
//          one, also without a value. But Error(kDeadlineExceeded) where that would be Cancelled by this very
//          deadline. To the caller a thing that takes too long has failed, as one that fails by itself: it
//          was not the caller who was told to stop. A cancel of the caller, and an earlier deadline
//          around it, stay Cancelled. What ends Ok although the time has passed gives its value.
//          Cancelled, having started nothing, if an ordinary wait of `cx` would fail.
// Suspends until the callable and all it has spawned have ended (G9): `duration`, and then the drain.
// Cancel   safe: forwarded.
// Errors   a negative duration is fatal; InfiniteDuration is no limit.
// Callables: a named one stays where it is and must outlive the await; one that is not trivially
//          destructible must be named (R10).
template <class CxType, class F>
auto Timeout(const CxType& cx, absl::Duration duration, F&& callable,
             const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE()) {
  using namespace combinator_internal;  // NOLINT: of this function only
  CheckArguments<F>();
  static_assert(cx_internal::kHasSpawn<CxType>, "Timeout needs a Cx with cap::Spawn");
  const Budget budget = Budget::Timeout(duration, file, static_cast<int>(line));
  return RunTimeout<BranchValue<F, CxType>, CxType, F>(
      cx, std::forward<F>(callable), duration, RegionOptions().WithBudget(budget), file, line);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_TIMEOUT_H_

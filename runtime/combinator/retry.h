// retry.h: the same thing again, later, if it has failed in a way that may pass.
//
// Why:        a loop of one's own retries what will never succeed, all clients at the same moment, and on after
//             its caller has given up. This one waits a random time that grows, and never past the deadline.
// Example:    auto ask = [&](Cx cx) { return Ask(cx, question); };
//             auto attempt = [&](Cx cx) { return Timeout(cx, absl::Seconds(2), ask); };
//             Answer answer = co_await OrReturn(Retry(cx, RetryPolicy().WithMaxAttempts(4), attempt));
// Invariants: (1) attempts do not overlap: each has a region of its own, and what it has spawned has ended before
//                 the back-off begins (G9);
//             (2) it does not sleep if the deadline of the Cx would come first: it fails at once instead.
// Not for:    what must not happen twice. An attempt that failed may have had its effect: kUnavailable and
//             kDeadlineExceeded do not say. Make it idempotent, or leave those codes out.
// Source:     M. Brooker: Exponential Backoff And Jitter. AWS Architecture Blog, 2015 ("full jitter").
#ifndef QUIESCE_RUNTIME_COMBINATOR_RETRY_H_
#define QUIESCE_RUNTIME_COMBINATOR_RETRY_H_

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/status_codes.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/time/sleep.h"

namespace quiesce {
inline namespace v0 {

// How often, how soon, and after which errors. A plain value.
class RetryPolicy {
 public:
  static constexpr int64_t kUnlimited = INT64_MAX;

  // 5 attempts; up to 100 ms before the second, twice as much before each further one, at most 30 s.
  RetryPolicy() = default;

  // At least 1, which is no retry at all; kUnlimited leaves it to the deadline and to cancels.
  RetryPolicy& WithMaxAttempts(int64_t attempts, const char* file = __builtin_FILE(),
                               int line = __builtin_LINE());
  // The pause before attempt k + 1 is a random one of [0, min(most, first * growth^(k - 1))), each as likely as
  // any other. Zero for both: no pause. Fatal: a negative duration, first > most, growth < 1.
  RetryPolicy& WithBackoff(absl::Duration first, absl::Duration most, double growth = 2.0,
                           const char* file = __builtin_FILE(), int line = __builtin_LINE());
  // Of which code an Error must be to be retried. Default: kUnavailable, kResourceExhausted, kAborted and
  // kDeadlineExceeded (of something below, say of a Timeout: a deadline of the Cx is a cancel, no Error).
  RetryPolicy& WithRetried(StatusCodes codes) {
    retried_ = codes;
    return *this;
  }
  // What each attempt, the first too, takes from the cost quotas (Cx::Charge). Not negative.
  RetryPolicy& WithCostPerAttempt(int64_t cost, const char* file = __builtin_FILE(),
                                  int line = __builtin_LINE());

  int64_t max_attempts() const { return max_attempts_; }
  const StatusCodes& retried() const { return retried_; }
  int64_t cost_per_attempt() const { return cost_per_attempt_; }
  // The upper bound of the pause after `attempt` attempts, from 1.
  absl::Duration BackoffAfter(int64_t attempt) const;

 private:
  int64_t max_attempts_ = 5;
  absl::Duration first_ = absl::Milliseconds(100);
  absl::Duration most_ = absl::Seconds(30);
  double growth_ = 2.0;
  StatusCodes retried_ = {absl::StatusCode::kUnavailable, absl::StatusCode::kResourceExhausted,
                          absl::StatusCode::kAborted, absl::StatusCode::kDeadlineExceeded};
  int64_t cost_per_attempt_ = 0;
};

namespace combinator_internal {

// Attempt number `attempt` has ended with `error`: when does the next begin? Nullopt if there is none; `error`
// then says why, and how many there were.
std::optional<Instant> NextAttempt(CxWith<cap::Time, cap::Random> cx, const RetryPolicy& policy,
                                   int64_t attempt, const char* file, uint32_t line,
                                   absl::Status& error);

// F: a reference, or trivially destructible.
template <class T, class CxType, class F>
Task<T> RunRetry(CxType cx, RetryPolicy policy, F callable, const char* file, uint32_t line) {
  for (int64_t attempt = 1;; ++attempt) {
    cx.Charge(policy.cost_per_attempt());
    Outcome<T> ended = co_await RunBody(cx, "retry attempt", callable, FailFast());
    if (!ended.is_error()) co_return ended;
    absl::Status error = ended.error();
    const std::optional<Instant> next = NextAttempt(cx, policy, attempt, file, line, error);
    if (!next.has_value()) co_return error;
    co_await OrReturn(SleepUntil(cx, *next));
  }
}

}  // namespace combinator_internal

// Runs callable(cx), as part of the calling task, in a region of its own for each attempt, until one does not
// end with an Error that `policy` retries.
// Returns  the outcome of the last attempt: Ok; an Error, with its code and payloads, whose message also says
//          how many attempts were made and why there is no further one ("no time for attempt 3"); a
//          Panic, which is never retried. Cancelled, at once, if the task is, or if an attempt ends so by itself,
//          with or without a value: that it came to nothing is neither an Ok nor an Error that may pass.
// Suspends as the attempts do, and for the pauses between them. A checkpoint.
// Cancel   safe: forwarded to the attempt that runs, and ends a pause.
// Needs    cap::Spawn, cap::Time and cap::Random.
// Callables: a named one stays where it is and must outlive the await; one that is not trivially
//          destructible must be named (R10).
template <class CxType, class F>
auto Retry(const CxType& cx, const RetryPolicy& policy, F&& callable,
           const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE()) {
  using namespace combinator_internal;  // NOLINT: of this function only
  CheckArguments<F>();
  static_assert(cx_internal::kHasSpawn<CxType>, "Retry needs a Cx with cap::Spawn");
  return RunRetry<BranchValue<F, CxType>, CxType, F>(cx, policy, std::forward<F>(callable), file,
                                                     line);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_RETRY_H_

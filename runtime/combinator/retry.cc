#include "quiesce/runtime/combinator/retry.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/random/random.h"

namespace quiesce {
inline namespace v0 {

RetryPolicy& RetryPolicy::WithMaxAttempts(int64_t attempts, const char* file, int line) {
  if (attempts < 1) {
    Fatal("RetryPolicy::WithMaxAttempts(%" PRId64
          ") at %s:%d: there is at least one attempt; 1 retries nothing",
          attempts, file, line);
  }
  max_attempts_ = attempts;
  return *this;
}

RetryPolicy& RetryPolicy::WithCostPerAttempt(int64_t cost, const char* file, int line) {
  if (cost < 0) {
    Fatal("RetryPolicy::WithCostPerAttempt(%" PRId64
          ") at %s:%d: a cost cannot be negative; a quota is never given back",
          cost, file, line);
  }
  cost_per_attempt_ = cost;
  return *this;
}

RetryPolicy& RetryPolicy::WithBackoff(absl::Duration first, absl::Duration most, double growth,
                                      const char* file, int line) {
  if (first < absl::ZeroDuration() || first > most || !(growth >= 1.0)) {
    Fatal(
        "RetryPolicy::WithBackoff(%s, %s, %g) at %s:%d: it must be 0 <= first <= most, and growth "
        ">= 1",
        absl::FormatDuration(first).c_str(), absl::FormatDuration(most).c_str(), growth, file,
        line);
  }
  first_ = first;
  most_ = most;
  growth_ = growth;
  return *this;
}

absl::Duration RetryPolicy::BackoffAfter(int64_t attempt) const {
  if (first_ == absl::ZeroDuration()) return first_;  // of which an infinite multiple is none
  return std::min(most_, first_ * std::pow(growth_, static_cast<double>(attempt - 1)));
}

namespace combinator_internal {
namespace {

std::string Because(CxWith<cap::Time, cap::Random> cx, const RetryPolicy& policy, int64_t attempt,
                    const absl::Status& error, Instant now, std::optional<Instant>& next) {
  if (!policy.retried().Contains(error)) {
    return absl::StrCat(absl::StatusCodeToString(error.code()), " is not retried");
  }
  if (attempt >= policy.max_attempts()) return "the last that the policy allows";
  const absl::Duration pause = policy.BackoffAfter(attempt) * RandomDouble(cx);
  if (now + pause < cx.deadline() || cx.deadline().is_infinite()) {
    next = now + pause;
    return "";
  }
  const absl::Duration left = std::max(cx.deadline() - now, absl::ZeroDuration());
  return absl::StrCat("no time for attempt ", attempt + 1, ": it would begin in ",
                      absl::FormatDuration(pause), ", and the deadline is in ",
                      absl::FormatDuration(left));
}

}  // namespace

std::optional<Instant> NextAttempt(CxWith<cap::Time, cap::Random> cx, const RetryPolicy& policy,
                                   int64_t attempt, const char* file, uint32_t line,
                                   absl::Status& error) {
  std::optional<Instant> next;
  const std::string because = Because(cx, policy, attempt, error, cx.Now(), next);
  if (next.has_value()) return next;
  absl::Status last(error.code(), absl::StrCat(error.message(), " (Retry at ", file, ":", line,
                                               ", attempt ", attempt, ": ", because, ")"));
  error.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { last.SetPayload(type, payload); });
  error = std::move(last);
  return std::nullopt;
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

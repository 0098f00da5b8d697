#include "quiesce/runtime/budget/budget.h"

#include <algorithm>
#include <cinttypes>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {

Budget Budget::WithTimeout(absl::Duration timeout, const char* file, int line) const {
  if (timeout < absl::ZeroDuration()) {
    Fatal(
        "a budget's timeout of %s at %s:%d is negative. Pass absl::ZeroDuration() for a budget "
        "that "
        "ends at once, or use Budget::Deadline, whose instant may have passed.",
        absl::FormatDuration(timeout).c_str(), file, line);
  }
  Budget budget = *this;
  budget.timeout_ = timeout;
  return budget;
}

Budget Budget::WithDeadline(Instant deadline) const {
  Budget budget = *this;
  budget.deadline_ = deadline;
  return budget;
}

Budget Budget::WithPolls(int64_t polls, const char* file, int line) const {
  if (polls < 0) {
    Fatal("a budget's poll quota of %" PRId64
          " at %s:%d is negative. Pass 0 for a budget that is "
          "spent at once, or Budget::kUnlimited.",
          polls, file, line);
  }
  Budget budget = *this;
  budget.polls_ = polls;
  return budget;
}

Budget Budget::WithCost(int64_t cost, const char* file, int line) const {
  if (cost < 0) {
    Fatal("a budget's cost quota of %" PRId64
          " at %s:%d is negative. Pass 0 for a budget that is "
          "spent at once, or Budget::kUnlimited.",
          cost, file, line);
  }
  Budget budget = *this;
  budget.cost_ = cost;
  return budget;
}

Budget Budget::Resolve(Instant now) const {
  if (timeout_ == absl::InfiniteDuration()) return *this;
  Budget budget = *this;
  budget.deadline_ = std::min(deadline_, now + timeout_);
  budget.timeout_ = absl::InfiniteDuration();
  return budget;
}

std::string Budget::ToString() const {
  std::string text;
  const auto field = [&text](const char* name, const auto& value) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", name, " ", value);
  };
  if (deadline_ != Instant::InfiniteFuture()) field("deadline", deadline_.ToString());
  if (timeout_ != absl::InfiniteDuration()) field("timeout", absl::FormatDuration(timeout_));
  if (polls_ != kUnlimited) field("polls", polls_);
  if (cost_ != kUnlimited) field("cost", cost_);
  return text.empty() ? "unlimited" : text;
}

Budget Meet(const Budget& left, const Budget& right) {
  Budget budget;
  budget.deadline_ = std::min(left.deadline_, right.deadline_);
  budget.timeout_ = std::min(left.timeout_, right.timeout_);
  budget.polls_ = std::min(left.polls_, right.polls_);
  budget.cost_ = std::min(left.cost_, right.cost_);
  return budget;
}

}  // namespace v0
}  // namespace quiesce

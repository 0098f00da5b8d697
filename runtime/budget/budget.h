// budget.h: how long, how many steps and how much of anything else a region may use.
//
// Example:    Budget budget = Budget::Timeout(absl::Seconds(5)).WithPolls(10'000);
// Invariants: (1) each field has a value that means "no limit", and a new Budget has only those;
//             (2) Meet is associative, commutative and idempotent, and Unlimited is its unit (G11);
//             (3) Resolve distributes over Meet, so it does not matter which comes first.
// Threads:    a plain value.
#ifndef QUIESCE_RUNTIME_BUDGET_BUDGET_H_
#define QUIESCE_RUNTIME_BUDGET_BUDGET_H_

#include <cstdint>
#include <limits>
#include <string>

#include "absl/time/time.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/budget/instant.h"

namespace quiesce {
inline namespace v0 {

class Budget {
 public:
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  constexpr Budget() = default;
  static constexpr Budget Unlimited() { return Budget(); }

  // A span that starts when a region takes the budget over, on that region's clock. Zero ends at
  // once. A negative one is a bug and fatal; `file` and `line` default to the caller's, for the
  // message.
  static Budget Timeout(absl::Duration timeout, const char* file = __builtin_FILE(),
                        int line = __builtin_LINE()) {
    return Budget().WithTimeout(timeout, file, line);
  }
  // An instant, which may have passed.
  static Budget Deadline(Instant deadline) { return Budget().WithDeadline(deadline); }
  // Resumes of tasks, region-wide. A negative number is fatal.
  static Budget Polls(int64_t polls, const char* file = __builtin_FILE(),
                      int line = __builtin_LINE()) {
    return Budget().WithPolls(polls, file, line);
  }
  // What cx.Charge() counts, region-wide, in units of the user's own. A negative number is fatal.
  static Budget Cost(int64_t cost, const char* file = __builtin_FILE(),
                     int line = __builtin_LINE()) {
    return Budget().WithCost(cost, file, line);
  }

  // The same budget with one field replaced.
  [[nodiscard]] Budget WithTimeout(absl::Duration timeout, const char* file = __builtin_FILE(),
                                   int line = __builtin_LINE()) const;
  [[nodiscard]] Budget WithDeadline(Instant deadline) const;
  [[nodiscard]] Budget WithPolls(int64_t polls, const char* file = __builtin_FILE(),
                                 int line = __builtin_LINE()) const;
  [[nodiscard]] Budget WithCost(int64_t cost, const char* file = __builtin_FILE(),
                                int line = __builtin_LINE()) const;

  constexpr Instant deadline() const { return deadline_; }
  constexpr absl::Duration timeout() const { return timeout_; }
  constexpr int64_t polls() const { return polls_; }
  constexpr int64_t cost() const { return cost_; }
  bool is_unlimited() const { return *this == Unlimited(); }

  // The timeout becomes a deadline, the earlier of `now + timeout` and the deadline there is.
  [[nodiscard]] Budget Resolve(Instant now) const;

  // "unlimited", "deadline 12.5s, timeout 5s, polls 100, cost 7".
  std::string ToString() const;

  friend bool operator==(const Budget& left, const Budget& right) {
    return left.deadline_ == right.deadline_ && left.timeout_ == right.timeout_ &&
           left.polls_ == right.polls_ && left.cost_ == right.cost_;
  }

 private:
  friend Budget Meet(const Budget& left, const Budget& right);

  Instant deadline_ = Instant::InfiniteFuture();
  absl::Duration timeout_ = absl::InfiniteDuration();
  int64_t polls_ = kUnlimited;
  int64_t cost_ = kUnlimited;
};

// The minimum of each field: what may be used under both.
Budget Meet(const Budget& left, const Budget& right);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BUDGET_BUDGET_H_

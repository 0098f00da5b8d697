// quorum.h: several things at once, of which so many have to work.
//
// Why:        a write to three replicas is done when two have it; the third shall not be waited for, nor go
//             on by itself.
// Example:    std::vector<Winner<Ack>> acks = co_await OrReturn(Quorum(cx, 2, writes));
#ifndef QUIESCE_RUNTIME_COMBINATOR_QUORUM_H_
#define QUIESCE_RUNTIME_COMBINATOR_QUORUM_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "quiesce/runtime/combinator/branch_set.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/failures.h"

namespace quiesce {
inline namespace v0 {

// How many, and where that was asked for. Made of a number.
struct QuorumSize {
  QuorumSize(int64_t count, const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE())
      : count(count), file(file), line(line) {}
  int64_t count;
  const char* file;
  uint32_t line;
};

namespace combinator_internal {

// Not OK if so many of `branches` cannot be asked for.
absl::Status CheckQuorum(const QuorumSize& wanted, size_t branches);

// The first `wanted` that ended Ok, in the order of their ends; or the failures that came before it was clear that
// there cannot be so many.
class QuorumRule {
 public:
  static constexpr SpawnName kName = "quorum";
  static constexpr SpawnName kBranch = "quorum branch";
  template <class Branches>
  using Result = std::vector<typename Branches::Winner>;

  QuorumRule(size_t branches, size_t wanted)
      : wanted_(wanted), may_fail_(branches - wanted), oks_in_order_(wanted), failed_(branches) {}
  QuorumRule(QuorumRule&& other)
      : wanted_(other.wanted_),
        may_fail_(other.may_fail_),
        oks_in_order_(std::move(other.oks_in_order_)),
        failed_(std::move(other.failed_)) {}

  bool Ended(size_t index, Severity severity, bool) {
    if (severity == Severity::kOk) {
      const size_t before = oks_.fetch_add(1, std::memory_order_relaxed);
      if (before < wanted_) oks_in_order_[before] = index;
      return before + 1 == wanted_ && Decide(kReached);
    }
    failed_[index] = decision_.load(std::memory_order_relaxed) == kOpen;
    const bool too_many = failures_.fetch_add(1, std::memory_order_relaxed) >= may_fail_;
    return (too_many || severity == Severity::kPanicked) && Decide(kMissed);
  }
  template <class Branches>
  Outcome<Result<Branches>> Take(Branches& branches) {
    if (decision_.load(std::memory_order_relaxed) == kReached) {
      Result<Branches> winners;
      winners.reserve(wanted_);
      for (size_t index : oks_in_order_) winners.push_back(branches.Take(index).value());
      return winners;
    }
    Failures failures;
    for (size_t i = 0; i < failed_.size(); ++i) {
      if (failed_[i]) failures.Add(i, branches.Take(i));
    }
    return Outcome<Result<Branches>>::FromFailure(std::move(failures).Joined("Quorum"));
  }
  template <class T>
  static Outcome<T> Finish(Outcome<T> taken, Outcome<void> joined) {
    return JoinPanics(std::move(taken), std::move(joined));
  }

 private:
  enum Decision : uint8_t { kOpen, kReached, kMissed };
  bool Decide(Decision decision) {
    uint8_t open = kOpen;
    return decision_.compare_exchange_strong(open, decision, std::memory_order_relaxed);
  }

  const size_t wanted_;
  const size_t may_fail_;
  std::atomic<size_t> oks_{0};
  std::atomic<size_t> failures_{0};
  std::atomic<uint8_t> decision_{kOpen};
  // Each place is written by the end of one branch, and read once all have ended.
  std::vector<size_t> oks_in_order_;
  std::vector<uint8_t> failed_;
};

template <class CxType, class Branches>
auto RunQuorum(const CxType& cx, const QuorumSize& wanted, Branches branches) {
  const size_t size = branches.size();
  const auto count = static_cast<size_t>(wanted.count);
  return RunBranches(cx, std::move(branches), QuorumRule(size, count), OnlyPanics());
}

}  // namespace combinator_internal

// Runs all branches at once in one region, as Race does, until `wanted` of them have ended Ok, or so many
// cannot any more. All else in the region is then cancelled with kRaceLost, as by Race.
// Returns  Ok(std::vector of the first `wanted` values with their indices, in the order of their ends), joined
//          with the losers' Panics. If they cannot be had: the failures so far, joined as by FirstOk.
//          Cancelled, having started nothing, if an ordinary wait of `cx` would fail.
// Suspends until every branch has ended (G9).
// Cancel   safe: forwarded to the branches. If enough end Ok nevertheless, the outcome is Ok.
// Errors   kInvalidArgument unless 1 <= wanted <= the number of branches.
// Callables: as for JoinAll, all with the same T.
template <class CxType, class... F>
  requires(sizeof...(F) != 1 || (... && !combinator_internal::BranchRange<F, CxType>))
auto Quorum(const CxType& cx, QuorumSize wanted, F&&... branches) {
  using namespace combinator_internal;  // NOLINT: of this function only
  static_assert(sizeof...(F) > 0, "Quorum(cx, m) of nothing can never be Ok: pass branches");
  CheckArguments<F...>();
  using Branches = FixedBranches<CxType, F...>;
  static_assert(kIsWinner<typename Branches::Winner>,
                "Quorum: all branches must give the same T; let them return a common type");
  absl::Status possible = CheckQuorum(wanted, sizeof...(F));
  if (!possible.ok()) return Refuse<QuorumRule::Result<Branches>>(std::move(possible));
  return RunQuorum(cx, wanted, Branches(std::forward<F>(branches)...));
}

// The same for a container of callables of one type, or a view of one.
template <class CxType, combinator_internal::BranchRange<CxType> R>
auto Quorum(const CxType& cx, QuorumSize wanted, R&& branches) {
  using namespace combinator_internal;  // NOLINT
  CheckArguments<R>();
  using Branches = RangeBranches<CxType, R>;
  absl::Status possible = CheckQuorum(wanted, std::size(branches));
  if (!possible.ok()) return Refuse<QuorumRule::Result<Branches>>(std::move(possible));
  return RunQuorum(cx, wanted, Branches(std::forward<R>(branches)));
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_QUORUM_H_

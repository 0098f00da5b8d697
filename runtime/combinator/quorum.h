// quorum.h: several things at once, of which so many have to work.
//
// Why:        a write to three replicas is done when two have it; the third shall not be waited for, nor go
//             on by itself.
// Example:    std::vector<Winner<Ack>> acks = co_await OrReturn(Quorum(cx, 2, writes));
#ifndef QUIESCE_RUNTIME_COMBINATOR_QUORUM_H_
#define QUIESCE_RUNTIME_COMBINATOR_QUORUM_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/failures.h"
#include "quiesce/runtime/combinator/winner.h"
#include "quiesce/runtime/task/silent_end.h"

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

template <class CxType, class Branches>
class QuorumBody {
 public:
  using Winners = std::vector<typename Branches::Winner>;
  QuorumBody(Branches branches, size_t wanted) : branches_(std::move(branches)), wanted_(wanted) {}

  Task<Winners> operator()(CxType cx) {
    branches_.Start(cx);
    Winners winners;
    winners.reserve(wanted_);
    Failures failures;
    for (size_t left = branches_.size(); winners.size() + left >= wanted_; --left) {
      const Branch* branch = co_await OrReturn(EndedWait(cx, &branches_.ended(), 1));
      auto ended = branches_.Take(*branch);
      if (ended.ok()) {
        winners.push_back(std::move(ended).value());
        if (winners.size() < wanted_) continue;
        LoseRest(cx);
        co_return winners;
      }
      const bool panicked = ended.is_panicked();
      failures.Add(branch->index, std::move(ended));
      if (panicked) break;
    }
    LoseRest(cx);
    {
      const SilentEnd silent(true);
      winners.clear();
    }
    co_return Outcome<Winners>::FromFailure(std::move(failures).Joined("Quorum"));
  }

 private:
  Branches branches_;
  size_t wanted_;
};

template <class CxType, class Branches>
auto RunQuorum(const CxType& cx, const QuorumSize& wanted, Branches branches) {
  using Body = QuorumBody<CxType, Branches>;
  absl::Status possible = CheckQuorum(wanted, branches.size());
  if (!possible.ok()) return Refuse<typename Body::Winners>(std::move(possible));
  return RunBody(cx, "quorum", Body(std::move(branches), static_cast<size_t>(wanted.count)),
                 OnlyPanics());
}

}  // namespace combinator_internal

// Runs all branches at once, each in a task of one region, until `wanted` of them have ended Ok, or so many
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
  return RunQuorum(cx, wanted, Branches(std::forward<F>(branches)...));
}

// The same for a container of callables of one type, or a view of one.
template <class CxType, combinator_internal::BranchRange<CxType> R>
auto Quorum(const CxType& cx, QuorumSize wanted, R&& branches) {
  using namespace combinator_internal;  // NOLINT
  CheckArguments<R>();
  return RunQuorum(cx, wanted, RangeBranches<CxType, R>(std::forward<R>(branches)));
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_QUORUM_H_

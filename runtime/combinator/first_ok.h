// first_ok.h: several ways to the same thing, of which one has to work.
//
// Why:        a fallback that is tried after the first way has failed comes late; one that runs beside it must
//             be stopped, and waited for, when it is not needed.
// Example:    auto near = [&](Cx cx) { return Lookup(cx, replica[0], key); };
//             auto far = [&](Cx cx) { return Lookup(cx, replica[1], key); };
//             Winner<Row> row = co_await OrReturn(FirstOk(cx, near, far));
#ifndef QUIESCE_RUNTIME_COMBINATOR_FIRST_OK_H_
#define QUIESCE_RUNTIME_COMBINATOR_FIRST_OK_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "quiesce/runtime/combinator/branch_set.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/failures.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

// The first that ended Ok, or by a panic. When the last has failed, what the branches have spawned has lost too.
class FirstOkRule {
 public:
  static constexpr SpawnName kName = "first ok";
  static constexpr SpawnName kBranch = "first-ok branch";
  template <class Branches>
  using Result = typename Branches::Winner;

  explicit FirstOkRule(size_t branches) : branches_(branches) {}
  FirstOkRule(FirstOkRule&& other) : branches_(other.branches_) {}

  bool Ended(size_t index, Severity severity, bool) {
    if (severity != Severity::kOk && severity != Severity::kPanicked) {
      return failures_.fetch_add(1, std::memory_order_relaxed) + 1 == branches_;
    }
    return winner_.Claim(index);
  }
  template <class Branches>
  Outcome<Result<Branches>> Take(Branches& branches) {
    if (winner_.claimed()) return branches.Take(winner_.index());
    Failures failures;
    for (size_t i = 0; i < branches.size(); ++i) failures.Add(i, branches.Take(i));
    return Outcome<Result<Branches>>::FromFailure(std::move(failures).Joined("FirstOk"));
  }
  template <class T>
  static Outcome<T> Finish(Outcome<T> taken, Outcome<void> joined) {
    return JoinPanics(std::move(taken), std::move(joined));
  }

 private:
  const size_t branches_;
  std::atomic<size_t> failures_{0};
  FirstIndex winner_;
};

}  // namespace combinator_internal

// Runs all branches at once in one region, as Race does. The first that ends Ok wins; all else in the
// region is cancelled with kRaceLost, and so is what is left there when the last branch has failed.
// Returns  Ok of the winner's value, in the type that Race would give, joined with the losers' Panics. If none
//          ended Ok: their outcomes joined in the order of the branches; an Error is that of the first
//          branch and its message says how the others ended. A Panic ends it at once.
//          Cancelled, having started nothing, if an ordinary wait of `cx` would fail.
// Suspends until every branch has ended (G9).
// Cancel   safe: forwarded to the branches. One that ends Ok nevertheless wins.
// Callables: as for JoinAll. At least one.
template <class CxType, class... F>
  requires(sizeof...(F) != 1 || (... && !combinator_internal::BranchRange<F, CxType>))
auto FirstOk(const CxType& cx, F&&... branches) {
  using namespace combinator_internal;  // NOLINT: of this function only
  static_assert(sizeof...(F) > 0, "FirstOk(cx) of nothing can never be Ok: pass a branch");
  CheckArguments<F...>();
  return RunBranches(cx, FixedBranches<CxType, F...>(std::forward<F>(branches)...),
                     FirstOkRule(sizeof...(F)), OnlyPanics());
}

// The same for a container of callables of one type, or a view of one: Winner<T>.
// Errors   kInvalidArgument if it is empty.
template <class CxType, combinator_internal::BranchRange<CxType> R>
auto FirstOk(const CxType& cx, R&& branches, const char* file = __builtin_FILE(),
             uint32_t line = __builtin_LINE()) {
  using namespace combinator_internal;  // NOLINT
  CheckArguments<R>();
  using Branches = RangeBranches<CxType, R>;
  if (std::size(branches) == 0) {
    return Refuse<typename Branches::Winner>(NothingToRun("FirstOk", file, line));
  }
  const size_t size = std::size(branches);
  return RunBranches(cx, Branches(std::forward<R>(branches)), FirstOkRule(size), OnlyPanics());
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_FIRST_OK_H_

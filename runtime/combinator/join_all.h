// join_all.h: several things at once, all of which are needed.
//
// Why:        waiting for tasks one by one notices the failure of the last after the success of all others,
//             and leaves some running when it gives up.
// Example:    auto user = [&](Cx cx) { return FetchUser(cx, id); };
//             auto cart = [&](Cx cx) { return FetchCart(cx, id); };
//             auto [u, c] = co_await OrReturn(JoinAll(cx, user, cart));
#ifndef QUIESCE_RUNTIME_COMBINATOR_JOIN_ALL_H_
#define QUIESCE_RUNTIME_COMBINATOR_JOIN_ALL_H_

#include <cstddef>
#include <iterator>
#include <tuple>
#include <type_traits>
#include <utility>

#include "quiesce/runtime/combinator/branch_set.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/task/silent_end.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

// All of them. The region cancels the rest when one fails.
class JoinAllRule {
 public:
  static constexpr SpawnName kName = "join all";
  static constexpr SpawnName kBranch = "join-all branch";
  template <class Branches>
  using Result = typename Branches::Values;

  bool Ended(size_t, Severity, bool) { return false; }
  template <class Branches>
  Outcome<Result<Branches>> Take(Branches& branches) {
    return branches.TakeAll();
  }
  // What the region joined is in the order of the ends.
  template <class T>
  static Outcome<T> Finish(Outcome<T> taken, Outcome<void> joined) {
    if (joined.ok()) return taken;
    const SilentEnd silent(true);
    taken = Outcome<T>::FromFailure(std::move(joined));
    return taken;
  }
};

// Of nothing, which is a region all the same: it looks at the caller's cancel.
template <class Values, class CxType>
auto JoinNothing(const CxType& cx) {
  return RunBody(
      cx, JoinAllRule::kName,
      [](CxType) -> Task<Values> {
        if constexpr (std::is_void_v<Values>) {
          co_return Ok();
        } else {
          co_return Values();
        }
      },
      FailFast());
}

}  // namespace combinator_internal

// Runs all branches at once in one fail-fast region: the last in the calling task, each of the others in a
// task of its own. An Error or a Panic of one cancels the others.
// Returns  Ok(std::tuple of all values, std::monostate for void) if all ended Ok; else their outcomes, and
//          those of what they have spawned through their Cx, joined (R1: the most severe, the first of
//          these to come). Those that were cancelled by the failure of another do not count. A Cancelled of a
//          branch's own, whose cause lies inside, gives way to any other failure, but it is none of the Oks: alone it
//          is the outcome, also of branches without a value.
//          Cancelled, having started nothing, if an ordinary wait of `cx` would fail. Of nothing: Ok().
// Suspends until every branch has ended, whatever happens (G9).
// Cancel   safe: forwarded to the branches. If they all end Ok nevertheless, the outcome is Ok.
// Callables: callable(cx) returns a Task. One that is named stays where it is and must outlive the await;
//          one that is not trivially destructible must be named (R10).
template <class CxType, class... F>
  requires(sizeof...(F) != 1 || (... && !combinator_internal::BranchRange<F, CxType>))
auto JoinAll(const CxType& cx, F&&... branches) {
  using namespace combinator_internal;  // NOLINT: of this function only
  CheckArguments<F...>();
  if constexpr (sizeof...(F) == 0) {
    return JoinNothing<std::tuple<>>(cx);
  } else {
    return RunBranches(cx, FixedBranches<CxType, F...>(std::forward<F>(branches)...), JoinAllRule(),
                       FailFast());
  }
}

// The same for a container of callables of one type, or a view of one.
// Returns  Ok(std::vector of the values, in the order of the callables), or just Ok() for void; else as above.
template <class CxType, combinator_internal::BranchRange<CxType> R>
auto JoinAll(const CxType& cx, R&& branches) {
  using namespace combinator_internal;  // NOLINT
  CheckArguments<R>();
  using Branches = RangeBranches<CxType, R>;
  if (std::size(branches) == 0) return JoinNothing<typename Branches::Values>(cx);
  return RunBranches(cx, Branches(std::forward<R>(branches)), JoinAllRule(), FailFast());
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_JOIN_ALL_H_

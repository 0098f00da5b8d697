// join_all.h: several things at once, all of which are needed.
//
// Why:        waiting for tasks one by one notices the failure of the last after the success of all others,
//             and leaves some running when it gives up.
// Example:    auto user = [&](Cx cx) { return FetchUser(cx, id); };
//             auto cart = [&](Cx cx) { return FetchCart(cx, id); };
//             auto [u, c] = co_await OrReturn(JoinAll(cx, user, cart));
#ifndef QUIESCE_RUNTIME_COMBINATOR_JOIN_ALL_H_
#define QUIESCE_RUNTIME_COMBINATOR_JOIN_ALL_H_

#include <utility>

#include "quiesce/runtime/combinator/branches.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

template <class CxType, class Branches>
class JoinAllBody {
 public:
  explicit JoinAllBody(Branches branches) : branches_(std::move(branches)) {}
  Task<typename Branches::Values> operator()(CxType cx) {
    branches_.Start(cx);
    (void)co_await EndedWait(cx, &branches_.ended(), branches_.size());
    co_return branches_.TakeAll();
  }

 private:
  Branches branches_;
};

}  // namespace combinator_internal

// Runs all branches at once, each in a task of one fail-fast region: an Error or a Panic of one cancels the
// others.
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
  using Branches = FixedBranches<CxType, F...>;
  return RunBody(cx, "join all",
                 JoinAllBody<CxType, Branches>(Branches(std::forward<F>(branches)...)), FailFast());
}

// The same for a container of callables of one type, or a view of one.
// Returns  Ok(std::vector of the values, in the order of the callables), or just Ok() for void; else as above.
template <class CxType, combinator_internal::BranchRange<CxType> R>
auto JoinAll(const CxType& cx, R&& branches) {
  using namespace combinator_internal;  // NOLINT
  CheckArguments<R>();
  using Branches = RangeBranches<CxType, R>;
  return RunBody(cx, "join all", JoinAllBody<CxType, Branches>(Branches(std::forward<R>(branches))),
                 FailFast());
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_JOIN_ALL_H_

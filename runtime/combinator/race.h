// race.h: several things at once, of which the first to end counts.
//
// Why:        "whichever comes first" leaves the others running, unless somebody stops them and waits
//             until they have stopped.
// Example:    auto answer = [&](Cx cx) { return Ask(cx, question); };
//             auto escape = [&](Cx cx) { return keyboard.WaitForEscape(cx); };
//             std::variant<Answer, Key> first = co_await OrReturn(Race(cx, answer, escape));
#ifndef QUIESCE_RUNTIME_COMBINATOR_RACE_H_
#define QUIESCE_RUNTIME_COMBINATOR_RACE_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "quiesce/runtime/combinator/branch_set.h"
#include "quiesce/runtime/combinator/branches.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

// The first to end by itself, whatever its outcome; if all were stopped, the first of these.
class RaceRule {
 public:
  static constexpr SpawnName kName = "race";
  static constexpr SpawnName kBranch = "race branch";
  template <class Branches>
  using Result = typename Branches::Winner;

  RaceRule() = default;
  RaceRule(RaceRule&&) {}

  bool Ended(size_t index, Severity, bool stopped) {
    if (!stopped) return winner_.Claim(index);
    if (!winner_.claimed()) stopped_.Claim(index);
    return false;
  }
  template <class Branches>
  Outcome<Result<Branches>> Take(Branches& branches) {
    return branches.Take(winner_.claimed() ? winner_.index() : stopped_.index());
  }
  template <class T>
  static Outcome<T> Finish(Outcome<T> taken, Outcome<void> joined) {
    return JoinPanics(std::move(taken), std::move(joined));
  }

 private:
  FirstIndex winner_;
  FirstIndex stopped_;
};

}  // namespace combinator_internal

// Runs all branches at once in one region: the last in the calling task, each of the others in a task of
// its own. The first to end by itself, with whatever outcome, wins; all else in the region is cancelled with kRaceLost: the other branches, and what any of
// them has spawned through its Cx (a branch that needs its tasks opens a region for them).
// Returns  Ok of the winner's value: Winner<T> if all branches have the same T, else a std::variant
//          (std::monostate for void) whose index() is the branch's; or the winner's failure. Joined with
//          the losers' Panics, with nothing else of theirs (R1).
//          Cancelled, having started nothing, if an ordinary wait of `cx` would fail.
// Suspends until every branch has ended (G9).
// Cancel   safe: forwarded to the branches. A branch that is stopped by it does not win: the first that
//          ends otherwise does, and if none, Cancelled.
// Callables: as for JoinAll. At least one.
template <class CxType, class... F>
  requires(sizeof...(F) != 1 || (... && !combinator_internal::BranchRange<F, CxType>))
auto Race(const CxType& cx, F&&... branches) {
  using namespace combinator_internal;  // NOLINT: of this function only
  static_assert(sizeof...(F) > 0, "Race(cx) of nothing would never end: pass a branch");
  CheckArguments<F...>();
  return RunBranches(cx, FixedBranches<CxType, F...>(std::forward<F>(branches)...), RaceRule(),
                     OnlyPanics());
}

// The same for a container of callables of one type, or a view of one: Winner<T>.
// Errors   kInvalidArgument if it is empty.
template <class CxType, combinator_internal::BranchRange<CxType> R>
auto Race(const CxType& cx, R&& branches, const char* file = __builtin_FILE(),
          uint32_t line = __builtin_LINE()) {
  using namespace combinator_internal;  // NOLINT
  CheckArguments<R>();
  using Branches = RangeBranches<CxType, R>;
  if (std::size(branches) == 0) {
    return Refuse<typename Branches::Winner>(NothingToRun("Race", file, line));
  }
  return RunBranches(cx, Branches(std::forward<R>(branches)), RaceRule(), OnlyPanics());
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_RACE_H_

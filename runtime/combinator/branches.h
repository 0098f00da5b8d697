// branches.h: the branches of one combinator: their callables, their tasks, their outcomes. Internal.
//
// A combinator is a body object that Region's Run keeps in its frame until the region has closed. So the callables
// live there, in one place, as long as any branch, and a branch's block holds a pointer to its own (one
// allocation for each branch). A named callable stays where it is.
//
// Invariants: a body is moved only before it runs, when nothing but the callables is in it.
#ifndef QUIESCE_RUNTIME_COMBINATOR_BRANCHES_H_
#define QUIESCE_RUNTIME_COMBINATOR_BRANCHES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "quiesce/runtime/combinator/ended_queue.h"
#include "quiesce/runtime/combinator/winner.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

// --- what may be passed --------------------------------------------------------------------------

// A named callable or container, or one that may be destroyed twice.
template <class F>
inline constexpr bool kSafeArgument =
    std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<F>;

// What the static_asserts of all combinators are about.
template <class... F>
constexpr void CheckArguments() {
  static_assert(
      (... && kSafeArgument<F>),
      "a callable, or a container of callables, that is not trivially destructible must be "
      "a named lvalue: g++ 12 destroys such a temporary twice in a co_await expression "
      "(R10). Write `auto branch = [..](Cx cx) -> Task<..> {..};` and pass `branch`, which "
      "must outlive the await");
}

template <class F, class CxType>
concept BranchCallable = std::is_invocable_v<F&, CxType>;

// Callables in a container, or a view of one, with begin, end and size.
template <class R, class CxType>
concept BranchRange = !BranchCallable<R, CxType> && requires(std::remove_reference_t<R>& range) {
  std::size(range);
  { *std::begin(range) } -> BranchCallable<CxType>;
  std::end(range);
};

// The T of the Task<T> that F makes.
template <class F, class CxType>
using BranchValue = typename spawn_internal::TaskValue<
    std::invoke_result_t<std::remove_reference_t<F>&, CxType>>::type;

// --- what they give ------------------------------------------------------------------------------

template <class T>
using NonVoid = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// All the same T: Winner<T>. Else a variant, whose index() is the branch's.
template <class... T>
struct WinnerOf {
  using type = std::variant<NonVoid<T>...>;
};
template <class T, class... Same>
  requires(std::is_same_v<T, Same> && ...)
struct WinnerOf<T, Same...> {
  using type = Winner<T>;
};

template <class W>
inline constexpr bool kIsWinner = false;
template <class T>
inline constexpr bool kIsWinner<Winner<T>> = true;

template <class T>
Outcome<Winner<T>> AsWinner(size_t index, Outcome<T> outcome) {
  if (!outcome.ok()) return Outcome<Winner<T>>::FromFailure(std::move(outcome));
  if constexpr (std::is_void_v<T>) {
    return Winner<void>(index);
  } else {
    return Winner<T>(index, std::move(outcome).value());
  }
}

template <class T>
NonVoid<T> ValueOf(Outcome<T> outcome) {
  if constexpr (std::is_void_v<T>) {
    outcome.value();
    return std::monostate();
  } else {
    return std::move(outcome).value();
  }
}

template <class T>
void JoinFailure(Outcome<void>& joined, const Outcome<T>& outcome) {
  if (!outcome.ok()) JoinInto(joined, Outcome<void>::FromFailure(outcome));
}

// --- tasks ---------------------------------------------------------------------------------------

// What the task of a branch calls; the callable is the combinator's.
template <class F, class CxType>
struct CallBranch {
  F* callable;
  auto operator()(CxType cx) const { return (*callable)(cx); }
};

template <class CxType, class F>
void StartBranch(const CxType& cx, EndedQueue& ended, Branch& branch, size_t index, F& callable) {
  branch.index = static_cast<uint32_t>(index);
  ended.Add(&branch, cx.Spawn("branch", CallBranch<F, CxType>{&callable}).Release());
}

template <class T>
Outcome<T> TakeBranch(const Branch& branch) {
  return task_handle_internal::TakeResult<T>(branch.task());
}

// The combinator has decided: what is left in its region, the branches and what they have spawned there, has
// lost. `cx`: the body's.
void LoseRest(const CxBase& cx);

// A fixed number of branches, each of a type of its own.
template <class CxType, class... F>
class FixedBranches {
 public:
  using Values = std::tuple<NonVoid<BranchValue<F, CxType>>...>;
  using Winner = typename WinnerOf<BranchValue<F, CxType>...>::type;

  explicit FixedBranches(F&&... callables) : callables_(std::forward<F>(callables)...) {}
  FixedBranches(FixedBranches&& other) : callables_(std::move(other.callables_)) {}

  size_t size() const { return sizeof...(F); }
  EndedQueue& ended() { return ended_; }
  void Start(const CxType& cx) {
    ForEach([&]<size_t i>() { StartBranch(cx, ended_, branches_[i], i, std::get<i>(callables_)); });
  }
  // Precondition of both: the branch has ended; its outcome is taken once.
  Outcome<Winner> Take(const Branch& branch) {
    std::optional<Outcome<Winner>> taken;
    ForEach([&]<size_t i>() {
      if (branch.index == i) taken.emplace(TakeAs<i>());
    });
    return *std::move(taken);
  }
  // All values, or the failures joined.
  Outcome<Values> TakeAll() { return TakeEach(std::index_sequence_for<F...>()); }

 private:
  template <size_t i>
  using Value = BranchValue<std::tuple_element_t<i, std::tuple<F...>>, CxType>;

  template <class Action>
  void ForEach(Action action) {
    [&]<size_t... i>(std::index_sequence<i...>) {
      (action.template operator()<i>(), ...);
    }(std::index_sequence_for<F...>());
  }
  template <size_t i>
  Outcome<Winner> TakeAs() {
    Outcome<Value<i>> outcome = TakeBranch<Value<i>>(branches_[i]);
    if constexpr (std::is_same_v<Winner, quiesce::Winner<Value<i>>>) {
      return AsWinner(i, std::move(outcome));
    } else {
      if (!outcome.ok()) return Outcome<Winner>::FromFailure(std::move(outcome));
      return Winner(std::in_place_index<i>, ValueOf(std::move(outcome)));
    }
  }
  template <size_t... i>
  Outcome<Values> TakeEach(std::index_sequence<i...>) {
    std::optional<SilentEnd> silent;  // the values that nobody gets, if one has failed
    [[maybe_unused]] std::tuple<Outcome<Value<i>>...> outcomes(
        TakeBranch<Value<i>>(branches_[i])...);
    Outcome<void> joined = Ok();
    (JoinFailure(joined, std::get<i>(outcomes)), ...);
    if (!joined.ok()) {
      silent.emplace(true);
      return Outcome<Values>::FromFailure(std::move(joined));
    }
    return Values(ValueOf(std::move(std::get<i>(outcomes)))...);
  }

  std::tuple<F...> callables_;
  EndedQueue ended_;
  std::array<Branch, sizeof...(F)> branches_;
};

// A container of branches of one type. R: a reference, or a view.
template <class CxType, class R>
class RangeBranches {
 public:
  using T = BranchValue<decltype(*std::begin(std::declval<std::remove_reference_t<R>&>())), CxType>;
  using Values = std::conditional_t<std::is_void_v<T>, void, std::vector<NonVoid<T>>>;
  using Winner = quiesce::Winner<T>;

  explicit RangeBranches(R&& range) : range_(std::forward<R>(range)) {}
  RangeBranches(RangeBranches&& other) : range_(std::forward<R>(other.range_)) {}

  size_t size() const { return std::size(range_); }
  EndedQueue& ended() { return ended_; }
  void Start(const CxType& cx) {
    branches_ = std::vector<Branch>(size());
    size_t index = 0;
    for (auto& callable : range_) {
      StartBranch(cx, ended_, branches_[index], index, callable);
      ++index;
    }
  }
  Outcome<Winner> Take(const Branch& branch) {
    return AsWinner(branch.index, TakeBranch<T>(branch));
  }
  Outcome<Values> TakeAll() {
    std::optional<SilentEnd> silent;  // as above
    Outcome<void> joined = Ok();
    std::vector<NonVoid<T>> values;
    values.reserve(branches_.size());
    for (const Branch& branch : branches_) {
      Outcome<T> outcome = TakeBranch<T>(branch);
      JoinFailure(joined, outcome);
      if (!joined.ok() && !silent.has_value()) silent.emplace(true);
      if (joined.ok()) values.push_back(ValueOf(std::move(outcome)));
    }
    if (!joined.ok()) return Outcome<Values>::FromFailure(std::move(joined));
    if constexpr (std::is_void_v<T>) {
      return Ok();
    } else {
      return values;
    }
  }

 private:
  R range_;
  EndedQueue ended_;
  std::vector<Branch> branches_;
};

// --- the whole -----------------------------------------------------------------------------------

// Runs `body`, made of branches or the user's own, in a region of its own. Body: a reference, or what may be moved.
// What Region::Open does but for one thing: a Cancelled of the body's stays one, though its cause lie inside the
// region and there be no value. What R1 counts as Ok is a child that nobody asks about; a combinator answers for its
// branch, and a branch that came to nothing has not ended Ok. (An Error or a Panic in the region goes before it.)
// Not a coroutine, so that the body goes into the region's frame without being a temporary of the caller's
// expression.
template <class CxType, class Body>
auto RunBody(const CxType& cx, SpawnName name, Body&& body, RegionPolicy policy,
             const RegionOptions& options = RegionOptions()) {
  static_assert(cx_internal::kHasSpawn<CxType>, "a combinator needs a Cx with cap::Spawn");
  using T = typename std::invoke_result_t<std::remove_reference_t<Body>&, CxType>::value_type;
  return region_internal::Run<T, Body, CxType, region_internal::OwnCancel::kStays>(
      cx, name, std::forward<Body>(body), policy, options);
}

// The body decides what its branches are worth, but for a panic.
inline RegionPolicy OnlyPanics() { return RegionPolicy(RegionPolicy::Kind::kOnlyPanics, nullptr); }

absl::Status NothingToRun(const char* combinator, const char* file, uint32_t line);
// A combinator that was called with something it cannot do.
template <class T>
Task<T> Refuse(absl::Status why) {
  co_return why;
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_BRANCHES_H_

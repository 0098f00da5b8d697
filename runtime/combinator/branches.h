// branches.h: what combinators may be given, what they give, and how they run. Internal.
//
// A combinator is a body object that stays in the frame of the region's opener until the region has closed. So the
// callables live there, in one place, as long as any branch. A named callable stays where it is.
//
// Invariants: a body is moved only before it runs, when nothing but the callables is in it.
#ifndef QUIESCE_RUNTIME_COMBINATOR_BRANCHES_H_
#define QUIESCE_RUNTIME_COMBINATOR_BRANCHES_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "quiesce/runtime/combinator/ended_queue.h"
#include "quiesce/runtime/combinator/winner.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/region/task_handle.h"
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
NonVoid<T> ValueOf(Outcome<T> outcome) {
  if constexpr (std::is_void_v<T>) {
    outcome.value();
    return std::monostate();
  } else {
    return std::move(outcome).value();
  }
}

// --- tasks ---------------------------------------------------------------------------------------

template <class T>
Outcome<T> TakeBranch(const Branch& branch) {
  return task_handle_internal::TakeResult<T>(branch.task());
}

// The combinator has decided: what is left in its region, the branches and what they have spawned there, has
// lost. `body_ended`: called by the opener, who is about to wait for the close. Threads: any, while the region cannot
// close.
void LoseRest(RegionScope* region, bool body_ended = false);

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

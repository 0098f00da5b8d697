// bracket.h: something that has to be given back by a wait, whatever happens in between.
//
// Why:        a destructor cannot wait. What takes a round trip to give back (a lease, a transaction, a
//             remote lock) needs a release that runs also after a failure, a panic or a cancel.
// Example:    auto acquire = [&](Cx cx) { return Lock(cx, name); };
//             auto use = [&](Cx cx, Lease& lease) { return Migrate(cx, lease); };
//             auto release = [&](Cx cx, Lease& lease) { return lease.Unlock(cx); };
//             co_await OrReturn(Bracket(cx, acquire, use, release));
#ifndef QUIESCE_RUNTIME_COMBINATOR_BRACKET_H_
#define QUIESCE_RUNTIME_COMBINATOR_BRACKET_H_

#include <optional>
#include <type_traits>
#include <utility>

#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

// Acquire, Use, Release: references, or trivially destructible.
template <class T, class Resource, class CxType, class Acquire, class Use, class Release>
Task<T> RunBracket(CxType cx, Acquire acquire, Use use, Release release) {
  co_await OrReturn(cx.TryCheckpoint());
  // First, so that it ends after what nobody gets has been destroyed.
  std::optional<SilentEnd> silent;
  Task<Resource> acquiring = task_internal::CallForTask<Resource>([&] { return acquire(cx); });
  Outcome<Resource> acquired = co_await acquiring;
  if (!acquired.ok()) co_return Outcome<T>::FromFailure(std::move(acquired));
  // From here to the release nothing ends this coroutine: a region's outcome is only stored.
  Resource& resource = acquired.value();
  auto body = [&](CxType cx) { return use(cx, resource); };
  Outcome<T> used = co_await RunBody(cx, "bracket", body, FailFast());
  Task<void> releasing = task_internal::CallForTask<void>([&] {
    if constexpr (std::is_invocable_v<Release&, CxType, Resource&>) {
      return release(cx.ForDrain(), resource);
    } else {
      return release(cx.ForDrain(), std::move(resource));
    }
  });
  Outcome<void> released = co_await releasing;
  // What a release that failed has left in the resource, and the value that its failure takes the place of (R8).
  if (!released.ok()) silent.emplace(true);
  JoinInto(used, std::move(released));
  co_return used;
}

}  // namespace combinator_internal

// acquire(cx) returns a Task<R>; use(cx, R&) a Task<T>; release(cx, R&) or release(cx, R) a Task<void>. Runs
// them one after the other as part of the calling task. `use` has a region of its own, so nothing that
// it started is left when the release begins.
// Returns  the outcome of `use`, joined with those of what it has spawned (R1) and with a failure of the release; a
//          Cancelled of its own stays one, also without a value. Or the outcome of `acquire` if that is not Ok:
//          then there is nothing to release, and the other two are not called. Cancelled, having called
//          nothing, if an ordinary wait of `cx` would fail.
// Suspends as the three do.
// Cancel   safe: once `acquire` has ended Ok the release runs exactly once, also after a cancel, an Error or a
//          Panic of `use`, and if the cancel came just then, in which case `use` is not called. The
//          release gets cx.ForDrain(): its waits go on until the drain budget is spent, and fail then.
// Callables: a named one stays where it is and must outlive the await; one that is not trivially
//          destructible must be named (R10).
template <class CxType, class Acquire, class Use, class Release>
auto Bracket(const CxType& cx, Acquire&& acquire, Use&& use, Release&& release) {
  using namespace combinator_internal;  // NOLINT: of this function only
  CheckArguments<Acquire, Use, Release>();
  static_assert(cx_internal::kHasSpawn<CxType>, "Bracket needs a Cx with cap::Spawn");
  using Resource = BranchValue<Acquire, CxType>;
  static_assert(!std::is_void_v<Resource>, "Bracket: acquire must return a Task of the resource");
  static_assert(std::is_invocable_v<Use&, CxType, Resource&>,
                "Bracket: use(cx, resource) must be callable with an R&, and return a Task");
  static_assert(std::is_invocable_r_v<Task<void>, Release&, CxType, Resource&> ||
                    std::is_invocable_r_v<Task<void>, Release&, CxType, Resource>,
                "Bracket: release(cx, resource) must be callable with an R& or an R, and return a "
                "Task<void>");
  using T = typename spawn_internal::TaskValue<std::invoke_result_t<Use&, CxType, Resource&>>::type;
  return RunBracket<T, Resource, CxType, Acquire, Use, Release>(
      cx, std::forward<Acquire>(acquire), std::forward<Use>(use), std::forward<Release>(release));
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_BRACKET_H_

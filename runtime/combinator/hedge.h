// hedge.h: the same thing once more, if the answer does not come soon.
//
// Why:        one slow server in a hundred makes every page slow that asks a hundred. A second attempt after
//             a delay costs little, if the loser is stopped.
// Example:    auto ask = [&](Cx cx, int attempt) { return Ask(cx, replica[attempt]); };
//             Row row = co_await OrReturn(Hedge(cx, absl::Milliseconds(20), ask));
// Source:     J. Dean, L. A. Barroso: The Tail at Scale. Communications of the ACM 56(2), 2013.
#ifndef QUIESCE_RUNTIME_COMBINATOR_HEDGE_H_
#define QUIESCE_RUNTIME_COMBINATOR_HEDGE_H_

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/ended_queue.h"
#include "quiesce/runtime/combinator/failures.h"

namespace quiesce {
inline namespace v0 {

// More attempts at once than this are not a hedge but an attack on what they ask.
inline constexpr int kMaxHedgeAttempts = 8;

namespace combinator_internal {

// Fatal if the delay is negative; not OK if so many attempts cannot be asked for.
absl::Status CheckHedge(absl::Duration delay, int max_attempts, const char* file, uint32_t line);

template <class CxType, class Make>
auto MakeAttempt(Make& make, CxType cx, int attempt) {
  if constexpr (std::is_invocable_v<Make&, CxType, int>) {
    return make(cx, attempt);
  } else {
    return make(cx);
  }
}

// Make: a reference, or trivially destructible.
template <class CxType, class Make>
class HedgeBody {
 public:
  using T = typename spawn_internal::TaskValue<decltype(MakeAttempt(
      std::declval<std::remove_reference_t<Make>&>(), std::declval<CxType>(), 0))>::type;

  HedgeBody(Make&& make, absl::Duration delay, int max_attempts)
      : make_(std::forward<Make>(make)), delay_(delay), max_attempts_(max_attempts) {}
  HedgeBody(HedgeBody&& other)
      : make_(std::forward<Make>(other.make_)),
        delay_(other.delay_),
        max_attempts_(other.max_attempts_) {}

  Task<T> operator()(CxType cx) {
    Failures failures;
    int started = 0;
    int running = 0;
    while (true) {
      // Here another attempt is due: it is the first, or the delay has passed, or one has failed.
      if (started < max_attempts_) {
        Start(cx, started++);
        ++running;
      }
      const Instant until = started < max_attempts_ ? cx.Now() + delay_ : Instant::InfiniteFuture();
      const Branch* attempt =
          co_await OrReturn(EndedWait(cx, &ended_, 1, cx.services().clock, until));
      if (attempt == nullptr) continue;
      --running;
      Outcome<T> ended = TakeBranch<T>(*attempt);
      if (ended.ok() || ended.is_panicked()) {
        LoseRest(cx.region());
        co_return ended;
      }
      failures.Add(attempt->index, std::move(ended));
      if (running == 0 && started == max_attempts_) break;
    }
    LoseRest(cx.region());  // what the attempts have spawned
    co_return Outcome<T>::FromFailure(std::move(failures).Joined("Hedge"));
  }

 private:
  void Start(const CxType& cx, int attempt) {
    Branch& branch = branches_[static_cast<size_t>(attempt)];
    branch.index = static_cast<uint32_t>(attempt);
    auto call = [make = &make_, attempt](CxType cx) { return MakeAttempt(*make, cx, attempt); };
    ended_.Add(&branch, cx.Spawn("hedge attempt", call).Release());
  }

  Make make_;
  const absl::Duration delay_;
  const int max_attempts_;
  EndedQueue ended_;
  std::array<Branch, kMaxHedgeAttempts> branches_;
};

}  // namespace combinator_internal

// Starts make(cx, 0); after `delay` without an answer make(cx, 1) beside it, and so on up to `max_attempts`. An
// attempt that fails makes the next one due at once. The first that ends Ok wins; all else in the
// region is cancelled with kRaceLost, as by Race; and so is what is left there when the last attempt has failed.
// Returns  Ok(the winner's value), joined with the losers' Panics. If no attempt ended Ok: their outcomes
//          joined as by FirstOk, a Cancelled of an attempt's own among them. A Panic ends it at once.
//          Cancelled, having started nothing, if an ordinary wait of `cx` would fail.
// Suspends until every attempt has ended (G9).
// Cancel   safe: forwarded to the attempts; those that are due later are refused, as every spawn is then.
// Errors   kInvalidArgument unless 1 <= max_attempts <= kMaxHedgeAttempts. Fatal if the delay is negative;
//          zero starts all at once, InfiniteDuration only after failures.
// Callables: make(cx, attempt) or make(cx) returns a Task<T>. A named one stays where it is and must outlive
//          the await; one that is not trivially destructible must be named (R10). Attempts run at the same
//          time, and what they ask has to bear being asked twice.
template <class CxType, class Make>
auto Hedge(const CxType& cx, absl::Duration delay, Make&& make, int max_attempts = 2,
           const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE()) {
  using namespace combinator_internal;  // NOLINT: of this function only
  CheckArguments<Make>();
  static_assert(std::is_convertible_v<CxType, CxWith<cap::Time>>,
                "Hedge needs a Cx with cap::Time");
  using Body = HedgeBody<CxType, Make>;
  absl::Status possible = CheckHedge(delay, max_attempts, file, line);
  if (!possible.ok()) return Refuse<typename Body::T>(std::move(possible));
  return RunBody(cx, "hedge", Body(std::forward<Make>(make), delay, max_attempts), OnlyPanics());
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_HEDGE_H_

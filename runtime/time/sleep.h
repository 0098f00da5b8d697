// sleep.h: waiting for time to pass.
//
// Example:    co_await OrReturn(Sleep(cx, absl::Milliseconds(250)));
#ifndef QUIESCE_RUNTIME_TIME_SLEEP_H_
#define QUIESCE_RUNTIME_TIME_SLEEP_H_

#include <optional>

#include "absl/time/time.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

namespace time_internal {

class SleepOp : public Timer {
 public:
  using Value = void;
  static constexpr const char* kName = "Sleep";
  static constexpr bool kStructural = false;

  SleepOp(Clock* clock, Instant until) : Timer(&OnFire), clock_(clock) { when = until; }
  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result);
  void Withdraw(Waiter&) { clock_->Disarm(this); }

 private:
  static void OnFire(Timer* timer);
  Clock* clock_;
  Waiter* waiter_ = nullptr;
};

// `duration` from now on cx's clock; fatal if it is negative.
Instant Until(const CxBase& cx, absl::Duration duration, const char* file, int line);

}  // namespace time_internal

using SleepWait = Wait<time_internal::SleepOp>;

// Waits until `until`; a past instant is a checkpoint only, InfiniteFuture waits for a cancel.
// Returns  Ok | Cancelled. Never early; late by the time the worker needs to come to it.
// Cancel   safe: nothing remains armed.
inline SleepWait SleepUntil(CxWith<cap::Time> cx, Instant until) {
  return SleepWait(cx, cx.services().clock, until);
}

// Waits for `duration`, which starts at the call. A negative one is a bug, and fatal.
inline SleepWait Sleep(CxWith<cap::Time> cx, absl::Duration duration,
                       const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return SleepUntil(cx, time_internal::Until(cx, duration, file, line));
}

// Ticks at start + k * period, whatever the loop takes: without drift.
// Example:    Interval tick(cx, absl::Seconds(1));
//             while (true) { co_await OrReturn(tick.Next(cx)); Report(); }
// Missed ticks (a slow loop) are skipped, not made up for: each call waits for the first tick that is
// then in the future. One that is due at the very moment of the call is missed.
class Interval {
 public:
  // The first tick is one period from now. Fatal if `period` is not positive.
  Interval(CxWith<cap::Time> cx, absl::Duration period, const char* file = __builtin_FILE(),
           int line = __builtin_LINE());
  // Waits for the next tick; the call, not the wait, decides which one that is.
  // Returns  Ok | Cancelled. Never early; late by the time the worker needs to come to it.
  // Cancel   safe: nothing remains armed, and the ticks stay where they were. The next call waits for
  //          the same tick if it is still to come; if it has passed by then, it is missed like any other.
  SleepWait Next(CxWith<cap::Time> cx);

 private:
  Instant next_;
  absl::Duration period_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TIME_SLEEP_H_

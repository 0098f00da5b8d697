#include "quiesce/runtime/time/sleep.h"

namespace quiesce {
inline namespace v0 {
namespace time_internal {

bool SleepOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  if (when.is_infinite() || clock_->Now() < when) return false;
  result.emplace(Ok());
  return true;
}

Enqueued SleepOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>&) {
  waiter_ = &waiter;
  clock_->Arm(this);
  return Enqueued::kQueued;
}

bool SleepOp::Harvest(Waiter&, std::optional<Outcome<void>>& result) {
  // The clock's lock orders this behind the end of OnFire, so the memory may go.
  clock_->Disarm(this);
  result.emplace(Ok());
  return true;
}

void SleepOp::OnFire(Timer* timer) { static_cast<SleepOp*>(timer)->waiter_->Grant(); }

Instant Until(const CxBase& cx, absl::Duration duration, const char* file, int line) {
  if (duration < absl::ZeroDuration()) {
    Fatal(
        "Sleep(cx, %s) at %s:%d: a timeout cannot be negative; use SleepUntil for an instant that "
        "may "
        "have passed",
        absl::FormatDuration(duration).c_str(), file, line);
  }
  return cx.Now() + duration;
}

}  // namespace time_internal

Interval::Interval(CxWith<cap::Time> cx, absl::Duration period, const char* file, int line)
    : period_(period) {
  if (period <= absl::ZeroDuration()) {
    Fatal("Interval(cx, %s) at %s:%d: the period must be positive",
          absl::FormatDuration(period).c_str(), file, line);
  }
  next_ = cx.Now() + period;
}

SleepWait Interval::Next(CxWith<cap::Time> cx) {
  const Instant now = cx.Now();
  if (now >= next_) next_ = next_ + (1 + (now - next_) / period_) * period_;
  return SleepUntil(cx, next_);
}

}  // namespace v0
}  // namespace quiesce

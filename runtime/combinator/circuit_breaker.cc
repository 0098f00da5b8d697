#include "quiesce/runtime/combinator/circuit_breaker.h"

#include <algorithm>
#include <cinttypes>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

CircuitBreakerOptions& CircuitBreakerOptions::WithThreshold(int64_t failures, absl::Duration window,
                                                            double ratio, const char* file,
                                                            int line) {
  if (failures < 1 || window <= absl::ZeroDuration() || window == absl::InfiniteDuration() ||
      !(ratio >= 0.0 && ratio <= 1.0)) {
    Fatal("CircuitBreakerOptions::WithThreshold(%" PRId64
          ", %s, %g) at %s:%d: it must be at least one failure, in a positive and finite time, and "
          "a ratio from 0 to 1",
          failures, absl::FormatDuration(window).c_str(), ratio, file, line);
  }
  failures_ = failures;
  window_ = window;
  ratio_ = ratio;
  return *this;
}

CircuitBreakerOptions& CircuitBreakerOptions::WithOpenFor(absl::Duration open_for, const char* file,
                                                          int line) {
  if (open_for <= absl::ZeroDuration() || open_for == absl::InfiniteDuration()) {
    Fatal(
        "CircuitBreakerOptions::WithOpenFor(%s) at %s:%d: the time must be positive, and "
        "finite: it is the only way back",
        absl::FormatDuration(open_for).c_str(), file, line);
  }
  open_for_ = open_for;
  return *this;
}

CircuitBreakerOptions& CircuitBreakerOptions::WithProbes(int64_t probes, const char* file,
                                                         int line) {
  if (probes < 1) {
    Fatal("CircuitBreakerOptions::WithProbes(%" PRId64
          ") at %s:%d: without a probe the breaker would never close; at least 1",
          probes, file, line);
  }
  probes_ = probes;
  return *this;
}

CircuitBreaker::CircuitBreaker(const char* name, const CircuitBreakerOptions& options)
    : name_(name),
      options_(options),
      slot_nanos_(std::max(absl::ToInt64Nanoseconds(options.window()) / kSlots, int64_t{1})) {}

CircuitBreaker::~CircuitBreaker() {
  PrimitiveLockHolder lock(lock_);
  if (running_ > 0) {
    Fatal("the circuit breaker '%s' was destroyed while %" PRId64
          " calls through it run: let the region of their tasks close before",
          name_, running_);
  }
}

CircuitBreaker::State CircuitBreaker::state() const {
  PrimitiveLockHolder lock(lock_);
  return state_;
}

absl::Status CircuitBreaker::Admit(Instant now, uint64_t& generation) {
  Instant until;
  absl::Status why;
  {
    PrimitiveLockHolder lock(lock_);
    if (state_ == State::kOpen && now >= open_until_) Enter(State::kHalfOpen);
    const bool probing = state_ == State::kHalfOpen;
    if (state_ == State::kClosed || (probing && probing_ + probes_ok_ < options_.probes())) {
      if (probing) ++probing_;
      ++running_;
      generation = generation_;
      return absl::OkStatus();
    }
    until = probing ? Instant::InfiniteFuture() : open_until_;
    why = why_;
  }
  // In words outside the lock.
  return absl::UnavailableError(absl::StrCat(
      "circuit breaker '", name_, "': not called, ",
      until.is_infinite()
          ? absl::StrCat("until the result of a probe is known (at most ", options_.probes(), ")")
          : absl::StrCat("for ", absl::FormatDuration(until - now), ", until ", until.ToString()),
      "; it opened after: ", why.ToString()));
}

void CircuitBreaker::Note(Instant now, uint64_t generation, absl::Status failure) {
  const bool failed = !failure.ok();
  PrimitiveLockHolder lock(lock_);
  if (generation != generation_) return;  // of an earlier state
  const bool closed = state_ == State::kClosed;
  if (closed ? CountClosed(now, failed) : failed) {
    Enter(State::kOpen);
    open_until_ = now + options_.open_for();
    std::swap(why_, failure);  // the one before is destroyed outside the lock
  } else if (!closed && ++probes_ok_ == options_.probes()) {
    Enter(State::kClosed);
  }
}

void CircuitBreaker::Release(uint64_t generation) {
  PrimitiveLockHolder lock(lock_);
  --running_;
  if (generation == generation_ && state_ == State::kHalfOpen) --probing_;
}

void CircuitBreaker::Enter(State state) {
  state_ = state;
  ++generation_;
  slots_ = {};
  probing_ = 0;
  probes_ok_ = 0;
}

bool CircuitBreaker::CountClosed(Instant now, bool failed) {
  const int64_t number = now.nanos() / slot_nanos_;
  Slot& slot = slots_[static_cast<size_t>(number % kSlots)];
  if (slot.number < number) {
    slot = Slot();
    slot.number = number;
  }
  slot.failed += failed ? 1 : 0;
  ++slot.ended;
  if (!failed) return false;
  int64_t all_failed = 0;
  int64_t all_ended = 0;
  for (const Slot& each : slots_) {
    if (each.number <= number - kSlots) continue;
    all_failed += each.failed;
    all_ended += each.ended;
  }
  return all_failed >= options_.failures() &&
         static_cast<double>(all_failed) >= options_.ratio() * static_cast<double>(all_ended);
}

}  // namespace v0
}  // namespace quiesce

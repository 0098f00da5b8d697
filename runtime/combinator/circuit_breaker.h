// circuit_breaker.h: does not call what is known to be broken.
//
// Why:        a callee that is down makes every caller wait for a timeout, and its recovery drown in their retries.
//             After some failures this one says no by itself, at once, and lets a few calls through after a while
//             to see.
// Example:    CircuitBreaker breaker("payments", CircuitBreakerOptions().WithOpenFor(absl::Seconds(5)));
//             auto pay = [&](Cx cx) { return Pay(cx, order); };
//             Receipt receipt = co_await OrReturn(breaker.Call(cx, pay));
//
// state    | a call                        | moves to
// ---------|-------------------------------|-------------------------------------------------------------------
// closed   | is made                       | open, when enough of the calls that ended in the window have failed
// open     | Error(kUnavailable), at once  | half-open, with the first call after its time
// half-open| at most `probes` at once are  | closed, when `probes` of them in a row have succeeded;
//          | made; else Error(kUnavailable)| open, when one has failed
//
// Counts:  a call that ended Ok, or with an Error that is no failure (the callee has answered), is a success; one that
//          ended with a failure code or a Panic, a failure; one that was cancelled is neither: it says nothing about
//          the callee. A call that began in an earlier state than the present one does not count.
// Invariants: (1) a probe that ends gives its place back, whatever it ended with; also if its frame is destroyed;
//             (2) a call that is refused has not run.
// Lifetime:   outlives its calls: destroying it under one is fatal.
// Threads:    any, of one runtime, whose clock it is that counts.
#ifndef QUIESCE_RUNTIME_COMBINATOR_CIRCUIT_BREAKER_H_
#define QUIESCE_RUNTIME_COMBINATOR_CIRCUIT_BREAKER_H_

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/status_codes.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

class CircuitBreakerOptions {
 public:
  // Opens after 5 failures in 10 s, if at least half of the calls in that time have failed; for 5 s; one probe.
  CircuitBreakerOptions() = default;

  // Opens when at least `failures` of the calls that ended in the last `window` have failed, and they are at least
  // `ratio` of them. Fatal unless failures >= 1, window > 0 and finite, 0 <= ratio <= 1. The window moves in tenths.
  CircuitBreakerOptions& WithThreshold(int64_t failures, absl::Duration window, double ratio = 0.5,
                                       const char* file = __builtin_FILE(),
                                       int line = __builtin_LINE());
  // How long no call is made. Positive and finite.
  CircuitBreakerOptions& WithOpenFor(absl::Duration open_for, const char* file = __builtin_FILE(),
                                     int line = __builtin_LINE());
  // At least 1.
  CircuitBreakerOptions& WithProbes(int64_t probes, const char* file = __builtin_FILE(),
                                    int line = __builtin_LINE());
  // Which Errors are failures of the callee. Default: kUnavailable, kDeadlineExceeded, kResourceExhausted,
  // kInternal, kUnknown and kDataLoss.
  CircuitBreakerOptions& WithFailures(StatusCodes codes) {
    failure_codes_ = codes;
    return *this;
  }

  int64_t failures() const { return failures_; }
  absl::Duration window() const { return window_; }
  double ratio() const { return ratio_; }
  absl::Duration open_for() const { return open_for_; }
  int64_t probes() const { return probes_; }
  const StatusCodes& failure_codes() const { return failure_codes_; }

 private:
  int64_t failures_ = 5;
  absl::Duration window_ = absl::Seconds(10);
  double ratio_ = 0.5;
  absl::Duration open_for_ = absl::Seconds(5);
  int64_t probes_ = 1;
  StatusCodes failure_codes_ = {
      absl::StatusCode::kUnavailable,       absl::StatusCode::kDeadlineExceeded,
      absl::StatusCode::kResourceExhausted, absl::StatusCode::kInternal,
      absl::StatusCode::kUnknown,           absl::StatusCode::kDataLoss};
};

class CircuitBreaker {
 public:
  enum class State : uint8_t { kClosed, kOpen, kHalfOpen };

  // `name`, of the callee, is a literal, for messages.
  explicit CircuitBreaker(const char* name,
                          const CircuitBreakerOptions& options = CircuitBreakerOptions());
  // Fatal while a call runs.
  ~CircuitBreaker();
  CircuitBreaker(const CircuitBreaker&) = delete;
  CircuitBreaker& operator=(const CircuitBreaker&) = delete;

  // Runs callable(cx), as part of the calling task, and takes note of how it ends.
  // Returns  its outcome; or, if it is not called, Error(kUnavailable), whose message says until when, and which
  //          failure it was; Cancelled, without having called it, if an ordinary wait of `cx` would fail.
  // Suspends as the callable does: never for a place. A checkpoint in every state.
  // Cancel   safe: forwarded; counts for nothing, and a probe's place is free again.
  // Callables: a named one stays where it is and must outlive the await; one that is not trivially
  //          destructible must be named (R10).
  template <class CxType, class F>
  auto Call(const CxType& cx, F&& callable) {
    combinator_internal::CheckArguments<F>();
    static_assert(std::is_convertible_v<CxType, CxWith<cap::Time>>,
                  "CircuitBreaker::Call needs a Cx with cap::Time");
    return Run<combinator_internal::BranchValue<F, CxType>, CxType, F>(cx, this,
                                                                       std::forward<F>(callable));
  }

  // For figures. An open one whose time is over stays so until a call comes.
  State state() const;

 private:
  static constexpr int64_t kSlots = 10;

  // A call under way. Destroyed without End, it counts for nothing.
  class Admission {
   public:
    Admission(CircuitBreaker* breaker, CxWith<cap::Time> cx)
        : breaker_(breaker), refused_(breaker->Admit(cx.Now(), generation_)) {}
    ~Admission() {
      if (refused_.ok()) breaker_->Release(generation_);
    }
    Admission(const Admission&) = delete;
    Admission& operator=(const Admission&) = delete;

    // Not Ok: the call may not be made, and why.
    const absl::Status& refused() const { return refused_; }
    template <class T>
    void End(CxWith<cap::Time> cx, const Outcome<T>& outcome) {
      if (outcome.is_cancelled()) return;
      const bool failed =
          outcome.is_panicked() ||
          (outcome.is_error() && breaker_->options_.failure_codes().Contains(outcome.error()));
      breaker_->Note(cx.Now(), generation_, failed ? outcome.ToStatus() : absl::OkStatus());
    }

   private:
    CircuitBreaker* const breaker_;
    uint64_t generation_ = 0;
    const absl::Status refused_;
  };

  template <class T, class CxType, class F>
  static Task<T> Run(CxType cx, CircuitBreaker* breaker, F callable) {
    co_await OrReturn(cx.TryCheckpoint());
    Admission admission(breaker, cx);
    if (!admission.refused().ok()) co_return admission.refused();
    Task<T> calling = task_internal::CallForTask<T>([&] { return callable(cx); });
    Outcome<T> ended = co_await calling;
    admission.End(cx, ended);
    co_return ended;
  }

  // Ok: counted as running until Release, in the state that has the number `generation`.
  absl::Status Admit(Instant now, uint64_t& generation) ABSL_LOCKS_EXCLUDED(lock_);
  // A call that was admitted in `generation` has succeeded, or failed with `failure`.
  void Note(Instant now, uint64_t generation, absl::Status failure) ABSL_LOCKS_EXCLUDED(lock_);
  void Release(uint64_t generation) ABSL_LOCKS_EXCLUDED(lock_);

  void Enter(State state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Counts a call that ended while closed. Have enough failed to open?
  bool CountClosed(Instant now, bool failed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // What ended in one tenth of the window: the tenth with that number, since the clock's zero.
  struct Slot {
    int64_t number = -1;
    int64_t failed = 0;
    int64_t ended = 0;
  };

  const char* const name_;
  const CircuitBreakerOptions options_;
  const int64_t slot_nanos_;

  mutable PrimitiveLock lock_{"CircuitBreaker"};  // innermost
  State state_ ABSL_GUARDED_BY(lock_) = State::kClosed;
  uint64_t generation_ ABSL_GUARDED_BY(lock_) = 0;  // how often the state has changed
  int64_t running_ ABSL_GUARDED_BY(lock_) = 0;
  std::array<Slot, kSlots> slots_ ABSL_GUARDED_BY(lock_);  // closed
  Instant open_until_ ABSL_GUARDED_BY(lock_);              // open
  absl::Status why_ ABSL_GUARDED_BY(lock_);       // … and half-open: the failure that did it
  int64_t probing_ ABSL_GUARDED_BY(lock_) = 0;    // half-open
  int64_t probes_ok_ ABSL_GUARDED_BY(lock_) = 0;  // half-open
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_CIRCUIT_BREAKER_H_

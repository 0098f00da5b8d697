// rate_limit.h: at most so many per second, in the order of asking (a token bucket).
//
// Why:        what takes a thousand requests a second breaks at two thousand. Who is over the rate has to wait
//             its turn, and who gives up while waiting must not have used anything up.
// Example:    RateLimit limit(1000, absl::Seconds(1), /*burst=*/50);
//             while (true) { co_await OrReturn(limit.Acquire(cx)); co_await OrReturn(SendNext(cx)); }
// How:        a bucket that holds at most `burst` tokens and gains `tokens` of them in each `per`, evenly, is full at
//             first. An Acquire takes its tokens out, or waits until they are there.
// Invariants: (1) in any span of time d at most burst + d * tokens / per tokens fall due. The arithmetic is exact: no
//                 drift. A task that its worker resumes late has not lost that time: the next tokens fall due as if it
//                 had been on time;
//             (2) those who wait are served in the order of coming; nobody gets past them, so that many small ones
//                 do not starve a large one;
//             (3) a timer is armed for the first of them only.
// Lifetime:   outlives its waits: destroying it under one is fatal.
// Threads:    Acquire and TryAcquire: tasks on any worker, of one runtime, whose clock it is that counts.
#ifndef QUIESCE_RUNTIME_COMBINATOR_RATE_LIMIT_H_
#define QUIESCE_RUNTIME_COMBINATOR_RATE_LIMIT_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/numeric/int128.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

class RateLimit;

namespace rate_limit_internal {

struct LineHook : ListHook {};

// One Acquire. While it is the first in line `when` says at which time its tokens fall due, and the timer is armed if
// that is still to come. Firing only wakes the task, which takes them itself (Harvest): nobody else can, as it is
// the first.
class AcquireOp : public Timer, public LineHook {
 public:
  using Value = void;
  static constexpr const char* kName = "RateLimit::Acquire";
  static constexpr bool kStructural = false;
  AcquireOp(RateLimit* limit, Clock* clock, int64_t tokens)
      : Timer(&OnFire), limit_(limit), clock_(clock), tokens_(tokens) {}

  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result);
  void Withdraw(Waiter& waiter);

 private:
  friend class quiesce::RateLimit;
  static void OnFire(Timer* timer) { static_cast<AcquireOp*>(timer)->waiter_->Grant(); }

  RateLimit* const limit_;
  Clock* const clock_;
  const int64_t tokens_;
  Instant arrived_;
  Waiter* waiter_ = nullptr;
};

}  // namespace rate_limit_internal

using RateLimitWait = Wait<rate_limit_internal::AcquireOp>;

class RateLimit {
 public:
  // `tokens` in each `per`, and at most `burst` at once. Fatal unless all three are positive, and `per` is finite
  // and at least a nanosecond.
  RateLimit(int64_t tokens, absl::Duration per, int64_t burst, const char* file = __builtin_FILE(),
            int line = __builtin_LINE());
  // Fatal while somebody waits.
  ~RateLimit();
  RateLimit(const RateLimit&) = delete;
  RateLimit& operator=(const RateLimit&) = delete;

  // Takes `tokens`, and waits until they are there if they are not. Fatal unless `tokens` is positive.
  // Returns  Ok | Cancelled | Error(kInvalidArgument), at once, for more than the burst: they would never be there.
  // Suspends until it is the first in line and its tokens are there. A checkpoint even when they are.
  // Cancel   safe (G8): takes no token; loses its place in line, and who stands behind it moves up.
  RateLimitWait Acquire(CxWith<cap::Time> cx, int64_t tokens = 1,
                        const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (tokens <= 0) [[unlikely]]
      NotPositive("Acquire", tokens, file, line);
    return RateLimitWait(cx, this, cx.services().clock, tokens);
  }
  // Takes `tokens` if they are there and nobody waits; else false, and takes none. Never suspends.
  bool TryAcquire(CxWith<cap::Time> cx, int64_t tokens = 1, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE());

  // For figures: how many tokens are there, and how many tasks wait.
  int64_t available(CxWith<cap::Time> cx) const;
  int64_t waiting() const;

 private:
  friend class rate_limit_internal::AcquireOp;
  using Op = rate_limit_internal::AcquireOp;

  [[noreturn, gnu::cold]] static void NotPositive(const char* call, int64_t tokens,
                                                  const char* file, int line);
  absl::int128 Units(int64_t tokens) const { return absl::int128(tokens) * units_per_token_; }
  // The level at `when`, if nobody takes anything until then.
  absl::int128 LevelAt(Instant when) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void Fill(Instant until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  bool Has(int64_t tokens) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return level_ >= Units(tokens);
  }
  void Take(int64_t tokens) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) { level_ -= Units(tokens); }
  // Takes them if they are there and nobody waits.
  bool TryTake(int64_t tokens, Instant now) ABSL_LOCKS_EXCLUDED(lock_);
  // The first in line takes its tokens, which have fallen due.
  void TakeDue(Op* op) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // `op` leaves the line. If it was the first, the next one is served.
  void Leave(Op* op, Instant now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // The first in line is a new one: wakes it if its tokens have fallen due, else arms its timer.
  void ServeFirst(Instant now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // A token is cut into so many units that each nanosecond brings a whole number of them.
  const int64_t units_per_nano_;
  const int64_t units_per_token_;
  const int64_t burst_;

  mutable PrimitiveLock lock_{
      "RateLimit"};  // before a wheel's (inside Clock::Arm and Disarm) and a run queue's (Waiter::Grant)
  absl::int128 level_ ABSL_GUARDED_BY(lock_);  // units in the bucket at `filled_`
  // While there is a line: when the tokens of the one before its first fell due.
  Instant filled_ ABSL_GUARDED_BY(lock_) = Instant::InfinitePast();
  IntrusiveList<Op, rate_limit_internal::LineHook> line_ ABSL_GUARDED_BY(lock_);
  int64_t waiting_ ABSL_GUARDED_BY(lock_) = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_RATE_LIMIT_H_

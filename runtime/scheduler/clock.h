// clock.h: the second interface: what time is it, and wake me at.
#ifndef QUIESCE_RUNTIME_SCHEDULER_CLOCK_H_
#define QUIESCE_RUNTIME_SCHEDULER_CLOCK_H_

#include <cstdint>

#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/thread_word.h"
#include "quiesce/runtime/budget/instant.h"

namespace quiesce {
inline namespace v0 {

// One armed instant. Lives in its owner; never allocated by the clock.
// `fire` runs at most once for each Arm, at or after `when`, on any thread, with the clock's internal
// lock held: it may decide a wait and Post, and must not arm, disarm or block.
struct Timer : ListHook {
  using Fire = void (*)(Timer*);
  explicit Timer(Fire fire) : fire(fire) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  Instant when;
  Fire fire;
  // Owned by the clock: where the timer is kept.
  uint32_t wheel = 0;
  uint16_t slot = 0;
  bool armed = false;
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() = 0;
  // Arms `timer` for `timer->when`. A past instant fires soon; InfiniteFuture never fires.
  // The timer must not be armed already. Threads: any.
  virtual void Arm(Timer* timer) = 0;
  // True if the timer will now not fire. False if it fired, or was never armed; its `fire` has
  // then returned, so the timer's memory may be reused. Threads: any.
  virtual bool Disarm(Timer* timer) = 0;
};

// When the worker that runs on this thread has last looked at its clock, at most 64 steps ago, in nanoseconds; 0 on any
// other thread. Two instructions: for "parked since" in dumps.
#ifdef QUIESCE_READ_THREAD_WORD
[[gnu::always_inline]] inline int64_t RecentNanos() {
  return static_cast<int64_t>(QUIESCE_READ_THREAD_WORD("quiesce_v0_recent_nanos"));
}
#else
int64_t RecentNanos();
#endif
// For the worker.
void SetRecentNanos(int64_t nanos);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_CLOCK_H_

// clock.h: the second interface: what time is it, and wake me at.
#ifndef QUIESCE_RUNTIME_SCHEDULER_CLOCK_H_
#define QUIESCE_RUNTIME_SCHEDULER_CLOCK_H_

#include <cstdint>

#include "quiesce/runtime/base/intrusive_list.h"
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
  // Cheaper than Now and up to some milliseconds behind it: for "parked since" in dumps.
  virtual Instant RecentNow() { return Now(); }
  // Arms `timer` for `timer->when`. A past instant fires soon; InfiniteFuture never fires.
  // The timer must not be armed already. Threads: any.
  virtual void Arm(Timer* timer) = 0;
  // True if the timer will now not fire. False if it fired, or was never armed; its `fire` has
  // then returned, so the timer's memory may be reused. Threads: any.
  virtual bool Disarm(Timer* timer) = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_CLOCK_H_

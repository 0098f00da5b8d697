// timer_wheel.h: many timers, armed and disarmed in constant time.
//
// Why:        nearly every timer is a timeout that is disarmed before it fires, so arming and disarming
//             must cost next to nothing; a sorted structure pays for an order that nobody needs.
// How:        nine levels of 64 slots (Varghese & Lauck, SOSP 1987). A slot of level 0 is one tick of
//             1,024 ns; a slot of level n+1 spans all of level n. A timer lies at the level of the
//             highest 6-bit digit in which its tick differs from the current one, and moves down when
//             the time reaches its slot. 64^9 ticks are more than an Instant can hold.
// Invariants: (1) no timer fires before its `when`; it fires in the Advance of the tick after it;
//             (2) timers of different ticks fire in the order of their ticks, those of the same tick in
//                 the order in which they came to the tick's slot;
//             (3) no occupied slot lies behind `current_`; the first occupied slot of the lowest
//                 occupied level holds the earliest timer.
// Threads:    none by itself: the owner's lock guards it and the hooks of its timers.
#ifndef QUIESCE_RUNTIME_SCHEDULER_TIMER_WHEEL_H_
#define QUIESCE_RUNTIME_SCHEDULER_TIMER_WHEEL_H_

#include <cstddef>
#include <cstdint>

#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/scheduler/clock.h"

namespace quiesce {
inline namespace v0 {

class TimerWheel {
 public:
  // Time starts at `now`; an earlier instant counts as `now`.
  explicit TimerWheel(Instant now = Instant());
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Puts `timer` in, for `timer->when`, which is not InfiniteFuture. It must not be armed. Returns when
  // it will fire: the begin of the tick after `when`, or of the current one if that is later.
  Instant Insert(Timer* timer);
  // Takes `timer`, which is armed in this wheel, out.
  void Remove(Timer* timer);

  // Fires what is due at `now`, calling `fire` of each. Does at most `limit` units of work (a timer
  // fired, or moved to a lower level) and returns false if some is left: call again.
  bool Advance(Instant now, size_t limit = ~size_t{0});

  // No timer fires before this instant, and one fires in Advance(NextExpiry()), unless the earliest of
  // a slot with more than kMaxScan timers was removed: then it is too early, once, and exact after the
  // Advance. InfiniteFuture if there is no timer; a past instant if Advance left work.
  Instant NextExpiry();

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

 private:
  static constexpr int kTickShift = 10;
  static constexpr int kDigitBits = 6;
  static constexpr uint32_t kSlots = 1u << kDigitBits;
  static constexpr uint32_t kLevels = 9;
  static constexpr uint32_t kNone = kLevels * kSlots;
  static constexpr size_t kMaxScan = 16;

  struct Slot {
    IntrusiveList<Timer> timers;
    // No timer in it has an earlier tick, and one has this tick if `exact`. Meaningless while empty.
    uint64_t earliest = 0;
    bool exact = true;
  };

  static uint64_t TickOf(Instant when);   // the first tick at whose begin `when` has passed
  static uint64_t LastTick(Instant now);  // the last tick that has begun
  static Instant BeginOf(uint64_t tick);
  void Place(Timer* timer, uint64_t tick);
  // The first occupied slot of the lowest occupied level; kNone if there is none.
  uint32_t FirstSlot() const;
  // The tick at which the span of `slot`, which is occupied, begins.
  uint64_t BeginOfSlot(uint32_t slot) const;

  uint64_t current_;              // all ticks before it are done
  uint32_t occupied_levels_ = 0;  // bit n: occupied_[n] is not zero
  uint32_t opened_ = kNone;       // a slot whose span has begun and that is not yet emptied
  size_t size_ = 0;
  uint64_t occupied_[kLevels] = {};  // bit s: slot s of the level has timers and is not opened
  Slot slots_[kLevels * kSlots];
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_TIMER_WHEEL_H_

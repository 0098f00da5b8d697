#include "quiesce/runtime/scheduler/timer_wheel.h"

#include <algorithm>
#include <bit>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {

uint64_t TimerWheel::TickOf(Instant when) {
  if (when.nanos() <= 0) return 0;
  return (static_cast<uint64_t>(when.nanos()) + (1u << kTickShift) - 1) >> kTickShift;
}

uint64_t TimerWheel::LastTick(Instant now) {
  return now.nanos() <= 0 ? 0 : static_cast<uint64_t>(now.nanos()) >> kTickShift;
}

Instant TimerWheel::BeginOf(uint64_t tick) {
  // The last tick of all begins after the last instant; no timer waits for it but InfiniteFuture.
  const uint64_t limit = static_cast<uint64_t>(Instant::InfiniteFuture().nanos());
  return tick > limit >> kTickShift ? Instant::InfiniteFuture()
                                    : Instant::FromNanos(static_cast<int64_t>(tick << kTickShift));
}

TimerWheel::TimerWheel(Instant now) : current_(LastTick(now)) {}

void TimerWheel::Place(Timer* timer, uint64_t tick) {
  const uint64_t differs = (tick ^ current_) | 1;
  const uint32_t level = static_cast<uint32_t>(std::bit_width(differs) - 1) / kDigitBits;
  const uint32_t digit = static_cast<uint32_t>(tick >> (level * kDigitBits)) % kSlots;
  const uint32_t index = level * kSlots + digit;
  Slot& slot = slots_[index];
  if (slot.timers.empty() || tick <= slot.earliest) {
    slot.earliest = tick;
    slot.exact = true;
  }
  slot.timers.PushBack(timer);
  timer->slot = static_cast<uint16_t>(index);
  if (index == opened_) return;  // a past instant, while its tick is being fired
  occupied_[level] |= uint64_t{1} << digit;
  occupied_levels_ |= 1u << level;
}

Instant TimerWheel::Insert(Timer* timer) {
  QUIESCE_CHECK(!timer->armed, "timer: armed twice; Disarm it, or let it fire, first");
  timer->armed = true;
  ++size_;
  const uint64_t tick = std::max(TickOf(timer->when), current_);
  Place(timer, tick);
  return BeginOf(tick);
}

void TimerWheel::Remove(Timer* timer) {
  timer->armed = false;
  --size_;
  IntrusiveList<Timer>::Remove(timer);
  const uint32_t index = timer->slot;
  if (!slots_[index].timers.empty()) {
    // A timer that was armed for the past says less than its slot's tick.
    if (TickOf(timer->when) <= slots_[index].earliest) slots_[index].exact = false;
    return;
  }
  if (index == opened_) {
    opened_ = kNone;
    return;
  }
  const uint32_t level = index / kSlots;
  occupied_[level] &= ~(uint64_t{1} << index % kSlots);
  if (occupied_[level] == 0) occupied_levels_ &= ~(1u << level);
}

uint32_t TimerWheel::FirstSlot() const {
  if (occupied_levels_ == 0) return kNone;
  const uint32_t level = static_cast<uint32_t>(std::countr_zero(occupied_levels_));
  return level * kSlots + static_cast<uint32_t>(std::countr_zero(occupied_[level]));
}

uint64_t TimerWheel::BeginOfSlot(uint32_t slot) const {
  const uint32_t shift = slot / kSlots * kDigitBits;
  const uint64_t span_of_level = (uint64_t{kSlots} << shift) - 1;
  return (current_ & ~span_of_level) | uint64_t{slot % kSlots} << shift;
}

bool TimerWheel::Advance(Instant now, size_t limit) {
  const uint64_t last = LastTick(now);
  if (last < current_ && opened_ == kNone) return true;
  while (true) {
    if (opened_ != kNone) {
      IntrusiveList<Timer>& timers = slots_[opened_].timers;
      const bool due = opened_ < kSlots;  // of level 0: all of one tick
      while (Timer* timer = timers.front()) {
        if (limit == 0) return false;
        --limit;
        IntrusiveList<Timer>::Remove(timer);
        if (due) {
          timer->armed = false;
          --size_;
          Emit(EventKind::kTimerFire, 0, 0, static_cast<uint64_t>(timer->when.nanos()));
          timer->fire(timer);  // may end the timer's life
        } else {
          Place(timer, TickOf(timer->when));
        }
      }
      opened_ = kNone;
    }
    const uint32_t first = FirstSlot();
    if (first == kNone) break;
    const uint64_t begin = BeginOfSlot(first);
    if (begin > last) break;
    // The time reaches the slot: what is in it is fired, or moves to the levels below.
    current_ = begin;
    occupied_[first / kSlots] &= ~(uint64_t{1} << first % kSlots);
    if (occupied_[first / kSlots] == 0) occupied_levels_ &= ~(1u << first / kSlots);
    opened_ = first;
  }
  current_ = std::max(current_, last);
  return true;
}

Instant TimerWheel::NextExpiry() {
  if (opened_ != kNone) return BeginOf(current_);
  const uint32_t first = FirstSlot();
  if (first == kNone) return Instant::InfiniteFuture();
  Slot& slot = slots_[first];
  if (slot.exact) return BeginOf(slot.earliest);
  uint64_t earliest = ~uint64_t{0};
  size_t scanned = 0;
  for (Timer* timer = slot.timers.front(); timer != nullptr; timer = slot.timers.Next(timer)) {
    if (++scanned > kMaxScan) return BeginOf(slot.earliest);
    earliest = std::min(earliest, std::max(TickOf(timer->when), current_));
  }
  slot.earliest = earliest;
  slot.exact = true;
  return BeginOf(earliest);
}

}  // namespace v0
}  // namespace quiesce

// event_clock.h: the clock that the recorder reads for each event, and how its readings become times.
//
// Why:        most of what a recorded event costs is its clock. The processor's counter takes half as long as
//             CLOCK_MONOTONIC, which is made of it, with a barrier. Nobody needs that barrier here: events are
//             ordered by their sequence, and a reading that lags behind is put right when they are collected.
// Threads:    any.
//
// Internal to the recorder.
#ifndef QUIESCE_RUNTIME_TRACE_EVENT_CLOCK_H_
#define QUIESCE_RUNTIME_TRACE_EVENT_CLOCK_H_

#include <cstdint>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {
namespace trace_internal {

int64_t MonotonicNanos();

// Is the counter as good as a clock: of one frequency, and the same on all processors? The kernel finds that out at its
// start, and what it has chosen for itself is good enough for us. Reads a file, once in a process: a kernel that
// loses its trust later is not noticed.
bool CounterIsTrusted();

// Nanoseconds of CLOCK_MONOTONIC, or the processor's counter, where that is trusted.
inline int64_t ReadEventClock() {
#if defined(__x86_64__)
  static const bool counts = CounterIsTrusted();
  if (counts) [[likely]]
    return static_cast<int64_t>(__rdtsc());
#endif
  return MonotonicNanos();
}

// The two clocks, read at one instant.
struct ClockPair {
  int64_t reading;  // of ReadEventClock
  int64_t ns;       // of CLOCK_MONOTONIC
};
ClockPair ReadClockPair();

// What CLOCK_MONOTONIC said at `reading`: by a straight line through two pairs, the wider apart the better.
int64_t NanosAt(int64_t reading, const ClockPair& first, const ClockPair& last);

}  // namespace trace_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TRACE_EVENT_CLOCK_H_

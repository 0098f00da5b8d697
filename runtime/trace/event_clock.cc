#include "quiesce/runtime/trace/event_clock.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cmath>
#include <string_view>

namespace quiesce {
inline namespace v0 {
namespace trace_internal {

int64_t MonotonicNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

bool CounterIsTrusted() {
  const int file = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                        O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char name[16];
  const ssize_t size = read(file, name, sizeof(name));
  close(file);
  return size > 0 && std::string_view(name, static_cast<size_t>(size)) == "tsc\n";
}

ClockPair ReadClockPair() {
  // The closest of a few: the thread may lose its processor between two readings.
  ClockPair best = {};
  int64_t closest = INT64_MAX;
  for (int i = 0; i < 5; ++i) {
    const int64_t before = ReadEventClock();
    const int64_t ns = MonotonicNanos();
    const int64_t apart = ReadEventClock() - before;
    if (apart < closest) {
      closest = apart;
      best = {.reading = before + apart / 2, .ns = ns};
    }
  }
  return best;
}

int64_t NanosAt(int64_t reading, const ClockPair& first, const ClockPair& last) {
  const int64_t readings = last.reading - first.reading;
  if (readings <= 0) return first.ns;
  const double ns_each = static_cast<double>(last.ns - first.ns) / static_cast<double>(readings);
  return first.ns + std::llround(static_cast<double>(reading - first.reading) * ns_each);
}

}  // namespace trace_internal
}  // namespace v0
}  // namespace quiesce

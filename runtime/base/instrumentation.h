// instrumentation.h: does anything look at what happens: debug checks, a recording, an observer?
//
// One byte, so that where nothing does, the fast path of a primitive pays one load and one branch for all of them.
#ifndef QUIESCE_RUNTIME_BASE_INSTRUMENTATION_H_
#define QUIESCE_RUNTIME_BASE_INSTRUMENTATION_H_

#include <atomic>
#include <cstdint>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// bit         | set by                              | cleared by
// ------------|-------------------------------------|----------------------------
// kUndecided  | the start of the process            | the first DebugChecks()
// kChecking   | the first DebugChecks(), where on   | never
// kRecording  | StartRecording                      | StopRecording
// kObserving  | SetEventObserver                    | SetEventObserver(nullptr)
namespace instrumentation {
inline constexpr uint8_t kUndecided = 1;
inline constexpr uint8_t kChecking = 2;
inline constexpr uint8_t kRecording = 4;
inline constexpr uint8_t kObserving = 8;
inline constexpr uint8_t kEvents = kRecording | kObserving;

// Relaxed: it publishes nothing.
extern std::atomic<uint8_t> bits;

inline bool Any(uint8_t of) { return (bits.load(std::memory_order_relaxed) & of) != 0; }
inline void Set(uint8_t bit) { bits.fetch_or(bit, std::memory_order_relaxed); }
inline void Clear(uint8_t bit) {
  bits.fetch_and(static_cast<uint8_t>(~bit), std::memory_order_relaxed);
}
}  // namespace instrumentation

// False: DebugChecks() and EventsWanted() are both false. True: ask them.
inline bool Instrumented() { return instrumentation::bits.load(std::memory_order_relaxed) != 0; }

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_INSTRUMENTATION_H_

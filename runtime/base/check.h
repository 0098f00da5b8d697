// check.h: fatal checks for bugs; the environment's failures are returned, never checked.
//
// Example:    QUIESCE_CHECK(!queue.empty(), "run queue: pop from an empty queue");
// Contract:   a failed check prints `file:line: check failed: CONDITION: message` to stderr and aborts.
//             The condition is evaluated in every build.
#ifndef QUIESCE_RUNTIME_BASE_CHECK_H_
#define QUIESCE_RUNTIME_BASE_CHECK_H_

#include "quiesce/runtime/base/instrumentation.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// Prints `file:line: check failed: condition: message` and aborts. Does not allocate.
[[noreturn, gnu::cold]] void CheckFailed(const char* file, int line, const char* condition,
                                         const char* message);

// Prints `quiesce: message` (printf format) and aborts: for bugs whose message needs values.
[[noreturn, gnu::cold, gnu::format(printf, 1, 2)]] void Fatal(const char* format, ...);

namespace check_internal {
[[gnu::cold]] bool FindDebugChecks();
}  // namespace check_internal

// True where misuse that costs time to detect is looked for (a Cx used by a foreign task, a permit that is
// dropped, say). A property of the *library's* build, so that objects built with and without NDEBUG agree on it;
// the environment variable QUIESCE_DEBUG_CHECKS=0|1 overrides it at start.
inline bool DebugChecks() {
  using namespace instrumentation;  // NOLINT(google-build-using-namespace): its bits
  // One branch where they are off.
  return Any(kUndecided | kChecking) && (Any(kChecking) || check_internal::FindDebugChecks());
}

}  // namespace v0
}  // namespace quiesce

#define QUIESCE_CHECK(condition, message) \
  ((condition) ? static_cast<void>(0)     \
               : ::quiesce::CheckFailed(__FILE__, __LINE__, #condition, message))

#endif  // QUIESCE_RUNTIME_BASE_CHECK_H_

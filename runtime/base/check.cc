#include "quiesce/runtime/base/check.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace quiesce {
inline namespace v0 {

void CheckFailed(const char* file, int line, const char* condition, const char* message) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %s\n", file, line, condition, message);
  std::fflush(stderr);
  std::abort();
}

void Fatal(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::fputs("quiesce: ", stderr);
  std::vfprintf(stderr, format, arguments);
  std::fputc('\n', stderr);
  va_end(arguments);
  std::fflush(stderr);
  std::abort();
}

namespace check_internal {

bool FindDebugChecks() {
#ifdef NDEBUG
  bool enabled = false;
#else
  bool enabled = true;
#endif
  if (const char* text = std::getenv("QUIESCE_DEBUG_CHECKS")) enabled = text[0] == '1';
  if (enabled) instrumentation::Set(instrumentation::kChecking);
  instrumentation::Clear(instrumentation::kUndecided);
  return enabled;
}

}  // namespace check_internal

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/silent_end.h"

#include <exception>
#include <utility>

namespace quiesce {
inline namespace v0 {
namespace {
thread_local bool ending_silently = false;
}  // namespace

bool EndingSilently() { return ending_silently || std::uncaught_exceptions() > 0; }
void SetEndingSilently(bool silent) { ending_silently = silent; }
bool ExchangeEndingSilently(bool silent) { return std::exchange(ending_silently, silent); }

[[gnu::noinline]] void SilentEnd::Begin() {
  begun_ = true;
  before_ = ending_silently;
  ending_silently = true;
}

}  // namespace v0
}  // namespace quiesce

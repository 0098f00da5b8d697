// silent_end.h: is what is destroyed now destroyed because something failed, or was cancelled?
//
// Why:        a permit that goes down with a frame that ends by OrReturn, a cancel or a panic is aborted, which is
//             right; one that is dropped by code that goes on is a mistake (R8). The permit's destructor
//             asks here.
// Threads:    a flag of the thread. Functions that are never inlined: a coroutine may be on another thread after a
//             suspension.
#ifndef QUIESCE_RUNTIME_TASK_SILENT_END_H_
#define QUIESCE_RUNTIME_TASK_SILENT_END_H_

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// Also true while an exception passes.
[[gnu::noinline]] bool EndingSilently();
[[gnu::noinline]] void SetEndingSilently(bool silent);
// The same; returns what was set before, whatever passes.
[[gnu::noinline]] bool ExchangeEndingSilently(bool silent);

// What is destroyed in this scope is, if `silent`; else nothing changes.
class SilentEnd {
 public:
  explicit SilentEnd(bool silent) {
    if (silent) [[unlikely]]
      Begin();
  }
  ~SilentEnd() {
    if (begun_) [[unlikely]]
      SetEndingSilently(before_);
  }
  SilentEnd(const SilentEnd&) = delete;
  SilentEnd& operator=(const SilentEnd&) = delete;

 private:
  void Begin();
  bool begun_ = false;
  bool before_ = false;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_SILENT_END_H_

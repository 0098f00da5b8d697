#include "quiesce/runtime/base/spin_lock.h"

#include <sched.h>

namespace quiesce {
inline namespace v0 {

void SpinLock::LockSlow() {
  for (int spins = 0;; ++spins) {
    if (word_.load(std::memory_order_relaxed) == kFree &&
        word_.exchange(kHeld, std::memory_order_acquire) == kFree) {
      return;
    }
    if (spins < 64) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    } else {
      sched_yield();  // the holder may have lost its processor
    }
  }
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/scheduler/clock.h"

namespace quiesce {
inline namespace v0 {

QUIESCE_THREAD_WORD_USED constinit thread_local int64_t recent_nanos asm("quiesce_v0_recent_nanos")
    QUIESCE_THREAD_WORD_MODEL = 0;

#ifndef QUIESCE_READ_THREAD_WORD
[[gnu::noinline]] int64_t RecentNanos() { return recent_nanos; }
#endif

[[gnu::noinline]] void SetRecentNanos(int64_t nanos) { recent_nanos = nanos; }

}  // namespace v0
}  // namespace quiesce

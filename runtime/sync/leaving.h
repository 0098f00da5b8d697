// leaving.h: waits that stand in no queue any more, and have yet to leave.
//
// Why:        a wait that cannot be granted, since it was cancelled or another arm of its Select was faster, is passed
//             over: it is taken from the queue, and comes by itself, later, to withdraw. A primitive that was destroyed
//             in between would be used after that.
// Threads:    guarded by the lock of the primitive.
#ifndef QUIESCE_RUNTIME_SYNC_LEAVING_H_
#define QUIESCE_RUNTIME_SYNC_LEAVING_H_

#include <cstdint>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {

class Leaving {
 public:
  void Add() { ++count_; }
  void Remove() { --count_; }
  // For destructors. `what`: "a Mutex"; `wait`: "Lock".
  void CheckNone(const char* what, const char* wait) const {
    if (count_ == 0) return;
    Fatal(
        "%s was destroyed before %u of its waits, which the queue has let go, could return. "
        "Let "
        "every %s return before it goes out of scope",
        what, count_, wait);
  }

 private:
  uint32_t count_ = 0;
};

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_LEAVING_H_

// observer.h: somebody who is called at each event, on the thread and at the moment of it.
//
// Why:        the hook that shows an event is also the schedule point: at it a test, or the lab, can
//             let a cancel, a grant or another task happen at exactly this moment of a wait, with the
//             code that runs in production.
// Example:    class CancelAtPark : public EventObserver {
//               void OnEvent(EventKind kind, uint64_t, uint64_t, uint64_t, const char*) override {
//                 if (kind == EventKind::kPark) region.Cancel();
//               }
//             };
// Threads:    OnEvent runs on whichever thread emits, on several at once.
// Locks:      kWake, kCancelRequest, kDraining, kBudgetSpent, kFinalizerStart, kTimerFire and kIoReady
//             may come with a lock of the runtime held: look at those, and neither call into the
//             runtime nor wait. At all other kinds both are allowed; waiting holds up the worker.
#ifndef QUIESCE_RUNTIME_TRACE_OBSERVER_H_
#define QUIESCE_RUNTIME_TRACE_OBSERVER_H_

#include <cstdint>

#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

class EventObserver {
 public:
  virtual ~EventObserver() = default;
  // The parameters are Emit's.
  virtual void OnEvent(EventKind kind, uint64_t region, uint64_t task, uint64_t arg,
                       const char* name) = 0;
};

// Null: nobody. Returns the previous one, to be put back. The process has one. Change it only while
// no thread emits: before a runtime starts, or once it is idle.
EventObserver* SetEventObserver(EventObserver* observer);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TRACE_OBSERVER_H_

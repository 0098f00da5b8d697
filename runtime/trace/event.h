// event.h: the one schema of what happens in a runtime.
//
// The lab's replay, the oracles, the explorer, the proofs' trace checker and the live views all read
// it. A kind may be added at the end; what a kind and its `arg` mean is never changed.
#ifndef QUIESCE_RUNTIME_TRACE_EVENT_H_
#define QUIESCE_RUNTIME_TRACE_EVENT_H_

#include <cstdint>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// For each kind: when it is emitted; what `arg` and `name` are. `region` is the region it happens in
// or to, `task` the task, 0 where there is none.
enum class EventKind : uint8_t {
  // A task was created in `region`. arg: the task that spawned it, 0 from outside; name: the task's.
  kSpawn,
  // Its first step begins. arg: the Lane.
  kStart,
  // A later step begins. arg: the Lane.
  kResume,
  // It is about to be suspended until what it waits for comes. arg: identifies what it waits for; name: the operation.
  kPark,
  // Its wait was decided; a kResume follows. arg: 0 granted, 1 cancelled.
  kWake,
  // It ended; its frame is destroyed. arg: the outcome's Severity.
  kTaskEnd,
  // `task` opened `region`. arg: the parent region, 0 for a root; name: the region's.
  kRegionOpen,
  // A cancel request took effect on `region`, or on `task` alone. arg: the CancelKind.
  kCancelRequest,
  // Every descendant of `region` is marked. arg: drain_by, in nanoseconds.
  kDraining,
  // A budget of `region` is spent. arg: 0 drain, 1 deadline, 2 polls, 3 cost.
  kBudgetSpent,
  // A finalizer begins. arg: its number in the order of registration; name: the finalizer's.
  kFinalizerStart,
  // It ended. arg and name as for kFinalizerStart.
  kFinalizerEnd,
  // `region` is closed. arg: the outcome's Severity.
  kRegionClose,
  // A task passed a checkpoint. arg: 1 if it was told to stop there, else 0; name: the operation.
  kCheckpoint,
  // A permit came into being. arg: its number; name: its type.
  kPermitReserve,
  // It was resolved. arg: its number; name: "send", "complete", "abort", "revoke" or "leak".
  kPermitResolve,
  // A timer was armed. arg: the instant, in nanoseconds.
  kTimerArm,
  // A timer fired. arg: the instant it was armed for, in nanoseconds.
  kTimerFire,
  // The kernel reported readiness. arg: the file descriptor << 32 | the IoEvents.
  kIoReady,
  // `task`, or `region` itself, is overdue. arg: by how many nanoseconds; name: its name.
  kStall,

  // From here on: points inside a wait, where something else may happen in between. Only an
  // EventObserver sees them (observer.h); they are not recorded. name: the operation.
  //
  // It could not be done at once; next it is registered, to be found by a cancel.
  kWaitArm,
  // It is registered; next the cancel state is read once more.
  kWaitRegister,
  // Not cancelled; next it is queued in the primitive, and then comes kPark.
  kWaitEnqueue,
  // The task goes on and has read what was decided; next it takes what was granted, or leaves the
  // primitive's queue. arg: as for kWake.
  kWaitSettle,
};
inline constexpr int kEventKindCount = static_cast<int>(EventKind::kWaitSettle) + 1;
constexpr bool IsWaitPoint(EventKind kind) { return kind >= EventKind::kWaitArm; }

// "spawn", "task-end" …; "unknown" for a number that is no kind.
const char* EventKindName(EventKind kind);

// No member has a default, so that a buffer of events costs nothing until it is written.
struct Event {
  int64_t time_ns;  // on the recorder's clock
  uint64_t region;
  uint64_t task;
  uint64_t arg;
  const char* name;  // a literal, or null
  uint32_t worker;   // kNoTraceWorker outside of workers
  EventKind kind;
};

inline constexpr uint32_t kNoTraceWorker = ~uint32_t{0};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TRACE_EVENT_H_

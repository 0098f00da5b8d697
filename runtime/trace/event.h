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

// For each kind: when it is emitted; what `arg` and `name` are: 0 and null, if it does not say. `region`
// is the region it happens in or to, `task` the task, 0 where there is none.
enum class EventKind : uint8_t {
  // A task was created in `region`. arg: the task that spawned it, 0 from outside; name: the task's.
  kSpawn,
  // Its first step begins. name: the task's.
  kStart,
  // It goes on after a wait, in a later step or in the same. name: the operation.
  kResume,
  // It is about to be suspended until what it waits for comes. arg: how it stands to a cancel, as task_word says
  // (cx/scope.h): 1 ordinary, 2 drain, 3 structural, 7 in a finalizer; name: the operation.
  kPark,
  // Its wait was decided; its next step is queued. arg: 0 granted, 1 cancelled; name: the operation.
  kWake,
  // It ended; its frame is destroyed. arg: the outcome's Severity; name: the task's.
  kTaskEnd,
  // `task` opened `region`. arg: the parent region, 0 for a root; name: the region's.
  kRegionOpen,
  // A cancel request took effect on `region`, or on `task` of it alone. arg: the CancelKind; name: the
  // region's, or the task's.
  kCancelRequest,
  // Every descendant of `region`, which a request was aimed at, is marked. arg: the drain_by of that
  // request, in nanoseconds; name: the region's.
  kDraining,
  // What `region`, or `task` of it alone, has for the drain is spent. (A deadline or a quota that is spent
  // is a kCancelRequest.) arg: 0 the drain budget, 1 the finalizers' grace too; name: the region's, or the
  // task's.
  kBudgetSpent,
  // A finalizer begins; one at a time in each region. name: the finalizer's.
  kFinalizerStart,
  // It ended. arg: the outcome's Severity; name: the finalizer's.
  kFinalizerEnd,
  // `region` is closed. arg: the outcome's Severity; name: the region's.
  kRegionClose,
  // A task passed a checkpoint. arg: 1 if it was told to stop there, else 0; name: the operation.
  kCheckpoint,
  // A timer was armed, by whatever waits for time; never for InfiniteFuture. arg: the instant, in
  // nanoseconds.
  kTimerArm,
  // A timer fired. arg: the instant it was armed for, in nanoseconds.
  kTimerFire,
  // The kernel reported readiness. arg: the file descriptor << 32 | the IoEvents (reactor/poller.h).
  kIoReady,
  // `task`, or `region` itself, has not ended by its finalize_by, and is reported. arg: by how many
  // nanoseconds it is overdue; name: its name.
  kStall,

  // The next four are points inside a wait, where something else may happen in between. Only an
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

  // `task` reserved a permit, which `region` owes from now on. name: the kind of permit.
  kPermitReserve,
  // A permit was resolved. region and task: those that reserved it; arg: a PermitEnd
  // (obligation/ledger.h); name: the kind of permit.
  kPermitEnd,
  // `region` revoked what it still owed at its close. arg: how many; name: the region's.
  kPermitsRevoked,

  // The next four are for a lab; only an EventObserver sees them. All but the first are points at which it lets another
  // task go first, since workers may do that there: right before something that tasks share is looked at or changed,
  // with no lock held. What a task does between two of them is one step to all others.
  //
  // Something that tasks may share was made. arg: its address; name: what it is, "Mutex".
  kObjectMade,
  // It is about to be used. arg: UseOf its address; name: the function that does.
  kObjectUse,
  // `task` is about to look at the cancel state of `region`, and at its own.
  kScopeLook,
  // Somebody is about to ask something of `region`. arg: a ScopeRequest.
  kScopeRequest,

  // A finalizer of `region` was registered. task: its opener; name: the finalizer's.
  kDefer,
  // `region` was opened with a deadline of its own, before those from there up. arg: the instant, in nanoseconds; name: the
  // region's.
  kRegionDeadline,
};
inline constexpr int kEventKindCount = static_cast<int>(EventKind::kRegionDeadline) + 1;
// Nobody but an observer sees it.
constexpr bool IsPoint(EventKind kind) {
  return (kind >= EventKind::kWaitArm && kind <= EventKind::kWaitSettle) ||
         (kind >= EventKind::kObjectMade && kind <= EventKind::kScopeRequest);
}

enum class ObjectUse : uint8_t {
  kLook,
  kChange,
  // Of plain memory: two of them, one a change, that nothing else orders are a data race.
  kPlainLook,
  kPlainChange,
};
// A kObjectUse's arg.
inline uint64_t UseOf(const void* object, ObjectUse use) {
  return uint64_t{reinterpret_cast<uintptr_t>(object)} << 2 | static_cast<uint64_t>(use);
}

enum class ScopeRequest : uint8_t {
  kCancel,      // to stop, at once or gently
  kCancelTask,  // the same, of one task, not of a region; its record, announced as an object, is in the arg above 8 bits
  kCharge,      // to count what was used against its quotas
  kAdmit,       // a task from outside, or one where there are limits
  kClose,       // to end: its opener waits, unless all of its tasks have ended
  kDefer,       // to register a finalizer
  kClaim,       // to claim a permit that it owes
  kResolve,     // … and to count it as resolved
  kSettle,      // whether it owes any
  kRevoke,      // to revoke those that it owes; its opener waits for who has claimed one
  kAsk,         // whether it was cancelled, or has closed
};

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

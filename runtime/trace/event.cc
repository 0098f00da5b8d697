#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

const char* EventKindName(EventKind kind) {
  switch (kind) {
    case EventKind::kSpawn:
      return "spawn";
    case EventKind::kStart:
      return "start";
    case EventKind::kResume:
      return "resume";
    case EventKind::kPark:
      return "park";
    case EventKind::kWake:
      return "wake";
    case EventKind::kTaskEnd:
      return "task-end";
    case EventKind::kRegionOpen:
      return "region-open";
    case EventKind::kCancelRequest:
      return "cancel-request";
    case EventKind::kDraining:
      return "draining";
    case EventKind::kBudgetSpent:
      return "budget-spent";
    case EventKind::kFinalizerStart:
      return "finalizer-start";
    case EventKind::kFinalizerEnd:
      return "finalizer-end";
    case EventKind::kRegionClose:
      return "region-close";
    case EventKind::kCheckpoint:
      return "checkpoint";
    case EventKind::kTimerArm:
      return "timer-arm";
    case EventKind::kTimerFire:
      return "timer-fire";
    case EventKind::kIoReady:
      return "io-ready";
    case EventKind::kStall:
      return "stall";
    case EventKind::kWaitArm:
      return "wait-arm";
    case EventKind::kWaitRegister:
      return "wait-register";
    case EventKind::kWaitEnqueue:
      return "wait-enqueue";
    case EventKind::kWaitSettle:
      return "wait-settle";
    case EventKind::kPermitReserve:
      return "permit-reserve";
    case EventKind::kPermitEnd:
      return "permit-end";
    case EventKind::kPermitsRevoked:
      return "permits-revoked";
    case EventKind::kObjectMade:
      return "object-made";
    case EventKind::kObjectUse:
      return "object-use";
    case EventKind::kScopeLook:
      return "scope-look";
    case EventKind::kScopeRequest:
      return "scope-request";
    case EventKind::kDefer:
      return "defer";
    case EventKind::kRegionDeadline:
      return "region-deadline";
  }
  return "unknown";
}

}  // namespace v0
}  // namespace quiesce

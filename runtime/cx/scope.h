// scope.h: the words that a Cx reads: is this region, is this task cancelled?
//
// A region and a task each carry one atomic word. Requests mark every word below them eagerly (G4), so
// that "am I cancelled?" is two loads that hit the cache and never a walk.
#ifndef QUIESCE_RUNTIME_CX_SCOPE_H_
#define QUIESCE_RUNTIME_CX_SCOPE_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/budget/instant.h"

namespace quiesce {
inline namespace v0 {

class Clock;
class Poller;
class RandomSource;
class Scheduler;
class BlockingPool;
class SignalHub;
class SocketCalls;
class ParkRegistry;

// Where a runtime puts what it has to tell a human: stalled drains, leaks. Thread-safe; must not block
// for long. Outlives the runtime.
class ReportSink {
 public:
  virtual ~ReportSink() = default;
  virtual void Report(const std::string& text) = 0;
};

// What a runtime has counted since it was made. Relaxed.
struct RuntimeCounters {
  std::atomic<uint64_t> permits_leaked{0};  // dropped without having been consumed (G7)
  std::atomic<uint64_t> permits_revoked{
      0};  // still open when the time of a region's close was over
};

// What a runtime gives to its regions. Constant after construction; outlives every region.
struct RuntimeServices {
  Scheduler* scheduler = nullptr;
  Clock* clock = nullptr;
  Poller* poller = nullptr;
  RandomSource* random = nullptr;
  BlockingPool* blocking = nullptr;  // null: the runtime has none
  SignalHub* signals = nullptr;      // null: the runtime does not own signals
  SocketCalls* sockets = nullptr;    // null: the kernel's
  ReportSink* reports = nullptr;
  RuntimeCounters* counters = nullptr;
};

// The word of a region: how many tasks live in it, and its phase.
//
// bits            | set by                                      | cleared by
// ----------------|---------------------------------------------|-----------
// 0..31 count     | spawn +1, body +1 at open; task's end -1    |
// kCancelled      | a request here or above                     | never (G3)
// kPropagated     | the request, once all descendants are marked| never
// kGentle         | BeginDrain here or above                    | never
// kSpent          | drain_by passed or drain quota used up      | never
// kGraceSpent     | finalize_by passed                          | never
// kCloserParked   | the opener, before it waits for the count   | never
// kFinalizing     | the opener, once the count is zero          | never
// kClosed         | the opener, after the last finalizer        | never
namespace region_word {
inline constexpr uint64_t kCountMask = 0xffffffffu;
inline constexpr uint64_t kOne = 1;
inline constexpr uint64_t kCancelled = uint64_t{1} << 32;
inline constexpr uint64_t kPropagated = uint64_t{1} << 33;
inline constexpr uint64_t kGentle = uint64_t{1} << 34;
inline constexpr uint64_t kSpent = uint64_t{1} << 35;
inline constexpr uint64_t kGraceSpent = uint64_t{1} << 36;
inline constexpr uint64_t kCloserParked = uint64_t{1} << 37;
inline constexpr uint64_t kFinalizing = uint64_t{1} << 38;
inline constexpr uint64_t kClosed = uint64_t{1} << 39;
inline constexpr uint64_t kAnySpent = kSpent | kGraceSpent;
inline constexpr uint64_t kAnyCancel = kCancelled | kAnySpent;
}  // namespace region_word

// The ledger word of a region: the permits that it owes (G7, R8), but for those that its tasks count
// themselves; see obligation/ledger.h.
//
// bits            | set by                                      | cleared by
// ----------------|---------------------------------------------|-----------
// 0..31 open      | a task's end: what it has counted; plus     | a permit resolved by somebody else: -1
//                 | kBias, as it may be below zero until then   |
// 32..55 claims   | somebody else, who resolves a permit: +1    | the same, when its effect is done: -1
// kAwaited        | the opener, before it waits for them        | never
// kRevoked        | the opener, when the time for that is over  | never
namespace permit_word {
inline constexpr uint64_t kOpenOne = 1;
inline constexpr uint64_t kBias = uint64_t{1} << 31;
inline constexpr uint64_t kOpenMask = 0xffffffffu;
inline constexpr uint64_t kClaimOne = uint64_t{1} << 32;
inline constexpr uint64_t kClaimMask = uint64_t{0xffffff} << 32;
inline constexpr uint64_t kAwaited = uint64_t{1} << 62;
inline constexpr uint64_t kRevoked = uint64_t{1} << 63;
constexpr int64_t Open(uint64_t word) {
  return static_cast<int64_t>(word & kOpenMask) - static_cast<int64_t>(kBias);
}
constexpr bool AllResolved(uint64_t word) { return (word & (kOpenMask | kClaimMask)) == kBias; }
}  // namespace permit_word

template <class T>
class Outcome;
class CancelReason;
struct RegionScope;
struct TaskScope;

// What the lower floors ask of regions; region/ implements it.
struct RegionOps {
  // The task's frame is gone. `failure`: see TaskEnd. Releases the task.
  void (*task_ended)(TaskScope* task, Outcome<void>* failure);
  // Counts what `task` uses in `region` against the quotas from here up (R5); may cancel.
  void (*charge)(RegionScope* region, TaskScope* task, int64_t polls, int64_t cost);
  // Why `task`, in `region`, is cancelled.
  CancelReason (*reason)(RegionScope* region, TaskScope* task);
  // Keeps the region's record, for a step that may come after its close.
  void (*ref)(RegionScope* region);
  void (*unref)(RegionScope* region);
  // A wait of `task` failed because the drain budget was spent.
  void (*cut_off)(RegionScope* region, TaskScope* task);
  // The effect of a permit that somebody else had claimed is done: takes the claim back.
  void (*permit_done)(RegionScope* region);
};

// The part of a region that tasks and waits read. Lives in RegionCore (region/).
struct RegionScope {
  // acq_rel on the count, since the last task's writes happen before the close; the phase bits are
  // only ever set, with release, after what they announce has been written.
  std::atomic<uint64_t> word{0};
  const RuntimeServices* services = nullptr;
  const RegionOps* ops = nullptr;
  ParkRegistry* parked = nullptr;
  // True if a region from here up, or a cancelled task in one, has a poll or cost quota, so that resumes
  // must be counted.
  std::atomic<bool> metered{false};
  // Meet of the own deadline and the parent's: orders the timed lane. Constant after opening.
  Instant deadline = Instant::InfiniteFuture();
  uint64_t id = 0;
  uint32_t depth = 0;
  // What TaskCore::permits is for its tasks, for the body and the finalizers, which run in the opener's.
  std::atomic<int16_t> opener_permits{0};
  // acq_rel: what happened before a permit was resolved happens before the close.
  std::atomic<uint64_t> permits{permit_word::kBias};
  const char* region_name = "";  // a literal
  // Nothing but a panic of its tasks is joined. Constant after opening.
  bool joins_only_panics = false;
};

// The word of a task: the state of its current wait (4 bits, and 8 for a Select), and its own cancel state.
//
// wait state   | meaning                                        | moves to
// -------------|------------------------------------------------|------------------------------
// kRunning     | running, ready, or arming a wait               | kParked* or kCancelled by the task
//              |                                                | itself; kGranted by a primitive,
//              |                                                | while arming
// kParked…     | suspended: ordinary, drain, grace, structural   | kGranted, kCancelled, kSpent: the
//              |                                                | winner posts the task, once
// kGranted     | a primitive has given what was waited for      | kRunning by the task itself
// kCancelled   | a request ended the (ordinary) wait            | kRunning by the task itself
// kSpent       | the end of the drain budget ended the wait     | kRunning by the task itself
//
// One compare-exchange decides between granted and cancelled (R5, G8).
namespace task_word {
inline constexpr uint32_t kStateMask = 0xf;
inline constexpr uint32_t kRunning = 0;
inline constexpr uint32_t kParkedOrdinary = 1;
inline constexpr uint32_t kParkedDrain = 2;
inline constexpr uint32_t kParkedStructural = 3;
inline constexpr uint32_t kGranted = 4;
inline constexpr uint32_t kDecidedCancelled = 5;
inline constexpr uint32_t kDecidedSpent = 6;
inline constexpr uint32_t kParkedGrace = 7;
// A sweep has passed by that did not end a wait of this task: before it parks again it looks at its region's word.
inline constexpr uint32_t kLook = 1u << 4;
inline constexpr uint32_t kCancelled = 1u << 8;
inline constexpr uint32_t kSpent = 1u << 9;
inline constexpr uint32_t kGraceSpent = 1u << 10;
// While set, the task does not leave the wait that it is parked in: whoever follows a chain of holders
// (TaskCore::Pin) is reading it. A few instructions.
inline constexpr uint32_t kPinned = 1u << 11;
inline constexpr uint32_t kCutOff = 1u << 12;  // one of its waits failed with the drain budget
inline constexpr uint32_t kEnded = 1u << 13;
inline constexpr uint32_t kMetered = 1u << 14;  // was cancelled with a poll or cost quota to drain
// What the task's value owes is aborted, should nobody take it: the task or its region was cancelled when it ended, or
// its handle went with what failed or was cancelled (R8).
inline constexpr uint32_t kAbortsValue = 1u << 15;
inline constexpr uint32_t kAnySpent = kSpent | kGraceSpent;
inline constexpr uint32_t kAnyCancel = kCancelled | kAnySpent;
// How many of the locks that the task holds lend it the cancel lane: TaskCore::Boost.
inline constexpr uint32_t kBoost = 1u << 16;
inline constexpr uint32_t kBoostMask = 0xffu << 16;
// With kGranted: which of the waits of a Select, counted from 1; 0 where there is only one.
inline constexpr int kArmShift = 24;
inline constexpr uint32_t kArmMask = 0xffu << kArmShift;
// What a wait's decision has written, and its end erases.
inline constexpr uint32_t kWaitMask = kStateMask | kArmMask;
}  // namespace task_word

// The part of a task that its Cx reads. Lives in TaskCore (task/).
struct TaskScope {
  bool IsGranted() const {
    return (word.load(std::memory_order_relaxed) & task_word::kStateMask) == task_word::kGranted;
  }
  std::atomic<uint32_t> word{0};
  // Masked(n): resumes left in the innermost mask, only touched by the task itself.
  uint16_t masked_resumes = 0;
  uint8_t flags = 0;         // TaskFlags, constant after the spawn but for kRecordCutOff
  uint8_t ready_streak = 0;  // waits in a row that were ready at once, modulo 256
  // Identifies the task for the life of the process. Kept when the task ends, so that a stale Cx is
  // recognised.
  uint64_t id = 0;
};

enum CxFlags : uint32_t {
  kForDrain = 1,   // waits go on until the drain budget is spent
  kGraceTime = 2,  // in a finalizer: waits go on until finalize_by
  kNoSpawn = 4,    // in a finalizer's own Cx: Spawn and Defer are refused
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CX_SCOPE_H_

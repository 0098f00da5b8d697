// task_core.h: the record of a task: what the scheduler runs, cancels and counts.
//
// One block: [TaskCore | callable and arguments | root frame]. When the task has ended the frame, the
// callable and the arguments are destroyed and the outcome, if a handle still wants it, takes their place.
//
// Invariants: (1) exactly one of {a worker runs it, it is in one run queue, it is parked, it has ended};
//             (2) the outcome lives as long as the running task or its handle, or as its listener wants; the block as
//             long as these, cancellers, leases that the task holds, and a foreign frame in it. So what is in an outcome may
//             keep the record of its own task.
#ifndef QUIESCE_RUNTIME_TASK_TASK_CORE_H_
#define QUIESCE_RUNTIME_TASK_TASK_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/scheduler/runnable.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/task/waiter_word.h"

namespace quiesce {
inline namespace v0 {

class PromiseBase;
class Waiter;
class RegionCore;
struct ParkShard;
struct TaskCore;

enum TaskFlags : uint8_t {
  kSpawnedForDrain = 1,     // starts even if cancelled before, and its waits are drain waits
  kSpawnedInGrace = 2,      // … with the waits of a finalizer
  kAdoptsForeignFrame = 4,  // the block's tail was taken by a frame that is not the task's root
  kHasResult = 8,           // the outcome is in the block
  kNoClosure = 16,          // copying the callable or an argument threw
  kListened = 32,           // a listener stays until the end, and has the record's only reference
};

// How a task's coroutine came to its end.
struct TaskFinish {
  TaskFinish(PromiseBase* root, PromiseBase* unwind_from, const Outcome<void>* not_started)
      : root(root), unwind_from(unwind_from), not_started(not_started) {}
  PromiseBase* root;
  PromiseBase* unwind_from;  // the leaf of a failing chain, destroyed first; null: only the root
  const Outcome<void>* not_started;  // the outcome of a task that did not start; null: it did
};

// Hears of the end of a task, in the step that ends it: for those who wait for several at once. See
// TaskCore::Listen and ListenAlways.
struct EndListener {
  explicit EndListener(void (*on_end)(EndListener*, TaskCore*)) : on_end(on_end) {}
  // The outcome is in the block. May take other locks (the joiner's is held, if it came by Listen), decide waits,
  // cancel and Post; must not block.
  void (*on_end)(EndListener* self, TaskCore* task);
};

// What the region has to know of a task's outcome. `failure` is Ok if there is none, or if the region would not join it.
struct TaskEnd {
  TaskEnd(Severity severity, Outcome<void> failure)
      : severity(severity), failure(std::move(failure)) {}
  Severity severity;
  Outcome<void> failure;
};

// What differs between spawns of different type.
struct TaskOps {
  // Destroys the frames and the callable, and keeps the outcome in the block if `keep`.
  TaskEnd (*finish)(TaskCore* core, const TaskFinish& how, bool keep);
  void (*destroy_result)(TaskCore* core);
  // A coroutine that panics, in place of the one that a callable did not make.
  PromiseBase* (*panicked)(Panic panic);
};

// Name, place and type of a spawn: one static object for each site, found by SiteFor.
struct SpawnSite {
  SpawnSite(const char* name, const char* file, uint32_t line, const TaskOps* ops, SpawnSite* next)
      : name(name), file(file), line(line), ops(ops), next(next) {}
  const char* name;
  const char* file;
  uint32_t line;
  const TaskOps* ops;
  // The root frame's size as seen so far, 0 before the first spawn; relaxed, only a hint.
  std::atomic<uint32_t> frame_size{0};
  SpawnSite* next;
};

// The site of (name, file, line, ops), made on first use and never freed. Thread-safe.
SpawnSite* SiteFor(const char* name, const char* file, uint32_t line, const TaskOps* ops);

// What a step leaves for the one who called resume: set when the root coroutine has finished.
struct StepFrame {
  TaskFinish finish{nullptr, nullptr, nullptr};
};

struct ParkHook : ListHook {
};  // in the registry of the region it waits in, guarded by its shard's lock

struct TaskCore : Runnable, TaskScope, ParkHook {
  explicit TaskCore(Step step) : Runnable(step), root(nullptr) {}

  union {
    Waiter* waiter;     // after the start: the wait to complete at the next step
    PromiseBase* root;  // before: the coroutine to start
  };
  RegionScope* scope = nullptr;  // the owning region's
  const SpawnSite* site = nullptr;
  // 0: nobody joins; kJoinLocked bit: a few instructions of an update; kJoinDone: the outcome is in the
  // block; kJoinListener bit: the rest is an EndListener; else the joining Waiter. Guarded as a spin lock by
  // its own bit (acquire, release).
  std::atomic<uintptr_t> joiner{0};
  // Where it is registered, null if nowhere: see ParkRegistry. Written by the running task, or by a sweep that has
  // decided its wait.
  ParkShard* park_shard = nullptr;
  RegionCore* opened =
      nullptr;  // regions that this task has opened in its own; guarded by its lock
  // kOutcomeRef for each of the running task (unless kListened) and its handle or listener, which keep the outcome; 1 for these together, and for each
  // of the others, which keep the block. Given up with acq_rel, as always.
  std::atomic<uint32_t> refs{2 * kOutcomeRef + 1};
  uint16_t block_units = 0;  // the block's size in units of 16 bytes
  // Permits that this task has reserved in its own region and not resolved itself, less those that it has
  // told the region of. Written by the task alone (no read-modify-write), read by dumps. See
  // obligation/ledger.h.
  std::atomic<int16_t> permits{0};

  static constexpr uint32_t kOutcomeRef = uint32_t{1} << 30;
  static constexpr uint32_t kLastRef = kOutcomeRef + 1;
  static constexpr uintptr_t kJoinLocked = 1;
  static constexpr uintptr_t kJoinDone = 2;
  static constexpr uintptr_t kJoinListener = 4;

  // Valid only while the task's step is running: `next` is free then.
  void set_step_frame(StepFrame* frame) { Runnable::next = reinterpret_cast<Runnable*>(frame); }
  StepFrame* step_frame() { return reinterpret_cast<StepFrame*>(Runnable::next); }

  // Publishes the outcome: wakes the joiner, or tells the listener. From here on the task's region may go
  // away.
  void PublishEnd();
  // Tells `listener`, once, when the task ends. False: it has ended, and nobody is told. The caller holds a
  // reference, which also keeps the outcome, and nobody joins the task.
  bool Listen(EndListener* listener);
  // After this the listener is not told any more, and may go away.
  void Unlisten();
  // The same, before the task is launched, for a listener that stays until the region has no tasks any more, and
  // keeps the record until then: nobody joins the task, nor cancels it by a handle.
  void ListenAlways(EndListener* listener) {
    joiner.store(reinterpret_cast<uintptr_t>(listener), std::memory_order_relaxed);
    flags |= kListened;
    refs.store(kLastRef, std::memory_order_relaxed);  // the listener's
  }
  // Calls `action` if the task has not ended, which then cannot end (nor its region close) meanwhile.
  template <class Action>
  bool UnlessEnded(Action action) {
    LockJoiner();
    const bool live = (joiner.load(std::memory_order_relaxed) & kJoinDone) == 0;
    if (live) action();
    UnlockJoiner(joiner.load(std::memory_order_relaxed));
    return live;
  }
  // The bit lock of `joiner`. Unlock stores the new value, without the bit.
  void LockJoiner();
  void UnlockJoiner(uintptr_t value) {
    joiner.store(value & ~kJoinLocked, std::memory_order_release);
  }

  uint32_t block_size() const { return uint32_t{block_units} * 16; }
  void* payload() { return reinterpret_cast<char*>(this) + kPayloadOffset; }
  static const size_t kPayloadOffset;

  // Keeps the block, but not the outcome.
  void RefRecord() { refs.fetch_add(1, std::memory_order_relaxed); }
  void UnrefRecord() {
    // The only reference left is the caller's: no read-modify-write is needed.
    if (refs.load(std::memory_order_acquire) == 1 ||
        refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      Free();
    }
  }
  // For the running task and its handle. Does anybody else want the outcome?
  bool OutcomeIsShared() const { return refs.load(std::memory_order_acquire) >= 2 * kOutcomeRef; }
  // Gives theirs up: the last of the two destroys an outcome that nobody has taken.
  void Unref() {
    if (refs.load(std::memory_order_acquire) == kLastRef) {  // as above
      DropOutcome();
      Free();
    } else if (refs.fetch_sub(kOutcomeRef, std::memory_order_acq_rel) < 2 * kOutcomeRef) {
      DropOutcome();
      UnrefRecord();
    }
  }

  // What the value owes is aborted, should nobody take it. Threads: any that holds one of the two references.
  void SetAbortsValue() { word.fetch_or(task_word::kAbortsValue, std::memory_order_relaxed); }
  bool AbortsValue() const {
    return (word.load(std::memory_order_relaxed) & task_word::kAbortsValue) != 0;
  }

  // Queues the task in the lane that its state asks for. `waited_in` is the region of
  // the Cx that it waited with.
  void Post(const RegionScope& waited_in, Place place) {
    waited_in.services->scheduler->Post(this, LaneIn(waited_in), place, waited_in.deadline);
  }
  // That lane: cancel for what is cancelled, drains or is boosted, timed below a deadline.
  Lane LaneIn(const RegionScope& waited_in) const {
    const uint32_t own = word.load(std::memory_order_relaxed);
    const uint64_t region = waited_in.word.load(std::memory_order_relaxed);
    if ((region & region_word::kAnyCancel) != 0 ||
        (own & (task_word::kAnyCancel | task_word::kBoostMask)) != 0) [[unlikely]] {
      return Lane::kCancel;
    }
    return waited_in.deadline.is_infinite() ? Lane::kReady : Lane::kTimed;
  }

  // Lane inheritance (R9, G12). A primitive in which tasks wait for a holder keeps, under its lock, who that is
  // and whether it lends it the cancel lane; its operation's LendLane calls LendTo for the first time only,
  // and its release Boost(-1). Effective at the holder's next enqueue. Threads: any.
  void Boost(int locks) {
    word.fetch_add(static_cast<uint32_t>(locks) * task_word::kBoost, std::memory_order_acq_rel);
  }
  // False: so many locks lend it the lane that one more need not, and its word could not count it. Ask before each
  // Boost(1) and LendTo, and take back only what was lent. (Below the end of the count, since the locks do not know
  // of each other.)
  bool MayBoost() const {
    return (word.load(std::memory_order_relaxed) & task_word::kBoostMask) < 200 * task_word::kBoost;
  }
  // Boosts `this`, which the caller's lock keeps alive, and pins it if it is parked: returned, for who has to
  // follow the chain; null if it is not parked, and will lend on when it parks.
  TaskCore* LendTo() {
    Boost(1);
    return TryPin() ? this : nullptr;
  }
  // A pinned task does not leave the wait that it is parked in, so its waiter may be read.
  bool TryPin();
  // The same, but waits for another who has pinned it. False: it is not parked.
  bool PinIfParked();
  void Unpin() { WaiterWord(word).Unpin(); }

 private:
  void DropOutcome() {
    if (flags & kHasResult) DropValue();
  }
  void DropValue();
  void Free();
};

inline constexpr size_t TaskCore::kPayloadOffset = (sizeof(TaskCore) + 15) / 16 * 16;

class ParkRegistry;

// A part of a ParkRegistry, a cache line. Here, so that a wait can look where its task is registered.
struct ParkShard {
  ParkShard() = default;
  explicit ParkShard(ParkRegistry* registry) : registry(registry) {}
  SpinLock lock;
  uint32_t size = 0;
  IntrusiveList<TaskCore, ParkHook> tasks;
  ParkRegistry* registry = nullptr;  // constant once tasks may be here
  char pad[24];
};

// The steps of a task: StartStep the first time, RunStep after each wake.
void StartStep(Runnable* runnable);
void RunStep(Runnable* runnable);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_TASK_CORE_H_

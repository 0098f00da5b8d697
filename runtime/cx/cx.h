// cx.h: the capability context: the only door to effects.
//
// Why:        what a function may do, which region answers for it, and when it must stop, in one value
//             that is passed explicitly; there is no thread-local way to get one.
// Example:    Task<void> Tick(CxWith<cap::Time> cx) {
//               while (true) co_await OrReturn(Sleep(cx, absl::Seconds(1)));   // ends by cancel
//             }
// Invariants: (1) authority only narrows (G10): CxWith<A, B> converts to CxWith<A>, never back;
//             (2) only the task it belongs to may use a Cx, and only while that task lives (R7):
//             found with a message where debug checks are on, undefined elsewhere.
// Threads:    a plain value; use it in its own task. For other threads there is RegionRef (Cx::Ref).
#ifndef QUIESCE_RUNTIME_CX_CX_H_
#define QUIESCE_RUNTIME_CX_CX_H_

#include <cstdint>

#include "absl/time/time.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/instrumentation.h"
#include "quiesce/runtime/base/thread_word.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/cx/authority.h"
#include "quiesce/runtime/cx/capability.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/outcome/outcome.h"

namespace quiesce {
inline namespace v0 {

class RegionRef;
struct SpawnName;
struct SpawnSite;
namespace cx_internal {
class CxMint;
}

// What every Cx is, whatever it allows. Primitives store this; users write Cx or CxWith<…>.
class CxBase {
 public:
  CxBase() = delete;

  // Has this task been asked to stop (by a request, or because its budget is spent)? Two loads.
  // Says what is asked, also under ForDrain and Masked, which only decide what waits do.
  bool cancelled() const {
    Verify();
    return AnyCancel();
  }
  // Why; only meaningful once cancelled().
  CancelReason cancel_reason() const;
  // Has a gentle drain begun for this region or one above it (BeginDrain)? Finish, take nothing new.
  bool Draining() const {
    Verify();
    return (authority_->region->word.load(std::memory_order_relaxed) &
            (region_word::kGentle | region_word::kCancelled)) != 0;
  }

  // A checkpoint that never suspends: Ok, or Cancelled just as an ordinary wait would be here.
  // For loops that compute.
  Outcome<void> TryCheckpoint() const;

  // Uses up `cost` units of the cost quotas from here up. Running out cancels the region that set the
  // quota with kQuota (R5). Does not suspend, cannot fail. Precondition: cost >= 0.
  void Charge(int64_t cost) const;

  // The time on the region's clock.
  Instant Now() const;
  // The earlier of the deadlines from here up; InfiniteFuture if there is none.
  Instant deadline() const {
    Verify();
    return authority_->region->deadline;
  }

  // For primitives: the parts, unchecked.
  const Authority* authority() const { return authority_; }
  RegionScope* region() const { return authority_->region; }
  TaskScope* task() const { return task_; }
  uint32_t flags() const { return flags_; }
  const RuntimeServices& services() const { return *authority_->region->services; }

  // How each use of a Cx begins. Fails with a message, where debug checks are on, if that is after its task's end or by
  // another task (R7). A point of a lab's (trace/event.h): what is asked or done by it may depend on a cancel.
  void Verify() const {
    if (Instrumented()) [[unlikely]]
      VerifySlow();
  }

 protected:
  friend class cx_internal::CxMint;
  CxBase(const Authority* authority, TaskScope* task, uint32_t flags)
      : authority_(authority),
        task_(task),
        generation_(static_cast<uint32_t>(task->id)),
        flags_(flags) {}

  bool AnyCancel() const {
    return ((authority_->region->word.load(std::memory_order_relaxed) & region_word::kAnyCancel) |
            (task_->word.load(std::memory_order_relaxed) & task_word::kAnyCancel)) != 0;
  }
  void VerifySlow() const;
  void CheckOwner() const;

  const Authority* authority_;
  TaskScope* task_;
  uint32_t generation_;
  uint32_t flags_;
};

namespace cx_internal {

uint8_t UnusualWaitMode(const CxBase& cx);
// How a wait made with `cx` now would stand to a cancel: one of task_word::kParked… (R2, R3).
inline uint8_t WaitMode(const CxBase& cx, bool structural) {
  if (structural) return task_word::kParkedStructural;
  if ((cx.flags() & (kForDrain | kGraceTime)) != 0 || cx.task()->masked_resumes != 0) [[unlikely]]
    return UnusualWaitMode(cx);
  return task_word::kParkedOrdinary;
}
// The same, without a mask of the task: what a spawn or a region made with `cx` inherits.
uint8_t FlagMode(const CxBase& cx);
// Must a wait of `mode` fail at once, given the words of its region and its task? The order is R3's:
// budget spent > Masked > ForDrain > cancelled.
bool MustFail(uint8_t mode, uint64_t region_word, uint32_t task_word);
// MustFail with the words of `cx`.
bool MustFailNow(const CxBase& cx, uint8_t mode);
// Why; what fails although it is allowed to drain has been cut off, and is counted.
CancelReason FailReason(const CxBase& cx, uint8_t mode);

// The task whose step runs on this thread, or null. For checks and reports, never to find a Cx.
// RunningSlot::task, of running_task.h.
#ifdef QUIESCE_READ_THREAD_WORD
[[gnu::always_inline]] inline TaskScope* CurrentTask() {
  return reinterpret_cast<TaskScope*>(QUIESCE_READ_THREAD_WORD("quiesce_v0_running_slot"));
}
#else
TaskScope* CurrentTask();
#endif
void SetCurrentTask(TaskScope* task, const SpawnSite* site);
// Calls visit(argument, site, task id) for each task that a thread of this process is running now.
// Sites live for ever, tasks do not: hence the site and not the task.
void VisitRunningTasks(void (*visit)(void* argument, const SpawnSite* site, uint64_t task),
                       void* argument);

}  // namespace cx_internal

// A Cx that allows exactly Caps.
template <class... Caps>
class CxWith : public CxBase {
 public:
  template <class... Wider>
    requires(... && cx_internal::kContains<Caps, Wider...>)
  CxWith(const CxWith<Wider...>& wider) : CxBase(wider) {}  // NOLINT: narrowing is implicit

  // The same Cx, whose waits go on working until the drain budget is spent (R2), also those made
  // before the request. Callees get the flag by copy and a task spawned through it inherits it.
  CxWith ForDrain() const {
    CxWith copy = *this;
    copy.flags_ |= kForDrain;
    return copy;
  }

  // The region of this Cx, for other tasks, threads and callbacks. Only of a whole Cx, since what is spawned
  // through a RegionRef gets one. Defined in region/region_ref.h.
  RegionRef Ref() const;

  // Puts a task into this region: callable(cx, args…) must return a Task<T>. The callable and the
  // arguments are kept as long as the task lives. `name` is a literal.
  // Returns  a TaskHandle<T>; a refused spawn returns an ended handle that holds the cause and
  //          destroys its arguments: Cancelled (region or task cancelled, and not ForDrain),
  //          Error(kResourceExhausted) (admission limits), Error(kFailedPrecondition) (finalizer).
  // Defined in region/spawn.h.
  template <class F, class... Args>
  auto Spawn(SpawnName name, F&& callable, Args&&... args) const;

  // As Spawn, but waits while the region's admission limits are reached. Ordinary wait.
  template <class F, class... Args>
  auto SpawnWhenAdmitted(SpawnName name, F callable, Args... args) const;

  // Registers clean-up of the region: finalizer(cx) returns Task<void> and runs once, last-registered
  // first, after the region's tasks have ended, under the grace budget (G6, R4).
  // Returns  Ok, or Error(kFailedPrecondition) in a finalizer. Defined in region/spawn.h.
  template <class F>
  absl::Status Defer(SpawnName name, F&& finalizer) const;

  // A Cx that also allows T, a capability of the user's own. The caller keeps `implementation` alive
  // until the region has closed. Defined in region/spawn.h.
  template <class T>
  CxWith<Caps..., T> Provide(T& implementation) const;

  // The same Cx with `policy` asked before every effect, after those above. The caller keeps
  // `policy` alive until the region has closed. Defined in region/spawn.h.
  CxWith Restrict(const Policy& policy) const;

  // The implementation provided for T.
  template <class T>
  T& Get() const {
    static_assert(cx_internal::kContains<T, Caps...> && !cx_internal::kBuiltIn<T>,
                  "this Cx does not allow T: add T to the CxWith<...> of the parameter");
    Verify();
    return *static_cast<T*>(authority_->Find(&cx_internal::Key<T>::tag));
  }

 private:
  friend class cx_internal::CxMint;
  explicit CxWith(const CxBase& base) : CxBase(base) {}
};

namespace cx_internal {
template <class CxType>
inline constexpr bool kHasSpawn = false;
template <class... Caps>
inline constexpr bool kHasSpawn<CxWith<Caps...>> = kContains<cap::Spawn, Caps...>;
}  // namespace cx_internal

namespace cx_internal {
// The mint (G10): regions, the runtime's root, Provide and Restrict make Cx values through this class,
// nobody else does.
class CxMint {
 public:
  template <class CxType>
  static CxType Make(const Authority* authority, TaskScope* task, uint32_t flags) {
    return CxType(CxBase(authority, task, flags));
  }
};
}  // namespace cx_internal

// Masks the current task: its ordinary waits go on as drain waits do, until `resumes` more resumes or
// the end of the drain budget (R3), whichever is first. For a short section that must not be torn:
//   { Masked mask(cx, 2);  co_await OrReturn(WriteHeader(cx, f));  co_await OrReturn(WriteBody(cx, f)); }
// Nests: the outer mask goes on where the inner ends. Precondition: 0 < resumes <= 65535.
class [[nodiscard]] Masked {
 public:
  Masked(const CxBase& cx, int resumes);
  ~Masked();
  Masked(const Masked&) = delete;
  Masked& operator=(const Masked&) = delete;

 private:
  TaskScope* task_;
  uint16_t outer_;  // resumes that the enclosing mask had left
  uint16_t start_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CX_CX_H_

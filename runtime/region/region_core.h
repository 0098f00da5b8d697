// region_core.h: the state of a region, and the cancel protocol on it. Internal to runtime/region.
//
// Invariants: (1) the parent outlives the child, since a child region is opened by a task of its parent
//             and that task does not end before the close (G1); (2) a request marks the words from the
//             top down, one region's lock at a time; a child that is being opened copies its parent's
//             state under the parent's lock, so it is marked by one or by the other (G4); (3) drain
//             deadlines only move to the earlier, kinds only to the more severe (G3); (4) only the
//             region or task that a request was aimed at keeps an alarm for it (R5).
// Threads:    any. Lock order: lock_, then a registry's shard, the clock, a run queue. Never two
//             regions' locks at once but child's after parent's in Open and Close.
#ifndef QUIESCE_RUNTIME_REGION_REGION_CORE_H_
#define QUIESCE_RUNTIME_REGION_REGION_CORE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/cx/authority.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/finalizer.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/park_registry.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

// What the shutdown of one root did, for the drain report. Relaxed counters. A request is a shutdown if it
// is aimed at the root, at the region above it (a runtime's own), or at a task of either; what a request
// further down does (a timeout of one connection, days before) is not counted.
struct DrainStats {
  // Ended after a shutdown had reached them, without having been cut off by it; not counting those that
  // were spawned for the drain.
  std::atomic<int64_t> tasks_drained{0};
  // Had a wait fail because what the shutdown gave them for the drain was spent.
  std::atomic<int64_t> tasks_cut_off{0};
  std::atomic<int64_t> finalizers_run{0};    // since the first request
  std::atomic<int64_t> first_request_ns{0};  // 0: there was none
};

// A timer that, when due, runs a step on the cancel lane. Guarded by the owning region's lock.
struct Alarm : Timer, Runnable {
  Alarm(RegionCore* region, Runnable::Step on_due);
  RegionCore* const region;
  bool pending = false;  // armed, or its step posted and not yet begun
};

// An alarm of somebody who is no part of the region: a lease of one of its tasks, say. The close disarms it, so that it
// is never armed with the clock of a runtime that has gone.
struct GuestHook : ListHook {};
struct GuestAlarm : Alarm, GuestHook {
  // `dropped` is called, with the region's lock held, once the alarm will not come any more, if it was disarmed.
  GuestAlarm(RegionCore* region, Runnable::Step on_due, void (*dropped)(GuestAlarm*))
      : Alarm(region, on_due), dropped(dropped) {}
  void (*const dropped)(GuestAlarm*);
};

// What a drain may use where the request does not say: a region's own, or inherited.
struct DrainDefault {
  int64_t nanos = Budget::kUnlimited;  // from the request on
  Instant deadline = Instant::InfiniteFuture();
  int64_t polls = Budget::kUnlimited;
  int64_t cost = Budget::kUnlimited;

  Instant EndsBy(Instant now) const { return std::min(deadline, After(now, nanos)); }
  // With what `drain` limits in its place. A deadline and a timeout are one: the time.
  DrainDefault With(const Budget& drain) const;
};

// A request, as it travels down.
struct CancelRequest {
  CancelRequest(CancelReason reason, Instant drain_by, Instant finalize_by, int64_t drain_polls,
                int64_t drain_cost)
      : reason(std::move(reason)),
        drain_by(drain_by),
        finalize_by(finalize_by),
        drain_polls(drain_polls),
        drain_cost(drain_cost) {}
  CancelReason reason;
  Instant drain_by;
  Instant finalize_by;
  int64_t drain_polls;
  int64_t drain_cost;
  bool is_shutdown = false;  // see DrainStats
};

struct SiblingHook : ListHook {};

// Between the first two reports of what is overdue, a region or a task; then it doubles.
inline constexpr absl::Duration kFirstReportInterval = absl::Seconds(1);

class RegionCore : public RegionScope, public SiblingHook {
 public:
  // Cancel state of one task that was cancelled through its handle.
  struct TaskCancel;

  static void* operator new(size_t size);
  static void operator delete(void* memory, size_t size);

  static RegionCore* NewRoot(const RuntimeServices* services, const char* name, DrainStats* stats);

  // Opens a child of `cx`'s region. Null, with `refused` set, if a wait of cx would fail now.
  static RegionCore* Open(const CxBase& cx, const char* name, const char* file, uint32_t line,
                          RegionPolicy policy, const RegionOptions& options,
                          Outcome<void>& refused);

  // A worker's housekeeping: counts down what has ended on this thread. May post.
  static void FlushEndedTasks();

  // A call of somebody who need not be a task of the region: while it lasts, the region does not end its
  // close, so neither does the runtime. Unless it had closed before.
  class OutsideCall {
   public:
    explicit OutsideCall(RegionCore* region) : region_(region) {
      // seq_cst, against the order in Close: one of the two sees the other.
      region_->calls_.fetch_add(1, std::memory_order_seq_cst);
    }
    ~OutsideCall() { region_->calls_.fetch_sub(1, std::memory_order_seq_cst); }
    OutsideCall(const OutsideCall&) = delete;
    OutsideCall& operator=(const OutsideCall&) = delete;
    bool region_closed() const {
      return (region_->word.load(std::memory_order_seq_cst) & region_word::kClosed) != 0;
    }

   private:
    RegionCore* const region_;
  };

  void Ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void Unref();

  // A point of a lab's: somebody, who holds no OutsideCall, is about to ask this of the region.
  void BeforeRequest(ScopeRequest request) const {
    Emit(EventKind::kScopeRequest, id, 0, static_cast<uint64_t>(request));
  }

  // --- tasks ---
  // Counts a new task in. `size` is its block's. Not Ok: refused, and why (R3, admission).
  // `reserved`: SpawnWhenAdmitted has taken the admission already.
  Outcome<void> AdmitFromInside(const CxBase& cx, uint32_t size, bool reserved);
  // The same where nothing stands against it; false: ask AdmitFromInside.
  bool TryAdmit(const CxBase& cx) {
    constexpr uint64_t kAgainst = region_word::kAnyCancel | region_word::kFinalizing;
    if ((word.load(std::memory_order_relaxed) & kAgainst) != 0 || limited_ ||
        (cx.flags() & kNoSpawn) != 0 ||
        (cx.task()->word.load(std::memory_order_relaxed) & task_word::kAnyCancel) != 0)
        [[unlikely]] {
      return false;
    }
    if ((CountUp() & region_word::kAnyCancel) == 0) [[likely]]
      return true;
    CountDown(/*drained=*/0);
    return false;
  }
  // From other tasks and threads: also refused once the region has nothing left to wait for.
  Outcome<void> AdmitFromOutside(uint32_t size, bool for_drain);
  // RegionOps::task_ended.
  static void TaskEnded(TaskScope* task, Outcome<void>* failure);
  // The body has returned. Its failure is joined like a child's; `is_body`: though only a child's panic were.
  void BodyEnded(const Outcome<void>& failure, bool is_body);

  // --- cancel ---
  // `alarm`: by the opener, whose body has ended, when the drain's time may begin to be watched.
  enum class ArmAlarm : bool { kNow, kWhenCloserParks };
  void Cancel(CancelKind kind, absl::string_view message, const Budget& drain,
              ArmAlarm alarm = ArmAlarm::kNow);
  void CancelTask(TaskCore* task, CancelKind kind, absl::string_view message, const Budget& drain);
  void BeginDrain(const Budget& budget);
  // `task` has used these in this region.
  void Charge(TaskCore* task, int64_t polls, int64_t cost);
  // Why `task` (null: an outsider) may not go on here.
  CancelReason ReasonFor(TaskScope* task);
  void CutOff(TaskScope* task);

  // --- alarms of others; each is armed once ---
  // Called by a task of the region.
  void ArmGuest(GuestAlarm* alarm, Instant when);
  // No effect if it has come, or its step is on the way. The caller holds a reference to the region.
  void DisarmGuest(GuestAlarm* alarm);
  // For its step, at the beginning; which ends by Unref.
  void GuestIsDue(GuestAlarm* alarm);

  // --- close, by the opener ---
  // The structural wait for the count to become zero. The body has been counted until here.
  bool TryCloseCount();
  // For an observer that lets the opener wait at this point already, while tasks live.
  void BeforeClose() {
    if (!EventsWanted(EventKind::kScopeRequest)) [[likely]]
      return;
    ArmDueAlarm();
    BeforeRequest(ScopeRequest::kClose);
  }
  bool ParkCloser(Waiter* waiter);
  // After the grant: nothing is admitted any more. (The other two say so by themselves.)
  void CountIsZero();
  // Runs a task of the region, which has not begun, in the opener's place, if it is what would come next anyway.
  bool RunNextTask();
  void BeginFinalizing();
  Finalizer* PopFinalizer();
  void FinalizerEnded(const char* name, const Outcome<void>& outcome);
  // Revokes what is still owed, and leaves the tree. Returns what the children, the body and the finalizers joined to.
  Outcome<void> Close();

  // --- permits, by the opener, after the finalizers ---
  // Are permits of the region still open? The time that they have begins with the first true answer.
  bool OwesPermits();
  // The structural wait for them, and for that time to be over.
  bool PermitsSettled();
  Enqueued AwaitPermits(Waiter* waiter);

  void AddFinalizer(Finalizer* finalizer);
  void AddAuthority(Authority* node);

  // --- admission waits ---
  // False: a block of that size is larger than the limit, and would wait for ever.
  bool CanEverFit(uint32_t size) const;
  Outcome<void> Full() const;
  Outcome<void> ClosedError() const;
  bool TryReserveAdmission(uint32_t size);
  // kDone: admitted at once.
  Enqueued QueueForAdmission(AdmissionRequest* request);
  void LeaveAdmissionQueue(AdmissionRequest* request);
  void ReturnAdmission(uint32_t size);

  // Somebody who is not the task that reserved a permit has resolved it.
  void PermitDone();

  // --- looking ---
  std::string Dump();
  // The tasks that hold up a close, with their async stacks.
  std::string StallReport();
  const char* PhaseName() const;
  void DescribeTo(const std::string& indent, bool stacks, std::string& to);

  const char* name() const { return region_name; }
  RegionCore* parent() const { return parent_; }
  Authority& authority() { return authority_; }
  TaskCore* opener() const { return opener_; }
  uint64_t live() const { return word.load(std::memory_order_acquire) & region_word::kCountMask; }
  bool limited() const { return limited_; }

  // For a region without an opener (a runtime's root): called once the count is zero.
  void (*on_quiescent)(RegionCore*) = nullptr;
  void* on_quiescent_argument = nullptr;

 private:
  RegionCore(const RuntimeServices* services, RegionCore* parent, TaskCore* opener,
             const char* name, const char* file, uint32_t line);
  ~RegionCore();

  // Takes over, before anybody knows this region, what has been requested of the parent and of the opener.
  void Inherit(RegionCore* parent, uint64_t inherited, uint32_t task_state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(parent->lock_);
  // One task more, one less: in the word, or in this thread's EndedTasks. CountUp returns the word, and is
  // for tasks of the region.
  uint64_t CountUp();
  void CountDown(uint32_t drained);
  void CountDownHere(uint32_t drained);  // inlined
  void CountDrained(uint32_t tasks);
  // A request to this region, or to a task of it, is a shutdown: see DrainStats.
  bool IsTop() const { return depth <= 1; }
  CancelOrigin Origin(const TaskCore* task) const;
  // The same for a request that is made here: with what lies around.
  CancelOrigin RequestOrigin(const TaskCore* task) const;
  // How often the word counts the opener's own part; a root has no body.
  uint64_t BodyCount() const { return opener_ == nullptr ? 0 : region_word::kOne; }
  // The reason of this region's cancel, null if it has none. Valid as long as the region.
  const CancelReason* reason() const {
    const GivenReason* given = reason_.load(std::memory_order_acquire);
    return given == nullptr ? nullptr : &given->reason;
  }
  // A copy of it: of the worker's own where there are such.
  std::optional<CancelReason> CopyReason();
  void SetReason(CancelReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Instant Now() const { return services->clock->Now(); }
  void JoinChild(const Outcome<void>& failure, const char* task_name, bool is_body);
  bool CauseLiesInside(const CancelReason& reason) const;

  // The request that `reason` and `drain` make here: what `drain` leaves open is this region's default.
  CancelRequest MakeRequest(CancelReason reason, const Budget& drain, Instant now) const;
  // Marks this region, and adds references to its children to `children`. `top`: the request is aimed at it, so
  // it keeps the alarm. True if it has no children: then it is drained from here on, and the request's reason
  // has been taken.
  bool Mark(CancelRequest& request, bool top, std::vector<RegionCore*>& children,
            ArmAlarm alarm = ArmAlarm::kNow);
  // Marks, with the reason chained, and sweeps every region of the subtrees. Takes over references.
  static void MarkSubtrees(std::vector<RegionCore*> roots, const CancelRequest& request);
  // `is_shutdown`: it was a shutdown's. `cause`: of the request that is on its way down to `roots`, and may
  // come after this.
  static void SpendSubtrees(std::vector<RegionCore*> roots, uint64_t bits, bool is_shutdown,
                            const std::optional<CancelReason>& cause = std::nullopt);
  // Adds references to the children to `to`.
  void CollectChildren(std::vector<RegionCore*>& to);
  void AppendChildren(std::vector<RegionCore*>& to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  static void CollectOpened(const TaskCore* task, std::vector<RegionCore*>& to);

  TaskCancel* FindTaskCancel(const TaskCore* task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void ForgetTaskCancel(TaskCore* task);
  // Counts what `task`, or a task below it, has used against the quotas that it was cancelled with.
  static void ChargeTaskCancel(TaskCore* task, int64_t polls, int64_t cost);
  // Ends the drain, or the grace too, of a cancelled task and of all below it.
  void SpendTask(TaskCore* task, uint32_t task_bits);
  void InheritTaskCancel(const TaskCancel* cancel, uint32_t task_word, Instant now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // The alarm of a request with ArmAlarm::kWhenCloserParks.
  void ArmDueAlarm();
  // Moves `alarm` to `when`; it holds a reference to the region while pending.
  void SetAlarm(Alarm& alarm, Instant when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void DropGuest(GuestAlarm* alarm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void RearmAlarm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  static void OnAlarm(Runnable* alarm);
  static void OnTaskAlarm(Runnable* alarm);
  void AlarmDue();
  void TaskAlarmDue(TaskCancel* cancel);

  void EndPermitsTime() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void WakePermitWaiter() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void RevokePermits();

  bool Fits(uint32_t size) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void GrantAdmissions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // Constant after construction.
  RegionCore* const parent_;
  TaskCore* const opener_;
  const char* const file_;
  const uint32_t line_;
  RegionPolicy policy_;
  ErrorSink* sink_ = nullptr;
  DrainStats* stats_ = nullptr;
  DrainDefault drain_default_;
  int64_t grace_nanos_ = 1'000'000'000;
  bool limited_ = false;
  bool own_quota_ = false;
  int64_t max_tasks_ = Budget::kUnlimited;
  int64_t max_bytes_ = Budget::kUnlimited;
  Authority authority_;
  ParkRegistry registry_;

  std::atomic<uint32_t> refs_{1};
  std::atomic<uint32_t> calls_{0};  // OutsideCalls
  // false -> true by the first failed child, which makes the request (relaxed: the others make none).
  std::atomic<bool> failed_fast_{false};
  // Left of the own quotas; kUnlimited where there is none. Relaxed: only the sign matters, and who
  // brings it to zero cancels.
  std::atomic<int64_t> polls_left_{Budget::kUnlimited};
  std::atomic<int64_t> cost_left_{Budget::kUnlimited};
  std::atomic<int64_t> drain_polls_left_{Budget::kUnlimited};
  std::atomic<int64_t> drain_cost_left_{Budget::kUnlimited};
  std::atomic<int64_t> gentle_polls_left_{Budget::kUnlimited};
  std::atomic<int64_t> gentle_cost_left_{Budget::kUnlimited};
  // That of joined_, written with it; only rises while the region is open.
  std::atomic<uint8_t> joined_severity_{0};
  // What a shutdown has done here, see DrainStats: bits that are only set, under lock_, before the word
  // says so. Relaxed: they only decide what is counted.
  static constexpr uint8_t kShutdownReached = 1;
  static constexpr uint8_t kShutdownSpent = 2;
  std::atomic<uint8_t> shutdown_{0};
  Waiter* closer_ = nullptr;          // published by kCloserParked
  bool alarm_is_due_to_arm_ = false;  // the opener's alone

  // Why it was cancelled. A more severe request takes the place of the one before, which stays as long as the
  // region, since a task may be about to copy it.
  struct GivenReason {
    GivenReason(CancelReason reason, const GivenReason* before)
        : reason(std::move(reason)), before(before) {}
    const CancelReason reason;
    const GivenReason* const before;
  };
  // Stored with release, under lock_.
  std::atomic<const GivenReason*> reason_{nullptr};
  // A reason's count is touched by every task that it ends. In a big region each worker gets a copy of the
  // record, so that they do not meet there. A slot belongs to its worker.
  struct alignas(64) ReasonSlot {
    std::optional<CancelReason> copy;
    const GivenReason* of = nullptr;
  };
  // Null until a request finds many tasks; set once, with release.
  std::atomic<ReasonSlot*> reason_slots_{nullptr};

  // A spin lock: each region is opened and closed under its parent's, and it is free nearly always. What is held longest
  // is the list of children, while a request copies it.
  SpinLock lock_;
  IntrusiveList<RegionCore, SiblingHook> children_ ABSL_GUARDED_BY(lock_);
  RegionCore* next_opened_ = nullptr;  // opener_->opened list; guarded by the parent's lock
  std::optional<GivenReason> first_reason_ ABSL_GUARDED_BY(lock_);
  Outcome<void> joined_ ABSL_GUARDED_BY(lock_) = Ok();
  Instant own_deadline_ ABSL_GUARDED_BY(lock_) = Instant::InfiniteFuture();
  Instant gentle_by_ ABSL_GUARDED_BY(lock_) = Instant::InfiniteFuture();
  // Effective, and those that this region keeps the alarm for.
  Instant drain_by_ ABSL_GUARDED_BY(lock_) = Instant::InfiniteFuture();
  Instant finalize_by_ ABSL_GUARDED_BY(lock_) = Instant::InfiniteFuture();
  Instant own_drain_by_ ABSL_GUARDED_BY(lock_) = Instant::InfiniteFuture();
  Instant own_finalize_by_ ABSL_GUARDED_BY(lock_) = Instant::InfiniteFuture();
  // While the close waits for open permits: until when; and once that time is over.
  Instant permits_by_ ABSL_GUARDED_BY(lock_) = Instant::InfiniteFuture();
  bool awaits_permits_ ABSL_GUARDED_BY(lock_) = false;
  bool permits_over_ ABSL_GUARDED_BY(lock_) = false;
  Waiter* permit_waiter_ ABSL_GUARDED_BY(lock_) = nullptr;
  Instant report_at_ ABSL_GUARDED_BY(lock_) = Instant::InfiniteFuture();
  absl::Duration report_again_ ABSL_GUARDED_BY(lock_) = kFirstReportInterval;
  Alarm alarm_ ABSL_GUARDED_BY(lock_){this, &OnAlarm};
  // Null before the first: few regions have any, but one may have them of a million tasks.
  using TaskCancels = absl::flat_hash_map<const TaskCore*, TaskCancel*>;
  std::unique_ptr<TaskCancels> task_cancels_ ABSL_GUARDED_BY(lock_);
  // The last registered first. Pushed under lock_ (release); popped by the opener, when nobody pushes any more.
  std::atomic<Finalizer*> finalizers_{nullptr};
  Authority* authorities_ ABSL_GUARDED_BY(lock_) = nullptr;
  IntrusiveList<GuestAlarm, GuestHook> guests_ ABSL_GUARDED_BY(lock_);
  int64_t admitted_tasks_ ABSL_GUARDED_BY(lock_) = 0;
  int64_t admitted_bytes_ ABSL_GUARDED_BY(lock_) = 0;
  int sink_lines_ ABSL_GUARDED_BY(lock_) = 0;
  IntrusiveList<AdmissionRequest> admission_queue_ ABSL_GUARDED_BY(lock_);
};

inline RegionCore* CoreOf(RegionScope* scope) { return static_cast<RegionCore*>(scope); }

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_REGION_CORE_H_

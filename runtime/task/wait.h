// wait.h: the waiter protocol: how anything waits, is granted or is cancelled. The only one there is.
//
// Why:        "was I given the value, or was I cancelled?" is the race that loses permits, messages and
//             wake-ups. It is decided here, once, by one compare-exchange on the task's word, and
//             every primitive uses this file.
// Example:    a primitive writes an operation (see the concept WaitOperation) and returns
//               Wait<MyOperation> Receive(const CxBase& cx);
// How a wait goes: check the cancel state; Try; else see that the task is registered with the region;
//             Enqueue in the primitive; commit by parked := running. A primitive (under its lock, which
//             takes the Waiter out) moves the word from running or parked to granted, a sweep of the
//             region or TaskHandle::Cancel moves it from parked to cancelled: whoever does has decided,
//             and if the task was already parked, posts it. A cancel that finds the task not parked
//             leaves a mark in the word (kLook, or the task's own kCancelled), which makes the commit
//             look. The resumed task has left the primitive's queue before it goes on.
// Invariants: (1) a cancelled wait took nothing, a granted one keeps what it got even if a cancel
//             came in the same moment (G8); (2) a request or a spent budget reaches every parked wait
//             of its scope that is not structural (G4); (3) the task is posted exactly once for each
//             park; (4) the Waiter is in no queue when the awaiting expression yields.
// Fast path:  to park and be resumed costs three atomic read-modify-writes of the task's word (commit,
//             grant, end of the decision) and what the primitive needs.
#ifndef QUIESCE_RUNTIME_TASK_WAIT_H_
#define QUIESCE_RUNTIME_TASK_WAIT_H_

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "quiesce/runtime/base/instrumentation.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/promise.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/task/waiter_word.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {

class Waiter;

// What the step that follows a wake has to do.
enum class WakeAction : uint8_t {
  kResume,  // the coroutine goes on
  kUnwind,  // the coroutine ends (OrReturn), its failure is stored
  kParked,  // it waits again; the task must not be touched any more
};

struct WaitOps {
  constexpr WaitOps(const char* name, WakeAction (*complete)(Waiter*),
                    TaskCore* (*lend_lane)(Waiter*) = nullptr)
      : name(name), complete(complete), lend_lane(lend_lane) {}
  const char* name;  // "TcpStream::Read": what dumps say the task waits for
  WakeAction (*complete)(Waiter* waiter);
  // Lends the cancel lane to the task that holds what this wait is for (R9), under the primitive's lock, and
  // returns it pinned if it is parked itself, so that the caller can go on from there. Null: nobody holds
  // what this kind of wait is for.
  TaskCore* (*lend_lane)(Waiter* waiter);
};

struct QueueHook : ListHook {  // in the primitive's wait queue, guarded by its lock
  QueueHook() : ListHook(kUnsetHook) {}
};

// One waiting task, as primitives and regions see it. Lives in the awaiting frame.
//
// Most waits need not wait, and an atomic operation of their primitive drains every store before it: so what only
// a wait that is armed needs is unset until then.
class Waiter : public QueueHook {
 public:
  explicit Waiter(const CxBase& cx) : cx_(cx) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // For primitives, in Enqueue, under the lock: may the operation be completed at once, for this waiter? Ask
  // before anything is taken; a true answer is a promise to do it (kDone). False, of a wait in a Select: another
  // of its waits has been granted, or it was cancelled; answer kLost.
  bool MayTake() { return arm_ == 0 || ClaimArm(); }

  // For primitives: gives this waiter what it waits for, unless a cancel came first: false means that the
  // waiter withdraws by itself and must get nothing. The caller holds the lock under which the waiter
  // is queued, and has taken it out of the queue *before*: after a true result the task may run on
  // another worker, and unless Harvest takes that lock the waiter may be gone. (So Withdraw finds a
  // waiter that is queued no more, if it was passed over.)
  bool Grant();

  const CxBase& cx() const { return cx_; }
  TaskCore* task() const { return &static_cast<TaskCore&>(*cx_.task()); }
  const WaitOps* ops() const { return ops_; }
  PromiseBase* frame() const { return frame_; }
  uint8_t mode() const { return mode_; }
  Instant parked_since() const { return Instant::FromNanos(parked_since_ns_); }

  // For OrReturn: await_ready said that it need not wait, but it has failed.
  bool failed_first() const { return failed_first_; }
  void set_failed_first() { failed_first_ = true; }
  void set_or_return() { or_return_ = true; }

  // Lends the cancel lane to the holder of what this task waits for, to the holder of what that one
  // waits for, and so on. The waiter is registered or its task pinned, so that it stays.
  void LendLane();

 protected:
  // Has anything come that ends waits of some kind? If not, what kind this one is need not be known.
  bool AnyCancel() const {
    return (cx_.region()->word.load(std::memory_order_relaxed) & region_word::kAnyCancel) != 0 ||
           (cx_.task()->word.load(std::memory_order_relaxed) & task_word::kAnyCancel) != 0;
  }
  // Must a wait of mode_ fail at once? (R2, R3)
  bool MustFail() const {
    if (!AnyCancel()) [[likely]]
      return false;
    return cx_internal::MustFail(mode_, cx_.region()->word.load(std::memory_order_relaxed),
                                 cx_.task()->word.load(std::memory_order_relaxed));
  }
  CancelReason FailReason();
  // A point of the wait, for observers; see event.h.
  void At(EventKind point, uint64_t arg = 0) const {
    if (EventsWanted(point)) [[unlikely]]
      Emit(point, cx_.region()->id, cx_.task()->id, arg, ops_->name);
  }

  // A wait of `ops` may be armed, looked at or posted from here on.
  void Begin(const WaitOps* ops) { ops_ = ops; }
  // From here on a cancel of the region finds the task. Must the wait fail for one that came before?
  [[gnu::always_inline]] bool RegisterAndLook() {
    if (EventsWanted(EventKind::kWaitArm)) [[unlikely]]
      return RegisterObserved();
    Register();
    return MustFail();
  }
  [[gnu::noinline]] bool RegisterObserved();
  [[gnu::always_inline]] void Register() {
    const int64_t recent = RecentNanos();
    parked_since_ns_ = recent != 0 ? recent : cx_.services().clock->Now().nanos();
    TaskCore* task = this->task();
    ParkRegistry* parked = cx_.region()->parked;
    if (task->park_shard == nullptr || task->park_shard->registry != parked) [[unlikely]]
      RegisterTask();
  }
  [[gnu::noinline]] void RegisterTask();
  // The wait was not queued, or is no more: forgets a decision that came meanwhile.
  void Disarm() { word().Disarm(); }
  // running -> parked. False if a decision came first (or is taken here, for a cancelled task). `ops`: the wait's.
  [[gnu::always_inline]] bool CommitPark(const WaitOps& ops) {
    if (ops.lend_lane == nullptr && !EventsWanted(EventKind::kPark)) [[likely]] {
      if (word().TryPark(mode_)) [[likely]]
        return true;
    }
    return CommitUnusualPark();
  }
  [[gnu::noinline]] bool CommitUnusualPark();
  // Must the commit fail, with the task's word as it is?
  [[gnu::noinline]] bool FailsToPark(uint32_t word) const;
  // What was decided. The word keeps the decision, so that no second one can be made while the waiter may still
  // be in the primitive's queue …
  enum class Decision : uint8_t { kGranted, kCancelled };
  Decision TakeDecision() {
    const bool granted = word().IsGranted();
    At(EventKind::kWaitSettle, !granted);
    return granted ? Decision::kGranted : Decision::kCancelled;
  }
  // … until it is out of there. The word is running again.
  void EndDecision() {
    if (word().EndDecision()) [[unlikely]]
      AwaitUnpin();
  }
  // Counts the resume, against masks and poll quotas.
  void CountResume() {
    TaskScope* task = cx_.task();
    task->ready_streak = 0;
    if (task->masked_resumes != 0 || cx_.region()->metered.load(std::memory_order_relaxed) ||
        EventsWanted()) [[unlikely]] {
      CountUnusualResume();
    }
  }
  // After 256 waits in a row that did not have to wait, or failed, the task lets others run once: false
  // then, and the waiter has to PostSelf.
  bool MayGoOn() { return ++cx_.task()->ready_streak != 0; }
  // Was that the last answer?
  bool OthersGoFirst() const { return cx_.task()->ready_streak == 0; }
  // Has the wait been granted or cancelled?
  bool Decided() const { return word().IsDecided(); }
  // Queues the task again at once, behind others.
  void PostSelf() { task()->Post(*cx_.region(), Place::kBack); }
  [[gnu::noinline]] bool GrantUnusual();
  [[noreturn, gnu::cold]] void AwaitedTwice() const;
  [[gnu::cold]] void AwaitUnpin();
  [[gnu::cold]] void CountUnusualResume();
  // running -> granted, for this arm of a Select. False if a decision came first.
  bool ClaimArm();
  WaiterWord<> word() const { return WaiterWord(cx_.task()->word); }

  enum class Stage : uint8_t {
    kNew,
    kAwaited,  // by a co_await of its own, or as the arm of a Select that won
    kTaken,  // the same, and TryTake was true, but the value has not been made yet: see QuickOperation
  };

  CxBase cx_;
  PromiseBase* frame_;       // set by Suspend
  const WaitOps* ops_;       // set by Begin
  int64_t parked_since_ns_;  // set by Register
  uint8_t mode_;             // set where a wait is armed or looked at
  uint8_t arm_ = 0;          // its number in a Select, from 1
  Stage stage_ = Stage::kNew;
  bool or_return_ = false;
  bool failed_first_ = false;
};

enum class Enqueued : uint8_t {
  kQueued,  // the waiter is in the primitive's queue and may be granted from now on
  kDone,    // it could be completed after all; `result` is set; not queued
  kRetry,   // something changed: call Try again; not queued
  kLost,    // it could be completed, but MayTake refused; not queued
};

// What a primitive provides. `result` is a std::optional<Outcome<Value>>.
template <class Op>
concept WaitOperation = requires(Op op, Waiter& waiter,
                                 std::optional<Outcome<typename Op::Value>>& result) {
  { Op::kName } -> std::convertible_to<const char*>;
  { Op::kStructural } -> std::convertible_to<bool>;
  // Completes without waiting if it can: sets `result`, returns true. Of `waiter` there is only its Cx.
  { op.Try(waiter, result) } -> std::same_as<bool>;
  // Atomically, under the primitive's lock: complete (if MayTake) or queue.
  { op.Enqueue(waiter, result) } -> std::same_as<Enqueued>;
  // After a grant: takes what was granted, or returns false to try again (readiness, say). Who granted it may have
  // set `result` before.
  { op.Harvest(waiter, result) } -> std::same_as<bool>;
  // After a cancel: leaves the queue, under the primitive's lock.
  { op.Withdraw(waiter) } -> std::same_as<void>;
  // Optional: TaskCore* LendLane(), where tasks wait for a holder; see WaitOps.
  // Optional: const WaitOps* NamedOps(const WaitOps& general), where dumps call it by a name that only the wait knows:
  //           `general` but for the name, for as long as the operation lives.
};

// An operation that, where it need not wait, takes what it is for by a few instructions, and makes its value of
// that without the primitive's lock. Such a value is made where it is wanted: one that is made in memory and then
// moved twice costs more than the rest.
template <class Op>
concept QuickOperation = WaitOperation<Op> && requires(Op op, Waiter& waiter) {
  // True: it is taken, or sure, so that MakeValue cannot fail whatever others do meanwhile. False: Enqueue answers.
  { op.TryTake(waiter) } -> std::same_as<bool>;
  // After a true TryTake, once.
  { op.MakeValue(waiter) } -> std::same_as<typename Op::Value>;
};

template <class... Ops>
class SelectWait;

// What the awaiters that have a result share, however they come to it. Derived has:
//   bool TryNow()        completes without waiting if it can: sets `result_`, returns true
//   bool TakeFirst()     if kTakesFirst: the same at the beginning, but it takes and sets no result (Stage::kTaken);
//                        then Derived has an await_resume and a TakeValue that know
//   bool Arm()           true once parked; false once `result_` is set
//   bool TakeGranted()   takes what was granted; false: it has to be tried again
//   void WithdrawAll()   after a cancel: leaves every queue
//   OwnOps()             its WaitOps
template <class Derived, class V, bool structural>
class ResultWait : public Waiter {
 public:
  using QuiesceAwaitable = void;
  using Value = V;

  [[gnu::always_inline]] bool await_ready() {
    if (stage_ != Stage::kNew || AnyCancel() || Instrumented()) [[unlikely]]
      return BeginUnusual();
    return TryFirst();
  }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> handle) {
    return Suspend(&handle.promise());
  }
  Outcome<Value> await_resume() { return *std::move(result_); }

  // What await_suspend does; `frame` is null for a thread that waits (thread_wait.h). False: the result is there.
  bool Suspend(PromiseBase* frame) {
    frame_ = frame;
    Begin(self().OwnOps());
    task()->waiter = this;
    if (!OthersGoFirst()) {
      if (self().Arm()) return true;
      if (MayGoOn()) return false;  // granted, or cancelled, before it was parked
    }
    PostSelf();
    return true;
  }

  // For OrReturn.
  bool failed() const { return stage_ != Stage::kTaken && result_.has_value() && !result_->ok(); }
  Outcome<Value>& result() { return *result_; }
  // Precondition: it has ended, and not failed.
  Value TakeValue() {
    if constexpr (!std::is_void_v<Value>) return std::move(*result_).value();
  }

 protected:
  using Waiter::Waiter;

  // The beginning of Arm. False: it was cancelled, and `result_` is set.
  [[gnu::always_inline]] bool BeginArming() {
    mode_ = cx_internal::WaitMode(cx_, structural);
    if (!RegisterAndLook()) [[likely]]
      return true;
    Disarm();
    result_.emplace(FailReason());
    return false;
  }

  // At the step that follows: true once `result_` is set, false if the wait has to be made again.
  [[gnu::always_inline]] bool Settle() {
    bool may_try = true;
    if (!Decided()) [[unlikely]] {  // others went first, and now it begins
      mode_ = cx_internal::WaitMode(cx_, structural);
    } else if (TakeDecision() == Decision::kGranted) {
      const bool done = self().TakeGranted();
      EndDecision();
      if (done) return true;
    } else {
      self().WithdrawAll();
      EndDecision();
      may_try = false;
    }
    if (may_try && !MustFail()) return self().TryNow();
    result_.emplace(FailReason());
    return true;
  }

  // WaitOps::complete.
  static WakeAction Complete(Waiter* waiter) {
    auto* wait = static_cast<ResultWait*>(waiter);
    wait->CountResume();
    // Until a cancelled wait is out of its queue, its result is not its own.
    const bool unsettled = wait->Decided() || !wait->result_.has_value();
    if (unsettled && !wait->Settle() && wait->self().Arm()) return WakeAction::kParked;
    if (wait->or_return_ && !wait->result_->ok()) {
      wait->frame_->failure() = Outcome<void>::FromFailure(*std::move(wait->result_));
      return WakeAction::kUnwind;
    }
    return WakeAction::kResume;
  }

  std::optional<Outcome<Value>> result_;

 private:
  Derived& self() { return static_cast<Derived&>(*this); }

  // The first attempt. Others go before it while nothing is taken: if it held a lock, they would all have to queue
  // for that.
  [[gnu::always_inline]] bool TryFirst() {
    if constexpr (Derived::kTakesFirst) {
      const bool taken = MayGoOn() && self().TakeFirst();
      stage_ = taken ? Stage::kTaken : Stage::kAwaited;
      return taken;
    } else {
      stage_ = Stage::kAwaited;
      return MayGoOn() && self().TryNow();
    }
  }

  // await_ready where something is to be looked at.
  [[gnu::noinline]] bool BeginUnusual() {
    cx_.Verify();
    Begin(self().OwnOps());
    if (stage_ != Stage::kNew) [[unlikely]]
      AwaitedTwice();
    mode_ = cx_internal::WaitMode(cx_, structural);
    const bool fail = MustFail();
    At(EventKind::kCheckpoint, fail);
    if (!fail) return TryFirst();
    stage_ = Stage::kAwaited;
    result_.emplace(FailReason());
    return MayGoOn();
  }
};

// The awaiter made of an operation. `co_await wait` yields Outcome<Value>. A checkpoint also when it
// need not wait: a cancelled ordinary wait fails at once, without effect. Awaited once; a second time is fatal.
template <WaitOperation Op>
class [[nodiscard]] Wait : public ResultWait<Wait<Op>, typename Op::Value, Op::kStructural> {
  using Base = ResultWait<Wait<Op>, typename Op::Value, Op::kStructural>;

 public:
  template <class... Args>
  explicit Wait(const CxBase& cx, Args&&... args) : Base(cx), op_(std::forward<Args>(args)...) {}

  [[gnu::always_inline]] Outcome<typename Op::Value> await_resume() {
    if constexpr (QuickOperation<Op>) {
      if (stage_ == Stage::kTaken) [[likely]]
        return op_.MakeValue(*this);
    }
    return Base::await_resume();
  }
  [[gnu::always_inline]] typename Op::Value TakeValue() {
    if constexpr (QuickOperation<Op>) {
      if (stage_ == Stage::kTaken) [[likely]]
        return op_.MakeValue(*this);
    }
    return Base::TakeValue();
  }

 private:
  friend Base;
  template <class... Ops>
  friend class SelectWait;
  using Base::result_;
  using Base::stage_;
  using typename Base::Stage;

  static constexpr bool kTakesFirst = QuickOperation<Op>;

  // An operation that has a name for each wait gives its own.
  const WaitOps* OwnOps() {
    if constexpr (requires { op_.NamedOps(kOps); }) {
      return op_.NamedOps(kOps);
    } else {
      return &kOps;
    }
  }
  [[gnu::always_inline]] bool TryNow() { return op_.Try(*this, result_); }
  bool TakeFirst() { return op_.TryTake(*this); }
  bool TakeGranted() { return op_.Harvest(*this, result_); }
  void WithdrawAll() { op_.Withdraw(*this); }
  bool Arm() {
    while (true) {
      if (!this->BeginArming()) return false;
      switch (op_.Enqueue(*this, result_)) {
        case Enqueued::kQueued:
          if (this->CommitPark(kOps)) return true;
          if (this->Settle()) return false;
          break;
        case Enqueued::kDone:
          this->Disarm();
          return false;
        case Enqueued::kRetry:
        case Enqueued::kLost:
          this->Disarm();
          if (TryNow()) return false;
          break;
      }
    }
  }

  static TaskCore* LendLaneOf(Waiter* waiter) { return static_cast<Wait*>(waiter)->op_.LendLane(); }
  static constexpr WaitOps MakeOps() {
    if constexpr (requires(Op op) {
                    { op.LendLane() } -> std::same_as<TaskCore*>;
                  }) {
      return WaitOps(Op::kName, &Base::Complete, &LendLaneOf);
    } else {
      return WaitOps(Op::kName, &Base::Complete, nullptr);
    }
  }
  static constexpr WaitOps kOps = MakeOps();

  Op op_;
};

// `co_await OrReturn(wait)`: yields the value, or ends the awaiting coroutine.
template <class W>
class WaitOrReturn {
 public:
  using QuiesceAwaitable = void;
  explicit WaitOrReturn(W& wait) : wait_(wait) {}

  [[gnu::always_inline]] bool await_ready() {
    W& wait = wait_;
    if (!wait.await_ready()) return false;
    if (!wait.failed()) [[likely]]
      return true;
    wait.set_failed_first();
    return false;
  }
  template <class P>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<P> handle) {
    if (!wait_.failed_first()) {  // or it has failed, but others shall run first
      wait_.set_or_return();
      if (wait_.await_suspend(handle)) return std::noop_coroutine();
      if (!wait_.failed()) return handle;
    }
    PromiseBase& self = handle.promise();
    self.failure() = Outcome<void>::FromFailure(std::move(wait_.result()));
    return PropagateFailure(&self);
  }
  [[gnu::always_inline]] typename W::Value await_resume() { return wait_.TakeValue(); }

 private:
  W& wait_;
};

// The wait is a temporary of the same full expression, or a named one.
template <class Op>
WaitOrReturn<Wait<Op>> OrReturn(Wait<Op>&& wait) {
  return WaitOrReturn<Wait<Op>>(wait);
}
template <class Op>
WaitOrReturn<Wait<Op>> OrReturn(Wait<Op>& wait) {
  return WaitOrReturn<Wait<Op>>(wait);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_WAIT_H_

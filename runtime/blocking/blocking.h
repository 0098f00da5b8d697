// blocking.h: RunBlocking: a call that blocks its thread, made without blocking a worker.
//
// Why:        foreign code knows neither tasks nor cancel. It gets a thread of its own, and the task that
//             made the call waits until it is over, whatever happens, so that nothing it uses goes away
//             under it (R2: a structural wait).
// Example:    auto lookup = [&host] { return Resolve(host); };   // absl::StatusOr<Address>()
//             Address address = co_await OrReturn(RunBlocking(cx, "resolve", lookup));
// Invariants: (1) a call that has begun runs to its end, and its task waits for it: what `fn` refers to
//                 in the caller's frame is there as long as it runs (G2);
//             (2) a call that has not begun when its wait is cancelled never begins (G8);
//             (3) `fn` begins at most once, on a thread that runs no task.
// Limits:     a cancel cannot stop foreign code: a call that hangs holds up the close of its region,
//             beyond the drain budget. It is then named in the stall report, by the name given here: its
//             wait is structural. Give calls a timeout of their own, or let them ask the CancelProbe.
#ifndef QUIESCE_RUNTIME_BLOCKING_BLOCKING_H_
#define QUIESCE_RUNTIME_BLOCKING_BLOCKING_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quiesce/runtime/blocking/blocking_pool.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/cancel_reason.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/outcome/panic.h"
#include "quiesce/runtime/region/spawn_name.h"
#include "quiesce/runtime/task/promise.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

// Lets a call that can stop early ask whether it should:
//   auto sum = [&](const CancelProbe& probe) -> Outcome<int64_t> {
//     for (const Part& part : parts) {
//       if (probe.ShouldStop()) return probe.reason();   // the RunBlocking is Cancelled
//       …
// A call that returns an absl::CancelledError instead has failed: its region cancels the others, and a clean
// shutdown ends with exit code 1.
// Threads: any, while the call runs.
class CancelProbe {
 public:
  explicit CancelProbe(const CxBase& cx)
      : region_(cx.region()),
        task_(cx.task()),
        mode_(cx_internal::WaitMode(cx, /*structural=*/false)) {}

  // Would an ordinary wait with the Cx of the RunBlocking fail now? So: once the task is asked to stop,
  // or, for cx.ForDrain() and under a mask, once the drain budget is spent. Two loads.
  bool ShouldStop() const {
    return cx_internal::MustFail(mode_, region_->word.load(std::memory_order_acquire),
                                 task_->word.load(std::memory_order_acquire));
  }
  // Why; only meaningful once ShouldStop().
  CancelReason reason() const;

 private:
  // Both live as long as the task, which waits for the call.
  RegionScope* region_;
  TaskScope* task_;
  uint8_t mode_;
};

namespace blocking_internal {

// What Outcome a returned value makes: T of Outcome<T>.
template <class Returned>
struct ValueOf {
  using type = std::remove_cv_t<Returned>;
};
template <>
struct ValueOf<absl::Status> {
  using type = void;
};
template <class T>
struct ValueOf<absl::StatusOr<T>> {
  using type = T;
};
template <class T>
struct ValueOf<Outcome<T>> {
  using type = T;
};

template <class F>
inline constexpr bool kTakesProbe = std::is_invocable_v<F&, const CancelProbe&>;

template <class F>
decltype(auto) Invoke(F& fn, const CancelProbe& probe) {
  if constexpr (kTakesProbe<F>) {
    return fn(probe);
  } else {
    return fn();
  }
}

template <class F>
using ReturnedBy = decltype(Invoke(std::declval<F&>(), std::declval<const CancelProbe&>()));

template <class T, class F>
Outcome<T> OutcomeOf(F& fn, const CancelProbe& probe) {
  using Returned = ReturnedBy<F>;
  if constexpr (std::is_void_v<Returned>) {
    Invoke(fn, probe);
    return Ok();
  } else if constexpr (std::is_same_v<std::remove_cv_t<Returned>, Outcome<T>>) {
    return Invoke(fn, probe);
  } else if constexpr (std::is_same_v<std::remove_cv_t<Returned>, absl::Status> ||
                       std::is_same_v<std::remove_cv_t<Returned>, absl::StatusOr<T>>) {
    return ToOutcome(Invoke(fn, probe));
  } else {
    return Outcome<T>(Invoke(fn, probe));
  }
}

// A job and the end of it.
class Call : public BlockingJob {
 public:
  Call(const CxBase& cx, Function call) : BlockingJob(call, &Finish), probe_(cx) {}

  const CancelProbe& probe() const { return probe_; }

  // For the task: has the call ended? Everything it did happens before.
  bool Ended() const { return end_.load(std::memory_order_acquire) == kEnded; }
  // False if it has ended. Else `waiter` is granted when it does.
  bool WaitForEnd(Waiter* waiter);

 private:
  static void Finish(BlockingJob* job);

  // 0 -> the Waiter, by the task, once; 0 or the Waiter -> kEnded by the pool's thread (both acq_rel:
  // the waiter, and what the call did, are seen by the other side). The thread's exchange is its last
  // access, unless it finds a waiter: that one cannot go on before its Grant, since a structural wait
  // ends in no other way.
  static constexpr uintptr_t kEnded = 1;
  std::atomic<uintptr_t> end_{0};
  const CancelProbe probe_;
};

template <class T, class F>
class CallOf : public Call {
 public:
  CallOf(const CxBase& cx, F& fn) : Call(cx, &Run), fn_(fn) {}

  // Set once it has ended, unless it was not begun since a cancel had come.
  std::optional<Outcome<T>>& result() { return result_; }

 private:
  static void Run(BlockingJob* job) {
    auto* self = static_cast<CallOf*>(job);
    if (self->probe().ShouldStop()) return;
    auto call = [self] { self->result_.emplace(OutcomeOf<T>(self->fn_, self->probe())); };
    std::optional<Panic> panic = CallCatching(call);
    if (panic.has_value()) self->result_.emplace(*std::move(panic));
  }

  F& fn_;
  std::optional<Outcome<T>> result_;
};

// Waits for a thread. Ordinary, so a cancelled task does not stay in the pool's queue.
class StartOp {
 public:
  using Value = void;
  static constexpr const char* kName = "RunBlocking";
  static constexpr bool kStructural = false;
  StartOp(BlockingPool* pool, const SpawnName* name, Call* call)
      : pool_(pool), name_(name), call_(call) {}
  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result);
  void Withdraw(Waiter&) { pool_->Withdraw(call_); }

 private:
  BlockingPool* pool_;
  const SpawnName* name_;
  Call* call_;
};

// Waits for the end of a call that has a thread.
class EndOp {
 public:
  using Value = void;
  static constexpr const char* kName = "RunBlocking";
  static constexpr bool kStructural = true;
  explicit EndOp(Call* call) : call_(call) {}
  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result);
  void Withdraw(Waiter&) {}

 private:
  Call* call_;
};

// A wait that dumps and traces call by the user's name for it, which is a literal.
template <class Op>
class Named : public Op {
 public:
  template <class... Args>
  explicit Named(const char* name, Args&&... args)
      : Op(std::forward<Args>(args)...), named_(name, nullptr) {}
  const WaitOps* NamedOps(const WaitOps& general) {
    named_.complete = general.complete;
    named_.lend_lane = general.lend_lane;
    return &named_;
  }

 private:
  WaitOps named_;
};
template <class Op>
using NamedWait = Wait<Named<Op>>;

template <class T, class F>
Task<T> RunCall(CxWith<cap::Blocking> cx, SpawnName name, F fn) {
  CallOf<T, std::remove_reference_t<F>> call(cx, fn);
  co_await OrReturn(NamedWait<StartOp>(cx, name.name, cx.services().blocking, &name, &call));
  // Nothing above may fail from here on: the call lives in this frame.
  Outcome<void> ended = co_await NamedWait<EndOp>(cx, name.name, &call);
  if (!call.result().has_value()) {
    // A cancel came after the job had got its thread and before that thread began the call.
    ended = cx.TryCheckpoint();
    co_return Outcome<T>::FromFailure(std::move(ended));
  }
  co_return *std::move(call.result());
}

}  // namespace blocking_internal

// Calls fn(), or fn(const CancelProbe&) if it takes one, on a thread that may block.
// Returns  Task<T> for a T, void, absl::Status, absl::StatusOr<T> or Outcome<T> that `fn` returns: what
//          it returned, a Status as Error | Panicked if an exception escaped it | Cancelled, without
//          having called `fn` | Error(kFailedPrecondition) if the runtime has no blocking pool |
//          Error(kResourceExhausted) if the system gives it no thread at all.
// Suspends for a thread, as an ordinary wait, in order of arrival (a drain wait through ForDrain); then
//          until the call has ended, as a structural wait. A checkpoint before both.
// Cancel   safe: before the call has begun, it will not begin, and only the place in the queue is lost.
//          After that the cancel is forwarded to the CancelProbe, and the wait takes as long as the call;
//          its result is not lost, and is returned as it is. One that stopped returns the probe's reason.
// Threads  `fn` runs on another thread: it must not use a Cx. It may be used by the caller again
//          afterwards. `name` is a literal; dumps show it as what the task waits for: "(wait)" while
//          there is no thread, "(structural wait)" while the call runs.
// Compilers: an `fn` that is not trivially destructible must be a named lvalue, which is used by
//          reference and must outlive the await (R10).
template <class F>
auto RunBlocking(CxWith<cap::Blocking> cx, SpawnName name, F&& fn) {
  using Fn = std::remove_reference_t<F>;
  static_assert(
      std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<Fn>,
      "RunBlocking: a callable that is not trivially destructible must be a named lvalue: "
      "g++ 12 destroys such a temporary twice in a co_await expression (R10). Write "
      "`auto call = [..] {..};` and pass `call`");
  static_assert(std::is_invocable_v<Fn&> || blocking_internal::kTakesProbe<Fn>,
                "RunBlocking(cx, name, fn): fn() or fn(const CancelProbe&) must be callable");
  using Returned = blocking_internal::ReturnedBy<Fn>;
  static_assert(!std::is_reference_v<Returned>,
                "RunBlocking: fn returns a reference; return a value or a pointer");
  using T = typename blocking_internal::ValueOf<std::remove_cv_t<Returned>>::type;
  using Kept = std::conditional_t<std::is_lvalue_reference_v<F>, Fn&, Fn>;
  return blocking_internal::RunCall<T, Kept>(cx, name, std::forward<F>(fn));
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BLOCKING_BLOCKING_H_

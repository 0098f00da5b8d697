// region.h: a scope that owns tasks and closes only at quiescence.
//
// Why:        a task that nobody waits for is where cancelled programs lose work. Here each task has
//             one owner, and the owner does not return before the task has ended.
// Example:    Outcome<void> all = co_await Region::Open(cx, "fetch-all", [&](Cx cx) -> Task<void> {
//               for (const Url& url : urls) cx.Spawn("fetch", Fetch, url);
//               co_return Ok();
//             });
// Invariants: (1) G1, G2: when Open yields, nothing of the region is running, queued, waiting or
//             registered; (2) G3: phases only advance, requests only get more severe and deadlines
//             earlier; (3) G6: finalizers ran once each, last-registered first; (4) G7: no permit of it
//             is open: the close waits for those that have travelled until drain_by (of a region that
//             nobody cancelled: for its drain budget from then on), and revokes the rest.
// Threads:    Open is used like any Task; for other threads there is RegionRef.
//
// event \ state     | Open               | CancelRequested    | Draining           | Finalizing      | Closed
// ------------------|--------------------|--------------------|--------------------|-----------------|--------
// Spawn             | admitted           | refused, unless    | refused, unless    | refused         | refused
//                   |                    | ForDrain, unspent  | ForDrain, unspent  |                 |
// request           | -> CancelRequested:| severity and       | severity and       | deadlines       | no
//                   | mark, wake, spread | deadlines tighten  | deadlines tighten  | tighten         | effect
// all below marked  | –                  | -> Draining        | –                  | –               | –
// deadline, quota   | -> CancelRequested | tightens           | tightens           | tightens        | –
// Error or Panic of | joined; FailFast:  | joined             | joined             | (a finalizer's) | –
// a child           | -> CancelRequested |                    |                    | joined          |
// drain_by passes,  | –                  | drain waits fail,  | drain waits fail,  | –               | –
// drain quota spent |                    | parked ones at once| parked ones at once|                 |
// finalize_by passes| –                  | what still runs is | reported           | waits fail; the | –
//                   |                    | reported           |                    | rest still start|
// body and all tasks| -> Finalizing      | -> Finalizing      | -> Finalizing      | –               | –
// have ended        |                    |                    |                    |                 |
// finalizers done,  | –                  | –                  | –                  | -> Closed: join,| –
// permits resolved  |                    |                    |                    | return to opener|
// drain_by passes,  | –                  | –                  | –                  | open permits are| –
// finalizers done   |                    |                    |                    | revoked; Closed |
//
// A task: Created -> Running -> (CancelRequested ->) Ended; one that was cancelled while Created ends
// without having run, unless it was spawned for drain.
#ifndef QUIESCE_RUNTIME_REGION_REGION_H_
#define QUIESCE_RUNTIME_REGION_REGION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/region/region_ref.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/region/spawn_name.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {
namespace region_internal {

// The opener's side of one region.
class Opening {
 public:
  Opening(const CxBase& cx, const SpawnName& name, RegionPolicy policy,
          const RegionOptions& options);
  ~Opening();
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;

  // Not Ok: the region was not opened, and why.
  Outcome<void>& refused() { return refused_; }

  RegionScope* scope() const;
  const Authority* authority() const;
  uint32_t body_flags() const;
  uint32_t finalizer_flags() const;
  TaskScope* task() const { return task_; }

  // kBranch: what the body runs is one of a combinator's branches, and counts as a task of the region does.
  enum Counts : bool { kBranch, kBody };
  template <class T>
  void BodyEnded(const Outcome<T>& outcome, Counts counts) {
    Outcome<void> failure = Ok();
    if (!outcome.ok()) failure = Outcome<void>::FromFailure(outcome);
    JoinBody(failure, counts);
  }
  // Null when none is left.
  std::unique_ptr<Finalizer> NextFinalizer();
  void FinalizerEnded(const Finalizer& finalizer, const Outcome<void>& outcome);
  void BeginFinalizing();
  bool OwesPermits();
  Outcome<void> Close();

 private:
  void JoinBody(const Outcome<void>& failure, Counts counts);

  RegionCore* core_ = nullptr;
  TaskScope* task_;
  uint32_t flags_;
  Outcome<void> refused_ = Ok();
};

// The opener's structural wait until every task of the region has ended.
class CloseOp {
 public:
  using Value = void;
  static constexpr const char* kName = "Region close";
  static constexpr bool kStructural = true;
  explicit CloseOp(RegionScope* region) : region_(region) {}
  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result);
  void Withdraw(Waiter&) {}

 private:
  RegionScope* region_;
};

// Waits, structurally, until no permit of the region is open, or the time for that is over.
Task<void> AwaitPermits(CxBase cx, RegionScope* region);

// What a Cancelled of the body whose cause lies inside its region comes to where there is no value that would be
// missing, which is where R1 leaves a choice. Of a Task<T> it stays.
enum class OwnCancel : uint8_t {
  kCountsAsOk,  // R1, as for every child
  kStays,  // the region is part of something whose caller is owed the outcome of just this body: a combinator
};

// What the opener's task runs in the region, and what comes of it. RunIn asks a body, in this order:
//   Task<Value> Begin(const CxType& cx)   called once
//   void BodyEnded(Opening&, Outcome<Value>)   passes it on to Opening::BodyEnded
//   void TasksEnded()                     all tasks have ended; the finalizers have not begun
//   Outcome<Result> Finish(Outcome<void> joined)   `joined`: what the region's close gave
// It is moved before it begins, and not after. None of these but Begin throws.
//
// This is a callable's.
template <class T, class CxType, class Callable, OwnCancel own_cancel>
class PlainBody {
 public:
  using Value = T;
  using Result = T;
  explicit PlainBody(Callable&& callable) : callable_(std::forward<Callable>(callable)) {}

  Task<T> Begin(const CxType& cx) { return callable_(cx); }
  void BodyEnded(Opening& region, Outcome<T> outcome) {
    region.BodyEnded(outcome, Opening::kBody);
    if constexpr (kKeepsResult) result_.emplace(std::move(outcome));
  }
  void TasksEnded() {}
  Outcome<T> Finish(Outcome<void> joined) {
    if constexpr (!kKeepsResult) {
      return joined;
    } else {
      if (joined.ok()) return *std::move(result_);
      const SilentEnd silent(true);  // what is owed in the value that nobody gets is aborted (R8)
      result_.reset();
      return Outcome<T>::FromFailure(std::move(joined));
    }
  }

 private:
  static constexpr bool kKeepsResult = !std::is_void_v<T> || own_cancel == OwnCancel::kStays;
  struct Nothing {};
  Callable callable_;
  [[no_unique_address]] std::conditional_t<kKeepsResult, std::optional<Outcome<T>>, Nothing>
      result_;
};

// In place of RegionOptions, where there are none to keep in the frame.
struct NoOptions {
  operator const RegionOptions&() const;  // NOLINT: that is what it is for
};

template <class CxType, class Body, class Options>
Task<typename Body::Result> RunIn(CxType cx, SpawnName name, Body body, RegionPolicy policy,
                                  Options options) {
  using Value = typename Body::Value;
  Opening region(cx, name, policy, options);
  if (!region.refused().ok()) {
    co_return Outcome<typename Body::Result>::FromFailure(std::move(region.refused()));
  }
  const auto body_cx =
      cx_internal::CxMint::Make<CxType>(region.authority(), region.task(), region.body_flags());
  Task<Value> running = task_internal::CallForTask<Value>([&] { return body.Begin(body_cx); });
  Outcome<Value> ended = co_await running;
  body.BodyEnded(region, std::move(ended));
  (void)co_await Wait<CloseOp>(cx, region.scope());  // structural: cannot fail
  body.TasksEnded();
  region.BeginFinalizing();
  while (std::unique_ptr<Finalizer> finalizer = region.NextFinalizer()) {
    Task<void> finalizing = task_internal::CallForTask<void>(
        [&] { return finalizer->Run(region.task(), region.finalizer_flags()); });
    Outcome<void> finalized = co_await finalizing;
    region.FinalizerEnded(*finalizer, finalized);
  }
  if (region.OwesPermits()) (void)co_await AwaitPermits(cx, region.scope());
  co_return body.Finish(region.Close());
}

template <class T, class Callable, class CxType, OwnCancel own_cancel = OwnCancel::kCountsAsOk>
auto Run(const CxType& cx, SpawnName name, Callable callable, RegionPolicy policy,
         const RegionOptions& options) {
  using Body = PlainBody<T, CxType, Callable, own_cancel>;
  return RunIn<CxType, Body, RegionOptions>(cx, name, Body(std::forward<Callable>(callable)),
                                            policy, options);
}

}  // namespace region_internal

class Region {
 public:
  // Opens a region below cx's, runs body(cx) in it as part of the calling task, waits until everything
  // spawned into it has ended, runs its finalizers, and closes it.
  // Returns  the body's outcome joined with the children's in order of completion (R1); Cancelled,
  //          without running the body, if an ordinary wait of `cx` would fail now.
  // Suspends until the close: a structural wait that forwards a cancel and never ends early.
  // Cancel   safe: whatever happens, nothing of the region is left when it returns.
  // Errors   as above; a body that throws is Panicked.
  // Compilers: a body that is not trivially destructible must be a named lvalue, which is copied by
  //          reference and must outlive the await (R10).
  template <class CxType, class Body>
  static auto Open(const CxType& cx, SpawnName name, Body&& body, RegionPolicy policy = FailFast(),
                   RegionOptions options = RegionOptions()) {
    using B = std::remove_reference_t<Body>;
    static_assert(std::is_lvalue_reference_v<Body> || std::is_trivially_destructible_v<B>,
                  "Region::Open: a body that is not trivially destructible must be a named lvalue: "
                  "g++ 12 destroys such a temporary twice in a co_await expression (R10). Write "
                  "`auto body = [..](Cx cx) -> Task<..> {..};` and pass `body`");
    static_assert(std::is_invocable_v<B&, CxType>,
                  "Region::Open(cx, name, body): body(cx) must be callable and return a Task");
    static_assert(cx_internal::kHasSpawn<CxType>, "Region::Open needs a Cx with cap::Spawn");
    using T = typename spawn_internal::TaskValue<std::invoke_result_t<B&, CxType>>::type;
    using Kept = std::conditional_t<std::is_lvalue_reference_v<Body>, B&, B>;
    return region_internal::Run<T, Kept, CxType>(cx, name, std::forward<Body>(body), policy,
                                                 options);
  }
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_REGION_H_

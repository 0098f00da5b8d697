// completion.h: a value that comes once, from a callback or a thread that knows no tasks.
//
// Why:        foreign code answers when it likes, on a thread of its own. Here its answer wakes one task,
//             once, and neither a cancel nor a late answer can lose it, double it or write to freed
//             memory.
// Example:    Completion<Row> done;
//             StartQuery(query, [answer = done.completer()](Row row) { answer.Complete(std::move(row)); });
//             Row row = co_await OrReturn(done.Wait(cx));
// Invariants: (1) it is completed at most once and its value is taken at most once; the second of either
//                 is a bug, and fatal;
//             (2) a cancelled Wait took nothing: the value stays, or comes, and can be waited for again
//                 (G8);
//             (3) when a Wait yields a value, whoever completed it is done with the runtime: the task may
//                 go on to end, and the Runtime be destroyed.
// Lifetime:   the value lives in a block of its own, which the Completion, its Completers and a Complete
//             under way hold together. So:
//               - A Completer may be used after the Completion is gone, and needs nothing else. This is
//                 the form for callbacks: a cancel ends the Wait, and the frame with the Completion in it,
//                 while the callback is still to come. Its answer is then dropped.
//               - `[&done] { done.Complete(…); }` is for when the call has returned before the scope of
//                 `done` is left, also by a cancel: where the callback is unregistered, or its thread
//                 joined, before. One call may be still on its way out: that of the value which a Wait has
//                 returned. It only touches the block from then on, to which it holds a reference of its own.
//               - A Completer outlives its own call in the same sense: the callback may belong to the task that
//                 it wakes.
//               - The Completion outlives its waits, until they have returned; else it is fatal.
//               - What the foreign operation writes to, beside the answer, is not protected by this
//                 class: let the callback own its buffers.
// Else:       between tasks, where the two ends travel and whoever answers consumes its end: channel/oneshot.h. This
//             class is for code that knows no tasks, may answer twice or not at all, or fails.
// Threads:    Complete on any; Wait and BlockingWait on one task or thread at a time. What happened before
//             Complete happens before the return of the wait.
#ifndef QUIESCE_RUNTIME_SYNC_COMPLETION_H_
#define QUIESCE_RUNTIME_SYNC_COMPLETION_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

namespace completion_internal {

// The block, without the value.
//
// word     | meaning                              | moves to
// ---------|--------------------------------------|----------------------------------------------------
// kPending | nobody has completed it              | kClaimed by the one who does (acq_rel)
// kClaimed | the value is being written           | kDone by the same, with lock_ held (release)
// kDone    | the value is there                   | kTaken by the wait that takes it (acq_rel)
// kTaken   | the value has been moved out         | –
class Block {
 public:
  Block() = default;
  virtual ~Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void Ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void Unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  void AddCompleter() {
    completers_.fetch_add(1, std::memory_order_relaxed);
    Ref();
  }
  void DropCompleter() {
    // acq_rel: what the holders of the other completers did happens before the failure is written.
    if (completers_.fetch_sub(1, std::memory_order_acq_rel) == 1 && TryClaim()) {
      Fail(Dropped());
      Publish();
    }
    Unref();
  }

  // True for the first caller, who then writes the value and calls Publish.
  bool TryClaim() {
    BeforeUse(&lock_, ObjectUse::kChange);
    uint32_t pending = kPending;
    return word_.compare_exchange_strong(pending, kClaimed, std::memory_order_acq_rel,
                                         std::memory_order_relaxed);
  }
  void Claim() {
    if (!TryClaim()) [[unlikely]]
      CompletedTwice();
  }
  // The caller holds a reference, since the waiter may give up all others meanwhile.
  void Publish() ABSL_LOCKS_EXCLUDED(lock_);

  bool done() const {
    lock_.BeforeLook();
    return IsDone();
  }
  // Precondition: done(). Fatal for the second caller.
  void ClaimValue() {
    if (word_.exchange(kTaken, std::memory_order_acq_rel) == kTaken) [[unlikely]]
      TakenTwice();
  }

  // kDone: the value may be taken.
  Enqueued Enqueue(Waiter* waiter) ABSL_LOCKS_EXCLUDED(lock_);
  // After the decision about a wait that was queued. As AwaitPublisher.
  void LeaveWait() ABSL_LOCKS_EXCLUDED(lock_);
  // Waits until Publish, if it is under way, has left the runtime.
  void AwaitPublisher() ABSL_LOCKS_EXCLUDED(lock_);
  // By ~Completion.
  void DropCompletion() ABSL_LOCKS_EXCLUDED(lock_);

 protected:
  virtual void Fail(absl::Status status) = 0;

 private:
  static constexpr uint32_t kPending = 0;
  static constexpr uint32_t kClaimed = 1;
  static constexpr uint32_t kDone = 2;
  static constexpr uint32_t kTaken = 3;

  bool IsDone() const { return word_.load(std::memory_order_acquire) >= kDone; }
  static absl::Status Dropped();
  [[noreturn, gnu::cold]] static void CompletedTwice();
  [[noreturn, gnu::cold]] static void TakenTwice();

  std::atomic<uint32_t> word_{kPending};
  std::atomic<uint32_t> refs_{1};
  std::atomic<uint32_t> completers_{0};
  PrimitiveLock lock_{"Completion"};                 // before a run queue's (inside Waiter::Grant)
  Waiter* waiter_ ABSL_GUARDED_BY(lock_) = nullptr;  // from its Enqueue until it has left
};

[[noreturn, gnu::cold]] void MovedFrom();

template <class T>
class ValueBlock final : public Block {
 public:
  void Complete(Outcome<T>&& outcome) {
    Claim();
    Write(std::move(outcome));
  }
  bool TryComplete(Outcome<T>&& outcome) {
    if (!TryClaim()) return false;
    Write(std::move(outcome));
    return true;
  }
  Outcome<T> Take() {
    ClaimValue();
    return *std::move(value_);
  }

 private:
  void Write(Outcome<T>&& outcome) {
    // Once it is published the waiter may destroy the Completion, and with it the callback that we are
    // in and its Completer.
    Ref();
    value_.emplace(std::move(outcome));
    Publish();
    Unref();
  }
  void Fail(absl::Status status) override { value_.emplace(std::move(status)); }

  // Written between kClaimed and kDone, read after kTaken, by one thread each.
  std::optional<Outcome<T>> value_;
};

template <class T>
class WaitOp {
 public:
  using Value = T;
  static constexpr const char* kName = "Completion::Wait";
  static constexpr bool kStructural = false;
  explicit WaitOp(ValueBlock<T>* block) : block_(block) {}

  bool Try(Waiter&, std::optional<Outcome<T>>& result) {
    if (!block_->done()) return false;
    // Also without having been queued: an earlier, cancelled wait may have been.
    block_->AwaitPublisher();
    result.emplace(block_->Take());
    return true;
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<T>>& result) {
    const Enqueued enqueued = block_->Enqueue(&waiter);
    if (enqueued == Enqueued::kDone) result.emplace(block_->Take());
    return enqueued;
  }
  bool Harvest(Waiter&, std::optional<Outcome<T>>& result) {
    block_->LeaveWait();
    result.emplace(block_->Take());
    return true;
  }
  void Withdraw(Waiter&) { block_->LeaveWait(); }

 private:
  ValueBlock<T>* block_;
};

}  // namespace completion_internal

template <class T>
class Completion;

template <class T>
using CompletionWait = Wait<completion_internal::WaitOp<T>>;

// The right to complete a Completion, for a callback. Copies share it; one of them uses it.
// If the last one is destroyed and nobody has completed it, the wait ends with Error(kAborted): the
// callback was thrown away uncalled. So take one, and copy that.
template <class T>
class Completer {
 public:
  Completer(const Completer& other) : block_(other.block_) {
    if (block_ != nullptr) block_->AddCompleter();
  }
  Completer(Completer&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Completer& operator=(Completer other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Completer() {
    if (block_ != nullptr) block_->DropCompleter();
  }

  // As Completion::Complete and TryComplete; fatal after having been moved from.
  void Complete(Outcome<T> outcome) const { block()->Complete(std::move(outcome)); }
  void Complete() const
    requires(std::is_void_v<T>)
  {
    block()->Complete(Ok());
  }
  bool TryComplete(Outcome<T> outcome) const { return block()->TryComplete(std::move(outcome)); }

 private:
  friend class Completion<T>;
  explicit Completer(completion_internal::ValueBlock<T>* block) : block_(block) {
    block_->AddCompleter();
  }
  completion_internal::ValueBlock<T>* block() const {
    if (block_ == nullptr) [[unlikely]]
      completion_internal::MovedFrom();
    return block_;
  }
  completion_internal::ValueBlock<T>* block_;  // null: moved from
};

template <class T>
class Completion {
 public:
  // One allocation, for the block.
  Completion() : block_(new completion_internal::ValueBlock<T>()) {}
  // Fatal while a Wait is queued, or has been decided and not returned. A value that nobody took is destroyed, now or
  // by the last Completer.
  ~Completion() { block_->DropCompletion(); }
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  // For a callback that may come after this object is gone.
  Completer<T> completer() { return Completer<T>(block_); }

  // Gives the outcome (a T, a failure, or an Outcome<T>; ToOutcome takes a StatusOr) to the wait, now or
  // when it comes. Does not suspend and does not run the waiting task. Fatal if it is the second time.
  // Threads: any. The runtime whose task waits outlives the call if the wait takes the value.
  void Complete(Outcome<T> outcome) { block_->Complete(std::move(outcome)); }
  void Complete()
    requires(std::is_void_v<T>)
  {
    block_->Complete(Ok());
  }
  // As Complete, but if it has been completed before: false, and `outcome` is dropped. For sources of
  // which the first counts.
  bool TryComplete(Outcome<T> outcome) { return block_->TryComplete(std::move(outcome)); }

  // Waits for the outcome and takes it.
  // Returns  what it was completed with | Cancelled (the task's) | Error(kAborted) if every Completer was
  //          dropped.
  // Suspends until it is completed; an ordinary wait. A checkpoint also when it has been.
  // Cancel   safe (G8): nothing is taken, and the outcome can be waited for again.
  // Threads  one wait at a time, of a task or a thread; the Completion outlives it. Fatal once the
  //          outcome has been taken.
  CompletionWait<T> Wait(const CxBase& cx) { return CompletionWait<T>(cx, block_); }

  // The same for a plain thread, which it blocks, for at most `timeout`: then Cancelled (kDeadline), and the
  // outcome can be waited for again. Fatal in a task, where it would block a worker.
  Outcome<T> BlockingWait(absl::Duration timeout = absl::InfiniteDuration()) {
    return BlockThread<completion_internal::WaitOp<T>>(
        "Completion::BlockingWait", "co_await OrReturn(completion.Wait(cx))", timeout, block_);
  }

 private:
  completion_internal::ValueBlock<T>* const block_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_COMPLETION_H_

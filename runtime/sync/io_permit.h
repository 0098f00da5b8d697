// io_permit.h: I/O that something else performs on a task's buffer: a driver, a vendor's callbacks, io_uring.
//
// Why:        a read that is under way writes into its buffer until the other side has answered, whatever has become
//             of the task. A buffer in the frame of a cancelled task is then somebody else's memory.
// Example:    IoOperation<std::vector<char>> read(std::vector<char>(4096));
//             read.WithCancel([&] { device.CancelRead(id); });
//             device.StartRead(id, [permit = read.Start(cx)](int n) mutable { std::move(permit).Complete(n); });
//             size_t n = co_await OrReturn(read.Done(cx));
//             Use(read.buffer(), n);
// When not:   for an answer without a buffer there is Completion. A call that blocks its thread: RunBlocking.
// Invariants: (1) the buffer stays where it is, and lives, until the other side has answered; (2) Done does not return
//             before that (R2: it forwards the cancel and never ends early); (3) each operation is answered once
//             (G7); an answer that comes together with a cancel is reported, not lost (G8).
//
// event \ state        | idle: the task's       | in flight: the driver's         | answered: the task's
// ---------------------|------------------------|---------------------------------|---------------------------------
// Start                | in flight              | fatal                           | fatal: take the answer by Done
// buffer()             | the buffer             | fatal; the permit's gives it    | the buffer
// Complete, Fail, Abort| –                      | answered                        | –
// Done                 | fatal                  | waits                           | the answer; idle
// cancel of the task   | –                      | the hook is called, once        | –
// destroyed            | with the buffer        | the answer destroys the buffer  | with the buffer
//
// Lifetime:   buffer and state are in a block of their own, which the operation and its permit keep. So the operation may be
//             destroyed while it is in flight: nobody hears the answer then, and its region waits for the permit
//             (R8). Where the region gave up on that, the buffer is still there.
// Threads:    the operation as its task; a permit as a value, on any thread. What happened before the answer happens
//             before the return of Done.
#ifndef QUIESCE_RUNTIME_SYNC_IO_PERMIT_H_
#define QUIESCE_RUNTIME_SYNC_IO_PERMIT_H_

#include <cstddef>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/permit.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

template <class Buffer>
class IoOperation;

namespace sync_internal {

// The block without the buffer. It goes with the last of the operation and its permit.
class IoBlock {
 public:
  IoBlock() = default;
  IoBlock(const IoBlock&) = delete;
  IoBlock& operator=(const IoBlock&) = delete;

  // The operation's side.
  void Start();
  void CheckNotInFlight(const char* call) const;
  void DropOperation();
  // The permit's side, which is gone after this, and with it the block if the operation is.
  void Answer(Outcome<size_t> answer);

  // False while it is in flight. `granted`: a wait that was queued leaves.
  bool TryTake(bool granted, std::optional<Outcome<size_t>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<size_t>>& result);
  void Withdraw();

 protected:
  virtual ~IoBlock() = default;

 private:
  enum class State : uint8_t { kIdle, kInFlight, kAnswered };

  void Take(std::optional<Outcome<size_t>>& result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // Held over Waiter::Grant: before a run queue's.
  mutable SpinLock lock_;
  State state_ ABSL_GUARDED_BY(lock_) = State::kIdle;
  bool operation_gone_ ABSL_GUARDED_BY(lock_) = false;
  Waiter* waiter_ ABSL_GUARDED_BY(lock_) = nullptr;  // from its Enqueue until it has left
  std::optional<Outcome<size_t>> answer_ ABSL_GUARDED_BY(lock_);
};

template <class Buffer>
struct IoBlockOf final : IoBlock {
  template <class... Args>
  explicit IoBlockOf(Args&&... args) : buffer(std::forward<Args>(args)...) {}
  Buffer buffer;
};

template <bool structural>
class IoAnswerOp {
 public:
  using Value = size_t;
  static constexpr const char* kName = "IoOperation::Done";
  static constexpr bool kStructural = structural;
  explicit IoAnswerOp(IoBlock* block) : block_(block) {}

  bool Try(Waiter&, std::optional<Outcome<size_t>>& result) {
    return block_->TryTake(/*granted=*/false, result);
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<size_t>>& result) {
    return block_->Enqueue(waiter, result);
  }
  bool Harvest(Waiter&, std::optional<Outcome<size_t>>& result) {
    return block_->TryTake(/*granted=*/true, result);
  }
  void Withdraw(Waiter&) { block_->Withdraw(); }

 private:
  IoBlock* block_;
};

using IoCancelHook = absl::AnyInvocable<void()>;
Task<size_t> AwaitAnswer(CxBase cx, IoBlock* block, IoCancelHook* hook);

template <class Buffer>
struct IoSlot {
  static constexpr PermitKind kKind = {"IoPermit", "Complete or Fail"};
  explicit IoSlot(IoBlockOf<Buffer>* block) : block(block) {}
  void Abort() {
    block->Answer(answer.has_value()
                      ? *std::move(answer)
                      : absl::AbortedError("the operation was given up by its driver (its IoPermit "
                                           "was aborted, or dropped)"));
  }
  IoBlockOf<Buffer>* block;
  std::optional<Outcome<size_t>> answer;
};

}  // namespace sync_internal

// The other side's part of an operation: the buffer, until it is consumed by one of Complete, Fail and Abort, each of which
// says that the other side does not touch the buffer any more. So a permit must not be aborted, or dropped, while it may.
template <class Buffer>
class [[nodiscard]] IoPermit : public Permit<sync_internal::IoSlot<Buffer>> {
  using Slot = sync_internal::IoSlot<Buffer>;

 public:
  // Where to read or write. It stays there. Fatal after the permit has been consumed or moved from.
  Buffer& buffer() const {
    if (!this->live()) [[unlikely]]
      Fatal(
          "IoPermit::buffer after the permit was consumed or moved from: it is the task's by now");
    return this->slot().block->buffer;
  }

  // It is done: `n` bytes, or what else the two sides count. Does not suspend and does not run the waiting task.
  void Complete(size_t n) && { std::move(*this).Answer(n); }
  // It has failed. kCancelled, after the cancel hook was called, is what came of that: Done yields Cancelled. Fatal if
  // `error` is OK.
  void Fail(absl::Status error) && { std::move(*this).Answer(std::move(error)); }

 private:
  friend class IoOperation<Buffer>;
  IoPermit(const CxBase& cx, Slot slot, const std::source_location& where)
      : Permit<Slot>(cx, std::move(slot), where) {}

  // Also if its region has revoked it: what happened to the buffer has happened.
  void Answer(Outcome<size_t> answer) && {
    if (this->live()) this->slot().answer.emplace(std::move(answer));
    (void)std::move(*this).Act([](Slot& slot) { slot.Abort(); });
  }
};

// One operation at a time on one buffer, again and again.
template <class Buffer>
class IoOperation {
 public:
  // Makes the buffer from `args`. One allocation, for the block.
  template <class... Args>
  explicit IoOperation(Args&&... args)
      : block_(new sync_internal::IoBlockOf<Buffer>(std::forward<Args>(args)...)) {}
  // Fatal while a task waits in Done.
  ~IoOperation() { block_->DropOperation(); }
  IoOperation(const IoOperation&) = delete;
  IoOperation& operator=(const IoOperation&) = delete;

  // `hook` is called when a task that waits in Done is cancelled, in that task: at most once for each Start. It tells the
  // other side to hurry, and must not wait for it; the answer may have come in the same moment.
  IoOperation& WithCancel(sync_internal::IoCancelHook hook) {
    hook_ = std::move(hook);
    return *this;
  }

  // The task's buffer. Fatal while the operation is in flight: the other side may be writing to it.
  Buffer& buffer() {
    block_->CheckNotInFlight("IoOperation::buffer");
    return block_->buffer;
  }

  // Gives the buffer to the other side, with the permit. Does not suspend; no checkpoint: a cancelled task is told so by
  // Done.
  // Owes     Complete, Fail or Abort (G7), by whoever holds the permit.
  // Errors   fatal if it is in flight, or its answer has not been taken.
  IoPermit<Buffer> Start(const CxBase& cx,
                         std::source_location where = std::source_location::current()) {
    cx.Verify();
    block_->Start();
    return IoPermit<Buffer>(cx, sync_internal::IoSlot<Buffer>(block_), where);
  }

  // Waits for the answer.
  // Returns  what the permit was completed with | Error: what it failed with, kAborted if it was aborted | Cancelled: it
  //          failed with kCancelled after the task had been cancelled, and so has done nothing.
  // Suspends until the answer: structural (R2). A cancel that would end an ordinary wait of `cx` calls the hook, once,
  //          and the wait goes on. A checkpoint in that sense only.
  // Cancel   safe (G8): if it was done in spite of the cancel the result says so.
  // Errors   fatal if it is not started, or another task waits.
  // Threads  the task's; the operation outlives the wait.
  Task<size_t> Done(const CxBase& cx) { return sync_internal::AwaitAnswer(cx, block_, &hook_); }

 private:
  sync_internal::IoBlockOf<Buffer>* const block_;
  sync_internal::IoCancelHook hook_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_IO_PERMIT_H_

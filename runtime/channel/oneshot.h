// oneshot.h: one value, from one sender to one receiver: the answer to a request.
//
// Why:        a request that is not answered must be told from one that will be, and an answer that nobody wants any
//             more must come back to who has it.
// Example:    auto [sender, receiver] = MakeOneshot<Row>();
//             co_await OrReturn(queries.Send(cx, Query(key, std::move(sender))));
//             std::optional<Row> row = co_await OrReturn(receiver.Receive(cx));   // nullopt: dropped unanswered
// Invariants: (1) a value is with the sender, in the channel or with the receiver: Send gives back what cannot arrive
//                 any more; (2) a cancelled Receive took nothing, and can be made again (G8); (3) when Receive yields,
//                 whoever sent is done with the runtime.
// Lifetime:   each end may go at any time, but not under its own wait, which is fatal. One allocation for both; who
//             goes last frees it.
// Threads:    each end: one task or thread at a time. What happened before Send happens before its receive.
// T:          nothrow move constructible, aligned to at most 16 bytes.
// Else:       several values: mpsc.h. An answer from a callback or foreign code, which may come twice, or fail, or from
//             one of several: sync/completion.h, which yields an Outcome and can be waited for where it lies. Here the
//             two ends travel, and to answer consumes the sender.
#ifndef QUIESCE_RUNTIME_CHANNEL_ONESHOT_H_
#define QUIESCE_RUNTIME_CHANNEL_ONESHOT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/time/time.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace oneshot_internal {

// The block, without the value.
//
// bit of word    | set by, and means                                    | cleared by
// ---------------|------------------------------------------------------|--------------------------------
// kValue         | the sender, with kSenderGone: the value is there     | the receiver, who has taken it
// kSenderGone    | the sender, at its end                               | never
// kClosed        | the receiver: it wants no value any more             | never
// kReceiverGone  | the receiver, at its end, with kClosed               | never
// kReceiverWaits | the receiver: receiver_waiter is to be granted       | who grants it; its Withdraw
// kSenderWaits   | the sender: sender_waiter is to be granted           | who grants it; its Withdraw
// kBusy          | who grants, withdraws or queues a wait: a lock       | the same, with its last store
//
// All of it by compare-exchange, acq_rel, but for the store that ends kBusy (release). The sender's last store sets
// kSenderGone, the receiver's kReceiverGone: who finds the other's set has the block for itself. So without a wait
// a send is one compare-exchange, and its receive a load.
class Block {
 public:
  static constexpr uint32_t kValue = 1;
  static constexpr uint32_t kSenderGone = 2;
  static constexpr uint32_t kClosed = 4;
  static constexpr uint32_t kReceiverGone = 8;
  static constexpr uint32_t kReceiverWaits = 16;
  static constexpr uint32_t kSenderWaits = 32;
  static constexpr uint32_t kBusy = 64;

  Block() { ObjectMade(this, "Oneshot"); }

  // The word, not busy.
  uint32_t Word() const {
    BeforeUse(this, ObjectUse::kLook);
    return LoadWord();
  }

  // For the sender. Nobody waits and nothing has happened: ends it so. False otherwise.
  bool TryEndSender(uint32_t with) {
    BeforeUse(this, ObjectUse::kChange);
    // A failed exchange costs what one does that succeeds.
    if (word_.load(std::memory_order_relaxed) != 0) return false;
    uint32_t fresh = 0;
    return word_.compare_exchange_strong(fresh, kSenderGone | with, std::memory_order_acq_rel,
                                         std::memory_order_relaxed);
  }
  // The same in every state, but kClosed: false then, and nothing is done. Wakes the receiver.
  bool SendUnlessClosed();
  // Ends the sender without a value, and wakes the receiver. Returns the word before.
  uint32_t EndSender();
  // For the receiver: wakes a sender that waits for it. Returns the word before. `with`: kClosed, and
  // kReceiverGone at its end.
  uint32_t CloseReceiver(uint32_t with);
  // For the receiver, after it has taken the value: nobody else looks at the word any more.
  void MarkTaken() { word_.store(kSenderGone, std::memory_order_relaxed); }

  // Queues the receiver's wait, unless its end has come: a value, or none any more.
  Enqueued EnqueueReceiver(Waiter& waiter);
  Enqueued EnqueueSender(Waiter& waiter);
  // After a decision; also waits until who granted it is done.
  void LeaveReceiver() { Leave(kReceiverWaits, receiver_waiter_); }
  void LeaveSender() { Leave(kSenderWaits, sender_waiter_); }
  // Has the sender gone, nothing else, and no wait of the receiver is left?
  bool Settled() const {
    BeforeUse(this, ObjectUse::kLook);
    return word_.load(std::memory_order_acquire) == kSenderGone && receiver_waiter_ == nullptr;
  }
  // Fatal if a wait of that end has not left.
  void CheckReceiverUnused() const {
    if (receiver_waiter_ != nullptr) [[unlikely]]
      DestroyedInUse("a OneshotReceiver", receiver_waiter_);
  }
  void CheckSenderUnused() const {
    if (sender_waiter_ != nullptr) [[unlikely]]
      DestroyedInUse("a OneshotSender", sender_waiter_);
  }

 private:
  uint32_t LoadWord() const {
    const uint32_t word = word_.load(std::memory_order_acquire);
    return (word & kBusy) == 0 ? word : WordSlow();
  }
  uint32_t WordSlow() const;
  // Sets kBusy; returns the word without it.
  uint32_t Lock();
  void Unlock(uint32_t word) { word_.store(word, std::memory_order_release); }
  // Takes one of the waits out of `word`, and grants it. The caller has kBusy. `slot` is read only if its bit is
  // set: its wait writes it without the lock after that.
  static void Wake(uint32_t& word, uint32_t bit, Waiter* const& slot);
  Enqueued EnqueueUnless(uint32_t decided, uint32_t bit, Waiter*& slot, Waiter& waiter);
  void Leave(uint32_t bit, Waiter*& slot);
  [[noreturn, gnu::cold]] static void DestroyedInUse(const char* what, const Waiter* waiting);

  std::atomic<uint32_t> word_{0};
  // Of the waits under way, until they have left; written by their own end only.
  Waiter* receiver_waiter_ = nullptr;
  Waiter* sender_waiter_ = nullptr;
};

[[noreturn, gnu::cold]] void MovedFrom(const char* what);

template <class T>
class ValueBlock : public Block {
  static_assert(
      std::is_nothrow_move_constructible_v<T>,
      "MakeOneshot<T>: T must be nothrow move constructible, so that a send cannot be half "
      "done: send a std::unique_ptr of what is not");
  static_assert(alignof(T) <= 16,
                "MakeOneshot<T>: T must not be aligned to more than 16 bytes: send a pointer");

 public:
  ValueBlock() {}
  ~ValueBlock() {}
  static void* operator new(size_t size) { return SlabAllocate(size); }
  static void operator delete(void* block, size_t size) { SlabFree(block, size); }

  // ---- the sender ----
  // Ends it. The value, if it cannot arrive any more.
  [[gnu::always_inline]] std::optional<T> Send(T&& value) {
    std::construct_at(&value_, std::move(value));  // which nobody reads before kValue
    if (TryEndSender(kValue)) [[likely]]
      return std::nullopt;
    return SendSlow();
  }
  [[gnu::noinline]] void DropSender() {
    CheckSenderUnused();
    if (TryEndSender(0)) return;
    if ((EndSender() & kReceiverGone) != 0) delete this;
  }

  // ---- the receiver ----
  // Is there an answer?
  bool Ready() const { return (Word() & (kSenderGone | kClosed)) != 0; }
  // True if there is an answer: the value, or that none will come.
  bool Take(std::optional<T>& value) {
    const uint32_t word = Word();
    if ((word & kValue) != 0) [[likely]] {
      value.emplace(TakeValue());
      MarkTaken();
      return true;
    }
    return (word & (kSenderGone | kClosed)) != 0;
  }
  void DropReceiver() {
    // Whoever sent or went is done, and nothing is left.
    if (Settled()) [[likely]] {
      delete this;
    } else {
      DropUnsettled();
    }
  }

 private:
  // The value is in its place.
  [[gnu::noinline]] std::optional<T> SendSlow() {
    if (SendUnlessClosed()) return std::nullopt;
    std::optional<T> back(std::in_place, TakeValue());
    if ((EndSender() & kReceiverGone) != 0) delete this;
    return back;
  }
  [[gnu::noinline]] void DropUnsettled() {
    CheckReceiverUnused();
    uint32_t word = Word();
    if ((word & kSenderGone) == 0) word = CloseReceiver(kClosed | kReceiverGone);
    if ((word & kSenderGone) == 0) return;
    if ((word & kValue) != 0) std::destroy_at(&value_);
    delete this;
  }
  T TakeValue() {
    T value(std::move(value_));
    std::destroy_at(&value_);
    return value;
  }
  union {
    T value_;
  };
};

template <class T>
class ReceiveOp {
 public:
  using Value = std::optional<T>;
  using Result = std::optional<Outcome<Value>>;
  static constexpr const char* kName = "OneshotReceiver::Receive";
  static constexpr bool kStructural = false;
  explicit ReceiveOp(ValueBlock<T>* block) : block_(block) {}
  // Nobody else takes what there is.
  bool TryTake(Waiter&) { return block_->Ready(); }
  [[gnu::always_inline]] Value MakeValue(Waiter&) {
    Value value;
    block_->Take(value);
    return value;
  }
  bool Try(Waiter&, Result& result) {
    Value value;
    if (!block_->Take(value)) return false;
    result.emplace(std::move(value));
    return true;
  }
  Enqueued Enqueue(Waiter& waiter, Result& result) {
    const Enqueued enqueued = block_->EnqueueReceiver(waiter);
    if (enqueued == Enqueued::kDone) Try(waiter, result);
    return enqueued;
  }
  bool Harvest(Waiter& waiter, Result& result) {
    block_->LeaveReceiver();
    return Try(waiter, result);
  }
  void Withdraw(Waiter&) { block_->LeaveReceiver(); }

 private:
  ValueBlock<T>* block_;
};

// The sender's, until the receiver has closed.
class ClosedOp {
 public:
  using Value = void;
  static constexpr const char* kName = "OneshotSender::Closed";
  static constexpr bool kStructural = false;
  explicit ClosedOp(Block* block) : block_(block) {}
  bool Try(Waiter&, std::optional<Outcome<void>>& result) {
    if ((block_->Word() & Block::kClosed) == 0) return false;
    result.emplace(Ok());
    return true;
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
    const Enqueued enqueued = block_->EnqueueSender(waiter);
    if (enqueued == Enqueued::kDone) result.emplace(Ok());
    return enqueued;
  }
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result) {
    block_->LeaveSender();
    result.emplace(Ok());
    return true;
  }
  void Withdraw(Waiter&) { block_->LeaveSender(); }

 private:
  Block* block_;
};

}  // namespace oneshot_internal

template <class T>
using OneshotReceiveWait = Wait<oneshot_internal::ReceiveOp<T>>;
using OneshotClosedWait = Wait<oneshot_internal::ClosedOp>;

template <class T>
struct Oneshot;

// The right to answer, once. Dropped unused: the receiver gets nullopt.
template <class T>
class OneshotSender {
 public:
  OneshotSender(OneshotSender&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  OneshotSender& operator=(OneshotSender&& other) noexcept {
    OneshotSender old(std::exchange(block_, std::exchange(other.block_, nullptr)));
    return *this;
  }
  ~OneshotSender() {
    if (block_ != nullptr) block_->DropSender();
  }

  // Sends `value`; does not suspend.
  // Returns  nullopt: it is in the channel. The value: the receiver is gone, or has called Close.
  [[gnu::always_inline]] std::optional<T> Send(T&& value) && {
    oneshot_internal::ValueBlock<T>* block = this->block();
    block->CheckSenderUnused();
    block_ = nullptr;
    return block->Send(std::move(value));
  }

  // Waits until nobody wants the value any more: for work that can then be given up. In a Select with that work.
  // Returns  Ok: the receiver is gone, or has called Close | Cancelled.
  // Suspends until then. A checkpoint.  Cancel: safe, no effect.
  OneshotClosedWait Closed(const CxBase& cx) { return OneshotClosedWait(cx, block()); }
  // The same without waiting. Once true it stays so.
  bool closed() const { return (block()->Word() & oneshot_internal::Block::kClosed) != 0; }

 private:
  friend struct Oneshot<T>;
  explicit OneshotSender(oneshot_internal::ValueBlock<T>* block) : block_(block) {}
  oneshot_internal::ValueBlock<T>* block() const {
    if (block_ == nullptr) [[unlikely]]
      oneshot_internal::MovedFrom("a OneshotSender");
    return block_;
  }

  oneshot_internal::ValueBlock<T>* block_;  // null: moved from, or used
};

// The right to the answer.
template <class T>
class OneshotReceiver {
 public:
  OneshotReceiver(OneshotReceiver&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)) {}
  OneshotReceiver& operator=(OneshotReceiver&& other) noexcept {
    OneshotReceiver old(std::exchange(block_, std::exchange(other.block_, nullptr)));
    return *this;
  }
  // As Close; a value that was not taken is destroyed.
  ~OneshotReceiver() {
    if (block_ != nullptr) block_->DropReceiver();
  }

  // Waits for the value and takes it.
  // Returns  the value | nullopt if none will come: the sender was dropped, Close was called, or it has been taken |
  //          Cancelled.
  // Suspends until then. A checkpoint also when it is there.
  // Cancel   safe (G8): nothing is taken.
  OneshotReceiveWait<T> Receive(const CxBase& cx) { return OneshotReceiveWait<T>(cx, block()); }
  // The value, if it is there. nullopt now or, if ended(), for ever.
  std::optional<T> TryReceive() {
    std::optional<T> value;
    block()->Take(value);
    return value;
  }
  // Receive for a thread that is no task, which it blocks. Cancelled (kDeadline) after `timeout`, with nothing taken.
  // Fatal in a task.
  Outcome<std::optional<T>> BlockingReceive(absl::Duration timeout = absl::InfiniteDuration()) {
    return BlockThread<oneshot_internal::ReceiveOp<T>>("OneshotReceiver::BlockingReceive",
                                                       "co_await OrReturn(receiver.Receive(cx))",
                                                       timeout, block());
  }

  // Wants no value any more: Send gives it back from here on. One that was sent before can still be received.
  void Close() { block()->CloseReceiver(oneshot_internal::Block::kClosed); }
  // Will every receive yield nullopt from here on?
  bool ended() const {
    using oneshot_internal::Block;
    const uint32_t word = block()->Word();
    return (word & Block::kValue) == 0 && (word & (Block::kSenderGone | Block::kClosed)) != 0;
  }

 private:
  friend struct Oneshot<T>;
  explicit OneshotReceiver(oneshot_internal::ValueBlock<T>* block) : block_(block) {}
  oneshot_internal::ValueBlock<T>* block() const {
    if (block_ == nullptr) [[unlikely]]
      oneshot_internal::MovedFrom("a OneshotReceiver");
    return block_;
  }

  oneshot_internal::ValueBlock<T>* block_;  // null: moved from
};

// Both ends: auto [sender, receiver] = MakeOneshot<Row>();
template <class T>
struct Oneshot {
  Oneshot() : Oneshot(new oneshot_internal::ValueBlock<T>()) {}
  OneshotSender<T> sender;
  OneshotReceiver<T> receiver;

 private:
  explicit Oneshot(oneshot_internal::ValueBlock<T>* block) : sender(block), receiver(block) {}
};

template <class T>
Oneshot<T> MakeOneshot() {
  return Oneshot<T>();
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_ONESHOT_H_

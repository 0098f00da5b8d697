// mpsc_channel.h: what the ends of an mpsc channel share.
//
// State, all of it under one lock:
//
// a slot is …   | because                                     | becomes
// --------------|---------------------------------------------|---------------------------------------------
// free          | –                                           | reserved by Reserve; queued by Send, or free (*)
// reserved      | a SendPermit is open                        | queued by its Send, or free (*); free by its Abort
// queued        | a message waits for the Receiver            | free by Receive; held by ReceiveAcked
// held          | an Ack is open                              | free by its Commit; queued, at the front, by its Nack
// (*) the Receiver waits in Receive, and is handed the message.
//
// Invariants: (1) a wait for room is queued only while no slot is free, so nothing can get past it: a slot that
//             becomes free belongs to the first of them at once; (2) the Receiver waits only while no message is
//             queued and one may still come; (3) the block lives as long as an end or a slot that is reserved or
//             held.
#ifndef QUIESCE_RUNTIME_CHANNEL_MPSC_CHANNEL_H_
#define QUIESCE_RUNTIME_CHANNEL_MPSC_CHANNEL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/channel/chunk_queue.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace mpsc_internal {

using channel_internal::ChunkQueue;

absl::Status ClosedError(const char* operation);
[[noreturn, gnu::cold]] void ZeroCapacity();
[[noreturn, gnu::cold]] void TwoReceivers(const char* operation, const Waiter* waiting);
[[noreturn, gnu::cold]] void ReceiverDestroyedInUse(const Waiter* waiting);
[[noreturn, gnu::cold]] void SenderDestroyedInUse(const Waiter* waiting);
[[noreturn, gnu::cold]] void ReceiveNone();

inline constexpr size_t kUnbounded = std::numeric_limits<size_t>::max() / 2;

// What became of an attempt to get a slot.
enum class Room : uint8_t { kTaken, kNone, kClosed };

// A wait for a slot. Written under the channel's lock.
struct RoomWaiter : ListHook {
  RoomWaiter() : ListHook(kUnsetHook) {}
  // Set by EnqueueForRoom:
  Waiter* waiter;
  void* value;  // a T, to be queued in the slot; null: it is reserved
  bool closed;  // granted, but not a slot
};

// What a receiving operation found.
enum class Found : uint8_t { kNothing, kMessages, kEnd };

template <class T>
class Channel {
 public:
  using Place = std::optional<Outcome<std::optional<T>>>;

  // With one Sender and the Receiver.
  explicit Channel(size_t capacity) : capacity_(capacity), free_(capacity), queue_(capacity) {}
  static void* operator new(size_t size) { return SlabAllocate(size); }
  static void operator delete(void* block, size_t size) { SlabFree(block, size); }

  // ---- the sending side ----

  void AddSender() {
    PrimitiveLockHolder lock(lock_);
    ++senders_;
  }
  void DropSender() {
    EndUse([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
      if (--senders_ != 0) return;
      if (room_waits_ != 0) SenderDestroyedInUse(room_.empty() ? nullptr : room_.front()->waiter);
      WakeAtEnd();
    });
  }
  // Queues *value, or hands it to the Receiver that waits, if there is room.
  [[gnu::always_inline]] Room TrySend(T* value) {
    PrimitiveLockHolder lock(lock_);
    return TakeRoom(value);
  }
  Room TryReserve() { return TrySend(nullptr); }
  // The same, or queues `wait`; a null value reserves.
  Enqueued EnqueueForRoom(Waiter& waiter, RoomWaiter& wait, T* value, Room& room) {
    PrimitiveLockHolder lock(lock_);
    if (!closed_ && free_ == 0) {
      wait.waiter = &waiter;
      wait.value = value;
      wait.closed = false;
      room_.PushBack(&wait);
      ++room_waits_;
      return Enqueued::kQueued;
    }
    if (!waiter.MayTake()) return Enqueued::kLost;
    room = TakeRoom(value);
    return Enqueued::kDone;
  }
  // After its decision. Whoever granted it is done with the runtime, and with *wait.value, when this returns.
  void LeaveRoom(RoomWaiter& wait) {
    PrimitiveLockHolder lock(lock_);
    --room_waits_;
    if (wait.linked())
      room_.Remove(&wait);  // cancelled; if it was passed over somebody else was served
  }

  // Of a permit: the same with *value, in its slot. False, and the slot is given back, if the Receiver is gone.
  [[gnu::always_inline]] bool SendReserved(T* value) {
    bool sent = false;
    EndUse([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
      --reserved_;
      sent = receiver_;
      if (sent) {
        Push(value);
      } else {
        FreeSlots(1);
      }
    });
    return sent;
  }
  void AbortReserved() {
    EndUse([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
      --reserved_;
      FreeSlots(1);
      WakeAtEnd();
    });
  }

  // ---- the receiving side ----

  // Calls take(queue), under the lock, if there are messages; it takes at least one, and returns how many slots
  // are free again.
  template <class Take>
  [[gnu::always_inline]] Found Receive(const char* operation, Take&& take) {
    BeforeUse(&lock_, ObjectUse::kChange);
    // Who has to wait would take the lock twice.
    if (!ready_.load(std::memory_order_relaxed)) return Found::kNothing;
    SilentLockHolder lock(lock_);
    if (receiving_ != nullptr) [[unlikely]]
      TwoReceivers(operation, receiving_);
    return TakeMessages(take);
  }
  // `place`: of a wait for one message, which who sends it puts there itself, before the grant; null: the wait takes
  // its messages from the queue.
  template <class Take>
  Enqueued EnqueueForMessage(const char* operation, Waiter& waiter, Place* place, Take&& take,
                             Found& found) {
    PrimitiveLockHolder lock(lock_);
    if (receiving_ != nullptr) [[unlikely]]
      TwoReceivers(operation, receiving_);
    if (queue_.empty() && !AtEnd()) {
      receiving_ = &waiter;
      place_ = place;
      may_wake_ = true;
      return Enqueued::kQueued;
    }
    if (!waiter.MayTake()) return Enqueued::kLost;
    found = TakeMessages(take);
    return Enqueued::kDone;
  }
  // After a grant that put nothing into `place`: there is a message, or the end.
  template <class Take>
  Found Harvest(Take&& take) {
    PrimitiveLockHolder lock(lock_);
    receiving_ = nullptr;
    return TakeMessages(take);
  }
  void WithdrawReceiver() {
    PrimitiveLockHolder lock(lock_);
    receiving_ = nullptr;
    may_wake_ = false;
  }

  // Of an Ack: the message is done with.
  void FreeHeld() {
    EndUse([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
      FreeSlots(1);
      WakeAtEnd();
    });
  }
  // Of an Ack: puts *value back, to the front. Stays the caller's if the Receiver is gone.
  void Redeliver(T* value) {
    EndUse([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
      if (!receiver_) return FreeSlots(1);
      queue_.PushFront(std::move(*value));
      ready_.store(true, std::memory_order_relaxed);
      WakeReceiver();
    });
  }

  void Close() {
    PrimitiveLockHolder lock(lock_);
    CloseForSenders();
    WakeAtEnd();
  }
  void DropReceiver() {
    std::optional<ChunkQueue<T>> unread;  // destroyed without the lock
    EndUse([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
      if (receiving_ != nullptr) ReceiverDestroyedInUse(receiving_);
      receiver_ = false;
      CloseForSenders();
      FreeSlots(queue_.size());
      unread.emplace(std::move(queue_));
    });
  }

  // ---- figures; each may be of the past when it returns ----

  size_t size() {
    PrimitiveLockHolder lock(lock_);
    return queue_.size();
  }
  size_t reserved() {
    PrimitiveLockHolder lock(lock_);
    return reserved_;
  }
  size_t capacity() const { return capacity_; }
  bool closed() {
    PrimitiveLockHolder lock(lock_);
    return closed_;
  }
  bool ended() {
    PrimitiveLockHolder lock(lock_);
    return AtEnd();
  }

 private:
  // Changes the state, under the lock, so that the block may be of no use to anybody; then it is freed.
  template <class Change>
  [[gnu::always_inline]] void EndUse(Change&& change) ABSL_LOCKS_EXCLUDED(lock_) {
    bool unused;
    {
      PrimitiveLockHolder lock(lock_);
      change();
      unused = senders_ == 0 && !receiver_ && free_ == capacity_;
    }
    if (unused) [[unlikely]]
      delete this;
  }

  Room TakeRoom(T* value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (closed_) [[unlikely]]
      return Room::kClosed;
    if (free_ == 0) return Room::kNone;
    --free_;
    FillSlot(value);
    return Room::kTaken;
  }
  void FillSlot(T* value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (value == nullptr) {
      ++reserved_;
    } else {
      Push(value);
    }
  }
  // Into a slot that is taken.
  void Push(T* value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (may_wake_) [[unlikely]]
      return HandOver(value);
    Queue(*value);
  }
  void Queue(T& value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    queue_.PushBack(std::move(value));
    ready_.store(true, std::memory_order_relaxed);
  }
  // The Receiver waits, so the queue is empty: gives it the message without the detour, if it has a place for it.
  [[gnu::noinline]] void HandOver(T* value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (place_ == nullptr) {
      Queue(*value);
      return WakeReceiver();
    }
    // Before the grant: who is granted does not come back for the lock.
    place_->emplace(std::optional<T>(std::in_place, std::move(*value)));
    may_wake_ = false;
    if (receiving_->Grant()) [[likely]] {
      receiving_ = nullptr;
      FreeSlots(1);
      WakeAtEnd();  // if that was the last message, the next receive finds the end
      return;
    }
    // It is being cancelled, reads nothing before it has had the lock, and the message stays for the next time.
    Queue(*(**place_).value());
    place_->reset();
  }
  void FreeSlots(size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    free_ += count;
    if (!room_.empty()) [[unlikely]]
      ServeRoom();
  }
  [[gnu::noinline]] void ServeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    while (free_ > 0) {
      RoomWaiter* next = room_.PopFront();
      if (next == nullptr) return;
      if (!next->waiter->Grant()) continue;
      // It cannot leave before it has had the lock.
      --free_;
      FillSlot(static_cast<T*>(next->value));
    }
  }
  [[gnu::noinline]] void CloseForSenders() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    closed_ = true;
    while (RoomWaiter* next = room_.PopFront()) {
      next->closed = true;
      next->waiter->Grant();  // or it is being cancelled
    }
  }

  // Will no message come any more, once the queue is empty?
  bool AtEnd() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return free_ == capacity_ && (senders_ == 0 || closed_);
  }
  void WakeAtEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (!AtEnd()) return;
    ready_.store(true, std::memory_order_relaxed);
    WakeReceiver();
  }
  void WakeReceiver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (!may_wake_) return;
    may_wake_ = false;
    receiving_->Grant();  // or it is being cancelled, and the message stays for the next time
  }
  template <class Take>
  Found TakeMessages(Take&& take) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (!queue_.empty()) [[likely]] {
      FreeSlots(take(queue_));
      ready_.store(!queue_.empty() || AtEnd(), std::memory_order_relaxed);
      return Found::kMessages;
    }
    return AtEnd() ? Found::kEnd : Found::kNothing;
  }

  PrimitiveLock lock_{"Mpsc"};  // before a run queue's (inside Waiter::Grant)
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  bool receiver_ ABSL_GUARDED_BY(lock_) = true;  // not destroyed
  bool may_wake_ ABSL_GUARDED_BY(lock_) =
      false;  // receiving_ is parked or parking, and not granted yet
  // Would a receive find something: a message, or the end? Written under the lock, read without: a hint, hence
  // relaxed. What happened before the read is seen by coherence.
  std::atomic<bool> ready_{false};
  uint32_t senders_ ABSL_GUARDED_BY(lock_) = 1;
  const size_t capacity_;
  size_t free_ ABSL_GUARDED_BY(lock_);
  size_t reserved_ ABSL_GUARDED_BY(lock_) = 0;
  size_t room_waits_ ABSL_GUARDED_BY(lock_) = 0;  // in room_, or granted and not left yet
  Waiter* receiving_ ABSL_GUARDED_BY(lock_) =
      nullptr;                           // until it has left, or a message was handed over
  Place* place_ ABSL_GUARDED_BY(lock_);  // receiving_'s
  ChunkQueue<T> queue_ ABSL_GUARDED_BY(lock_);
  IntrusiveList<RoomWaiter> room_ ABSL_GUARDED_BY(lock_);
};

}  // namespace mpsc_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_MPSC_CHANNEL_H_

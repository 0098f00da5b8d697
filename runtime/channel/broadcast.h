// broadcast.h: every receiver gets every message; a slow one is told what it missed, or is waited for.
//
// Why:        news for many: who sends must not depend on the slowest who listens, unless nobody may miss
//             anything; and a listener that has fallen behind must know it, and by how much.
// Example:    auto prices = MakeBroadcast<Price>(64);
//             cx.Spawn("show", [](Cx cx, BroadcastReceiver<Price> prices) -> Task<void> {
//               while (auto price = co_await OrReturn(prices.Receive(cx))) Show(price->value, price->missed);
//               co_return Ok();                                   // the last sender is gone
//             }, prices.Subscribe());
//             prices.Send(Price(42));                             // overwrites the oldest, never waits
//             co_await OrReturn(prices.Send(cx, Price(43)));      // waits until nobody misses anything by it
// Room:       with a Cx, a Send or Reserve waits for room; without one, Send makes room, and who had not taken
//             the oldest message yet misses it. Room that is reserved is not its to take: where there is no other, it
//             sends nothing. A channel of which nothing may be missed is sent to with a Cx only.
// Invariants: (1) a receiver gets what is sent from its Subscribe on, in the order in which it was sent, but for
//                 what was overwritten, which the next message counts (`missed`);
//             (2) messages kept for the slowest receiver + reserved room <= capacity: what has room overwrites nothing;
//             (3) room is given first come first served, and nobody overtakes who waits for it;
//             (4) a cancelled wait took no message and holds no room (G8).
//
// event \ state     | open                          | closed (Close, or no sender | ended (closed, and no
//                   |                               | left), room reserved        | room is reserved)
// ------------------|-------------------------------|-----------------------------|----------------------
// Send(value)       | kept, may overwrite; where    | 0; stays with the caller    | 0
//                   | all room is reserved 0        |                             |
// Send(cx), Reserve | room, or waits for it         | Error                       | Error
// permit.Send       | kept                          | kept                        | –
// Receive, has news | the message                   | the message                 | the message
// Receive, has none | waits                         | waits                       | nullopt
//
// Lifetime:   what the channel holds lives as long as its handles and permits. A handle outlives the waits that
//             were made with it; it is fatal to destroy a receiver, or the last sender, in which a task waits.
// Threads:    senders, Subscribe and permits on any. A receiver is used by one task or thread at a time.
//             What happened before a message was sent happens before it is received.
// Values:     T is copied for each receiver but the last, outside of the channel's lock. Its move constructor is
//             noexcept, and must not use the channel; a copy constructor that throws ends the process.
#ifndef QUIESCE_RUNTIME_CHANNEL_BROADCAST_H_
#define QUIESCE_RUNTIME_CHANNEL_BROADCAST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <source_location>
#include <utility>

#include "absl/time/time.h"
#include "quiesce/runtime/channel/broadcast_channel.h"
#include "quiesce/runtime/channel/moved_from.h"
#include "quiesce/runtime/channel/sending_end.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/permit.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

template <class T>
class BroadcastReceiver;
template <class T>
class BroadcastSender;

// One message, as one receiver gets it.
template <class T>
struct Broadcasted {
  Broadcasted(T value, uint64_t missed) : value(std::move(value)), missed(missed) {}
  T value;
  // Messages right before this one that were overwritten before this receiver had taken them.
  uint64_t missed;
};

namespace broadcast_internal {

template <class T>
class ReceiveOp {
 public:
  using Value = std::optional<Broadcasted<T>>;
  static constexpr const char* kName = "BroadcastReceiver::Receive";
  static constexpr bool kStructural = false;
  ReceiveOp(Channel<T>* channel, Reader* reader) : channel_(channel), reader_(reader) {}

  bool Try(Waiter&, std::optional<Outcome<Value>>& result) {
    return channel_->Receive(*reader_, /*granted=*/false, result);
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    return channel_->EnqueueReader(*reader_, waiter, result);
  }
  // It was woken for a message that it has not taken, so there is one; if others have overwritten that since,
  // a later one.
  bool Harvest(Waiter&, std::optional<Outcome<Value>>& result) {
    return channel_->Receive(*reader_, /*granted=*/true, result);
  }
  void Withdraw(Waiter&) { channel_->WithdrawReader(reader_); }

 private:
  Channel<T>* channel_;
  Reader* reader_;
};

// Waits for room, and then makes of it what Derived::Use(waiter, result) does.
template <class Derived, class V>
class RoomOp {
 public:
  using Value = V;
  static constexpr bool kStructural = false;
  explicit RoomOp(Hub* hub) : hub_(hub) {}

  bool Try(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    return Settle(waiter, hub_->TryTakeRoom(), result);
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    Room room = Room::kNone;
    const Enqueued enqueued = hub_->EnqueueWriter(&writer_, &waiter, &room);
    if (enqueued == Enqueued::kDone) Settle(waiter, room, result);
    return enqueued;
  }
  bool Harvest(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    return Settle(waiter, hub_->HarvestWriter(&writer_), result);
  }
  void Withdraw(Waiter&) { hub_->WithdrawWriter(&writer_); }

 private:
  bool Settle(Waiter& waiter, Room room, std::optional<Outcome<Value>>& result) {
    if (room == Room::kNone) return false;
    if (room == Room::kClosed) [[unlikely]] {
      result.emplace(Hub::ClosedError(Derived::kName));
    } else {
      static_cast<Derived*>(this)->Use(waiter, result);
    }
    return true;
  }

  Hub* hub_;
  Writer writer_;
};

template <class T>
class SendOp : public RoomOp<SendOp<T>, size_t> {
 public:
  static constexpr const char* kName = "BroadcastSender::Send";
  SendOp(Channel<T>* channel, T* value)
      : RoomOp<SendOp<T>, size_t>(channel), channel_(channel), value_(value) {}
  bool Try(Waiter&, std::optional<Outcome<size_t>>& result) {
    size_t receivers = 0;
    const Room room = channel_->TryPublish(*value_, &receivers);
    if (room == Room::kNone) return false;
    if (room == Room::kClosed) [[unlikely]] {
      result.emplace(Hub::ClosedError(kName));
    } else {
      result.emplace(receivers);
    }
    return true;
  }
  void Use(Waiter&, std::optional<Outcome<size_t>>& result) {
    result.emplace(channel_->Publish(*value_, /*into_room=*/true));
  }

 private:
  Channel<T>* channel_;
  T* value_;
};

template <class T>
struct RoomSlot {
  static constexpr PermitKind kKind = {"BroadcastPermit", "Send"};
  explicit RoomSlot(Channel<T>* channel) : channel(channel) {}
  void Abort() { channel->ReturnRoom(); }
  Channel<T>* channel;
};

template <class T>
class ReserveOp;

}  // namespace broadcast_internal

// Room for one message.
template <class T>
class [[nodiscard]] BroadcastPermit : public Permit<broadcast_internal::RoomSlot<T>> {
  using Slot = broadcast_internal::RoomSlot<T>;

 public:
  // Sends `value`; does not wait and overwrites nothing.
  // Returns  how many receivers will get it. 0: there is none, or the permit had been revoked, and is given back;
  //          `value` has not been moved from.
  // Threads  any.
  size_t Send(T&& value) && {
    size_t receivers = 0;
    std::move(*this).Act([&](Slot& slot) { receivers = slot.channel->Publish(value, true); });
    return receivers;
  }

 private:
  friend class broadcast_internal::ReserveOp<T>;
  BroadcastPermit(const CxBase& cx, Slot slot, const std::source_location& where)
      : Permit<Slot>(cx, slot, where) {}
};

namespace broadcast_internal {

template <class T>
class ReserveOp : public RoomOp<ReserveOp<T>, BroadcastPermit<T>> {
 public:
  static constexpr const char* kName = "BroadcastSender::Reserve";
  ReserveOp(Channel<T>* channel, const std::source_location& where)
      : RoomOp<ReserveOp<T>, BroadcastPermit<T>>(channel), channel_(channel), where_(where) {}
  void Use(Waiter& waiter, std::optional<Outcome<BroadcastPermit<T>>>& result) {
    result.emplace(BroadcastPermit<T>(waiter.cx(), RoomSlot<T>(channel_), where_));
  }

 private:
  Channel<T>* channel_;
  std::source_location where_;
};

}  // namespace broadcast_internal

template <class T>
using BroadcastReceiveWait = Wait<broadcast_internal::ReceiveOp<T>>;
template <class T>
using BroadcastSendWait = Wait<broadcast_internal::SendOp<T>>;
template <class T>
using BroadcastReserveWait = Wait<broadcast_internal::ReserveOp<T>>;

// Gets what is sent from its Subscribe on. Move-only.
template <class T>
class BroadcastReceiver {
 public:
  // No wait of it may be under way.
  BroadcastReceiver(BroadcastReceiver&& other) noexcept = default;
  BroadcastReceiver& operator=(BroadcastReceiver&& other) noexcept = default;
  // What it has not taken counts for nobody any more. Fatal while a task waits in Receive.
  ~BroadcastReceiver() = default;

  // Waits for the next message.
  // Returns  the message, with how many it missed before it | nullopt: closed, and everything is delivered |
  //          Cancelled.
  // Suspends until there is one. A checkpoint also when there is.
  // Cancel   safe (G8): takes nothing; the message is there for the next Receive.
  // Threads  one Receive at a time.
  BroadcastReceiveWait<T> Receive(const CxBase& cx) {
    return BroadcastReceiveWait<T>(cx, end().channel, &end().reader);
  }
  // The same for a plain thread, which it blocks. Cancelled (kDeadline) once `timeout` has passed. Fatal in a
  // task.
  Outcome<std::optional<Broadcasted<T>>> BlockingReceive(
      absl::Duration timeout = absl::InfiniteDuration()) {
    return BlockThread<broadcast_internal::ReceiveOp<T>>("BroadcastReceiver::BlockingReceive",
                                                         "co_await OrReturn(receiver.Receive(cx))",
                                                         timeout, end().channel, &end().reader);
  }
  // The next message if there is one now. Suspends never; usable anywhere.
  std::optional<Broadcasted<T>> TryReceive() {
    typename broadcast_internal::Channel<T>::Result result;
    if (!end().channel->Receive(end().reader, /*granted=*/false, result)) return std::nullopt;
    return **std::move(result);
  }
  // Closed, and everything is delivered: Receive would yield nullopt, for ever.
  bool at_end() const { return end().channel->AtEnd(end().reader); }

 private:
  friend class BroadcastSender<T>;
  // In one place, so that the receiver can be moved.
  struct End {
    explicit End(broadcast_internal::Channel<T>* channel) : channel(channel) {
      channel->AddReader(reader);
    }
    ~End() { channel->DropReader(reader); }
    End(const End&) = delete;
    End& operator=(const End&) = delete;
    broadcast_internal::Channel<T>* const channel;
    broadcast_internal::Reader reader;
  };
  explicit BroadcastReceiver(broadcast_internal::Channel<T>* channel)
      : end_(std::make_unique<End>(channel)) {}

  End& end() const { return *channel_internal::NotMovedFrom(end_.get(), "a BroadcastReceiver"); }

  std::unique_ptr<End> end_;
};

// Copies send to the same receivers; the channel closes with the last of them, whose destruction is fatal while a
// task waits for room.
template <class T>
class BroadcastSender {
 public:
  // A receiver of what is sent from now on. One allocation. Threads: any.
  BroadcastReceiver<T> Subscribe() { return BroadcastReceiver<T>(channel()); }

  // Sends without waiting: where the channel is full, whoever has not taken the oldest message misses it. What room
  // others have reserved stays theirs.
  // Returns  how many receivers will get it, unless they miss it. 0: there is none, or the channel is closed, or all of
  //          its room is reserved, and `value` has not been moved from. Nobody has missed it then.
  // Threads  any, also of no task.
  size_t Send(T&& value) { return channel()->Publish(value, /*into_room=*/false); }

  // Sends so that nobody misses anything by it: waits until the slowest receiver has taken enough.
  // Returns  how many receivers will get it | Cancelled | Error(kFailedPrecondition) if closed. 0: there is none.
  //          Unless it is more than 0, `value` has not been moved from. It stays where it is until then.
  // Suspends while there is no room, FIFO. A checkpoint also when there is.
  // Cancel   safe (G8): nothing is sent; loses its place in line.
  // Threads  any.
  BroadcastSendWait<T> Send(const CxBase& cx, T&& value) {
    return BroadcastSendWait<T>(cx, channel(), &value);
  }
  // The same for a plain thread, which it blocks. Cancelled (kDeadline) once `timeout` has passed. Fatal in a
  // task.
  Outcome<size_t> BlockingSend(T&& value, absl::Duration timeout = absl::InfiniteDuration()) {
    return BlockThread<broadcast_internal::SendOp<T>>("BroadcastSender::BlockingSend",
                                                      "co_await OrReturn(sender.Send(cx, value))",
                                                      timeout, channel(), &value);
  }

  // Waits for room, then holds it for the caller.
  // Returns  Permit | Cancelled | Error(kFailedPrecondition) if closed.
  // Suspends while there is no room, FIFO. A checkpoint also when there is.
  // Cancel   safe (G8): holds no room; loses its place in line.
  // Owes     Send, Complete or Abort (G7). The receivers are not at their end until then.
  // Threads  any; the permit may outlive the sender.
  BroadcastReserveWait<T> Reserve(const CxBase& cx,
                                  std::source_location where = std::source_location::current()) {
    return BroadcastReserveWait<T>(cx, channel(), where);
  }

  // Nothing new is taken from now on, from any sender: who waits for room gets Error(kFailedPrecondition). What
  // was sent, and what permits are still to send, is delivered. Threads: any.
  void Close() { channel()->Close(); }

  // For metrics; another moment may say otherwise.
  size_t receivers() const { return channel()->receivers(); }
  size_t size() const { return channel()->size(); }          // kept for the slowest receiver
  size_t reserved() const { return channel()->reserved(); }  // room that permits hold
  size_t capacity() const { return channel()->capacity(); }
  bool closed() const { return channel()->closed(); }

 private:
  template <class U>
  friend BroadcastSender<U> MakeBroadcast(size_t capacity);
  explicit BroadcastSender(broadcast_internal::Channel<T>* channel) : end_(channel) {}
  broadcast_internal::Channel<T>* channel() const {
    return channel_internal::NotMovedFrom(end_.get(), "a BroadcastSender");
  }

  channel_internal::SendingEnd<broadcast_internal::Channel<T>> end_;
};

// A channel that keeps up to `capacity` messages for its slowest receiver; all the memory that it needs for
// them now, and for a T that is not plain bytes one block from the slab for each message. Fatal if it is 0.
template <class T>
BroadcastSender<T> MakeBroadcast(size_t capacity) {
  return BroadcastSender<T>(new broadcast_internal::Channel<T>(capacity));
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_BROADCAST_H_

// mpsc_ops.h: the waits of an mpsc channel (the concept WaitOperation of wait.h). For mpsc.h.
#ifndef QUIESCE_RUNTIME_CHANNEL_MPSC_OPS_H_
#define QUIESCE_RUNTIME_CHANNEL_MPSC_OPS_H_

#include <algorithm>
#include <cstddef>
#include <optional>
#include <source_location>
#include <utility>
#include <vector>

#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/channel/chunk_queue.h"
#include "quiesce/runtime/channel/mpsc_channel.h"
#include "quiesce/runtime/channel/mpsc_permit.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {
namespace mpsc_internal {

// ---- waits for room ---------------------------------------------------------------------------------

// Self says what a slot is taken for: `value()` is to be queued in it, null reserves it; `Taken(waiter, result)` makes
// the result once it is.
template <class Self, class T, class V>
class RoomOp {
 public:
  using Value = V;
  using Result = std::optional<Outcome<V>>;
  static constexpr bool kStructural = false;

  [[gnu::always_inline]] bool Try(Waiter& waiter, Result& result) {
    return Finish(waiter, channel_->TrySend(self().value()), result);
  }
  Enqueued Enqueue(Waiter& waiter, Result& result) {
    Room room = Room::kNone;
    const Enqueued enqueued = channel_->EnqueueForRoom(waiter, wait_, self().value(), room);
    if (enqueued == Enqueued::kDone) Finish(waiter, room, result);
    return enqueued;
  }
  bool Harvest(Waiter& waiter, Result& result) {
    channel_->LeaveRoom(wait_);
    return Finish(waiter, wait_.closed ? Room::kClosed : Room::kTaken, result);
  }
  void Withdraw(Waiter&) { channel_->LeaveRoom(wait_); }

 protected:
  explicit RoomOp(Channel<T>* channel) : channel_(channel) {}
  Channel<T>* channel() const { return channel_; }

 private:
  Self& self() { return *static_cast<Self*>(this); }
  bool Finish(Waiter& waiter, Room room, Result& result) {
    if (room == Room::kNone) return false;
    if (room == Room::kTaken) [[likely]] {
      self().Taken(waiter, result);
    } else {
      result.emplace(ClosedError(Self::kName));
    }
    return true;
  }

  Channel<T>* channel_;
  RoomWaiter wait_;
};

template <class T>
class SendOp : public RoomOp<SendOp<T>, T, void> {
 public:
  static constexpr const char* kName = "Sender::Send";
  SendOp(Channel<T>* channel, T* value) : RoomOp<SendOp, T, void>(channel), value_(value) {}
  T* value() const { return value_; }
  void Taken(Waiter&, std::optional<Outcome<void>>& result) { result.emplace(Ok()); }

 private:
  T* value_;
};

template <class T>
class ReserveOp : public RoomOp<ReserveOp<T>, T, SendPermit<T>> {
 public:
  static constexpr const char* kName = "Sender::Reserve";
  ReserveOp(Channel<T>* channel, const std::source_location& where)
      : RoomOp<ReserveOp, T, SendPermit<T>>(channel), where_(where) {}
  T* value() const { return nullptr; }
  void Taken(Waiter& waiter, std::optional<Outcome<SendPermit<T>>>& result) {
    result.emplace(MakeValue(waiter));
  }
  bool TryTake(Waiter&) { return this->channel()->TryReserve() == Room::kTaken; }
  [[gnu::always_inline]] SendPermit<T> MakeValue(Waiter& waiter) {
    return SendPermit<T>(waiter.cx(), this->channel(), where_);
  }

 private:
  const std::source_location where_;
};

// ---- waits for a message ----------------------------------------------------------------------------

template <class T>
class ReceiveOp {
 public:
  using Value = std::optional<T>;
  using Result = std::optional<Outcome<Value>>;
  static constexpr const char* kName = "Receiver::Receive";
  static constexpr bool kStructural = false;
  explicit ReceiveOp(Channel<T>* channel) : channel_(channel) {}

  [[gnu::always_inline]] bool Try(Waiter&, Result& result) {
    return Finish(channel_->Receive(kName, TakeOne(result)), result);
  }
  Enqueued Enqueue(Waiter& waiter, Result& result) {
    Found found = Found::kNothing;
    const Enqueued enqueued =
        channel_->EnqueueForMessage(kName, waiter, &result, TakeOne(result), found);
    if (enqueued == Enqueued::kDone) Finish(found, result);
    return enqueued;
  }
  [[gnu::always_inline]] bool Harvest(Waiter&, Result& result) {
    return result.has_value() || Finish(channel_->Harvest(TakeOne(result)), result);
  }
  void Withdraw(Waiter&) { channel_->WithdrawReceiver(); }

 private:
  static auto TakeOne(Result& result) {
    return [&result](ChunkQueue<T>& queue) -> size_t {
      result.emplace(Value(std::in_place, std::move(queue.front())));
      queue.PopFront();
      return 1;
    };
  }
  static bool Finish(Found found, Result& result) {
    if (found == Found::kEnd) [[unlikely]]
      result.emplace(Value());
    return found != Found::kNothing;
  }

  Channel<T>* channel_;
};

template <class T>
class ReceiveAckedOp {
 public:
  using Value = std::optional<Ack<T>>;
  using Result = std::optional<Outcome<Value>>;
  static constexpr const char* kName = "Receiver::ReceiveAcked";
  static constexpr bool kStructural = false;
  ReceiveAckedOp(Channel<T>* channel, const std::source_location& where)
      : channel_(channel), where_(where) {}

  bool Try(Waiter& waiter, Result& result) {
    std::optional<T> message;
    return Finish(waiter, channel_->Receive(kName, Hold(message)), message, result);
  }
  Enqueued Enqueue(Waiter& waiter, Result& result) {
    std::optional<T> message;
    Found found = Found::kNothing;
    const Enqueued enqueued =
        channel_->EnqueueForMessage(kName, waiter, nullptr, Hold(message), found);
    if (enqueued == Enqueued::kDone) Finish(waiter, found, message, result);
    return enqueued;
  }
  bool Harvest(Waiter& waiter, Result& result) {
    std::optional<T> message;
    return Finish(waiter, channel_->Harvest(Hold(message)), message, result);
  }
  void Withdraw(Waiter&) { channel_->WithdrawReceiver(); }

 private:
  static auto Hold(std::optional<T>& message) {
    return [&message](ChunkQueue<T>& queue) -> size_t {
      message.emplace(std::move(queue.front()));
      queue.PopFront();
      return 0;  // its slot stays taken
    };
  }
  // Without the lock: the ledger of a debug build has one of its own.
  bool Finish(Waiter& waiter, Found found, std::optional<T>& message, Result& result) {
    if (found == Found::kNothing) return false;
    if (found == Found::kEnd) {
      result.emplace(Value());
    } else {
      result.emplace(Value(Ack<T>(waiter.cx(), channel_, *std::move(message), where_)));
    }
    return true;
  }

  Channel<T>* channel_;
  const std::source_location where_;
};

template <class T>
class ReceiveManyOp {
 public:
  using Value = size_t;
  using Result = std::optional<Outcome<size_t>>;
  static constexpr const char* kName = "Receiver::ReceiveMany";
  static constexpr bool kStructural = false;
  ReceiveManyOp(Channel<T>* channel, std::vector<T>* to, size_t most)
      : channel_(channel), to_(to), most_(most) {}

  bool Try(Waiter&, Result& result) {
    return Finish(channel_->Receive(kName, TakeMany(result)), result);
  }
  Enqueued Enqueue(Waiter& waiter, Result& result) {
    Found found = Found::kNothing;
    const Enqueued enqueued =
        channel_->EnqueueForMessage(kName, waiter, nullptr, TakeMany(result), found);
    if (enqueued == Enqueued::kDone) Finish(found, result);
    return enqueued;
  }
  bool Harvest(Waiter&, Result& result) {
    return Finish(channel_->Harvest(TakeMany(result)), result);
  }
  void Withdraw(Waiter&) { channel_->WithdrawReceiver(); }

 private:
  auto TakeMany(Result& result) {
    return [this, &result](ChunkQueue<T>& queue) -> size_t {
      const size_t count = std::min(queue.size(), most_);
      for (size_t i = 0; i < count; ++i) {
        to_->push_back(
            std::move(queue.front()));  // which has room: it does not allocate under the lock
        queue.PopFront();
      }
      result.emplace(count);
      return count;
    };
  }
  static bool Finish(Found found, Result& result) {
    if (found == Found::kEnd) [[unlikely]]
      result.emplace(size_t{0});
    return found != Found::kNothing;
  }

  Channel<T>* channel_;
  std::vector<T>* to_;
  size_t most_;
};

}  // namespace mpsc_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_MPSC_OPS_H_

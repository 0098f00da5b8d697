// mpsc_permit.h: the two permits of an mpsc channel: a slot to send into, and a message to be acknowledged.
#ifndef QUIESCE_RUNTIME_CHANNEL_MPSC_PERMIT_H_
#define QUIESCE_RUNTIME_CHANNEL_MPSC_PERMIT_H_

#include <memory>
#include <optional>
#include <source_location>
#include <utility>

#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/channel/mpsc_channel.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/permit.h"

namespace quiesce {
inline namespace v0 {
template <class T>
class Sender;

namespace mpsc_internal {

template <class T>
class ReserveOp;
template <class T>
class ReceiveAckedOp;

template <class T>
struct SendSlot {
  static constexpr PermitKind kKind = {"SendPermit", "Send"};
  explicit SendSlot(Channel<T>* channel) : channel(channel) {}
  void Abort() { channel->AbortReserved(); }
  Channel<T>* channel;
};

template <class T>
struct AckSlot {
  static constexpr PermitKind kKind = {"Ack", "Commit or Nack"};
  AckSlot(Channel<T>* channel, T&& message) : channel(channel), message(std::move(message)) {}
  AckSlot(AckSlot&&) noexcept = default;
  // By construction: messages need not be assignable.
  AckSlot& operator=(AckSlot&& other) noexcept {
    channel = other.channel;
    std::destroy_at(&message);
    std::construct_at(&message, std::move(other.message));
    return *this;
  }
  ~AckSlot() = default;
  void Abort() { channel->Redeliver(&message); }
  void Complete() { channel->FreeHeld(); }
  Channel<T>* channel;
  T message;
};

}  // namespace mpsc_internal

// A slot of the channel, held for one message. Abort frees it, for whoever waits first. (permit.h says what holds
// for every permit.)
template <class T>
class [[nodiscard]] SendPermit : public Permit<mpsc_internal::SendSlot<T>> {
  using Base = Permit<mpsc_internal::SendSlot<T>>;

 public:
  // Queues `value`: it is in the channel, or given back, never in between. Messages are received in the order of
  // these calls, not in that of Reserve.
  // Returns  nullopt: it is in the channel. The value: the Receiver is gone, or the region that owed the
  //          permit had revoked it.
  // Threads  any.
  std::optional<T> Send(T&& value) && {
    bool sent = false;
    std::move(*this).Act([&](mpsc_internal::SendSlot<T>& slot) __attribute__((always_inline)) {
      sent = slot.channel->SendReserved(&value);
    });
    if (sent) [[likely]]
      return std::nullopt;
    return std::optional<T>(std::in_place, std::move(value));
  }

 private:
  template <class U>
  friend class Sender;
  template <class U>
  friend class mpsc_internal::ReserveOp;
  [[gnu::always_inline]] SendPermit(const CxBase& cx, mpsc_internal::Channel<T>* channel,
                                    const std::source_location& where)
      : Base(cx, mpsc_internal::SendSlot<T>(channel), where) {}
};

// A message that was received and is not done with: its slot stays taken. A permit, so that a message which a
// failing task was working on is not lost: dropped by a cancel, it is delivered again.
template <class T>
class [[nodiscard]] Ack : public Permit<mpsc_internal::AckSlot<T>> {
  using Base = Permit<mpsc_internal::AckSlot<T>>;

 public:
  // The message. Precondition: live().
  T& value() { return this->slot().message; }
  const T& value() const { return this->slot().message; }

  // The message is done with; its slot is free.
  // Returns  the message; nullopt if the region that owed the Ack had revoked it: it is delivered again.
  std::optional<T> Commit() && {
    std::optional<T> message;
    std::move(*this).Act([&](mpsc_internal::AckSlot<T>& slot) {
      message.emplace(std::move(slot.message));
      slot.channel->FreeHeld();
    });
    return message;
  }
  // Delivered again, before all others, as it was left. Abort by its usual name. If the Receiver is gone, it is destroyed.
  void Nack() && { std::move(*this).Abort(); }

 private:
  template <class U>
  friend class mpsc_internal::ReceiveAckedOp;
  Ack(const CxBase& cx, mpsc_internal::Channel<T>* channel, T&& message,
      const std::source_location& where)
      : Base(cx, mpsc_internal::AckSlot<T>(channel, std::move(message)), where) {}
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_MPSC_PERMIT_H_

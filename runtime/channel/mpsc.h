// mpsc.h: a queue from many senders to one receiver, whose sends cannot be half done.
//
// Why:        a message is lost where a send was cancelled after it had given its value away, where a consumer died
//             with what it had received, and where a channel was closed over what was still to come.
// Example:    auto [sender, receiver] = MakeMpsc<Job>(64);
//             cx.Spawn("producer", Produce, std::move(sender));       // co_await OrReturn(sender.Send(cx, std::move(job)));
//             while (std::optional<Job> job = co_await OrReturn(receiver.Receive(cx))) Run(*job);
// Invariants: (1) a value is with the caller or in the channel: an operation that did not succeed has not moved from
//                 it;
//             (2) queued + reserved + not acknowledged messages <= capacity;
//             (3) whoever waits for room gets it in the order of waiting; TrySend does not get past them;
//             (4) each message is received once, or once more after each Nack; in the order of the sends, a Nack's
//                 first.
// Ends:       For the senders: when the Receiver is gone, or has called Close. A send fails then, and the value stays.
//             For the receiver: nullopt once nothing can come any more: no Sender is left (or Close was called), nothing
//             is queued, no SendPermit and no Ack is open. What was accepted before a Close is still delivered.
//             A Receiver that goes destroys what is queued.
// Lifetime:   ends and permits keep the channel alive. A wait needs its Sender or Receiver until it has ended:
//             destroying the Receiver, or the last Sender, under one is fatal. They may be moved meanwhile. A Receive
//             that has been handed its message has ended in this sense, before its task runs again: its slot is free.
// Threads:    a Sender and its copies: any, at once; one object as a value. The Receiver: one task or thread at a time,
//             another one that receives meanwhile is fatal. What happened before a send happens before its receive.
// T:          nothrow move constructible, aligned to at most 16 bytes. Its moves run under the channel's lock: they must
//             not use the channel.
// Else:       one answer to one question: oneshot.h. A value that comes from a callback: sync/completion.h.
#ifndef QUIESCE_RUNTIME_CHANNEL_MPSC_H_
#define QUIESCE_RUNTIME_CHANNEL_MPSC_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <source_location>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/channel/moved_from.h"
#include "quiesce/runtime/channel/mpsc_channel.h"
#include "quiesce/runtime/channel/mpsc_ops.h"
#include "quiesce/runtime/channel/mpsc_permit.h"
#include "quiesce/runtime/channel/sending_end.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

template <class T>
using SendWait = Wait<mpsc_internal::SendOp<T>>;
template <class T>
using ReserveWait = Wait<mpsc_internal::ReserveOp<T>>;
template <class T>
using ReceiveWait = Wait<mpsc_internal::ReceiveOp<T>>;
template <class T>
using ReceiveAckedWait = Wait<mpsc_internal::ReceiveAckedOp<T>>;
template <class T>
using ReceiveManyWait = Wait<mpsc_internal::ReceiveManyOp<T>>;

template <class T>
struct Mpsc;

enum class TrySendResult : uint8_t {
  kSent,
  kFull,    // no slot is free, or others wait for one
  kClosed,  // for good
};

// One of the sending ends. Copies send to the same channel; when the last one is gone, it ends for the receiver.
template <class T>
class Sender {
 public:
  // Waits for room, then holds it for the caller.
  // Returns  SendPermit | Cancelled | Error(kFailedPrecondition) if closed.
  // Suspends while full, FIFO. A checkpoint even when not full.
  // Cancel   safe (G8): holds no slot; loses its place in line.
  // Owes     Send or Abort (G7); the region counts it until then.
  // Threads  any.
  ReserveWait<T> Reserve(const CxBase& cx,
                         std::source_location where = std::source_location::current()) const {
    return ReserveWait<T>(cx, channel(), where);
  }
  // As Reserve, but never waits: nullopt if it is full or closed.
  std::optional<SendPermit<T>> TryReserve(
      const CxBase& cx, std::source_location where = std::source_location::current()) const {
    cx.Verify();
    if (channel()->TrySend(nullptr) != mpsc_internal::Room::kTaken) return std::nullopt;
    return SendPermit<T>(cx, end_.get(), where);
  }

  // Waits for room and sends: Reserve and Send in one, without a permit.
  // Returns  Ok: `value` has been moved from and is in the channel | Cancelled | Error(kFailedPrecondition) if closed.
  // Suspends while full, FIFO. A checkpoint even when not full.
  // Cancel   safe (G8): `value` is as it was; loses its place in line.
  // Threads  any. `value` outlives the wait: name it, unless you await in the same expression.
  SendWait<T> Send(const CxBase& cx, T&& value) const { return SendWait<T>(cx, channel(), &value); }
  // Sends if that needs no wait; else `value` is as it was. Threads: any, also of no task.
  TrySendResult TrySend(T&& value) const {
    const mpsc_internal::Room room = channel()->TrySend(&value);
    if (room == mpsc_internal::Room::kTaken) [[likely]]
      return TrySendResult::kSent;
    return room == mpsc_internal::Room::kNone ? TrySendResult::kFull : TrySendResult::kClosed;
  }
  // Send for a thread that is no task, which it blocks, in the same line as tasks. Cancelled (kDeadline) after
  // `timeout`, with `value` as it was. Fatal in a task.
  Outcome<void> BlockingSend(T&& value, absl::Duration timeout = absl::InfiniteDuration()) const {
    return BlockThread<mpsc_internal::SendOp<T>>("Sender::BlockingSend",
                                                 "co_await OrReturn(sender.Send(cx, value))",
                                                 timeout, channel(), &value);
  }

  // Would a send fail for good? Once true it stays so.
  bool closed() const { return channel()->closed(); }
  // For figures: queued messages, open SendPermits, and the most of both that there can be.
  size_t size() const { return channel()->size(); }
  size_t reserved() const { return channel()->reserved(); }
  size_t capacity() const { return channel()->capacity(); }

 private:
  friend struct Mpsc<T>;
  explicit Sender(mpsc_internal::Channel<T>* channel) : end_(channel) {}
  mpsc_internal::Channel<T>* channel() const {
    return channel_internal::NotMovedFrom(end_.get(), "a Sender");
  }

  channel_internal::SendingEnd<mpsc_internal::Channel<T>> end_;  // null: moved from
};

// The receiving end.
template <class T>
class Receiver {
 public:
  Receiver(Receiver&& other) noexcept : channel_(std::exchange(other.channel_, nullptr)) {}
  Receiver& operator=(Receiver&& other) noexcept {
    Receiver old(std::exchange(channel_, std::exchange(other.channel_, nullptr)));
    return *this;
  }
  // Closes the channel, and destroys the messages that are queued. Fatal while somebody waits on it.
  ~Receiver() {
    if (channel_ != nullptr) channel_->DropReceiver();
  }

  // Waits for the next message and takes it.
  // Returns  the message | nullopt at the end (see Ends above), again and again | Cancelled.
  // Suspends while nothing is queued and something may come. A checkpoint even when there is a message.
  // Cancel   safe (G8): no message is taken.
  // Threads  one at a time.
  ReceiveWait<T> Receive(const CxBase& cx) { return ReceiveWait<T>(cx, channel()); }
  // As Receive, but the message is to be acknowledged: until then it holds its slot, and comes again if the task
  // that works on it fails.
  // Returns  Ack | nullopt at the end | Cancelled.
  // Owes     Commit or Nack (G7). An open Ack may still bring a message, so the end does not come before it: do not
  //          wait for the end while you hold one.
  ReceiveAckedWait<T> ReceiveAcked(const CxBase& cx,
                                   std::source_location where = std::source_location::current()) {
    return ReceiveAckedWait<T>(cx, channel(), where);
  }
  // As Receive, for a batch: appends the messages that are there, at most `most`, for which it makes room in `to`.
  // Returns  how many, at least 1 | 0 at the end | Cancelled, with none taken.
  // Threads  `to` outlives the wait, and is not used meanwhile. Fatal if `most` is 0.
  ReceiveManyWait<T> ReceiveMany(const CxBase& cx, std::vector<T>& to, size_t most) {
    if (most == 0) [[unlikely]]
      mpsc_internal::ReceiveNone();
    if (to.capacity() - to.size() < most) {
      to.reserve(
          std::max(to.size() + most, 2 * to.capacity()));  // appending again and again stays linear
    }
    return ReceiveManyWait<T>(cx, channel(), &to, most);
  }
  // The next message if there is one; nullopt now or, if ended(), for ever. Threads: one at a time, also of no task.
  std::optional<T> TryReceive() {
    std::optional<T> message;
    channel()->Receive("Receiver::TryReceive", [&](channel_internal::ChunkQueue<T>& queue) {
      message.emplace(std::move(queue.front()));
      queue.PopFront();
      return size_t{1};
    });
    return message;
  }
  // Receive for a thread that is no task, which it blocks. Cancelled (kDeadline) after `timeout`, with nothing taken.
  // Fatal in a task.
  Outcome<std::optional<T>> BlockingReceive(absl::Duration timeout = absl::InfiniteDuration()) {
    return BlockThread<mpsc_internal::ReceiveOp<T>>(
        "Receiver::BlockingReceive", "co_await OrReturn(receiver.Receive(cx))", timeout, channel());
  }

  // Lets no more in: sends fail from here on, waiting ones are woken. What is queued or reserved is still delivered.
  void Close() { channel()->Close(); }
  // Will every receive yield nullopt from here on?
  bool ended() const { return channel()->ended(); }
  // For figures: queued messages, open SendPermits, and the most of both that there can be.
  size_t size() const { return channel()->size(); }
  size_t reserved() const { return channel()->reserved(); }
  size_t capacity() const { return channel()->capacity(); }

 private:
  friend struct Mpsc<T>;
  explicit Receiver(mpsc_internal::Channel<T>* channel) : channel_(channel) {}
  mpsc_internal::Channel<T>* channel() const {
    return channel_internal::NotMovedFrom(channel_, "a Receiver");
  }

  mpsc_internal::Channel<T>* channel_;  // null: moved from
};

// A new channel: auto [sender, receiver] = MakeMpsc<Job>(64);
template <class T>
struct Mpsc {
  explicit Mpsc(size_t capacity) : Mpsc(new mpsc_internal::Channel<T>(capacity)) {}
  Sender<T> sender;
  Receiver<T> receiver;

 private:
  explicit Mpsc(mpsc_internal::Channel<T>* channel) : sender(channel), receiver(channel) {}
};

// At most `capacity` messages are in it; senders wait for room. Fatal if that is 0. One allocation, and one for each
// up to 64 messages that are queued at once.
template <class T>
Mpsc<T> MakeMpsc(size_t capacity) {
  if (capacity == 0) [[unlikely]]
    mpsc_internal::ZeroCapacity();
  return Mpsc<T>(std::min(capacity, mpsc_internal::kUnbounded));
}
// Never full: nothing slows the senders down but memory. For where their number bounds it.
template <class T>
Mpsc<T> MakeUnboundedMpsc() {
  return Mpsc<T>(mpsc_internal::kUnbounded);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_MPSC_H_

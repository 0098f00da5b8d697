// broadcast_channel.h: what the ends of a broadcast channel share.
//
// State, all of it under one lock: messages have numbers; [first_, end_) are kept, each with the number of receivers that
// have not taken it (`pending`). A receiver has the number of the message that it takes next.
//
// room is …     | because                                     | becomes
// --------------|---------------------------------------------|---------------------------------------------------
// free          | –                                           | reserved by Reserve, kept by Send
// reserved      | a permit is open, or a Send is on its way   | kept by the Send; free by Abort
// kept          | some receiver has not taken the message     | free, once the oldest is not wanted any more
//
// Invariants: (1) kept + reserved <= capacity; (2) somebody waits for room only while there is none, so nobody
//             overtakes; (3) a receiver waits only while it has taken all and more may come; (4) the block lives as long
//             as a sender, a receiver or a permit.
#ifndef QUIESCE_RUNTIME_CHANNEL_BROADCAST_CHANNEL_H_
#define QUIESCE_RUNTIME_CHANNEL_BROADCAST_CHANNEL_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/channel/shared_value.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

template <class T>
struct Broadcasted;

namespace broadcast_internal {

// The place of a receiver. Guarded by the hub's lock; queued while it waits.
struct Reader : ListHook {
  uint64_t next = 0;         // the number of the message that it takes next
  Waiter* waiter = nullptr;  // from its Enqueue to its Harvest or Withdraw
};

// A sender that waits for room. Guarded by the hub's lock.
struct Writer : ListHook {
  Waiter* waiter = nullptr;
  bool has_room = false;  // when granted: else the channel was closed
};

enum class Room : uint8_t { kGiven, kNone, kClosed };

// All of the channel but the messages.
class Hub {
 public:
  explicit Hub(size_t capacity);
  virtual ~Hub() = default;
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // Handles of senders.
  void AddSender() ABSL_LOCKS_EXCLUDED(lock_);
  void DropSender() ABSL_LOCKS_EXCLUDED(lock_);
  void Close() ABSL_LOCKS_EXCLUDED(lock_);

  // Room for a message, which is then owed a Publish or ReturnRoom.
  Room TryTakeRoom() ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);
    return TakeRoom();
  }
  Enqueued EnqueueWriter(Writer* writer, Waiter* waiter, Room* room) ABSL_LOCKS_EXCLUDED(lock_);
  Room HarvestWriter(Writer* writer) ABSL_LOCKS_EXCLUDED(lock_);
  void WithdrawWriter(Writer* writer) ABSL_LOCKS_EXCLUDED(lock_);
  void ReturnRoom() ABSL_LOCKS_EXCLUDED(lock_);

  void WithdrawReader(Reader* reader) ABSL_LOCKS_EXCLUDED(lock_);

  // For checks and metrics.
  size_t capacity() const { return capacity_; }
  size_t receivers() ABSL_LOCKS_EXCLUDED(lock_);
  size_t size() ABSL_LOCKS_EXCLUDED(lock_);
  size_t reserved() ABSL_LOCKS_EXCLUDED(lock_);
  bool closed() ABSL_LOCKS_EXCLUDED(lock_);

  static absl::Status ClosedError(const char* operation);

 protected:
  size_t used() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) { return end_ - first_ + reserved_; }
  bool is_closed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) { return closed_ || senders_ == 0; }
  bool is_ended() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return is_closed() && reserved_ == 0;
  }
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return writers_.empty() && used() < capacity_;
  }
  Room TakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (is_closed()) [[unlikely]]
      return Room::kClosed;
    if (!HasRoom()) return Room::kNone;
    ++reserved_;
    ++handles_;
    return Room::kGiven;
  }
  // Gives room to those who wait for it, after some has become free.
  void ServeWriters() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (!writers_.empty()) [[unlikely]]
      ServeWritersSlow();
  }
  // What is left to do without the lock.
  enum class Left : uint8_t { kNothing, kWake, kWakeAndDrop, kDelete };
  // Wakes the readers that have something to see; a bounded number under one lock, so that nobody spins on it for
  // long. Finish does the rest, with a handle.
  [[nodiscard]] Left Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return !readers_.empty() && WakeSomeReaders() ? Left::kWake : Left::kNothing;
  }
  // The same, and gives a handle up.
  [[nodiscard]] Left WakeAndDrop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (Wake() == Left::kWake) [[unlikely]]
      return Left::kWakeAndDrop;
    return --handles_ == 0 ? Left::kDelete : Left::kNothing;
  }
  void Finish(Left left) ABSL_LOCKS_EXCLUDED(lock_) {
    if (left != Left::kNothing) [[unlikely]]
      FinishSlow(left);
  }
  [[noreturn, gnu::cold]] static void ReceivedTwice(const Waiter& waiting);
  [[noreturn, gnu::cold]] static void DroppedWhileWaiting(const char* what, const Waiter* waiting);

  PrimitiveLock lock_{"Broadcast"};  // before a run queue's (inside Waiter::Grant)
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  // Messages [first_, end_) are kept: some receiver has not taken first_.
  uint64_t first_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t end_ ABSL_GUARDED_BY(lock_) = 0;
  size_t reserved_ ABSL_GUARDED_BY(lock_) = 0;
  const size_t capacity_;
  uint32_t receivers_ ABSL_GUARDED_BY(lock_) = 0;
  uint32_t senders_ ABSL_GUARDED_BY(lock_) = 1;
  uint32_t handles_ ABSL_GUARDED_BY(lock_) = 1;  // senders, receivers, reserved room
  IntrusiveList<Reader> readers_ ABSL_GUARDED_BY(lock_);
  IntrusiveList<Writer> writers_ ABSL_GUARDED_BY(lock_);
  // Waits for room that are queued, or granted and not harvested.
  uint32_t waiting_writers_ ABSL_GUARDED_BY(lock_) = 0;

 private:
  bool ReaderHasNews(const Reader* reader) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return reader->next != end_ || is_ended();
  }
  // True if there are more.
  bool WakeSomeReaders() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void FinishSlow(Left left) ABSL_LOCKS_EXCLUDED(lock_);
  void ServeWritersSlow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
};

// What a look at the channel has given.
enum class Taken : uint8_t { kMessage, kNone, kEnd };

template <class T>
using Shared = channel_internal::SharedValue<T>;

// With the messages.
template <class T>
class Channel final : public Hub {
 public:
  using Result = std::optional<Outcome<std::optional<Broadcasted<T>>>>;

  explicit Channel(size_t capacity) : Hub(capacity), ring_(new Place[std::bit_ceil(capacity)]) {}

  // Takes room for `value` and sends it: TryTakeRoom and Publish under one lock.
  Room TryPublish(T& value, size_t* receivers) ABSL_LOCKS_EXCLUDED(lock_) {
    Shared<T> kept;
    kept.Allocate();
    Left left;
    {
      PrimitiveLockHolder lock(lock_);
      if (is_closed()) [[unlikely]]
        return Room::kClosed;
      if (!HasRoom()) return Room::kNone;
      *receivers = Keep(value, kept);
      left = Wake();
    }
    Finish(left);
    return Room::kGiven;
  }
  // Sends `value`: into the room that was taken, or overwriting. Returns how many will get it; 0: nobody, and
  // `value` has not been moved from.
  size_t Publish(T& value, bool into_room) ABSL_LOCKS_EXCLUDED(lock_) {
    Shared<T> kept;
    kept.Allocate();
    Shared<T> overwritten;  // destroyed without the lock
    size_t receivers = 0;
    Left left;
    {
      PrimitiveLockHolder lock(lock_);
      if (into_room) --reserved_;
      if (into_room || (!is_closed() && MakeRoom(overwritten))) [[likely]] {
        receivers = Keep(value, kept);
        ServeWriters();
      }
      left = into_room ? WakeAndDrop() : Wake();
    }
    Finish(left);
    return receivers;
  }

  // Takes the next message of `reader`, or sees that there is none any more. `granted`: its wait was.
  bool Receive(Reader& reader, bool granted, Result& result) ABSL_LOCKS_EXCLUDED(lock_) {
    Shared<T> message;
    uint64_t missed = 0;
    Taken taken;
    {
      PrimitiveLockHolder lock(lock_);
      if (granted) reader.waiter = nullptr;
      if (reader.waiter != nullptr) [[unlikely]]
        ReceivedTwice(*reader.waiter);
      taken = Take(reader, message, missed);
    }
    return Yield(taken, message, missed, result);
  }
  Enqueued EnqueueReader(Reader& reader, Waiter& waiter, Result& result)
      ABSL_LOCKS_EXCLUDED(lock_) {
    Shared<T> message;
    uint64_t missed = 0;
    Taken taken;
    {
      PrimitiveLockHolder lock(lock_);
      if (reader.waiter != nullptr) [[unlikely]]
        ReceivedTwice(*reader.waiter);
      if (reader.next == end_ && !is_ended()) {
        reader.waiter = &waiter;
        readers_.PushBack(&reader);
        return Enqueued::kQueued;
      }
      if (!waiter.MayTake()) return Enqueued::kLost;
      taken = Take(reader, message, missed);
    }
    Yield(taken, message, missed, result);
    return Enqueued::kDone;
  }

  void AddReader(Reader& reader) ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);
    reader.next = end_;
    ++receivers_;
    ++handles_;
  }
  void DropReader(Reader& reader) ABSL_LOCKS_EXCLUDED(lock_) {
    uint64_t until = 0;
    {
      PrimitiveLockHolder lock(lock_);
      if (reader.waiter != nullptr) [[unlikely]]
        DroppedWhileWaiting("a BroadcastReceiver", reader.waiter);
      --receivers_;
      until = end_;
    }
    // What it has not taken, some at a time: what nobody else wants is destroyed without the lock.
    Left left = Left::kNothing;
    for (bool more = true; more;) {
      Shared<T> untaken[kDropBatch];
      uint64_t missed = 0;
      PrimitiveLockHolder lock(lock_);
      for (Shared<T>& message : untaken) {
        more = std::max(reader.next, first_) < until;
        if (!more) break;
        Take(reader, message, missed);
      }
      if (!more) left = WakeAndDrop();
    }
    Finish(left);
  }
  // Is there nothing left for `reader`, for ever?
  bool AtEnd(const Reader& reader) ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);
    return reader.next == end_ && is_ended();
  }

 private:
  static constexpr size_t kDropBatch = 16;

  struct Place {
    Shared<T> value;
    uint32_t pending = 0;  // receivers that have not taken it
  };
  Place& At(uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return ring_[number & ring_mask_];
  }

  // Where there is no room takes the oldest message out. False if there is none: all room is reserved.
  bool MakeRoom(Shared<T>& overwritten) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (used() < capacity_) [[likely]]
      return true;
    if (first_ == end_) return false;
    Place& oldest = At(first_);
    overwritten = std::move(oldest.value);
    oldest.pending = 0;
    SkipTaken();
    return true;
  }
  // There is a place for it. As Publish, returns how many will get it.
  size_t Keep(T& value, Shared<T>& kept) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (receivers_ == 0) [[unlikely]]
      return 0;
    Place& place = At(end_++);
    kept.Put(std::move(value));
    place.value = std::move(kept);
    place.pending = receivers_;
    return receivers_;
  }
  // Moves first_ to the next message that somebody has not taken. Mostly that is the next, as each receiver takes
  // in order; but one that is being dropped does not count for what is sent meanwhile.
  void SkipTaken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    while (first_ != end_ && At(first_).pending == 0) ++first_;
  }
  Taken Take(Reader& reader, Shared<T>& message, uint64_t& missed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (reader.next < first_) [[unlikely]] {
      missed = first_ - reader.next;
      reader.next = first_;
    }
    if (reader.next == end_) return is_ended() ? Taken::kEnd : Taken::kNone;
    Place& place = At(reader.next);
    if (--place.pending == 0) {
      message = std::move(place.value);
      if (reader.next == first_) {
        SkipTaken();
        ServeWriters();
      }
    } else {
      message = place.value;
    }
    ++reader.next;
    return Taken::kMessage;
  }
  // Without the lock: copies.
  // noexcept: a copy that throws ends the process, since the message is taken already.
  static bool Yield(Taken taken, Shared<T>& message, uint64_t missed, Result& result) noexcept {
    if (taken == Taken::kNone) return false;
    if (taken == Taken::kMessage) [[likely]] {
      result.emplace(
          std::optional<Broadcasted<T>>(std::in_place, std::move(message).Take(), missed));
    } else {
      result.emplace(std::optional<Broadcasted<T>>());
    }
    return true;
  }
  const uint64_t ring_mask_ = std::bit_ceil(capacity_) - 1;
  const std::unique_ptr<Place[]> ring_;  // the places are guarded by lock_
};

}  // namespace broadcast_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_BROADCAST_CHANNEL_H_

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/channel/broadcast_channel.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace broadcast_internal {
namespace {

constexpr int kWakeBatch = 32;

unsigned long long TaskOf(const Waiter& waiter) { return waiter.task()->id; }

}  // namespace

Hub::Hub(size_t capacity) : capacity_(capacity) {
  if (capacity == 0) {
    Fatal(
        "MakeBroadcast: capacity 0: there would be no place for a message to wait for its "
        "receivers. Use 1 or more");
  }
}

// ---- senders ----------------------------------------------------------------------------------------

void Hub::AddSender() {
  PrimitiveLockHolder lock(lock_);
  ++senders_;
  ++handles_;
}

void Hub::DropSender() {
  Left left;
  {
    PrimitiveLockHolder lock(lock_);
    if (--senders_ == 0 && waiting_writers_ != 0) {
      const Writer* writer = writers_.front();
      DroppedWhileWaiting("the last BroadcastSender", writer == nullptr ? nullptr : writer->waiter);
    }
    left = WakeAndDrop();
  }
  Finish(left);
}

void Hub::Close() {
  Left left = Left::kNothing;
  for (bool more = true; more;) {
    PrimitiveLockHolder lock(lock_);
    closed_ = true;  // nobody queues for room from here on; who was given some keeps it
    for (int woken = 0; woken < kWakeBatch && !writers_.empty(); ++woken) {
      writers_.PopFront()->waiter->Grant();  // or it was cancelled, and withdraws by itself
    }
    more = !writers_.empty();
    if (!more) left = Wake();
  }
  Finish(left);
}

// ---- room -------------------------------------------------------------------------------------------

Enqueued Hub::EnqueueWriter(Writer* writer, Waiter* waiter, Room* room) {
  PrimitiveLockHolder lock(lock_);
  if (is_closed()) {
    if (!waiter->MayTake()) return Enqueued::kLost;
    *room = Room::kClosed;
    return Enqueued::kDone;
  }
  if (HasRoom()) {
    if (!waiter->MayTake()) return Enqueued::kLost;
    *room = TakeRoom();
    return Enqueued::kDone;
  }
  writer->waiter = waiter;
  writer->has_room = false;
  writers_.PushBack(writer);
  ++waiting_writers_;
  return Enqueued::kQueued;
}

Room Hub::HarvestWriter(Writer* writer) {
  PrimitiveLockHolder lock(lock_);
  --waiting_writers_;
  return writer->has_room ? Room::kGiven : Room::kClosed;
}

void Hub::WithdrawWriter(Writer* writer) {
  PrimitiveLockHolder lock(lock_);
  --waiting_writers_;
  // Not if it was passed over. Nobody behind it can be served now: there was no room for the first in line.
  if (writers_.Linked(writer)) writers_.Remove(writer);
}

void Hub::ServeWritersSlow() {
  while (used() < capacity_) {
    Writer* writer = writers_.PopFront();
    if (writer == nullptr) return;
    if (!writer->waiter->Grant()) continue;  // cancelled: it withdraws by itself
    writer->has_room = true;                 // it reads that under the lock
    ++reserved_;
    ++handles_;
  }
}

void Hub::ReturnRoom() {
  Left left;
  {
    PrimitiveLockHolder lock(lock_);
    --reserved_;
    ServeWriters();
    left = WakeAndDrop();
  }
  Finish(left);
}

// ---- readers ----------------------------------------------------------------------------------------

bool Hub::WakeSomeReaders() {
  for (int woken = 0; woken < kWakeBatch; ++woken) {
    // In the order in which they came: behind one that has seen all there is nobody has news.
    Reader* reader = readers_.front();
    if (reader == nullptr || !ReaderHasNews(reader)) return false;
    readers_.Remove(reader);
    reader->waiter->Grant();  // or it was cancelled, and withdraws by itself; the news stay
  }
  return !readers_.empty() && ReaderHasNews(readers_.front());
}

void Hub::FinishSlow(Left left) {
  while (left == Left::kWake || left == Left::kWakeAndDrop) {
    PrimitiveLockHolder lock(lock_);
    left = left == Left::kWake ? Wake() : WakeAndDrop();
  }
  if (left == Left::kDelete) delete this;
}

void Hub::WithdrawReader(Reader* reader) {
  PrimitiveLockHolder lock(lock_);
  if (readers_.Linked(reader)) readers_.Remove(reader);
  reader->waiter = nullptr;
}

// ---- what it says -----------------------------------------------------------------------------------

size_t Hub::receivers() {
  PrimitiveLockHolder lock(lock_);
  return receivers_;
}

size_t Hub::size() {
  PrimitiveLockHolder lock(lock_);
  return end_ - first_;
}

size_t Hub::reserved() {
  PrimitiveLockHolder lock(lock_);
  return reserved_;
}

bool Hub::closed() {
  PrimitiveLockHolder lock(lock_);
  return is_closed();
}

absl::Status Hub::ClosedError(const char* operation) {
  return absl::FailedPreconditionError(
      absl::StrCat(operation, ": the channel is closed; the message stays with its sender"));
}

void Hub::ReceivedTwice(const Waiter& waiting) {
  Fatal(
      "BroadcastReceiver: a second Receive while task %llu waits in one: a receiver is used by one "
      "task at a time. "
      "Subscribe once for each",
      TaskOf(waiting));
}

void Hub::DroppedWhileWaiting(const char* what, const Waiter* waiting) {
  if (waiting == nullptr) {
    Fatal(
        "%s is destroyed while a task waits with it, for room that it has just been given: keep it "
        "until every "
        "wait has ended",
        what);
  }
  Fatal("%s is destroyed while task %llu waits in %s: keep it until every wait has ended", what,
        TaskOf(*waiting), waiting->ops()->name);
}

}  // namespace broadcast_internal
}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/channel/watch.h"

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace watch_internal {
namespace {

constexpr int kWakeBatch = 32;

}  // namespace

void Core::AddSender() {
  PrimitiveLockHolder lock(lock_);
  ++senders_;
  ++handles_;
}

void Core::DropSender() {
  {
    PrimitiveLockHolder lock(lock_);
    --senders_;
  }
  WakeRest();
  bool last = false;
  {
    PrimitiveLockHolder lock(lock_);
    last = --handles_ == 0;
  }
  if (last) delete this;
}

void Core::AddReceiver() {
  PrimitiveLockHolder lock(lock_);
  ++receivers_;
  ++handles_;
}

void Core::DropReceiver(const Watcher& watcher) {
  bool last = false;
  {
    PrimitiveLockHolder lock(lock_);
    if (watcher.waiter != nullptr) {
      Fatal(
          "a WatchReceiver is destroyed while task %llu waits in %s: keep it until the wait has "
          "ended",
          static_cast<unsigned long long>(watcher.waiter->task()->id), watcher.waiter->ops()->name);
    }
    --receivers_;
    last = --handles_ == 0;
  }
  if (last) delete this;
}

size_t Core::receivers() {
  PrimitiveLockHolder lock(lock_);
  return receivers_;
}

Enqueued Core::Enqueue(Watching& watching, Waiter& waiter, std::optional<Outcome<bool>>& result) {
  PrimitiveLockHolder lock(lock_);
  Watcher& watcher = *watching.watcher;
  if (watcher.waiter != nullptr) WaitedTwice(*watcher.waiter);
  if (HasNews(watcher)) {
    if (!waiter.MayTake()) return Enqueued::kLost;
    Answer(watcher, result);
    return Enqueued::kDone;
  }
  watcher.waiter = &waiter;
  waiting_.PushBack(&watching);
  return Enqueued::kQueued;
}

void Core::Withdraw(Watching& watching) {
  PrimitiveLockHolder lock(lock_);
  if (waiting_.Linked(&watching)) waiting_.Remove(&watching);  // else it was passed over
  watching.watcher->waiter = nullptr;
}

bool Core::WakeSomeSlow() {
  for (int woken = 0; woken < kWakeBatch; ++woken) {
    // In the order in which they came: behind one that has seen the latest nobody has not.
    Watching* watching = waiting_.front();
    if (watching == nullptr || !HasNews(*watching->watcher)) return false;
    waiting_.Remove(watching);
    watching->watcher->waiter
        ->Grant();  // or it was cancelled, and withdraws by itself, having seen nothing
  }
  return !waiting_.empty() && HasNews(*waiting_.front()->watcher);
}

void Core::WakeRest() {
  for (bool more = true; more;) {
    PrimitiveLockHolder lock(lock_);
    more = WakeSome();
  }
}

void Core::WaitedTwice(const Waiter& waiting) {
  Fatal(
      "WatchReceiver::Changed while task %llu waits in it: a receiver is used by one task at a "
      "time. Clone it for "
      "the other",
      static_cast<unsigned long long>(waiting.task()->id));
}

}  // namespace watch_internal
}  // namespace v0
}  // namespace quiesce

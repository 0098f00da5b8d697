// notify.h: wakes a task that waits for something to change, and loses no notification.
//
// Why:        "look again" needs no value, only that nobody sleeps through it: not the one who looks just before
//             it changes, nor another one because the first was cancelled when it was told.
// Example:    void Put(Job job) { jobs.Push(std::move(job)); added.NotifyOne(); }
//             Task<Job> Take(Cx cx) {
//               while (true) {
//                 if (std::optional<Job> job = jobs.TryPop()) co_return *std::move(job);
//                 co_await OrReturn(added.Wait(cx));
//               }
//             }
// When not:   for a value that comes once there is Completion, for many values a channel, for "so many at most"
//             Semaphore.
// Invariants: (1) a NotifyOne ends exactly one wait: the one that has waited longest; if nobody waits it is stored,
//                 one at most, and ends the next wait at once;
//             (2) a wait that is cancelled has used up none: what it would have got goes to the next (G8, G12);
//             (3) NotifyAll ends every wait that was made before it, awaited or not, and stores nothing.
//
// event \ state | nobody waits, none stored | one stored         | some wait
// --------------|---------------------------|--------------------|------------------------------------------
// NotifyOne     | one stored                | no effect          | ends the first that is not cancelled, or stored
// NotifyAll     | no effect                 | no effect          | ends all of them
// Wait          | waits                     | ends, none stored  | waits, behind the others
// TryWait       | false                     | true, none stored  | false
// destroyed     | ok                        | ok                 | fatal
//
// Lifetime:   it outlives every Wait, awaited or not, but for those that it has notified; one that is cancelled counts until
//             it has returned. It outlives every call of NotifyOne and NotifyAll, but for the one that has notified who
//             destroys it: that one holds the destructor up until it is done. So of several that a NotifyAll
//             has woken any may destroy it at once, if none is cancelled and no other call is on its way.
// Threads:    any, also of no task. What happened before a notification happens before the return of the wait that it
//             ends; for a stored one that holds for all that were merged into it.
#ifndef QUIESCE_RUNTIME_SYNC_NOTIFY_H_
#define QUIESCE_RUNTIME_SYNC_NOTIFY_H_

#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

class Notify;

namespace sync_internal {

class NotifyOp {
 public:
  using Value = void;
  static constexpr const char* kName = "Notify::Wait";
  static constexpr bool kStructural = false;
  explicit NotifyOp(Notify* notify);

  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  // The Notify may be gone.
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result) {
    result.emplace(Ok());
    return true;
  }
  void Withdraw(Waiter& waiter);

 private:
  Notify* notify_;
  uint64_t made_in_;  // the round in which it was made
};

}  // namespace sync_internal

using NotifyWait = Wait<sync_internal::NotifyOp>;

class Notify {
 public:
  Notify() = default;
  // Fatal while a wait is queued, or was when it was cancelled and has not returned yet.
  ~Notify();
  Notify(const Notify&) = delete;
  Notify& operator=(const Notify&) = delete;

  // Waits for a notification.
  // Returns  Ok | Cancelled.
  // Suspends until it is notified, FIFO; not at all if a notification is stored. A checkpoint in any case.
  // Cancel   safe (G8): uses up no notification; loses its place in line.
  // Threads  any.
  // NotifyAll reaches a wait from the call of Wait on. So a condition that it announces is looked at in between:
  //   NotifyWait changed = notify.Wait(cx);
  //   if (!ready.load()) co_await OrReturn(changed);
  NotifyWait Wait(const CxBase& cx) { return NotifyWait(cx, this); }

  // Uses up the stored notification, if there is one. Never suspends; no checkpoint.
  bool TryWait() { return (Word() & kStored) != 0 && TakeStored(); }

  // Wait for a plain thread, which it blocks for at most `timeout`: then Cancelled (kDeadline). It stands in the same
  // queue. Fatal in a task, whose worker it would block.
  Outcome<void> BlockingWait(absl::Duration timeout = absl::InfiniteDuration()) {
    return BlockThread<sync_internal::NotifyOp>(
        "Notify::BlockingWait", "co_await OrReturn(notify.Wait(cx))", timeout, this);
  }

  // Ends the wait that has waited longest; if there is none, the next one to come. Does not suspend and does not run the
  // task that it wakes.
  void NotifyOne() {
    PrimitiveLockHolder lock(lock_);
    while (Waiter* waiter = queue_.PopFront()) {
      if (!waiter->Grant()) continue;
      --waits_;
      return;
    }
    word_.store(word_.load(std::memory_order_relaxed) | kStored, std::memory_order_release);
  }
  // Ends every wait made so far. Does not suspend; O(waits).
  void NotifyAll();

 private:
  friend class sync_internal::NotifyOp;

  // word_: twice the number of NotifyAll calls so far (the round), plus kStored if a notification is. Written with
  // lock_ held, with release; read without it (acquire) by waits, that see by the round that they have been notified.
  static constexpr uint64_t kStored = 1;
  static constexpr uint64_t kRound = 2;
  // A NotifyAll lets go of the lock after so many, so that others get in between.
  static constexpr int kBatch = 32;

  uint64_t Word() const {
    lock_.BeforeLook();
    return word_.load(std::memory_order_acquire);
  }
  bool TakeStored() {
    PrimitiveLockHolder lock(lock_);
    const uint64_t word = word_.load(std::memory_order_relaxed);
    word_.store(word & ~kStored, std::memory_order_release);
    return (word & kStored) != 0;
  }

  std::atomic<uint64_t> word_{0};
  // Held over Waiter::Grant: before a run queue's.
  PrimitiveLock lock_{"Notify"};
  uint32_t notifying_all_ ABSL_GUARDED_BY(lock_) = 0;  // calls under way
  // Queued and not notified, those included that were passed over, being cancelled, and have yet to withdraw.
  uint32_t waits_ ABSL_GUARDED_BY(lock_) = 0;
  IntrusiveList<Waiter, QueueHook> queue_ ABSL_GUARDED_BY(lock_);
};

// --- inline ---

namespace sync_internal {

inline NotifyOp::NotifyOp(Notify* notify)
    : notify_(notify), made_in_(notify->Word() & ~Notify::kStored) {}

inline bool NotifyOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  const uint64_t word = notify_->Word();
  const bool notified = (word & ~Notify::kStored) != made_in_;
  if (!notified && ((word & Notify::kStored) == 0 || !notify_->TakeStored())) return false;
  result.emplace(Ok());
  return true;
}

inline Enqueued NotifyOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
  PrimitiveLockHolder lock(notify_->lock_);
  const uint64_t word = notify_->word_.load(std::memory_order_relaxed);
  const bool notified = (word & ~Notify::kStored) != made_in_;
  if (!notified && (word & Notify::kStored) == 0) {
    notify_->queue_.PushBack(&waiter);
    ++notify_->waits_;
    return Enqueued::kQueued;
  }
  if (!waiter.MayTake()) return Enqueued::kLost;
  if (!notified) notify_->word_.store(word & ~Notify::kStored, std::memory_order_release);
  result.emplace(Ok());
  return Enqueued::kDone;
}

inline void NotifyOp::Withdraw(Waiter& waiter) {
  PrimitiveLockHolder lock(notify_->lock_);
  --notify_->waits_;
  if (notify_->queue_.Linked(&waiter)) notify_->queue_.Remove(&waiter);
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_NOTIFY_H_

// mailbox.h: the simplest primitive there is: letters go in from any thread, each is taken by one wait.
//
// Why:        the reference for authors of primitives, the gate of the other contracts, and the first
//             that is held to the contract itself: what it gets wrong, the waiter protocol gets wrong.
// Threads:    any.
#ifndef QUIESCE_TESTING_CONTRACT_MAILBOX_H_
#define QUIESCE_TESTING_CONTRACT_MAILBOX_H_

#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce::contract {

class Mailbox {
  template <bool structural>
  class TakeOp {
   public:
    using Value = int;
    static constexpr const char* kName = "Mailbox::Take";
    static constexpr bool kStructural = structural;
    explicit TakeOp(Mailbox* box) : box_(box) {}

    bool Try(Waiter&, std::optional<Outcome<int>>& result) {
      SpinLockHolder lock(box_->lock_);
      if (!box_->queue_.empty() || box_->letters_.empty()) return false;
      result.emplace(box_->PopLetter());
      return true;
    }
    Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<int>>& result) {
      SpinLockHolder lock(box_->lock_);
      if (box_->queue_.empty() && !box_->letters_.empty()) {
        if (!waiter.MayTake()) return Enqueued::kLost;
        result.emplace(box_->PopLetter());
        return Enqueued::kDone;
      }
      box_->queue_.PushBack(&waiter);
      return Enqueued::kQueued;
    }
    bool Harvest(Waiter&, std::optional<Outcome<int>>& result) {
      SpinLockHolder lock(box_->lock_);
      result.emplace(box_->PopReserved());
      return true;
    }
    void Withdraw(Waiter& waiter) {
      SpinLockHolder lock(box_->lock_);
      if (box_->queue_.Linked(&waiter)) box_->queue_.Remove(&waiter);
    }

   private:
    Mailbox* box_;
  };

 public:
  void Put(int letter) {
    SpinLockHolder lock(lock_);
    while (Waiter* waiter = queue_.PopFront()) {
      // Out of the queue before the grant: afterwards the waiter may be gone.
      if (!waiter->Grant()) continue;
      reserved_.push_back(letter);
      return;
    }
    letters_.push_back(letter);
  }

  // Takes the next letter. Returns Ok | Cancelled. Cancel: safe, takes none.
  Wait<TakeOp<false>> Take(const CxBase& cx) { return Wait<TakeOp<false>>(cx, this); }
  // The same, but no cancel ends it.
  Wait<TakeOp<true>> TakeStructural(const CxBase& cx) { return Wait<TakeOp<true>>(cx, this); }

  // Letters that nobody has taken or was granted; waits in the queue.
  size_t letters() {
    SpinLockHolder lock(lock_);
    return letters_.size();
  }
  size_t reserved() {
    SpinLockHolder lock(lock_);
    return reserved_.size();
  }
  bool queue_empty() {
    SpinLockHolder lock(lock_);
    return queue_.empty();
  }

 private:
  int PopLetter() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    const int letter = letters_.front();
    letters_.pop_front();
    return letter;
  }
  int PopReserved() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    const int letter = reserved_.front();
    reserved_.pop_front();
    return letter;
  }

  SpinLock lock_;
  std::deque<int> letters_ ABSL_GUARDED_BY(lock_);
  std::deque<int> reserved_ ABSL_GUARDED_BY(lock_);  // of granted waits that have not gone on yet
  IntrusiveList<Waiter, QueueHook> queue_ ABSL_GUARDED_BY(lock_);
};

}  // namespace quiesce::contract

#endif  // QUIESCE_TESTING_CONTRACT_MAILBOX_H_

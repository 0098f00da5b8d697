#include "quiesce/runtime/channel/oneshot.h"

#include <sched.h>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/task_core.h"

namespace quiesce {
inline namespace v0 {
namespace oneshot_internal {

uint32_t Block::WordSlow() const {
  for (int spins = 0;; ++spins) {
    const uint32_t word = word_.load(std::memory_order_acquire);
    if ((word & kBusy) == 0) return word;
    if (spins >= 64) sched_yield();  // the one who is busy may have lost its processor
  }
}

uint32_t Block::Lock() {
  BeforeUse(this, ObjectUse::kChange);
  while (true) {
    uint32_t word = LoadWord();
    if (word_.compare_exchange_weak(word, word | kBusy, std::memory_order_acq_rel,
                                    std::memory_order_relaxed)) {
      return word;
    }
  }
}

void Block::Wake(uint32_t& word, uint32_t bit, Waiter* const& slot) {
  if ((word & bit) == 0) return;
  word &= ~bit;
  slot->Grant();  // or it is being cancelled, and leaves by itself
}

bool Block::SendUnlessClosed() {
  uint32_t word = Lock();
  const bool closed = (word & kClosed) != 0;
  if (!closed) {
    word |= kSenderGone | kValue;
    Wake(word, kReceiverWaits, receiver_waiter_);
  }
  Unlock(word);
  return !closed;
}

uint32_t Block::EndSender() {
  const uint32_t before = Lock();
  uint32_t word = before | kSenderGone;
  Wake(word, kReceiverWaits, receiver_waiter_);
  Unlock(word);
  return before;
}

uint32_t Block::CloseReceiver(uint32_t with) {
  const uint32_t before = Lock();
  uint32_t word = before | with;
  Wake(word, kSenderWaits, sender_waiter_);
  Unlock(word);
  return before;
}

Enqueued Block::EnqueueUnless(uint32_t decided, uint32_t bit, Waiter*& slot, Waiter& waiter) {
  const uint32_t word = Lock();
  Enqueued enqueued = Enqueued::kQueued;
  if ((word & decided) != 0) {
    enqueued = waiter.MayTake() ? Enqueued::kDone : Enqueued::kLost;
    Unlock(word);
  } else {
    slot = &waiter;
    Unlock(word | bit);
  }
  return enqueued;
}

Enqueued Block::EnqueueReceiver(Waiter& waiter) {
  if (receiver_waiter_ != nullptr) {
    Fatal(
        "OneshotReceiver::Receive by task %llu while task %llu waits: there is one value. Let one "
        "task "
        "wait, and share what it got",
        static_cast<unsigned long long>(waiter.task()->id),
        static_cast<unsigned long long>(receiver_waiter_->task()->id));
  }
  return EnqueueUnless(kSenderGone | kClosed, kReceiverWaits, receiver_waiter_, waiter);
}

Enqueued Block::EnqueueSender(Waiter& waiter) {
  if (sender_waiter_ != nullptr) {
    Fatal("OneshotSender::Closed by task %llu while task %llu waits in it",
          static_cast<unsigned long long>(waiter.task()->id),
          static_cast<unsigned long long>(sender_waiter_->task()->id));
  }
  return EnqueueUnless(kClosed, kSenderWaits, sender_waiter_, waiter);
}

void Block::Leave(uint32_t bit, Waiter*& slot) {
  if ((Word() & bit) == 0) {  // granted, or passed over, and whoever did it is done
    slot = nullptr;
    return;
  }
  const uint32_t word = Lock();
  slot = nullptr;
  Unlock(word & ~bit);
}

void Block::DestroyedInUse(const char* what, const Waiter* waiting) {
  Fatal(
      "%s was destroyed, or consumed, while task %llu '%s' waits in %s on it. Keep it where the "
      "waiting "
      "task does, or join that task first",
      what, static_cast<unsigned long long>(waiting->task()->id), waiting->task()->site->name,
      waiting->ops()->name);
}

void MovedFrom(const char* what) {
  Fatal(
      "%s was used after it had been moved from, or consumed. It is used once: keep what it was "
      "moved to",
      what);
}

}  // namespace oneshot_internal
}  // namespace v0
}  // namespace quiesce

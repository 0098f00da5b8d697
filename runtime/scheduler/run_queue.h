// run_queue.h: what one worker has to run: its three lanes.
//
// Why:        the owner must push and pop without a fence or an atomic; yet nothing may wait here while
//             another worker has nothing to do.
// How:        each lane has a private part, the owner's, and a shared part, under a spin lock, which is
//             the one that thieves and foreign threads know. The owner *publishes*: all of its private
//             part becomes shared. It does so when somebody is hungry and it is about to begin a step,
//             and when the private part has grown by kPrivateBound. While nobody is hungry, it takes
//             the shared part back as a whole. If it is stuck in a long step, a *visitor* can publish
//             in its place. The ready lane has, beside this, a slot for what was woken last, which runs
//             next since what woke it has just touched its data.
// Invariants: (1) LanePicker says from which lane each step comes;
//             (2) the cancel and ready lanes are first in, first out for what one thread posts, and
//                 nothing in them is overtaken for ever; only the slot overtakes, at most
//                 kMaxSlotStreak times in a row; the timed lane gives the earliest deadline;
//             (3) after Pop(true), and after Publish(), the private part is empty;
//             (4) shared_lanes() is exact while the lock is held, and a hint otherwise.
// Threads:    "owner" operations only on the owner's thread; the others on any.
//             Lock order: a gate, then a lock_, which is a leaf.
#ifndef QUIESCE_RUNTIME_SCHEDULER_RUN_QUEUE_H_
#define QUIESCE_RUNTIME_SCHEDULER_RUN_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/memory_model.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/scheduler/lane_picker.h"
#include "quiesce/runtime/scheduler/owner_gate.h"
#include "quiesce/runtime/scheduler/runnable.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/scheduler/timed_heap.h"

namespace quiesce {
inline namespace v0 {

template <class Memory = HardwareMemory>
class BasicRunQueue {
 public:
  static constexpr uint32_t kMaxSlotStreak = 3;
  static constexpr size_t kPrivateBound = 64;
  // A thief holds the lock for as long as it counts these.
  static constexpr size_t kMaxSteal = 256;
  static constexpr size_t kMaxTimedSteal = 16;

  BasicRunQueue() = default;
  BasicRunQueue(const BasicRunQueue&) = delete;
  BasicRunQueue& operator=(const BasicRunQueue&) = delete;

  // ---- owner ----

  // The fast paths: leaf functions, which do the common thing and nothing else. Both may refuse, and then have done
  // nothing: PushReady where a visitor is inside, PopFront where there is more to look at than the ready lane's front.

  // Push to the ready lane. `full`: so much has gathered that Publish() is due.
  bool PushReady(Runnable* runnable, Place place, bool& full) {
    if (!gate_.TryEnter()) [[unlikely]]
      return false;
    full = PushReadyInside(runnable, place);
    gate_.Leave();
    return true;
  }

  // What Pop(false) would give.
  Runnable* PopFront() {
    if (!gate_.TryEnter()) [[unlikely]]
      return nullptr;
    Runnable* runnable = nullptr;
    if ((shared_lanes() | urgent_) == 0) [[likely]] {
      if (slot_ != nullptr) {
        runnable = TakeSlot();
      } else if (!ready_.front.empty()) {
        slot_streak_ = 0;
        runnable = ready_.front.PopFront();
      }
      if (runnable != nullptr) {
        picker_.Next(false, false, true);
        withholds_.store(!ready_.empty(), std::memory_order_relaxed);
      }
    }
    gate_.Leave();
    return runnable;
  }

  // Both return true if so much has gathered that Publish() is due.
  bool Push(Runnable* runnable, Lane lane, Place place, Instant deadline)
      ABSL_LOCKS_EXCLUDED(gate_) {
    Scope inside(gate_);
    if (lane == Lane::kReady) return PushReadyInside(runnable, place);
    return PushUrgent(runnable, lane, deadline);
  }
  bool Append(RunnableQueue& batch, Lane lane) ABSL_LOCKS_EXCLUDED(gate_);

  // The next one, or null. With `hungry`, everything else becomes shared.
  Runnable* Pop(bool hungry) ABSL_LOCKS_EXCLUDED(gate_) {
    Scope inside(gate_);
    if (hungry) [[unlikely]]
      return PopHungry();
    Runnable* runnable;
    if (shared_lanes() != 0 || urgent_ != 0) {
      runnable = PopAnyLane();
    } else {
      runnable = PopReady();
      picker_.Next(false, false, runnable != nullptr);
    }
    withholds_.store(PrivateSize() != 0, std::memory_order_relaxed);
    return runnable;
  }

  // What Pop(false) would give, if no lane but ready has anything, nothing is shared, nothing was woken last, and
  // `wanted` says yes to it. Else null, and nothing has changed.
  template <class Wanted>
  Runnable* PopIf(Wanted wanted) ABSL_LOCKS_EXCLUDED(gate_) {
    Scope inside(gate_);
    if (shared_lanes() != 0 || urgent_ != 0 || slot_ != nullptr) return nullptr;
    RunnableQueue& queue = ready_.front.empty() ? ready_.back : ready_.front;
    Runnable* next = queue.front();
    if (next == nullptr || !wanted(next)) return nullptr;
    picker_.Next(false, false, true);
    slot_streak_ = 0;
    queue.PopFront();  // this one, though something may have been shared meanwhile
    withholds_.store(ready_.size() != 0, std::memory_order_relaxed);
    return next;
  }

  void Publish() ABSL_LOCKS_EXCLUDED(gate_);

  bool private_empty() ABSL_LOCKS_EXCLUDED(gate_) {
    Scope inside(gate_);
    return PrivateSize() == 0;
  }

  // Takes half of what `victim` shares of `lane`, rounded up, the oldest or the earliest; at most
  // kMaxSteal, of the timed lane kMaxTimedSteal. False if there was nothing.
  bool StealFrom(BasicRunQueue& victim, Lane lane) ABSL_LOCKS_EXCLUDED(gate_);

  // ---- any thread ----

  void PushShared(Runnable* runnable, Lane lane, Instant deadline);
  void AppendShared(RunnableQueue& batch, Lane lane);

  // A visitor, who holds the gate, publishes what the owner has no time for.
  BasicOwnerGate<Memory>& gate() ABSL_LOCK_RETURNED(gate_) { return gate_; }
  void PublishAsVisitor() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_);
  // The owner kept something private when it began its step. A hint.
  bool withholds() const { return withholds_.load(std::memory_order_relaxed); }

  // One bit for each lane whose shared part is not empty; zero: nothing to steal.
  uint32_t shared_lanes() const { return attention_.load(std::memory_order_relaxed); }

 private:
  using Scope = BasicOwnerScope<Memory>;
  using LockHolder = typename Memory::LockHolder;

  static constexpr uint32_t kCancelBit = 1;
  static constexpr uint32_t kTimedBit = 2;
  static constexpr uint32_t kReadyBit = 4;
  static constexpr uint32_t BitOf(Lane lane) { return uint32_t{1} << static_cast<uint32_t>(lane); }

  // `front` is older than the shared part, which is older than `back`.
  struct PrivateFifo {
    RunnableQueue front;
    RunnableQueue back;
    bool empty() const { return front.empty() && back.empty(); }
    size_t size() const { return front.size() + back.size(); }
  };

  size_t PrivateSize() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_) {
    return urgent_ + (slot_ != nullptr ? 1 : 0) + ready_.size();
  }
  static void PrefetchStep(const Runnable* runnable);
  bool PushUrgent(Runnable* runnable, Lane lane, Instant deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_);
  Runnable* PopHungry() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_);
  Runnable* PopAnyLane() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_);
  // True if so much has gathered that Publish() is due.
  bool PushReadyInside(Runnable* runnable, Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_) {
    if (place == Place::kNext) {
      std::swap(slot_, runnable);
      if (runnable == nullptr) return false;
    }
    ready_.back.PushBack(runnable);
    return ready_.back.size() >= kPrivateBound;
  }
  // What was woken last; null if that is nothing, or the slot has had its turns.
  Runnable* TakeSlot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_) {
    if (slot_ == nullptr || slot_streak_ >= kMaxSlotStreak) return nullptr;
    ++slot_streak_;
    return std::exchange(slot_, nullptr);
  }
  // The same, but then it goes behind the others. Leaves nothing in the slot.
  Runnable* TakeOrRequeueSlot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_) {
    Runnable* runnable = TakeSlot();
    if (slot_ != nullptr) ready_.back.PushBack(std::exchange(slot_, nullptr));
    return runnable;
  }
  Runnable* PopReady() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_) {
    if (Runnable* runnable = TakeOrRequeueSlot()) return runnable;
    slot_streak_ = 0;
    if (ready_.front.empty()) Refill(ready_, &BasicRunQueue::shared_ready_, kReadyBit);
    return ready_.front.PopFront();
  }
  // `fifo.front` is empty: everything that there is in the lane moves there.
  void Refill(PrivateFifo& fifo, RunnableQueue BasicRunQueue::* shared, uint32_t bit) {
    if ((shared_lanes() & bit) != 0) [[unlikely]]
      TakeShared(fifo, shared);
    fifo.front.Append(fifo.back);
  }
  void TakeShared(PrivateFifo& fifo, RunnableQueue BasicRunQueue::* shared)
      ABSL_LOCKS_EXCLUDED(lock_);
  void PublishLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(gate_, lock_);
  void UpdateAttention() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // Which lanes have a shared part: kCancelBit, kTimedBit, kReadyBit. Written with lock_ held (relaxed);
  // read by the owner before each step and by thieves, as a hint (relaxed). Who goes to sleep reads it
  // after a fence that pairs with the one of who has pushed: see idle_set.h.
  alignas(64) typename Memory::template Atomic<uint32_t> attention_{0};
  typename Memory::Lock lock_;
  RunnableQueue shared_cancel_ ABSL_GUARDED_BY(lock_);
  RunnableQueue shared_ready_ ABSL_GUARDED_BY(lock_);
  TimedHeap shared_timed_ ABSL_GUARDED_BY(lock_);

  // The private part.
  alignas(64) BasicOwnerGate<Memory> gate_;
  typename Memory::template Atomic<bool> withholds_{
      false};  // written with gate_ held, read by anybody (relaxed): a hint
  uint32_t slot_streak_ ABSL_GUARDED_BY(gate_) = 0;  // polls in a row from the slot
  Runnable* slot_ ABSL_GUARDED_BY(gate_) = nullptr;
  LanePicker picker_ ABSL_GUARDED_BY(gate_);
  size_t urgent_ ABSL_GUARDED_BY(gate_) = 0;  // private cancel and timed work
  PrivateFifo ready_ ABSL_GUARDED_BY(gate_);
  PrivateFifo cancel_ ABSL_GUARDED_BY(gate_);
  TimedHeap timed_ ABSL_GUARDED_BY(gate_);
};

extern template class BasicRunQueue<HardwareMemory>;
using RunQueue = BasicRunQueue<>;

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_RUN_QUEUE_H_

// run_queue_impl.h: the bodies of BasicRunQueue, for those who instantiate it.
#ifndef QUIESCE_RUNTIME_SCHEDULER_RUN_QUEUE_IMPL_H_
#define QUIESCE_RUNTIME_SCHEDULER_RUN_QUEUE_IMPL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "quiesce/runtime/scheduler/run_queue.h"

namespace quiesce {
inline namespace v0 {

// A cancel wakes tasks that have slept long: what the next step will touch, its record and its frame, is in
// no cache. They lie in one block.
template <class Memory>
void BasicRunQueue<Memory>::PrefetchStep(const Runnable* runnable) {
  constexpr int kLines = 6;
  const char* at = reinterpret_cast<const char*>(runnable);
  if (at == nullptr) return;
  for (int line = 0; line < kLines; ++line) __builtin_prefetch(at + line * 64, /*rw=*/1);
}

template <class Memory>
bool BasicRunQueue<Memory>::PushUrgent(Runnable* runnable, Lane lane, Instant deadline) {
  ++urgent_;
  if (lane == Lane::kCancel) {
    cancel_.back.PushBack(runnable);
    return cancel_.back.size() >= kPrivateBound;
  }
  timed_.Push(runnable, deadline);
  return timed_.size() % kPrivateBound == 0;
}

template <class Memory>
bool BasicRunQueue<Memory>::Append(RunnableQueue& batch, Lane lane) {
  Scope inside(gate_);
  if (lane == Lane::kCancel) urgent_ += batch.size();
  RunnableQueue& back = (lane == Lane::kCancel ? cancel_ : ready_).back;
  back.Append(batch);
  return back.size() >= kPrivateBound;
}

template <class Memory>
Runnable* BasicRunQueue<Memory>::PopAnyLane() {
  while (true) {
    const uint32_t shared = shared_lanes();
    const std::optional<Lane> lane =
        picker_.Next(cancel_.size() != 0 || (shared & kCancelBit) != 0,
                     !timed_.empty() || (shared & kTimedBit) != 0,
                     slot_ != nullptr || ready_.size() != 0 || (shared & kReadyBit) != 0);
    if (!lane.has_value()) return nullptr;
    Runnable* runnable;
    if (*lane == Lane::kReady) {
      runnable = PopReady();
    } else if (*lane == Lane::kCancel) {
      if (cancel_.front.empty()) {
        const size_t before = cancel_.size();
        Refill(cancel_, &BasicRunQueue::shared_cancel_, kCancelBit);
        urgent_ += cancel_.size() - before;
      }
      runnable = cancel_.front.PopFront();
      PrefetchStep(cancel_.front.front());
      if (runnable != nullptr) --urgent_;
    } else {
      if ((shared & kTimedBit) != 0) {
        LockHolder held(lock_);
        urgent_ += shared_timed_.size();
        timed_.Merge(shared_timed_);
        UpdateAttention();
      }
      runnable = timed_.Pop();
      if (runnable != nullptr) --urgent_;
    }
    // Null if a thief was faster: the lane is empty now.
    if (runnable != nullptr) return runnable;
  }
}

template <class Memory>
Runnable* BasicRunQueue<Memory>::PopHungry() {
  // With one thing to run there is nothing to share.
  withholds_.store(false, std::memory_order_relaxed);
  const size_t private_size = PrivateSize();
  if (private_size <= 1 && shared_lanes() == 0) {
    if (urgent_ != 0) return PopAnyLane();
    picker_.Next(false, false, private_size != 0);
    return PopReady();
  }
  LockHolder held(lock_);
  const bool has_ready = private_size != urgent_ || !shared_ready_.empty();
  const std::optional<Lane> lane =
      picker_.Next(cancel_.size() != 0 || !shared_cancel_.empty(),
                   !timed_.empty() || !shared_timed_.empty(), has_ready);
  if (!lane.has_value()) return nullptr;
  Runnable* runnable = *lane == Lane::kReady ? TakeOrRequeueSlot() : nullptr;
  PublishLocked();
  if (*lane == Lane::kCancel) {
    runnable = shared_cancel_.PopFront();
  } else if (*lane == Lane::kTimed) {
    runnable = shared_timed_.Pop();
  } else if (runnable == nullptr) {
    slot_streak_ = 0;
    runnable = shared_ready_.PopFront();
  }
  UpdateAttention();
  return runnable;
}

template <class Memory>
void BasicRunQueue<Memory>::Publish() {
  Scope inside(gate_);
  PublishAsVisitor();
}

template <class Memory>
void BasicRunQueue<Memory>::PublishAsVisitor() {
  if (PrivateSize() == 0) return;
  LockHolder held(lock_);
  PublishLocked();
  UpdateAttention();
}

template <class Memory>
void BasicRunQueue<Memory>::PublishLocked() {
  withholds_.store(false, std::memory_order_relaxed);
  const auto publish = [](PrivateFifo& fifo, RunnableQueue& shared) {
    if (!fifo.front.empty()) {
      fifo.front.Append(shared);
      shared.Append(fifo.front);
    }
    shared.Append(fifo.back);
  };
  if (slot_ != nullptr) {  // it keeps its place before the others
    RunnableQueue first;
    first.PushBack(slot_);
    slot_ = nullptr;
    first.Append(ready_.front);
    ready_.front.Append(first);
  }
  publish(ready_, shared_ready_);
  if (urgent_ == 0) return;
  publish(cancel_, shared_cancel_);
  shared_timed_.Merge(timed_);
  urgent_ = 0;
}

template <class Memory>
void BasicRunQueue<Memory>::TakeShared(PrivateFifo& fifo, RunnableQueue BasicRunQueue::* shared) {
  LockHolder held(lock_);
  fifo.front.Append(this->*shared);
  UpdateAttention();
}

template <class Memory>
bool BasicRunQueue<Memory>::StealFrom(BasicRunQueue& victim, Lane lane) {
  if ((victim.shared_lanes() & BitOf(lane)) == 0) return false;
  Scope inside(gate_);
  LockHolder held(victim.lock_);
  if (lane == Lane::kTimed) {
    const size_t before = timed_.size();
    victim.shared_timed_.MoveFront(std::min((victim.shared_timed_.size() + 1) / 2, kMaxTimedSteal),
                                   timed_);
    urgent_ += timed_.size() - before;
    victim.UpdateAttention();
    return timed_.size() != before;
  }
  const bool cancel = lane == Lane::kCancel;
  RunnableQueue& from = cancel ? victim.shared_cancel_ : victim.shared_ready_;
  const size_t count = std::min((from.size() + 1) / 2, kMaxSteal);
  from.MoveFront(count, cancel ? cancel_.back : ready_.back);
  if (cancel) urgent_ += count;
  victim.UpdateAttention();
  return count != 0;
}

template <class Memory>
void BasicRunQueue<Memory>::PushShared(Runnable* runnable, Lane lane, Instant deadline) {
  LockHolder held(lock_);
  if (lane == Lane::kReady) {
    shared_ready_.PushBack(runnable);
  } else if (lane == Lane::kCancel) {
    shared_cancel_.PushBack(runnable);
  } else {
    shared_timed_.Push(runnable, deadline);
  }
  UpdateAttention();
}

template <class Memory>
void BasicRunQueue<Memory>::AppendShared(RunnableQueue& batch, Lane lane) {
  LockHolder held(lock_);
  (lane == Lane::kCancel ? shared_cancel_ : shared_ready_).Append(batch);
  UpdateAttention();
}

template <class Memory>
void BasicRunQueue<Memory>::UpdateAttention() {
  const uint32_t lanes = (shared_cancel_.empty() ? 0 : kCancelBit) |
                         (shared_timed_.empty() ? 0 : kTimedBit) |
                         (shared_ready_.empty() ? 0 : kReadyBit);
  if (lanes != attention_.load(std::memory_order_relaxed)) {
    attention_.store(lanes, std::memory_order_relaxed);
  }
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_RUN_QUEUE_IMPL_H_

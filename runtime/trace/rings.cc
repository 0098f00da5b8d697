#include "quiesce/runtime/trace/rings.h"

#include <algorithm>
#include <utility>

#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {
namespace trace_internal {

std::atomic<uint64_t> next_sequence{0};

namespace {

// The pages of a buffer are not touched before they are written.
std::unique_ptr<RecordedEvent[]> NewBuffer(size_t capacity) {
  return std::unique_ptr<RecordedEvent[]>(new RecordedEvent[capacity]);
}

}  // namespace

Ring::Ring(size_t capacity, bool open)
    : events_(NewBuffer(capacity)), capacity_(capacity), open_(open) {}

Ring::Contents Ring::Take() {
  size_t capacity;
  {
    SpinLockHolder holder(lock_);
    capacity = capacity_;
  }
  std::unique_ptr<RecordedEvent[]> fresh = NewBuffer(capacity);  // not with the lock held
  SpinLockHolder holder(lock_);
  next_ = 0;
  return {std::exchange(events_, std::move(fresh)), std::exchange(size_, 0)};
}

void Ring::Open(size_t capacity) {
  std::unique_ptr<RecordedEvent[]> fresh = NewBuffer(capacity);
  SpinLockHolder holder(lock_);
  events_.swap(fresh);
  capacity_ = capacity;
  next_ = size_ = 0;
  dropped_ = 0;
  last_reading_ = 0;
  open_ = true;
}

void Ring::Close() {
  SpinLockHolder holder(lock_);
  open_ = false;
}

size_t Ring::size() const {
  SpinLockHolder holder(lock_);
  return size_;
}

uint64_t Ring::dropped() const {
  SpinLockHolder holder(lock_);
  return dropped_;
}

Rings& Rings::Get() {
  static Rings* const rings = new Rings;
  return *rings;
}

void Rings::Open(size_t capacity) {
  ThreadMutexLock lock(mutex_);
  open_ = true;
  capacity_ = capacity;
  ended_.clear();
  dropped_by_gone_rings_ = 0;
  late_events_.store(0, std::memory_order_relaxed);
  for (const std::unique_ptr<Ring>& ring : live_) ring->Open(capacity);
}

void Rings::Close() {
  ThreadMutexLock lock(mutex_);
  open_ = false;
  for (const std::unique_ptr<Ring>& ring : live_) ring->Close();
}

std::vector<RecordedEvent> Rings::Collect() {
  std::vector<RecordedEvent> all;
  const auto take = [&all](Ring& ring) {
    const Ring::Contents contents = ring.Take();
    all.insert(all.end(), contents.events.get(), contents.events.get() + contents.size);
  };
  ThreadMutexLock lock(mutex_);
  for (const std::unique_ptr<Ring>& ring : live_) take(*ring);
  for (const std::unique_ptr<Ring>& ring : ended_) {
    take(*ring);
    dropped_by_gone_rings_ += ring->dropped();
  }
  ended_.clear();
  return all;
}

uint64_t Rings::Dropped() {
  ThreadMutexLock lock(mutex_);
  uint64_t dropped = dropped_by_gone_rings_ + late_events_.load(std::memory_order_relaxed);
  for (const std::unique_ptr<Ring>& ring : live_) dropped += ring->dropped();
  for (const std::unique_ptr<Ring>& ring : ended_) dropped += ring->dropped();
  return dropped;
}

Ring* Rings::Add() {
  ThreadMutexLock lock(mutex_);
  live_.push_back(std::make_unique<Ring>(capacity_, open_));
  return live_.back().get();
}

void Rings::Retire(Ring* ring) {
  ThreadMutexLock lock(mutex_);
  const auto at = std::find_if(live_.begin(), live_.end(),
                               [ring](const auto& each) { return each.get() == ring; });
  QUIESCE_CHECK(at != live_.end(), "recorder: a thread ended whose ring is unknown");
  std::unique_ptr<Ring> retired = std::move(*at);
  live_.erase(at);
  if (retired->size() == 0) {
    dropped_by_gone_rings_ += retired->dropped();
    return;
  }
  ended_.push_back(std::move(retired));
  if (ended_.size() > kMaxEndedRings) {
    const Ring& oldest = *ended_.front();
    dropped_by_gone_rings_ += oldest.dropped() + oldest.size();
    ended_.pop_front();
  }
}

}  // namespace trace_internal
}  // namespace v0
}  // namespace quiesce

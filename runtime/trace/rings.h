// rings.h: where recorded events lie until they are collected: one ring for each thread.
//
// Why:        threads that record must not wait for one another, and a recorder that is left on must
//             not eat the memory.
// Invariants: (1) a ring holds its thread's newest events and counts the ones that it overwrote;
//             (2) only an open ring takes events; all live rings are open, or all are closed;
//             (3) the ring of a thread that ended stays until it is collected, or until there are
//             kMaxEndedRings newer ones.
// Threads:    any; a Ring is written by its own.
// Lock order: Rings, then Ring.
//
// Internal to the recorder.
#ifndef QUIESCE_RUNTIME_TRACE_RINGS_H_
#define QUIESCE_RUNTIME_TRACE_RINGS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/event_clock.h"

namespace quiesce {
inline namespace v0 {
namespace trace_internal {

struct RecordedEvent {
  Event event;  // time_ns: see clock_read()
  // Twice the number that grows along happens-before, also across threads; odd if clock_read().
  uint64_t order;

  // Is event.time_ns a reading of the event clock? Else it is a hook's time.
  bool clock_read() const { return order % 2 != 0; }
};

// Relaxed is enough: increments that are ordered by happens-before are ordered among themselves.
extern std::atomic<uint64_t> next_sequence;

class Ring {
 public:
  struct Contents {
    std::unique_ptr<RecordedEvent[]> events;
    size_t size;
  };

  Ring(size_t capacity, bool open);

  // Does nothing while closed. Reads the clock, unless event.time_ns is a hook's.
  void Write(const Event& event, bool time_is_hooks);
  // Takes the events, in no particular order. One call at a time, and not beside Open.
  Contents Take();
  // Starts afresh.
  void Open(size_t capacity);
  // Once it has returned, no event is added.
  void Close();

  size_t size() const;
  uint64_t dropped() const;

 private:
  mutable SpinLock lock_;
  // Swapped for another one when it is collected, so that the writer never waits for a copy.
  std::unique_ptr<RecordedEvent[]> events_ ABSL_GUARDED_BY(lock_);
  size_t capacity_ ABSL_GUARDED_BY(lock_);
  size_t next_ ABSL_GUARDED_BY(lock_) = 0;  // where to write: the oldest event, once it is full
  size_t size_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t dropped_ ABSL_GUARDED_BY(lock_) = 0;      // since Open
  int64_t last_reading_ ABSL_GUARDED_BY(lock_) = 0;  // of the clock; 0: none since Open
  bool open_ ABSL_GUARDED_BY(lock_);
};

// Inlined where events come from: it is most of what they cost beside the clock.
[[gnu::always_inline]] inline void Ring::Write(const Event& event, bool time_is_hooks) {
  SpinLockHolder holder(lock_);
  if (!open_) return;
  RecordedEvent& written = events_[next_];
  written.event = event;
  if (!time_is_hooks) [[likely]] {
    // Nothing but the wait itself lies between a park and the checkpoint, or the resume, that its thread recorded before.
    if (event.kind != EventKind::kPark || last_reading_ == 0) last_reading_ = ReadEventClock();
    written.event.time_ns = last_reading_;
  }
  // After the clock, so that a thread which is preempted in between makes only its own event late.
  written.order = 2 * next_sequence.fetch_add(1, std::memory_order_relaxed) + !time_is_hooks;
  next_ = next_ + 1 == capacity_ ? 0 : next_ + 1;
  if (size_ < capacity_) {
    ++size_;
  } else {
    ++dropped_;
  }
}

class Rings {
 public:
  static constexpr size_t kMaxEndedRings = 64;

  // The process's. Never destroyed, since threads may end after main.
  static Rings& Get();

  // Forgets everything, and opens.
  void Open(size_t capacity);
  void Close();
  std::vector<RecordedEvent> Collect();
  uint64_t Dropped();

  // For the thread that calls; it calls Retire at its end.
  Ring* Add();
  void Retire(Ring* ring);
  // An event came after Retire.
  void CountLateEvent() { late_events_.fetch_add(1, std::memory_order_relaxed); }

 private:
  // Held for long only by Collect; an emitting thread takes it twice in its life.
  ThreadMutex mutex_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  size_t capacity_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<std::unique_ptr<Ring>> live_ ABSL_GUARDED_BY(mutex_);
  // Oldest first; each holds events.
  std::deque<std::unique_ptr<Ring>> ended_ ABSL_GUARDED_BY(mutex_);
  uint64_t dropped_by_gone_rings_ ABSL_GUARDED_BY(mutex_) = 0;
  // Only a count; relaxed.
  std::atomic<uint64_t> late_events_{0};
};

}  // namespace trace_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TRACE_RINGS_H_

// timed_heap.h: the timed lane: earliest deadline first, and first in first out among equal deadlines.
//
// Threads:    none by itself.
#ifndef QUIESCE_RUNTIME_SCHEDULER_TIMED_HEAP_H_
#define QUIESCE_RUNTIME_SCHEDULER_TIMED_HEAP_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/scheduler/runnable.h"

namespace quiesce {
inline namespace v0 {

class TimedHeap {
 public:
  TimedHeap() = default;
  TimedHeap(const TimedHeap&) = delete;
  TimedHeap& operator=(const TimedHeap&) = delete;

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }

  void Push(Runnable* runnable, Instant deadline) { PushEntry({deadline, sequence_++, runnable}); }

  Runnable* Pop() { return entries_.empty() ? nullptr : PopEntry().runnable; }

  // Moves the `count` earliest (all, if fewer) to `to`.
  void MoveFront(size_t count, TimedHeap& to) {
    MeetSequences(to);
    for (; count > 0 && !empty(); --count) to.PushEntry(PopEntry());
  }

  // Moves all of `other` here; in constant time if this heap is empty.
  void Merge(TimedHeap& other) {
    MeetSequences(other);
    if (entries_.size() < other.entries_.size()) entries_.swap(other.entries_);
    for (const Entry& entry : other.entries_) PushEntry(entry);
    other.entries_.clear();
  }

 private:
  struct Entry {
    Instant deadline;
    uint64_t sequence = 0;
    Runnable* runnable = nullptr;
  };
  struct Later {
    bool operator()(const Entry& left, const Entry& right) const {
      return left.deadline != right.deadline ? left.deadline > right.deadline
                                             : left.sequence > right.sequence;
    }
  };

  void PushEntry(const Entry& entry) {
    entries_.push_back(entry);
    std::push_heap(entries_.begin(), entries_.end(), Later());
  }
  Entry PopEntry() {
    std::pop_heap(entries_.begin(), entries_.end(), Later());
    const Entry entry = entries_.back();
    entries_.pop_back();
    return entry;
  }
  // What is pushed later to either comes after what is in both, so that neither starves the other.
  void MeetSequences(TimedHeap& other) {
    sequence_ = other.sequence_ = std::max(sequence_, other.sequence_);
  }

  uint64_t sequence_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_TIMED_HEAP_H_

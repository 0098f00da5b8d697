// idle_set.h: which workers sleep and how many are looking for work: who wakes whom, and when.
//
// Why:        too few wake-ups leave work waiting beside an idle processor; too many cost more than the
//             work. One worker at a time searches; it wakes the next when it has found something.
// Invariants: no wake-up is lost. A *producer* makes work visible (in a shared queue or an attention
//             word), passes a sequentially consistent fence, and reads the word below. A worker that
//             goes to sleep enters itself as parked (a change of the word), passes such a fence, and
//             reads all queues once more. One of the two sees the other's write:
//             (1) the producer sees somebody parked and nobody searching: it wakes one;
//             (2) it sees a searcher: that one has not yet passed its own fence, and so will see the
//                 work before it sleeps; or it finds other work first, and then, being the last
//                 searcher to leave, looks through all queues itself and wakes another;
//             (3) it sees neither: every worker is running, and will look into the queues before it
//                 sleeps.
//             A producer on a worker first only looks whether anybody is hungry, without a fence: until
//             it has seen that it goes on running itself, and looks again before each step.
// Watchers:   while some workers run and others are parked, up to kMaxWatchers of the parked ones wake
//             up from time to time to look after what a worker in a long step leaves undone: timers,
//             readiness. When nothing has run since they last looked, they sleep on.
// Threads:    any. `lock_` is a leaf.
#ifndef QUIESCE_RUNTIME_SCHEDULER_IDLE_SET_H_
#define QUIESCE_RUNTIME_SCHEDULER_IDLE_SET_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/memory_model.h"
#include "quiesce/runtime/budget/instant.h"

namespace quiesce {
inline namespace v0 {

template <class Memory = HardwareMemory>
class BasicIdleSet {
 public:
  struct Member : ListHook {
    // Guarded by the set's lock.
    bool parked = false;
    bool watching = false;
    Instant wake_at =
        Instant::InfiniteFuture();  // while parked: when it will look after the timers
  };
  static constexpr uint64_t kMaxWatchers = 2;

  BasicIdleSet() = default;
  BasicIdleSet(const BasicIdleSet&) = delete;
  BasicIdleSet& operator=(const BasicIdleSet&) = delete;

  // Somebody is parked or searching, so that work that can be shared should be. A hint.
  bool hungry() const { return word_.load(std::memory_order_relaxed) != 0; }
  // Somebody is parked. A hint.
  bool anyone_parked() const { return Parked(word_.load(std::memory_order_relaxed)) != 0; }
  // Somebody of `workers` is neither parked nor searching. A hint.
  bool anyone_running(uint32_t workers) const {
    const uint64_t word = word_.load(std::memory_order_relaxed);
    return Parked(word) + Searching(word) < workers;
  }
  // Another watcher is welcome. A hint.
  bool wants_watcher() const {
    return Watching(word_.load(std::memory_order_relaxed)) < kMaxWatchers;
  }
  // Some are parked, but none of them watches, and none is on its way to. A hint.
  bool unwatched() const {
    const uint64_t word = word_.load(std::memory_order_relaxed);
    return Parked(word) != 0 && Watching(word) == 0 && Searching(word) == 0;
  }

  // For a producer that has just made work visible: true if it should wake somebody.
  bool NeedsWake() const {
    Memory::Fence();
    const uint64_t word = word_.load(std::memory_order_relaxed);
    return Parked(word) != 0 && Searching(word) == 0;
  }

  // All that a producer does who is no worker. `publish(member)` makes the work visible, best where that worker looks
  // first, which then is woken; of a null, where it likes. `wake(member)` wakes one that was parked.
  template <class Publish, class Wake>
  void Produce(Publish publish, Wake wake) {
    Member* const target = NeedsWake() ? Take() : nullptr;
    publish(target);
    if (target != nullptr) wake(target);
    // The target may have been up by itself, and have left with other work before this was visible.
    Member* const another = NeedsWake() ? Take() : nullptr;
    if (another != nullptr) wake(another);
  }

  void StartSearching() { word_.fetch_add(kOneSearching, std::memory_order_relaxed); }
  // True for the last one to leave, which must then look whether there is work for another.
  bool StopSearching() {
    const uint64_t before = word_.fetch_sub(kOneSearching, std::memory_order_seq_cst);
    Memory::Fence();
    return Searching(before) == 1 && Parked(before) != 0;
  }

  // The calling searcher becomes parked. It must look through all queues before it sleeps.
  void Park(Member* member) {
    {
      LockHolder held(lock_);
      member->parked = true;
      member->wake_at = Instant::InfiniteFuture();
      sleepers_.PushFront(member);  // the last to sleep is the first to wake: its cache is warm
      word_.fetch_add(kOneParked - kOneSearching, std::memory_order_relaxed);
    }
    Memory::Fence();
  }

  // A parked worker is awake and searches again, woken by somebody else or not.
  void Unpark(Member* member) {
    LockHolder held(lock_);
    if (!member->parked) return;  // Take has already made it a searcher
    RemoveLocked(member);
  }

  // Makes a parked worker a searcher; the caller must wake it. Null if nobody is parked.
  Member* Take() {
    LockHolder held(lock_);
    return TakeLocked();
  }

  // As Take, but this one, if it is parked.
  bool TakeThis(Member* member) {
    LockHolder held(lock_);
    if (!member->parked) return false;
    RemoveLocked(member);
    return true;
  }

  // `member` is about to sleep. The next timer fires at `timer_at`; if it is to watch, it wakes up at
  // `watch_at`. Returns until when it has to sleep: for ever, if it need not watch and another one
  // looks after the timers; the past, if it was taken meanwhile.
  Instant SleepUntil(Member* member, Instant timer_at, Instant watch_at) {
    LockHolder held(lock_);
    if (!member->parked) return Instant::InfinitePast();
    if (!watch_at.is_infinite() && wants_watcher()) {
      member->watching = true;
      member->wake_at = std::min(timer_at, watch_at);
      word_.fetch_add(kOneWatching, std::memory_order_relaxed);
      IntrusiveList<Member>::Remove(member);
      watchers_.PushFront(member);
      return member->wake_at;
    }
    if (AwakeByLocked(timer_at)) return Instant::InfiniteFuture();
    member->wake_at = timer_at;
    return timer_at;
  }

  // A timer for `when` was armed by a thread that is no worker: a parked worker, now a searcher, that
  // the caller must wake so that it sleeps no longer than that. Null if one will wake by then, or if
  // nobody is parked.
  Member* TakeForTimer(Instant when) {
    LockHolder held(lock_);
    return AwakeByLocked(when) ? nullptr : TakeLocked();
  }

 private:
  using LockHolder = typename Memory::LockHolder;

  static constexpr uint64_t kOneParked = 1;
  static constexpr uint64_t kOneWatching = uint64_t{1} << 24;
  static constexpr uint64_t kOneSearching = uint64_t{1} << 32;
  static constexpr uint64_t Parked(uint64_t word) { return word % kOneWatching; }
  static constexpr uint64_t Watching(uint64_t word) { return word % kOneSearching / kOneWatching; }
  static constexpr uint64_t Searching(uint64_t word) { return word / kOneSearching; }

  void RemoveLocked(Member* member) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    const uint64_t watching = member->watching ? kOneWatching : 0;
    member->parked = member->watching = false;
    IntrusiveList<Member>::Remove(member);
    word_.fetch_add(kOneSearching - kOneParked - watching, std::memory_order_relaxed);
  }

  // Those who watch are the last to be given work.
  Member* TakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    Member* member = sleepers_.empty() ? watchers_.front() : sleepers_.front();
    if (member != nullptr) RemoveLocked(member);
    return member;
  }

  // Somebody will look after the timers at `when` or before. Infinite: no timer, no need.
  bool AwakeByLocked(Instant when) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    for (const IntrusiveList<Member>* list : {&watchers_, &sleepers_}) {
      for (Member* member = list->front(); member != nullptr; member = list->Next(member)) {
        if (member->wake_at <= when) return true;
      }
    }
    return false;
  }

  // Bits 0 to 23: parked workers; 24 to 31: those of them that watch; 32 and up: searching workers.
  // Each change is one read-modify-write, so that a worker on its way from one to the other is counted
  // exactly once. Relaxed where a fence follows or nothing depends on it.
  typename Memory::template Atomic<uint64_t> word_{0};
  typename Memory::Lock lock_;
  // Who is parked, the latest first.
  IntrusiveList<Member> sleepers_ ABSL_GUARDED_BY(lock_);
  IntrusiveList<Member> watchers_ ABSL_GUARDED_BY(lock_);
};

using IdleSet = BasicIdleSet<>;

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_IDLE_SET_H_

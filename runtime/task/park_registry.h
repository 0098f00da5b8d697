// park_registry.h: which waits are parked in a region, so that a request reaches them.
//
// Why:        registering when a task parks, and not when it is spawned, keeps spawns cheap and lets a
//             cancel touch each parked task once.
// Invariants: (1) a Waiter is registered from before it is queued in a primitive until its task has taken
//             the decision; (2) a sweep that decides a wait also takes it out; (3) frames of a parked
//             task are stable while its shard is locked, so a dump may walk them.
// Threads:    any. Lock order: shard, then a run queue's lock (inside Post).
#ifndef QUIESCE_RUNTIME_TASK_PARK_REGISTRY_H_
#define QUIESCE_RUNTIME_TASK_PARK_REGISTRY_H_

#include <atomic>
#include <cstdint>

#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

class ParkRegistry {
 public:
  ParkRegistry(RegionScope* region, Scheduler* scheduler)
      : region_(region), scheduler_(scheduler) {}
  ~ParkRegistry();
  ParkRegistry(const ParkRegistry&) = delete;
  ParkRegistry& operator=(const ParkRegistry&) = delete;

  void Add(Waiter* waiter);
  void Remove(Waiter* waiter);

  enum class Kind : uint8_t {
    kCancel,      // ends ordinary waits
    kSpent,       // … and drain waits
    kGraceSpent,  // … and waits of finalizers
  };
  // Decides every parked wait that `kind` ends and posts its task in the cancel lane. The caller has
  // marked the region's word before, so that no such wait can register behind its back. A big shard of
  // another worker is swept by a step near that worker: the tasks are in its caches, and a million of
  // them are then touched once each, by as many workers as have them.
  void Sweep(Kind kind);

  // Decides the wait of one task, whatever region it is made in, and posts the task. Nothing happens
  // unless the task is parked in a wait that `kind` ends; one that is about to park sees the task's
  // word, which the caller has marked before. The caller keeps the task's block alive.
  static void DecideParked(TaskCore* core, Kind kind);

  // Calls visit(waiter) for each parked wait, with its shard locked: visit must not post, park or block.
  template <class Visit>
  void ForEach(Visit visit) {
    for (uint32_t i = 0; i < ShardCount(); ++i) {
      Shard& shard = ShardAt(i);
      SpinLockHolder lock(shard.lock);
      for (Waiter* w = shard.waiters.front(); w != nullptr; w = shard.waiters.Next(w)) visit(w);
    }
  }

 private:
  struct Shard {
    SpinLock lock;
    uint32_t size = 0;
    IntrusiveList<Waiter, ParkHook> waiters;
    char pad[32];  // a cache line of its own
  };

  uint32_t ShardCount() const {
    return more_.load(std::memory_order_acquire) == nullptr ? 1 : 1 + scheduler_->worker_count();
  }
  Shard& ShardAt(uint32_t index) {
    return index == 0 ? first_ : more_.load(std::memory_order_acquire)[index - 1];
  }
  struct SweepStep;
  [[gnu::cold]] void AddShards();
  void SweepShard(Shard& shard, Kind kind);

  RegionScope* const region_;
  Scheduler* const scheduler_;
  Shard first_;
  // Null until workers have met at first_; then one shard for each worker. Set once, with release.
  std::atomic<Shard*> more_{nullptr};
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_PARK_REGISTRY_H_

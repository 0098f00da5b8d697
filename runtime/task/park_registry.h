// park_registry.h: which tasks wait in a region, so that a request reaches them.
//
// Why:        registering when a task first parks, and not when it is spawned, keeps spawns cheap and lets a
//             cancel touch each task once; staying registered between waits keeps waits cheap.
// Invariants: (1) a task is registered with the region of its wait from before it is queued in a primitive;
//             it stays so until it waits in another region, ends, or is decided by a sweep;
//             (2) a sweep decides each parked wait that it ends, and tells every other task to look at the
//             region's word before it parks (task_word::kLook), so none parks behind its back;
//             (3) a registered task's record stays where it is while its shard is locked.
// Threads:    any. Lock order: shard, then a primitive's or a run queue's lock (inside LendLane, Post).
#ifndef QUIESCE_RUNTIME_TASK_PARK_REGISTRY_H_
#define QUIESCE_RUNTIME_TASK_PARK_REGISTRY_H_

#include <atomic>
#include <cstdint>

#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/task/waiter_word.h"

namespace quiesce {
inline namespace v0 {

class ParkRegistry {
 public:
  ParkRegistry(RegionScope* region, Scheduler* scheduler)
      : region_(region), scheduler_(scheduler) {}
  ~ParkRegistry();
  ParkRegistry(const ParkRegistry&) = delete;
  ParkRegistry& operator=(const ParkRegistry&) = delete;

  // The task that calls is about to wait in this region, and not registered with it.
  [[gnu::noinline]] void Add(TaskCore* task);
  // The task has ended, or its wait was the last one in that region: before the region goes. No effect if
  // it is not registered.
  static void Unregister(TaskCore* task) {
    if (task->park_shard != nullptr) [[unlikely]]
      Remove(task);
  }
  // For the opener of a region, before that closes.
  void Leave(TaskCore* task) {
    if (task->park_shard != nullptr && task->park_shard->registry == this) Remove(task);
  }

  using Kind = SweepKind;
  // Decides every parked wait that `kind` ends and posts its task in the cancel lane. The caller has
  // marked the region's word before, so that no such wait can register behind its back. A big shard of
  // another worker is swept by a step near that worker: the tasks are in its caches, and a million of
  // them are then touched once each, by as many workers as have them.
  void Sweep(Kind kind);

  // Decides the wait of one task, whatever region it is made in, and posts the task. Nothing happens
  // unless the task is parked in a wait that `kind` ends; one that is about to park sees the task's
  // word, which the caller has marked before. The caller keeps the task's block alive.
  static void DecideParked(TaskCore* core, Kind kind);

  // Calls visit(waiter) for each parked wait, with its shard locked and its task pinned, so that its frames
  // stay where they are: visit must not post, park or block.
  template <class Visit>
  void ForEach(Visit visit) {
    for (uint32_t i = 0; i < ShardCount(); ++i) {
      ParkShard& shard = ShardAt(i);
      SpinLockHolder lock(shard.lock);
      for (TaskCore* task = shard.tasks.front(); task != nullptr; task = shard.tasks.Next(task)) {
        if (!task->PinIfParked()) continue;
        visit(task->waiter);
        task->Unpin();
      }
    }
  }

 private:
  uint32_t ShardCount() const {
    return more_.load(std::memory_order_acquire) == nullptr ? 1 : 1 + scheduler_->worker_count();
  }
  ParkShard& ShardAt(uint32_t index) {
    return index == 0 ? first_ : more_.load(std::memory_order_acquire)[index - 1];
  }
  struct SweepStep;
  [[gnu::noinline]] static void Remove(TaskCore* task);
  [[gnu::cold]] void AddShards();
  void SweepShard(ParkShard& shard, Kind kind);

  RegionScope* const region_;
  Scheduler* const scheduler_;
  ParkShard first_{this};
  // Null until workers have met at first_; then one shard for each worker. Set once, with release.
  std::atomic<ParkShard*> more_{nullptr};
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_PARK_REGISTRY_H_

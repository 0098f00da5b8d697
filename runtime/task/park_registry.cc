#include "quiesce/runtime/task/park_registry.h"

#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/instrumentation.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

// Tasks posted at once by a sweep: other workers begin on the first while the sweep goes on.
constexpr size_t kBatch = 256;

// Tasks that were spawned in a row lie in a row, and park in a row: so those behind the next are where the
// stride says, or nothing is lost.
void PrefetchBehind(const TaskCore* task, const TaskCore* next) {
  constexpr uintptr_t kAhead = 8;
  const auto at = reinterpret_cast<uintptr_t>(next);
  const uintptr_t ahead = kAhead * (at - reinterpret_cast<uintptr_t>(task));
  __builtin_prefetch(reinterpret_cast<const void*>(at + ahead), /*rw=*/1);
  __builtin_prefetch(reinterpret_cast<const void*>(at + ahead + 64), /*rw=*/1);
}

void Link(ParkShard& shard, TaskCore* task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.lock) {
  task->park_shard = &shard;
  shard.tasks.PushBack(task);
  ++shard.size;
}

void Unlink(ParkShard& shard, TaskCore* task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.lock) {
  shard.tasks.Remove(task);
  --shard.size;
  task->park_shard = nullptr;
}

}  // namespace

ParkRegistry::~ParkRegistry() {
  QUIESCE_CHECK(first_.size == 0, "region: a task is registered with a region that has gone");
  delete[] more_.load(std::memory_order_acquire);
}

void ParkRegistry::Add(TaskCore* task) {
  Unregister(task);
  uint32_t index = 0;
  if (more_.load(std::memory_order_acquire) != nullptr) {
    const uint32_t worker = scheduler_->current_worker();
    index = worker == Scheduler::kNoWorker ? 0 : 1 + worker;
  } else if (first_.lock.TryLock()) {
    Link(first_, task);
    first_.lock.Unlock();
    return;
  } else {
    AddShards();
  }
  ParkShard& shard = ShardAt(index);
  SpinLockHolder lock(shard.lock);
  Link(shard, task);
}

void ParkRegistry::Remove(TaskCore* task) {
  ParkShard& shard = *task->park_shard;
  SpinLockHolder lock(shard.lock);
  Unlink(shard, task);
}

void ParkRegistry::AddShards() {
  if (scheduler_->worker_count() < 2) return;
  auto* shards = new ParkShard[scheduler_->worker_count()];
  for (uint32_t i = 0; i < scheduler_->worker_count(); ++i) shards[i].registry = this;
  {
    // Under the lock that a sweep takes before it looks for more shards: either it sees these, or who
    // registers in one of them sees what the sweep's caller had marked.
    SpinLockHolder lock(first_.lock);
    if (more_.load(std::memory_order_relaxed) == nullptr) {
      more_.store(std::exchange(shards, nullptr), std::memory_order_release);
    }
  }
  delete[] shards;
}

void ParkRegistry::SweepShard(ParkShard& shard, Kind kind) {
  SpinLockHolder lock(shard.lock);
  RunnableQueue batch;
  TaskCore* next = nullptr;
  for (TaskCore* task = shard.tasks.front(); task != nullptr; task = next) {
    next = shard.tasks.Next(task);
    if (next != nullptr) PrefetchBehind(task, next);
    if (WaiterWord(task->word).Decide</*tell=*/true>(kind)) {
      // It runs no more before it is posted, and most end then: the end need not take this lock.
      Unlink(shard, task);
      if (EventsWanted()) [[unlikely]] {
        Emit(EventKind::kWake, task->waiter->cx().region()->id, task->id, 1,
             task->waiter->ops()->name);
      }
      batch.PushBack(task);
      if (batch.size() == kBatch) scheduler_->PostBatch(std::move(batch), Lane::kCancel);
    } else if (task->TryPin()) {
      task->waiter->LendLane();  // it drains now: so must the holder of what it waits for
      task->Unpin();
    }
  }
  if (!batch.empty()) scheduler_->PostBatch(std::move(batch), Lane::kCancel);
}

void ParkRegistry::DecideParked(TaskCore* core, Kind kind) {
  if (!WaiterWord(core->word).Decide</*tell=*/false>(kind)) {
    if (!core->TryPin()) return;
    core->waiter->LendLane();
    core->Unpin();
    return;
  }
  // The decision makes the waiter ours until the task is posted.
  const Waiter* waiter = core->waiter;
  const RegionScope& region = *waiter->cx().region();
  Emit(EventKind::kWake, region.id, core->id, 1, waiter->ops()->name);
  core->Post(region, Place::kBack);
}

struct ParkRegistry::SweepStep : Runnable {
  SweepStep(ParkRegistry* registry, ParkShard* shard, Kind kind)
      : Runnable(&Run), registry(registry), shard(shard), kind(kind) {}
  static void Run(Runnable* runnable) {
    auto* step = static_cast<SweepStep*>(runnable);
    RegionScope* region = step->registry->region_;
    step->registry->SweepShard(*step->shard, step->kind);
    delete step;
    region->ops->unref(region);
  }
  ParkRegistry* const registry;
  ParkShard* const shard;
  const Kind kind;
};

void ParkRegistry::Sweep(Kind kind) {
  const uint32_t here = scheduler_->current_worker();
  for (uint32_t i = 0; i < ShardCount(); ++i) {
    ParkShard& shard = ShardAt(i);
    const uint32_t worker = i - 1;
    bool big = false;
    if (i > 0 && worker != here) {
      SpinLockHolder lock(shard.lock);
      big = shard.size > kBatch;
    }
    if (big) {
      region_->ops->ref(region_);
      scheduler_->PostNear(worker, new SweepStep(this, &shard, kind));
    } else {
      SweepShard(shard, kind);
    }
  }
}

}  // namespace v0
}  // namespace quiesce

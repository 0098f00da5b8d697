#include "quiesce/runtime/task/park_registry.h"

#include <cstdint>
#include <utility>

#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

// Tasks posted at once by a sweep: other workers begin on the first while the sweep goes on.
constexpr size_t kBatch = 256;

// Tasks that were spawned in a row lie in a row, and park in a row: so those behind the next are where the
// stride says, or nothing is lost.
void PrefetchBehind(const Waiter* waiter, const Waiter* next) {
  constexpr uintptr_t kAhead = 8;
  const auto at = reinterpret_cast<uintptr_t>(next);
  const uintptr_t ahead = kAhead * (at - reinterpret_cast<uintptr_t>(waiter));
  __builtin_prefetch(reinterpret_cast<const void*>(at + ahead), /*rw=*/1);
  __builtin_prefetch(
      reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(next->task()) + ahead), /*rw=*/1);
}

bool Ends(ParkRegistry::Kind kind, uint8_t mode) {
  switch (mode) {
    case task_word::kParkedOrdinary:
      return true;
    case task_word::kParkedDrain:
      return kind != ParkRegistry::Kind::kCancel;
    case task_word::kParkedGrace:
      return kind == ParkRegistry::Kind::kGraceSpent;
    default:
      return false;  // structural waits forward a cancel and never end early
  }
}

}  // namespace

ParkRegistry::~ParkRegistry() { delete[] more_.load(std::memory_order_acquire); }

void ParkRegistry::Add(Waiter* waiter) {
  uint32_t index = 0;
  if (more_.load(std::memory_order_acquire) != nullptr) {
    const uint32_t worker = scheduler_->current_worker();
    index = worker == Scheduler::kNoWorker ? 0 : 1 + worker;
  } else if (!first_.lock.TryLock()) {
    AddShards();
  } else {
    waiter->shard_ = 0;
    first_.waiters.PushBack(waiter);
    ++first_.size;
    first_.lock.Unlock();
    return;
  }
  Shard& shard = ShardAt(index);
  SpinLockHolder lock(shard.lock);
  waiter->shard_ = static_cast<uint16_t>(index);
  shard.waiters.PushBack(waiter);
  ++shard.size;
}

void ParkRegistry::Remove(Waiter* waiter) {
  Shard& shard = ShardAt(waiter->shard_);
  SpinLockHolder lock(shard.lock);
  if (!shard.waiters.Linked(waiter)) return;
  shard.waiters.Remove(waiter);
  --shard.size;
}

void ParkRegistry::AddShards() {
  if (scheduler_->worker_count() < 2) return;
  auto* shards = new Shard[scheduler_->worker_count()];
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

void ParkRegistry::SweepShard(Shard& shard, Kind kind) {
  SpinLockHolder lock(shard.lock);
  RunnableQueue batch;
  const uint32_t decision =
      kind == Kind::kCancel ? task_word::kDecidedCancelled : task_word::kDecidedSpent;
  Waiter* next = nullptr;
  for (Waiter* waiter = shard.waiters.front(); waiter != nullptr; waiter = next) {
    next = shard.waiters.Next(waiter);
    if (next != nullptr) PrefetchBehind(waiter, next);
    if (!Ends(kind, waiter->mode_)) {
      waiter->LendLane();  // it drains now: so must the holder of what it waits for
      continue;
    }
    TaskCore* core = waiter->task();
    uint32_t word = core->word.load(std::memory_order_acquire);
    while (true) {
      const uint32_t state = word & task_word::kStateMask;
      if (state != task_word::kRunning && state != waiter->mode_) break;  // granted: it keeps that
      const uint32_t decided = (word & ~task_word::kWaitMask) | decision;
      if (!core->word.compare_exchange_weak(word, decided, std::memory_order_acq_rel,
                                            std::memory_order_acquire)) {
        continue;
      }
      shard.waiters.Remove(waiter);
      --shard.size;
      // A task that is still arming finds the decision when it commits.
      if (state != task_word::kRunning) {
        Emit(EventKind::kWake, waiter->cx().region()->id, core->id, 1, waiter->ops()->name);
        batch.PushBack(core);
      }
      break;
    }
    if (batch.size() == kBatch) scheduler_->PostBatch(std::move(batch), Lane::kCancel);
  }
  if (!batch.empty()) scheduler_->PostBatch(std::move(batch), Lane::kCancel);
}

void ParkRegistry::DecideParked(TaskCore* core, Kind kind) {
  const uint32_t decision =
      kind == Kind::kCancel ? task_word::kDecidedCancelled : task_word::kDecidedSpent;
  uint32_t word = core->word.load(std::memory_order_acquire);
  do {
    const auto state = static_cast<uint8_t>(word & task_word::kStateMask);
    if (!Ends(kind, state)) {
      if (!core->TryPin()) return;
      core->waiter->LendLane();
      core->Unpin();
      return;
    }
  } while (!core->word.compare_exchange_weak(word, (word & ~task_word::kWaitMask) | decision,
                                             std::memory_order_acq_rel, std::memory_order_acquire));
  // The decision makes the waiter ours until the task is posted.
  Waiter* waiter = core->waiter;
  const RegionScope& region = *waiter->cx().region();
  region.parked->Remove(waiter);
  Emit(EventKind::kWake, region.id, core->id, 1, waiter->ops()->name);
  core->Post(region, Place::kBack);
}

struct ParkRegistry::SweepStep : Runnable {
  SweepStep(ParkRegistry* registry, Shard* shard, Kind kind)
      : Runnable(&Run), registry(registry), shard(shard), kind(kind) {}
  static void Run(Runnable* runnable) {
    auto* step = static_cast<SweepStep*>(runnable);
    RegionScope* region = step->registry->region_;
    step->registry->SweepShard(*step->shard, step->kind);
    delete step;
    region->ops->unref(region);
  }
  ParkRegistry* const registry;
  Shard* const shard;
  const Kind kind;
};

void ParkRegistry::Sweep(Kind kind) {
  const uint32_t here = scheduler_->current_worker();
  for (uint32_t i = 0; i < ShardCount(); ++i) {
    Shard& shard = ShardAt(i);
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

// memory_model.h: what lock-free code is written over, so that it can be run over another memory as well.
//
// Why:        the order of two threads' steps that loses a wake-up may come once in a billion runs. Over a memory whose
//             every operation is visible an explorer tries each order, with the code that production runs:
//             see testing/lock_free.
// Example:    template <class Memory = HardwareMemory>
//             class BasicIdleSet {
//               typename Memory::template Atomic<uint64_t> word_{0};
//             };
//             using IdleSet = BasicIdleSet<>;
// Contract:   a memory has what HardwareMemory has, with the same meaning. Code over a memory has no loop that only
//             looks until another thread has done something: that is Await.
// Cost:       none. Over HardwareMemory each is the instruction that it stands for.
#ifndef QUIESCE_RUNTIME_BASE_MEMORY_MODEL_H_
#define QUIESCE_RUNTIME_BASE_MEMORY_MODEL_H_

#include <sched.h>

#include <atomic>

#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

struct HardwareMemory {
  template <class T>
  using Atomic = std::atomic<T>;
  using Lock = SpinLock;
  using LockHolder = SpinLockHolder;

  // What this thread has written is seen by each that passes a fence later, and the other way round.
  static void Fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
  // The compiler keeps the order; the processor need not.
  static void CompilerFence() { std::atomic_signal_fence(std::memory_order_seq_cst); }
  // Every thread of the process passes a fence, wherever it is (membarrier(2)). Fatal where the kernel has none.
  static void FenceForAll();
  static bool HasFenceForAll();

  // Waits until `done` of the value. For what others hold for nanoseconds, unless they have lost their processor.
  template <class T, class Done>
  static void Await(const std::atomic<T>& atomic, Done done, std::memory_order order) {
    constexpr int kSpins = 64;
    for (int spins = 0; !done(atomic.load(order)); ++spins) {
      if (spins >= kSpins) sched_yield();
    }
  }
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_MEMORY_MODEL_H_

// memory.h: memories over which an explorer runs what production runs over HardwareMemory (runtime/base/memory_model.h).
//
// Example:    struct Shared { BasicOwnerGate<SequentialMemory> gate; };
//             Machine machine([](Machine& to) { auto shared = std::make_shared<Shared>(); to.Spawn(…); to.Spawn(…); });
// Covers:     the orders of operations on atomics and locks. Plain fields between two of these are used in one step.
#ifndef QUIESCE_TESTING_LAB_MEMORY_H_
#define QUIESCE_TESTING_LAB_MEMORY_H_

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "quiesce/testing/lab/atomic.h"
#include "quiesce/testing/lab/blocking.h"

namespace quiesce::lab {

// A lock of `L`, by the names that the runtime's have.
template <class L>
class ABSL_LOCKABLE MemoryLock {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { lock_.Acquire(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { lock_.Release(); }

 private:
  L lock_;
};

template <class L>
class ABSL_SCOPED_LOCKABLE MemoryLockHolder {
 public:
  explicit MemoryLockHolder(MemoryLock<L>& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_.Lock();
  }
  ~MemoryLockHolder() ABSL_UNLOCK_FUNCTION() { lock_.Unlock(); }
  MemoryLockHolder(const MemoryLockHolder&) = delete;
  MemoryLockHolder& operator=(const MemoryLockHolder&) = delete;

 private:
  MemoryLock<L>& lock_;
};

// Sequentially consistent: each operation is at once everybody's, whatever its order. So there is nothing for a fence to
// do, and one that is missing is not missed.
struct SequentialMemory {
  template <class T>
  using Atomic = lab::Atomic<T>;
  using Lock = MemoryLock<lab::Lock>;
  using LockHolder = MemoryLockHolder<lab::Lock>;

  static void Fence() {}
  static void CompilerFence() {}
  static void FenceForAll() {}
  static bool HasFenceForAll() { return true; }
  template <class T, class Done>
  static void Await(const Atomic<T>& atomic, Done done, std::memory_order) {
    atomic.Await(done);
  }
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_MEMORY_H_

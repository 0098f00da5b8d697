// spin_lock.h: a one-byte lock for sections of a few instructions.
//
// Why:        the locks of wait queues, shards and slots are held for nanoseconds and nearly never
//             contended; a mutex would double the size of what it guards.
// Invariants: (1) no section suspends, allocates unboundedly, or calls user code;
//             (2) lock order is written beside each lock.
// Threads:    any. Acquire on lock, release on unlock. Yields the processor after a short spin, so
//             that an oversubscribed machine makes progress.
#ifndef QUIESCE_RUNTIME_BASE_SPIN_LOCK_H_
#define QUIESCE_RUNTIME_BASE_SPIN_LOCK_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class ABSL_LOCKABLE SpinLock {
 public:
  constexpr SpinLock() = default;
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    if (word_.exchange(kHeld, std::memory_order_acquire) != kFree) LockSlow();
  }
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    return word_.load(std::memory_order_relaxed) == kFree &&
           word_.exchange(kHeld, std::memory_order_acquire) == kFree;
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() { word_.store(kFree, std::memory_order_release); }

 private:
  static constexpr uint8_t kFree = 0;
  static constexpr uint8_t kHeld = 1;

  [[gnu::cold]] void LockSlow();

  // kFree -> kHeld by the locker (acquire), kHeld -> kFree by the holder (release).
  std::atomic<uint8_t> word_{kFree};
};

class ABSL_SCOPED_LOCKABLE SpinLockHolder {
 public:
  explicit SpinLockHolder(SpinLock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_.Lock();
  }
  ~SpinLockHolder() ABSL_UNLOCK_FUNCTION() { lock_.Unlock(); }
  SpinLockHolder(const SpinLockHolder&) = delete;
  SpinLockHolder& operator=(const SpinLockHolder&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_SPIN_LOCK_H_

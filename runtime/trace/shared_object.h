// shared_object.h: what a primitive says so that a lab can interleave it: that there is something which tasks share, and
// that it is about to be looked at or changed.
//
// Why:        two workers interleave inside calls that do not suspend. A lab that runs every task on one thread has to be
//             able to go to another one there, and has to know which operations do not touch the same thing.
// Rule:       a call for each operation that others could tell from one that comes before or after it, right before it,
//             with no lock held. A primitive that keeps its state under a PrimitiveLock has that for nothing, but for
//             what it reads without the lock.
// Example:    class Latch {
//              public:
//               Latch() { ObjectMade(this, "Latch"); }
//               bool open() const { BeforeUse(this, ObjectUse::kLook); return open_.load(std::memory_order_acquire); }
//               void Open() { BeforeUse(this, ObjectUse::kChange); open_.store(true, std::memory_order_release); }
//             …
// Cost:       a load and a branch that predicts well.
// Threads:    any.
#ifndef QUIESCE_RUNTIME_TRACE_SHARED_OBJECT_H_
#define QUIESCE_RUNTIME_TRACE_SHARED_OBJECT_H_

#include <cstdint>
#include <type_traits>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

namespace trace_internal {
// Of few parameters, so that it does not keep its callers from being inlined.
[[gnu::noinline, gnu::cold]] void SayUse(const void* object, ObjectUse use, const char* function);
}  // namespace trace_internal

// `what`: a literal.
inline void ObjectMade(const void* object, const char* what) {
  Emit(EventKind::kObjectMade, 0, 0, uint64_t{reinterpret_cast<uintptr_t>(object)}, what);
}
inline void BeforeUse(const void* object, ObjectUse use,
                      const char* function = __builtin_FUNCTION()) {
  if (EventsWanted(EventKind::kObjectUse)) [[unlikely]]
    trace_internal::SayUse(object, use, function);
}

// The SpinLock of a primitive, which announces itself and each use. Invariants: no other one is taken while one is held.
class ABSL_LOCKABLE PrimitiveLock {
 public:
  // `what`: of the primitive; a literal.
  constexpr explicit PrimitiveLock(const char* what) {
    if (!std::is_constant_evaluated()) ObjectMade(this, what);
  }
  PrimitiveLock(const PrimitiveLock&) = delete;
  PrimitiveLock& operator=(const PrimitiveLock&) = delete;

  void Lock(const char* function = __builtin_FUNCTION()) ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    BeforeUse(this, ObjectUse::kChange, function);
    lock_.Lock();
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() { lock_.Unlock(); }
  // No point of a lab's: for what only the scheduler can tell, and may come with another lock held; or after a BeforeUse
  // that also covers what is read without the lock.
  void LockSilently() ABSL_EXCLUSIVE_LOCK_FUNCTION() { lock_.Lock(); }
  // Before a look at what it guards that does without it.
  void BeforeLook(const char* function = __builtin_FUNCTION()) const {
    BeforeUse(this, ObjectUse::kLook, function);
  }

 private:
  SpinLock lock_;
};

class ABSL_SCOPED_LOCKABLE PrimitiveLockHolder {
 public:
  explicit PrimitiveLockHolder(PrimitiveLock& lock, const char* function = __builtin_FUNCTION())
      ABSL_EXCLUSIVE_LOCK_FUNCTION(lock)
      : lock_(lock) {
    lock_.Lock(function);
  }
  ~PrimitiveLockHolder() ABSL_UNLOCK_FUNCTION() { lock_.Unlock(); }
  PrimitiveLockHolder(const PrimitiveLockHolder&) = delete;
  PrimitiveLockHolder& operator=(const PrimitiveLockHolder&) = delete;

 private:
  PrimitiveLock& lock_;
};

class ABSL_SCOPED_LOCKABLE SilentLockHolder {
 public:
  explicit SilentLockHolder(PrimitiveLock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_.LockSilently();
  }
  ~SilentLockHolder() ABSL_UNLOCK_FUNCTION() { lock_.Unlock(); }
  SilentLockHolder(const SilentLockHolder&) = delete;
  SilentLockHolder& operator=(const SilentLockHolder&) = delete;

 private:
  PrimitiveLock& lock_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TRACE_SHARED_OBJECT_H_

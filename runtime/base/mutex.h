// mutex.h: std::mutex with thread-safety annotations.
//
// Why:        Debian's Abseil is not built for ThreadSanitizer, which then reports races under
//             absl::Mutex that are none; std::mutex is seen by it.
#ifndef QUIESCE_RUNTIME_BASE_MUTEX_H_
#define QUIESCE_RUNTIME_BASE_MUTEX_H_

#include <pthread.h>

#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  // The standard library's destructor does nothing on Linux. ThreadSanitizer then takes the next mutex at this
  // address for the same one, and sees cycles in the order of locks that never were.
  ~Mutex() { pthread_mutex_destroy(mutex_.native_handle()); }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// What threads that are not ours wait on.
class Condition {
 public:
  // Atomically unlocks `mutex`, waits, and locks it again. May wake without a notification.
  void Wait(Mutex& mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  void NotifyAll() { condition_.notify_all(); }
  void NotifyOne() { condition_.notify_one(); }

 private:
  std::condition_variable condition_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_MUTEX_H_

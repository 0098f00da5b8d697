// thread_mutex.h: std::mutex with thread-safety annotations.
//
// Why:        for what threads share. A task locks a quiesce::Mutex (sync/mutex.h), which suspends it and
//             not its worker. Debian's Abseil is not built for ThreadSanitizer, which then reports races under
//             absl::Mutex that are none; std::mutex is seen by it.
#ifndef QUIESCE_RUNTIME_BASE_THREAD_MUTEX_H_
#define QUIESCE_RUNTIME_BASE_THREAD_MUTEX_H_

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class ABSL_LOCKABLE ThreadMutex {
 public:
  ThreadMutex() = default;
  // The standard library's destructor does nothing on Linux. ThreadSanitizer then takes the next mutex at this
  // address for the same one, and sees cycles in the order of locks that never were.
  ~ThreadMutex() { pthread_mutex_destroy(mutex_.native_handle()); }
  ThreadMutex(const ThreadMutex&) = delete;
  ThreadMutex& operator=(const ThreadMutex&) = delete;
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class ThreadCondition;
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE ThreadMutexLock {
 public:
  explicit ThreadMutexLock(ThreadMutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~ThreadMutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.Unlock(); }
  ThreadMutexLock(const ThreadMutexLock&) = delete;
  ThreadMutexLock& operator=(const ThreadMutexLock&) = delete;

 private:
  ThreadMutex& mutex_;
};

// What threads that are not ours wait on.
class ThreadCondition {
 public:
  // Atomically unlocks `mutex`, waits, and locks it again. May wake without a notification.
  void Wait(ThreadMutex& mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // The same until `deadline` at the latest; false once that has passed.
  bool WaitUntil(ThreadMutex& mutex, std::chrono::steady_clock::time_point deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool in_time = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyAll() { condition_.notify_all(); }
  void NotifyOne() { condition_.notify_one(); }

 private:
  std::condition_variable condition_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_THREAD_MUTEX_H_

#include "quiesce/runtime/blocking/blocking_pool.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {
namespace {

// A ThreadMutex as std::condition_variable_any wants it. The wait gives back the lock it was called with, so
// the analysis has nothing to follow here.
struct Lockable {
  explicit Lockable(ThreadMutex& mutex) : mutex(mutex) {}
  void lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex.Lock(); }
  void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex.Unlock(); }
  ThreadMutex& mutex;
};

// Longer timeouts would overflow the system clock's time points.
constexpr absl::Duration kLongestIdle = absl::Hours(24 * 365);

}  // namespace

// One thread's place in the pool; lives on the heap as long as the thread.
struct BlockingPool::Seat : ListHook {
  Seat(BlockingPool* pool, BlockingJob* first) : pool(pool), job(first) {}
  BlockingPool* const pool;
  BlockingJob*
      job;  // handed over and not yet begun; guarded by the pool's mutex once the thread runs
  std::condition_variable_any handed;
};

BlockingPool::BlockingPool(BlockingPoolOptions options) : options_(std::move(options)) {}

BlockingPool::~BlockingPool() {
  std::optional<pthread_t> last;
  {
    ThreadMutexLock lock(mutex_);
    QUIESCE_CHECK(queue_.empty() && running_.load(std::memory_order_acquire) == 0,
                  "a BlockingPool was destroyed while a job of it is queued or running: close the "
                  "regions that use it first");
    stopping_ = true;
    while (Seat* seat = idle_.PopFront()) {
      --idle_count_;
      seat->handed.notify_one();
    }
    while (threads_ > 0) all_ended_.Wait(mutex_);
    last = std::exchange(ended_, std::nullopt);
  }
  if (last.has_value()) pthread_join(*last, nullptr);
}

absl::StatusOr<bool> BlockingPool::TryStart(BlockingJob* job) {
  if (options_.max_threads() == 0) {
    running_.fetch_add(1, std::memory_order_relaxed);
    Call(job);
    return true;
  }
  {
    ThreadMutexLock lock(mutex_);
    if (HandToIdle(job)) return true;
    if (threads_ == options_.max_threads()) return false;
    ++threads_;  // a seat is taken before the thread is made, outside the lock
  }
  const int error = StartThread(job);
  if (error == 0) return true;
  ThreadMutexLock lock(mutex_);
  --threads_;
  if (threads_ == 0) {
    FlushQueue();  // who found all seats taken, this one among them, would wait for nobody
    return absl::ResourceExhaustedError(absl::StrCat(
        "the blocking pool has no thread, and the system gives none (", strerror(error),
        "): lower the number of threads of this process, or raise its limit"));
  }
  job->no_thread_for_it = true;
  return false;
}

Enqueued BlockingPool::Queue(BlockingJob* job, Waiter* waiter) {
  ThreadMutexLock lock(mutex_);
  if (HandToIdle(job)) return Enqueued::kDone;
  if (threads_ < options_.max_threads() && !(job->no_thread_for_it && threads_ > 0)) {
    return Enqueued::kRetry;
  }
  job->waiter = waiter;
  queue_.PushBack(job);
  ++queued_count_;
  return Enqueued::kQueued;
}

void BlockingPool::Withdraw(BlockingJob* job) {
  ThreadMutexLock lock(mutex_);
  // A thread that met the cancelled job has taken it out already.
  if (!queue_.Linked(job)) return;
  queue_.Remove(job);
  --queued_count_;
}

BlockingPool::Load BlockingPool::load() const {
  ThreadMutexLock lock(mutex_);
  Load load;
  load.threads = threads_;
  load.idle = idle_count_;
  load.queued = queued_count_;
  return load;
}

bool BlockingPool::HandToIdle(BlockingJob* job) {
  Seat* seat = idle_.PopFront();
  if (seat == nullptr) return false;
  --idle_count_;
  running_.fetch_add(1, std::memory_order_relaxed);
  seat->job = job;
  seat->handed.notify_one();
  return true;
}

void BlockingPool::FlushQueue() {
  while (BlockingJob* job = queue_.PopFront()) {
    --queued_count_;
    job->try_again = true;
    job->waiter->Grant();
  }
}

int BlockingPool::StartThread(BlockingJob* job) {
  auto seat = std::make_unique<Seat>(this, job);
  running_.fetch_add(1, std::memory_order_relaxed);
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, &ThreadMain, seat.get());
  if (error == 0) {
    seat.release();  // the thread's now
  } else {
    running_.fetch_sub(1, std::memory_order_relaxed);
  }
  return error;
}

void* BlockingPool::ThreadMain(void* argument) {
  std::unique_ptr<Seat> seat(static_cast<Seat*>(argument));
  BlockingPool* pool = seat->pool;
  pthread_setname_np(pthread_self(), pool->options_.thread_name().substr(0, 15).c_str());
  pool->Serve(*seat);
  return nullptr;
}

void BlockingPool::Serve(Seat& seat) {
  std::optional<pthread_t> before;
  BlockingJob* job = std::exchange(seat.job, nullptr);
  while (job != nullptr) {
    Call(job);
    ThreadMutexLock lock(mutex_);
    job = NextJob(seat);
    if (job == nullptr) {
      // From here on the destructor may go ahead, and joins this thread.
      before = std::exchange(ended_, pthread_self());
      if (--threads_ == 0 && stopping_) all_ended_.NotifyAll();
    }
  }
  if (before.has_value()) pthread_join(*before, nullptr);
}

void BlockingPool::Call(BlockingJob* job) {
  job->call(job);
  running_.fetch_sub(1, std::memory_order_release);
  job->finish(job);
}

BlockingJob* BlockingPool::NextJob(Seat& seat) {
  while (BlockingJob* job = queue_.PopFront()) {
    --queued_count_;
    running_.fetch_add(1, std::memory_order_relaxed);
    if (job->waiter->Grant()) return job;
    running_.fetch_sub(1, std::memory_order_relaxed);  // cancelled: its task withdraws it
  }
  if (stopping_) return nullptr;
  idle_.PushFront(&seat);
  ++idle_count_;
  const auto until = std::chrono::steady_clock::now() +
                     absl::ToChronoNanoseconds(std::min(options_.idle_timeout(), kLongestIdle));
  Lockable lockable(mutex_);
  // Whoever hands over a job, or stops the pool, takes the seat out of idle_.
  while (idle_.Linked(&seat)) {
    if (seat.handed.wait_until(lockable, until) == std::cv_status::timeout && idle_.Linked(&seat)) {
      idle_.Remove(&seat);
      --idle_count_;
    }
  }
  return std::exchange(seat.job, nullptr);
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/thread_wait.h"

#include <time.h>

#include <atomic>
#include <chrono>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/cx/authority.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/task/park_registry.h"
#include "quiesce/runtime/task/task_core.h"

namespace quiesce {
inline namespace v0 {
namespace {

[[noreturn]] void NotForThreads(const char* what) {
  Fatal("a thread that is no task cannot %s: this wait needs a runtime", what);
}

class SteadyClock final : public Clock {
 public:
  Instant Now() override {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return Instant::FromNanos(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec);
  }
  void Arm(Timer*) override { NotForThreads("arm a timer"); }
  bool Disarm(Timer*) override { NotForThreads("disarm a timer"); }
};

const SpawnSite kThreadSite("a thread that is no task", "", 0, nullptr, nullptr);

// Apart from the ids of tasks, which are counted from 1, and without the two bits below: obligation/ledger.h marks with these.
uint64_t NextThreadId() {
  static std::atomic<uint64_t> next{uint64_t{1} << 63};
  return next.fetch_add(1, std::memory_order_relaxed);
}

CancelReason TimeoutReason(RegionScope* region, TaskScope*) {
  return CancelReason(CancelKind::kDeadline, CancelOrigin{.name = kThreadSite.name},
                      region->services->clock->Now(), "the timeout of a blocking call has passed");
}

const RegionOps kThreadOps = {
    .task_ended = [](TaskScope*, Outcome<void>*) { NotForThreads("end"); },
    .charge = [](RegionScope*, TaskScope*, int64_t, int64_t) {},
    .reason = &TimeoutReason,
    .ref = [](RegionScope*) {},
    .unref = [](RegionScope*) {},
    .cut_off = [](RegionScope*, TaskScope*) {},
    .permit_done =
        [](RegionScope* region) {
          region->permits.fetch_sub(permit_word::kClaimOne, std::memory_order_acq_rel);
        },
};

}  // namespace

// What a thread waits as. Never freed, but given to another thread when this one has ended: whoever posts is
// not done with it when the thread goes on.
class ThreadRecord final : public Scheduler {
 public:
  ThreadRecord()
      : registry_(&region_, this), core_(nullptr), cx_((Prepare(), authority_), &core_) {}

  // Takes one that no thread has.
  static ThreadRecord* Take() {
    Pool& pool = AllRecords();
    {
      SpinLockHolder lock(pool.lock);
      if (pool.free != nullptr) return std::exchange(pool.free, pool.free->next_free_);
    }
    return new ThreadRecord();
  }
  void GiveBack() {
    Pool& pool = AllRecords();
    SpinLockHolder lock(pool.lock);
    next_free_ = std::exchange(pool.free, this);
  }

  void Begin(absl::Duration timeout) {
    deadline_ =
        timeout == absl::InfiniteDuration() ? Instant::InfiniteFuture() : clock_.Now() + timeout;
    cx_internal::SetCurrentTask(&core_, nullptr);
  }
  void End() {
    cx_internal::SetCurrentTask(nullptr, nullptr);
    core_.word.fetch_and(~task_word::kCancelled, std::memory_order_relaxed);
  }
  void AwaitPost() {
    if (AwaitUntil(deadline_)) return;
    // As TaskHandle::Cancel: one of us decides, and whoever does posts.
    core_.word.fetch_or(task_word::kCancelled, std::memory_order_acq_rel);
    ParkRegistry::DecideParked(&core_, ParkRegistry::Kind::kCancel);
    AwaitUntil(Instant::InfiniteFuture());
  }

  TaskCore* core() { return &core_; }
  const CxBase& cx() const { return cx_; }

  // Scheduler.
  void Post(Runnable*, Lane, Place, Instant) override {
    ThreadMutexLock lock(mutex_);
    posted_ = true;
    changed_.NotifyOne();
  }
  void PostBatch(RunnableQueue, Lane) override { NotForThreads("run a batch of steps"); }
  uint32_t worker_count() const override { return 1; }
  uint32_t current_worker() const override { return kNoWorker; }

 private:
  struct Pool {
    SpinLock lock;
    ThreadRecord* free ABSL_GUARDED_BY(lock) = nullptr;
  };
  static Pool& AllRecords() {
    static auto* all = new Pool();
    return *all;
  }
  class OwnCx : public CxBase {
   public:
    OwnCx(const Authority& authority, TaskScope* task) : CxBase(&authority, task, 0) {}
  };

  // Before cx_ reads it.
  void Prepare() {
    services_.scheduler = this;
    services_.clock = &clock_;
    region_.services = &services_;
    region_.ops = &kThreadOps;
    region_.parked = &registry_;
    authority_.region = &region_;
    core_.id = NextThreadId();
    core_.site = &kThreadSite;
    core_.scope = &region_;
  }

  // False once the time has passed without a post.
  bool AwaitUntil(Instant deadline) {
    const std::chrono::steady_clock::time_point until{std::chrono::nanoseconds(deadline.nanos())};
    ThreadMutexLock lock(mutex_);
    while (!posted_) {
      if (deadline.is_infinite()) {
        changed_.Wait(mutex_);
      } else if (!changed_.WaitUntil(mutex_, until) && !posted_) {
        return false;
      }
    }
    posted_ = false;
    return true;
  }

  SteadyClock clock_;
  RuntimeServices services_;
  RegionScope region_;
  Authority authority_;
  ParkRegistry registry_;
  TaskCore core_;
  OwnCx cx_;
  Instant deadline_;
  ThreadMutex mutex_;
  ThreadCondition changed_;
  bool posted_ ABSL_GUARDED_BY(mutex_) = false;
  ThreadRecord* next_free_ = nullptr;
};

namespace {

// Fatal in a task: `call` would block its worker.
void CheckMayBlock(const char* call, const char* instead) {
  if (cx_internal::CurrentTask() == nullptr) return;
  Fatal("%s was called in a task, whose worker it would block: use %s", call, instead);
}

// Its record has been given back: what blocks in a destructor of a thread-local that comes still later takes
// another, for good.
constinit thread_local bool gave_back = false;

struct OwnRecord {
  OwnRecord() : record(ThreadRecord::Take()) {}
  ~OwnRecord() {
    gave_back = true;
    record->GiveBack();
  }
  ThreadRecord* const record;
};

[[gnu::noinline]] ThreadRecord* RecordOfThisThread() {
  if (gave_back) [[unlikely]] {
    constinit thread_local ThreadRecord* late = nullptr;
    if (late == nullptr) late = ThreadRecord::Take();
    return late;
  }
  thread_local OwnRecord own;
  return own.record;
}

}  // namespace

ThreadWaitScope::ThreadWaitScope(const char* call, const char* instead, absl::Duration timeout)
    : record_((CheckMayBlock(call, instead), RecordOfThisThread())) {
  record_->Begin(timeout);
}

ThreadWaitScope::~ThreadWaitScope() { record_->End(); }
const CxBase& ThreadWaitScope::cx() const { return record_->cx(); }
void ThreadWaitScope::AwaitPost() { record_->AwaitPost(); }

TaskCore* ThisThreadAsTask() { return RecordOfThisThread()->core(); }

}  // namespace v0
}  // namespace quiesce

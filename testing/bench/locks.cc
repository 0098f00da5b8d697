// Locks: uncontended, contended, and contended by tasks that yield while they hold one.
#include <vector>

#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/rw_lock.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

Task<void> LockTimes(Cx cx, MutexOf<int64_t>* counter, int64_t times) {
  for (int64_t i = 0; i < times; ++i) {
    auto locked = co_await OrReturn(counter->Lock(cx));
    ++*locked;
  }
  co_return Ok();
}

Task<void> LockTimesAndYield(Cx cx, MutexOf<int64_t>* counter, int64_t times) {
  for (int64_t i = 0; i < times; ++i) {
    auto locked = co_await OrReturn(counter->Lock(cx));
    ++*locked;
    co_await OrReturn(Yield(cx));
  }
  co_return Ok();
}

Task<void> AcquireTimes(Cx cx, Semaphore* semaphore, int64_t times) {
  for (int64_t i = 0; i < times; ++i) {
    SemaphorePermit permit = co_await OrReturn(semaphore->Acquire(cx));
    std::move(permit).Release();
  }
  co_return Ok();
}

Task<void> AcquireTimesAndYield(Cx cx, Semaphore* semaphore, int64_t times) {
  for (int64_t i = 0; i < times; ++i) {
    SemaphorePermit permit = co_await OrReturn(semaphore->Acquire(cx));
    co_await OrReturn(Yield(cx));
    std::move(permit).Release();
  }
  co_return Ok();
}

// Nine reads, then a write.
Task<void> ReadAndWriteTimes(Cx cx, RwLockOf<int64_t>* counter, int64_t times) {
  int64_t sum = 0;
  for (int64_t i = 0; i < times; i += 10) {
    for (int k = 0; k < 9; ++k) {
      auto read = co_await OrReturn(counter->ReadLock(cx));
      sum += *read;
    }
    auto write = co_await OrReturn(counter->WriteLock(cx));
    ++*write;
  }
  if (sum == 0) co_return absl::InternalError("rwlock: what was written was not read");
  co_return Ok();
}

// `tasks` tasks that use `lock`, each its part of n; the nanoseconds for one.
template <class Lock>
double UsedBy(const Arguments& arguments, int64_t tasks, int64_t n, int64_t initial,
              Task<void> (*use)(Cx, Lock*, int64_t)) {
  const double ns = BestNs(arguments, [=](Cx cx) -> Task<double> {
    Lock lock(initial);
    const double start = NowNs();
    co_await OrReturn(Region::Open(cx, "using", [=, &lock](Cx cx) -> Task<void> {
      for (int64_t i = 0; i < tasks; ++i) cx.Spawn("user", use, &lock, n / tasks);
      co_return Ok();
    }));
    co_return NowNs() - start;
  });
  return ns / static_cast<double>(n);
}

}  // namespace

void MutexUncontended(const Arguments& arguments) {
  Print(arguments.bench, UsedBy(arguments, 1, arguments.CountOr(10'000'000), 0, &LockTimes),
        "ns/op");
}

void MutexContended(const Arguments& arguments) {
  Print(arguments.bench, UsedBy(arguments, 2, arguments.CountOr(2'000'000), 0, &LockTimes),
        "ns/op");
}

void MutexContendedYield(const Arguments& arguments) {
  Print(arguments.bench, UsedBy(arguments, 2, arguments.CountOr(1'000'000), 0, &LockTimesAndYield),
        "ns/op");
}

void SemaphoreUncontended(const Arguments& arguments) {
  Print(arguments.bench, UsedBy(arguments, 1, arguments.CountOr(10'000'000), 1, &AcquireTimes),
        "ns/op");
}

void SemaphoreContended(const Arguments& arguments) {
  Print(arguments.bench,
        UsedBy(arguments, 4, arguments.CountOr(1'000'000), 2, &AcquireTimesAndYield), "ns/op");
}

void RwLockMostlyRead(const Arguments& arguments) {
  Print(arguments.bench, UsedBy(arguments, 1, arguments.CountOr(10'000'000), 0, &ReadAndWriteTimes),
        "ns/op");
}

}  // namespace quiesce_bench

// Locks: uncontended, contended, and contended by tasks that yield while they hold one.
#include <vector>

#include "quiesce/testing/bench/harness.h"
#include "quiesce/runtime/sync/mutex.h"

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

// `tasks` of them, each with its part of n; the nanoseconds for one.
double LockedBy(const Arguments& arguments, int64_t tasks, int64_t n,
                Task<void> (*times)(Cx, MutexOf<int64_t>*, int64_t)) {
  const double ns = BestNs(arguments, [=](Cx cx) -> Task<double> {
    MutexOf<int64_t> counter(0);
    const double start = NowNs();
    co_await OrReturn(Region::Open(
        cx, "locking",
        [=, &counter](Cx cx) -> Task<void> {
          for (int64_t i = 0; i < tasks; ++i) cx.Spawn("locker", times, &counter, n / tasks);
          co_return Ok();
        }));
    const double elapsed = NowNs() - start;
    if (*co_await OrReturn(counter.Lock(cx)) != n / tasks * tasks) {
      co_return absl::InternalError("mutex: an increment was lost");
    }
    co_return elapsed;
  });
  return ns / static_cast<double>(n);
}

}  // namespace

void MutexUncontended(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(10'000'000);
  Print(arguments.bench, LockedBy(arguments, 1, n, &LockTimes), "ns/op");
}

void MutexContended(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(2'000'000);
  Print(arguments.bench, LockedBy(arguments, 2, n, &LockTimes), "ns/op");
}

void MutexContendedYield(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(1'000'000);
  Print(arguments.bench, LockedBy(arguments, 2, n, &LockTimesAndYield), "ns/op");
}

}  // namespace quiesce_bench

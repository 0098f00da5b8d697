// A million timers at once, armed and cancelled; and how late timers are that fire.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <numeric>
#include <utility>
#include <vector>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

constexpr uint64_t kHourNanos = 3'600'000'000'000;

// One to two hours, as rounded nanoseconds: After adds them to an instant.
std::vector<int64_t> Delays(Xorshift* random, int64_t n) {
  std::vector<int64_t> delays(static_cast<size_t>(n));
  for (int64_t& delay : delays) {
    delay = static_cast<int64_t>(kHourNanos + random->Below(kHourNanos));
  }
  return delays;
}

struct SilentTimer : Timer {
  SilentTimer() : Timer([](Timer*) {}) {}
};

// The wheel as the runtime's own primitives use it. Storage, delays and order are made before the clock starts.
Task<double> WheelRound(Cx cx, int64_t n, bool shuffled) {
  Clock& clock = *cx.services().clock;
  Xorshift random;
  const std::vector<int64_t> delays = Delays(&random, n);
  std::vector<size_t> order(delays.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = order.size(); shuffled && i > 1; --i) {
    std::swap(order[i - 1], order[random.Below(i)]);
  }
  std::vector<SilentTimer> timers(delays.size());
  const double start = NowNs();
  for (size_t i = 0; i < timers.size(); ++i) {
    timers[i].when = After(clock.Now(), delays[i]);
    clock.Arm(&timers[i]);
  }
  for (const size_t i : order) clock.Disarm(&timers[i]);
  co_return NowNs() - start;
}

Task<void> SleepFor(Cx cx, int64_t nanos, std::atomic<int64_t>* parked) {
  parked->fetch_add(1, std::memory_order_relaxed);
  co_await OrReturn(Sleep(cx, absl::Nanoseconds(nanos)));
  co_return Ok();
}

// What a user has a million of: tasks that sleep. From the first spawn until the last has ended.
Task<double> SleeperRound(Cx cx, int64_t n) {
  Xorshift random;
  const std::vector<int64_t> delays = Delays(&random, n);
  std::atomic<int64_t> parked{0};
  auto body = [&](Cx cx) -> Task<void> {
    for (const int64_t delay : delays) cx.Spawn("sleeper", SleepFor, delay, &parked);
    while (parked.load(std::memory_order_relaxed) < n) co_await OrReturn(Yield(cx));
    cx.Ref().Cancel();
    co_return Ok();
  };
  const double start = NowNs();
  (void)co_await Region::Open(cx, "sleepers", body);
  co_return NowNs() - start;
}

Task<void> TakeLateness(Cx cx, Instant due, double* late_ns) {
  co_await OrReturn(SleepUntil(cx, due));
  *late_ns = static_cast<double>(cx.services().clock->Now().nanos() - due.nanos());
  co_return Ok();
}

}  // namespace

void TimersLive(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(1'000'000);
  const double same = BestNs(arguments, [n](Cx cx) { return WheelRound(cx, n, false); });
  const double shuffled = BestNs(arguments, [n](Cx cx) { return WheelRound(cx, n, true); });
  std::fprintf(stderr, "# %s same order: %.1f ns/op\n# %s shuffled: %.1f ns/op\n",
               arguments.bench.c_str(), same / static_cast<double>(n), arguments.bench.c_str(),
               shuffled / static_cast<double>(n));
  Print(arguments.bench, std::min(same, shuffled) / static_cast<double>(n), "ns/op");
  const int64_t sleepers = std::max<int64_t>(n / 10, 1);
  const double sleep = BestNs(arguments, [=](Cx cx) { return SleeperRound(cx, sleepers); });
  Print(arguments.bench + "_sleep", sleep / static_cast<double>(sleepers), "ns/op");
}

void TimerLateness(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(10'000);
  ReportPercentiles(arguments, [n](Cx cx) -> Task<std::vector<double>> {
    const uint64_t within = static_cast<uint64_t>(n) * 100'000;  // 10,000 in a second
    Xorshift random;
    std::vector<double> late(static_cast<size_t>(n));
    std::vector<TaskHandle<void>> tasks;
    tasks.reserve(late.size());
    // All have been spawned and sleep when that time begins.
    const Instant begin = cx.services().clock->Now() + absl::Milliseconds(50);
    for (double& late_ns : late) {
      const Instant due = After(begin, static_cast<int64_t>(random.Below(within)));
      tasks.push_back(cx.Spawn("sleeper", TakeLateness, due, &late_ns));
    }
    for (TaskHandle<void>& task : tasks) co_await OrReturn(co_await OrReturn(task.Join(cx)));
    co_return late;
  });
}

}  // namespace quiesce_bench

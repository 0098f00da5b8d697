// Cancelling a million parked tasks, in one region or in a tree of regions, until all has closed; timers.
#include <algorithm>
#include <atomic>
#include <cstdio>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT

// Parks until a cancel: no timer, no event.
Task<void> Park(Cx cx, std::atomic<int64_t>* parked) {
  parked->fetch_add(1, std::memory_order_relaxed);
  co_await OrReturn(SleepUntil(cx, Instant::InfiniteFuture()));
  co_return Ok();
}

Task<void> ParkInSleep(Cx cx, std::atomic<int64_t>* parked) {
  parked->fetch_add(1, std::memory_order_relaxed);
  co_await OrReturn(Sleep(cx, absl::Hours(1)));
  co_return Ok();
}

using Parker = Task<void> (*)(Cx, std::atomic<int64_t>*);

constexpr int64_t kChildren = 10;

// Ten regions in a region, each opened by a task of its own; in the innermost ones ten parked tasks.
Task<void> Node(Cx cx, int64_t leaves, std::atomic<int64_t>* parked) {
  auto body = [leaves, parked](Cx cx) -> Task<void> {
    for (int64_t i = 0; i < std::min(leaves, kChildren); ++i) {
      if (leaves > kChildren) {
        cx.Spawn("node", Node, leaves / kChildren, parked);
      } else {
        cx.Spawn("parked", Park, parked);
      }
    }
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "node", body);
}

// From the request until every task has ended and the region has closed. `spawn(cx, parked)` makes `n` tasks that count
// themselves and park.
template <class Spawn>
Task<double> CancelRound(Cx cx, int64_t n, Spawn spawn) {
  std::atomic<int64_t> parked{0};
  double start = 0;
  auto body = [&](Cx cx) -> Task<void> {
    spawn(cx, &parked);
    while (parked.load(std::memory_order_relaxed) < n) co_await OrReturn(Yield(cx));
    co_await OrReturn(Sleep(cx, absl::Milliseconds(10)));
    start = NowNs();
    cx.Ref().Cancel();
    co_return Ok();
  };
  (void)co_await Region::Open(cx, "parked", body);
  co_return NowNs() - start;
}

void Report(const Arguments& arguments, Parker parker) {
  const int64_t n = arguments.CountOr(1'000'000);
  const auto spawn = [=](Cx cx, std::atomic<int64_t>* parked) {
    for (int64_t i = 0; i < n; ++i) cx.Spawn("parked", parker, parked);
  };
  const double ns = BestNs(arguments, [=](Cx cx) { return CancelRound(cx, n, spawn); });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

}  // namespace

void CancelParked(const Arguments& arguments) { Report(arguments, &Park); }
void CancelParkedSleep(const Arguments& arguments) { Report(arguments, &ParkInSleep); }

void CancelParkedTree(const Arguments& arguments) {
  int64_t n = 1;
  while (n * kChildren <= arguments.CountOr(1'000'000)) n *= kChildren;
  const auto spawn = [n](Cx cx, std::atomic<int64_t>* parked) {
    cx.Spawn("root", Node, n, parked);
  };
  const double ns = BestNs(arguments, [=](Cx cx) { return CancelRound(cx, n, spawn); });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

// The wheel alone, as the runtime's own primitives use it.
void TimerWheel(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(1'000'000);
  const double ns = BestNs(arguments, [n](Cx cx) -> Task<double> {
    Clock& clock = *cx.services().clock;
    Timer timer([](Timer*) {});
    const double start = NowNs();
    for (int64_t i = 0; i < n; ++i) {
      timer.when = clock.Now() + absl::Hours(2);
      clock.Arm(&timer);
      clock.Disarm(&timer);
    }
    co_return NowNs() - start;
  });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

// What a user writes for a time that is not used up. Two idioms, the faster one is the figure.
void SleepGivenUp(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(100'000);
  // A time limit around something that ends at once.
  const double limit = BestNs(arguments, [n](Cx cx) -> Task<double> {
    const auto body = [](Cx) -> Task<void> { co_return Ok(); };
    const double start = NowNs();
    for (int64_t i = 0; i < n; ++i) {
      co_await OrReturn(Region::Open(cx, "limited", body, FailFast(),
                                     RegionOptions().WithBudget(Budget::Timeout(absl::Hours(2)))));
    }
    co_return NowNs() - start;
  });
  // A task in a sleep that is cancelled.
  const double task = BestNs(arguments, [n](Cx cx) -> Task<double> {
    std::atomic<int64_t> begun{0};
    const double start = NowNs();
    for (int64_t i = 0; i < n; ++i) {
      auto sleeper = cx.Spawn("sleeper", [&begun](Cx cx) -> Task<void> {
        begun.fetch_add(1, std::memory_order_relaxed);
        co_await OrReturn(Sleep(cx, absl::Hours(2)));
        co_return Ok();
      });
      while (begun.load(std::memory_order_relaxed) <= i) co_await OrReturn(Yield(cx));
      sleeper.Cancel();
      (void)co_await OrReturn(sleeper.Join(cx));
    }
    co_return NowNs() - start;
  });
  std::fprintf(stderr, "# %s limit: %.1f ns/op\n# %s task: %.1f ns/op\n", arguments.bench.c_str(),
               limit / static_cast<double>(n), arguments.bench.c_str(),
               task / static_cast<double>(n));
  Print(arguments.bench, std::min(limit, task) / static_cast<double>(n), "ns/op");
}

}  // namespace quiesce_bench

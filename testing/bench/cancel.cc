// Cancelling a million parked tasks until their region has closed; timers.
#include <atomic>

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

// From the request until every task has ended and the region has closed.
Task<double> CancelRound(Cx cx, Parker parker, int64_t n) {
  std::atomic<int64_t> parked{0};
  double start = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int64_t i = 0; i < n; ++i) cx.Spawn("parked", parker, &parked);
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
  const double ns = BestNs(arguments, [=](Cx cx) { return CancelRound(cx, parker, n); });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

}  // namespace

void CancelParked(const Arguments& arguments) { Report(arguments, &Park); }
void CancelParkedSleep(const Arguments& arguments) { Report(arguments, &ParkInSleep); }

void TimerInsertCancel(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(1'000'000);
  auto runtime = NewRuntime(arguments);
  double best = 1e300;
  for (int round = 0; round <= arguments.rounds; ++round) {
    auto body = [n](Cx cx) -> Task<double> {
      Clock& clock = *cx.services().clock;
      Timer timer([](Timer*) {});
      const double start = NowNs();
      for (int64_t i = 0; i < n; ++i) {
        timer.when = clock.Now() + absl::Hours(2);
        clock.Arm(&timer);
        clock.Disarm(&timer);
      }
      co_return NowNs() - start;
    };
    const double ns = Value(runtime->BlockOn(body), "timer");
    if (round > 0 && ns < best) best = ns;
  }
  Print(arguments.bench, best / static_cast<double>(n), "ns/op");
}

}  // namespace quiesce_bench

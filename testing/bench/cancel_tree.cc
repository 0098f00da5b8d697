// Cancelling a million parked tasks that a tree of regions owns, until its root has closed.
#include <algorithm>
#include <atomic>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

constexpr int64_t kChildren = 10;

// Parks until a cancel: no timer, no event.
Task<void> Park(Cx cx, std::atomic<int64_t>* parked) {
  parked->fetch_add(1, std::memory_order_relaxed);
  co_await OrReturn(SleepUntil(cx, Instant::InfiniteFuture()));
  co_return Ok();
}

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

// From the request at the root until all has closed.
Task<double> Round(Cx cx, int64_t n) {
  std::atomic<int64_t> parked{0};
  double start = 0;
  auto body = [&](Cx cx) -> Task<void> {
    cx.Spawn("root", Node, n, &parked);
    while (parked.load(std::memory_order_relaxed) < n) co_await OrReturn(Yield(cx));
    co_await OrReturn(Sleep(cx, absl::Milliseconds(10)));
    start = NowNs();
    cx.Ref().Cancel();
    co_return Ok();
  };
  (void)co_await Region::Open(cx, "tree", body);
  co_return NowNs() - start;
}

}  // namespace

void CancelParkedTree(const Arguments& arguments) {
  int64_t n = 1;
  while (n * kChildren <= arguments.CountOr(1'000'000)) n *= kChildren;
  const double ns = BestNs(arguments, [n](Cx cx) { return Round(cx, n); });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

}  // namespace quiesce_bench

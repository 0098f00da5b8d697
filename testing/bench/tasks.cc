// Spawning, joining, yielding, racing.
#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

Task<void> Nothing(Cx) { co_return Ok(); }

// Three idioms, the fastest is the figure, as on the peer's side: joins in order, and last first; and a region, which
// waits for all that was spawned into it.
Task<double> SpawnJoinRound(Cx cx, int64_t n, bool last_first) {
  std::vector<TaskHandle<void>> handles;
  handles.reserve(static_cast<size_t>(n));
  const double start = NowNs();
  for (int64_t i = 0; i < n; ++i) handles.push_back(cx.Spawn("nothing", Nothing));
  for (size_t i = 0; i < handles.size(); ++i) {
    (void)co_await OrReturn(handles[last_first ? handles.size() - 1 - i : i].Join(cx));
  }
  // The memory of a task that has ended is its handle's; the peer's handles are gone by now, too.
  handles.clear();
  co_return NowNs() - start;
}

Task<double> SpawnCloseRound(Cx cx, int64_t n) {
  const auto spawn_all = [n](Cx cx) -> Task<void> {
    for (int64_t i = 0; i < n; ++i) cx.Spawn("nothing", Nothing);
    co_return Ok();
  };
  const double start = NowNs();
  co_await OrReturn(Region::Open(cx, "all", spawn_all));
  co_return NowNs() - start;
}

// A region at each node. Its children may write into its parent's frame, since none outlives the region.
Task<void> SkynetNode(Cx cx, int64_t number, int64_t size, int64_t* result) {
  if (size == 1) {
    *result = number;
    co_return Ok();
  }
  std::array<int64_t, 10> results;
  const auto spawn_children = [&](Cx cx) -> Task<void> {
    const int64_t part = size / 10;
    for (int64_t i = 0; i < 10; ++i) {
      cx.Spawn("node", SkynetNode, number + i * part, part, &results[static_cast<size_t>(i)]);
    }
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "node", spawn_children));
  *result = std::accumulate(results.begin(), results.end(), int64_t{0});
  co_return Ok();
}

Task<void> Yielder(Cx cx, int64_t times) {
  for (int64_t i = 0; i < times; ++i) co_await OrReturn(Yield(cx));
  co_return Ok();
}

}  // namespace

void SpawnJoin(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(1'000'000);
  const double in_order = BestNs(arguments, [n](Cx cx) { return SpawnJoinRound(cx, n, false); });
  const double last_first = BestNs(arguments, [n](Cx cx) { return SpawnJoinRound(cx, n, true); });
  const double by_region = BestNs(arguments, [n](Cx cx) { return SpawnCloseRound(cx, n); });
  Print(arguments.bench, std::min({in_order, last_first, by_region}) / static_cast<double>(n),
        "ns/op");
}

void Skynet(const Arguments& arguments) {
  int64_t n = 1;
  while (n * 10 <= arguments.CountOr(1'000'000)) n *= 10;
  const double ns = BestNs(arguments, [n](Cx cx) -> Task<double> {
    int64_t sum = 0;
    const double start = NowNs();
    co_await OrReturn(SkynetNode(cx, 0, n, &sum));
    const double elapsed = NowNs() - start;
    if (sum != n * (n - 1) / 2) {
      co_return absl::InternalError("skynet: wrong sum");
    }
    co_return elapsed;
  });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

void YieldTasks(const Arguments& arguments) {
  constexpr int64_t kTasks = 100;
  const int64_t each = arguments.CountOr(1'000'000) / kTasks;
  const double ns = BestNs(arguments, [each](Cx cx) -> Task<double> {
    std::vector<TaskHandle<void>> tasks;
    const double start = NowNs();
    for (int64_t i = 0; i < kTasks; ++i) tasks.push_back(cx.Spawn("yielder", Yielder, each));
    for (TaskHandle<void>& task : tasks) (void)co_await OrReturn(task.Join(cx));
    co_return NowNs() - start;
  });
  Print(arguments.bench, ns / static_cast<double>(kTasks * each), "ns/op");
}

// One branch ends at once, the other waits for ever: it is stopped, and has ended, before the race does.
void RaceOfTwo(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(500'000);
  const double ns = BestNs(arguments, [n](Cx cx) -> Task<double> {
    const auto waits = [](Cx cx) -> Task<void> {
      co_await OrReturn(SleepUntil(cx, Instant::InfiniteFuture()));
      co_return Ok();
    };
    const double start = NowNs();
    for (int64_t i = 0; i < n; ++i) co_await OrReturn(Race(cx, waits, Nothing));
    co_return NowNs() - start;
  });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

}  // namespace quiesce_bench

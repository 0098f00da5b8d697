// Telling another task to go on.
#include "quiesce/runtime/sync/notify.h"

#include <array>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

Task<void> TakeTurns(Cx cx, Notify* mine, Notify* other, int64_t turns) {
  for (int64_t i = 0; i < turns; ++i) {
    co_await OrReturn(mine->Wait(cx));
    other->NotifyOne();
  }
  co_return Ok();
}

}  // namespace

void NotifyInTurns(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(1'000'000);
  std::array<Notify, 2> turns;
  const double ns = BestNs(arguments, [&turns, n](Cx cx) -> Task<double> {
    turns[0].NotifyOne();  // the first turn
    const double start = NowNs();
    auto left = cx.Spawn("left", TakeTurns, &turns[0], &turns[1], n);
    auto right = cx.Spawn("right", TakeTurns, &turns[1], &turns[0], n);
    (void)co_await OrReturn(left.Join(cx));
    (void)co_await OrReturn(right.Join(cx));
    const double elapsed = NowNs() - start;
    if (!turns[0].TryWait()) co_return absl::InternalError("notify: the last turn is lost");
    co_return elapsed;
  });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

}  // namespace quiesce_bench

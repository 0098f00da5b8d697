// One task sends to itself, by the calls that might wait. A file of its own: compiled_out_bench compiles it once more.
#include <cstdint>
#include <optional>
#include <utility>

#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

Task<double> SendToItself(Cx cx, uint64_t n) {
  auto [sender, receiver] = MakeMpsc<uint64_t>(64);
  const double start = NowNs();
  for (uint64_t i = 0; i < n; ++i) {
    SendPermit<uint64_t> permit = co_await OrReturn(sender.Reserve(cx));
    (void)std::move(permit).Send(uint64_t{i});
    if (co_await OrReturn(receiver.Receive(cx)) != i) co_return Panic("another message came");
  }
  co_return NowNs() - start;
}

}  // namespace

void ReserveSend(const Arguments& arguments) {
  const auto n = static_cast<uint64_t>(arguments.CountOr(10'000'000));
  // In a task of its own, as most code is: that its region has revoked a permit need not be asked there.
  const double ns = BestNs(arguments, [n](Cx cx) -> Task<double> {
    auto sends = cx.Spawn("sends", SendToItself, n);
    Outcome<double> ended = co_await OrReturn(sends.Join(cx));
    co_return co_await OrReturn(std::move(ended));
  });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

}  // namespace quiesce_bench

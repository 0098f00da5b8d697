// Broadcast, watch, session.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "quiesce/runtime/channel/broadcast.h"
#include "quiesce/runtime/channel/session.h"
#include "quiesce/runtime/channel/watch.h"
#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

constexpr int kReceivers = 8;

Task<uint64_t> Receive(Cx cx, BroadcastReceiver<uint64_t> receiver) {
  uint64_t sum = 0;
  while (auto message = co_await OrReturn(receiver.Receive(cx))) sum += message->value;
  co_return sum;
}

// Two idioms: one wait for each message, and a permit for each.
Task<void> SendEach(Cx cx, BroadcastSender<uint64_t> sender, uint64_t n, bool by_permit) {
  for (uint64_t i = 0; i < n; ++i) {
    if (by_permit) {
      auto permit = co_await OrReturn(sender.Reserve(cx));
      (void)std::move(permit).Send(uint64_t{i});
    } else {
      (void)co_await OrReturn(sender.Send(cx, uint64_t{i}));
    }
  }
  co_return Ok();
}

Task<double> BroadcastRound(Cx cx, uint64_t n, bool by_permit) {
  std::vector<TaskHandle<uint64_t>> receiving;
  const double start = NowNs();
  {
    auto sender = MakeBroadcast<uint64_t>(64);
    for (int i = 0; i < kReceivers; ++i) {
      receiving.push_back(cx.Spawn("receive", Receive, sender.Subscribe()));
    }
    cx.Spawn("send", SendEach, std::move(sender), n, by_permit);
  }
  for (TaskHandle<uint64_t>& task : receiving) {
    Outcome<uint64_t> sum = co_await OrReturn(task.Join(cx));
    if (co_await OrReturn(std::move(sum)) != n * (n - 1) / 2) {
      co_return absl::InternalError("broadcast: a receiver has missed a message");
    }
  }
  co_return NowNs() - start;
}

// Sends what the other has answered, and one more.
Task<void> Answer(Cx cx, WatchReceiver<uint64_t> question, WatchSender<uint64_t> answer) {
  while (co_await OrReturn(question.Changed(cx))) answer.Send(question.Get());
  co_return Ok();
}

Task<double> WatchRound(Cx cx, uint64_t n) {
  auto [question, asked] = MakeWatch<uint64_t>(0);
  auto [answer, answered] = MakeWatch<uint64_t>(0);
  auto answering = cx.Spawn("answer", Answer, std::move(asked), std::move(answer));
  const double start = NowNs();
  for (uint64_t i = 1; i <= n; ++i) {
    question.Send(i);
    if (!co_await OrReturn(answered.Changed(cx)) || answered.Get() != i) {
      co_return absl::InternalError("watch: not the answer to the question");
    }
  }
  co_return NowNs() - start;
}

Task<void> Serve(Cx cx, SessionServer<uint64_t, uint64_t> server) {
  while (auto call = co_await OrReturn(server.Next(cx))) {
    (void)std::move(call->reply).Reply(call->request + 1);
  }
  co_return Ok();
}

Task<double> SessionRound(Cx cx, uint64_t n) {
  auto [client, server] = MakeSession<uint64_t, uint64_t>(1);
  cx.Spawn("serve", Serve, std::move(server));
  const double start = NowNs();
  for (uint64_t i = 0; i < n; ++i) {
    if (co_await OrReturn(client.Call(cx, uint64_t{i})) != i + 1) {
      co_return absl::InternalError("session: not the reply to the request");
    }
  }
  co_return NowNs() - start;
}

}  // namespace

void Broadcast8(const Arguments& arguments) {
  const auto n = static_cast<uint64_t>(arguments.CountOr(1'000'000));
  const double by_wait = BestNs(arguments, [n](Cx cx) { return BroadcastRound(cx, n, false); });
  const double by_permit = BestNs(arguments, [n](Cx cx) { return BroadcastRound(cx, n, true); });
  Print(arguments.bench, std::min(by_wait, by_permit) / static_cast<double>(n), "ns/op");
}

void WatchPingPong(const Arguments& arguments) {
  const auto n = static_cast<uint64_t>(arguments.CountOr(1'000'000));
  const double ns = BestNs(arguments, [n](Cx cx) { return WatchRound(cx, n); });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

void SessionCalls(const Arguments& arguments) {
  const auto n = static_cast<uint64_t>(arguments.CountOr(1'000'000));
  const double ns = BestNs(arguments, [n](Cx cx) { return SessionRound(cx, n); });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

}  // namespace quiesce_bench

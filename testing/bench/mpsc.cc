// Channels from many tasks to one, and of one value. peers/tokio has the same benchmarks by the same names.
#include "quiesce/runtime/channel/mpsc.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "quiesce/runtime/channel/oneshot.h"
#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

constexpr size_t kCapacity = 64;
constexpr int kProducers = 4;

Panic Wrong() { return Panic("a message is not the one that was sent"); }

// ---- two tasks, a channel each way ------------------------------------------------------------------

Task<void> Echo(Cx cx, Receiver<uint64_t> asked, Sender<uint64_t> answer) {
  while (std::optional<uint64_t> i = co_await OrReturn(asked.Receive(cx))) {
    co_await OrReturn(answer.Send(cx, std::move(*i)));
  }
  co_return Ok();
}

Task<void> Ask(Cx cx, uint64_t n, Sender<uint64_t> ask, Receiver<uint64_t> answered) {
  for (uint64_t i = 0; i < n; ++i) {
    co_await OrReturn(ask.Send(cx, uint64_t{i}));
    if (co_await OrReturn(answered.Receive(cx)) != i) co_return Wrong();
  }
  co_return Ok();
}

Task<double> RoundTrips(Cx cx, uint64_t n, size_t capacity) {
  Mpsc<uint64_t> there = MakeMpsc<uint64_t>(capacity);
  Mpsc<uint64_t> back = MakeMpsc<uint64_t>(capacity);
  const double start = NowNs();
  auto echo = cx.Spawn("echo", Echo, std::move(there.receiver), std::move(back.sender));
  auto ask = cx.Spawn("ask", Ask, n, std::move(there.sender), std::move(back.receiver));
  co_await OrReturn(co_await OrReturn(ask.Join(cx)));
  co_await OrReturn(co_await OrReturn(echo.Join(cx)));
  co_return NowNs() - start;
}

// ---- four tasks to one ------------------------------------------------------------------------------

Task<void> Produce(Cx cx, Sender<uint64_t> sender, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) co_await OrReturn(sender.Send(cx, uint64_t{i}));
  co_return Ok();
}

Task<void> ProduceByPermit(Cx cx, Sender<uint64_t> sender, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    SendPermit<uint64_t> permit = co_await OrReturn(sender.Reserve(cx));
    (void)std::move(permit).Send(uint64_t{i});
  }
  co_return Ok();
}

Task<uint64_t> Consume(Cx cx, Receiver<uint64_t> receiver) {
  uint64_t sum = 0;
  while (std::optional<uint64_t> i = co_await OrReturn(receiver.Receive(cx))) sum += *i;
  co_return sum;
}

Task<uint64_t> ConsumeMany(Cx cx, Receiver<uint64_t> receiver) {
  uint64_t sum = 0;
  std::vector<uint64_t> batch;
  while (co_await OrReturn(receiver.ReceiveMany(cx, batch, kCapacity)) != 0) {
    for (uint64_t i : batch) sum += i;
    batch.clear();
  }
  co_return sum;
}

template <class Producer, class Consumer>
Task<double> FourProducers(Cx cx, uint64_t each, Producer produce, Consumer consume) {
  const double start = NowNs();
  Mpsc<uint64_t> channel = MakeMpsc<uint64_t>(kCapacity);
  auto consumer = cx.Spawn("consumer", consume, std::move(channel.receiver));
  {
    Sender<uint64_t> sender = std::move(channel.sender);
    for (int i = 0; i < kProducers; ++i) cx.Spawn("producer", produce, sender, each);
  }
  const uint64_t sum = co_await OrReturn(co_await OrReturn(consumer.Join(cx)));
  const double elapsed = NowNs() - start;
  if (sum != each * (each - 1) / 2 * kProducers) co_return Wrong();
  co_return elapsed;
}

// ---- one task alone ---------------------------------------------------------------------------------

Task<double> TrySends(Cx, uint64_t n) {
  auto [sender, receiver] = MakeMpsc<uint64_t>(kCapacity);
  const double start = NowNs();
  for (uint64_t i = 0; i < n; ++i) {
    if (sender.TrySend(uint64_t{i}) != TrySendResult::kSent) co_return Wrong();
    if (receiver.TryReceive() != i) co_return Wrong();
  }
  co_return NowNs() - start;
}

Task<double> Oneshots(Cx cx, uint64_t n) {
  const double start = NowNs();
  for (uint64_t i = 0; i < n; ++i) {
    auto [sender, receiver] = MakeOneshot<uint64_t>();
    if (std::move(sender).Send(uint64_t{i}).has_value()) co_return Wrong();
    if (co_await OrReturn(receiver.Receive(cx)) != i) co_return Wrong();
  }
  co_return NowNs() - start;
}

// ---- requests that bring the oneshot for their answer -----------------------------------------------

struct Request {
  Request(uint64_t number, OneshotSender<uint64_t> answer)
      : number(number), answer(std::move(answer)) {}
  uint64_t number;
  OneshotSender<uint64_t> answer;
};

Task<void> Serve(Cx cx, Receiver<Request> requests) {
  while (std::optional<Request> request = co_await OrReturn(requests.Receive(cx))) {
    (void)std::move(request->answer).Send(std::move(request->number));
  }
  co_return Ok();
}

Task<void> Request1(Cx cx, uint64_t n, Sender<Request> requests) {
  for (uint64_t i = 0; i < n; ++i) {
    auto [answer, answered] = MakeOneshot<uint64_t>();
    Request request(i, std::move(answer));
    co_await OrReturn(requests.Send(cx, std::move(request)));
    if (co_await OrReturn(answered.Receive(cx)) != i) co_return Wrong();
  }
  co_return Ok();
}

Task<double> Sessions(Cx cx, uint64_t n) {
  Mpsc<Request> requests = MakeMpsc<Request>(1);
  const double start = NowNs();
  auto server = cx.Spawn("server", Serve, std::move(requests.receiver));
  auto client = cx.Spawn("client", Request1, n, std::move(requests.sender));
  co_await OrReturn(co_await OrReturn(client.Join(cx)));
  co_await OrReturn(co_await OrReturn(server.Join(cx)));
  co_return NowNs() - start;
}

template <class Round>
void PrintBest(const Arguments& arguments, int64_t n, Round round) {
  const double ns = BestNs(arguments, [&](Cx cx) { return round(cx, static_cast<uint64_t>(n)); });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

}  // namespace

void ChannelRoundTrip(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(1'000'000);
  const auto round = [&](size_t capacity) {
    return BestNs(arguments,
                  [&](Cx cx) { return RoundTrips(cx, static_cast<uint64_t>(n), capacity); });
  };
  Print(arguments.bench, std::min(round(1), round(16)) / static_cast<double>(n), "ns/op");
}

void Mpsc4Producers(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(10'000'000);
  const auto each = static_cast<uint64_t>(n / kProducers);
  const auto round = [&](auto produce, auto consume) {
    const double ns =
        BestNs(arguments, [&](Cx cx) { return FourProducers(cx, each, produce, consume); });
    std::fprintf(stderr, "# %.2f\n", ns / static_cast<double>(n));
    return ns;
  };
  const double best =
      std::min({round(Produce, Consume), round(Produce, ConsumeMany),
                round(ProduceByPermit, Consume), round(ProduceByPermit, ConsumeMany)});
  Print(arguments.bench, best / static_cast<double>(n), "ns/op");
}

void TrySend(const Arguments& arguments) {
  PrintBest(arguments, arguments.CountOr(10'000'000), &TrySends);
}

void OneshotAlone(const Arguments& arguments) {
  PrintBest(arguments, arguments.CountOr(1'000'000), &Oneshots);
}

void OneshotWake(const Arguments& arguments) {
  PrintBest(arguments, arguments.CountOr(1'000'000), &Sessions);
}

}  // namespace quiesce_bench

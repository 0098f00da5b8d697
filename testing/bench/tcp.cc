// 64 bytes there and back over loopback, both ends in one runtime.
#include <array>
#include <vector>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT

constexpr size_t kMessage = 64;

Task<void> Echo(Cx cx, TcpStream stream) {
  std::array<std::byte, 1024> buffer;
  while (true) {
    const size_t n = co_await OrReturn(stream.Read(cx, buffer));
    if (n == 0) co_return Ok();
    co_await OrReturn(stream.WriteAll(cx, absl::MakeSpan(buffer).first(n)));
  }
}

Task<void> Ask(Cx cx, TcpStream* stream, int64_t times) {
  std::array<std::byte, kMessage> question{};
  std::array<std::byte, 1024> answer;
  for (int64_t i = 0; i < times; ++i) {
    co_await OrReturn(stream->WriteAll(cx, question));
    for (size_t got = 0; got < kMessage;) {
      got += co_await OrReturn(stream->Read(cx, answer));
    }
  }
  co_return Ok();
}

// Wall time for `times` round trips on each of `connections`.
Task<double> Round(Cx cx, int connections, int64_t times) {
  TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
  std::vector<TcpStream> clients;
  for (int i = 0; i < connections; ++i) {
    TcpStream client = co_await OrReturn(TcpStream::Connect(cx, listener.address()));
    TcpStream server = co_await OrReturn(listener.Accept(cx));
    clients.push_back(std::move(client));
    cx.Spawn("echo", Echo, std::move(server));
  }
  std::vector<TaskHandle<void>> askers;
  const double start = NowNs();
  for (TcpStream& client : clients) askers.push_back(cx.Spawn("ask", Ask, &client, times));
  for (TaskHandle<void>& asker : askers) {
    Outcome<void> ended = co_await OrReturn(asker.Join(cx));
    co_await OrReturn(std::move(ended));
  }
  co_return NowNs() - start;
}

}  // namespace

void TcpRoundTrip(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(50'000);
  const double ns = BestNs(arguments, [n](Cx cx) { return Round(cx, 1, n); });
  Print(arguments.bench, ns / static_cast<double>(n) / 1e3, "us/op");
}

void TcpRoundTrip64(const Arguments& arguments) {
  const int64_t each = arguments.CountOr(192'000) / 64;
  const double ns = BestNs(arguments, [each](Cx cx) { return Round(cx, 64, each); });
  Print(arguments.bench, ns / static_cast<double>(64 * each), "ns/op");
}

}  // namespace quiesce_bench

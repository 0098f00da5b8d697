// 64 bytes there and back over loopback, both ends in one runtime.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>
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

// `took`, if given, gets each round trip's time.
Task<void> Ask(Cx cx, TcpStream* stream, int64_t times, std::vector<double>* took) {
  std::array<std::byte, kMessage> question{};
  std::array<std::byte, 1024> answer;
  for (int64_t i = 0; i < times; ++i) {
    const double start = took != nullptr ? NowNs() : 0;
    co_await OrReturn(stream->WriteAll(cx, question));
    for (size_t got = 0; got < kMessage;) {
      got += co_await OrReturn(stream->Read(cx, answer));
    }
    if (took != nullptr) took->push_back(NowNs() - start);
  }
  co_return Ok();
}

struct Load {
  int active = 1;
  int idle = 0;
  int64_t times = 0;  // round trips on each active connection
};

// Wall time for all round trips.
Task<double> Round(Cx cx, Load load, std::vector<double>* took) {
  TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
  std::vector<TcpStream> clients;
  for (int i = 0; i < load.active + load.idle; ++i) {
    TcpStream client = co_await OrReturn(TcpStream::Connect(cx, listener.address()));
    TcpStream server = co_await OrReturn(listener.Accept(cx));
    clients.push_back(std::move(client));
    cx.Spawn("echo", Echo, std::move(server));
  }
  // Until every echo task is parked in its read.
  if (load.idle > 0) co_await OrReturn(Sleep(cx, absl::Milliseconds(20)));
  std::vector<TaskHandle<void>> askers;
  const double start = NowNs();
  for (int i = 0; i < load.active; ++i) {
    TcpStream* client = &clients[static_cast<size_t>(load.idle + i)];
    askers.push_back(cx.Spawn("ask", Ask, client, load.times, took));
  }
  for (TaskHandle<void>& asker : askers) {
    Outcome<void> ended = co_await OrReturn(asker.Join(cx));
    co_await OrReturn(std::move(ended));
  }
  co_return NowNs() - start;
}

Task<std::vector<double>> TimedRound(Cx cx, int64_t times) {
  std::vector<double> took;
  took.reserve(static_cast<size_t>(times));
  co_await OrReturn(Round(cx, {.times = times}, &took));
  co_return took;
}

constexpr int kActive = 64;

void ReportActive(const Arguments& arguments, int idle) {
  const int64_t each = std::max<int64_t>(arguments.CountOr(192'000) / kActive, 1);
  const double ns = BestNs(arguments, [=](Cx cx) {
    return Round(cx, {.active = kActive, .idle = idle, .times = each}, nullptr);
  });
  Print(arguments.bench, ns / static_cast<double>(kActive * each), "ns/op");
}

}  // namespace

void TcpRoundTrip(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(50'000);
  const double ns = BestNs(arguments, [n](Cx cx) { return Round(cx, {.times = n}, nullptr); });
  Print(arguments.bench, ns / static_cast<double>(n) / 1e3, "us/op");
  // In rounds of their own: the clock that they read for each round trip would be in the way above.
  ReportPercentiles(arguments, [n](Cx cx) { return TimedRound(cx, n); });
}

void TcpRoundTrip64(const Arguments& arguments) { ReportActive(arguments, 0); }

// The same among thousands of connections on which nothing happens: 9,900 in all, or as many as the limit of
// descriptors leaves, two for each and some for the rest.
void TcpIdle10k(const Arguments& arguments) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 200 + 2 * kActive) {
    std::fprintf(stderr, "bench: the limit of descriptors leaves less than %d connections\n",
                 kActive);
    std::exit(1);
  }
  const int connections = static_cast<int>(std::min<rlim_t>((limit.rlim_cur - 200) / 2, 9'900));
  std::fprintf(stderr, "# %s %d connections\n", arguments.bench.c_str(), connections);
  ReportActive(arguments, connections - kActive);
}

namespace {
Arguments OnIoUring(Arguments arguments) {
  arguments.io = IoBackend::kAuto;
  const absl::Status status =
      Runtime::Create(RuntimeOptions().WithIo(IoBackend::kIoUring)).status();
  if (!status.ok()) {
    std::fprintf(stderr, "# %s is on epoll: %s\n", arguments.bench.c_str(),
                 status.ToString().c_str());
  }
  return arguments;
}
}  // namespace

void TcpRoundTripIoUring(const Arguments& arguments) { TcpRoundTrip(OnIoUring(arguments)); }
void TcpRoundTrip64IoUring(const Arguments& arguments) { TcpRoundTrip64(OnIoUring(arguments)); }
void TcpIdle10kIoUring(const Arguments& arguments) { TcpIdle10k(OnIoUring(arguments)); }

}  // namespace quiesce_bench

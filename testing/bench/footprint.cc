// What waiting costs: bytes for each parked task, processor time of an idle process.
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "quiesce/runtime/base/slab.h"
#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT

Task<void> Park(Cx cx, std::atomic<int64_t>* parked) {
  parked->fetch_add(1, std::memory_order_relaxed);
  co_await OrReturn(ShutdownSignal(cx));  // like a Notify of Tokio's: many wait, without a timer
  co_return Ok();
}

Task<void> ParkInSleep(Cx cx, std::atomic<int64_t>* parked) {
  parked->fetch_add(1, std::memory_order_relaxed);
  co_await OrReturn(Sleep(cx, absl::Hours(1)));
  co_return Ok();
}

double ResidentBytes() {
  long pages = 0;
  std::FILE* statm = std::fopen("/proc/self/statm", "r");
  if (statm == nullptr || std::fscanf(statm, "%*s %ld", &pages) != 1) {
    std::fprintf(stderr, "bench: cannot read /proc/self/statm\n");
    std::exit(1);
  }
  std::fclose(statm);
  return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Slab blocks, with their rounding, and the general heap.
double LiveBytes() {
  return static_cast<double>(GetSlabStats().live_bytes) + static_cast<double>(mallinfo2().uordblks);
}

using Parker = Task<void> (*)(Cx, std::atomic<int64_t>*);

void Report(const Arguments& arguments, Parker parker) {
  const int64_t n = arguments.CountOr(100'000);
  auto runtime = NewRuntime(arguments, RuntimeOptions().WithSignals());
  double live = 0;
  double resident = 0;
  std::atomic<int64_t> parked{0};
  auto body = [&](Cx cx) -> Task<void> {
    live = -LiveBytes();
    resident = -ResidentBytes();
    for (int64_t i = 0; i < n; ++i) cx.Spawn("parked", parker, &parked);
    while (parked.load(std::memory_order_relaxed) < n) co_await OrReturn(Yield(cx));
    co_await OrReturn(Sleep(cx, absl::Milliseconds(10)));
    live += LiveBytes();
    resident += ResidentBytes();
    cx.Ref().Cancel();
    co_return Ok();
  };
  (void)runtime->BlockOn(body);
  Print(arguments.bench + "_usable", live / static_cast<double>(n), "bytes");
  Print(arguments.bench + "_rss", resident / static_cast<double>(n), "bytes");
}

double CpuTimeUs() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

}  // namespace

void ParkedBytes(const Arguments& arguments) { Report(arguments, &Park); }
void ParkedBytesSleep(const Arguments& arguments) { Report(arguments, &ParkInSleep); }

void IdleCpu(const Arguments& arguments) {
  auto runtime = NewRuntime(arguments);
  std::atomic<bool> parked{false};
  std::thread idle([&] {
    auto body = [&](Cx cx) -> Task<void> {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
      auto sleeper = cx.Spawn("sleep", [](Cx cx) -> Task<void> {
        co_await OrReturn(Sleep(cx, absl::Hours(1)));
        co_return Ok();
      });
      parked.store(true);
      (void)co_await OrReturn(listener.Accept(cx));
      co_return Ok();
    };
    (void)runtime->BlockOn(body);
  });
  while (!parked.load()) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // lets the workers park
  const double before = CpuTimeUs();
  std::this_thread::sleep_for(std::chrono::seconds(arguments.seconds));
  Print(arguments.bench, CpuTimeUs() - before, "us");
  runtime->Shutdown();
  idle.join();
}

}  // namespace quiesce_bench

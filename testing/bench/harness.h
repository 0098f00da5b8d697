// harness.h: how our side of the benchmark report runs, measures and prints.
//
// Every program of the report takes `--bench=NAME --workers=N [--n=COUNT] [--rounds=R] [--seconds=S]` and
// prints `NAME<TAB>VALUE<TAB>UNIT` for each figure. peers/tokio/README.md says what each benchmark does;
// ours does the same.
#ifndef QUIESCE_TESTING_BENCH_HARNESS_H_
#define QUIESCE_TESTING_BENCH_HARNESS_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "quiesce/runtime/quiesce.h"

namespace quiesce_bench {

struct Arguments {
  std::string bench;
  uint32_t workers = 1;
  int64_t n = 0;  // 0: the benchmark's own
  int rounds = 5;
  int seconds = 2;
  quiesce::IoBackend io = quiesce::IoBackend::kEpoll;
  int64_t CountOr(int64_t standard) const { return n > 0 ? n : standard; }
};

inline double NowNs() {
  return static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                 std::chrono::steady_clock::now().time_since_epoch())
                                 .count());
}

inline void Print(const std::string& name, double value, const char* unit) {
  std::printf("%s\t%.2f\t%s\n", name.c_str(), value, unit);
  std::fflush(stdout);
}

// A bug of the benchmark or of the runtime: there is no figure then.
template <class T>
T Value(quiesce::Outcome<T> outcome, const char* what) {
  if (!outcome.ok()) {
    std::fprintf(stderr, "bench: %s: %s\n", what, outcome.ToString().c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(outcome);
}

inline std::unique_ptr<quiesce::Runtime> NewRuntime(
    const Arguments& arguments, quiesce::RuntimeOptions options = quiesce::RuntimeOptions()) {
  auto runtime =
      quiesce::Runtime::Create(options.WithWorkers(arguments.workers).WithIo(arguments.io));
  if (!runtime.ok()) {
    std::fprintf(stderr, "bench: %s\n", runtime.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(runtime);
}

// One round that is thrown away, then the least of `rounds`. `round(cx)` is a Task<double>: nanoseconds.
template <class Round>
double BestNs(const Arguments& arguments, Round round) {
  auto runtime = NewRuntime(arguments);
  double best = 1e300;
  for (int i = 0; i <= arguments.rounds; ++i) {
    const double ns = Value(runtime->BlockOn(round), "a round failed");
    if (i > 0 && ns < best) best = ns;
  }
  return best;
}

// The least of `sorted` that at least `percent` of a hundred do not exceed.
inline double Percentile(const std::vector<double>& sorted, size_t percent) {
  return sorted[(sorted.size() * percent + 99) / 100 - 1];
}

// As BestNs, for latencies: prints NAME_p50 and NAME_p99, each the least over the rounds. `round(cx)` is a
// Task<std::vector<double>>: nanoseconds, in any order, at least one.
template <class Round>
void ReportPercentiles(const Arguments& arguments, Round round) {
  auto runtime = NewRuntime(arguments);
  double p50 = 1e300;
  double p99 = 1e300;
  for (int i = 0; i <= arguments.rounds; ++i) {
    std::vector<double> samples = Value(runtime->BlockOn(round), "a round failed");
    std::sort(samples.begin(), samples.end());
    if (i == 0) continue;
    p50 = std::min(p50, Percentile(samples, 50));
    p99 = std::min(p99, Percentile(samples, 99));
  }
  Print(arguments.bench + "_p50", p50 / 1e3, "us");
  Print(arguments.bench + "_p99", p99 / 1e3, "us");
}

// The same pseudo-random numbers in every run and in every program of the report: Marsaglia's xorshift64.
class Xorshift {
 public:
  uint64_t Below(uint64_t bound) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % bound;
  }

 private:
  uint64_t state_ = 88172645463325252;
};

void SpawnJoin(const Arguments& arguments);
void Skynet(const Arguments& arguments);
void YieldTasks(const Arguments& arguments);
void RaceOfTwo(const Arguments& arguments);
void NotifyInTurns(const Arguments& arguments);
void CancelParked(const Arguments& arguments);
void CancelParkedSleep(const Arguments& arguments);
void CancelParkedTree(const Arguments& arguments);
void TimerWheel(const Arguments& arguments);
void SleepGivenUp(const Arguments& arguments);
void TcpRoundTrip(const Arguments& arguments);
void TcpRoundTrip64(const Arguments& arguments);
void TcpIdle10k(const Arguments& arguments);
// The same on io_uring, or on epoll where there is none.
void TcpRoundTripIoUring(const Arguments& arguments);
void TcpRoundTrip64IoUring(const Arguments& arguments);
void TcpIdle10kIoUring(const Arguments& arguments);
void TimersLive(const Arguments& arguments);
void TimerLateness(const Arguments& arguments);
void FirstDrainStep(const Arguments& arguments);
void FailingChain(const Arguments& arguments);
void ChannelRoundTrip(const Arguments& arguments);
void Mpsc4Producers(const Arguments& arguments);
void TrySend(const Arguments& arguments);
void ReserveSend(const Arguments& arguments);
void OneshotAlone(const Arguments& arguments);
void OneshotWake(const Arguments& arguments);
void ParkedBytes(const Arguments& arguments);
void ParkedBytesSleep(const Arguments& arguments);
void IdleCpu(const Arguments& arguments);
void Broadcast8(const Arguments& arguments);
void WatchPingPong(const Arguments& arguments);
void SessionCalls(const Arguments& arguments);
void MutexUncontended(const Arguments& arguments);
void MutexContended(const Arguments& arguments);
void MutexContendedYield(const Arguments& arguments);
void SemaphoreUncontended(const Arguments& arguments);
void SemaphoreContended(const Arguments& arguments);
void RwLockMostlyRead(const Arguments& arguments);
void ScaleTasks(const Arguments& arguments);
void ScaleRegions(const Arguments& arguments);
void ScaleDepth(const Arguments& arguments);
void RecorderOff(const Arguments& arguments);
void RecorderOn(const Arguments& arguments);
void RandomDraws(const Arguments& arguments);
void RateLimitUncontended(const Arguments& arguments);
void CircuitBreakerClosed(const Arguments& arguments);
void BulkheadUncontended(const Arguments& arguments);
void RetryNotNeeded(const Arguments& arguments);
void MapReduceItems(const Arguments& arguments);
void PipelineItems(const Arguments& arguments);

}  // namespace quiesce_bench

#endif  // QUIESCE_TESTING_BENCH_HARNESS_H_

// Our side of the benchmark report: see harness.h.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

struct Benchmark {
  const char* name;
  void (*run)(const Arguments&);
};

#if defined(QUIESCE_BENCH_WITHOUT_LEDGER)
constexpr Benchmark kBenchmarks[] = {{"reserve_send_ledger_off", &ReserveSend}};
#elif defined(QUIESCE_EVENTS_COMPILED_OUT)
constexpr Benchmark kBenchmarks[] = {{"recorder_compiled_out", &RecorderOff}};
#else
constexpr Benchmark kBenchmarks[] = {
    {"spawn_join", &SpawnJoin},
    {"skynet", &Skynet},
    {"yield", &YieldTasks},
    {"race", &RaceOfTwo},
    {"cancel_parked", &CancelParked},
    {"cancel_parked_sleep", &CancelParkedSleep},
    {"cancel_parked_tree", &CancelParkedTree},
    {"timer_wheel", &TimerWheel},
    {"sleep_given_up", &SleepGivenUp},
    {"timers_live", &TimersLive},
    {"timer_lateness", &TimerLateness},
    {"first_drain_step", &FirstDrainStep},
    {"failing_chain", &FailingChain},
    {"tcp_roundtrip", &TcpRoundTrip},
    {"tcp_roundtrip_64c", &TcpRoundTrip64},
    {"tcp_idle_10k", &TcpIdle10k},
    {"tcp_roundtrip_io_uring", &TcpRoundTripIoUring},
    {"tcp_roundtrip_64c_io_uring", &TcpRoundTrip64IoUring},
    {"tcp_idle_10k_io_uring", &TcpIdle10kIoUring},
    {"parked_bytes", &ParkedBytes},
    {"parked_bytes_sleep", &ParkedBytesSleep},
    {"idle_cpu", &IdleCpu},
    {"channel_roundtrip", &ChannelRoundTrip},
    {"mpsc_4p", &Mpsc4Producers},
    {"try_send", &TrySend},
    {"reserve_send", &ReserveSend},
    {"oneshot", &OneshotAlone},
    {"oneshot_wake", &OneshotWake},
    {"broadcast_8", &Broadcast8},
    {"watch", &WatchPingPong},
    {"session", &SessionCalls},
    {"mutex", &MutexUncontended},
    {"mutex_contended", &MutexContended},
    {"mutex_contended_yield", &MutexContendedYield},
    {"semaphore", &SemaphoreUncontended},
    {"semaphore_contended", &SemaphoreContended},
    {"rwlock", &RwLockMostlyRead},
    {"notify", &NotifyInTurns},
    {"scale_tasks", &ScaleTasks},
    {"scale_regions", &ScaleRegions},
    {"scale_depth", &ScaleDepth},
    {"recorder_off", &RecorderOff},
    {"recorder_on", &RecorderOn},
    {"random", &RandomDraws},
    {"rate_limit", &RateLimitUncontended},
    {"circuit_breaker", &CircuitBreakerClosed},
    {"bulkhead", &BulkheadUncontended},
    {"retry", &RetryNotNeeded},
    {"map_reduce", &MapReduceItems},
    {"pipeline", &PipelineItems},
};
#endif

#if defined(__clang__)
constexpr char kCompiler[] = __VERSION__;  // begins with its name
#else
constexpr char kCompiler[] = "g++ " __VERSION__;
#endif

[[noreturn]] void Usage(const std::string& problem) {
  std::fprintf(stderr,
               "%s\nusage: quiesce_bench --bench=NAME [--workers=N] [--n=COUNT] [--rounds=R] "
               "[--seconds=S]\n       quiesce_bench --compiler\nbenchmarks:",
               problem.c_str());
  for (const Benchmark& benchmark : kBenchmarks) std::fprintf(stderr, " %s", benchmark.name);
  std::fprintf(stderr, "\n");
  std::exit(2);
}

int64_t Number(const char* text, const std::string& flag) {
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value <= 0) {
    Usage(flag + " takes a positive whole number, not '" + text + "'");
  }
  return value;
}

// A figure of an unoptimised build says nothing, and looks as if it did.
void RefuseUnoptimisedBuild() {
#if !defined(NDEBUG) || !defined(__OPTIMIZE__)
  std::fprintf(stderr,
               "quiesce_bench: this is an unoptimised build, whose figures mean nothing. Build it "
               "with -c opt: ./bazelw run -c opt //testing/bench:report\n");
  std::exit(2);
#endif
}

int Main(int argc, char** argv) {
  RefuseUnoptimisedBuild();
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--compiler") {
      std::printf("%s\n", kCompiler);
      return 0;
    }
    const size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    if (equals == std::string::npos) Usage("unknown argument '" + argument + "'");
    const char* value = argv[i] + equals + 1;
    if (flag == "--bench") {
      arguments.bench = value;
    } else if (flag == "--workers") {
      arguments.workers = static_cast<uint32_t>(Number(value, flag));
    } else if (flag == "--n") {
      arguments.n = Number(value, flag);
    } else if (flag == "--rounds") {
      arguments.rounds = static_cast<int>(Number(value, flag));
    } else if (flag == "--seconds") {
      arguments.seconds = static_cast<int>(Number(value, flag));
    } else {
      Usage("unknown flag '" + flag + "'");
    }
  }
  for (const Benchmark& benchmark : kBenchmarks) {
    if (arguments.bench != benchmark.name) continue;
    benchmark.run(arguments);
    return 0;
  }
  Usage("unknown benchmark '" + arguments.bench + "'");
}

}  // namespace
}  // namespace quiesce_bench

int main(int argc, char** argv) { return quiesce_bench::Main(argc, argv); }

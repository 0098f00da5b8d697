// asio_peer: the Asio side of the benchmark report. README.md says what each benchmark does.
//
// Usage: asio_peer --bench=NAME --workers=N [--n=COUNT] [--rounds=R] [--seconds=S]
// Prints one line `NAME<TAB>VALUE<TAB>UNIT` for each figure on stdout; where several idioms were tried, the
// fastest is the figure and each of them is a `#` line on stderr.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "quiesce/testing/bench/peers/asio/src/harness.h"

namespace asio_peer {
namespace {

struct Benchmark {
  const char* name;
  size_t n;  // the default of --n
  void (*run)(const Arguments&);
};

constexpr Benchmark kBenchmarks[] = {
    {"spawn_join", 1'000'000, &SpawnJoin},
    {"yield", 1'000'000, &Yield},
    {"timer", 1'000'000, &OneTimer},
    {"timers_live", 1'000'000, &TimersLive},
    {"timer_lateness", 10'000, &TimerLateness},
    {"tcp_roundtrip", 50'000, &TcpRoundTrip},
    {"tcp_roundtrip_64c", 192'000, &TcpRoundTrip64},
    {"tcp_idle_10k", 192'000, &TcpIdle10k},
};

[[noreturn]] void Usage(const std::string& problem) {
  std::fprintf(stderr,
               "asio_peer: %s\nusage: asio_peer --bench=NAME --workers=N [--n=COUNT] [--rounds=R] "
               "[--seconds=S]\nbenches:",
               problem.c_str());
  for (const Benchmark& benchmark : kBenchmarks) std::fprintf(stderr, " %s", benchmark.name);
  std::fprintf(stderr, "\n");
  std::exit(2);
}

size_t Number(const std::string& argument, const char* text) {
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value <= 0) {
    Usage("'" + argument + "' needs a positive whole number");
  }
  return static_cast<size_t>(value);
}

#if !defined(ASIO_DISABLE_THREADS)

// Where one worker is all there is, an Asio program may do without threads altogether (ASIO_DISABLE_THREADS), which
// is a way of compiling it. So the same benchmark also runs in asio_peer_single, which is compiled so and lies
// beside this one; the better of the two is the figure.
void MergeProgramWithoutThreads(const Arguments& arguments) {
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = "'" + (self.parent_path() / "asio_peer_single").string() +
                              "' --bench=" + arguments.name + " --workers=1" +
                              " --n=" + std::to_string(arguments.n) +
                              " --rounds=" + std::to_string(arguments.rounds);
  std::FILE* output = popen(command.c_str(), "r");
  if (output == nullptr) Fail("cannot start " + command);
  char name[100];
  double value = 0;
  while (std::fscanf(output, "%99s %lf %*s", name, &value) == 2) {
    for (Figure& figure : Figures()) {
      if (figure.name == name) figure.value = std::min(figure.value, value);
    }
  }
  if (pclose(output) != 0) Fail("it failed: " + command);
}

#endif

int Main(int argc, char** argv) {
  Arguments arguments;
  const Benchmark* chosen = nullptr;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) Usage("'" + argument + "' is not --FLAG=VALUE");
    const std::string flag = argument.substr(0, equals);
    const char* value = argv[i] + equals + 1;
    if (flag == "--bench") {
      for (const Benchmark& benchmark : kBenchmarks) {
        if (benchmark.name == std::string(value)) chosen = &benchmark;
      }
      if (chosen == nullptr) Usage("no benchmark '" + std::string(value) + "'");
    } else if (flag == "--workers") {
      arguments.workers = Number(argument, value);
    } else if (flag == "--n") {
      arguments.n = Number(argument, value);
    } else if (flag == "--rounds") {
      arguments.rounds = Number(argument, value);
    } else if (flag == "--seconds") {
      Number(argument, value);  // no benchmark here has a window of time
    } else {
      Usage("unknown flag '" + flag + "'");
    }
  }
  if (chosen == nullptr) Usage("--bench=NAME is missing");
  if (arguments.workers == 0) Usage("--workers=N is missing");
  arguments.name = chosen->name;
  if (arguments.n == 0) arguments.n = chosen->n;
  chosen->run(arguments);
#if !defined(ASIO_DISABLE_THREADS)
  if (arguments.workers == 1) MergeProgramWithoutThreads(arguments);
#endif
  for (const Figure& figure : Figures()) {
    std::printf("%s\t%.2f\t%s\n", figure.name.c_str(), figure.value, figure.unit.c_str());
  }
  return 0;
}

}  // namespace
}  // namespace asio_peer

int main(int argc, char** argv) { return asio_peer::Main(argc, argv); }

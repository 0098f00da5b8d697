// harness.h: what every benchmark of the Asio peer shares: contexts, rounds, the fastest of several idioms.
//
// Example: ReportBest(arguments, SharedContext(arguments.workers), {{"post", &PostFunctions}});
#ifndef QUIESCE_TESTING_BENCH_PEERS_ASIO_HARNESS_H_
#define QUIESCE_TESTING_BENCH_PEERS_ASIO_HARNESS_H_

#include <asio.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace asio_peer {

struct Arguments {
  std::string name;
  size_t workers = 0;
  size_t n = 0;
  size_t rounds = 5;
};

// Named types instead of the type-erased any_io_executor of Asio's defaults, which costs an indirection for
// each operation.
using Executor = asio::io_context::executor_type;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Executor>;
template <class T>
using Task = asio::awaitable<T, Executor>;
constexpr asio::use_awaitable_t<Executor> kAwait;

using std::chrono::steady_clock;

inline double NowNs() {
  return static_cast<double>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now().time_since_epoch())
          .count());
}

// One context that all threads run, or one for each thread.
class Pool {
 public:
  Pool(size_t contexts, int concurrency_hint, size_t threads_for_each);

  size_t size() const { return contexts_.size(); }
  asio::io_context& context(size_t i = 0) { return *contexts_[i]; }

  // Runs what has been posted, and what that leads to, until nothing is left. Returns the nanoseconds from the
  // moment when all threads were ready until the last one had nothing left to do.
  double Run();
  // When the last Run began, as NowNs.
  double started_at() const { return started_at_; }

 private:
  std::vector<std::unique_ptr<asio::io_context>> contexts_;
  const size_t threads_for_each_;
  double started_at_ = 0;
};

// A way to set up contexts: what it adds to an idiom's name, and what makes it.
struct Kind {
  std::string name;
  size_t contexts;
  int concurrency_hint;
  size_t threads_for_each;
};

// One context for all workers; in the program without threads, without any lock.
std::vector<Kind> SharedContext(size_t workers);
// A context for each worker, without any lock.
std::vector<Kind> OwnContexts(size_t workers);

// An idiom for a benchmark; its round yields the nanoseconds that its measured part took.
struct Idiom {
  std::string name;
  double (*round)(Pool&, size_t n);
  bool coroutine = false;
};

// One line of the output.
struct Figure {
  std::string name;
  double value;
  std::string unit;
};
// What the Report functions have found so far.
std::vector<Figure>& Figures();

// For each idiom and kind, on contexts of their own, one round that is thrown away, then the least of `rounds`;
// the least of all is the figure NAME, divided by n and by `ns_per_unit`. Where there are both coroutines and
// callbacks, the best of the coroutines is NAME_coroutine.
void ReportBest(const Arguments& arguments, const std::vector<Kind>& kinds,
                const std::vector<Idiom>& idioms, const char* unit = "ns/op",
                double ns_per_unit = 1);

// The same for latencies: a round yields all of them, in nanoseconds. The figures are NAME_p50 and NAME_p99, in us.
struct Sampler {
  std::string name;
  std::vector<double> (*round)(Pool&, size_t n);
};
void ReportPercentiles(const Arguments& arguments, const std::vector<Kind>& kinds,
                       const std::vector<Sampler>& idioms);

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

// `problem` on stderr, exit code 1: a bug, or a machine on which this benchmark cannot run.
[[noreturn]] void Fail(const std::string& problem);

void SpawnJoin(const Arguments& arguments);
void Yield(const Arguments& arguments);
void OneTimer(const Arguments& arguments);
void TimersLive(const Arguments& arguments);
void TimerLateness(const Arguments& arguments);
void TcpRoundTrip(const Arguments& arguments);
void TcpRoundTrip64(const Arguments& arguments);
void TcpIdle10k(const Arguments& arguments);

}  // namespace asio_peer

#endif  // QUIESCE_TESTING_BENCH_PEERS_ASIO_HARNESS_H_

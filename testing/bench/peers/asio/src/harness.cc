#include "quiesce/testing/bench/peers/asio/src/harness.h"

#include <algorithm>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace asio_peer {
namespace {

constexpr double kNone = 1e300;

// The least of `sorted` that at least `percent` of a hundred do not exceed, in microseconds.
double PercentileUs(const std::vector<double>& sorted, size_t percent) {
  return sorted[(sorted.size() * percent + 99) / 100 - 1] / 1e3;
}

Pool NewPool(const Kind& kind) {
  return Pool(kind.contexts, kind.concurrency_hint, kind.threads_for_each);
}

}  // namespace

Pool::Pool(size_t contexts, int concurrency_hint, size_t threads_for_each)
    : threads_for_each_(threads_for_each) {
  for (size_t i = 0; i < contexts; ++i) {
    contexts_.push_back(std::make_unique<asio::io_context>(concurrency_hint));
  }
}

std::vector<Figure>& Figures() {
  static std::vector<Figure> figures;
  return figures;
}

double Pool::Run() {
  const size_t count = contexts_.size() * threads_for_each_;
  std::barrier ready(static_cast<std::ptrdiff_t>(count),
                     [this]() noexcept { started_at_ = NowNs(); });
  std::vector<double> ended(count);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      ready.arrive_and_wait();
      contexts_[i / threads_for_each_]->run();
      ended[i] = NowNs();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& context : contexts_) context->restart();
  return *std::max_element(ended.begin(), ended.end()) - started_at_;
}

std::vector<Kind> SharedContext(size_t workers) {
#if defined(ASIO_DISABLE_THREADS)
  if (workers != 1) Fail("the program without threads has one worker");
  return {{", without threads", 1, ASIO_CONCURRENCY_HINT_UNSAFE, 1}};
#else
  return {{"", 1, static_cast<int>(workers), workers}};
#endif
}

std::vector<Kind> OwnContexts(size_t workers) {
  return {{", own context", workers, ASIO_CONCURRENCY_HINT_UNSAFE, 1}};
}

void ReportBest(const Arguments& arguments, const std::vector<Kind>& kinds,
                const std::vector<Idiom>& idioms, const char* unit, double ns_per_unit) {
  double callbacks = kNone;
  double coroutines = kNone;
  for (const Idiom& idiom : idioms) {
    for (const Kind& kind : kinds) {
      Pool pool = NewPool(kind);
      double least = kNone;
      for (size_t i = 0; i <= arguments.rounds; ++i) {
        const double ns = idiom.round(pool, arguments.n) / static_cast<double>(arguments.n);
        if (i > 0) least = std::min(least, ns);
      }
      std::fprintf(stderr, "# %s %s%s: %.1f ns/op\n", arguments.name.c_str(), idiom.name.c_str(),
                   kind.name.c_str(), least);
      double& best = idiom.coroutine ? coroutines : callbacks;
      best = std::min(best, least);
    }
  }
  Figures().push_back({arguments.name, std::min(callbacks, coroutines) / ns_per_unit, unit});
  if (callbacks < kNone && coroutines < kNone) {
    Figures().push_back({arguments.name + "_coroutine", coroutines / ns_per_unit, unit});
  }
}

void ReportPercentiles(const Arguments& arguments, const std::vector<Kind>& kinds,
                       const std::vector<Sampler>& idioms) {
  double p50 = kNone;
  double p99 = kNone;
  for (const Sampler& idiom : idioms) {
    for (const Kind& kind : kinds) {
      Pool pool = NewPool(kind);
      double p50_here = kNone;
      double p99_here = kNone;
      for (size_t i = 0; i <= arguments.rounds; ++i) {
        std::vector<double> samples = idiom.round(pool, arguments.n);
        std::sort(samples.begin(), samples.end());
        if (i == 0) continue;
        p50_here = std::min(p50_here, PercentileUs(samples, 50));
        p99_here = std::min(p99_here, PercentileUs(samples, 99));
      }
      std::fprintf(stderr, "# %s %s%s: p50 %.2f us, p99 %.2f us\n", arguments.name.c_str(),
                   idiom.name.c_str(), kind.name.c_str(), p50_here, p99_here);
      p50 = std::min(p50, p50_here);
      p99 = std::min(p99, p99_here);
    }
  }
  Figures().push_back({arguments.name + "_p50", p50, "us"});
  Figures().push_back({arguments.name + "_p99", p99, "us"});
}

void Fail(const std::string& problem) {
  std::fprintf(stderr, "asio_peer: %s\n", problem.c_str());
  std::exit(1);
}

}  // namespace asio_peer

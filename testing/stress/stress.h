// stress.h: what the stress tests share: a seed that is printed, a size that can be turned up, a watchdog.
//
// Environment: QUIESCE_STRESS_SEED=n      repeats a run's choices (not the threads' interleaving)
//              QUIESCE_STRESS_SECONDS=n   how long each open-ended test goes on; default 2
#ifndef QUIESCE_TESTING_STRESS_STRESS_H_
#define QUIESCE_TESTING_STRESS_STRESS_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "quiesce/runtime/base/sanitizers.h"
#include "quiesce/runtime/runtime.h"

namespace quiesce::stress {

inline uint64_t Seed() {
  static const uint64_t seed = [] {
    const char* given = std::getenv("QUIESCE_STRESS_SEED");
    const uint64_t value =
        given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::printf("QUIESCE_STRESS_SEED=%llu\n", static_cast<unsigned long long>(value));
    std::fflush(stdout);
    return value;
  }();
  return seed;
}

// Sanitizers make everything slower; the shapes stay, the numbers shrink.
inline constexpr bool kSlow = QUIESCE_ASAN || QUIESCE_TSAN;

// For loops that go on for a while: `while (clock.Going())`.
class Duration {
 public:
  Duration() {
    const char* given = std::getenv("QUIESCE_STRESS_SECONDS");
    end_ = std::chrono::steady_clock::now() +
           std::chrono::milliseconds(given != nullptr ? std::atoll(given) * 1000 : 2000);
  }
  bool Going() const { return std::chrono::steady_clock::now() < end_; }

 private:
  std::chrono::steady_clock::time_point end_;
};

// SplitMix64: small enough to be one per task.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // 0 … n-1.
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(Next() % n); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

 private:
  uint64_t state_;
};

// Ends a test that hangs, with the region tree, before the test runner does without. Generous: sanitizers on a
// busy machine are slow.
class Watchdog {
 public:
  explicit Watchdog(Runtime* runtime, int seconds = 50)
      : thread_([this, runtime, seconds] {
          std::unique_lock<std::mutex> lock(mutex_);
          if (changed_.wait_for(lock, std::chrono::seconds(seconds), [this] { return done_; })) {
            return;
          }
          std::fprintf(stderr, "stress: no end after %d s, QUIESCE_STRESS_SEED=%llu\n%s", seconds,
                       static_cast<unsigned long long>(Seed()), runtime->DumpRegions().c_str());
          std::abort();
        }) {}
  ~Watchdog() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

inline std::unique_ptr<Runtime> MakeRuntime(uint32_t workers, ReportSink* reports = nullptr) {
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::Create(
      RuntimeOptions().WithWorkers(workers).WithName("stress").WithReports(reports));
  if (!runtime.ok()) {
    std::fprintf(stderr, "stress: %s\n", runtime.status().ToString().c_str());
    std::abort();
  }
  return *std::move(runtime);
}

}  // namespace quiesce::stress

#endif  // QUIESCE_TESTING_STRESS_STRESS_H_

// There is more to do than the workers can: how soon does a task that is cancelled run again?
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

constexpr int kBusyTasks = 1'000;
constexpr double kSpinNs = 1'000;

struct Sample {
  std::optional<TaskHandle<void>> task;
  std::atomic<bool> stepped{false};
  double stepped_at = 0;  // before `stepped`
};

struct Load {
  std::atomic<int> begun{0};
  std::atomic<bool> stop{false};
};

Task<void> Busy(Cx cx, Load* load) {
  load->begun.fetch_add(1, std::memory_order_relaxed);
  while (!load->stop.load(std::memory_order_relaxed)) {
    const double start = NowNs();
    while (NowNs() - start < kSpinNs) {
    }
    co_await OrReturn(Yield(cx));
  }
  co_return Ok();
}

Task<void> Parked(Cx cx, Sample* sample) {
  Outcome<void> ended = co_await SleepUntil(cx, Instant::InfiniteFuture());
  sample->stepped_at = NowNs();
  sample->stepped.store(true, std::memory_order_release);
  sample->stepped.notify_one();
  co_return ended;
}

// On a thread that is no worker. The pauses spread the samples over what the workers happen to do.
void CancelOneByOne(std::vector<Sample>* samples, Load* load, std::vector<double>* waited) {
  Xorshift random;
  while (load->begun.load(std::memory_order_relaxed) < kBusyTasks) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (Sample& sample : *samples) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(100'000 + random.Below(1'000'000)));
    const double start = NowNs();
    sample.task->Cancel();
    sample.stepped.wait(false, std::memory_order_acquire);
    waited->push_back(sample.stepped_at - start);
  }
  load->stop.store(true, std::memory_order_relaxed);
}

Task<std::vector<double>> Round(Cx cx, int64_t n) {
  std::vector<Sample> samples(static_cast<size_t>(n));
  Load load;
  std::vector<double> waited;
  waited.reserve(samples.size());
  for (Sample& sample : samples) sample.task.emplace(cx.Spawn("parked", Parked, &sample));
  std::vector<TaskHandle<void>> busy;
  for (int i = 0; i < kBusyTasks; ++i) busy.push_back(cx.Spawn("busy", Busy, &load));
  std::thread outside(CancelOneByOne, &samples, &load, &waited);
  // Nothing here ends this task early: nobody cancels it, and a round that fails has no figure.
  for (TaskHandle<void>& task : busy) (void)co_await task.Join(cx);
  outside.join();
  for (Sample& sample : samples) (void)co_await sample.task->Join(cx);
  co_return waited;
}

}  // namespace

void FirstDrainStep(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(200);
  ReportPercentiles(arguments, [n](Cx cx) { return Round(cx, n); });
}

}  // namespace quiesce_bench

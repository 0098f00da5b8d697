#include "quiesce/runtime/runtime.h"

#include <signal.h>

#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/blocking/blocking_pool.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/scheduler/worker_pool.h"
#include "quiesce/runtime/scheduler/worker_random.h"
#include "quiesce/runtime/signal/signal_hub.h"
#include "quiesce/runtime/task/async_stack.h"

namespace quiesce {
inline namespace v0 {
namespace {

class StderrReports final : public ReportSink {
 public:
  void Report(const std::string& text) override {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }
};

StderrReports& DefaultReports() {
  static auto* reports = new StderrReports();
  return *reports;
}

const char* NameOf(int signal_number) { return signal_number == SIGINT ? "SIGINT" : "SIGTERM"; }

}  // namespace

std::string DrainReport::ToString() const {
  return absl::StrCat("drained ", tasks_drained, tasks_drained == 1 ? " task" : " tasks",
                      ", cut off ", tasks_cut_off, ", ran ", finalizers_run,
                      finalizers_run == 1 ? " finalizer" : " finalizers", ", in ",
                      absl::FormatDuration(absl::Trunc(time, absl::Microseconds(1))));
}

struct Runtime::State {
  RuntimeServices services;
  RuntimeCounters counters;
  std::unique_ptr<WorkerPool> pool;
  std::unique_ptr<WorkerRandom> random;
  std::unique_ptr<BlockingPool> blocking;
  std::unique_ptr<SignalHub> signals;
  ThreadMutex mutex;
  IntrusiveList<RegionCore, SiblingHook> roots ABSL_GUARDED_BY(mutex);

  // With a reference to each.
  std::vector<RegionCore*> Roots() {
    std::vector<RegionCore*> all;
    ThreadMutexLock lock(mutex);
    for (RegionCore* root = roots.front(); root != nullptr; root = roots.Next(root)) {
      root->Ref();
      all.push_back(root);
    }
    return all;
  }

  void Shutdown(const Budget& drain, absl::string_view message) {
    for (RegionCore* root : Roots()) {
      {
        const RegionCore::OutsideCall call(root);
        if (!call.region_closed()) root->Cancel(CancelKind::kShutdown, message, drain);
      }
      root->Unref();
    }
  }

  std::string DumpRegions() {
    std::string text;
    for (RegionCore* root : Roots()) {
      text += root->Dump();
      root->Unref();
    }
    return text + DescribeRunningTasks();
  }
};

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Create(const RuntimeOptions& options) {
  auto state = std::make_unique<State>();
  WorkerPoolOptions pool_options;
  pool_options.workers = options.workers();
  pool_options.name = options.name();
  pool_options.io = options.io();
  pool_options.housekeeping = [](void*) { RegionCore::FlushEndedTasks(); };
  absl::StatusOr<std::unique_ptr<WorkerPool>> pool = WorkerPool::Create(pool_options);
  if (!pool.ok()) return pool.status();
  state->pool = *std::move(pool);
  state->services.scheduler = state->pool.get();
  state->services.clock = state->pool.get();
  state->services.poller = state->pool.get();
  state->random = std::make_unique<WorkerRandom>(state->pool.get(), options.seed());
  state->services.random = state->random.get();
  state->services.counters = &state->counters;
  state->services.reports = options.reports() != nullptr ? options.reports() : &DefaultReports();
  if (options.blocking_threads() > 0) {  // a pool of none would run the calls on the workers
    state->blocking = std::make_unique<BlockingPool>(
        BlockingPoolOptions().WithMaxThreads(options.blocking_threads()));
    state->services.blocking = state->blocking.get();
  }
  absl::Status started = state->pool->Start();
  if (!started.ok()) return started;
  if (options.signals()) {
    absl::StatusOr<std::unique_ptr<SignalHub>> hub = SignalHub::Create(
        SignalHubOptions()
            .WithOwner(options.name())
            .WithOnUnclaimed(
                [](int signal_number, void* argument) {
                  static_cast<State*>(argument)->Shutdown(Budget(), NameOf(signal_number));
                },
                state.get())
            .WithOnDump(
                [](void* argument) {
                  auto* dumped = static_cast<State*>(argument);
                  dumped->services.reports->Report("quiesce: the live region tree (SIGQUIT)\n" +
                                                   dumped->DumpRegions());
                },
                state.get()));
    if (!hub.ok()) return hub.status();
    state->signals = *std::move(hub);
    state->services.signals = state->signals.get();
  }
  return std::unique_ptr<Runtime>(new Runtime(std::move(state)));
}

Runtime::Runtime(std::unique_ptr<State> state) : state_(std::move(state)) {}

Runtime::~Runtime() {
  {
    ThreadMutexLock lock(state_->mutex);
    QUIESCE_CHECK(state_->roots.empty(), "a Runtime was destroyed while a BlockOn of it runs");
  }
  state_->signals.reset();  // may be printing a dump
  state_->pool->Stop();
}

const RuntimeServices& Runtime::services() const { return state_->services; }
const RuntimeCounters& Runtime::counters() const { return state_->counters; }

void Runtime::Shutdown(const Budget& drain, absl::string_view message) {
  state_->Shutdown(drain, message);
}

std::string Runtime::DumpRegions() { return state_->DumpRegions(); }

// --- one BlockOn ---------------------------------------------------------------------------------

struct Runtime::Root::RootState {
  Runtime* runtime = nullptr;
  RegionCore* core = nullptr;
  DrainStats stats;
  Instant closed_at;
  ThreadMutex mutex;
  ThreadCondition changed;
  bool quiescent ABSL_GUARDED_BY(mutex) = false;
};

Runtime::Root::Root(Runtime* runtime) : state_(std::make_unique<RootState>()) {
  State& state = *runtime->state_;
  if (state.pool->current_worker() != Scheduler::kNoWorker) {
    Fatal(
        "Runtime::BlockOn was called on a worker of the same runtime, which it would block: use "
        "co_await, or Cx::Spawn");
  }
  state_->runtime = runtime;
  state_->core = RegionCore::NewRoot(&state.services, "runtime", &state_->stats);
  state_->core->on_quiescent_argument = state_.get();
  state_->core->on_quiescent = [](RegionCore* core) {
    auto* root = static_cast<RootState*>(core->on_quiescent_argument);
    ThreadMutexLock lock(root->mutex);
    root->quiescent = true;
    root->changed.NotifyAll();
  };
  {
    ThreadMutexLock lock(state.mutex);
    state.roots.PushBack(state_->core);
  }
  // The process may have been asked to end before there was a root. The hub stores that before it takes
  // the mutex to cancel the roots: either it finds this one, or what it stored is seen here.
  const int asked = state.signals == nullptr ? 0 : state.signals->unclaimed_signal();
  if (asked != 0) state_->core->Cancel(CancelKind::kShutdown, NameOf(asked), Budget());
}

Runtime::Root::~Root() { state_->core->Unref(); }

RegionScope* Runtime::Root::scope() { return state_->core; }
const Authority* Runtime::Root::authority() { return &state_->core->authority(); }

void Runtime::Root::Wait() {
  if (!state_->core->TryCloseCount() && state_->core->ParkCloser(nullptr)) {
    ThreadMutexLock lock(state_->mutex);
    while (!state_->quiescent) state_->changed.Wait(state_->mutex);
  }
  State& state = *state_->runtime->state_;
  {
    ThreadMutexLock lock(state.mutex);
    state.roots.Remove(state_->core);
  }
  state_->closed_at = state.pool->Now();
  // The outcome is the main task's: this region only counts.
  (void)state_->core->Close();
}

void Runtime::Root::FillReport(DrainReport* report) {
  const DrainStats& stats = state_->stats;
  const int64_t first = stats.first_request_ns.load(std::memory_order_relaxed);
  report->cancelled = first != 0;
  report->tasks_cut_off = stats.tasks_cut_off.load(std::memory_order_relaxed);
  report->tasks_drained = stats.tasks_drained.load(std::memory_order_relaxed);
  report->finalizers_run = stats.finalizers_run.load(std::memory_order_relaxed);
  report->time = first == 0 ? absl::ZeroDuration() : state_->closed_at - Instant::FromNanos(first);
}

}  // namespace v0
}  // namespace quiesce

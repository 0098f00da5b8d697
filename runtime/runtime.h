// runtime.h: the threads, the clock and the poller that regions live on.
//
// Example:    auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(4));
//             if (!runtime.ok()) return Fail(runtime.status());
//             Outcome<int> answer = (*runtime)->BlockOn([](Cx cx) -> Task<int> { co_return 42; });
// Embedding:  several runtimes may live in one process; none touches anything process-wide unless it
//             was made WithSignals. A program that has a main of its own calls BlockOn from any of its
//             threads, and hands foreign callbacks a Completion (sync/completion.h) or a RegionRef.
// Fork, exit: fork() in a process with a Runtime leaves the child without its threads: the child may only
//             exec or _exit. Destroy every Runtime before main returns or exit() runs; its
//             destructor waits for the workers, and BlockOn has waited for every task before.
// Threads:    Create and the destructor on one thread at a time; BlockOn, Shutdown and DumpRegions on any
//             thread that is not a worker (Shutdown and DumpRegions: on any).
#ifndef QUIESCE_RUNTIME_RUNTIME_H_
#define QUIESCE_RUNTIME_RUNTIME_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "quiesce/runtime/reactor/io_backend.h"
#include "quiesce/runtime/region/region.h"

namespace quiesce {
inline namespace v0 {

class RuntimeOptions {
 public:
  RuntimeOptions() = default;

  // Worker threads; 0: one for each processor that the process may use.
  RuntimeOptions& WithWorkers(uint32_t workers) {
    workers_ = workers;
    return *this;
  }
  // Prefix of the threads' names. A literal.
  RuntimeOptions& WithName(const char* name) {
    name_ = name;
    return *this;
  }
  // At most so many threads for RunBlocking. 0: none, and RunBlocking is refused with
  // Error(kFailedPrecondition): it never runs on a worker.
  RuntimeOptions& WithBlockingThreads(uint32_t threads) {
    blocking_threads_ = threads;
    return *this;
  }
  // Who tells that a descriptor is ready. kIoUring: Create is refused with Error(kUnavailable) where the kernel has none or
  // forbids it; kAuto takes epoll then.
  RuntimeOptions& WithIo(IoBackend io) {
    io_ = io;
    return *this;
  }
  // Takes over SIGINT, SIGTERM and SIGQUIT of the process, for ShutdownSignal and dumps. A SIGINT or
  // SIGTERM that comes before any task has called ShutdownSignal is a kShutdown request to the root
  // region of each BlockOn, of those that begin later too.
  RuntimeOptions& WithSignals() {
    signals_ = true;
    return *this;
  }
  // The same randomness (random/random.h) in every run, so that a program with one worker, and without
  // input from elsewhere, draws the same values again. Without it the system's entropy is the seed.
  RuntimeOptions& WithSeed(uint64_t seed) {
    seed_ = seed;
    return *this;
  }
  // Where stall reports go; stderr by default. Outlives the runtime.
  RuntimeOptions& WithReports(ReportSink* reports) {
    reports_ = reports;
    return *this;
  }

  uint32_t workers() const { return workers_; }
  const char* name() const { return name_; }
  uint32_t blocking_threads() const { return blocking_threads_; }
  IoBackend io() const { return io_; }
  bool signals() const { return signals_; }
  std::optional<uint64_t> seed() const { return seed_; }
  ReportSink* reports() const { return reports_; }

 private:
  uint32_t workers_ = 0;
  const char* name_ = "quiesce";
  uint32_t blocking_threads_ = 64;
  IoBackend io_ = IoBackend::kEpoll;
  bool signals_ = false;
  std::optional<uint64_t> seed_;
  ReportSink* reports_ = nullptr;
};

// What the shutdown of one BlockOn did. A shutdown is a request that is aimed at the root region or at one
// of its tasks: by Runtime::Shutdown, by an unclaimed signal, by cancelling a task that the body has spawned
// into the root region (`server.Cancel()`), by RegionRef, by fail-fast, deadline or quota of the root region.
// Requests that are aimed further down, such as the timeout of one connection in a region of its own, do
// not begin the report, and what they drain and cut off is not in it.
struct DrainReport {
  bool cancelled = false;     // was there a shutdown?
  int64_t tasks_drained = 0;  // ended after a shutdown had reached them, and were not cut off by it
  // Had a wait fail because what the shutdown gave them for the drain was spent; also a finalizer of the
  // root region whose time was up.
  int64_t tasks_cut_off = 0;
  int64_t finalizers_run = 0;  // since the first request
  absl::Duration time;         // from the first request to the close

  // "drained 1000 tasks, cut off 0, ran 3 finalizers, in 12.3ms"
  std::string ToString() const;
};

class Runtime {
 public:
  // Error(kResourceExhausted): threads or descriptors; Error(kAlreadyExists): the signals of the process
  // belong to another runtime; Error(kUnavailable): WithIo.
  static absl::StatusOr<std::unique_ptr<Runtime>> Create(
      const RuntimeOptions& options = RuntimeOptions());
  // No BlockOn may be running.
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Runs body(cx), a Task<T>, as the body of a root region, and returns when that region has closed.
  // `report`, if given, says what a shutdown did. Blocks the calling thread; fatal on a worker.
  template <class Body>
  auto BlockOn(Body&& body, DrainReport* report = nullptr);

  // Asks every root region to stop, as the process does when it is asked to end. Does not wait.
  void Shutdown(const Budget& drain = Budget(), absl::string_view message = "Runtime::Shutdown");

  // The live region tree: each region's phase and budget, each parked task with what it waits for, for
  // how long, and its async stack.
  std::string DumpRegions();

  // Permits that were leaked or had to be revoked: for metrics. Both are mistakes in the program.
  const RuntimeCounters& counters() const;

  const RuntimeServices& services() const;

 private:
  struct State;
  explicit Runtime(std::unique_ptr<State> state);

  // One BlockOn: the region above the root, and who waits for it.
  class Root {
   public:
    explicit Root(Runtime* runtime);
    ~Root();
    RegionScope* scope();
    const Authority* authority();
    // Returns once everything below has ended.
    void Wait();
    void FillReport(DrainReport* report);

   private:
    struct RootState;
    std::unique_ptr<RootState> state_;
  };

  template <class T, class Body>
  static Task<T> Drive(Cx cx, Body* body) {
    co_return co_await Region::Open(cx, "root", *body);
  }

  std::unique_ptr<State> state_;
};

template <class Body>
auto Runtime::BlockOn(Body&& body, DrainReport* report) {
  using B = std::remove_reference_t<Body>;
  using T = typename spawn_internal::TaskValue<std::invoke_result_t<B&, Cx>>::type;
  Root root(this);
  auto main = spawn_internal::SpawnFromOutside(root.scope(), root.authority(), /*cx_flags=*/0,
                                               SpawnName("main"), &Drive<T, B>, &body);
  root.Wait();
  if (report != nullptr) root.FillReport(report);
  return std::move(main).TakeOutcome();
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_RUNTIME_H_

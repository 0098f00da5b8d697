// fixture.h: what the tests of the rules (DESIGN.md, sections 3 and 4) share.
//
// Why:        a rule is tested by bringing a region into a state and pushing it: that needs places where a
//             task can be held, and ways to know that it has come there. Nothing here sleeps.
// Example:    TestRuntime rt;
//             Gate gate;
//             Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
//               cx.Spawn("held", HoldAt, &gate);
//               co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
//               gate.Open();
//               co_return Ok();
//             });
#ifndef QUIESCE_TESTING_RULES_FIXTURE_H_
#define QUIESCE_TESTING_RULES_FIXTURE_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#ifdef QUIESCE_IN_LAB
#include "quiesce/testing/lab/lab.h"
#include "quiesce/testing/lab/lab_runtime.h"
#endif

namespace quiesce {
namespace rules {

// --- a runtime -----------------------------------------------------------------------------------

// Keeps the reports of a runtime.
class Reports final : public ReportSink {
 public:
  void Report(const std::string& text) override {
    ThreadMutexLock lock(mutex_);
    all_.push_back(text);
  }
  std::vector<std::string> All() {
    ThreadMutexLock lock(mutex_);
    return all_;
  }
  // Has one of them said `text`?
  bool Said(absl::string_view text) {
    ThreadMutexLock lock(mutex_);
    for (const std::string& report : all_) {
      if (absl::StrContains(report, text)) return true;
    }
    return false;
  }
  bool empty() {
    ThreadMutexLock lock(mutex_);
    return all_.empty();
  }

 private:
  ThreadMutex mutex_;
  std::vector<std::string> all_ ABSL_GUARDED_BY(mutex_);
};

#ifdef QUIESCE_IN_LAB

// Each Run is one execution in the lab: the next that its seeds give.
class Runner {
 public:
  explicit Runner(uint32_t) {}

  template <class Body>
  auto Run(Body&& body) {
    using T = typename std::invoke_result_t<Body&, Cx>::value_type;
    std::optional<Outcome<T>> outcome;
    const LabResult result =
        RunLab(Explore::Walk(1).WithSeed(++seed_).WithReports(&reports).WithoutRepeating(),
               [&](Cx cx) -> Task<void> {
                 outcome.emplace(co_await Region::Open(cx, "root", body));
                 co_return Ok();
               });
    EXPECT_TRUE(result.ok()) << result.failure;
    counters_.permits_leaked = result.permits_leaked;
    counters_.permits_revoked = result.permits_revoked;
    if (!outcome.has_value()) outcome.emplace(absl::InternalError("the lab has not run it"));
    return *std::move(outcome);
  }

  // What tests ask of a Runtime.
  const Runner* operator->() const { return this; }
  std::string DumpRegions() const { return lab::LabRuntime::Current()->Dump(); }
  const RuntimeCounters& counters() const { return counters_; }

  Reports reports;

 private:
  inline static uint64_t seed_ = 0;
  RuntimeCounters counters_;
};

#else

class Runner {
 public:
  explicit Runner(uint32_t workers)
      : runtime_(
            Runtime::Create(RuntimeOptions().WithWorkers(workers).WithReports(&reports)).value()) {}

  // Runs body(cx) in a root region and returns its outcome once everything has ended.
  template <class Body>
  auto Run(Body&& body, DrainReport* report = nullptr) {
    return runtime_->BlockOn(std::forward<Body>(body), report);
  }
  Runtime& operator*() { return *runtime_; }
  Runtime* operator->() { return runtime_.get(); }

  Reports reports;

 private:
  std::unique_ptr<Runtime> runtime_;
};

#endif

class TestRuntime : public Runner {
 public:
  explicit TestRuntime(uint32_t workers = 2) : Runner(workers) {}

  // Opens a region 'r' below the root and returns *its* outcome: that of Run is Ok where the cause of a
  // Cancelled lies inside the root.
  template <class Body>
  auto Open(Body&& body, RegionPolicy policy = FailFast(),
            RegionOptions options = RegionOptions()) {
    using T = typename std::invoke_result_t<Body&, Cx>::value_type;
    std::optional<Outcome<T>> outcome;
    Outcome<void> root = Run([&](Cx cx) -> Task<void> {
      outcome.emplace(co_await Region::Open(cx, "r", body, policy, options));
      co_return Ok();
    });
    EXPECT_TRUE(root.ok()) << root.ToString();
    return *std::move(outcome);
  }

  // How many tasks are parked in `wait`, "Mutex::Lock"; with one worker they then are in its queue.
  int Parked(absl::string_view wait) {
    const std::string dump = (*this)->DumpRegions();
    const std::string line = absl::StrCat("in ", wait);
    int count = 0;
    for (size_t at = dump.find(line); at != std::string::npos; at = dump.find(line, at + 1)) {
      ++count;
    }
    return count;
  }
  // Yields until so many are. Goes on while cancelled.
  Task<void> UntilParked(Cx cx, std::string wait, int tasks = 1) {
    while (Parked(wait) < tasks) (void)co_await Yield(cx.ForDrain());
    co_return Ok();
  }
};

// A test on as many workers as its parameter says.
class WorkersTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  // Runs body(cx), which has to end Ok.
  template <class Body>
  void Run(Body&& body) {
    const Outcome<void> ended = rt.Run(std::forward<Body>(body));
    EXPECT_TRUE(ended.ok()) << ended.ToString();
  }
  TestRuntime rt{GetParam()};
};

// A test of what ends the process, on one worker.
class OneWorkerDeathTest : public ::testing::Test {
 protected:
  OneWorkerDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  template <class Body>
  static void RunOnce(Body&& body) {
    (void)TestRuntime(1).Run(std::forward<Body>(body));
  }
};

// --- where tasks are held ------------------------------------------------------------------------

// Holds the tasks that pass until it is opened, from any thread. It stays open.
class Gate {
 public:
  void Open() {
    SpinLockHolder lock(lock_);
    open_ = true;
    while (Waiter* waiter = waiters_.PopFront()) {
      --waiting_;
      waiter->Grant();  // or it is being cancelled
    }
  }
  // How many tasks are held, or about to be.
  int waiting() {
    SpinLockHolder lock(lock_);
    return waiting_;
  }

  template <bool structural>
  class PassOp {
   public:
    using Value = void;
    static constexpr const char* kName = "Gate::Pass";
    static constexpr bool kStructural = structural;
    explicit PassOp(Gate* gate) : gate_(gate) {}
    bool Try(Waiter&, std::optional<Outcome<void>>& result) {
      SpinLockHolder lock(gate_->lock_);
      if (gate_->open_) result.emplace(Ok());
      return gate_->open_;
    }
    Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
      SpinLockHolder lock(gate_->lock_);
      if (gate_->open_) {
        if (!waiter.MayTake()) return Enqueued::kLost;
        result.emplace(Ok());
        return Enqueued::kDone;
      }
      gate_->waiters_.PushBack(&waiter);
      ++gate_->waiting_;
      return Enqueued::kQueued;
    }
    bool Harvest(Waiter&, std::optional<Outcome<void>>& result) {
      result.emplace(Ok());
      return true;
    }
    void Withdraw(Waiter& waiter) {
      SpinLockHolder lock(gate_->lock_);
      if (!gate_->waiters_.Linked(&waiter)) return;
      gate_->waiters_.Remove(&waiter);
      --gate_->waiting_;
    }

   private:
    Gate* gate_;
  };

 private:
  SpinLock lock_;
  bool open_ = false;
  int waiting_ = 0;
  IntrusiveList<Waiter, QueueHook> waiters_;
};

using PassWait = Wait<Gate::PassOp<false>>;
using StructuralPassWait = Wait<Gate::PassOp<true>>;
inline PassWait Pass(const CxBase& cx, Gate& gate) { return PassWait(cx, &gate); }
inline StructuralPassWait PassStructural(const CxBase& cx, Gate& gate) {
  return StructuralPassWait(cx, &gate);
}

// Waits at `gate`; a cancel ends it.
inline Task<void> HoldAt(Cx cx, Gate* gate) {
  co_await OrReturn(Pass(cx, *gate));
  co_return Ok();
}
// Waits at `gate` also while its region drains.
inline Task<void> DrainAt(Cx cx, Gate* gate) {
  co_await OrReturn(Pass(cx.ForDrain(), *gate));
  co_return Ok();
}
// Waits for a cancel.
inline Task<void> Forever(Cx cx) {
  co_await OrReturn(SleepUntil(cx, Instant::InfiniteFuture()));
  co_return Ok();
}

// Ends Cancelled by a cause that lies below the region of `cx`, which would count that as Ok (R1).
inline Task<void> CancelledByItself(Cx cx) {
  auto stops = [](Cx cx) -> Task<void> {
    cx.Ref().Cancel();
    co_return cx.cancel_reason();
  };
  co_return co_await Region::Open(cx, "stops itself", stops);
}

// Yields until condition() holds. An ordinary wait of `cx`.
template <class F>
Task<void> Until(Cx cx, F condition) {
  while (!condition()) co_await OrReturn(Yield(cx));
  co_return Ok();
}
// The same for a thread that is no task.
template <class F>
void SpinUntil(F condition) {
  while (!condition()) std::this_thread::yield();
}

// How many tasks live in the region, its body included.
inline uint64_t Live(const RegionRef& region) {
  return region.scope()->word.load(std::memory_order_acquire) & region_word::kCountMask;
}

// --- what has happened ---------------------------------------------------------------------------

// What several tasks have done, in order.
class Trail {
 public:
  void Add(absl::string_view step) {
    ThreadMutexLock lock(mutex_);
    steps_.emplace_back(step);
  }
  std::vector<std::string> Steps() {
    ThreadMutexLock lock(mutex_);
    return steps_;
  }

 private:
  ThreadMutex mutex_;
  std::vector<std::string> steps_ ABSL_GUARDED_BY(mutex_);
};

// Adds "NAME gone" to a trail, and counts down, when it is destroyed. Movable: a moved-from one is silent.
class Witness {
 public:
  explicit Witness(std::atomic<int>* alive) : alive_(alive) { ++*alive_; }
  Witness(Trail* trail, std::string name) : trail_(trail), name_(std::move(name)) {}
  Witness(Witness&& other) noexcept
      : alive_(std::exchange(other.alive_, nullptr)),
        trail_(std::exchange(other.trail_, nullptr)),
        name_(std::move(other.name_)) {}
  Witness& operator=(Witness&&) = delete;
  ~Witness() {
    if (alive_ != nullptr) --*alive_;
    if (trail_ != nullptr) trail_->Add(absl::StrCat(name_, " gone"));
  }

 private:
  std::atomic<int>* alive_ = nullptr;
  Trail* trail_ = nullptr;
  std::string name_;
};

// What an isolating region has handed to its sink: "REGION/TASK: OUTCOME".
class Sink final : public ErrorSink {
 public:
  void OnChildFailed(const char* region, const char* task, const Outcome<void>& failure) override {
    trail.Add(absl::StrCat(region, "/", task, ": ", SeverityName(failure.severity())));
  }
  Trail trail;
};

// --- matchers ------------------------------------------------------------------------------------

MATCHER(IsOk, "is Ok") {
  *result_listener << arg.ToString();
  return arg.ok();
}
MATCHER_P(IsError, text, "is an Error that says '" + std::string(text) + "'") {
  *result_listener << arg.ToString();
  return arg.is_error() && absl::StrContains(arg.error().ToString(), text);
}
MATCHER_P(IsErrorCode, code, "is an Error of that code") {
  *result_listener << arg.ToString();
  return arg.is_error() && arg.error().code() == code;
}
// The root of the chain of causes is of `kind`.
MATCHER_P(IsCancelledBy, kind, std::string("is Cancelled, in the end by ") + CancelKindName(kind)) {
  *result_listener << arg.ToString();
  return arg.is_cancelled() && arg.cancel_reason().root().kind() == kind;
}
MATCHER_P(IsCancelled, kind, std::string("is Cancelled as ") + CancelKindName(kind)) {
  *result_listener << arg.ToString();
  return arg.is_cancelled() && arg.cancel_reason().kind() == kind;
}
MATCHER_P(IsPanicked, text, "is Panicked with '" + std::string(text) + "'") {
  *result_listener << arg.ToString();
  return arg.is_panicked() && absl::StrContains(arg.panic().message(), text);
}

}  // namespace rules
}  // namespace quiesce

#endif  // QUIESCE_TESTING_RULES_FIXTURE_H_

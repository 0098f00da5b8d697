// lab.h: code of the runtime, run so that every order of its steps can be had, and had again.
//
// Why:        a bug that needs two workers to be at two places in the same moment shows up once a month. Here each
//             operation that others can tell from one before or after it is a step, who makes the next one is a
//             decision, and what is decided is written down.
// Example:    const LabResult result = RunLab(Explore::Exhaustive(), [](Cx cx) -> Task<void> {
//               Mutex a, b;
//               …
//             });
//             if (!result.ok()) std::puts(result.failure.c_str());
// What fails: a body that ends with anything but Ok; a deadlock; a guarantee that does not hold (oracles.h), where the
//             execution ends; a data race on a lab::Var; what the runtime would report (a stall, a leak); a socket that
//             is left open; what
//             Explore::WithCheck finds.
// Covers:     every schedule of one worker or of many, since each switch that many could make is a decision here;
//             sequential consistency; time that moves only when nothing else can go on, unless timers may be early or
//             late. A wait that has tried in vain is queued in the same step, unless WithSplitWaits. TcpStream and
//             TcpListener are on a network that is simulated (network.h). Not what touches memory that no primitive
//             guards, unless it is a lab::Var; or anything outside of the process: such code must not be in the body.
// Threads:    RunLab on one thread at a time, of a process that runs nothing of Quiesce beside it.
#ifndef QUIESCE_TESTING_LAB_LAB_H_
#define QUIESCE_TESTING_LAB_LAB_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/testing/lab/certificate.h"
#include "quiesce/testing/lab/faults.h"
#include "quiesce/testing/lab/lab_trace.h"

namespace quiesce {

using LabMain = std::function<Task<void>(Cx)>;

// Which executions.
class Explore {
 public:
  static constexpr uint64_t kMostExecutions = 1'000'000;
  enum class Strategy : uint8_t { kExhaustive, kBounded, kWalk, kPct, kPos, kReplay };

  // One of each class of executions that nobody can tell apart. Fails where there are more than kMostExecutions, unless a
  // limit was set.
  static Explore Exhaustive() { return Explore(Strategy::kExhaustive, kMostExecutions); }
  // One of each class that has an execution with so few preemptions: steps of another task than the one before while that
  // one could go on. Those with fewer come first. The canceller and an early timer are others, too. The limit is that of
  // Exhaustive; here it counts all executions, also those that are given up, since they come to where another has been.
  static Explore Bounded(uint32_t preemptions) {
    return Explore(Strategy::kBounded, kMostExecutions).WithPreemptions(preemptions);
  }
  // So many, each step by any task that can go.
  static Explore Walk(uint64_t executions) { return Explore(Strategy::kWalk, executions); }
  // … by priorities that change `depth` - 1 times: finds each bug that takes so many orderings with a known chance.
  static Explore Pct(uint64_t executions, int depth = 3) {
    return Explore(Strategy::kPct, executions).WithDepth(depth);
  }
  // … by priorities of operations that compete.
  static Explore Pos(uint64_t executions) { return Explore(Strategy::kPos, executions); }
  // The one that a failure has printed; all else as `how`.
  static Explore Replay(std::string schedule, Explore how = Exhaustive());

  // Of an exhaustive one, the `index`th of so many parts, from 0, of which each explores its own without knowing of the
  // others; LabResult::certificate says what it was, and lab::AddUp whether all together are all there is. See
  // LAB_TEST_SHARDED.
  Explore& AsShard(uint32_t index, uint32_t shards) {
    shard_ = index;
    shards_ = shards;
    return *this;
  }
  // Of the choices, and of Cx's randomness.
  Explore& WithSeed(uint64_t seed) {
    seed_ = seed;
    return *this;
  }
  // An exhaustive or bounded one ends after so many, and its verdict says so, with an estimate of how many there are. For
  // that up to 1,000 more are made at random (none WithoutRepeating); one that fails is a failure like any other.
  Explore& WithMaxExecutions(uint64_t executions) {
    limited_ = true;
    executions_ = executions;
    return *this;
  }
  // Exhaustive by source sets alone, for where the wakeup trees would take too much memory. May begin executions that it has
  // to give up, as it has explored all that can go on in them.
  Explore& WithoutWakeupTrees() {
    wakeup_trees_ = false;
    return *this;
  }
  // An execution of more fails.
  Explore& WithMaxSteps(size_t steps) {
    max_steps_ = steps;
    return *this;
  }
  // In each execution somebody also cancels the body's region, at some moment; with Exhaustive at every one that can be
  // told from the others. The body may then end Cancelled, but has to end in the time that a drain has. Since the cancel comes
  // in any case, a wait that nobody would have granted is no deadlock here: explore without it, too.
  Explore& WithCancelSweep() {
    cancels_ = true;
    return *this;
  }
  // A timer may also fire before tasks that could go on: slow work, as a timeout sees it. Else time stands still for as
  // long as anything can go on. Not one that was armed by another's firing.
  Explore& WithEarlyTimers() {
    early_ = true;
    return *this;
  }
  // A timer may also fire after others that are due later: a process that was not given its processor.
  Explore& WithLateTimers() {
    late_ = true;
    return *this;
  }
  // In each execution the time that a cancelled body has for its drain ends at some moment, too; what a drain does then
  // fails, and is no failure of the execution.
  Explore& WithSpentDrains() {
    spent_drains_ = true;
    return *this;
  }
  // Others may also come in between a wait that has tried in vain and its being queued: for the authors of primitives,
  // which have to look once more then.
  Explore& WithSplitWaits() {
    split_waits_ = true;
    return *this;
  }
  // The opener of a region may also come to its close before the tasks have ended, and then parks. Else it comes when they
  // have, which is the same to all but the close, and far fewer executions.
  Explore& WithParkedClosers() {
    parked_closers_ = true;
    return *this;
  }
  // Only what so many workers do that take from production's queue, lanes and all. Each may still be slower than the
  // others. Positive.
  Explore& WithWorkers(uint32_t workers);
  // What may go wrong besides, each at any moment: an execution for each that can be told from the others.
  Explore& WithFaults(const Faults& faults) {
    faults_ = faults;
    return *this;
  }
  // What the runtime reports goes there, and is no failure.
  Explore& WithReports(ReportSink* reports) {
    reports_ = reports;
    return *this;
  }
  // A deadlock is counted, and no failure.
  Explore& WithDeadlocks() {
    deadlocks_ = true;
    return *this;
  }
  // For a body that cannot be run again, since it leaves something behind: of a failure there is only what is wrong.
  Explore& WithoutRepeating() {
    repeats_ = false;
    return *this;
  }
  // `begin` is called before each execution, and `failed` after each that has come to its end: what is wrong, or nothing.
  Explore& WithCheck(std::function<void()> begin,
                     std::function<std::optional<std::string>()> failed) {
    begin_ = std::move(begin);
    failed_ = std::move(failed);
    return *this;
  }

  Strategy strategy() const { return strategy_; }
  uint64_t executions() const { return executions_; }
  bool limited() const { return limited_; }
  uint32_t shard() const { return shard_; }
  uint32_t shards() const { return shards_; }
  uint64_t seed() const { return seed_; }
  uint32_t preemptions() const { return preemptions_; }
  int depth() const { return depth_; }
  size_t max_steps() const { return max_steps_; }
  bool wakeup_trees() const { return wakeup_trees_; }
  bool cancels() const { return cancels_; }
  bool early() const { return early_; }
  bool late() const { return late_; }
  bool spent_drains() const { return spent_drains_; }
  bool split_waits() const { return split_waits_; }
  bool parked_closers() const { return parked_closers_; }
  uint32_t workers() const { return workers_; }
  const Faults& faults() const { return faults_; }
  ReportSink* reports() const { return reports_; }
  bool deadlocks() const { return deadlocks_; }
  bool repeats() const { return repeats_; }
  // What two shards have to agree on.
  std::string Options() const;
  const std::string& schedule() const { return schedule_; }
  const std::function<void()>& begin() const { return begin_; }
  const std::function<std::optional<std::string>()>& failed() const { return failed_; }

 private:
  Explore(Strategy strategy, uint64_t executions) : strategy_(strategy), executions_(executions) {}
  Explore& WithPreemptions(uint32_t preemptions) {
    preemptions_ = preemptions;
    return *this;
  }
  Explore& WithDepth(int depth) {
    depth_ = depth;
    return *this;
  }

  Strategy strategy_;
  uint64_t executions_;
  uint32_t shard_ = 0;
  uint32_t shards_ = 0;  // 0: all of it is explored here
  uint64_t seed_ = 1;
  uint32_t preemptions_ = 0;
  int depth_ = 3;
  size_t max_steps_ = 100'000;
  bool limited_ = false;
  bool wakeup_trees_ = true;
  bool cancels_ = false;
  bool early_ = false;
  bool late_ = false;
  bool spent_drains_ = false;
  bool split_waits_ = false;
  bool parked_closers_ = false;
  uint32_t workers_ = 0;
  Faults faults_;
  ReportSink* reports_ = nullptr;
  bool deadlocks_ = false;
  bool repeats_ = true;
  std::string schedule_;
  std::function<void()> begin_;
  std::function<std::optional<std::string>()> failed_;
};

struct LabResult {
  bool ok() const { return failure.empty(); }

  // "EXHAUSTIVE: 10 classes …", "BOUNDED(2): …", "SAMPLED(1000, pos): …", "SHARD 1 OF 4 EXHAUSTED: …", and what that does
  // not cover; or "STOPPED: …", "FAILED after …", "REPLAYED: …". A second line has the peak memory.
  std::string verdict;
  // What is wrong, and the shortest way to it that was found. Empty: nothing.
  std::string failure;
  // For Explore::Replay.
  std::string replay;

  uint64_t executions =
      0;  // that came to an end, or to a deadlock; of an exhaustive or bounded one, the classes
  uint64_t deadlocks = 0;  // of these
  uint64_t steps = 0;
  size_t longest = 0;  // of an execution, in steps
  // The most that the process had in memory so far, of an exhaustive or bounded exploration. (What other tests took before is
  // in it.)
  int64_t peak_memory_bytes = 0;
  bool exhausted = false;
  // Of the last execution: equal wherever the same seed makes the same steps.
  uint64_t hash = 0;
  // Of the last execution.
  uint64_t permits_leaked = 0;
  uint64_t permits_revoked = 0;
  // Of a shard; its test has no name yet.
  std::optional<lab::Certificate> certificate;
  // Of the failure, or of the replay.
  std::optional<lab::LabTrace> trace;
};

// Runs `main`, as the body of a root region, as often as `how` says, or until it fails.
LabResult RunLab(const Explore& how, const LabMain& main);
// Once, by the choices of that seed.
LabResult RunLab(uint64_t seed, const LabMain& main);

}  // namespace quiesce

#endif  // QUIESCE_TESTING_LAB_LAB_H_

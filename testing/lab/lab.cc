#include "quiesce/testing/lab/lab.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/testing/explore/bounded.h"
#include "quiesce/testing/explore/dpor.h"
#include "quiesce/testing/explore/estimate.h"
#include "quiesce/testing/explore/exploration.h"
#include "quiesce/testing/explore/sampler.h"
#include "quiesce/testing/explore/schedule.h"
#include "quiesce/testing/explore/shard.h"
#include "quiesce/testing/explore/trace.h"
#include "quiesce/testing/lab/certificate.h"
#include "quiesce/testing/lab/hottest_loop.h"
#include "quiesce/testing/lab/lab_runtime.h"
#include "quiesce/testing/lab/numbers.h"

namespace quiesce {
namespace {

using lab::LabRuntime;
using lab::Roughly;
using lab::WithSeparators;
using EndedHow = LabRuntime::Ended;

const char* NameOf(Explore::Strategy strategy) {
  switch (strategy) {
    case Explore::Strategy::kWalk:
      return "walk";
    case Explore::Strategy::kPct:
      return "pct";
    case Explore::Strategy::kPos:
      return "pos";
    case Explore::Strategy::kExhaustive:
    case Explore::Strategy::kBounded:
    case Explore::Strategy::kReplay:
      break;
  }
  return "";
}

explore::Strategy SamplerOf(Explore::Strategy strategy) {
  switch (strategy) {
    case Explore::Strategy::kPct:
      return explore::Strategy::kPct;
    case Explore::Strategy::kPos:
      return explore::Strategy::kPos;
    default:
      return explore::Strategy::kWalk;
  }
}

// How a schedule begins that is a list of all steps, each by the age of its task.
constexpr const char* kStepByStep = "2:";

std::string NotCovered(const Explore& how, absl::string_view more = "") {
  std::string orders;
  if (how.workers() != 0) {
    orders = absl::StrCat("; other orders than those of ", how.workers(),
                          how.workers() == 1 ? " worker" : " workers");
  }
  const char* const timers = how.early() && how.late() ? ""
                             : how.early()             ? "; timers that are late"
                             : how.late()              ? "; timers that are early"
                                                       : "; timers that are late or early";
  return absl::StrCat("not covered: ", more, more.empty() ? "" : "; ", "other inputs", orders,
                      timers, "; memory that no primitive guards; weak memory");
}

LabRuntime::Options OptionsOf(const Explore& how) {
  LabRuntime::Options options;
  options.seed = how.seed();
  options.faults = how.faults();
  options.reports = how.reports();
  options.cancel_sweep = how.cancels();
  options.spent_drains = how.spent_drains();
  options.early_timers = how.early();
  options.late_timers = how.late();
  options.split_waits = how.split_waits();
  options.parked_closers = how.parked_closers();
  options.workers = how.workers();
  return options;
}

// Of the process, since it began: what another test before has taken is in it.
int64_t PeakMemoryBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;  // it counts in KiB
}

// While it lives, a process that ends (a failed check, an assertion, a bad access) says in which execution that was: all
// the steps, since there is nobody left to make them fewer.
class SaysWhereItEnds {
 public:
  SaysWhereItEnds() {
    struct sigaction action = {};
    action.sa_flags = SA_ONSTACK;
    for (size_t i = 0; i < kSignals.size(); ++i) {
      action.sa_handler = kSignals[i] == SIGABRT ? &OnAbort : &OnFault;
      sigaction(kSignals[i], &action, &before_[i]);
    }
  }
  ~SaysWhereItEnds() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }
  SaysWhereItEnds(const SaysWhereItEnds&) = delete;
  SaysWhereItEnds& operator=(const SaysWhereItEnds&) = delete;

 private:
  static constexpr std::array kSignals = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  static constexpr absl::string_view kWhere =
      "\nquiesce lab: the process ends in this execution. Once more: --quiesce_replay=2:";

  // Of abort(), which was called by a step: so it may do what that might have done.
  static void OnAbort(int signal) {
    GiveBack(signal);
    LabRuntime* const runtime = LabRuntime::Current();
    if (runtime != nullptr) std::fputs(runtime->log_so_far().ToText().c_str(), stderr);
    WriteSteps();
  }
  // Anywhere in a step: it may only write. What was at fault is done once more when this returns, and whoever was
  // listening before (a sanitizer) hears of it.
  static void OnFault(int signal) {
    GiveBack(signal);
    WriteSteps();
  }
  static void GiveBack(int signal) {
    for (size_t i = 0; i < kSignals.size(); ++i) {
      if (kSignals[i] == signal) sigaction(signal, &before_[i], nullptr);
    }
  }
  static void WriteSteps() {
    LabRuntime* const runtime = LabRuntime::Current();
    if (runtime == nullptr) return;
    Write(kWhere);
    bool first = true;
    for (uint32_t age : runtime->made_by()) {
      char digits[16];
      size_t at = sizeof digits;
      do {
        digits[--at] = static_cast<char>('0' + age % 10);
        age /= 10;
      } while (age != 0);
      if (!std::exchange(first, false)) digits[--at] = ',';
      Write({digits + at, sizeof digits - at});
    }
    Write("\n");
  }
  static void Write(absl::string_view text) {
    while (!text.empty()) {
      const ssize_t n = write(STDERR_FILENO, text.data(), text.size());
      if (n <= 0) return;
      text.remove_prefix(static_cast<size_t>(n));
    }
  }

  static inline struct sigaction before_[kSignals.size()];
};

// Runs executions of one program, and knows what was wrong with the last.
class Lab {
 public:
  Lab(const Explore& how, const LabMain& main) : how_(how), runtime_(main, OptionsOf(how)) {
    runtime_.OnBegin([this] {
      wrong_.clear();
      if (how_.begin()) how_.begin()();
    });
    runtime_.OnEnd([this](EndedHow ended) {
      wrong_ = WhatIsWrong(ended);
      result_.permits_leaked = runtime_.counters().permits_leaked.load(std::memory_order_relaxed);
      result_.permits_revoked = runtime_.counters().permits_revoked.load(std::memory_order_relaxed);
      if (on_end_) on_end_();
    });
  }

  LabResult Run() {
    const bool can_be_sharded = how_.strategy() == Explore::Strategy::kExhaustive ||
                                how_.strategy() == Explore::Strategy::kReplay;
    if (how_.shards() != 0 && !can_be_sharded) {
      result_.failure = "only Explore::Exhaustive can be explored in shards\n";
      return std::move(result_);
    }
    switch (how_.strategy()) {
      case Explore::Strategy::kExhaustive:
        how_.shards() == 0 ? Exhaust() : ExploreShard();
        break;
      case Explore::Strategy::kBounded:
        ExploreWithinBound();
        break;
      case Explore::Strategy::kReplay:
        ReplayOne();
        break;
      default:
        Sample();
        break;
    }
    return std::move(result_);
  }

 private:
  std::string WhatIsWrong(EndedHow ended) {
    if (ended == EndedHow::kGivenUp) return "";
    if (!runtime_.violation().empty()) return runtime_.violation();
    if (ended == EndedHow::kDeadlock) {
      if (!estimates_) ++result_.deadlocks;
      if (how_.deadlocks()) return "";
      return absl::StrCat("DEADLOCK: nothing can go on.\n", runtime_.Dump());
    }
    if (!runtime_.race().empty()) return runtime_.race();
    if (!runtime_.leaks().empty()) return runtime_.leaks();
    if (how_.failed()) {
      if (std::optional<std::string> failed = how_.failed()()) return *std::move(failed);
    }
    const bool cancels = how_.cancels() || how_.spent_drains();
    const bool may_be_cancelled = cancels && runtime_.outcome().is_cancelled();
    if (how_.cancels() && !how_.spent_drains() && runtime_.tasks_cut_off() != 0) {
      return absl::StrCat(runtime_.tasks_cut_off(),
                          " of the cancelled tasks did not end in the time that they had for it.\n",
                          runtime_.reports());
    }
    if (!runtime_.outcome().ok() && !may_be_cancelled) {
      return absl::StrCat("The body ended with ", runtime_.outcome().ToString());
    }
    return how_.reports() == nullptr ? runtime_.reports() : "";
  }

  explore::ExploreOptions Options() const {
    explore::ExploreOptions options;
    options.max_executions = how_.executions();
    options.max_steps = how_.max_steps();
    options.keep_wakeup_trees = how_.wakeup_trees();
    return options;
  }

  void Exhaust() {
    explore::ExploreOptions options = Options();
    options.tell_classes_apart = options.max_executions <= Explore::kMostExecutions;
    explore::Explorer explorer(runtime_.model(), options);
    estimate_ = [&explorer] { return explorer.EstimateClasses(); };
    const explore::Exploration all = RunAll(explorer);
    estimate_ = nullptr;
    std::string there_may_be;
    if (!all.complete && all.problem.empty() && wrong_.empty()) {
      explore::SampleOptions walk;
      walk.strategy = explore::Strategy::kWalk;
      walk.seed = how_.seed();
      walk.max_steps = how_.max_steps();
      explore::Sampler sampler(runtime_.model(), walk);
      there_may_be = EstimateAll(all, explorer.EstimateClasses(), sampler);
      if (!wrong_.empty()) {
        (void)Conclude(all, "", "", "", sampler.trace());
        return;
      }
    }
    if (Conclude(all, "EXHAUSTIVE: ", "", there_may_be, explorer.trace())) return;
    result_.failure = absl::StrCat(
        "not exhausted after ", WithSeparators(result_.executions), " executions", there_may_be,
        ". Try Explore::Bounded(2), which is complete for what takes so few preemptions; or "
        "sample: "
        "Explore::Pct, Pos or Walk. Or let fewer tasks do less, or say by WithMaxExecutions how "
        "many there may be\n");
  }

  // After an exploration that came to its limit: how many classes there may be. It makes random executions for that, until
  // one of them fails.
  std::string EstimateAll(const explore::Exploration& all, double by_recursion,
                          explore::Sampler& sampler) {
    std::vector<double> estimates = {by_recursion};
    if (!all.hashes.empty() && how_.repeats()) {
      uint64_t caught = 0;
      uint64_t recaught = 0;
      estimates_ = true;
      for (uint64_t i = 0; i < WalksForAnEstimate() && wrong_.empty(); ++i) {
        if (sampler.Next().ended == explore::Execution::Ended::kTooLong) continue;
        ++caught;
        if (all.hashes.contains(sampler.trace().ClassHash())) ++recaught;
      }
      estimates.push_back(explore::EstimateByRecapture(all.hashes.size(), caught, recaught));
    }
    const auto known = static_cast<double>(all.classes + all.deadlocks + 1);
    for (double& estimate : estimates) estimate = std::max(estimate, known);
    std::ranges::sort(estimates);
    std::string text = Roughly(estimates.front());
    if (Roughly(estimates.back()) != text) {
      absl::StrAppend(&text, " to ", Roughly(estimates.back()));
    }
    return absl::StrCat(", of perhaps ", text, " in all");
  }

  void ExploreShard() {
    const explore::Shard shard = {.index = how_.shard(), .count = how_.shards()};
    explore::ShardExplorer explorer(runtime_.model(), shard, Options());
    estimate_ = [&explorer] { return explorer.EstimateClasses(); };
    const explore::Exploration some = RunAll(explorer);
    estimate_ = nullptr;
    const std::string name = absl::StrCat("SHARD ", shard.index, " OF ", shard.count);
    if (!Conclude(some, name + " EXHAUSTED: ", "what the other shards explore", "",
                  explorer.trace())) {
      result_.failure = absl::StrCat(
          name, " is not exhausted after ", WithSeparators(result_.executions),
          " executions. Let more shards explore less, or say by WithMaxExecutions how many there "
          "may be in each\n");
    }
    lab::Certificate& certificate = result_.certificate.emplace();
    certificate.version = kVersion;
    certificate.program = explorer.program();
    certificate.options = how_.Options();
    certificate.not_covered = NotCovered(how_);
    certificate.split = explorer.split().hash();
    certificate.parts_in_all = explorer.split().parts();
    certificate.shard = shard.index;
    certificate.shards = shard.count;
    certificate.parts = explorer.parts();
    certificate.exhausted = some.complete && wrong_.empty();
    certificate.verdict = result_.verdict.substr(0, result_.verdict.find('\n'));
    certificate.classes = some.classes;
    certificate.deadlocks = some.deadlocks;
    certificate.executions = Executions(some);
    certificate.digest = explorer.digest();
    for (const auto& [hash, deadlock] : explorer.strays()) {
      certificate.strays.push_back({hash, deadlock});
    }
    std::ranges::sort(certificate.strays, {}, &lab::Certificate::Stray::hash);
  }

  void ExploreWithinBound() {
    const uint32_t most = how_.preemptions();
    explore::BoundedExplorer explorer(runtime_.model(), most, Options());
    const explore::Exploration some = RunAll(explorer);
    const std::string not_covered =
        some.exhausted ? "" : absl::StrCat("executions with more than ", most, " preemptions");
    const std::string so_far = absl::StrCat(
        ": of those with at most ", most, " preemptions, ",
        explorer.preemptions() == 0 ? "not even all without any"
                                    : absl::StrCat("all with at most ", explorer.preemptions() - 1),
        " have been explored");
    if (Conclude(some, absl::StrCat("BOUNDED(", most, "): "), not_covered, so_far,
                 explorer.trace())) {
      return;
    }
    result_.failure = absl::StrCat(
        "not complete after ", WithSeparators(how_.executions()), " executions", so_far,
        ". Let fewer tasks do less, say by WithMaxExecutions how many there may be, or lower the "
        "bound\n");
  }

  template <class Explorer>
  explore::Exploration RunAll(Explorer& explorer) {
    on_end_ = [this, &explorer] {
      if (!wrong_.empty()) explorer.Stop();
      ShowProgress();
    };
    explore::Exploration all = explorer.Run();
    on_end_ = nullptr;
    result_.executions = all.classes + all.deadlocks;
    result_.deadlocks = all.deadlocks;
    result_.steps = all.steps;
    result_.longest = all.longest;
    result_.exhausted = all.exhausted && wrong_.empty();
    result_.hash = explorer.trace().OrderHash();
    return all;
  }

  // The verdict, and what failed. False: it came to a limit that nobody has set.
  bool Conclude(const explore::Exploration& all, absl::string_view complete,
                absl::string_view not_covered, absl::string_view more,
                const explore::Trace& latest) {
    const std::string numbers = absl::StrCat(all.classes, " classes, ", all.steps,
                                             " steps, the longest execution has ", all.longest);
    if (!all.problem.empty()) {
      result_.failure = absl::StrCat(all.problem, "\n");
      if (all.too_long) result_.failure += FindHottestLoops(latest);
      if (all.not_repeated.has_value()) {
        result_.failure += DescribeNext(latest, *all.not_repeated);
      }
      result_.verdict = absl::StrCat("STOPPED: ", numbers);
    } else if (!wrong_.empty()) {
      result_.verdict = absl::StrCat("FAILED after ", numbers);
      Explain(latest);
    } else if (all.complete) {
      // Each class has its cancel; and what was cut off would have failed.
      const char* const drained = !how_.cancels() ? ""
                                  : how_.spent_drains()
                                      ? "; somebody cancels in each"
                                      : "; somebody cancels in each, and all drain";
      result_.verdict =
          absl::StrCat(complete, numbers, drained, "; ", NotCovered(how_, not_covered));
    } else {
      result_.verdict =
          absl::StrCat("STOPPED: ", numbers, ", and there are more", more, "; ", NotCovered(how_));
    }
    result_.peak_memory_bytes = PeakMemoryBytes();
    absl::StrAppend(&result_.verdict, "\npeak memory of the process: ",
                    WithSeparators(static_cast<uint64_t>(result_.peak_memory_bytes >> 20)), " MiB");
    return all.complete || !all.problem.empty() || !wrong_.empty() || how_.limited();
  }

  void Sample() {
    explore::SampleOptions options;
    options.strategy = SamplerOf(how_.strategy());
    options.seed = how_.seed();
    options.depth = how_.depth();
    options.max_steps = how_.max_steps();
    explore::Sampler sampler(runtime_.model(), options);
    bool too_long = false;
    while (result_.executions < how_.executions() && wrong_.empty() && !too_long) {
      const explore::Execution execution = sampler.Next();
      ++result_.executions;
      result_.steps += sampler.trace().length();
      result_.longest = std::max(result_.longest, sampler.trace().length());
      result_.hash = execution.schedule.hash;
      ShowProgress();
      too_long = execution.ended == explore::Execution::Ended::kTooLong;
    }
    result_.verdict = absl::StrCat("SAMPLED(", result_.executions, ", ", NameOf(how_.strategy()),
                                   "): ", result_.steps, " steps; ", NotCovered(how_));
    if (too_long) {
      result_.failure =
          absl::StrCat(explore::TooLong(how_.max_steps()), "\n", FindHottestLoops(sampler.trace()));
    } else if (!wrong_.empty()) {
      Explain(sampler.trace());
    }
  }

  // For who waits for a long one: a line now and then.
  void ShowProgress() {
    if (++ended_ % 1000 != 0 || absl::Now() < show_at_) return;
    show_at_ = absl::Now() + kShowEvery;
    std::string text = absl::StrCat("quiesce lab: ", WithSeparators(ended_), " executions so far");
    if (estimate_) absl::StrAppend(&text, ", of perhaps ", Roughly(estimate_()), " or more");
    std::fprintf(stderr, "%s\n", text.c_str());
  }

  // The execution with these steps, which ended the process, and may do so again.
  void ReplayStepByStep() {
    std::vector<uint32_t> made_by;
    for (const absl::string_view step :
         absl::StrSplit(absl::StripPrefix(how_.schedule(), kStepByStep), ',')) {
      uint32_t age = 0;
      if (!absl::SimpleAtoi(step, &age)) {
        result_.failure = absl::StrCat("schedule ", how_.schedule(), ": '", step, "' is no task\n");
        return;
      }
      made_by.push_back(age);
    }
    explore::Trace trace;
    runtime_.StartLog();
    const explore::Execution execution =
        explore::FollowSteps(runtime_.model(), &trace, made_by, how_.max_steps());
    SetReplayed(trace);
    Report(execution.schedule, runtime_.StopLog(execution.schedule, trace));
  }

  void SetReplayed(const explore::Trace& trace) {
    result_.executions = 1;
    result_.steps = result_.longest = trace.length();
    result_.hash = trace.OrderHash();
    result_.verdict = "REPLAYED: one execution, nothing else";
  }

  void ReplayOne() {
    if (absl::StartsWith(how_.schedule(), kStepByStep)) return ReplayStepByStep();
    const absl::StatusOr<explore::Schedule> schedule = explore::Schedule::Parse(how_.schedule());
    if (!schedule.ok()) {
      result_.failure = absl::StrCat(schedule.status().message(), "\n");
      return;
    }
    explore::Trace trace;
    runtime_.StartLog();
    const absl::Status same =
        explore::Replay(runtime_.model(), &trace, *schedule, how_.max_steps());
    SetReplayed(trace);
    lab::LabTrace log = runtime_.StopLog(*schedule, trace);
    if (!same.ok()) {
      result_.failure = absl::StrCat(same.message(), "\n");
    } else {
      Report(*schedule, std::move(log));
    }
  }

  void Report(const explore::Schedule& schedule, lab::LabTrace log) {
    result_.replay = schedule.ToString();
    log.problem = wrong_;
    log.verdict = result_.verdict;
    if (!wrong_.empty()) {
      result_.failure =
          absl::StrCat(wrong_, wrong_.ends_with('\n') ? "" : "\n", "\n", schedule.deviations.size(),
                       schedule.deviations.size() == 1 ? " decision" : " decisions",
                       " in an execution of ", log.steps.size(), " steps:\n", log.ToText(),
                       "\nOnce more: --quiesce_replay=", result_.replay, "\n");
    }
    result_.trace = std::move(log);
  }

  // The execution of `failing`, in as few decisions as will do, and what it does.
  void Explain(const explore::Trace& failing) {
    if (!how_.repeats()) {
      result_.failure = wrong_;
      return;
    }
    explore::Trace trace;
    const explore::Execution again =
        explore::FollowSteps(runtime_.model(), &trace, StepsOf(failing), how_.max_steps());
    if (wrong_.empty()) {
      result_.failure =
          "nondeterminism: what failed does not fail when the same steps are made again. Does the "
          "body use real time, threads, or what is left of the execution before?\n";
      return;
    }
    const explore::Schedule least = explore::Minimize(
        runtime_.model(), again.schedule,
        [this](const explore::Execution&, const explore::Trace&) { return !wrong_.empty(); },
        how_.max_steps());
    runtime_.StartLog();
    explore::Follow(runtime_.model(), &trace, least.deviations, how_.max_steps());
    result_.hash = trace.OrderHash();
    Report(least, runtime_.StopLog(least, trace));
  }

  // Who has made them, each by its age.
  static std::vector<uint32_t> StepsOf(const explore::Trace& trace) {
    std::vector<uint32_t> made_by;
    for (size_t at = 0; at < trace.length(); ++at) made_by.push_back(trace.AgeOf(trace[at].task));
    return made_by;
  }

  // What an execution with these steps does.
  lab::LabTrace LogOf(const std::vector<uint32_t>& made_by, size_t max_steps) {
    explore::Trace trace;
    runtime_.StartLog();
    const explore::Execution execution =
        explore::FollowSteps(runtime_.model(), &trace, made_by, max_steps);
    return runtime_.StopLog(execution.schedule, trace);
  }

  // What `task` does after the steps of `before` when they are made once more, and what went before.
  std::string DescribeNext(const explore::Trace& before, explore::TaskId task) {
    if (!how_.repeats()) return "";
    std::vector<uint32_t> made_by = StepsOf(before);
    made_by.push_back(before.AgeOf(task));
    const lab::LabTrace log = LogOf(made_by, made_by.size());
    std::string text = "When its steps are made once more, it ends so:\n";
    const size_t shown = std::min<size_t>(log.steps.size(), 5);
    for (size_t at = log.steps.size() - shown; at < log.steps.size(); ++at) {
      const lab::LabTrace::Step& step = log.steps[at];
      absl::StrAppend(&text, "  step ", at + 1, ": ", log.tasks[step.task].ToText(), " ", step.what,
                      "\n");
    }
    return absl::StrCat(
        text,
        "Does the body use real time, threads, randomness that is not of its Cx, or "
        "what is left of the execution before?\n");
  }

  // Of an execution that had too many steps.
  std::string FindHottestLoops(const explore::Trace& endless) {
    if (!how_.repeats()) return "";
    return lab::HottestLoops(LogOf(StepsOf(endless), how_.max_steps()));
  }

  // As many as what they are for has had, within limits.
  uint64_t WalksForAnEstimate() const {
    return std::clamp<uint64_t>(how_.executions(), 100, 1'000);
  }

  static constexpr absl::Duration kShowEvery = absl::Seconds(10);

  const Explore& how_;
  LabRuntime runtime_;
  const SaysWhereItEnds says_where_it_ends_;
  LabResult result_;
  std::string wrong_;  // of the last execution
  std::function<void()> on_end_;
  std::function<double()> estimate_;  // how many executions there may be
  bool estimates_ = false;            // executions are made to estimate that
  uint64_t ended_ = 0;
  absl::Time show_at_ = absl::Now() + kShowEvery;
};

}  // namespace

Explore Explore::Replay(std::string schedule, Explore how) {
  how.strategy_ = Strategy::kReplay;
  how.schedule_ = std::move(schedule);
  return how;
}

Explore& Explore::WithWorkers(uint32_t workers) {
  if (workers == 0) Fatal("Explore::WithWorkers(0): nobody would run anything");
  workers_ = workers;
  return *this;
}

std::string Explore::Options() const {
  return absl::StrCat(
      "seed=", seed_, " max_steps=", max_steps_, " cancel_sweep=", cancels_,
      " spent_drains=", spent_drains_, " early_timers=", early_, " late_timers=", late_,
      " split_waits=", split_waits_, " parked_closers=", parked_closers_, " workers=", workers_,
      " ", faults_.ToString(), " deadlocks=", deadlocks_, " reports=", reports_ != nullptr);
}

LabResult RunLab(const Explore& how, const LabMain& main) { return Lab(how, main).Run(); }

LabResult RunLab(uint64_t seed, const LabMain& main) {
  return RunLab(Explore::Walk(1).WithSeed(seed), main);
}

}  // namespace quiesce

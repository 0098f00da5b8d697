#include "quiesce/testing/lab/lab.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/testing/explore/bounded.h"
#include "quiesce/testing/explore/dpor.h"
#include "quiesce/testing/explore/exploration.h"
#include "quiesce/testing/explore/sampler.h"
#include "quiesce/testing/explore/schedule.h"
#include "quiesce/testing/explore/trace.h"
#include "quiesce/testing/lab/lab_runtime.h"

namespace quiesce {
namespace {

using lab::LabRuntime;
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
  return absl::StrCat("not covered: ", more, more.empty() ? "" : "; ", "other inputs", orders, timers,
                      "; memory that no primitive guards; weak memory");
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
  options.workers = how.workers();
  return options;
}

// While it lives, a process that ends (a failed check, a debug check of the runtime, an assertion) says in which execution
// that was: all the steps, since there is nobody left to make them fewer.
class SaysWhereItEnds {
 public:
  SaysWhereItEnds() : before_(std::signal(SIGABRT, &OnAbort)) {}
  ~SaysWhereItEnds() { std::signal(SIGABRT, before_); }
  SaysWhereItEnds(const SaysWhereItEnds&) = delete;
  SaysWhereItEnds& operator=(const SaysWhereItEnds&) = delete;

 private:
  // Of abort(), which was called by a step: so it may do what that might have done.
  static void OnAbort(int) {
    std::signal(SIGABRT, SIG_DFL);
    LabRuntime* const runtime = LabRuntime::Current();
    if (runtime == nullptr) return;
    const std::string steps = absl::StrJoin(runtime->made_by(), ",");
    std::fprintf(stderr, "%s\nquiesce lab: the process ends in this execution. Once more: %s%s%s\n",
                 runtime->log_so_far().ToText().c_str(), "--quiesce_replay=", kStepByStep,
                 steps.c_str());
  }
  void (*const before_)(int);
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
    switch (how_.strategy()) {
      case Explore::Strategy::kExhaustive:
        Exhaust();
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
      ++result_.deadlocks;
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
    return options;
  }

  void Exhaust() {
    explore::Explorer explorer(runtime_.model(), Options());
    const explore::Exploration all = RunAll(explorer);
    if (Conclude(all, "EXHAUSTIVE: ", "", "", explorer.trace())) return;
    result_.failure = absl::StrCat("not exhausted after ", result_.executions,
                                   " executions. Let fewer tasks do less, say by "
                                   "WithMaxExecutions how many there may be, or "
                                   "sample: Explore::Walk, Pct or Pos\n");
  }

  void ExploreWithinBound() {
    const uint32_t most = how_.preemptions();
    explore::BoundedExplorer explorer(runtime_.model(), most, Options());
    const explore::Exploration some = RunAll(explorer);
    const std::string not_covered =
        some.exhausted ? ""
                       : absl::StrCat("executions with more than ", most, " preemptions");
    const std::string so_far = absl::StrCat(
        ": of those with at most ", most, " preemptions, ",
        explorer.preemptions() == 0
            ? "not even all without any"
            : absl::StrCat("all with at most ", explorer.preemptions() - 1),
        " have been explored");
    if (Conclude(some, absl::StrCat("BOUNDED(", most, "): "), not_covered, so_far,
                 explorer.trace())) {
      return;
    }
    result_.failure = absl::StrCat(
        "not complete after ", how_.executions(), " executions", so_far,
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
      result_.verdict = absl::StrCat("STOPPED: ", numbers);
    } else if (!wrong_.empty()) {
      result_.verdict = absl::StrCat("FAILED after ", numbers);
      Explain(latest);
    } else if (all.complete) {
      result_.verdict = absl::StrCat(complete, numbers, "; ", NotCovered(how_, not_covered));
    } else {
      result_.verdict =
          absl::StrCat("STOPPED: ", numbers, ", and there are more", more, "; ", NotCovered(how_));
      return how_.limited();
    }
    return true;
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
      result_.failure = absl::StrCat("an execution of more than ", how_.max_steps(), " steps\n");
    } else if (!wrong_.empty()) {
      Explain(sampler.trace());
    }
  }

  // For who waits for a long one: a line now and then.
  void ShowProgress() {
    if (++ended_ % 1000 != 0 || absl::Now() < show_at_) return;
    show_at_ = absl::Now() + kShowEvery;
    std::fprintf(stderr, "quiesce lab: %llu executions so far\n",
                 static_cast<unsigned long long>(ended_));
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
    std::vector<uint32_t> made_by;
    for (size_t at = 0; at < failing.length(); ++at) {
      made_by.push_back(failing.AgeOf(failing[at].task));
    }
    explore::Trace trace;
    const explore::Execution again =
        explore::FollowSteps(runtime_.model(), &trace, made_by, how_.max_steps());
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

  static constexpr absl::Duration kShowEvery = absl::Seconds(10);

  const Explore& how_;
  LabRuntime runtime_;
  const SaysWhereItEnds says_where_it_ends_;
  LabResult result_;
  std::string wrong_;  // of the last execution
  std::function<void()> on_end_;
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

LabResult RunLab(const Explore& how, const LabMain& main) { return Lab(how, main).Run(); }

LabResult RunLab(uint64_t seed, const LabMain& main) {
  return RunLab(Explore::Walk(1).WithSeed(seed), main);
}

}  // namespace quiesce

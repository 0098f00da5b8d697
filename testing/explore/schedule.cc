#include "quiesce/testing/explore/schedule.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace quiesce::explore {
namespace {

// Of the text. A reader of another one refuses it.
constexpr char kVersion[] = "1";

absl::Status Malformed(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is no schedule: ", what,
                                                 "; one looks like ", kVersion,
                                                 ":5f2c81d07be9a3e4:12=3,40=1"));
}

}  // namespace

std::string Schedule::ToString() const {
  std::string text = absl::StrFormat("%s:%016x:", kVersion, hash);
  const char* separator = "";
  for (const Deviation& deviation : deviations) {
    absl::StrAppend(&text, separator, deviation.step, "=", deviation.age);
    separator = ",";
  }
  return text;
}

absl::StatusOr<Schedule> Schedule::Parse(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  if (parts.size() != 3) return Malformed(text, "it has not three parts");
  if (parts[0] != kVersion) {
    return Malformed(text,
                     absl::StrCat("its version is '", parts[0], "', and this reads ", kVersion));
  }
  Schedule schedule;
  if (parts[1].size() != 16 || !absl::SimpleHexAtoi(parts[1], &schedule.hash)) {
    return Malformed(text, "its second part is no hash of 16 digits");
  }
  for (const absl::string_view item : absl::StrSplit(parts[2], ',', absl::SkipEmpty())) {
    const std::vector<absl::string_view> sides = absl::StrSplit(item, '=');
    Deviation deviation;
    if (sides.size() != 2 || !absl::SimpleAtoi(sides[0], &deviation.step) ||
        !absl::SimpleAtoi(sides[1], &deviation.age)) {
      return Malformed(text, absl::StrCat("'", item, "' is not step=age"));
    }
    if (!schedule.deviations.empty() && deviation.step <= schedule.deviations.back().step) {
      return Malformed(text, absl::StrCat("'", item, "' is not later than what stands before it"));
    }
    schedule.deviations.push_back(deviation);
  }
  // As it is written, and in no other way.
  if (schedule.ToString() != text)
    return Malformed(text, absl::StrCat("it would be ", schedule.ToString()));
  return schedule;
}

Execution Execute(Model* model, Trace* trace, Choose choose, size_t max_steps) {
  trace->Begin(model);
  Execution execution{Execution::Ended::kComplete, {}};
  std::vector<TaskId> can;
  while (true) {
    FindEnabled(model, &can);
    if (can.empty()) {
      if (!model->live().empty()) execution.ended = Execution::Ended::kDeadlock;
      break;
    }
    if (trace->length() == max_steps) {
      execution.ended = Execution::Ended::kTooLong;
      break;
    }
    TaskId usual = can.front();
    if (trace->length() > 0) {
      const TaskId latest = (*trace)[trace->length() - 1].task;
      if (std::ranges::count(can, latest) != 0) usual = latest;
    }
    const TaskId task = choose(can, usual);
    if (task != usual) {
      execution.schedule.deviations.push_back(
          {static_cast<uint32_t>(trace->length()), trace->AgeOf(task)});
    }
    trace->Step(model, task);
  }
  execution.schedule.hash = trace->OrderHash();
  model->End(execution.ended == Execution::Ended::kComplete   ? Model::Ended::kComplete
             : execution.ended == Execution::Ended::kDeadlock ? Model::Ended::kDeadlock
                                                              : Model::Ended::kGivenUp);
  return execution;
}

namespace {

// The task of that age if it can go; else `usual`.
TaskId ByAge(const Trace& trace, uint32_t age, const std::vector<TaskId>& can, TaskId usual) {
  if (age >= trace.by_age().size()) return usual;
  const TaskId task = trace.by_age()[age];
  return std::ranges::count(can, task) != 0 ? task : usual;
}

}  // namespace

Execution Follow(Model* model, Trace* trace, const std::vector<Deviation>& deviations,
                 size_t max_steps) {
  auto next = deviations.begin();
  return Execute(
      model, trace,
      [&](const std::vector<TaskId>& can, TaskId usual) {
        if (next == deviations.end() || next->step != trace->length()) return usual;
        return ByAge(*trace, (next++)->age, can, usual);
      },
      max_steps);
}

Execution FollowSteps(Model* model, Trace* trace, const std::vector<uint32_t>& made_by,
                      size_t max_steps) {
  return Execute(
      model, trace,
      [&](const std::vector<TaskId>& can, TaskId usual) {
        const size_t at = trace->length();
        return at < made_by.size() ? ByAge(*trace, made_by[at], can, usual) : usual;
      },
      max_steps);
}

absl::Status Replay(Model* model, Trace* trace, const Schedule& schedule, size_t max_steps) {
  if (Follow(model, trace, schedule.deviations, max_steps).schedule == schedule) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "schedule ", schedule.ToString(),
      " is of another program, or of another version of this one: it does something else here"));
}

Schedule Minimize(Model* model, const Schedule& failing,
                  absl::FunctionRef<bool(const Execution&, const Trace&)> fails, size_t max_steps) {
  Trace trace;
  Schedule least = failing;
  size_t parts = 2;
  while (!least.deviations.empty()) {
    const size_t count = least.deviations.size();
    parts = std::min(parts, count);
    bool smaller = false;
    for (size_t part = 0; part < parts && !smaller; ++part) {
      // All but this part.
      std::vector<Deviation> rest;
      for (size_t i = 0; i < count; ++i) {
        if (i * parts / count != part) rest.push_back(least.deviations[i]);
      }
      const Execution execution = Follow(model, &trace, rest, max_steps);
      // What was left out because it could not be followed is gone, too.
      if (execution.schedule.deviations.size() < count && fails(execution, trace)) {
        least = execution.schedule;
        smaller = true;
      }
    }
    if (smaller) {
      parts = std::max<size_t>(parts - 1, 2);
    } else if (parts == count) {
      break;
    } else {
      parts *= 2;
    }
  }
  return least;
}

}  // namespace quiesce::explore

// What an execution did, for people.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "quiesce/testing/lab/lab_runtime.h"

namespace quiesce::lab {

void LabRuntime::StartLog() {
  logs_ = true;
  log_ = LabTrace();
}

void LabRuntime::Log(EventKind kind, uint64_t region, uint64_t task, uint64_t arg,
                     const char* name) {
  const LabTask* running = Running();
  log_.events.push_back({.time_ns = static_cast<int64_t>(latest_step()),
                         .region = region,
                         .task = task,
                         .arg = arg,
                         .name = name,
                         .worker = running == nullptr ? 0 : running->age,
                         .kind = kind});
}

void LabRuntime::NameTasks() {
  log_.tasks.clear();
  for (const LabTask* task : used_tasks_) {
    const std::string at =
        task->site == nullptr ? "" : absl::StrCat(task->site->file, ":", task->site->line);
    log_.tasks.push_back({task->name, at, task->runtime_id});
  }
}

const LabTrace& LabRuntime::log_so_far() {
  NameTasks();
  return log_;
}

LabTrace LabRuntime::StopLog(const explore::Schedule& decisions, const explore::Trace& trace) {
  logs_ = false;
  NameTasks();
  for (const explore::Deviation& deviation : decisions.deviations) {
    if (deviation.step < log_.steps.size()) log_.steps[deviation.step].decision = true;
  }
  std::vector<size_t> ends;  // what matters is what comes before these
  if (failed_at_.has_value()) {
    ends.push_back(*failed_at_);
  } else if (deadlock_) {
    for (const explore::TaskId task : waiting_) ends.push_back(trace.Find(machine_.latest(task)));
  } else if (task_failed_at_.has_value()) {
    ends.push_back(*task_failed_at_);
  }
  for (size_t step = 0; step < log_.steps.size() && !ends.empty(); ++step) {
    log_.steps[step].matters = std::ranges::any_of(ends, [&](size_t end) {
      return step == end || (step < end && trace.ComesBefore(step, end));
    });
  }
  return std::exchange(log_, LabTrace());
}

std::string LabRuntime::Describe(const LabTask& task) const {
  switch (task.doing) {
    case Doing::kStart:
      return "starts";
    case Doing::kResume:
      return absl::StrCat(task.ready ? "goes on after " : "waits in ", task.operation);
    case Doing::kLook:
      return "looks whether it is cancelled";
    case Doing::kUse:
      return absl::StrCat(task.object.what, " ", task.object.ordinal, ": ", task.function);
    case Doing::kRequest:
      switch (task.request) {
        case ScopeRequest::kCancel:
          return task.target_region == nullptr
                     ? "cancels"
                     : absl::StrCat("cancels region ", task.target_region->name);
        case ScopeRequest::kCancelTask:
          return task.target_task == nullptr
                     ? "cancels a task"
                     : absl::StrCat("cancels task ", task.target_task->name);
        case ScopeRequest::kCharge:
          return "charges";
        case ScopeRequest::kAdmit:
          return "is admitted";
        case ScopeRequest::kClose:
          return absl::StrCat("closes ", task.target_region->name);
        case ScopeRequest::kDefer:
          return "registers a finalizer";
        case ScopeRequest::kClaim:
          return "claims a permit";
        case ScopeRequest::kResolve:
          return "has resolved a permit";
        case ScopeRequest::kSettle:
          return absl::StrCat("looks whether ", task.target_region->name, " owes permits");
        case ScopeRequest::kRevoke:
          return "revokes permits";
        case ScopeRequest::kAsk:
          return absl::StrCat("looks at ", task.target_region->name);
      }
      return "";
    case Doing::kEnd:
      return "ends";
    case Doing::kTime:
      return "time passes";
    case Doing::kFire:
      return "fires";
    case Doing::kNetwork:
      return (*task.describe)();
  }
  return "";
}

}  // namespace quiesce::lab

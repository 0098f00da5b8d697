#include "quiesce/testing/explore/sampler.h"

#include <algorithm>

namespace quiesce::explore {

Execution Sampler::Next() {
  priorities_.assign(priorities_.size(), 0);
  changes_.clear();
  if (options_.strategy == Strategy::kPct) {
    // The length is not known before; that of the longest so far is the guess.
    const size_t length = std::max<size_t>(longest_, 1);
    for (int i = 1; i < options_.depth; ++i) changes_.push_back(Below(length));
  }
  const Execution execution = Execute(
      model_, &trace_,
      [this](const std::vector<TaskId>& can, TaskId) {
        switch (options_.strategy) {
          case Strategy::kWalk:
            return Walk(can);
          case Strategy::kPct:
            return Pct(can);
          case Strategy::kPos:
            break;
        }
        return Pos(can);
      },
      options_.max_steps);
  if (execution.ended != Execution::Ended::kTooLong) longest_ = std::max(longest_, trace_.length());
  return execution;
}

uint64_t& Sampler::PriorityOf(TaskId task) {
  if (task >= priorities_.size()) priorities_.resize(task + 1);
  uint64_t& priority = priorities_[task];
  // Above those that a change gives.
  if (priority == 0) priority = random_() | uint64_t{1} << 63;
  return priority;
}

TaskId Sampler::Walk(const std::vector<TaskId>& can) { return can[Below(can.size())]; }

TaskId Sampler::Highest(const std::vector<TaskId>& can) {
  // One draw after the other, by age: in one expression a compiler makes two in whatever order it likes.
  for (const TaskId task : can) PriorityOf(task);
  TaskId highest = can.front();
  for (const TaskId task : can) {
    if (PriorityOf(task) > PriorityOf(highest)) highest = task;
  }
  return highest;
}

TaskId Sampler::Pct(const std::vector<TaskId>& can) {
  for (size_t i = 0; i < changes_.size(); ++i) {
    if (changes_[i] == trace_.length()) PriorityOf(Highest(can)) = i + 1;
  }
  return Highest(can);
}

TaskId Sampler::Pos(const std::vector<TaskId>& can) {
  if (trace_.length() > 0) {
    // Whoever has lost against the latest event draws again, also if it has to wait now; its own task has a new operation.
    const Trace::Event& latest = trace_[trace_.length() - 1];
    for (const TaskId task : model_->live()) {
      if (task == latest.task || !Commute(model_->Next(task).op, latest.op)) PriorityOf(task) = 0;
    }
  }
  return Highest(can);
}

}  // namespace quiesce::explore

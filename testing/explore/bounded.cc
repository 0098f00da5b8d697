#include "quiesce/testing/explore/bounded.h"

#include <algorithm>
#include <utility>

#include "quiesce/testing/explore/mix.h"

namespace quiesce::explore {

Exploration BoundedExplorer::Run() {
  trace_.Begin(model_);
  FindEnabled(model_, &can_);
  if (can_.empty()) {
    CountEnd(model_->live().empty() ? Model::Ended::kComplete : Model::Ended::kDeadlock);
    result_.exhausted = result_.complete = true;
    return std::move(result_);
  }
  model_->End(Model::Ended::kGivenUp);
  // The oldest first: what is at the end is taken next.
  for (size_t i = can_.size(); i-- > 0;) todo_.push_back({kBegin, can_[i]});
  while (true) {
    while (!todo_.empty()) {
      if (executions_ >= options_.max_executions) return std::move(result_);
      const Branch branch = todo_.back();
      todo_.pop_back();
      if (!Execute(branch) || stopped_) return std::move(result_);
    }
    if (later_.empty()) break;
    ++preemptions_;
    std::swap(todo_, later_);
  }
  result_.complete = true;
  result_.exhausted = !cut_;
  return std::move(result_);
}

bool BoundedExplorer::Execute(Branch branch) {
  ++executions_;
  trace_.Begin(model_);
  path_.clear();
  for (uint32_t step = branch.after; step != kBegin; step = steps_[step].before) {
    path_.push_back(step);
  }
  uint64_t hash = 0;
  for (size_t i = path_.size(); i-- > 0;) {
    const uint32_t step = path_[i];
    if (!Repeat(step)) {
      result_.SetNotRepeated(path_.size() - 1 - i, steps_[step].task);
      model_->End(Model::Ended::kGivenUp);
      return false;
    }
    hash += trace_.EventHash(trace_.length() - 1);
  }
  TaskId next = branch.task;
  if (!CanGo(model_, next)) {
    result_.SetNotRepeated(trace_.length(), next);
    model_->End(Model::Ended::kGivenUp);
    return false;
  }
  uint32_t before = branch.after;
  do {
    if (trace_.length() == options_.max_steps) {
      result_.problem = TooLong(options_.max_steps);
      result_.too_long = true;
      model_->End(Model::Ended::kGivenUp);
      return false;
    }
    Make(next, before);
    before = static_cast<uint32_t>(steps_.size() - 1);
    hash += trace_.EventHash(trace_.length() - 1);
    if (!seen_.insert(Mix(hash, trace_.OriginOf(next))).second) {
      ++result_.blocked;
      model_->End(Model::Ended::kGivenUp);
      return true;
    }
  } while (Choose(&next));
  CountEnd(model_->live().empty() ? Model::Ended::kComplete : Model::Ended::kDeadlock);
  return true;
}

bool BoundedExplorer::Repeat(uint32_t step) {
  if (!CanGo(model_, steps_[step].task)) return false;
  ++result_.steps;
  trace_.Step(model_, steps_[step].task);
  return HashOfLatestOp() == steps_[step].op;
}

void BoundedExplorer::Make(TaskId task, uint32_t before) {
  ++result_.steps;
  trace_.Step(model_, task);
  steps_.push_back({before, task, HashOfLatestOp()});
}

bool BoundedExplorer::Choose(TaskId* next) {
  FindEnabled(model_, &can_);
  if (can_.empty()) return false;
  const auto here = static_cast<uint32_t>(steps_.size() - 1);
  const bool goes_on = std::ranges::count(can_, *next) != 0;
  if (!goes_on) *next = can_.front();
  if (goes_on && preemptions_ == most_) {
    cut_ = cut_ || can_.size() > 1;
    return true;
  }
  for (size_t i = can_.size(); i-- > 0;) {
    if (can_[i] != *next) (goes_on ? later_ : todo_).push_back({here, can_[i]});
  }
  return true;
}

void BoundedExplorer::CountEnd(Model::Ended how) {
  result_.longest = std::max(result_.longest, trace_.length());
  if (!result_.hashes.insert(trace_.ClassHash()).second) {
    ++result_.duplicates;
  } else {
    ++(how == Model::Ended::kDeadlock ? result_.deadlocks : result_.classes);
  }
  model_->End(how);
}

uint32_t BoundedExplorer::HashOfLatestOp() const {
  uint64_t hash = 0;
  for (const Access& access : trace_[trace_.length() - 1].op.accesses) {
    hash = Mix(hash, uint64_t{access.object} << 8 | static_cast<uint64_t>(access.effect));
  }
  return static_cast<uint32_t>(hash);
}

}  // namespace quiesce::explore

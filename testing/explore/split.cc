#include "quiesce/testing/explore/split.h"

#include <algorithm>
#include <random>
#include <utility>

#include "quiesce/testing/explore/mix.h"

namespace quiesce::explore {
namespace {

// Of the class of `trace`, with so many events of each task done: can the next one of `task` come now?
bool ComesNext(const Trace& trace, const std::vector<uint32_t>& done, TaskId task) {
  if (done[task] == trace.CountOf(task)) return false;
  const uint32_t* clock = trace.ClockOf(trace.Find({task, done[task] + 1}));
  return std::ranges::all_of(trace.by_age(), [&](TaskId other) {
    return clock[other] <= done[other] + (other == task ? 1 : 0);
  });
}

}  // namespace

Split::Split(Model* model, size_t at_least, size_t max_steps) : max_steps_(max_steps) {
  nodes_.emplace_back();
  std::vector<size_t> leaves = {0};  // which may branch
  std::vector<size_t> ends;
  for (size_t length = 0; length < kLongestPart && !leaves.empty(); ++length) {
    if (leaves.size() + ends.size() >= at_least) break;
    std::vector<size_t> longer;
    for (const size_t leaf : leaves) {
      Node node = std::move(nodes_[leaf]);
      if (!FindBranches(model, node)) ends.push_back(leaf);
      for (Branch& branch : node.branches) {
        branch.to = nodes_.size();
        longer.push_back(branch.to);
        Node& next = nodes_.emplace_back();
        next.steps = node.steps;
        PartStep& step = next.steps.emplace_back();
        step.task = branch.task;
        for (const Branch& other : node.branches) {
          if (other.task == branch.task) continue;
          (&other < &branch ? step.before : step.after).push_back({other.task, other.op});
        }
        for (const std::vector<PartStep::Other>* some : {&node.sleep, &step.before}) {
          for (const PartStep::Other& other : *some) {
            if (Commute(other.op, branch.op)) next.sleep.push_back(other);
          }
        }
        next.hash = Mix(node.hash, trace_.OriginOf(branch.task));
      }
      nodes_[leaf] = std::move(node);
    }
    leaves = std::move(longer);
  }
  for (const std::vector<size_t>* some : {&ends, &leaves}) {
    for (const size_t leaf : *some) {
      nodes_[leaf].part = parts_.size();
      parts_.push_back(std::move(nodes_[leaf].steps));
      hash_ = Mix(hash_, nodes_[leaf].hash);
    }
  }
}

bool Split::FindBranches(Model* model, Node& node) {
  std::mt19937_64 random(node.hash);
  std::vector<Branch> can_go;  // what each that can go would do
  std::vector<uint32_t> done;
  std::vector<TaskId> can;
  for (int i = 0; i < kTries; ++i) {
    trace_.Begin(model);
    for (const PartStep& step : node.steps) trace_.Step(model, step.task);
    FindEnabled(model, &can);
    if (i == 0) {
      for (const TaskId task : can) can_go.push_back({task, model->Next(task).op, 0});
      std::ranges::sort(can_go, {}, [this](const Branch& b) { return trace_.OriginOf(b.task); });
    }
    done.assign(trace_.width(), 0);
    for (const TaskId task : trace_.by_age()) {
      done[task] = static_cast<uint32_t>(trace_.CountOf(task));
    }
    while (!can.empty() && trace_.length() < max_steps_) {
      trace_.Step(model, can[random() % can.size()]);
      FindEnabled(model, &can);
    }
    steps_ += trace_.length();
    model->End(Model::Ended::kGivenUp);
    done.resize(trace_.width());
    const auto comes_next = [&](const auto& b) { return ComesNext(trace_, done, b.task); };
    if (std::ranges::any_of(node.sleep, comes_next)) continue;
    if (std::ranges::any_of(node.branches, comes_next)) continue;
    const auto first = std::ranges::find_if(can_go, comes_next);
    if (first != can_go.end()) node.branches.push_back(*first);
  }
  std::ranges::sort(node.branches, {}, [this](const Branch& b) { return trace_.OriginOf(b.task); });
  return !node.branches.empty();
}

std::optional<size_t> Split::FindPart(const Trace& trace) const {
  std::vector<uint32_t> done(trace.width());
  const Node* node = &nodes_[0];
  while (!node->branches.empty()) {
    const auto first = std::ranges::find_if(
        node->branches, [&](const Branch& b) { return ComesNext(trace, done, b.task); });
    if (first == node->branches.end()) return std::nullopt;
    ++done[first->task];
    node = &nodes_[first->to];
  }
  return node->part;
}

}  // namespace quiesce::explore

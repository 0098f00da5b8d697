#include "quiesce/testing/explore/shard.h"

#include <algorithm>
#include <utility>

#include "quiesce/testing/explore/mix.h"
#include "quiesce/testing/explore/schedule.h"

namespace quiesce::explore {

ShardExplorer::ShardExplorer(Model* model, Shard shard, ExploreOptions options)
    : model_(model), shard_(shard), options_(std::move(options)) {}

void ShardExplorer::Stop() {
  stopped_ = true;
  if (explorer_.has_value()) explorer_->Stop();
}

size_t ShardExplorer::parts() const {
  return (split_->parts() + shard_.count - 1 - shard_.index) / shard_.count;
}

Exploration ShardExplorer::Run() {
  const Execution first = Follow(model_, &first_, {}, options_.max_steps);
  program_ = first.schedule.hash;
  if (first.ended == Execution::Ended::kTooLong) {
    result_.problem = TooLong(options_.max_steps);
    result_.too_long = true;
  }
  const bool alone = shard_.count == 1;
  split_.emplace(model_, alone || stopped_ ? 1 : size_t{shard_.count}, options_.max_steps);
  if (stopped_ || result_.too_long) return std::move(result_);
  result_.steps = first_.length() + split_->steps();
  for (size_t part = shard_.index; part < split_->parts(); part += shard_.count) {
    if (Executions(result_) >= options_.max_executions) return std::move(result_);
    ExploreOptions options = options_;
    options.max_executions -= Executions(result_);
    options.tell_classes_apart = true;
    options.keep_wakeup_trees = false;
    options.part = split_->part(part);
    options.counts = [&](const Trace& trace) {
      const std::optional<size_t> in = split_->FindPart(trace);
      if (!in.has_value()) strays_[trace.ClassHash()] = !model_->live().empty();
      return in == part;
    };
    explorer_.emplace(model_, options);
    Exploration explored = explorer_->Run();
    const bool complete = explored.complete;
    Add(std::move(explored));
    if (!complete) return std::move(result_);
    ++parts_done_;
  }
  result_.complete = true;
  result_.exhausted = alone;
  return std::move(result_);
}

void ShardExplorer::Add(Exploration part) {
  result_.classes += part.classes;
  result_.deadlocks += part.deadlocks;
  result_.duplicates += part.duplicates;
  result_.elsewhere += part.elsewhere;
  result_.blocked += part.blocked;
  result_.probes += part.probes;
  result_.steps += part.steps;
  result_.longest = std::max(result_.longest, part.longest);
  result_.problem = std::move(part.problem);
  result_.too_long = part.too_long;
  for (const uint64_t hash : part.hashes) digest_ += Mix(1, hash);
  if (options_.tell_classes_apart) result_.hashes.merge(part.hashes);
}

double ShardExplorer::EstimateClasses() const {
  if (!explorer_.has_value()) return 1;
  const double explored = static_cast<double>(Executions(result_)) + explorer_->EstimateClasses();
  const size_t begun = std::min(parts_done_ + 1, parts());
  return explored / static_cast<double>(begun) * static_cast<double>(parts());
}

}  // namespace quiesce::explore

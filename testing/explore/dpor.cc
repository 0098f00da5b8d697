#include "quiesce/testing/explore/dpor.h"

#include <algorithm>
#include <utility>

namespace quiesce::explore {

Exploration Explorer::Run() {
  states_.emplace_back();
  size_t known = 0;
  Node next = WakeupNodes::kNone;
  while (Execute(known, next)) {
    if (stopped_ || ended() >= options_.max_executions) break;
    // Back to the deepest state from which something is left to be explored.
    known = trace_.length();
    while (known > 0 && states_[known - 1].todo.empty()) --known;
    if (known-- == 0) {
      result_.exhausted = result_.complete = !waits_for_several_;
      break;
    }
    State& state = states_[known];
    state.sleep.push_back({trace_[known].task, trace_[known].op});
    next = nodes_.PopFirst(state.todo);
    ++state.branches;
    state.executions += ended() - std::exchange(state.began_at, ended());
  }
  return std::move(result_);
}

// ---- one execution --------------------------------------------------------------------------------

bool Explorer::Execute(size_t known, Node next) {
  trace_.Begin(model_);
  for (size_t i = 0; i < known; ++i) {
    ++result_.steps;
    if (trace_.Repeat(model_)) continue;
    result_.SetNotRepeated(i, trace_[i].task);
    model_->End(Model::Ended::kGivenUp);
    return false;
  }
  if (known == 0 && next == WakeupNodes::kNone && !BeginPart()) return false;
  TaskId task;
  WakeupNodes::List guide;
  bool any_enabled;
  while (Choose(&next, &task, &guide, &any_enabled)) {
    if (trace_.length() == options_.max_steps) {
      result_.problem = TooLong(options_.max_steps);
      result_.too_long = true;
      model_->End(Model::Ended::kGivenUp);
      return false;
    }
    Step(task, guide);
  }
  CountEnd(any_enabled              ? Model::Ended::kGivenUp
           : model_->live().empty() ? Model::Ended::kComplete
                                    : Model::Ended::kDeadlock);
  return true;
}

bool Explorer::BeginPart() {
  for (const PartStep& step : options_.part) {
    if (!CanGo(model_, step.task)) {
      result_.SetNotRepeated(trace_.length(), step.task);
      model_->End(Model::Ended::kGivenUp);
      return false;
    }
    const size_t at = trace_.length();
    const auto sleep = [&](const std::vector<PartStep::Other>& others) {
      for (const PartStep::Other& other : others) {
        states_[at].sleep.push_back({other.task, other.op});
      }
    };
    sleep(step.before);
    Step(step.task, WakeupNodes::List());
    sleep(step.after);
  }
  return true;
}

bool Explorer::Choose(Node* next, TaskId* task, WakeupNodes::List* guide, bool* any_enabled) {
  State& state = states_[trace_.length()];
  while (*next != WakeupNodes::kNone || !state.todo.empty()) {
    if (*next == WakeupNodes::kNone) *next = nodes_.PopFirst(state.todo);
    *task = nodes_[*next].task;
    *guide = std::exchange(nodes_[*next].children, WakeupNodes::List());
    nodes_.Free(std::exchange(*next, WakeupNodes::kNone));
    if (CanGo(model_, *task)) return true;
    // It would have to wait: the model has not said all that it needs.
    nodes_.FreeAll(*guide);
    ++result_.blocked;
  }
  *guide = WakeupNodes::List();
  *any_enabled = false;
  const auto may_go = [&](TaskId id) {
    if (!model_->Next(id).enabled) return false;
    *any_enabled = true;
    return std::ranges::none_of(state.sleep, [id](const Asleep& a) { return a.task == id; });
  };
  const std::vector<TaskId>& live = model_->live();
  // The one that ran last, if it can: such executions are read most easily.
  if (trace_.length() > 0) {
    *task = trace_[trace_.length() - 1].task;
    if (std::ranges::count(live, *task) != 0 && may_go(*task)) return true;
  }
  for (const TaskId id : live) {
    *task = id;
    if (may_go(id)) return true;
  }
  return false;
}

void Explorer::Step(TaskId task, WakeupNodes::List guide) {
  ++result_.steps;
  const Event& event = trace_.Step(model_, task);
  if (states_.size() == trace_.length()) states_.emplace_back();
  State& after = states_[trace_.length()];
  after.todo = guide;
  after.sleep.clear();
  after.branches = after.executions = 0;
  after.began_at = ended();
  for (const Asleep& asleep : states_[trace_.length() - 1].sleep) {
    if (asleep.task != task && Commute(asleep.op, event.op)) after.sleep.push_back(asleep);
  }
}

void Explorer::CountEnd(Model::Ended how) {
  result_.longest = std::max(result_.longest, trace_.length());
  // Also those of the part that was repeated: what could come before them is another now.
  for (size_t at = 0; at < trace_.length(); ++at) FindRaces(trace_[at], at);
  // What waits may have come too late for something.
  for (const TaskId task : model_->live()) {
    const Pending& pending = model_->Next(task);
    if (!pending.enabled) FindRaces(trace_.Next(task, pending.op), trace_.length());
  }
  if (how == Model::Ended::kGivenUp) {
    ++result_.blocked;
  } else if (options_.counts && !options_.counts(trace_)) {
    ++result_.elsewhere;
  } else if (options_.tell_classes_apart && !result_.hashes.insert(trace_.ClassHash()).second) {
    ++result_.duplicates;
  } else {
    ++(how == Model::Ended::kDeadlock ? result_.deadlocks : result_.classes);
  }
  model_->End(how);
  if (stopped_) return;
  for (Race& race : races_) Reverse(race.early, std::move(race.late));
  races_.clear();
}

double Explorer::EstimateClasses() const {
  double classes =
      1;  // from the state at hand, by way of what is being explored: at the end, the latest execution
  for (size_t at = trace_.length(); at-- > 0;) {
    const State& state = states_[at];
    classes += static_cast<double>(state.executions);
    const auto explored = static_cast<double>(state.branches + 1);
    classes += classes / explored * static_cast<double>(nodes_.Count(state.todo));
  }
  return classes;
}

// ---- races ----------------------------------------------------------------------------------------

void Explorer::FindRaces(const Event& late, size_t late_at) {
  candidates_.clear();
  for (const Access& access : late.op.accesses) {
    for (const uint32_t at : trace_.EventsOn(access.object)) {
      if (at >= late_at) break;
      const Event& early = trace_[at];
      if (early.task != late.task && !Commute(early.op, late.op)) candidates_.push_back(at);
    }
  }
  if (candidates_.empty()) return;
  if (late.op.accesses.size() > 1) {
    std::ranges::sort(candidates_);
    candidates_.erase(std::unique(candidates_.begin(), candidates_.end()), candidates_.end());
  }

  // What comes before `late` in any case; and, if it never waits, by way of a later race, which is reversed first.
  const uint32_t* before = trace_.ClockBefore(late);
  joined_.assign(before, before + trace_.width());
  if (!late.op.may_block) {
    for (const EventRef& ref : late.after) trace_.JoinClock(trace_.Find(ref), joined_.data());
  }
  for (size_t i = candidates_.size(); i-- > 0;) {
    const size_t early = candidates_[i];
    if (joined_[trace_[early].task] >= trace_[early].index) continue;
    races_.push_back({early, late});
    if (!late.op.may_block) trace_.JoinClock(early, joined_.data());
  }
}

void Explorer::Reverse(size_t early, Event late) {
  // To the end of the execution, not only to `late`: who cuts it there says less of what this execution was, and what
  // two branches are then taken for may be done by neither.
  // (Source sets are about what comes before `late`.)
  word_.clear();
  const bool has_come = late.index <= trace_.CountOf(late.task);
  const size_t end = options_.keep_wakeup_trees || !has_come ? trace_.length()
                                                             : trace_.Find({late.task, late.index});
  for (size_t at = early + 1; at < end; ++at) {
    if (!trace_.ComesBefore(early, at)) word_.push_back({&trace_[at], at});
  }
  if (late.op.may_block && !Probe(early, &late)) return;
  word_.push_back({&late, kNowhere});

  State& state = states_[early];
  size_t at;
  for (const Asleep& asleep : state.sleep) {
    if (MayStartWith(asleep.task, asleep.op, &at) &&
        (options_.keep_wakeup_trees || at != kNowhere)) {
      return;  // it has been explored
    }
  }
  if (!options_.keep_wakeup_trees) {
    for (Node node = state.todo.first; node != WakeupNodes::kNone; node = nodes_[node].next) {
      if (MayStartWith(nodes_[node].task, nodes_[node].op, &at) && at != kNowhere) return;
    }
    nodes_.Append(state.todo, word_[0].event->task, word_[0].event->op);
    return;
  }
  Node parent = WakeupNodes::kNone;  // the root
  const auto children = [&]() -> WakeupNodes::List& {
    return parent == WakeupNodes::kNone ? state.todo : nodes_[parent].children;
  };
  while (!word_.empty()) {
    Node child = children().first;
    while (child != WakeupNodes::kNone &&
           !MayStartWith(nodes_[child].task, nodes_[child].op, &at)) {
      child = nodes_[child].next;
    }
    if (child == WakeupNodes::kNone) {
      for (const Letter& letter : word_) {
        parent = nodes_.Append(children(), letter.event->task, letter.event->op);
      }
      return;
    }
    if (nodes_[child].children.empty()) return;  // whatever follows from there
    if (at != kNowhere) word_.erase(word_.begin() + static_cast<ptrdiff_t>(at));
    parent = child;
  }
}

bool Explorer::Probe(size_t early, Event* late) {
  const auto reads = [](const Access& access) { return access.effect == Effect::kRead; };
  if (late->op.accesses.size() - std::ranges::count_if(late->op.accesses, reads) > 1) {
    waits_for_several_ = true;
  }
  for (const bool all : {true, false}) {
    if (!all) {
      // Something of the word takes what it needs: only what has to come before it, then.
      const uint32_t* before = trace_.ClockBefore(*late);
      const size_t count = word_.size();
      std::erase_if(word_, [&](const Letter& letter) {
        return before[letter.event->task] < letter.event->index;
      });
      if (word_.size() == count) return false;
    }
    ++result_.probes;
    model_->Begin();
    EventRefs after;
    const auto step = [&](TaskId task) {
      if (!CanGo(model_, task)) return false;
      model_->Step(task, after);
      after.clear();
      return true;
    };
    bool can = true;
    for (size_t at = 0; can && at < early; ++at) can = step(trace_[at].task);
    for (size_t i = 0; can && i < word_.size(); ++i) can = step(word_[i].event->task);
    can = can && CanGo(model_, late->task);
    if (can) late->op = model_->Next(late->task).op;
    model_->End(Model::Ended::kGivenUp);
    if (can) return true;
  }
  return false;
}

bool Explorer::MayStartWith(TaskId task, const Op& op, size_t* at) const {
  for (size_t i = 0; i < word_.size(); ++i) {
    if (word_[i].event->task != task) continue;
    *at = i;
    for (size_t before = 0; before < i; ++before) {
      if (ComesBefore(before, i)) return false;
    }
    return true;
  }
  *at = kNowhere;
  return std::ranges::all_of(word_, [&](const Letter& l) { return Commute(op, l.event->op); });
}

bool Explorer::ComesBefore(size_t a, size_t b) const {
  if (word_[b].at != kNowhere) return trace_.ComesBefore(word_[a].at, word_[b].at);
  // What came before `late` by way of the event that it is to overtake does not any more.
  const Event& first = *word_[a].event;
  const Event& second = *word_[b].event;
  return first.task == second.task || second.previous == word_[a].at ||
         !Commute(first.op, second.op) ||
         std::ranges::count(second.after, EventRef{first.task, first.index}) != 0;
}

}  // namespace quiesce::explore

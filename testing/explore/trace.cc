#include "quiesce/testing/explore/trace.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "quiesce/testing/explore/mix.h"

namespace quiesce::explore {
namespace {

void Join(uint32_t* clock, const uint32_t* other, size_t width) {
  for (size_t i = 0; i < width; ++i) clock[i] = std::max(clock[i], other[i]);
}

}  // namespace

void Trace::Begin(Model* model) {
  for (const TaskId task : by_age_) {
    tasks_[task].events.clear();
    tasks_[task].age = kUnknown;
  }
  by_age_.clear();
  for (const ObjectId object : touched_) {
    objects_[object].events.clear();
    objects_[object].touched.fill(false);
  }
  touched_.clear();
  length_ = 0;
  model->Begin();
  FindNewTasks(model, kNowhere);
}

void Trace::FindNewTasks(Model* model, size_t made_by) {
  const std::vector<TaskId>& live = model->live();
  const auto is_known = [this](TaskId task) {
    return task < tasks_.size() && tasks_[task].age != kUnknown;
  };
  // They are at the end.
  size_t first = live.size();
  while (first > 0 && !is_known(live[first - 1])) --first;
  uint64_t siblings = 0;
  for (; first < live.size(); ++first) {
    MakeRoomFor(live[first]);
    TaskState& task = tasks_[live[first]];
    task.age = static_cast<uint32_t>(by_age_.size());
    task.made_by = made_by;
    task.origin =
        made_by == kNowhere
            ? Mix(0, ++siblings)
            : Mix(Mix(OriginOf(events_[made_by].task), events_[made_by].index), ++siblings);
    by_age_.push_back(live[first]);
  }
}

const Trace::Event& Trace::Step(Model* model, TaskId task) {
  if (events_.size() == length_) events_.emplace_back();
  Event& event = events_[length_];
  TaskState& state = tasks_[task];
  event.task = task;
  event.index = static_cast<uint32_t>(state.events.size() + 1);
  event.previous = state.latest();
  event.op = model->Next(task).op;
  event.after.clear();
  model->Step(task, event.after);
  state.events.push_back(length_);
  Happen(length_);
  FindNewTasks(model, length_);
  return events_[length_++];
}

bool Trace::Repeat(Model* model) {
  const TaskId task = events_[length_].task;
  const Op before = events_[length_].op;
  return CanGo(model, task) && Step(model, task).op == before;
}

Trace::Event Trace::Next(TaskId task, const Op& op) const {
  Event event;
  event.task = task;
  event.index = static_cast<uint32_t>(tasks_[task].events.size() + 1);
  event.previous = tasks_[task].latest();
  event.op = op;
  return event;
}

void Trace::MakeRoomFor(TaskId task) {
  if (task >= tasks_.size()) tasks_.resize(task + 1);
  if (task < width_) return;
  const size_t before = width_;
  while (width_ <= task) width_ *= 2;
  const auto spread = [&](const std::vector<uint32_t>& clocks) {
    std::vector<uint32_t> to(clocks.size() / before * width_);
    for (size_t i = 0; i < clocks.size(); ++i) to[i / before * width_ + i % before] = clocks[i];
    return to;
  };
  clocks_ = spread(clocks_);
  zero_.resize(width_);
  for (ObjectState& object : objects_) {
    for (std::vector<uint32_t>& clock : object.clocks) clock = spread(clock);
  }
}

void Trace::Happen(size_t at) {
  const Event& event = events_[at];
  if (clocks_.size() < (at + 1) * width_) clocks_.resize((at + 1) * 2 * width_);
  uint32_t* clock = MutableClock(at);
  std::copy_n(ClockBefore(event), width_, clock);
  for (const Access& access : event.op.accesses) {
    if (access.object >= objects_.size()) objects_.resize(access.object + 1);
    const ObjectState& object = objects_[access.object];
    for (size_t effect = 0; effect < kEffects; ++effect) {
      if (object.touched[effect] && Conflict(access.effect, static_cast<Effect>(effect))) {
        Join(clock, object.clocks[effect].data(), width_);
      }
    }
  }
  for (const EventRef& ref : event.after) JoinClock(Find(ref), clock);
  clock[event.task] = event.index;
  for (const Access& access : event.op.accesses) {
    ObjectState& object = objects_[access.object];
    if (object.events.empty()) touched_.push_back(access.object);
    if (object.events.empty() || object.events.back() != at) {
      object.events.push_back(static_cast<uint32_t>(at));
    }
    const auto effect = static_cast<size_t>(access.effect);
    std::vector<uint32_t>& joined = object.clocks[effect];
    if (!std::exchange(object.touched[effect], true)) {
      joined.assign(clock, clock + width_);
    } else {
      Join(joined.data(), clock, width_);
    }
  }
}

void Trace::JoinClock(size_t at, uint32_t* clock) const { Join(clock, ClockOf(at), width_); }

uint64_t Trace::EventHash(size_t at) const {
  uint64_t before = 0;  // in whatever order the tasks are numbered
  const uint32_t* clock = ClockOf(at);
  for (TaskId task = 0; task < width_; ++task) {
    if (clock[task] != 0) before += Mix(OriginOf(task), clock[task]);
  }
  return Mix(Mix(OriginOf(events_[at].task), events_[at].index), before);
}

uint64_t Trace::ClassHash() const {
  uint64_t sum = 0;  // in whatever order the events came
  for (size_t at = 0; at < length_; ++at) sum += EventHash(at);
  return sum;
}

uint64_t Trace::OrderHash() const {
  // By age, and as they appear: what a model calls them depends on what it has done before.
  absl::flat_hash_map<ObjectId, uint64_t> objects;
  uint64_t hash = length_;
  for (size_t at = 0; at < length_; ++at) {
    hash = Mix(hash, AgeOf(events_[at].task));
    for (const Access& access : events_[at].op.accesses) {
      const uint64_t object = objects.try_emplace(access.object, objects.size()).first->second;
      hash = Mix(hash, object << 8 | static_cast<uint64_t>(access.effect));
    }
  }
  return hash;
}

}  // namespace quiesce::explore

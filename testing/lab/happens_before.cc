#include "quiesce/testing/lab/happens_before.h"

#include <algorithm>

namespace quiesce::lab {

void HappensBefore::Begin() {
  for (Clock& clock : tasks_) clock.clear();
  for (Clock& clock : objects_) clock.clear();
  for (Memory& memory : memory_) {
    memory.reads.clear();
    memory.writes.clear();
  }
}

void HappensBefore::Raise(Clock& clock, uint32_t task, uint32_t to) {
  if (task >= clock.size()) clock.resize(task + 1);
  clock[task] = std::max(clock[task], to);
}

void HappensBefore::JoinInto(Clock& clock, const Clock& other) {
  if (clock.size() < other.size()) clock.resize(other.size());
  for (size_t i = 0; i < other.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

HappensBefore::Clock& HappensBefore::Tick(explore::TaskId task) {
  if (task >= tasks_.size()) tasks_.resize(task + 1);
  Clock& clock = tasks_[task];
  Raise(clock, task, At(clock, task) + 1);
  return clock;
}

void HappensBefore::Join(explore::TaskId task, explore::TaskId other) {
  if (std::max(task, other) >= tasks_.size()) tasks_.resize(std::max(task, other) + 1);
  JoinInto(tasks_[task], tasks_[other]);
  Tick(other);  // what it does from here on is not known to `task`
}

void HappensBefore::Use(explore::TaskId task, explore::ObjectId object) {
  if (object >= objects_.size()) objects_.resize(object + 1);
  Clock& clock = Tick(task);
  JoinInto(clock, objects_[object]);
  objects_[object] = clock;
  Tick(task);
}

std::optional<explore::TaskId> HappensBefore::Race(explore::TaskId task, explore::ObjectId object,
                                                   bool change) {
  if (object >= memory_.size()) memory_.resize(object + 1);
  Memory& memory = memory_[object];
  const Clock& clock = Tick(task);
  std::optional<explore::TaskId> other;
  const auto look = [&](const Clock& accesses) {
    for (uint32_t i = 0; i < accesses.size(); ++i) {
      if (i != task && accesses[i] > At(clock, i)) other = i;
    }
  };
  look(memory.writes);
  if (change) look(memory.reads);
  Raise(change ? memory.writes : memory.reads, task, At(clock, task));
  return other;
}

}  // namespace quiesce::lab

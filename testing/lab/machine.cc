#include "quiesce/testing/lab/machine.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "quiesce/runtime/base/check.h"

namespace quiesce::lab {
namespace {

thread_local Machine* current = nullptr;

}  // namespace

Machine::~Machine() {
  Drop();
  if (current == this) current = nullptr;
}

Machine& Machine::Current() {
  QUIESCE_CHECK(current != nullptr, "lab: a visible operation outside of a lab");
  return *current;
}

explore::TaskId Machine::Spawn(std::function<void()> run) {
  uint32_t& spawned = running_ == kBuilder ? built_tasks_ : tasks_[running_].spawned;
  const uint32_t number = Number(task_numbers_, running_, spawned++);
  while (number >= tasks_.size()) tasks_.emplace_back();
  Task& task = tasks_[number];
  task.fiber = Fiber(std::move(run));
  task.steps = task.spawned = task.made = 0;
  new_.push_back(number);
  return number;
}

explore::ObjectId Machine::NewObject() {
  return Number(object_numbers_, running_,
                running_ == kBuilder ? built_objects_++ : tasks_[running_].made++);
}

uint32_t Machine::Number(absl::flat_hash_map<uint64_t, uint32_t>& numbers, uint32_t maker,
                         uint32_t nth) {
  const uint64_t key = uint64_t{maker} << 32 | nth;
  return numbers.try_emplace(key, static_cast<uint32_t>(numbers.size())).first->second;
}

void Machine::Visit(Look look, const void* argument, Kind kind) {
  const bool may_throw = kind != Kind::kRelease;
  if (dropping_) {
    if (may_throw && Fiber::Inside() && std::uncaught_exceptions() == 0) Fiber::Leave();
    return;
  }
  if (alone_ && running_ == kBuilder) {
    explore::Pending pending;
    look(argument, pending);
    QUIESCE_CHECK(pending.enabled, "lab: outside of a task an operation that waits for one");
    return;
  }
  QUIESCE_CHECK(running_ != kBuilder, "lab: a visible operation outside of a task");
  Task& task = tasks_[running_];
  task.look = look;
  task.argument = argument;
  if (running_on_ && steps_run_on_ < kMostRunOn && Next(running_).enabled) {
    ++steps_run_on_;
    return;
  }
  Fiber::Leave(may_throw);
}

void Machine::Begin() {
  Drop();
  running_ = kBuilder;
  built_tasks_ = built_objects_ = 0;
  step_ = {kBuilder, 0};
  current = this;
  Alone([this] { build_(*this); });
  RunNew();
}

const explore::Pending& Machine::Next(explore::TaskId id) {
  Task& task = tasks_[id];
  task.pending.op.accesses.clear();
  task.pending.op.may_block = false;
  task.pending.enabled = true;
  task.look(task.argument, task.pending);
  return task.pending;
}

void Machine::Step(explore::TaskId id, explore::EventRefs& after) {
  step_ = {id, ++tasks_[id].steps};
  after_ = &after;
  Run(id);
  RunNew();
  after_ = nullptr;
}

void Machine::Run(explore::TaskId id) {
  running_ = id;
  tasks_[id].fiber.Resume();
  running_ = kBuilder;
  if (tasks_[id].fiber.ended()) std::erase(live_, id);
}

void Machine::RunNew() {
  // A task that is spawned here is at the end of new_ when it has begun.
  for (size_t i = 0; i < new_.size(); ++i) {
    live_.push_back(new_[i]);
    Run(new_[i]);
  }
  new_.clear();
}

void Machine::RunOn() {
  running_on_ = true;
  steps_run_on_ = 0;
  after_ = nullptr;
  RunNew();
  for (size_t i = 0; i < live_.size() && steps_run_on_ < kMostRunOn;) {
    ++steps_run_on_;
    const explore::TaskId id = live_[i];
    if (!Next(id).enabled) {
      ++i;
      continue;
    }
    Run(id);
    RunNew();
    i = 0;  // it may have let any other go on
  }
  running_on_ = false;
}

void Machine::End(Ended how) {
  if (on_end_) Alone([this, how] { on_end_(how); });
  Drop();
}

void Machine::Drop() {
  dropping_ = true;
  for (const explore::TaskId id : live_) {
    if (lets_go_) tasks_[id].fiber.LetGo();
    tasks_[id].fiber = Fiber();
  }
  dropping_ = false;
  live_.clear();
  new_.clear();
}

}  // namespace quiesce::lab

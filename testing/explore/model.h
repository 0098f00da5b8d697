// model.h: what is explored: a program that does one operation of one task at a time, as it is told.
#ifndef QUIESCE_TESTING_EXPLORE_MODEL_H_
#define QUIESCE_TESTING_EXPLORE_MODEL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quiesce/testing/explore/event.h"

namespace quiesce::explore {

struct Pending {
  Op op;
  bool enabled = true;
};

// Invariant: the same steps give the same program, so that any prefix of an execution can be had again.
class Model {
 public:
  virtual ~Model() = default;
  // Starts an execution, from the beginning.
  virtual void Begin() = 0;
  // The tasks that have something left to do, in the order in which they were made: what a step makes is at the end.
  virtual const std::vector<TaskId>& live() const = 0;
  // What `task`, which is live, would do if it went next. Valid until the next step.
  virtual const Pending& Next(TaskId task) = 0;
  // Does it. `after`: gets the operations that had to come before this one and do not conflict with it (the release
  // that has let it in); not those of its own task, nor the one that has made its task.
  virtual void Step(TaskId task, EventRefs& after) = 0;
  // The execution is over, wherever it is: nothing is live; or nothing that is can go on (a deadlock); or it is given up.
  enum class Ended : uint8_t { kComplete, kDeadlock, kGivenUp };
  virtual void End(Ended how) = 0;
};

// Of an execution: a program that does not end is found by this.
inline constexpr size_t kMostSteps = 1'000'000;

// Those that can go, in the order in which they were made.
inline void FindEnabled(Model* model, std::vector<TaskId>* enabled) {
  enabled->clear();
  for (const TaskId task : model->live()) {
    if (model->Next(task).enabled) enabled->push_back(task);
  }
}

// Is `task` live, and enabled?
inline bool CanGo(Model* model, TaskId task) {
  return std::ranges::count(model->live(), task) != 0 && model->Next(task).enabled;
}

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_MODEL_H_

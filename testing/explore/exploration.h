// exploration.h: how far to explore a program, and what has come of it.
#ifndef QUIESCE_TESTING_EXPLORE_EXPLORATION_H_
#define QUIESCE_TESTING_EXPLORE_EXPLORATION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/explore/trace.h"

namespace quiesce::explore {

// A step of each execution of a part (split.h). Others are made there in its stead, each in parts of its own. What comes to
// one of `before` is left to that one's; one of `after` leaves to this one what comes to it.
struct PartStep {
  struct Other {
    TaskId task;
    Op op;
  };
  TaskId task = 0;
  std::vector<Other> before;
  std::vector<Other> after;
};

struct ExploreOptions {
  uint64_t max_executions = std::numeric_limits<uint64_t>::max();
  size_t max_steps = kMostSteps;  // of one execution
  // Counts duplicates, for which it remembers a hash of each class.
  bool tell_classes_apart = false;
  // Else only source sets: less memory, and executions that are given up half-way (`blocked`).
  bool keep_wakeup_trees = true;
  // Only executions that begin with these steps; and what nobody else explores of those that race with them.
  std::vector<PartStep> part;
  // Is the class of this execution counted here? Null: each is.
  std::function<bool(const Trace&)> counts;
};

struct Exploration {
  uint64_t classes = 0;     // that came to their end
  uint64_t deadlocks = 0;   // classes that did not: something waits for ever
  uint64_t duplicates = 0;  // executions of a class that had been seen
  uint64_t elsewhere = 0;   // executions of a class that is not counted here
  // Executions given up, since all that could go on had been explored; and steps that were to be made and could not.
  uint64_t blocked = 0;
  uint64_t probes = 0;  // executions begun to see whether an operation could go earlier
  uint64_t steps = 0;   // of all executions, repeated prefixes included
  size_t longest = 0;   // of an execution, in steps
  // All there is. Else max_executions were not enough, or there is a problem, or a bound has left something out, or an
  // operation waits for several objects at once, of which not all is found.
  bool exhausted = false;
  // All that was to be explored: of a bounded exploration, all within the bound.
  bool complete = false;
  // Not empty: it stopped there. A prefix that does something else when it is executed again, or an execution of
  // more than max_steps.
  std::string problem;
  bool too_long = false;               // … which is the latter
  std::optional<TaskId> not_repeated;  // … the former: whose step it is

  void SetNotRepeated(size_t step, TaskId task);
  // Of the classes and deadlocks that are counted here, if they were told apart (Trace::ClassHash).
  absl::flat_hash_set<uint64_t> hashes;
};

// That came to an end, or to a deadlock.
inline uint64_t Executions(const Exploration& all) {
  return all.classes + all.deadlocks + all.duplicates + all.elsewhere;
}

// For Exploration::problem.
std::string TooLong(size_t max_steps);

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_EXPLORATION_H_

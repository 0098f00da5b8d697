#include "quiesce/testing/explore/exploration.h"

#include "absl/strings/str_cat.h"

namespace quiesce::explore {

void Exploration::SetNotRepeated(size_t step, TaskId task) {
  problem = absl::StrCat("nondeterminism: step ", step + 1, " of an execution, of task ", task,
                         ", does something else when it is repeated");
  not_repeated = task;
}

std::string TooLong(size_t max_steps) {
  return absl::StrCat("an execution of more than ", max_steps, " steps");
}

}  // namespace quiesce::explore

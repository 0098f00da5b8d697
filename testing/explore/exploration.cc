#include "quiesce/testing/explore/exploration.h"

#include "absl/strings/str_cat.h"

namespace quiesce::explore {

std::string DoesNotRepeat(size_t step, TaskId task) {
  return absl::StrCat("nondeterminism: step ", step + 1, " of an execution, of task ", task,
                      ", does something else when it is repeated");
}

std::string TooLong(size_t max_steps) {
  return absl::StrCat("an execution of more than ", max_steps, " steps");
}

}  // namespace quiesce::explore

#include "quiesce/runtime/combinator/join_set.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

TaskSet::~TaskSet() {
  for (Branch& place : places_) place.Forget();
}

void TaskSet::Add(TaskCore* task) {
  Branch* place = free_;
  if (place == nullptr) {
    place = &places_.emplace_back();
  } else {
    free_ = place->next;
  }
  ++size_;
  ended_.Add(place, task);
}

void TaskSet::Remove(Branch* branch) {
  branch->Forget();
  branch->next = free_;
  free_ = branch;
  --size_;
}

void TaskSet::CancelAll(const Budget& drain) {
  for (const Branch& place : places_) {
    if (place.task() == nullptr) continue;
    task_handle_internal::CancelTask(place.task(), CancelKind::kUser, "JoinSet::CancelAll", drain);
  }
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

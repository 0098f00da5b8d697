#include "quiesce/runtime/sync/holder.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/task/thread_wait.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {
namespace {

// Holds what belongs to no task. Never touched.
TaskCore* const kNobody = reinterpret_cast<TaskCore*>(alignof(TaskCore));

}  // namespace

bool LockHolder::TryHandTo(LockRequest* request, bool drains) {
  // What is read of the request is read before the grant: after that its task goes on.
  TaskCore* const task = request->waiter->task();
  const std::source_location where = request->where;
  const bool lends = drains && task->MayBoost();
  if (lends) task->Boost(1);  // before it is posted
  if (!request->waiter->Grant()) {
    if (lends) task->Boost(-1);
    return false;
  }
  Take(task, where);
  lends_ = lends;
  return true;
}

void LockHolder::EndLending() {
  lends_ = false;
  task_->Boost(-1);
}

void LockHolder::Detach() {
  if (lends_) EndLending();
  task_ = kNobody;
}

void LockHolder::MoveTo(TaskCore* task, const std::source_location& where, bool drains) {
  if (lends_) EndLending();
  Take(task, where);
  lends_ = drains && task->MayBoost();
  if (lends_) task->Boost(1);
}

TaskCore* LockHolder::Lend(const LockRequest& request) {
  // It may have become the holder since it parked.
  if (lends_ || free() || task_ == kNobody || task_ == request.waiter->task()) return nullptr;
  if (!task_->MayBoost()) return nullptr;
  lends_ = true;
  return task_->LendTo();
}

void LockHolder::CheckForeignReleaser(const char* what) const {
  if (task_ == kNobody || task_ == ThisTask()) return;
  Fatal(
      "%s was unlocked by %s, but it is held by %s. Unlock it in the task that locked it, or "
      "Detach "
      "the guard there before it is moved to another",
      what, DescribeLocker(*ThisTask()).c_str(), Describe().c_str());
}

std::string LockHolder::Describe() const {
  return absl::StrCat(task_ == kNobody ? "a guard that belongs to no task" : DescribeLocker(*task_),
                      ", locked at ", DescribePlace(where_));
}

TaskCore* ThisTask() {
  auto* task = static_cast<TaskCore*>(cx_internal::CurrentTask());
  return task != nullptr ? task : ThisThreadAsTask();
}

std::string DescribeLocker(const TaskCore& task) {
  if (task.site->ops == nullptr) return task.site->name;
  return absl::StrCat("task ", DescribeTask(task));
}

std::string DescribeQueue(const LockQueue& queue) {
  const LockRequest* first = queue.front();
  if (first == nullptr) return "";
  size_t count = 0;
  for (const LockRequest* r = first; r != nullptr; r = queue.Next(r)) ++count;
  return absl::StrCat("; ", count, count == 1 ? " waits for it: " : " wait for it, the first is ",
                      DescribeLocker(*first->waiter->task()), ", at ", DescribePlace(first->where));
}

void LockedTwice(const char* call, const std::source_location& where, const LockHolder& holder) {
  Fatal(
      "%s at %s would wait for ever, since the lock is held by the same task: %s. Unlock it "
      "before, "
      "or pass the guard on to what needs the lock",
      call, DescribePlace(where).c_str(), holder.Describe().c_str());
}

void HoldsNothing(const char* call) {
  Fatal(
      "%s: this guard holds no lock: it was unlocked before, or moved from. A guard is used until "
      "it "
      "is unlocked, once",
      call);
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

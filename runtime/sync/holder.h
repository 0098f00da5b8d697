// holder.h: who holds a lock, who waits for it, and the lane that the one inherits from the others (R9, G12).
//
// Why:        a task that drains waits for a lock, and its holder stands behind thousands of tasks that are only
//             ready. The locks of this folder keep, under their own lock, what is needed to let it go first.
// How:        a request whose task goes in the cancel lane is counted in its queue, once; the wait protocol says so
//             (WaitOps::lend_lane) when it parks there, or when the cancel comes later. While one is counted, the
//             holder is boosted (TaskCore::Boost): from the first until its release, and the next holder if
//             there is still one left then. All of it is O(1).
// Threads:    guarded by the lock of the primitive.
#ifndef QUIESCE_RUNTIME_SYNC_HOLDER_H_
#define QUIESCE_RUNTIME_SYNC_HOLDER_H_

#include <cstdint>
#include <source_location>
#include <string>

#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/sync/leaving.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {

// One operation that waits, or may: part of it, and so of the frame that awaits it.
struct LockRequest : ListHook {
  explicit LockRequest(const std::source_location& where) : ListHook(kUnsetHook), where(where) {}
  LockRequest(const LockRequest&) = delete;
  LockRequest& operator=(const LockRequest&) = delete;

  const std::source_location where;
  // Set by LockQueue::PushBack:
  Waiter* waiter;
  bool drains;  // its task goes in the cancel lane
};

// Those who wait, first come first.
class LockQueue {
 public:
  bool empty() const { return requests_.empty(); }
  LockRequest* front() const { return requests_.front(); }
  LockRequest* Next(const LockRequest* request) const { return requests_.Next(request); }
  // How many of them go in the cancel lane.
  uint32_t drains() const { return drains_; }

  void PushBack(LockRequest* request, Waiter* waiter) {
    request->waiter = waiter;
    request->drains = false;
    requests_.PushBack(request);
  }
  LockRequest* PopFront() {
    LockRequest* request = requests_.PopFront();
    if (request != nullptr) drains_ -= request->drains;
    return request;
  }
  // False: it is queued no more, since somebody tried to grant it.
  bool Remove(LockRequest* request) {
    if (!request->linked()) return false;
    requests_.Remove(request);
    drains_ -= request->drains;
    return true;
  }
  // Who was popped could not be granted, and Withdraws by itself.
  void PassOver() { leaving_.Add(); }
  // After its cancel. False: it was passed over before.
  bool Withdraw(LockRequest* request) {
    if (Remove(request)) return true;
    leaving_.Remove();
    return false;
  }
  // For destructors; see Leaving.
  void CheckAllLeft(const char* what, const char* wait) const { leaving_.CheckNone(what, wait); }
  // From now on the task of `request`, which is queued or was just popped, goes in the cancel lane. It never leaves
  // that again while it waits.
  void NoteDrains(LockRequest* request) {
    if (request->drains) return;
    request->drains = true;
    drains_ += request->linked();
  }

 private:
  IntrusiveList<LockRequest> requests_;
  uint32_t drains_ = 0;
  Leaving leaving_;
};

// The one task that holds a lock.
//
// task_     | meaning                                      | moves to
// ----------|----------------------------------------------|-------------------------------------------------
// null      | free                                         | a task: Take, TryHandTo
// a task    | held; lends_: boosted                        | null: Release; kNobody: Detach
// kNobody   | held by a guard that belongs to no task      | null: Release
class LockHolder {
 public:
  bool free() const { return task_ == nullptr; }
  bool lends() const { return lends_; }
  // Is it `task`?
  bool Is(const TaskCore* task) const { return task_ == task; }

  void Take(TaskCore* task, const std::source_location& where) {
    task_ = task;
    where_ = where;
  }
  // Takes the lock for the waiter of `request`, which is queued no more, unless it was cancelled before.
  // `drains`: does one of those who are still queued?
  bool TryHandTo(LockRequest* request, bool drains);
  void Release() {
    if (lends_) [[unlikely]]
      EndLending();
    task_ = nullptr;
  }
  // The guard may go to any task from here on. Nobody inherits a lane any more.
  void Detach();

  // The lock is another task's from here on, without having been free. `drains`: as in TryHandTo.
  void MoveTo(TaskCore* task, const std::source_location& where, bool drains);

  // Lends the cancel lane to the holder, for the first time only; see WaitOps::lend_lane.
  TaskCore* Lend(const LockRequest& request);

  // May the calling task or thread release it? If not it is fatal.
  void CheckReleaser(const char* what) const {
    if (task_ != cx_internal::CurrentTask()) [[unlikely]]
      CheckForeignReleaser(what);
  }

  // "task 'save' #12 (spawned at save.cc:30), which locked it at save.cc:41"
  std::string Describe() const;

 private:
  [[gnu::cold]] void EndLending();
  [[gnu::cold]] void CheckForeignReleaser(const char* what) const;

  TaskCore* task_ = nullptr;
  std::source_location where_;
  bool lends_ = false;
};

// The task that runs on this thread; a thread that runs none stands in the queues as a task of its own.
TaskCore* ThisTask();

// "task 'save' #12 (spawned at save.cc:30)", or "a thread that is no task".
std::string DescribeLocker(const TaskCore& task);

// For destructors: "; 3 wait, the first is task …, at save.cc:41", or "".
std::string DescribeQueue(const LockQueue& queue);

// A lock is taken by the task that holds it already, which would wait for itself.
[[noreturn, gnu::cold]] void LockedTwice(const char* call, const std::source_location& where,
                                         const LockHolder& holder);
// `call` on a guard that holds nothing.
[[noreturn, gnu::cold]] void HoldsNothing(const char* call);

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_HOLDER_H_

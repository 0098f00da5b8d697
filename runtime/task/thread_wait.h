// thread_wait.h: the same waits for a plain thread, which they block.
//
// Why:        large codebases are mixed: threads that know no tasks send to channels and take locks that tasks
//             use. They stand in the same queues, by the same protocol (wait.h), and in the same order.
// How:        a thread that waits acts as a task that never runs: it has a record, a region of its own that
//             nobody cancels, and a scheduler whose only step is to let the thread go on.
// Threads:    any but a worker: there it is fatal, since it would block the worker.
#ifndef QUIESCE_RUNTIME_TASK_THREAD_WAIT_H_
#define QUIESCE_RUNTIME_TASK_THREAD_WAIT_H_

#include <utility>

#include "absl/time/time.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

class ThreadRecord;

// One blocking call of this thread.
class ThreadWaitScope {
 public:
  // `call` is what the user wrote, "Mutex::BlockingLock"; `instead` what a task writes, "co_await Lock(cx)".
  ThreadWaitScope(const char* call, const char* instead, absl::Duration timeout);
  ~ThreadWaitScope();
  ThreadWaitScope(const ThreadWaitScope&) = delete;
  ThreadWaitScope& operator=(const ThreadWaitScope&) = delete;

  const CxBase& cx() const;
  // Blocks until the wait is decided. Once the timeout has passed it is cancelled, as kDeadline.
  void AwaitPost();

 private:
  ThreadRecord* const record_;
};

// Blocks this thread in the wait Wait<Op>(cx, arguments…), for at most `timeout` (infinite: none).
// Returns  what the wait yields; Cancelled with kDeadline, having taken nothing, once the time has passed.
template <WaitOperation Op, class... Args>
Outcome<typename Op::Value> BlockThread(const char* call, const char* instead,
                                        absl::Duration timeout, Args&&... args) {
  ThreadWaitScope scope(call, instead, timeout);
  Wait<Op> wait(scope.cx(), std::forward<Args>(args)...);
  if (!wait.await_ready() && wait.Suspend(nullptr)) {
    do {
      scope.AwaitPost();
    } while (wait.ops()->complete(&wait) == WakeAction::kParked);
  }
  return wait.await_resume();
}

// What a thread waits and holds locks as: the record of this thread, for operations that need a task
// and do not wait. Valid as long as the thread.
TaskCore* ThisThreadAsTask();

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_THREAD_WAIT_H_

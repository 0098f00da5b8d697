// running_task.h: which task a thread runs now. For the functions that run steps; others ask CurrentTask (cx.h).
//
// Never included where a coroutine could inline it: compilers keep the address of a thread-local across a
// suspension, after which the thread may be another.
#ifndef QUIESCE_RUNTIME_CX_RUNNING_TASK_H_
#define QUIESCE_RUNTIME_CX_RUNNING_TASK_H_

#include <atomic>
#include <cstdint>

#include "quiesce/runtime/base/thread_word.h"
#include "quiesce/runtime/cx/scope.h"

namespace quiesce {
inline namespace v0 {

struct SpawnSite;

namespace cx_internal {

// Of a thread. The owner writes; reports of other threads read site and id: relaxed, since nothing is reached
// through them but sites, which live for ever.
struct RunningSlot {
  TaskScope* task = nullptr;  // first: read by CurrentTask
  std::atomic<const SpawnSite*> site{nullptr};
  std::atomic<uint64_t> id{0};
  bool listed = false;

  void Set(TaskScope* now, const SpawnSite* now_site);
};

// constinit, and trivial to destroy: an access is one instruction, without a look whether it has been constructed.
extern constinit thread_local RunningSlot running_slot asm("quiesce_v0_running_slot")
    QUIESCE_THREAD_WORD_MODEL;

// Makes this thread's slot known to VisitRunningTasks; not while the thread ends.
[[gnu::cold]] void ListThisThread();

inline void RunningSlot::Set(TaskScope* now, const SpawnSite* now_site) {
  if (!listed) [[unlikely]]
    ListThisThread();
  task = now;
  site.store(now_site, std::memory_order_release);  // it may be new
  if (now != nullptr) id.store(now->id, std::memory_order_relaxed);
}

// A step: this thread runs `task` until the end of the scope.
class RunningTask {
 public:
  RunningTask(TaskScope* task, const SpawnSite* site) : slot_(running_slot) {
    slot_.Set(task, site);
  }
  ~RunningTask() { Clear(slot_); }
  RunningTask(const RunningTask&) = delete;
  RunningTask& operator=(const RunningTask&) = delete;

  // Already before that.
  static void End() { Clear(running_slot); }

 private:
  static void Clear(RunningSlot& slot) {
    slot.task = nullptr;
    slot.site.store(nullptr, std::memory_order_relaxed);
  }
  RunningSlot& slot_;  // a step does not change its thread
};

}  // namespace cx_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CX_RUNNING_TASK_H_

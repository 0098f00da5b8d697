// runnable.h: what the scheduler runs: one step of something.
#ifndef QUIESCE_RUNTIME_SCHEDULER_RUNNABLE_H_
#define QUIESCE_RUNTIME_SCHEDULER_RUNNABLE_H_

#include "quiesce/runtime/base/intrusive_list.h"

namespace quiesce {
inline namespace v0 {

// Invariants: (1) in at most one queue at a time, and not posted again before its step has begun;
// (2) the step may free the Runnable, so nobody touches it after the call.
struct Runnable {
  using Step = void (*)(Runnable*);
  explicit constexpr Runnable(Step step) : step(step) {}
  Runnable(const Runnable&) = delete;
  Runnable& operator=(const Runnable&) = delete;

  Runnable* next = nullptr;  // the queue's hook
  Step step;
};

using RunnableQueue = IntrusiveQueue<Runnable>;

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_RUNNABLE_H_

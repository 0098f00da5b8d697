// step_state.h: what a step that is under way keeps in its thread: for who leaves a step in the middle, and goes on with it
// later (a lab, whose tasks run on stacks of their own).
//
// Example:    const StepState mine = StepState::Take();
//             …                                          // steps of others, on this thread
//             mine.Restore();
// Threads:    taken and restored on one.
#ifndef QUIESCE_RUNTIME_TASK_STEP_STATE_H_
#define QUIESCE_RUNTIME_TASK_STEP_STATE_H_

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

struct TaskScope;
struct SpawnSite;
class FrameArena;

class StepState {
 public:
  // Leaves the thread as between two steps.
  [[gnu::noinline]] static StepState Take();
  [[gnu::noinline]] void Restore() const;

 private:
  StepState() = default;
  TaskScope* task_;
  const SpawnSite* site_;
  bool ends_silently_;
  FrameArena* arena_;
  void* embedded_frame_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_STEP_STATE_H_

#include "quiesce/runtime/task/step_state.h"

#include <utility>

#include "quiesce/runtime/cx/running_task.h"
#include "quiesce/runtime/task/frame.h"
#include "quiesce/runtime/task/frame_arena.h"
#include "quiesce/runtime/task/silent_end.h"

namespace quiesce {
inline namespace v0 {

StepState StepState::Take() {
  StepState state;
  const cx_internal::RunningSlot& slot = cx_internal::running_slot;
  state.task_ = slot.task;
  state.site_ = slot.site.load(std::memory_order_relaxed);
  cx_internal::RunningTask::End();
  state.ends_silently_ = ExchangeEndingSilently(false);
  state.arena_ = std::exchange(task_internal::current_arena, nullptr);
  state.embedded_frame_ = ExpectEmbeddedFrame(nullptr);
  return state;
}

void StepState::Restore() const {
  cx_internal::running_slot.Set(task_, site_);
  ExchangeEndingSilently(ends_silently_);
  task_internal::current_arena = arena_;
  ExpectEmbeddedFrame(embedded_frame_);
}

}  // namespace v0
}  // namespace quiesce

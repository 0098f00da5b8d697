#include "quiesce/runtime/task/yield.h"

namespace quiesce {
inline namespace v0 {

WakeAction YieldWait::Complete(Waiter* waiter) {
  auto* self = static_cast<YieldWait*>(waiter);
  self->CountResume();
  if (!self->MustFail()) [[likely]]
    return WakeAction::kResume;
  self->result_ = self->FailReason();
  if (!self->or_return_) return WakeAction::kResume;
  self->frame_->failure() = std::move(self->result_);
  return WakeAction::kUnwind;
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/yield.h"

namespace quiesce {
inline namespace v0 {

bool YieldWait::BeginUnusual() {
  cx_.Verify();
  mode_ = cx_internal::WaitMode(cx_, /*structural=*/false);
  const bool fail = MustFail();
  At(EventKind::kCheckpoint, fail);
  if (!fail) return false;
  result_ = FailReason();
  // A loop that ignores its failed waits lets others run from time to time, as in Wait.
  return MayGoOn();
}

WakeAction YieldWait::Complete(Waiter* waiter) {
  auto* self = static_cast<YieldWait*>(waiter);
  if (self->AnyCancel()) [[unlikely]]
    return self->CompleteCancelled();
  self->CountResume();
  return WakeAction::kResume;
}

WakeAction YieldWait::CompleteCancelled() {
  mode_ = cx_internal::WaitMode(cx_, /*structural=*/false);
  CountResume();
  if (result_.ok()) {
    if (!MustFail()) return WakeAction::kResume;
    result_ = FailReason();
  }
  if (!or_return_) return WakeAction::kResume;
  frame_->failure() = std::move(result_);
  return WakeAction::kUnwind;
}

}  // namespace v0
}  // namespace quiesce

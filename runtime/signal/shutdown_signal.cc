#include "quiesce/runtime/signal/shutdown_signal.h"

#include "absl/status/status.h"

namespace quiesce {
inline namespace v0 {
namespace signal_internal {

bool ShutdownOp::Try(Waiter&, std::optional<Outcome<int>>& result) {
  if (hub_ == nullptr) {
    result.emplace(
        absl::FailedPreconditionError("ShutdownSignal: this runtime was made without signals, and "
                                      "would wait for ever. Make it with "
                                      "RuntimeOptions().WithSignals(), which takes over SIGINT, "
                                      "SIGTERM and SIGQUIT of the process; "
                                      "QUIESCE_MAIN does so"));
    return true;
  }
  const int signal_number = hub_->shutdown_signal();
  if (signal_number == 0) return false;
  result.emplace(signal_number);
  return true;
}

Enqueued ShutdownOp::Enqueue(Waiter& waiter, std::optional<Outcome<int>>& result) {
  if (hub_->AddWaiter(&waiter)) return Enqueued::kQueued;
  // The signal stays for whoever asks.
  if (!waiter.MayTake()) return Enqueued::kLost;
  result.emplace(hub_->shutdown_signal());
  return Enqueued::kDone;
}

bool ShutdownOp::Harvest(Waiter&, std::optional<Outcome<int>>& result) {
  result.emplace(hub_->shutdown_signal());
  return true;
}

}  // namespace signal_internal
}  // namespace v0
}  // namespace quiesce

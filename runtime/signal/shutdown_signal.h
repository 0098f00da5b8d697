// shutdown_signal.h: waits until the process is asked to end.
//
// Example:    auto server = cx.Spawn("server", Serve);
//             co_await OrReturn(ShutdownSignal(cx));            // SIGINT, SIGTERM
//             server.Cancel(Budget::Timeout(absl::Seconds(5)));
#ifndef QUIESCE_RUNTIME_SIGNAL_SHUTDOWN_SIGNAL_H_
#define QUIESCE_RUNTIME_SIGNAL_SHUTDOWN_SIGNAL_H_

#include <optional>

#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/signal/signal_hub.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {
namespace signal_internal {

class ShutdownOp {
 public:
  using Value = int;
  static constexpr const char* kName = "ShutdownSignal";
  static constexpr bool kStructural = false;
  explicit ShutdownOp(SignalHub* hub) : hub_(hub) {
    if (hub != nullptr) hub->Claim();
  }
  bool Try(Waiter&, std::optional<Outcome<int>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<int>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<int>>& result);
  void Withdraw(Waiter& waiter) { hub_->RemoveWaiter(&waiter); }

 private:
  SignalHub* hub_;
};

}  // namespace signal_internal

using ShutdownWait = Wait<signal_internal::ShutdownOp>;

// Waits for the first SIGINT or SIGTERM of the process. A level: one that came before the call counts,
// and each caller sees it, again and again; what the second one does, signal_hub.h says.
// Returns  the signal's number | Cancelled | Error(kFailedPrecondition) if the runtime was made without
//          signals.
// Suspends until the signal comes; an ordinary wait.
// Cancel   safe: the signal is not consumed, by anybody.
// Threads  any number of tasks may wait.
inline ShutdownWait ShutdownSignal(CxWith<cap::Signal> cx) {
  return ShutdownWait(cx, cx.services().signals);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SIGNAL_SHUTDOWN_SIGNAL_H_

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/channel/mpsc_channel.h"
#include "quiesce/runtime/task/task_core.h"

namespace quiesce {
inline namespace v0 {
namespace mpsc_internal {
namespace {

unsigned long long TaskOf(const Waiter* waiter) { return waiter->task()->id; }
const char* NameOf(const Waiter* waiter) { return waiter->task()->site->name; }

}  // namespace

absl::Status ClosedError(const char* operation) {
  return absl::FailedPreconditionError(
      absl::StrCat(operation,
                   ": the channel is closed: its Receiver is gone, or has called Close. The "
                   "message was not taken"));
}

void ZeroCapacity() {
  Fatal(
      "MakeMpsc: a capacity of 0: no message could ever be sent. Take 1 for a hand-over, or more "
      "to "
      "let the senders run ahead");
}

void TwoReceivers(const char* operation, const Waiter* waiting) {
  Fatal(
      "%s while task %llu '%s' waits in %s on the same channel: a Receiver has one consumer. Let "
      "one "
      "task receive, and hand on what it got",
      operation, TaskOf(waiting), NameOf(waiting), waiting->ops()->name);
}

void ReceiverDestroyedInUse(const Waiter* waiting) {
  Fatal(
      "a Receiver was destroyed while task %llu '%s' waits in %s on it. Keep it where the waiting "
      "task "
      "does, or join that task first",
      TaskOf(waiting), NameOf(waiting), waiting->ops()->name);
}

void SenderDestroyedInUse(const Waiter* waiting) {
  if (waiting == nullptr) {
    Fatal(
        "the last Sender of a channel was destroyed while a task that waited in Send or Reserve "
        "has not "
        "gone on yet. Give that task a copy of the Sender");
  }
  Fatal(
      "the last Sender of a channel was destroyed while task %llu '%s' waits in %s. Give that task "
      "a "
      "copy of the Sender",
      TaskOf(waiting), NameOf(waiting), waiting->ops()->name);
}

void ReceiveNone() {
  Fatal("Receiver::ReceiveMany of at most 0 messages: it could never end. Ask for at least 1");
}

}  // namespace mpsc_internal
}  // namespace v0
}  // namespace quiesce

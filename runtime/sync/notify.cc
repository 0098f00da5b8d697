#include "quiesce/runtime/sync/notify.h"

#include <sched.h>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/async_stack.h"

namespace quiesce {
inline namespace v0 {

Notify::~Notify() {
  lock_.Lock();
  while (notifying_all_ != 0) {
    lock_.Unlock();
    sched_yield();
    lock_.Lock();
  }
  if (const Waiter* waiter = queue_.front()) {
    Fatal(
        "a Notify was destroyed while task %s waits for it. Notify or cancel those who wait, and "
        "let "
        "them end, before it goes out of scope",
        DescribeTask(*waiter->task()).c_str());
  }
  if (waits_ != 0) {
    Fatal(
        "a Notify was destroyed before %u of its waits, cancelled when it was notified, has ended. "
        "Let every Wait return before it goes out of scope",
        waits_);
  }
  lock_.Unlock();
}

void Notify::NotifyAll() {
  IntrusiveList<Waiter, QueueHook> told;  // by us; guarded by lock_ like the queue they came from
  lock_.Lock();
  ++notifying_all_;
  word_.store(word_.load(std::memory_order_relaxed) + kRound, std::memory_order_release);
  told.Append(queue_);
  while (true) {
    for (int i = 0; i < kBatch && !told.empty(); ++i) waits_ -= told.PopFront()->Grant();
    if (told.empty()) break;
    lock_.Unlock();
    lock_.Lock();
  }
  --notifying_all_;
  lock_.Unlock();
}

}  // namespace v0
}  // namespace quiesce

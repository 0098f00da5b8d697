#include "quiesce/runtime/sync/mutex.h"

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

using sync_internal::LockRequest;

Mutex::~Mutex() {
  PrimitiveLockHolder lock(lock_);
  queue_.CheckAllLeft("a Mutex", "Lock");
  if (holder_.free()) return;
  Fatal(
      "a Mutex was destroyed while it is held by %s%s. Unlock it, and let those who wait end, "
      "before "
      "it goes out of scope",
      holder_.Describe().c_str(), sync_internal::DescribeQueue(queue_).c_str());
}

void Mutex::HandOver() {
  while (LockRequest* next = queue_.PopFront()) {
    if (holder_.TryHandTo(next, queue_.drains() > 0)) return;
    queue_.PassOver();
  }
}

void Mutex::Detach() {
  PrimitiveLockHolder lock(lock_);
  holder_.CheckReleaser("a Mutex");
  holder_.Detach();
}

void MutexGuard::Detach() {
  if (mutex_ == nullptr) sync_internal::HoldsNothing("MutexGuard::Detach");
  mutex_->Detach();
}

namespace sync_internal {

Enqueued MutexRequest::Queue(Waiter& waiter) {
  PrimitiveLockHolder lock(mutex_->lock_);
  if (mutex_->holder_.free()) {
    if (!waiter.MayTake()) return Enqueued::kLost;
    mutex_->holder_.Take(waiter.task(), request_.where);
    return Enqueued::kDone;
  }
  if (mutex_->holder_.Is(waiter.task())) LockedTwice(kName, request_.where, mutex_->holder_);
  mutex_->queue_.PushBack(&request_, &waiter);
  return Enqueued::kQueued;
}

void MutexRequest::Withdraw(Waiter&) {
  PrimitiveLockHolder lock(mutex_->lock_);
  mutex_->queue_.Withdraw(&request_);
}

TaskCore* MutexRequest::LendLane() {
  SilentLockHolder lock(mutex_->lock_);
  mutex_->queue_.NoteDrains(&request_);
  return mutex_->holder_.Lend(request_);
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

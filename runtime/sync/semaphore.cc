#include "quiesce/runtime/sync/semaphore.h"

#include <limits>

#include "absl/status/status.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/sync/holder.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {

// A wait for none would be a checkpoint in disguise, one for fewer than none a mistake.
void BadCount(int64_t count, const std::source_location& where) {
  Fatal("Semaphore: an Acquire of %lld at %s: the count must be positive",
        static_cast<long long>(count), DescribePlace(where).c_str());
}

Enqueued SemaphoreCore::Queue(AcquireRequest* request, Waiter& waiter) {
  PrimitiveLockHolder lock(lock_);
  const bool fits = queue_.empty() && available_ >= request->count;
  if (closed_ || fits) {
    if (!waiter.MayTake()) return Enqueued::kLost;
    request->closed = closed_;
    if (!closed_) available_ -= request->count;
    return Enqueued::kDone;
  }
  request->waiter = &waiter;
  request->closed = false;
  queue_.PushBack(request);
  UpdateSpecial();
  return Enqueued::kQueued;
}

void SemaphoreCore::Withdraw(AcquireRequest* request) {
  PrimitiveLockHolder lock(lock_);
  if (!request->linked()) return leaving_.Remove();
  queue_.Remove(request);
  Serve();  // it may have stood before one that fits
}

void SemaphoreCore::Serve() {
  for (AcquireRequest* next = queue_.front(); next != nullptr && next->count <= available_;
       next = queue_.front()) {
    const int64_t count = next->count;
    queue_.Remove(next);
    if (next->waiter->Grant()) {
      available_ -= count;
    } else {
      leaving_.Add();
    }
  }
  UpdateSpecial();
}

void SemaphoreCore::GiveBackSpecial() {
  Serve();
  UnlockOrDelete();
}

void SemaphoreCore::AddPermits(int64_t count) {
  if (count < 0) {
    Fatal(
        "Semaphore::AddPermits(%lld): permits cannot be taken away like this. Acquire them, and "
        "keep them",
        static_cast<long long>(count));
  }
  PrimitiveLockHolder lock(lock_);
  if (count > std::numeric_limits<int64_t>::max() - total_) {
    Fatal(
        "Semaphore::AddPermits(%lld): there are %lld already, and more than 2^63 cannot be counted",
        static_cast<long long>(count), static_cast<long long>(total_));
  }
  total_ += count;
  available_ += count;
  Serve();
}

void SemaphoreCore::Close() {
  PrimitiveLockHolder lock(lock_);
  closed_ = true;
  while (AcquireRequest* next = queue_.PopFront()) {
    next->closed = true;
    if (!next->waiter->Grant()) leaving_.Add();
  }
  UpdateSpecial();
}

void SemaphoreCore::Abandon() {
  lock_.Lock();
  if (const AcquireRequest* first = queue_.front(); first != nullptr) {
    Fatal(
        "a Semaphore was destroyed while %s waits for it, in an Acquire of %lld at %s. Close it, "
        "and let those who wait end, before it goes out of scope",
        DescribeLocker(*first->waiter->task()).c_str(), static_cast<long long>(first->count),
        DescribePlace(first->where).c_str());
  }
  leaving_.CheckNone("a Semaphore", "Acquire");
  abandoned_ = true;
  UpdateSpecial();
  UnlockOrDelete();
}

absl::Status AcquireOpBase::Closed() {
  return absl::FailedPreconditionError("Semaphore::Acquire: the semaphore is closed");
}

}  // namespace sync_internal

Semaphore::Semaphore(int64_t permits) : core_(new sync_internal::SemaphoreCore(permits)) {
  if (permits < 0) {
    Fatal("Semaphore(%lld): the number of permits cannot be negative",
          static_cast<long long>(permits));
  }
}

std::optional<SemaphorePermit> Semaphore::TryAcquire(int64_t count, std::source_location where) {
  if (cx_internal::CurrentTask() != nullptr) {
    Fatal(
        "Semaphore::TryAcquire(%lld) at %s: a task's permit is owed by a region. Use "
        "TryAcquire(cx, "
        "%lld)",
        static_cast<long long>(count), DescribePlace(where).c_str(), static_cast<long long>(count));
  }
  if (!TryTake(count, where)) return std::nullopt;
  return SemaphorePermit(sync_internal::SemaphoreSlot(core_, count), where);
}

}  // namespace v0
}  // namespace quiesce

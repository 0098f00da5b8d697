#include "quiesce/runtime/sync/rw_lock.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

using sync_internal::LockRequest;
using sync_internal::Reader;

struct sync_internal::Reader : ListHook {
  Reader(uint64_t task, const std::source_location& where) : task(task), where(where) {}
  const uint64_t task;  // its id: the guard may live longer
  const std::source_location where;
};

RwLock::~RwLock() {
  PrimitiveLockHolder lock(lock_);
  writers_.CheckAllLeft("an RwLock", "WriteLock");
  waiting_readers_.CheckAllLeft("an RwLock", "ReadLock");
  if (writer_.free() && readers_ == 0) return;
  std::string held;
  if (!writer_.free()) {
    held = absl::StrCat("it is written by ", writer_.Describe());
  } else {
    held = absl::StrCat(readers_, readers_ == 1 ? " reads it" : " read it");
    const Reader* first = known_readers_.front();
    if (first != nullptr) {
      absl::StrAppend(&held, ", locked at ", DescribePlace(first->where));
    }
  }
  Fatal(
      "an RwLock was destroyed while %s%s%s. Unlock it, and let those who wait end, before it goes "
      "out of scope",
      held.c_str(), sync_internal::DescribeQueue(writers_).c_str(),
      sync_internal::DescribeQueue(waiting_readers_).c_str());
}

void RwLock::AdmitReaders() {
  while (LockRequest* next = waiting_readers_.PopFront()) {
    if (next->waiter->Grant()) {
      ++readers_;
    } else {
      waiting_readers_.PassOver();
    }
  }
}

bool RwLock::AdmitWriter() {
  while (LockRequest* next = writers_.PopFront()) {
    if (writer_.TryHandTo(next, writers_.drains() + waiting_readers_.drains() > 0)) return true;
    writers_.PassOver();
  }
  return false;
}

void RwLock::ReadEnded() {
  if (readers_ == 0 && !AdmitWriter()) AdmitReaders();
}

void RwLock::WriteEnded() {
  AdmitReaders();
  if (readers_ == 0) AdmitWriter();
}

void RwLock::DetachWriter() {
  PrimitiveLockHolder lock(lock_);
  writer_.CheckReleaser("an RwLock");
  writer_.Detach();
}

Reader* RwLock::NoteReader(TaskCore* task, const std::source_location& where) {
  auto* reader = new Reader(task->id, where);
  PrimitiveLockHolder lock(lock_);
  known_readers_.PushBack(reader);
  return reader;
}

void RwLock::ForgetReader(Reader* reader) {
  {
    PrimitiveLockHolder lock(lock_);
    known_readers_.Remove(reader);
  }
  delete reader;
}

void RwLock::CheckReadsNot(const char* call, const TaskCore* task,
                           const std::source_location& where) {
  for (const Reader* r = known_readers_.front(); r != nullptr; r = known_readers_.Next(r)) {
    if (r->task != task->id) continue;
    Fatal(
        "%s at %s would wait for ever: %s reads the same lock, locked at %s. Unlock that before, "
        "or "
        "Detach a ReadGuard that is now another task's",
        call, DescribePlace(where).c_str(), sync_internal::DescribeLocker(*task).c_str(),
        DescribePlace(r->where).c_str());
  }
}

void ReadGuard::Detach() {
  if (lock_ == nullptr) sync_internal::HoldsNothing("ReadGuard::Detach");
  if (reader_ != nullptr) lock_->ForgetReader(std::exchange(reader_, nullptr));
}

void WriteGuard::Detach() {
  if (lock_ == nullptr) sync_internal::HoldsNothing("WriteGuard::Detach");
  lock_->DetachWriter();
}

namespace sync_internal {

Enqueued ReadRequest::Queue(Waiter& waiter) {
  PrimitiveLockHolder lock(lock_->lock_);
  if (lock_->writer_.free() && lock_->writers_.empty()) {
    if (!waiter.MayTake()) return Enqueued::kLost;
    ++lock_->readers_;
    return Enqueued::kDone;
  }
  if (lock_->writer_.Is(waiter.task())) LockedTwice(kName, request_.where, lock_->writer_);
  lock_->CheckReadsNot(kName, waiter.task(), request_.where);
  lock_->waiting_readers_.PushBack(&request_, &waiter);
  return Enqueued::kQueued;
}

void ReadRequest::Withdraw(Waiter&) {
  PrimitiveLockHolder lock(lock_->lock_);
  lock_->waiting_readers_.Withdraw(&request_);
}

TaskCore* ReadRequest::LendLane() {
  SilentLockHolder lock(lock_->lock_);
  lock_->waiting_readers_.NoteDrains(&request_);
  return lock_->writer_.Lend(request_);
}

Enqueued WriteRequest::Queue(Waiter& waiter) {
  PrimitiveLockHolder lock(lock_->lock_);
  if (lock_->writer_.free() && lock_->readers_ == 0) {
    if (!waiter.MayTake()) return Enqueued::kLost;
    lock_->writer_.Take(waiter.task(), request_.where);
    return Enqueued::kDone;
  }
  if (lock_->writer_.Is(waiter.task())) LockedTwice(kName, request_.where, lock_->writer_);
  lock_->CheckReadsNot(kName, waiter.task(), request_.where);
  lock_->writers_.PushBack(&request_, &waiter);
  return Enqueued::kQueued;
}

void WriteRequest::Withdraw(Waiter&) {
  PrimitiveLockHolder lock(lock_->lock_);
  if (!lock_->writers_.Withdraw(&request_)) return;
  // It may have been all that kept the readers out.
  if (lock_->writers_.empty() && lock_->writer_.free()) lock_->AdmitReaders();
}

TaskCore* WriteRequest::LendLane() {
  SilentLockHolder lock(lock_->lock_);
  lock_->writers_.NoteDrains(&request_);
  return lock_->writer_.Lend(request_);
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

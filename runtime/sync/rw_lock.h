// rw_lock.h: many readers or one writer, for tasks; neither kind can starve the other.
//
// Why:        most look, few change. A lock that lets readers in while a writer waits never lets the writer in, and
//             one that always prefers writers never lets a reader in.
// Example:    RwLockOf<Routes> routes;
//             auto read = co_await OrReturn(routes.ReadLock(cx));        // read->Find(…), with others
//             auto write = co_await OrReturn(routes.WriteLock(cx));      // alone
// When not:   where a lock is held for a few instructions a Mutex costs the same: readers meet at its word too.
// Invariants: (1) the guards that hold it are any number of ReadGuards, or one WriteGuard; (2) bounded preference: a
//             writer that waits keeps new readers out; when a writer unlocks, *all* readers that wait then go before
//             the next writer. So a reader waits for at most the guards that hold it and one writer more, and
//             a writer for the writers before it and one batch of readers for each ("phase-fair": Brandenburg and
//             Anderson, Spin-Based Reader-Writer Synchronization, 2010); (3) a cancelled wait has locked nothing
//             (G8); (4) a writer that holds it goes in the cancel lane while a wait of that lane stands in the
//             queue, as the holder of a Mutex does (R9, G12).
// Not kept:   readers inherit no lane. They are many and are not recorded: a writer that drains waits until each has
//             had its turn.
// No upgrade: a reader that wants to write unlocks, locks again and looks again. Two that upgraded would wait for
//             each other for ever; one that may fail is two calls anyway.
//
// event \ state   | free    | readers hold it    | readers hold it,   | a writer holds it
//                 |         |                    | a writer waits     |
// ----------------|---------|--------------------|--------------------|-----------------------------------------
// ReadLock        | held    | held with them     | queued             | queued (fatal: the same task's)
// WriteLock       | held    | queued             | queued             | queued (fatal: the same task's)
// last one unlocks| –       | free               | the first writer's | all readers', or the first writer's, or free
// writer cancelled| –       | –                  | if it was the only | leaves the queue
//                 |         |                    | one: readers go in |
// destroyed       | ok (1)  | fatal              | fatal              | fatal
//
// (1) Fatal before a wait that was passed over, since it was cancelled or lost a Select, has returned.
//
// Twice:      a task that waits for a lock that it reads itself waits for ever: to write while it reads, or to read
//             again while a writer waits. Readers are not recorded, so this is found, and fatal, only where debug
//             checks are on. Read once, and pass the guard on.
// Lifetime:   the lock outlives its guards and waits.
// Threads:    any. A WriteGuard is unlocked by the task that locked it, unless it was Detached; a ReadGuard by any.
//             What happened before an unlock happens before the return of a lock that had to wait for it.
#ifndef QUIESCE_RUNTIME_SYNC_RW_LOCK_H_
#define QUIESCE_RUNTIME_SYNC_RW_LOCK_H_

#include <cstdint>
#include <optional>
#include <source_location>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/guard_of.h"
#include "quiesce/runtime/sync/holder.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

class RwLock;
namespace sync_internal {
class ReadRequest;
class WriteRequest;
// One that reads, where debug checks are on.
struct Reader;
}  // namespace sync_internal

// Holds an RwLock, with others, until it is unlocked or goes out of scope. May be moved to any task or thread.
class [[nodiscard]] ReadGuard {
 public:
  ReadGuard(ReadGuard&& other) noexcept
      : lock_(std::exchange(other.lock_, nullptr)),
        reader_(std::exchange(other.reader_, nullptr)) {}
  // Unlocks what it held before.
  ReadGuard& operator=(ReadGuard&& other) noexcept;
  ~ReadGuard();

  // Unlocks now. Fatal if it holds nothing. Does not suspend.
  void Unlock() &&;
  // From here on the task that locked it counts as a reader no more (see Twice, above): for a guard that is moved
  // to another task. Fatal if it holds nothing.
  void Detach();
  // False once it was unlocked or moved from.
  bool holds() const { return lock_ != nullptr; }

 private:
  friend class RwLock;
  friend class sync_internal::ReadRequest;
  ReadGuard(RwLock* lock, TaskCore* task, const std::source_location& where);
  RwLock* lock_;
  sync_internal::Reader* reader_ = nullptr;
};

// Holds an RwLock alone until it is unlocked or goes out of scope.
class [[nodiscard]] WriteGuard {
 public:
  WriteGuard(WriteGuard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
  // Unlocks what it held before.
  WriteGuard& operator=(WriteGuard&& other) noexcept;
  ~WriteGuard();

  // Unlocks now. Fatal if it holds nothing. Does not suspend.
  void Unlock() &&;
  // From here on it belongs to no task, and may be unlocked by any; nobody inherits a lane. Fatal if it holds nothing.
  void Detach();
  // False once it was unlocked or moved from.
  bool holds() const { return lock_ != nullptr; }

 private:
  friend class RwLock;
  friend class sync_internal::WriteRequest;
  explicit WriteGuard(RwLock* lock) : lock_(lock) {}
  RwLock* lock_;
};

namespace sync_internal {

class ReadRequest {
 public:
  using Guard = ReadGuard;
  static constexpr const char* kName = "RwLock::ReadLock";
  ReadRequest(RwLock* lock, const std::source_location& where) : lock_(lock), request_(where) {}
  bool TryTake(Waiter&);
  Enqueued Queue(Waiter& waiter);
  ReadGuard MakeGuard(Waiter& waiter) { return ReadGuard(lock_, waiter.task(), request_.where); }
  void Withdraw(Waiter&);
  TaskCore* LendLane();

 private:
  RwLock* lock_;
  LockRequest request_;
};

class WriteRequest {
 public:
  using Guard = WriteGuard;
  static constexpr const char* kName = "RwLock::WriteLock";
  WriteRequest(RwLock* lock, const std::source_location& where) : lock_(lock), request_(where) {}
  bool TryTake(Waiter&);
  Enqueued Queue(Waiter& waiter);
  WriteGuard MakeGuard(Waiter&) { return WriteGuard(lock_); }
  void Withdraw(Waiter&);
  TaskCore* LendLane();

 private:
  RwLock* lock_;
  LockRequest request_;
};

using ReadLockOp = LockOp<ReadRequest>;
using WriteLockOp = LockOp<WriteRequest>;
template <class T>
using ReadLockOpOf = LockOpOf<ReadRequest, const T>;
template <class T>
using WriteLockOpOf = LockOpOf<WriteRequest, T>;

}  // namespace sync_internal

using ReadLockWait = Wait<sync_internal::ReadLockOp>;
using WriteLockWait = Wait<sync_internal::WriteLockOp>;

class RwLock {
 public:
  RwLock() = default;
  // Fatal if it is locked, or a wait that was passed over has yet to return: either would be left with nothing.
  ~RwLock();
  RwLock(const RwLock&) = delete;
  RwLock& operator=(const RwLock&) = delete;

  // Locks it for reading, with others.
  // Returns  ReadGuard | Cancelled.
  // Suspends while a writer holds it or waits for it; an ordinary wait. A checkpoint also when it is free.
  // Cancel   safe (G8): it is not locked; loses its place in line.
  // Errors   fatal, and both places are named, if the task writes.
  // Threads  any.
  ReadLockWait ReadLock(const CxBase& cx,
                        std::source_location where = std::source_location::current()) {
    return ReadLockWait(cx, this, where);
  }
  // Locks it for writing, alone.
  // Returns  WriteGuard | Cancelled.
  // Suspends while anybody holds it, FIFO among writers; an ordinary wait. A checkpoint also when it is free.
  // Cancel   safe (G8): it is not locked; loses its place in line, and readers that waited only for it go in.
  // Errors   fatal, and both places are named, if the task writes already.
  // Threads  any.
  WriteLockWait WriteLock(const CxBase& cx,
                          std::source_location where = std::source_location::current()) {
    return WriteLockWait(cx, this, where);
  }

  // Locks it if that is possible at once: no writer holds it or, to read, waits. Never suspends; no checkpoint.
  std::optional<ReadGuard> TryReadLock(
      std::source_location where = std::source_location::current()) {
    if (!TryRead()) return std::nullopt;
    return ReadGuard(this, sync_internal::ThisTask(), where);
  }
  std::optional<WriteGuard> TryWriteLock(
      std::source_location where = std::source_location::current()) {
    if (!TryWrite(sync_internal::ThisTask(), where)) return std::nullopt;
    return WriteGuard(this);
  }

  // For a plain thread, which they block for at most `timeout`: then Cancelled (kDeadline). It stands in the same
  // queues. Fatal in a task, whose worker they would block.
  Outcome<ReadGuard> BlockingReadLock(
      absl::Duration timeout = absl::InfiniteDuration(),
      std::source_location where = std::source_location::current()) {
    return BlockThread<sync_internal::ReadLockOp>(
        "RwLock::BlockingReadLock", "co_await OrReturn(lock.ReadLock(cx))", timeout, this, where);
  }
  Outcome<WriteGuard> BlockingWriteLock(
      absl::Duration timeout = absl::InfiniteDuration(),
      std::source_location where = std::source_location::current()) {
    return BlockThread<sync_internal::WriteLockOp>(
        "RwLock::BlockingWriteLock", "co_await OrReturn(lock.WriteLock(cx))", timeout, this, where);
  }

 private:
  friend class quiesce::ReadGuard;
  friend class quiesce::WriteGuard;
  friend class sync_internal::ReadRequest;
  friend class sync_internal::WriteRequest;

  bool TryRead() {
    PrimitiveLockHolder lock(lock_);
    if (!writer_.free() || !writers_.empty()) return false;
    ++readers_;
    return true;
  }
  bool TryWrite(TaskCore* task, const std::source_location& where) {
    PrimitiveLockHolder lock(lock_);
    if (!writer_.free() || readers_ != 0) return false;  // then nobody waits
    writer_.Take(task, where);
    return true;
  }
  void EndRead(sync_internal::Reader* reader) {
    if (reader != nullptr) [[unlikely]]
      ForgetReader(reader);
    PrimitiveLockHolder lock(lock_);
    --readers_;
    if (!writers_.empty()) [[unlikely]]
      ReadEnded();
  }
  void EndWrite() {
    PrimitiveLockHolder lock(lock_);
    writer_.CheckReleaser("an RwLock");
    writer_.Release();
    if (!writers_.empty() || !waiting_readers_.empty()) [[unlikely]]
      WriteEnded();
  }
  void DetachWriter();

  [[gnu::noinline]] void ReadEnded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[gnu::noinline]] void WriteEnded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void AdmitReaders() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // False: none of them is left that was not cancelled.
  bool AdmitWriter() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // Where debug checks are on.
  sync_internal::Reader* NoteReader(TaskCore* task, const std::source_location& where);
  void ForgetReader(sync_internal::Reader* reader);
  // The task is about to wait: fatal if it reads.
  void CheckReadsNot(const char* call, const TaskCore* task, const std::source_location& where)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // Held over Waiter::Grant: before a run queue's.
  PrimitiveLock lock_{"RwLock"};
  // Guards that read, and waits that were granted that.
  uint32_t readers_ ABSL_GUARDED_BY(lock_) = 0;
  sync_internal::LockHolder writer_ ABSL_GUARDED_BY(lock_);
  // Not empty only while a writer holds it, or readers do.
  sync_internal::LockQueue writers_ ABSL_GUARDED_BY(lock_);
  // Not empty only while a writer holds it or waits.
  sync_internal::LockQueue waiting_readers_ ABSL_GUARDED_BY(lock_);
  IntrusiveList<sync_internal::Reader> known_readers_ ABSL_GUARDED_BY(lock_);
};

// A lock and the data that it guards, which is reached through a guard only: const by one that reads. Everything else
// is as RwLock says.
template <class T>
using ReadGuardOf = GuardOf<ReadGuard, const T>;
template <class T>
using WriteGuardOf = GuardOf<WriteGuard, T>;

template <class T>
class RwLockOf {
  using ReadOp = sync_internal::ReadLockOpOf<T>;
  using WriteOp = sync_internal::WriteLockOpOf<T>;

 public:
  // Makes the data from `args`.
  template <class... Args>
  explicit RwLockOf(Args&&... args) : data_(std::forward<Args>(args)...) {}

  // As those of RwLock.
  Wait<ReadOp> ReadLock(const CxBase& cx,
                        std::source_location where = std::source_location::current()) {
    return Wait<ReadOp>(cx, &data_, &lock_, where);
  }
  Wait<WriteOp> WriteLock(const CxBase& cx,
                          std::source_location where = std::source_location::current()) {
    return Wait<WriteOp>(cx, &data_, &lock_, where);
  }
  std::optional<ReadGuardOf<T>> TryReadLock(
      std::source_location where = std::source_location::current()) {
    std::optional<ReadGuard> guard = lock_.TryReadLock(where);
    if (!guard.has_value()) return std::nullopt;
    return ReadGuardOf<T>(*std::move(guard), &data_);
  }
  std::optional<WriteGuardOf<T>> TryWriteLock(
      std::source_location where = std::source_location::current()) {
    std::optional<WriteGuard> guard = lock_.TryWriteLock(where);
    if (!guard.has_value()) return std::nullopt;
    return WriteGuardOf<T>(*std::move(guard), &data_);
  }
  Outcome<ReadGuardOf<T>> BlockingReadLock(
      absl::Duration timeout = absl::InfiniteDuration(),
      std::source_location where = std::source_location::current()) {
    return BlockThread<ReadOp>("RwLockOf::BlockingReadLock", "co_await OrReturn(data.ReadLock(cx))",
                               timeout, &data_, &lock_, where);
  }
  Outcome<WriteGuardOf<T>> BlockingWriteLock(
      absl::Duration timeout = absl::InfiniteDuration(),
      std::source_location where = std::source_location::current()) {
    return BlockThread<WriteOp>("RwLockOf::BlockingWriteLock",
                                "co_await OrReturn(data.WriteLock(cx))", timeout, &data_, &lock_,
                                where);
  }

 private:
  T data_;
  RwLock lock_;  // the first to go: fatal if it is locked
};

// --- inline ---

inline ReadGuard::ReadGuard(RwLock* lock, TaskCore* task, const std::source_location& where)
    : lock_(lock) {
  if (DebugChecks()) [[unlikely]]
    reader_ = lock->NoteReader(task, where);
}
inline ReadGuard& ReadGuard::operator=(ReadGuard&& other) noexcept {
  if (this != &other) {
    if (lock_ != nullptr) lock_->EndRead(reader_);
    lock_ = std::exchange(other.lock_, nullptr);
    reader_ = std::exchange(other.reader_, nullptr);
  }
  return *this;
}
inline ReadGuard::~ReadGuard() {
  if (lock_ != nullptr) lock_->EndRead(reader_);
}
inline void ReadGuard::Unlock() && {
  if (lock_ == nullptr) [[unlikely]]
    sync_internal::HoldsNothing("ReadGuard::Unlock");
  std::exchange(lock_, nullptr)->EndRead(std::exchange(reader_, nullptr));
}
inline WriteGuard& WriteGuard::operator=(WriteGuard&& other) noexcept {
  if (this != &other) {
    if (lock_ != nullptr) lock_->EndWrite();
    lock_ = std::exchange(other.lock_, nullptr);
  }
  return *this;
}
inline WriteGuard::~WriteGuard() {
  if (lock_ != nullptr) lock_->EndWrite();
}
inline void WriteGuard::Unlock() && {
  if (lock_ == nullptr) [[unlikely]]
    sync_internal::HoldsNothing("WriteGuard::Unlock");
  std::exchange(lock_, nullptr)->EndWrite();
}

namespace sync_internal {

inline bool ReadRequest::TryTake(Waiter&) { return lock_->TryRead(); }
inline bool WriteRequest::TryTake(Waiter& waiter) {
  return lock_->TryWrite(waiter.task(), request_.where);
}

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_RW_LOCK_H_

// The contract (wait_contract.h) for the waits of the locks: runtime/sync/{mutex,rw_lock,semaphore,lease}.h.
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/sync/lease.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/rw_lock.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/testing/contract/mailbox.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

// It is free exactly if what held it has let go, and the wait did not get it.
std::string CheckFree(bool free, bool ok, bool granted) {
  const bool expected = granted && !ok;
  return free == expected ? "" : free ? "it is free, but was taken" : "it is held by nobody";
}

// ---- mutex ------------------------------------------------------------------------------------------

struct MutexContract : WaitContractDefaults {
  explicit MutexContract(SteppedRuntime&) : held(mutex.TryLock()) {
    held->Detach();  // Grant comes on any thread
  }
  LockWait Start(const Cx& cx) { return mutex.Lock(cx); }
  void Grant() { std::move(*held).Unlock(); }
  std::string CheckValue(Outcome<MutexGuard>& got) { return got->holds() ? "" : "an empty guard"; }
  std::string CheckState(bool ok, bool granted) {
    return CheckFree(mutex.TryLock().has_value(), ok, granted);
  }
  Mutex mutex;
  std::optional<MutexGuard> held;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Mutex, WaitContract, MutexContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectMutex, WaitContract, SelectContract<MutexContract>);

// Held by a task that is parked: a wait that drains lends it the lane, at each moment.
struct MutexOfATaskContract : WaitContractDefaults {
  static constexpr bool kGrantIsImmediate = false;  // the holder has to run
  explicit MutexOfATaskContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    cx.Spawn("holder", [this](Cx cx) -> Task<void> {
      MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
      holds.Put(1);
      co_await OrReturn(gate.TakeStructural(cx));
      co_return Ok();
    });
    co_await OrReturn(holds.TakeStructural(cx));
    co_return Ok();
  }
  LockWait Start(const Cx& cx) { return mutex.Lock(cx); }
  void Grant() { gate.Put(42); }
  std::string CheckValue(Outcome<MutexGuard>& got) { return got->holds() ? "" : "an empty guard"; }
  std::string CheckState(bool ok, bool) {
    return ok && mutex.TryLock().has_value() ? "it is free, but was taken" : "";
  }
  Mutex mutex;
  Mailbox holds;
  Mailbox gate;
};
INSTANTIATE_TYPED_TEST_SUITE_P(MutexOfATask, WaitContract, MutexOfATaskContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectMutexOfATask, WaitContract,
                               SelectContract<MutexOfATaskContract>);

// ---- rw lock ----------------------------------------------------------------------------------------

struct ReadContract : WaitContractDefaults {
  explicit ReadContract(SteppedRuntime&) : held(lock.TryWriteLock()) { held->Detach(); }
  ReadLockWait Start(const Cx& cx) { return lock.ReadLock(cx); }
  void Grant() { std::move(*held).Unlock(); }
  std::string CheckValue(Outcome<ReadGuard>& got) {
    return lock.TryReadLock().has_value() && got->holds() ? "" : "it is not shared";
  }
  std::string CheckState(bool ok, bool granted) {
    return CheckFree(lock.TryWriteLock().has_value(), ok, granted);
  }
  RwLock lock;
  std::optional<WriteGuard> held;
};
INSTANTIATE_TYPED_TEST_SUITE_P(ReadLock, WaitContract, ReadContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectReadLock, WaitContract, SelectContract<ReadContract>);

struct WriteContract : WaitContractDefaults {
  explicit WriteContract(SteppedRuntime&) : held(lock.TryReadLock()) {}
  WriteLockWait Start(const Cx& cx) { return lock.WriteLock(cx); }
  void Grant() { std::move(*held).Unlock(); }
  std::string CheckValue(Outcome<WriteGuard>& got) {
    return !lock.TryReadLock().has_value() && got->holds() ? "" : "it is shared";
  }
  std::string CheckState(bool ok, bool granted) {
    // A writer that has left keeps no reader out.
    if (!ok && !lock.TryReadLock().has_value()) return "readers are kept out by nobody";
    return CheckFree(lock.TryWriteLock().has_value(), ok, granted);
  }
  RwLock lock;
  std::optional<ReadGuard> held;
};
INSTANTIATE_TYPED_TEST_SUITE_P(WriteLock, WaitContract, WriteContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectWriteLock, WaitContract, SelectContract<WriteContract>);

// ---- semaphore --------------------------------------------------------------------------------------

struct SemaphoreContract : WaitContractDefaults {
  explicit SemaphoreContract(SteppedRuntime&) {}
  AcquireWait Start(const Cx& cx) { return semaphore.Acquire(cx, 3); }
  void Grant() { semaphore.AddPermits(3); }
  std::string CheckValue(Outcome<SemaphorePermit>& got) {
    const int64_t left = semaphore.available();
    std::move(*got).Release();
    return left == 0 ? "" : absl::StrCat(left, " are left of 3, and 3 were taken");
  }
  std::string CheckState(bool ok, bool granted) {
    const int64_t expected = ok || granted ? 3 : 0;
    const int64_t left = semaphore.available();
    return left == expected ? "" : absl::StrCat(left, " are left");
  }
  Semaphore semaphore{0};
};
INSTANTIATE_TYPED_TEST_SUITE_P(Semaphore, WaitContract, SemaphoreContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectSemaphore, WaitContract, SelectContract<SemaphoreContract>);

// ---- lease ------------------------------------------------------------------------------------------

struct LeaseContract : WaitContractDefaults {
  explicit LeaseContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    held.emplace(co_await OrReturn(lock.Acquire(cx, absl::Hours(1000))));
    co_return Ok();
  }
  LeaseWait Start(const Cx& cx) { return lock.Acquire(cx, absl::Hours(1)); }
  void Grant() { std::move(*held).Release(); }
  std::string CheckValue(Outcome<Lease>& got) {
    const bool next = got->token() == 2 && !got->expired();
    std::move(*got).Release();
    return next ? "" : "it is not the second";
  }
  std::string CheckState(bool, bool) { return ""; }
  LeaseLock lock;
  std::optional<Lease> held;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Lease, WaitContract, LeaseContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectLease, WaitContract, SelectContract<LeaseContract>);

}  // namespace
}  // namespace quiesce::contract

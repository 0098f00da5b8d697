// lease.h: something that one task holds at a time, and for a limited time.
//
// Why:        "I am the leader for ten seconds" goes wrong where the time is over and the holder does not know: two
//             act at once. Here the holder's task is cancelled when its time is over, and the next one gets
//             the lease only when the holder has given it up. That is bounded, since a drain is (G5).
// Example:    LeaseLock leader;
//             Lease lease = co_await OrReturn(leader.Acquire(cx, absl::Seconds(10)));
//             while (true) {
//               co_await OrReturn(WriteBatch(cx, lease.token()));      // the store refuses older tokens
//               co_await OrReturn(lease.Renew(cx, absl::Seconds(10)));
//             }
// When not:   for a short section use a Mutex. Between processes a lease can only be as good as the store behind it:
//             send token() along, and let the store refuse what is older than what it has seen.
// Invariants: (1) at most one lease is live, also between the end of its time and the moment when its holder has
//             given it up; (2) token() grows with each lease that is granted; renewing keeps it; (3) once the
//             time is over, on the clock of the holder's region, the holder is asked to stop as if by
//             TaskHandle::Cancel with kDeadline, and its drain budget decides how long that takes; (4) fair: the next
//             is the one that has waited longest; (5) a cancelled Acquire has taken nothing (G8); (6) the
//             holder inherits the cancel lane of those who drain, as that of a Mutex does (R9, G12).
//
// event \ state      | free    | held, in time            | held, time is over
// -------------------|---------|--------------------------|-------------------------------
// Acquire            | lease   | queued                   | queued
// time is over       | –       | the holder is cancelled  | –
// Renew              | –       | the time begins anew     | Error
// lease is consumed  | –       | the next one's, or free  | the next one's, or free
//
// The holder: is the task that acquired the lease, or the last that has renewed it; only that one is cancelled. A lease
//             may be moved to another task: let that one Renew it first. If the holder has ended and another keeps the
//             lease, the end of the time cancels nobody, and the lease stays held until it is consumed.
// Lifetime:   leases may outlive the LeaseLock, waits may not: to destroy it while some wait is fatal.
// Threads:    tasks only: a thread that is no task cannot be cancelled. A lease is consumed on any thread.
#ifndef QUIESCE_RUNTIME_SYNC_LEASE_H_
#define QUIESCE_RUNTIME_SYNC_LEASE_H_

#include <cstdint>
#include <optional>
#include <source_location>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/ledger.h"
#include "quiesce/runtime/obligation/permit.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/holder.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

namespace sync_internal {

class LeaseCore;
struct Tenure;

// What a Lease holds.
struct LeaseSlot {
  static constexpr PermitKind kKind = {"Lease", "Release"};
  LeaseSlot(LeaseCore* core, Tenure* tenure) : core(core), tenure(tenure) {}
  void Abort();
  LeaseCore* core;
  Tenure* tenure;
};

}  // namespace sync_internal

// Holds a LeaseLock until it is consumed: by Release, or by Complete or Abort, which do the same here.
class [[nodiscard]] Lease : public Permit<sync_internal::LeaseSlot> {
 public:
  // For the LeaseLock.
  Lease(const CxBase& cx, sync_internal::LeaseSlot slot, const std::source_location& where)
      : Permit(cx, slot, where) {}

  // Gives it up, for the next that waits; also if its time is over, or it was revoked. Does not suspend.
  void Release() && {
    std::move(*this).Act([](sync_internal::LeaseSlot& slot) { slot.Abort(); });
  }

  // From now on the task of `cx` is the holder, for `duration` from now. Does not suspend. Which region owes the
  // lease is another matter: see Rebind.
  // Errors   kFailedPrecondition: its time was over before. The holder has been cancelled: give the lease up.
  // Threads  one at a time, as for any value.
  absl::Status Renew(CxWith<cap::Time> cx, absl::Duration duration,
                     std::source_location where = std::source_location::current());

  // When its time is over.
  Instant expires() const;
  // Is it, and has the holder been asked to stop?
  bool expired() const;
  // Larger than that of every lease that was granted before.
  uint64_t token() const;

 private:
  // Fatal, for `call`, once the lease is consumed.
  sync_internal::Tenure* Current(const char* call) const;
};

namespace sync_internal {

class LeaseOp {
 public:
  using Value = Lease;
  static constexpr const char* kName = "LeaseLock::Acquire";
  static constexpr bool kStructural = false;
  LeaseOp(LeaseCore* core, absl::Duration duration, const std::source_location& where);
  bool Try(Waiter&, std::optional<Outcome<Lease>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Lease>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<Lease>>& result);
  void Withdraw(Waiter&);
  TaskCore* LendLane();

 private:
  LeaseCore* core_;
  absl::Duration duration_;
  LockRequest request_;
};

}  // namespace sync_internal

using LeaseWait = Wait<sync_internal::LeaseOp>;

class LeaseLock {
 public:
  LeaseLock();
  // Fatal while some wait, or one that was passed over has yet to return. A lease may live on.
  ~LeaseLock();
  LeaseLock(const LeaseLock&) = delete;
  LeaseLock& operator=(const LeaseLock&) = delete;

  // Waits for its turn, and holds it for `duration` from then on. Fatal if that is not positive, or infinite.
  // Returns  Lease | Cancelled.
  // Suspends while it is held, FIFO; an ordinary wait. A checkpoint also when it is free.
  // Cancel   safe (G8): it is not held; loses its place in line.
  // Owes     Release, Complete or Abort (G7), all of which pass it on.
  // Threads  any task. The holder that acquires it again waits like all others, until its own time is over.
  LeaseWait Acquire(CxWith<cap::Time> cx, absl::Duration duration,
                    std::source_location where = std::source_location::current()) {
    return LeaseWait(cx, core_, duration, where);
  }
  // The same without a wait: nothing if it is held. Not a checkpoint.
  std::optional<Lease> TryAcquire(CxWith<cap::Time> cx, absl::Duration duration,
                                  std::source_location where = std::source_location::current());

 private:
  sync_internal::LeaseCore* const core_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_LEASE_H_

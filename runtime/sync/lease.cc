#include "quiesce/runtime/sync/lease.h"

#include <atomic>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {

// The time of one holder: a lease has one after the other, one more each time that it is renewed. Kept by the lease while
// it is the current one, and by its alarm until that has come or will not.
struct Tenure final : GuestAlarm {
  Tenure(TaskCore* holder, Instant expires, uint64_t token, const std::source_location& where)
      : GuestAlarm(CoreOf(holder->scope), &OnDue, &OnDropped),
        holder(holder),
        expires(expires),
        token(token),
        where(where) {
    holder->RefRecord();  // not its outcome, in which the lease may be
    region->Ref();
  }
  ~Tenure() {
    holder->UnrefRecord();
    region->Unref();
  }
  Tenure(const Tenure&) = delete;
  Tenure& operator=(const Tenure&) = delete;

  void Begin() { region->ArmGuest(this, expires); }
  // False: the time was over before, and the holder is cancelled, or will be in a moment.
  bool TryEnd(Instant now) {
    {
      SpinLockHolder hold(lock);
      if (expired || now >= expires) return false;
      ended = true;
    }
    region->DisarmGuest(this);
    return true;
  }
  void End() {
    {
      SpinLockHolder hold(lock);
      ended = true;
    }
    region->DisarmGuest(this);
  }
  void Unref() {
    if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  static void OnDue(Runnable* step);
  static void OnDropped(GuestAlarm* alarm) { static_cast<Tenure*>(alarm)->Unref(); }

  TaskCore* const holder;
  const Instant expires;
  const uint64_t token;
  const std::source_location where;
  std::atomic<uint32_t> refs{2};               // the lease, the alarm; acq_rel, as always
  SpinLock lock;                               // a leaf
  bool ended ABSL_GUARDED_BY(lock) = false;    // given up or renewed: whatever comes is too late
  bool expired ABSL_GUARDED_BY(lock) = false;  // the holder is cancelled
};

void Tenure::OnDue(Runnable* step) {
  auto* tenure = static_cast<Tenure*>(step);
  tenure->region->GuestIsDue(tenure);
  bool cancel;
  {
    SpinLockHolder hold(tenure->lock);
    cancel = !tenure->ended;
    tenure->expired = cancel;
  }
  if (cancel) {
    task_handle_internal::CancelTask(tenure->holder, CancelKind::kDeadline,
                                     absl::StrCat("the lease that was acquired at ",
                                                  DescribePlace(tenure->where), " has expired"),
                                     Budget());
  }
  tenure->region->Unref();
  tenure->Unref();
}

// The state, which the LeaseLock and its lease keep together.
class LeaseCore {
 public:
  LeaseCore() = default;
  LeaseCore(const LeaseCore&) = delete;
  LeaseCore& operator=(const LeaseCore&) = delete;

  bool TryTake(TaskCore* task, const std::source_location& where) {
    PrimitiveLockHolder lock(lock_);
    if (!holder_.free()) return false;
    Take(task, where);
    return true;
  }
  Enqueued Queue(LockRequest* request, Waiter& waiter) {
    PrimitiveLockHolder lock(lock_);
    if (holder_.free()) {
      if (!waiter.MayTake()) return Enqueued::kLost;
      Take(waiter.task(), request->where);
      return Enqueued::kDone;
    }
    queue_.PushBack(request, &waiter);
    return Enqueued::kQueued;
  }
  void Withdraw(LockRequest* request) {
    PrimitiveLockHolder lock(lock_);
    queue_.Withdraw(request);
  }
  TaskCore* LendLane(LockRequest* request) {
    SilentLockHolder lock(lock_);
    queue_.NoteDrains(request);
    return holder_.Lend(*request);
  }
  uint64_t NextToken() {
    PrimitiveLockHolder lock(lock_);
    return ++token_;
  }
  void MoveTo(TaskCore* task, const std::source_location& where) {
    PrimitiveLockHolder lock(lock_);
    holder_.MoveTo(task, where, queue_.drains() > 0);
  }
  // The lease is given up. The core may be gone after this.
  void PassOn() {
    lock_.Lock();
    holder_.Release();
    while (LockRequest* next = queue_.PopFront()) {
      if (holder_.TryHandTo(next, queue_.drains() > 0)) {
        ++refs_;
        break;
      }
      queue_.PassOver();
    }
    Unref();
  }
  void Abandon() {
    lock_.Lock();
    if (!queue_.empty()) {
      Fatal(
          "a LeaseLock was destroyed while it is held by %s%s. Let those who wait end before it "
          "goes "
          "out of scope",
          holder_.Describe().c_str(), DescribeQueue(queue_).c_str());
    }
    queue_.CheckAllLeft("a LeaseLock", "Acquire");
    Unref();
  }

 private:
  ~LeaseCore() = default;
  void Take(TaskCore* task, const std::source_location& where)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    holder_.Take(task, where);
    ++refs_;
  }
  void Unref() ABSL_UNLOCK_FUNCTION(lock_) {
    const bool last = --refs_ == 0;
    lock_.Unlock();
    if (last) delete this;
  }

  // Held over Waiter::Grant: before a run queue's.
  PrimitiveLock lock_{"LeaseLock"};
  // The LeaseLock, and the lease or a grant that has not become one yet.
  uint32_t refs_ ABSL_GUARDED_BY(lock_) = 1;
  uint64_t token_ ABSL_GUARDED_BY(lock_) = 0;
  LockHolder holder_ ABSL_GUARDED_BY(lock_);
  LockQueue queue_ ABSL_GUARDED_BY(lock_);
};

namespace {

void CheckDuration(absl::Duration duration, const std::source_location& where) {
  if (duration > absl::ZeroDuration() && duration != absl::InfiniteDuration()) return;
  Fatal(
      "a lease of %s at %s: the time must be positive, and have an end; to hold something without "
      "one "
      "use a Mutex",
      absl::FormatDuration(duration).c_str(), DescribePlace(where).c_str());
}

// The lock is the task's: its time begins.
Lease MakeLease(const CxBase& cx, LeaseCore* core, absl::Duration duration,
                const std::source_location& where) {
  auto* tenure = new Tenure(static_cast<TaskCore*>(cx.task()),
                            cx.services().clock->Now() + duration, core->NextToken(), where);
  tenure->Begin();
  return Lease(cx, LeaseSlot(core, tenure), where);
}

}  // namespace

void LeaseSlot::Abort() {
  tenure->End();
  core->PassOn();  // may take back the lane that it lent: the tenure keeps the holder's record
  tenure->Unref();
}

LeaseOp::LeaseOp(LeaseCore* core, absl::Duration duration, const std::source_location& where)
    : core_(core), duration_(duration), request_(where) {
  CheckDuration(duration, where);
}
bool LeaseOp::Try(Waiter& waiter, std::optional<Outcome<Lease>>& result) {
  return core_->TryTake(waiter.task(), request_.where) && Harvest(waiter, result);
}
Enqueued LeaseOp::Enqueue(Waiter& waiter, std::optional<Outcome<Lease>>& result) {
  const Enqueued enqueued = core_->Queue(&request_, waiter);
  if (enqueued == Enqueued::kDone) Harvest(waiter, result);
  return enqueued;
}
bool LeaseOp::Harvest(Waiter& waiter, std::optional<Outcome<Lease>>& result) {
  result.emplace(MakeLease(waiter.cx(), core_, duration_, request_.where));
  return true;
}
void LeaseOp::Withdraw(Waiter&) { core_->Withdraw(&request_); }
TaskCore* LeaseOp::LendLane() { return core_->LendLane(&request_); }

}  // namespace sync_internal

using sync_internal::Tenure;

absl::Status Lease::Renew(CxWith<cap::Time> cx, absl::Duration duration,
                          std::source_location where) {
  sync_internal::CheckDuration(duration, where);
  Tenure* const old = Current("Lease::Renew");
  const Instant now = cx.Now();
  if (revoked() || !old->TryEnd(now)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "Lease::Renew: the lease that was acquired or renewed at ", DescribePlace(old->where),
        revoked() ? " was revoked by the close of its region" : " has expired",
        ". Give it up, and acquire another"));
  }
  auto* task = static_cast<TaskCore*>(cx.task());
  slot().tenure = new Tenure(task, now + duration, old->token, where);
  slot().core->MoveTo(task, where);
  slot().tenure->Begin();
  old->Unref();
  return absl::OkStatus();
}

Tenure* Lease::Current(const char* call) const {
  if (!live()) {
    Fatal("%s: the lease was consumed before, or moved from: there is nothing to ask for", call);
  }
  return slot().tenure;
}

Instant Lease::expires() const { return Current("Lease::expires")->expires; }
bool Lease::expired() const {
  Tenure* const tenure = Current("Lease::expired");
  SpinLockHolder hold(tenure->lock);
  return tenure->expired;
}
uint64_t Lease::token() const { return Current("Lease::token")->token; }

LeaseLock::LeaseLock() : core_(new sync_internal::LeaseCore()) {}
LeaseLock::~LeaseLock() { core_->Abandon(); }

std::optional<Lease> LeaseLock::TryAcquire(CxWith<cap::Time> cx, absl::Duration duration,
                                           std::source_location where) {
  cx.Verify();
  sync_internal::CheckDuration(duration, where);
  if (!core_->TryTake(static_cast<TaskCore*>(cx.task()), where)) {
    return std::nullopt;
  }
  return sync_internal::MakeLease(cx, core_, duration, where);
}

}  // namespace v0
}  // namespace quiesce

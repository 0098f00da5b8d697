#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/channel/session_core.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace session_internal {
namespace {

constexpr int kWakeBatch = 32;

unsigned long long TaskOf(const Waiter& waiter) { return waiter.task()->id; }

}  // namespace

Hub::Hub(size_t capacity) : capacity_(capacity), services_(new Service[capacity]) {
  if (capacity == 0) {
    Fatal("MakeSession: capacity 0: no call could ever be with the server. Use 1 or more");
  }
  for (size_t i = capacity; i > 0; --i) {
    services_[i - 1].hub = this;
    services_[i - 1].next_free = std::exchange(free_, &services_[i - 1]);
  }
}

// ---- handles ----------------------------------------------------------------------------------------

void Hub::AddSender() {
  PrimitiveLockHolder lock(lock_);
  ++clients_;
  ++handles_;
}

void Hub::DropSender() {
  bool last = false;
  {
    PrimitiveLockHolder lock(lock_);
    if (--clients_ == 0) {
      if (waiting_callers_ != 0) {
        Fatal(
            "the last SessionClient is destroyed while a task waits in SessionClient::Call "
            "(%u in all): keep it until every call has ended",
            waiting_callers_);
      }
      ServeTakers();
    }
    last = --handles_ == 0;
  }
  if (last) delete this;
}

void Hub::DropServer() {
  bool last = false;
  for (bool more = true; more;) {
    PrimitiveLockHolder lock(lock_);
    if (waiting_takers_ != 0) {
      Fatal(
          "the SessionServer is destroyed while a task waits in SessionServer::Next (%u in all): "
          "keep it until every wait has ended",
          waiting_takers_);
    }
    closed_ = true;  // nobody queues from here on
    for (int woken = 0; woken < kWakeBatch && !callers_.empty(); ++woken) {
      Caller* caller = callers_.front();
      LeaveLine(caller);
      caller->waiter->Grant();  // without a reply; or it was cancelled, and withdraws by itself
    }
    more = !callers_.empty();
    if (!more) last = --handles_ == 0;
  }
  if (last) delete this;
}

void Hub::Close() {
  PrimitiveLockHolder lock(lock_);
  closed_ = true;
  ServeTakers();
}

// ---- callers ----------------------------------------------------------------------------------------

Enqueued Hub::EnqueueCaller(Caller* caller, Waiter* waiter) {
  PrimitiveLockHolder lock(lock_);
  if (closed_) return waiter->MayTake() ? Enqueued::kDone : Enqueued::kLost;
  caller->waiter = waiter;
  callers_.PushBack(caller);
  ++in_line_;
  ++waiting_callers_;
  ServeTakers();
  return Enqueued::kQueued;
}

void Hub::WithdrawCaller(Caller* caller) {
  PrimitiveLockHolder lock(lock_);
  --waiting_callers_;
  if (callers_.Linked(caller)) {
    LeaveLine(caller);
    ServeTakers();  // it may have been all that a closed session still had
  } else if (caller->service != nullptr) {
    caller->service->caller = nullptr;
    Waiter* watcher = std::exchange(caller->service->watcher, nullptr);
    if (watcher != nullptr) watcher->Grant();
  }
}

Caller* Hub::FirstCallerSlow() {
  Caller* caller = callers_.front();
  while (caller != nullptr && IsCancelled(*caller->waiter)) {
    LeaveLine(caller);
    caller = callers_.front();
  }
  return caller;
}

// ---- takers -----------------------------------------------------------------------------------------

void Hub::Serve(Taker* taker) {
  Caller* caller = callers_.front();
  LeaveLine(caller);
  ++with_server_;
  Service* service = std::exchange(free_, free_->next_free);
  ++handles_;
  service->caller = caller;
  caller->service = service;
  taker->service = service;
  MoveRequest(caller, taker);
}

void Hub::ServeTakersSlow() {
  while (!takers_.empty() && MayServe()) {
    Taker* taker = takers_.PopFront();
    // Harvest, which comes after a grant, waits for the lock.
    if (taker->waiter->Grant()) Serve(taker);
  }
  if (takers_.empty() || !is_ended()) return;
  while (Taker* taker = takers_.PopFront()) taker->waiter->Grant();
}

void Hub::WithdrawTaker(Taker* taker) {
  PrimitiveLockHolder lock(lock_);
  --waiting_takers_;
  if (takers_.Linked(taker)) takers_.Remove(taker);  // else it was passed over
}

// ---- services ---------------------------------------------------------------------------------------

bool Hub::EndService(Service* service) {
  if (service->watcher != nullptr) {
    Fatal(
        "a ReplyPermit is used up while task %llu waits in its Abandoned: let that wait end first, "
        "or do both in one "
        "Select",
        TaskOf(*service->watcher));
  }
  service->caller = nullptr;
  --with_server_;
  service->next_free = std::exchange(free_, service);
  ServeTakers();
  return --handles_ == 0;
}

bool Hub::Abandoned(const Service& service) {
  PrimitiveLockHolder lock(lock_);
  return service.caller == nullptr;
}

Enqueued Hub::EnqueueWatcher(Service* service, Waiter* waiter) {
  PrimitiveLockHolder lock(lock_);
  if (service->caller == nullptr) return waiter->MayTake() ? Enqueued::kDone : Enqueued::kLost;
  if (service->watcher != nullptr) {
    Fatal("ReplyPermit::Abandoned while task %llu waits in it: one task at a time",
          TaskOf(*service->watcher));
  }
  service->watcher = waiter;
  return Enqueued::kQueued;
}

void Hub::WithdrawWatcher(Service* service) {
  PrimitiveLockHolder lock(lock_);
  service->watcher = nullptr;
}

// ---- what it says -----------------------------------------------------------------------------------

size_t Hub::waiting() {
  PrimitiveLockHolder lock(lock_);
  return in_line_;
}

size_t Hub::with_server() {
  PrimitiveLockHolder lock(lock_);
  return with_server_;
}

absl::Status Hub::ClosedError() {
  return absl::FailedPreconditionError(
      "SessionClient::Call: the server takes no calls any more; it has not seen this one, whose "
      "request stays with "
      "its caller");
}

absl::Status Hub::UnansweredError() {
  return absl::AbortedError(
      "SessionClient::Call: the server took the call and did not answer it: its ReplyPermit was "
      "aborted, dropped or "
      "revoked");
}

void Consumed(const char* call) {
  Fatal(
      "%s: the permit was consumed before, or moved from: the call may be another's by now. Ask "
      "before the reply",
      call);
}

}  // namespace session_internal
}  // namespace v0
}  // namespace quiesce

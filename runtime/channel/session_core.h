// session_core.h: what the ends of a session share.
//
// State, all of it under one lock. A call is a Caller in its caller's wait; while it is with the server it has a Service
// too, of which there are `capacity`, and which its ReplyPermit points to.
//
// a call is …     | because                           | becomes
// ----------------|-----------------------------------|---------------------------------------------------------------
// in line         | Call                              | with the server by Next; out of it by a cancel, or unseen at the end
// with the server | its ReplyPermit is open           | answered by the permit; given up by a cancel
// given up        | its caller was cancelled          | forgotten, when the permit is used
//
// Invariants: (1) somebody waits in Next only while no call may be served and one may still come; (2) a Service is free
//             exactly while no permit points to it; (3) the block lives as long as a client, the server or a permit.
#ifndef QUIESCE_RUNTIME_CHANNEL_SESSION_CORE_H_
#define QUIESCE_RUNTIME_CHANNEL_SESSION_CORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

template <class Request, class R>
struct Incoming;

namespace session_internal {

class Hub;
struct Service;

// A call, in its caller's wait. Guarded by the hub's lock. In line, or with the server, or neither.
struct Caller : ListHook {
  Waiter* waiter = nullptr;
  Service* service = nullptr;  // while it is with the server
};

// A call that is with the server: what its permit points to. Guarded by the hub's lock.
struct Service {
  Hub* hub = nullptr;
  Caller* caller = nullptr;   // null: has given up
  Waiter* watcher = nullptr;  // waits for that
  Service* next_free = nullptr;
};

// A server's task that waits for a call. Guarded by the hub's lock.
struct Taker : ListHook {
  Waiter* waiter = nullptr;
  Service* service = nullptr;  // what it was granted; null: the session has ended
};

// `call` on a permit that holds no call any more.
[[noreturn, gnu::cold]] void Consumed(const char* call);

// All of a session but the requests and the replies.
class Hub {
 public:
  explicit Hub(size_t capacity);
  virtual ~Hub() = default;
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  void AddSender() ABSL_LOCKS_EXCLUDED(lock_);
  void DropSender() ABSL_LOCKS_EXCLUDED(lock_);
  void DropServer() ABSL_LOCKS_EXCLUDED(lock_);
  void Close() ABSL_LOCKS_EXCLUDED(lock_);

  // kDone: the session takes no calls.
  Enqueued EnqueueCaller(Caller* caller, Waiter* waiter) ABSL_LOCKS_EXCLUDED(lock_);
  void WithdrawCaller(Caller* caller) ABSL_LOCKS_EXCLUDED(lock_);
  void WithdrawTaker(Taker* taker) ABSL_LOCKS_EXCLUDED(lock_);

  // The end of a service: calls fill(caller) for a caller that has not given up. False if it has.
  template <class Fill>
  bool Answer(Service* service, Fill fill) ABSL_LOCKS_EXCLUDED(lock_) {
    bool answered = false;
    bool last = false;
    {
      PrimitiveLockHolder lock(lock_);
      Caller* caller = service->caller;
      if (caller != nullptr) [[likely]] {
        // Harvest, which comes after a grant, waits for the lock.
        answered = caller->waiter->Grant();
        if (answered) [[likely]]
          fill(caller);
        caller->service = nullptr;
      }
      last = EndService(service);
    }
    if (last) [[unlikely]]
      delete this;
    return answered;
  }
  bool Abandoned(const Service& service) ABSL_LOCKS_EXCLUDED(lock_);
  Enqueued EnqueueWatcher(Service* service, Waiter* waiter) ABSL_LOCKS_EXCLUDED(lock_);
  void WithdrawWatcher(Service* service) ABSL_LOCKS_EXCLUDED(lock_);

  // For metrics.
  size_t waiting() ABSL_LOCKS_EXCLUDED(lock_);
  size_t with_server() ABSL_LOCKS_EXCLUDED(lock_);
  size_t capacity() const { return capacity_; }

  static absl::Status ClosedError();
  static absl::Status UnansweredError();

 protected:
  // Moves the request of `caller` to `taker`.
  virtual void MoveRequest(Caller* caller, Taker* taker) = 0;

  bool is_ended() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return (closed_ || clients_ == 0) && FirstCaller() == nullptr;
  }
  // The first in line that is not cancelled already, or null. Those that are withdraw by themselves.
  Caller* FirstCaller() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    Caller* caller = callers_.front();
    if (caller != nullptr && IsCancelled(*caller->waiter)) [[unlikely]]
      caller = FirstCallerSlow();
    return caller;
  }
  // Is there a call for a taker, now?
  bool MayServe() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return free_ != nullptr && FirstCaller() != nullptr;
  }
  // Precondition: MayServe().
  void Serve(Taker* taker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Serves takers that wait, as far as that is possible; if the session has ended, tells them.
  void ServeTakers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (!takers_.empty()) ServeTakersSlow();
  }

  PrimitiveLock lock_{"Session"};  // before a run queue's (inside Waiter::Grant)
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  uint32_t clients_ ABSL_GUARDED_BY(lock_) = 1;
  uint32_t handles_ ABSL_GUARDED_BY(lock_) = 2;    // clients, the server, services
  size_t in_line_ ABSL_GUARDED_BY(lock_) = 0;      // in callers_
  size_t with_server_ ABSL_GUARDED_BY(lock_) = 0;  // services that are not free
  // Waits that have not ended, whether queued, served or granted.
  uint32_t waiting_callers_ ABSL_GUARDED_BY(lock_) = 0;
  uint32_t waiting_takers_ ABSL_GUARDED_BY(lock_) = 0;
  Service* free_ ABSL_GUARDED_BY(lock_) = nullptr;
  IntrusiveList<Caller> callers_ ABSL_GUARDED_BY(lock_);
  IntrusiveList<Taker> takers_ ABSL_GUARDED_BY(lock_);

 private:
  // Has a cancel decided this wait, which has not withdrawn yet?
  static bool IsCancelled(const Waiter& waiter) {
    const uint32_t state =
        waiter.task()->word.load(std::memory_order_relaxed) & task_word::kStateMask;
    return state == task_word::kDecidedCancelled || state == task_word::kDecidedSpent;
  }
  Caller* FirstCallerSlow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void LeaveLine(Caller* caller) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    callers_.Remove(caller);
    --in_line_;
  }
  void ServeTakersSlow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // True if that was the last handle.
  bool EndService(Service* service) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  const size_t capacity_;
  const std::unique_ptr<Service[]> services_;  // guarded by lock_
};

template <class R>
struct ReplyTo : Caller {
  std::optional<Outcome<R>> reply;
};
template <class Request, class R>
struct CallOf : ReplyTo<R> {
  explicit CallOf(Request* request) : request(request) {}
  Request* request;
};
template <class Request>
struct TakerOf : Taker {
  std::optional<Request> request;
};

template <class Request, class R>
class Session final : public Hub {
  static_assert(std::is_nothrow_move_constructible_v<Request>,
                "a request is moved under the session's lock: its move constructor is noexcept");

 public:
  using Result = std::optional<Outcome<std::optional<Incoming<Request, R>>>>;
  using Hub::Hub;

  // A call for `taker` without waiting, or the end; false if neither.
  bool TryTake(TakerOf<Request>* taker) ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);
    if (!takers_.empty()) return false;
    if (MayServe()) {
      Serve(taker);
      return true;
    }
    return is_ended();
  }
  Enqueued EnqueueTaker(TakerOf<Request>* taker, Waiter* waiter) ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);
    // Asked once: a cancel may decide the first in line in between.
    const bool serve = takers_.empty() && MayServe();
    if (serve || (takers_.empty() && is_ended())) {
      if (!waiter->MayTake()) return Enqueued::kLost;
      if (serve) Serve(taker);
      return Enqueued::kDone;
    }
    taker->waiter = waiter;
    takers_.PushBack(taker);
    ++waiting_takers_;
    return Enqueued::kQueued;
  }
  void HarvestTaker() ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);  // who granted has let go of it: the call is there
    --waiting_takers_;
  }
  void HarvestCaller() ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);  // as above, for the reply
    --waiting_callers_;
  }

 private:
  void MoveRequest(Caller* caller, Taker* taker) override {
    static_cast<TakerOf<Request>*>(taker)->request.emplace(
        std::move(*static_cast<CallOf<Request, R>*>(caller)->request));
  }
};

}  // namespace session_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_SESSION_CORE_H_

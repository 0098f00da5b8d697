// session.h: typed calls between tasks: a request, and the one reply that is owed for it.
//
// Why:        a queue of requests that carry a way to answer loses answers: the request that nobody serves, the answer
//             that was forgotten, the work for a caller that has left. Here the reply is a permit, the caller learns at
//             once when it was dropped, and the server when the caller has given up.
// Example:    auto [client, server] = MakeSession<Key, Row>(16);
//             cx.Spawn("serve", [](Cx cx, SessionServer<Key, Row> server) -> Task<void> {
//               while (auto call = co_await OrReturn(server.Next(cx))) {
//                 std::move(call->reply).Reply(Find(call->request));
//               }
//               co_return Ok();                                      // the last client is gone
//             }, std::move(server));
//             Row row = co_await OrReturn(client.Call(cx, Key(7)));
// Capacity:   at most so many calls are *with the server* at once: taken by Next and not answered. Others wait in line,
//             each in its caller's own memory, so that nothing else needs a limit; and a call allocates nothing.
//             There is no TryCall: a message that nobody waits to see answered belongs into a channel.
// Invariants: (1) a request is seen by the server once or never; each that was seen ends in one reply, failure or
//                 Error(kAborted) at its caller, unless that has given up;
//             (2) calls are taken first come first served;
//             (3) Error(kFailedPrecondition): the server has not seen the request, and the caller still has it;
//                 Error(kAborted): it has.
//
// state of a call | caller cancelled          | server.Close      | server destroyed        | permit
// ----------------|---------------------------|-------------------|-------------------------|-----------------------
// waits in line   | out of the line, unseen   | still served      | kFailedPrecondition     | –
// with the server | given up: abandoned(), and| –                 | – (the permit lives on) | Reply: the reply; Fail:
//                 | Abandoned wakes; the reply|                   |                         | its status; else
//                 | stays with the server     |                   |                         | kAborted
//
// Lifetime:   the session lives as long as its handles and permits. A handle, and a call's request, outlive the waits
//             that were made with them; it is fatal to destroy the server, or the last client, in which a task waits.
// Threads:    clients, permits and Next on any; several tasks may wait in Next at once. What happened before Call
//             happens before the return of Next, and what happened before Reply before the return of Call.
// Values:     requests and replies are moved under the session's lock: their move constructors are noexcept, and
//             must not use the session.
#ifndef QUIESCE_RUNTIME_CHANNEL_SESSION_H_
#define QUIESCE_RUNTIME_CHANNEL_SESSION_H_

#include <cstddef>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/channel/moved_from.h"
#include "quiesce/runtime/channel/sending_end.h"
#include "quiesce/runtime/channel/session_core.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/permit.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

template <class R>
class ReplyPermit;
template <class Request, class R>
struct Incoming;
template <class Request, class R>
class SessionServer;

namespace session_internal {

template <class R>
struct ReplySlot {
  static constexpr PermitKind kKind = {"ReplyPermit", "Reply, Fail"};
  explicit ReplySlot(Service* service) : service(service) {}
  void Abort() { Fail(Hub::UnansweredError()); }
  bool Fail(absl::Status status) {
    return service->hub->Answer(service, [&](Caller* caller) {
      static_cast<ReplyTo<R>*>(caller)->reply.emplace(std::move(status));
    });
  }
  Service* service;
};

template <class Request, class R>
class CallOp {
 public:
  using Value = R;
  static constexpr const char* kName = "SessionClient::Call";
  static constexpr bool kStructural = false;
  // The server may be at work for it when another arm of a Select wins.
  static constexpr bool kPartial = true;
  CallOp(Session<Request, R>* session, Request* request) : session_(session), call_(request) {}

  bool Try(Waiter&, std::optional<Outcome<R>>&) { return false; }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<R>>& result) {
    const Enqueued enqueued = session_->EnqueueCaller(&call_, &waiter);
    if (enqueued == Enqueued::kDone) result.emplace(Hub::ClosedError());
    return enqueued;
  }
  bool Harvest(Waiter&, std::optional<Outcome<R>>& result) {
    session_->HarvestCaller();
    if (call_.reply.has_value()) [[likely]] {
      result.emplace(*std::move(call_.reply));
    } else {
      result.emplace(Hub::ClosedError());
    }
    return true;
  }
  void Withdraw(Waiter&) { session_->WithdrawCaller(&call_); }

 private:
  Session<Request, R>* session_;
  CallOf<Request, R> call_;
};

// `cx`: whose region owes the reply; none where a thread serves.
template <class Request, class R>
class NextOp {
 public:
  using Value = std::optional<Incoming<Request, R>>;
  static constexpr const char* kName = "SessionServer::Next";
  static constexpr bool kStructural = false;
  NextOp(Session<Request, R>* session, std::optional<CxBase> cx, const std::source_location& where)
      : session_(session), cx_(cx), where_(where) {}

  // Without a wait.
  bool TryNow(std::optional<Outcome<Value>>& result) {
    if (!session_->TryTake(&taker_)) return false;
    Yield(result);
    return true;
  }
  bool Try(Waiter&, std::optional<Outcome<Value>>& result) { return TryNow(result); }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    const Enqueued enqueued = session_->EnqueueTaker(&taker_, &waiter);
    if (enqueued == Enqueued::kDone) Yield(result);
    return enqueued;
  }
  bool Harvest(Waiter&, std::optional<Outcome<Value>>& result) {
    session_->HarvestTaker();
    Yield(result);
    return true;
  }
  void Withdraw(Waiter&) { session_->WithdrawTaker(&taker_); }

 private:
  void Yield(std::optional<Outcome<Value>>& result);

  Session<Request, R>* session_;
  TakerOf<Request> taker_;
  std::optional<CxBase> cx_;
  std::source_location where_;
};

class AbandonedOp {
 public:
  using Value = void;
  static constexpr const char* kName = "ReplyPermit::Abandoned";
  static constexpr bool kStructural = false;
  explicit AbandonedOp(Service* service) : service_(service) {}

  bool Try(Waiter&, std::optional<Outcome<void>>& result) {
    if (!service_->hub->Abandoned(*service_)) return false;
    result.emplace(Ok());
    return true;
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
    const Enqueued enqueued = service_->hub->EnqueueWatcher(service_, &waiter);
    if (enqueued == Enqueued::kDone) result.emplace(Ok());
    return enqueued;
  }
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result) {
    result.emplace(Ok());
    return true;
  }
  void Withdraw(Waiter&) { service_->hub->WithdrawWatcher(service_); }

 private:
  Service* service_;
};

}  // namespace session_internal

template <class Request, class R>
using SessionCallWait = Wait<session_internal::CallOp<Request, R>>;
template <class Request, class R>
using SessionNextWait = Wait<session_internal::NextOp<Request, R>>;
using AbandonedWait = Wait<session_internal::AbandonedOp>;

// The reply that is owed to one caller. Aborted, or dropped with a frame that failed: its Call yields
// Error(kAborted) at once. Revoked by the close of the region that owes it: the same, as soon as the permit is used
// or destroyed.
template <class R>
class [[nodiscard]] ReplyPermit : public Permit<session_internal::ReplySlot<R>> {
  using Slot = session_internal::ReplySlot<R>;
  using Value = std::conditional_t<std::is_void_v<R>, OkTag, R>;

  static_assert(std::is_nothrow_move_constructible_v<Value>,
                "a reply is moved under the session's lock: its move constructor is noexcept");

 public:
  // Gives `value` to the caller. Suspends never.
  // Returns  true: it gets it. False: it has given up, or the permit had been revoked, and `value` has not been moved
  //          from.
  // Threads  any.
  bool Reply(Value&& value) && {
    bool answered = false;
    std::move(*this).Act([&](Slot& slot) {
      answered = slot.service->hub->Answer(slot.service, [&](session_internal::Caller* caller) {
        static_cast<session_internal::ReplyTo<R>*>(caller)->reply.emplace(std::move(value));
      });
    });
    return answered;
  }
  bool Reply() && requires(std::is_void_v<R>) { return std::move(*this).Reply(Ok()); }
      // The caller's Call yields this failure. Fatal if `status` is OK. Returns as Reply.
      bool Fail(absl::Status status) && {
    bool answered = false;
    std::move(*this).Act([&](Slot& slot) { answered = slot.Fail(std::move(status)); });
    return answered;
  }

  // Has the caller given up? The reply has no taker then. It stays so. Fatal once the permit is consumed or moved from.
  bool abandoned() const {
    session_internal::Service* const service = Service("ReplyPermit::abandoned");
    return service->hub->Abandoned(*service);
  }
  // Waits until the caller gives up: for a Select beside what the server waits for.
  // Returns  Ok | Cancelled (the server's task).
  // Suspends until then. A checkpoint also when it has.
  // Cancel   safe: nothing happens.
  // Threads  one at a time; the permit stays where it is and is not used up meanwhile, which would be fatal.
  AbandonedWait Abandoned(const CxBase& cx) {
    return AbandonedWait(cx, Service("ReplyPermit::Abandoned"));
  }

 private:
  template <class Request, class U>
  friend class session_internal::NextOp;
  ReplyPermit(const CxBase& cx, Slot slot, const std::source_location& where)
      : Permit<Slot>(cx, slot, where) {}
  ReplyPermit(Slot slot, const std::source_location& where) : Permit<Slot>(slot, where) {}
  session_internal::Service* Service(const char* call) const {
    if (!this->live()) [[unlikely]]
      session_internal::Consumed(call);
    return this->slot().service;
  }
};

// A call that is with the server.
template <class Request, class R>
struct [[nodiscard]] Incoming {
  Incoming(Request request, ReplyPermit<R> reply)
      : request(std::move(request)), reply(std::move(reply)) {}
  Request request;
  ReplyPermit<R> reply;
};

namespace session_internal {

template <class Request, class R>
void NextOp<Request, R>::Yield(std::optional<Outcome<Value>>& result) {
  if (taker_.service == nullptr) [[unlikely]] {
    result.emplace(Value());
    return;
  }
  const ReplySlot<R> slot(taker_.service);
  result.emplace(
      Value(std::in_place, *std::move(taker_.request),
            cx_.has_value() ? ReplyPermit<R>(*cx_, slot, where_) : ReplyPermit<R>(slot, where_)));
}

}  // namespace session_internal

// Copies call the same server; Next ends with the last of them, whose destruction is fatal while a task waits in Call.
template <class Request, class R>
class SessionClient {
 public:
  // Gives `request` to the server, and waits for the reply.
  // Returns  the reply | the failure that the server gave | Error(kAborted): the server has had the request, and
  //          dropped it | Error(kFailedPrecondition): the server takes no calls, or went while this one waited in
  //          line | Cancelled.
  // Suspends until the reply, FIFO in line. A checkpoint.
  // Cancel   while it waits in line: safe (G8), the server never sees it, `request` has not been moved from. While it
  //          is with the server: given up, the server is told. So it cannot be an arm of a Select: race tasks.
  // Threads  any. `request` stays where it is until then.
  SessionCallWait<Request, R> Call(const CxBase& cx, Request&& request) {
    return SessionCallWait<Request, R>(cx, session(), &request);
  }
  // The same for a plain thread, which it blocks. Cancelled (kDeadline) once `timeout` has passed. Fatal in a
  // task.
  Outcome<R> BlockingCall(Request&& request, absl::Duration timeout = absl::InfiniteDuration()) {
    return BlockThread<session_internal::CallOp<Request, R>>(
        "SessionClient::BlockingCall", "co_await OrReturn(client.Call(cx, request))", timeout,
        session(), &request);
  }

  // For metrics; another moment may say otherwise.
  size_t waiting() const { return session()->waiting(); }          // in line
  size_t with_server() const { return session()->with_server(); }  // taken, and not answered
  size_t capacity() const { return session()->capacity(); }

 private:
  template <class Q, class U>
  friend std::pair<SessionClient<Q, U>, SessionServer<Q, U>> MakeSession(size_t capacity);
  explicit SessionClient(session_internal::Session<Request, R>* session) : end_(session) {}
  session_internal::Session<Request, R>* session() const {
    return channel_internal::NotMovedFrom(end_.get(), "a SessionClient");
  }

  channel_internal::SendingEnd<session_internal::Session<Request, R>> end_;
};

// Takes the calls. Move-only; several tasks may share it by reference.
template <class Request, class R>
class SessionServer {
 public:
  // No wait of it may be under way.
  SessionServer(SessionServer&& other) noexcept
      : session_(std::exchange(other.session_, nullptr)) {}
  SessionServer& operator=(SessionServer other) noexcept {
    std::swap(session_, other.session_);
    return *this;
  }
  // Calls that wait in line fail with Error(kFailedPrecondition). Fatal while a task waits in Next.
  ~SessionServer() {
    if (session_ != nullptr) session_->DropServer();
  }

  // Waits for the next call.
  // Returns  the call | nullopt: no client is left, or the server has closed, and every call was taken | Cancelled.
  // Suspends until there is one and fewer than `capacity` are with the server; FIFO where several tasks wait. A
  //          checkpoint also when it need not wait.
  // Cancel   safe (G8): takes no call; loses its place among the server's tasks.
  // Owes     Reply, Fail or Abort of `reply` (G7).
  // Threads  any number of tasks at once.
  SessionNextWait<Request, R> Next(const CxBase& cx,
                                   std::source_location where = std::source_location::current()) {
    return SessionNextWait<Request, R>(cx, session(), cx, where);
  }
  // The same for a plain thread, which it blocks; no region owes the reply. Cancelled (kDeadline) once `timeout` has
  // passed. Fatal in a task.
  Outcome<std::optional<Incoming<Request, R>>> BlockingNext(
      absl::Duration timeout = absl::InfiniteDuration(),
      std::source_location where = std::source_location::current()) {
    return BlockThread<session_internal::NextOp<Request, R>>(
        "SessionServer::BlockingNext", "co_await OrReturn(server.Next(cx))", timeout, session(),
        std::nullopt, where);
  }
  // The next call if there is one now and nobody waits for it; the region of `cx` owes the reply. Suspends never.
  std::optional<Incoming<Request, R>> TryNext(
      const CxBase& cx, std::source_location where = std::source_location::current()) {
    cx.Verify();
    session_internal::NextOp<Request, R> next(session(), cx, where);
    typename session_internal::Session<Request, R>::Result result;
    if (!next.TryNow(result)) return std::nullopt;
    return **std::move(result);
  }

  // No new calls from now on: Call fails with Error(kFailedPrecondition). Those that wait in line are still served,
  // then Next yields nullopt. Threads: any.
  void Close() { session()->Close(); }

 private:
  template <class Q, class U>
  friend std::pair<SessionClient<Q, U>, SessionServer<Q, U>> MakeSession(size_t capacity);
  explicit SessionServer(session_internal::Session<Request, R>* session) : session_(session) {}
  session_internal::Session<Request, R>* session() const {
    return channel_internal::NotMovedFrom(session_, "a SessionServer");
  }

  session_internal::Session<Request, R>* session_;  // null: moved from
};

// At most `capacity` calls are with the server at once; all the memory that they need now. Fatal if it is 0. `R` may
// be void.
template <class Request, class R>
std::pair<SessionClient<Request, R>, SessionServer<Request, R>> MakeSession(size_t capacity) {
  auto* session = new session_internal::Session<Request, R>(capacity);
  return {SessionClient<Request, R>(session), SessionServer<Request, R>(session)};
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_SESSION_H_

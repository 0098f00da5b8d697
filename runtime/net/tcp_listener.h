// tcp_listener.h: takes TCP connections.
//
// Why:        a server that is being shut down should turn new clients away at once, so that they go
//             elsewhere, while it still answers those that it has.
// Example:    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "0.0.0.0:8080"));
//             while (true) {
//               TcpStream stream = co_await OrReturn(listener.Accept(cx));
//               cx.Spawn("connection", Echo, std::move(stream));
//             }
// Invariants: (1) the descriptor is closed on every path; (2) a connection that was accepted is returned, by
//             this Accept or the next, or closed together with the listener; (3) a failed Accept leaves the
//             listener usable.
// Threads:    one task may wait in Accept; a second one at the same time is fatal. Moved between tasks
//             freely while no Accept waits. Must not outlive its Runtime.
//
// When it stops. Once the *scope that bound it* is cancelled (the region of Bind's Cx, or the task that called
// Bind), the first Accept that this cancel fails, or that begins and fails because of it, closes the
// listening socket: connections that nobody has accepted are reset, later ones are refused. The object may
// live on in an outer frame until the drain has ended. A cancel that comes from further in, as of a
// timeout or a lost race around Accept, leaves it listening. An Accept through cx.ForDrain() goes on
// until it fails. Where no Accept is called any more after the cancel, the socket stays until the object's end:
// a loop that leaves in another way calls Close.
#ifndef QUIESCE_RUNTIME_NET_TCP_LISTENER_H_
#define QUIESCE_RUNTIME_NET_TCP_LISTENER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/net/socket.h"
#include "quiesce/runtime/net/socket_calls.h"
#include "quiesce/runtime/net/tcp_stream.h"
#include "quiesce/runtime/region/region_ref.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

class TcpListener;

class TcpListenOptions {
 public:
  TcpListenOptions() = default;
  // Connections that the kernel keeps until they are accepted; it takes at most net.core.somaxconn.
  // Positive.
  TcpListenOptions& WithBacklog(int connections);
  int backlog() const { return backlog_; }

 private:
  int backlog_ = 4096;
};

namespace net_internal {

struct ListenSocket final : Socket {
  ListenSocket(OwnedSocket owned, const CxBase& cx)
      : Socket(std::move(owned), cx.services()),
        bound_in(RegionRef::Of(cx)),
        bound_by(cx.task()->id) {}

  // Closes the socket if the scope that bound it is cancelled. `accepting` is the Cx of an Accept that a
  // cancel ends.
  void CloseIfScopeCancelled(const CxBase& accepting);
  // Closes the socket, and a connection that has not been returned.
  void Stop();

  const RegionRef bound_in;
  const uint64_t bound_by;  // the id of the task
  std::string address;      // constant after Bind
  // Touched by the accepting task only.
  // Taken from the kernel, but the poller had no room for it yet.
  std::unique_ptr<TcpSocket> unregistered;
  // After a failure that trying again at once would only repeat: when to try again. InfinitePast: now.
  Instant pause_until = Instant::InfinitePast();
  // When the next such failure is reported.
  Instant report_after = Instant::InfinitePast();
};

class BindOp {
 public:
  using Value = TcpListener;
  static constexpr const char* kName = "TcpListener::Bind";
  static constexpr bool kStructural = false;
  BindOp(const CxBase& cx, absl::string_view address, TcpListenOptions options)
      : cx_(cx), address_(address), options_(options) {}
  // Always done at once.
  bool Try(Waiter&, std::optional<Outcome<TcpListener>>& result);
  Enqueued Enqueue(Waiter&, std::optional<Outcome<TcpListener>>&) { return Enqueued::kRetry; }
  bool Harvest(Waiter&, std::optional<Outcome<TcpListener>>&) { return false; }
  void Withdraw(Waiter&) {}

 private:
  Outcome<TcpListener> Bind();

  const CxBase cx_;
  const std::string address_;
  const TcpListenOptions options_;
};

class AcceptOp {
 public:
  using Value = TcpStream;
  static constexpr const char* kName = "TcpListener::Accept";
  static constexpr bool kStructural = false;
  AcceptOp(ListenSocket& socket, const CxBase& cx);
  ~AcceptOp();
  bool Try(Waiter&, std::optional<Outcome<TcpStream>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<TcpStream>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<TcpStream>>& result);
  void Withdraw(Waiter& waiter);

 private:
  void CloseIfCancelled();
  bool Paused();
  void Pause(const absl::Status& cause);
  int TakeConnection();
  bool Register(std::optional<Outcome<TcpStream>>& result);

  ListenSocket& socket_;
  const CxBase cx_;
  SocketTimer timer_;
  bool done_ = false;
};

}  // namespace net_internal

using BindWait = Wait<net_internal::BindOp>;
using AcceptWait = Wait<net_internal::AcceptOp>;

class [[nodiscard]] TcpListener {
 public:
  // Listens at `address`, "HOST:PORT" (see address.h): 0.0.0.0 and [::] stand for all interfaces ([::] for
  // those of IPv4, too), port 0 lets the system choose. SO_REUSEADDR is on, so that a server can start
  // again at once.
  // Returns  TcpListener | Error(kAlreadyExists): in use | Error(kInvalidArgument): the address |
  //          Error(kPermissionDenied): a privileged port | Error(kResourceExhausted): descriptors | as a
  //          Policy says | Cancelled.
  // Suspends never, but is a checkpoint.
  // Cancel   safe (G8): nothing was bound.
  // Threads  any.
  static BindWait Bind(const CxWith<cap::Net>& cx, absl::string_view address,
                       TcpListenOptions options = TcpListenOptions());

  TcpListener(TcpListener&&) noexcept = default;
  TcpListener& operator=(TcpListener&& other) noexcept;
  // Closes the socket. Fatal while an Accept waits.
  ~TcpListener();

  // Takes the next connection. TCP_NODELAY is on. What ended before it was accepted is skipped.
  // Returns  TcpStream | Error(kFailedPrecondition): it has stopped listening | Error(kUnknown): a failure
  //          that nobody foresaw, after which calling again is right and first lets 50 ms pass | Cancelled.
  // Suspends until a connection comes and there is room for it: while descriptors or memory are used up
  //          clients wait in the kernel, and it tries again every 50 ms. That is no error, since a server
  //          that gave up its listener over it would be gone when there is room again; the runtime's
  //          ReportSink gets the cause and the remedy, once a minute. RegionOptions::WithMaxTasks keeps
  //          a server from getting there.
  // Cancel   safe (G8): no connection was taken. May end the listening, see "When it stops".
  // Threads  one at a time; the listener must outlive the wait.
  AcceptWait Accept(const CxWith<cap::Net>& cx);

  // What it is bound to, with the port that the system chose: "0.0.0.0:8080". Also after Close.
  const std::string& address() const;

  // Stops listening. Fatal while an Accept waits. Calling it again has no effect.
  void Close();
  bool listening() const { return socket_ != nullptr && socket_->open(); }

 private:
  friend class net_internal::BindOp;
  explicit TcpListener(std::unique_ptr<net_internal::ListenSocket> socket)
      : socket_(std::move(socket)) {}

  std::unique_ptr<net_internal::ListenSocket> socket_;  // null: moved from
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_TCP_LISTENER_H_

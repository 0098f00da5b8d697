#include "quiesce/runtime/net/tcp_listener.h"

#include <errno.h>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/cx/authority.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/net/socket_error.h"

namespace quiesce {
inline namespace v0 {

TcpListenOptions& TcpListenOptions::WithBacklog(int connections) {
  if (connections <= 0) {
    Fatal("TcpListenOptions::WithBacklog(%d): the number of connections must be positive",
          connections);
  }
  backlog_ = connections;
  return *this;
}

namespace net_internal {
namespace {

// After a failure that would be repeated: long enough to use no processor, short enough for clients.
constexpr absl::Duration kPause = absl::Milliseconds(50);
constexpr absl::Duration kReportInterval = absl::Minutes(1);
// So many connections in a row that fail are no coincidence any more, and others want to run.
constexpr int kMostSkipped = 64;

// Does `error` concern only the connection that was next (accept(2), "Error handling")?
bool IsOfOneConnection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case EINTR:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
}

}  // namespace

void ListenSocket::Stop() {
  Close();
  unregistered.reset();
}

void ListenSocket::CloseIfScopeCancelled(const CxBase& accepting) {
  if (!open()) return;
  bool cancelled = bound_in.cancelled();
  if (!cancelled) {
    // The region is not, but perhaps the task that bound it, through its handle. That reaches the task and
    // the regions which it has opened, and then it is in the chain of causes of the cancel seen there.
    const CancelReason reason =
        accepting.region()->ops->reason(accepting.region(), accepting.task());
    for (const CancelReason* link = &reason; link != nullptr; link = link->cause()) {
      if (link->origin().task == bound_by) cancelled = true;
    }
  }
  if (cancelled) Stop();
}

// --- bind ----------------------------------------------------------------------------------------

bool BindOp::Try(Waiter&, std::optional<Outcome<TcpListener>>& result) {
  result.emplace(Bind());
  return true;
}

Outcome<TcpListener> BindOp::Bind() {
  absl::Status allowed =
      cx_.authority()->Allow([&](const Policy& policy) { return policy.AllowListen(address_); });
  if (!allowed.ok()) return allowed;
  absl::StatusOr<Address> address = Address::Parse(address_);
  if (!address.ok()) return address.status();
  SocketCalls& calls = SocketCallsOf(cx_.services());
  const int fd = calls.Open(address->family());
  if (fd < 0) return SocketError(-fd, kName, address_);
  auto socket = std::make_unique<ListenSocket>(OwnedSocket(calls, fd), cx_);
  Address bound;
  int result = calls.Listen(fd, *address, options_.backlog());
  if (result == 0) result = calls.LocalAddress(fd, &bound);
  if (result < 0) return SocketError(-result, kName, address_);
  socket->address = bound.ToString();
  absl::Status registered = socket->Register();
  if (!registered.ok()) return registered;
  return TcpListener(std::move(socket));
}

// --- accept --------------------------------------------------------------------------------------

AcceptOp::AcceptOp(ListenSocket& socket, const CxBase& cx)
    : socket_(socket), cx_(cx), timer_(socket, Socket::kRead) {
  CloseIfCancelled();
}

AcceptOp::~AcceptOp() {
  // A cancel can also end the wait between two of its steps.
  if (!done_) CloseIfCancelled();
}

void AcceptOp::CloseIfCancelled() {
  const uint8_t mode = cx_internal::WaitMode(cx_, kStructural);
  if (cx_internal::MustFailNow(cx_, mode)) socket_.CloseIfScopeCancelled(cx_);
}

bool AcceptOp::Paused() {
  if (socket_.pause_until == Instant::InfinitePast()) return false;
  if (!timer_.due() && cx_.services().clock->Now() < socket_.pause_until) return true;
  timer_.Stop();
  socket_.pause_until = Instant::InfinitePast();
  return false;
}

void AcceptOp::Pause(const absl::Status& cause) {
  const Instant now = cx_.services().clock->Now();
  socket_.pause_until = now + kPause;
  if (now < socket_.report_after) return;
  socket_.report_after = now + kReportInterval;
  cx_.services().reports->Report(absl::StrCat(
      "quiesce: ", cause.message(),
      ". Until then clients wait: it is tried again every 50 ms, and reported once a minute\n"));
}

// Returns 0 once there is a connection in `unregistered`, or an errno.
int AcceptOp::TakeConnection() {
  if (socket_.unregistered != nullptr) {
    socket_.unregistered->region =
        RegionRef::Of(cx_);  // the Accept that took it may have been another's
    return 0;
  }
  Address peer;
  const int fd = socket_.calls().Accept(socket_.fd(), &peer);
  if (fd < 0) return -fd;
  socket_.unregistered = std::make_unique<TcpSocket>(OwnedSocket(socket_.calls(), fd),
                                                     cx_.services(), peer, RegionRef::Of(cx_));
  return 0;
}

// False if the poller has no room for it.
bool AcceptOp::Register(std::optional<Outcome<TcpStream>>& result) {
  absl::Status registered = socket_.unregistered->Register();
  if (absl::IsResourceExhausted(registered)) {
    Pause(absl::ResourceExhaustedError(
        absl::StrCat(kName, "(", socket_.address, "): ", registered.message(),
                     "; raise fs.epoll.max_user_watches, or admit fewer connections at once "
                     "(RegionOptions::WithMaxTasks)")));
    return false;
  }
  std::unique_ptr<TcpSocket> accepted = std::move(socket_.unregistered);
  if (registered.ok()) {
    result.emplace(TcpStream(std::move(accepted)));
  } else {
    result.emplace(absl::Status(registered.code(),
                                absl::StrCat(kName, "(", socket_.address, "): the connection from ",
                                             accepted->peer.ToString(), " was closed: ",
                                             registered.message(), "; accept the next one")));
  }
  return true;
}

bool AcceptOp::Try(Waiter&, std::optional<Outcome<TcpStream>>& result) {
  done_ = true;
  if (!socket_.open()) {
    result.emplace(absl::FailedPreconditionError(absl::StrCat(
        kName, "(", socket_.address,
        "): the listener has stopped listening: it was closed, or the scope that bound it was "
        "cancelled; bind another one in a scope that lives")));
    return true;
  }
  int skipped = 0;
  while (!Paused() && socket_.TakeReady(Socket::kRead, kName)) {
    const int error = TakeConnection();
    if (error == EAGAIN) continue;
    // For want of a descriptor it fails also if there is nothing to accept.
    if (IsExhausted(error) && !socket_.calls().HasConnection(socket_.fd())) continue;
    socket_.SetReady(Socket::kRead);  // there may be more, and after a failure there is
    if (error == 0) {
      if (Register(result)) return true;
    } else if (IsExhausted(error)) {
      Pause(SocketError(error, kName, socket_.address));
    } else if (!IsOfOneConnection(error)) {
      socket_.pause_until = cx_.services().clock->Now() + kPause;
      result.emplace(SocketError(error, kName, socket_.address));
      return true;
    } else if (++skipped == kMostSkipped) {
      Pause(SocketError(error, kName, socket_.address));
    }
  }
  done_ = false;
  return false;
}

Enqueued AcceptOp::Enqueue(Waiter& waiter, std::optional<Outcome<TcpStream>>&) {
  bool parked;
  if (socket_.pause_until != Instant::InfinitePast()) {
    timer_.Set(socket_.pause_until);
    parked = socket_.ParkUntil(Socket::kRead, waiter, timer_);
  } else {
    parked = socket_.Park(Socket::kRead, waiter);
  }
  return parked ? Enqueued::kQueued : Enqueued::kRetry;
}

bool AcceptOp::Harvest(Waiter& waiter, std::optional<Outcome<TcpStream>>& result) {
  socket_.Leave(Socket::kRead);
  return Try(waiter, result);
}

void AcceptOp::Withdraw(Waiter&) {
  socket_.Leave(Socket::kRead);
  socket_.CloseIfScopeCancelled(cx_);
  done_ = true;
}

}  // namespace net_internal

// --- the listener --------------------------------------------------------------------------------

BindWait TcpListener::Bind(const CxWith<cap::Net>& cx, absl::string_view address,
                           TcpListenOptions options) {
  return BindWait(cx, cx, address, options);
}

TcpListener& TcpListener::operator=(TcpListener&& other) noexcept {
  if (this != &other) {
    Close();
    socket_ = std::move(other.socket_);
  }
  return *this;
}

TcpListener::~TcpListener() { Close(); }

void TcpListener::Close() {
  if (socket_ == nullptr || !socket_->open()) return;
  socket_->CheckNobodyWaits("TcpListener");
  socket_->Stop();
}

AcceptWait TcpListener::Accept(const CxWith<cap::Net>& cx) {
  if (socket_ == nullptr) {
    Fatal(
        "TcpListener::Accept on a listener that was moved from: accept from the one it was moved "
        "to");
  }
  return AcceptWait(cx, *socket_, cx);
}

const std::string& TcpListener::address() const {
  if (socket_ == nullptr) {
    Fatal("TcpListener::address of a listener that was moved from: ask the one it was moved to");
  }
  return socket_->address;
}

}  // namespace v0
}  // namespace quiesce

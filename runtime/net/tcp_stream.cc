#include "quiesce/runtime/net/tcp_stream.h"

#include <errno.h>
#include <sched.h>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/cx/authority.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/net/socket_calls.h"
#include "quiesce/runtime/net/socket_error.h"

namespace quiesce {
inline namespace v0 {
namespace net_internal {
namespace {

// Sends what the kernel takes at once. Returns the number of bytes, 0 if it takes none now, or -errno.
ssize_t Send(TcpSocket& socket, absl::Span<const std::byte> data) {
  socket.calls().BeforeSend(socket.fd(), data.size());
  socket.sending.store(true, std::memory_order_relaxed);
  const ssize_t n = socket.calls().Send(socket.fd(), data);
  const int error = n < 0 ? static_cast<int>(-n) : 0;
  const bool failed = error != 0 && error != EAGAIN;
  if (failed && error != EPIPE) socket.broken.store(error, std::memory_order_relaxed);
  socket.sending.store(false, std::memory_order_release);
  if (n > 0) socket.written = true;
  // Less than everything: the kernel's buffer is full, and an edge says when it is no more.
  if (failed || n == static_cast<ssize_t>(data.size())) socket.SetReady(Socket::kWrite);
  if (n >= 0) return n;
  return failed ? -error : 0;
}

absl::Status SendError(const TcpSocket& socket, int error, const char* operation) {
  if (error == EPIPE && socket.write_shut_down) {
    return absl::FailedPreconditionError(
        absl::StrCat(operation, "(", socket.peer.ToString(),
                     "): this stream's writing side was closed by ShutdownWrite; write before it"));
  }
  const int broken = socket.broken.load(std::memory_order_relaxed);
  return SocketError(broken != 0 ? broken : error, operation, socket.peer.ToString());
}

// Receives what there is. Returns the number of bytes, 0 at the end, or -errno.
ssize_t Receive(TcpSocket& socket, absl::Span<std::byte> buffer) {
  const ssize_t n = socket.calls().Receive(socket.fd(), buffer);
  if (n > 0) {
    if (n == static_cast<ssize_t>(buffer.size())) {
      socket.SetReady(Socket::kRead);
    } else {
      socket.EndShortRead();
    }
    return n;
  }
  if (n == -EAGAIN) return n;
  if (n < 0) {
    socket.broken.store(static_cast<int>(-n), std::memory_order_relaxed);
  } else {
    // The end; or the connection broke and a send was told. It does not block, so this is short.
    while (socket.sending.load(std::memory_order_acquire)) sched_yield();
  }
  socket.SetReady(Socket::kRead);
  const int broken = socket.broken.load(std::memory_order_relaxed);
  if (broken == 0) socket.read_ended = true;
  return -broken;
}

}  // namespace

// --- connect -------------------------------------------------------------------------------------

absl::Status ConnectOp::Begin() {
  absl::Status allowed =
      cx_.authority()->Allow([&](const Policy& policy) { return policy.AllowConnect(address_); });
  if (!allowed.ok()) return allowed;
  absl::StatusOr<Address> address = Address::Parse(address_);
  if (!address.ok()) return address.status();
  SocketCalls& calls = SocketCallsOf(cx_.services());
  const int fd = calls.Open(address->family());
  if (fd < 0) return SocketError(-fd, kName, address_);
  socket_ = std::make_unique<TcpSocket>(OwnedSocket(calls, fd), cx_.services(), *address,
                                        RegionRef::Of(cx_));
  const int result = calls.Connect(fd, *address);
  connected_ = result == 0;
  if (result < 0 && result != -EINPROGRESS) {
    socket_.reset();
    return ConnectError(-result, kName, address_);
  }
  // Into the poller only now: a socket that does not connect yet counts as hung up.
  if (!connected_) socket_->SetNotReady(Socket::kWrite);
  return socket_->Register();
}

void ConnectOp::Finish(std::optional<Outcome<TcpStream>>& result) {
  socket_->SetReady(Socket::kWrite);
  result.emplace(TcpStream(std::move(socket_)));
}

bool ConnectOp::Try(Waiter&, std::optional<Outcome<TcpStream>>& result) {
  if (socket_ == nullptr) {
    absl::Status begun = Begin();
    if (!begun.ok()) {
      result.emplace(std::move(begun));
      return true;
    }
  }
  if (connected_) {
    Finish(result);
    return true;
  }
  while (socket_->TakeReady(Socket::kWrite, kName)) {
    const int connected = socket_->calls().ConnectResult(socket_->fd());
    if (connected == -EINPROGRESS) continue;
    if (connected == 0) {
      Finish(result);
    } else {
      socket_.reset();
      result.emplace(ConnectError(-connected, kName, address_));
    }
    return true;
  }
  return false;
}

Enqueued ConnectOp::Enqueue(Waiter& waiter, std::optional<Outcome<TcpStream>>&) {
  return socket_->Park(Socket::kWrite, waiter) ? Enqueued::kQueued : Enqueued::kRetry;
}

bool ConnectOp::Harvest(Waiter& waiter, std::optional<Outcome<TcpStream>>& result) {
  socket_->Leave(Socket::kWrite);
  return Try(waiter, result);
}

void ConnectOp::Withdraw(Waiter&) {
  socket_->Leave(Socket::kWrite);
  socket_.reset();  // gives the attempt up at once
}

// --- read ----------------------------------------------------------------------------------------

bool ReadOp::Try(Waiter&, std::optional<Outcome<size_t>>& result) {
  if (buffer_.empty()) {
    result.emplace(absl::InvalidArgumentError(absl::StrCat(
        kName, "(", socket_.peer.ToString(),
        "): the buffer is empty, so 0 would be mistaken for the end; pass at least one "
        "byte")));
    return true;
  }
  return ReceiveWhile(socket_.TakeReady(Socket::kRead, kName), result);
}

bool ReadOp::ReceiveWhile(bool ready, std::optional<Outcome<size_t>>& result) {
  for (; ready; ready = socket_.TakeReady(Socket::kRead, kName)) {
    const ssize_t n = Receive(socket_, buffer_);
    if (n == -EAGAIN) continue;
    if (n >= 0) {
      result.emplace(static_cast<size_t>(n));
    } else {
      result.emplace(SocketError(static_cast<int>(-n), kName, socket_.peer.ToString()));
    }
    return true;
  }
  return false;
}

Enqueued ReadOp::Enqueue(Waiter& waiter, std::optional<Outcome<size_t>>&) {
  return socket_.Park(Socket::kRead, waiter) ? Enqueued::kQueued : Enqueued::kRetry;
}

bool ReadOp::Harvest(Waiter&, std::optional<Outcome<size_t>>& result) {
  return ReceiveWhile(socket_.LeaveAndTakeReady(Socket::kRead), result);
}

void ReadOp::Withdraw(Waiter&) { socket_.Leave(Socket::kRead); }

// --- write ---------------------------------------------------------------------------------------

bool WriteOp::Try(Waiter&, std::optional<Outcome<size_t>>& result) {
  if (data_.empty()) {
    result.emplace(absl::InvalidArgumentError(absl::StrCat(
        kName, "(", socket_.peer.ToString(),
        "): there is no data, and a Write writes at least one byte; WriteAll takes none")));
    return true;
  }
  while (socket_.TakeReady(Socket::kWrite, kName)) {
    const ssize_t n = Send(socket_, data_);
    if (n == 0) continue;
    if (n > 0) {
      result.emplace(static_cast<size_t>(n));
    } else {
      result.emplace(SendError(socket_, static_cast<int>(-n), kName));
    }
    return true;
  }
  return false;
}

Enqueued WriteOp::Enqueue(Waiter& waiter, std::optional<Outcome<size_t>>&) {
  return socket_.Park(Socket::kWrite, waiter) ? Enqueued::kQueued : Enqueued::kRetry;
}

bool WriteOp::Harvest(Waiter& waiter, std::optional<Outcome<size_t>>& result) {
  socket_.Leave(Socket::kWrite);
  return Try(waiter, result);
}

void WriteOp::Withdraw(Waiter&) { socket_.Leave(Socket::kWrite); }

bool WriteAllOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  while (!rest_.empty()) {
    if (!socket_.TakeReady(Socket::kWrite, kName)) return false;
    const ssize_t n = Send(socket_, rest_);
    if (n < 0) {
      result.emplace(SendError(socket_, static_cast<int>(-n), kName));
      return true;
    }
    rest_.remove_prefix(static_cast<size_t>(n));
    if (written_ != nullptr) *written_ += static_cast<size_t>(n);
  }
  result.emplace(Ok());
  return true;
}

Enqueued WriteAllOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>&) {
  return socket_.Park(Socket::kWrite, waiter) ? Enqueued::kQueued : Enqueued::kRetry;
}

bool WriteAllOp::Harvest(Waiter& waiter, std::optional<Outcome<void>>& result) {
  socket_.Leave(Socket::kWrite);
  return Try(waiter, result);
}

void WriteAllOp::Withdraw(Waiter&) { socket_.Leave(Socket::kWrite); }

}  // namespace net_internal

// --- the stream ----------------------------------------------------------------------------------

ConnectWait TcpStream::Connect(const CxWith<cap::Net>& cx, absl::string_view address) {
  return ConnectWait(cx, cx, address);
}

TcpStream& TcpStream::operator=(TcpStream&& other) noexcept {
  if (this != &other) {
    Close();
    socket_ = std::move(other.socket_);
  }
  return *this;
}

TcpStream::~TcpStream() { Close(); }

void TcpStream::Close() {
  if (socket_ == nullptr) return;
  socket_->CheckNobodyWaits("TcpStream");
  net_internal::EndConnection(std::move(socket_));
}

net_internal::TcpSocket& TcpStream::Open(const char* operation) const {
  if (socket_ == nullptr) {
    Fatal("%s on a stream that was closed or moved from: connect or accept another one", operation);
  }
  return *socket_;
}

ReadWait TcpStream::Read(const CxWith<cap::Net>& cx, ByteBuffer buffer) {
  return ReadWait(cx, Open("TcpStream::Read"), buffer.span());
}

WriteWait TcpStream::Write(const CxWith<cap::Net>& cx, ByteView data) {
  return WriteWait(cx, Open("TcpStream::Write"), data.span());
}

WriteAllWait TcpStream::WriteAll(const CxWith<cap::Net>& cx, ByteView data, size_t* written) {
  return WriteAllWait(cx, Open("TcpStream::WriteAll"), data.span(), written);
}

absl::Status TcpStream::ShutdownWrite() {
  net_internal::TcpSocket& socket = Open("TcpStream::ShutdownWrite");
  if (std::exchange(socket.write_shut_down, true)) return absl::OkStatus();
  const int result = socket.calls().ShutdownWrite(socket.fd());
  if (result == 0) return absl::OkStatus();
  // The connection has ended before.
  return net_internal::SocketError(result == -ENOTCONN ? EPIPE : -result,
                                   "TcpStream::ShutdownWrite", socket.peer.ToString());
}

void TcpStream::SetLinger(absl::Duration linger) {
  if (linger < absl::ZeroDuration()) {
    Fatal("TcpStream::SetLinger(%s): the time cannot be negative; zero turns lingering off",
          absl::FormatDuration(linger).c_str());
  }
  Open("TcpStream::SetLinger").linger = linger;
}

std::string TcpStream::peer_address() const {
  return Open("TcpStream::peer_address").peer.ToString();
}

std::string TcpStream::local_address() const {
  const net_internal::TcpSocket& socket = Open("TcpStream::local_address");
  Address address;
  socket.calls().LocalAddress(socket.fd(), &address);
  return address.ToString();
}

}  // namespace v0
}  // namespace quiesce

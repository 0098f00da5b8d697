// tcp_stream.h: a TCP connection.
//
// Why:        bytes in both directions, with waits that a cancel ends at once, and an end that loses no
//             answer.
// Example:    TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, "127.0.0.1:7"));
//             size_t sent = 0;
//             co_await OrReturn(stream.WriteAll(cx, request, &sent));
//             size_t n = co_await OrReturn(stream.Read(cx, buffer));     // 0: the peer has closed
// Invariants: (1) bytes arrive in order, once each, or an error is returned; (2) the descriptor is closed on
//             every path, and nothing is left of the stream when its region has closed (G2);
//             (3) no SIGPIPE is raised.
// Threads:    one task may read while one other writes; a third is fatal. Moved between tasks freely while
//             no operation waits. Must not outlive its Runtime.
//
// How it ends. Destroying or closing a stream does not wait. If that could lose what was written (the peer
// was sending, or has not acknowledged all of it), the writing side is closed and a task of the stream's
// region, "tcp linger", reads on and discards until the peer closes or, having sent nothing since, has
// acknowledged everything; at most `linger` (5 s) long, and never beyond the region's drain budget. Region
// close waits for it. The stream's region is that of the Cx it was accepted or connected with; once that
// one has closed, or is at its admission limit, there is no lingering: what was unread is discarded and the
// connection closed at once, so a peer that goes on sending may lose the answer. The task that ends its
// stream still counts then, so a region WithMaxTasks(n) wants n above the number of its connections by as
// many as may linger. Nothing lingers if nothing
// was written, if the peer has closed before, or if everything has arrived already: then the
// connection is closed at once.
#ifndef QUIESCE_RUNTIME_NET_TCP_STREAM_H_
#define QUIESCE_RUNTIME_NET_TCP_STREAM_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/net/bytes.h"
#include "quiesce/runtime/net/tcp_socket.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

class TcpStream;

namespace net_internal {

class AcceptOp;

class ConnectOp {
 public:
  using Value = TcpStream;
  static constexpr const char* kName = "TcpStream::Connect";
  static constexpr bool kStructural = false;
  ConnectOp(const CxBase& cx, absl::string_view address) : cx_(cx), address_(address) {}
  bool Try(Waiter&, std::optional<Outcome<TcpStream>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<TcpStream>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<TcpStream>>& result);
  void Withdraw(Waiter& waiter);

 private:
  absl::Status Begin();
  void Finish(std::optional<Outcome<TcpStream>>& result);

  const CxBase cx_;
  const std::string address_;
  std::unique_ptr<TcpSocket> socket_;  // null until the first Try
  bool connected_ = false;
};

class ReadOp {
 public:
  using Value = size_t;
  static constexpr const char* kName = "TcpStream::Read";
  static constexpr bool kStructural = false;
  ReadOp(TcpSocket& socket, absl::Span<std::byte> buffer) : socket_(socket), buffer_(buffer) {}
  bool Try(Waiter&, std::optional<Outcome<size_t>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<size_t>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<size_t>>& result);
  void Withdraw(Waiter& waiter);

 private:
  // While the kernel may have something.
  bool ReceiveWhile(bool ready, std::optional<Outcome<size_t>>& result);
  TcpSocket& socket_;
  const absl::Span<std::byte> buffer_;
};

class WriteOp {
 public:
  using Value = size_t;
  static constexpr const char* kName = "TcpStream::Write";
  static constexpr bool kStructural = false;
  WriteOp(TcpSocket& socket, absl::Span<const std::byte> data) : socket_(socket), data_(data) {}
  bool Try(Waiter&, std::optional<Outcome<size_t>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<size_t>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<size_t>>& result);
  void Withdraw(Waiter& waiter);

 private:
  TcpSocket& socket_;
  const absl::Span<const std::byte> data_;
};

class WriteAllOp {
 public:
  using Value = void;
  static constexpr const char* kName = "TcpStream::WriteAll";
  static constexpr bool kStructural = false;
  static constexpr bool kPartial = true;  // not in a Select
  WriteAllOp(TcpSocket& socket, absl::Span<const std::byte> data, size_t* written)
      : socket_(socket), rest_(data), written_(written) {
    if (written_ != nullptr) *written_ = 0;
  }
  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result);
  void Withdraw(Waiter& waiter);

 private:
  TcpSocket& socket_;
  absl::Span<const std::byte> rest_;
  size_t* const written_;  // counts along; null if nobody asks
};

}  // namespace net_internal

using ConnectWait = Wait<net_internal::ConnectOp>;
using ReadWait = Wait<net_internal::ReadOp>;
using WriteWait = Wait<net_internal::WriteOp>;
using WriteAllWait = Wait<net_internal::WriteAllOp>;

class [[nodiscard]] TcpStream {
 public:
  // Connects to `address`, "HOST:PORT" (see address.h; names are not resolved). TCP_NODELAY is on.
  // Returns  TcpStream | Error(kUnavailable): refused, unreachable, no answer | Error(kInvalidArgument): the
  //          address | Error(kResourceExhausted): descriptors, ports | as a Policy says | Cancelled.
  // Suspends until the peer has answered.
  // Cancel   safe (G8): gives the attempt up; the peer may see a connection that ends at once.
  // Threads  any.
  static ConnectWait Connect(const CxWith<cap::Net>& cx, absl::string_view address);

  TcpStream(TcpStream&&) noexcept = default;
  // Ends the connection that this one had, as the destructor does.
  TcpStream& operator=(TcpStream&& other) noexcept;
  // See "How it ends" above. Fatal while an operation waits.
  ~TcpStream();

  // Reads what there is, at least one byte and at most the buffer's size, into `buffer` (bytes.h: an array
  // or vector of std::byte, a std::string, a span), which the caller keeps until the wait has ended.
  // Returns  the number of bytes; 0 if the peer has closed its side, now and ever after |
  //          Error(kUnavailable): reset, timed out | Error(kInvalidArgument): an empty buffer | Cancelled.
  // Suspends until something has arrived.
  // Cancel   safe (G8): nothing was read.
  // Threads  one reader at a time; the stream must outlive the wait.
  ReadWait Read(const CxWith<cap::Net>& cx, ByteBuffer buffer);

  // Writes at least one byte of `data` (bytes.h: as for Read, or a text), and as many as the kernel takes
  // at once. "Written" means handed to
  // the kernel: only an answer of the peer's says that it has read them.
  // Returns  the number of bytes | Error(kUnavailable): the peer is gone | Error(kFailedPrecondition):
  //          after ShutdownWrite | Error(kInvalidArgument): no data | Cancelled.
  // Suspends while the kernel's buffer is full.
  // Cancel   safe (G8): nothing was written.
  // Threads  one writer at a time; the stream and the data must outlive the wait.
  WriteWait Write(const CxWith<cap::Net>& cx, ByteView data);

  // Writes all of `data`, or fails. `*written`, if given, says at each moment how many bytes have been
  // written: on success all, after a cancel or an error what happened before (G8).
  // Returns  Ok | Error, as Write | Cancelled.
  // Suspends while the kernel's buffer is full, as often as it takes; Ok at once for no data.
  // Cancel   may have written a part, which is `*written` bytes and cannot be taken back. To finish a
  //          message that was begun, wait with cx.ForDrain().
  // Threads  as Write.
  WriteAllWait WriteAll(const CxWith<cap::Net>& cx, ByteView data, size_t* written = nullptr);

  // Closes the writing side: the peer reads the end after what was written. Reading goes on. Calling it
  // again has no effect. Error(kUnavailable) if the peer is gone. Does not suspend. Threads: the writer.
  absl::Status ShutdownWrite();

  // Ends the connection, as the destructor does. Fatal while an operation waits.
  void Close();
  bool open() const { return socket_ != nullptr; }

  // How long the end may linger; zero: it never does. Default 5 s. Fatal if negative.
  void SetLinger(absl::Duration linger);

  // "127.0.0.1:8080"; the peer's stays readable after the peer has gone.
  std::string peer_address() const;
  std::string local_address() const;

 private:
  friend class net_internal::AcceptOp;
  friend class net_internal::ConnectOp;
  explicit TcpStream(std::unique_ptr<net_internal::TcpSocket> socket)
      : socket_(std::move(socket)) {}

  // Fatal if there is none.
  net_internal::TcpSocket& Open(const char* operation) const;

  std::unique_ptr<net_internal::TcpSocket> socket_;  // null: closed or moved from
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_TCP_STREAM_H_

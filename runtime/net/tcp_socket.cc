#include "quiesce/runtime/net/tcp_socket.h"

#include <errno.h>

#include <optional>

#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {
namespace net_internal {
namespace {

enum class Drained : uint8_t {
  kEnded,    // the peer has closed its side, or the connection is broken
  kNothing,  // no input now
  kSome,     // some was discarded; there may be more
};

Drained DiscardInput(TcpSocket& socket) {
  const ssize_t n = socket.calls().Discard(socket.fd());
  if (n > 0) {
    socket.discarded = true;
    return Drained::kSome;
  }
  return n == -EAGAIN ? Drained::kNothing : Drained::kEnded;
}

// A peer that was sending when the stream ended is waited for until it stops. One that was silent has
// got everything once it has acknowledged our end: it sends no more, or it would have by then.
bool IsSafeToClose(const TcpSocket& socket) {
  return !socket.discarded && socket.calls().AllAcknowledged(socket.fd());
}

// Discards what there is, then waits for more. True once the connection may be closed.
class LingerOp {
 public:
  using Value = bool;
  static constexpr const char* kName = "TcpStream linger";
  static constexpr bool kStructural = false;

  LingerOp(TcpSocket& socket, Instant until)
      : socket_(socket), until_(until), timer_(socket, Socket::kRead) {}

  bool Try(Waiter&, std::optional<Outcome<bool>>& result) {
    // The timer alone would not do: it is set when input runs dry, which a peer can see to never happens.
    if (timer_.due() || socket_.services().clock->Now() >= until_) {
      result.emplace(true);
      return true;
    }
    if (!socket_.TakeReady(Socket::kRead, kName)) return false;
    switch (DiscardInput(socket_)) {
      case Drained::kEnded:
        result.emplace(true);
        return true;
      case Drained::kSome:
        socket_.SetReady(Socket::kRead);
        result.emplace(false);
        return true;
      case Drained::kNothing:
        if (!IsSafeToClose(socket_)) return false;
        result.emplace(true);
        return true;
    }
    return false;
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<bool>>&) {
    timer_.Set(until_);
    return socket_.Park(Socket::kRead, waiter, &timer_) ? Enqueued::kQueued : Enqueued::kRetry;
  }
  bool Harvest(Waiter& waiter, std::optional<Outcome<bool>>& result) {
    socket_.Leave(Socket::kRead);
    return Try(waiter, result);
  }
  void Withdraw(Waiter&) { socket_.Leave(Socket::kRead); }

 private:
  TcpSocket& socket_;
  const Instant until_;
  SocketTimer timer_;
};

// Ends with its region's drain budget, if that is earlier; the connection is closed in any case.
Task<void> Linger(CxWith<cap::Net> cx, std::unique_ptr<TcpSocket> socket) {
  const Instant until = cx.Now() + socket->linger;
  while (true) {
    Outcome<bool> done = co_await Wait<LingerOp>(cx, *socket, until);
    if (!done.ok() || *done) co_return Ok();
  }
}

// May a plain close lose something that the peer has not got yet? Discards what is unread, as a side
// effect.
bool MustLinger(TcpSocket& socket) {
  if (!socket.written || socket.read_ended) return false;
  if (socket.broken.load(std::memory_order_relaxed) != 0) return false;
  if (socket.linger <= absl::ZeroDuration()) return false;
  switch (DiscardInput(socket)) {
    case Drained::kEnded:
      return false;
    case Drained::kSome:
      return true;
    case Drained::kNothing:
      return !IsSafeToClose(socket);
  }
  return true;
}

}  // namespace

void EndConnection(std::unique_ptr<TcpSocket> socket) {
  if (!MustLinger(*socket)) return;
  // Every change matters from here on: that the peer acknowledges our end is seen as "writable".
  socket->JoinSides();
  socket->calls().ShutdownWrite(socket->fd());
  socket->SetReady(Socket::kRead);
  RegionRef region = std::move(socket->region);
  // Refused (the region has closed, its drain budget is spent, or it is full): the socket is destroyed
  // here, and what was unread has been discarded, so the kernel sends what is left and no reset yet.
  auto unused = region.SpawnForDrain("tcp linger", &Linger, std::move(socket));
  (void)unused;
}

}  // namespace net_internal
}  // namespace v0
}  // namespace quiesce

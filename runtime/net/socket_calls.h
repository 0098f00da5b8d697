// socket_calls.h: beside the Poller, what sockets ask of the operating system. Internal to runtime/net and the lab.
//
// Why:        a lab has no kernel that does the same twice. All else of a stream or a listener is the same there.
// How:        each call is one that does not block, and returns what the system call does; a failure is -errno.
// Invariants: a descriptor is one of the SocketCalls that has made it, and is closed by it.
// Threads:    as the kernel: calls on one descriptor from several threads are fine, but for Close.
#ifndef QUIESCE_RUNTIME_NET_SOCKET_CALLS_H_
#define QUIESCE_RUNTIME_NET_SOCKET_CALLS_H_

#include <sys/types.h>

#include <cstddef>
#include <utility>

#include "absl/types/span.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/net/address.h"

namespace quiesce {
inline namespace v0 {

class SocketCalls {
 public:
  // A TCP socket that does nothing yet. Its descriptor.
  virtual int Open(int family) = 0;
  virtual void Close(int fd) = 0;

  // Binds and listens: SO_REUSEADDR is on; so is TCP_NODELAY, which connections inherit. 0.
  virtual int Listen(int fd, const Address& address, int backlog) = 0;
  // The descriptor of the next connection; -EAGAIN: there is none now. `*peer`: whose it is.
  virtual int Accept(int fd, Address* peer) = 0;
  // Would Accept find one if there were a descriptor for it?
  virtual bool HasConnection(int fd) = 0;

  // 0: connected; -EINPROGRESS: "writable" says when ConnectResult is to be asked. TCP_NODELAY is on.
  virtual int Connect(int fd, const Address& address) = 0;
  // 0: connected; -EINPROGRESS: not yet.
  virtual int ConnectResult(int fd) = 0;

  // Comes before a Send of so many bytes, and before what belongs to it: others may do something here, and not in between.
  // (Who reads waits, without suspending, for a send that is under way; in a lab it would wait for ever.)
  virtual void BeforeSend(int fd, size_t bytes) = 0;
  // The number of bytes; -EAGAIN: none now. No SIGPIPE.
  virtual ssize_t Send(int fd, absl::Span<const std::byte> data) = 0;
  // The number of bytes, 0 at the end; -EAGAIN: none now.
  virtual ssize_t Receive(int fd, absl::Span<std::byte> buffer) = 0;
  // As Receive, of at most 1 MiB that nobody gets to see.
  virtual ssize_t Discard(int fd) = 0;
  // Closes the writing side. 0.
  virtual int ShutdownWrite(int fd) = 0;
  // Has the peer's kernel acknowledged all that was sent, the end of the stream included?
  virtual bool AllAcknowledged(int fd) = 0;
  // Ends the connection as Close does, where the descriptor has to stay open for a while: with a reset if something has
  // come that nobody has read.
  virtual void EndNow(int fd) = 0;

  // 0.
  virtual int LocalAddress(int fd, Address* address) = 0;
  virtual int PeerAddress(int fd, Address* address) = 0;

 protected:
  ~SocketCalls() =
      default;  // so that those of the process are there for what is destroyed at its end
};

// Those of the process. One for all.
SocketCalls& KernelSocketCalls();

inline SocketCalls& SocketCallsOf(const RuntimeServices& services) {
  return services.sockets != nullptr ? *services.sockets : KernelSocketCalls();
}

// A descriptor with one owner, who closes it. Threads: as a value.
class [[nodiscard]] OwnedSocket {
 public:
  // Takes `fd` over; a negative one is none.
  OwnedSocket(SocketCalls& calls, int fd) : calls_(&calls), fd_(fd) {}
  OwnedSocket(OwnedSocket&& other) noexcept
      : calls_(other.calls_), fd_(std::exchange(other.fd_, -1)) {}
  OwnedSocket& operator=(OwnedSocket&&) = delete;
  ~OwnedSocket() { Close(); }

  SocketCalls& calls() const { return *calls_; }
  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Close() {
    const int fd = std::exchange(fd_, -1);
    if (fd >= 0) calls_->Close(fd);
  }

 private:
  SocketCalls* calls_;
  int fd_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_SOCKET_CALLS_H_

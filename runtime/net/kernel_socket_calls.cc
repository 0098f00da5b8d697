#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "quiesce/runtime/net/socket_calls.h"

namespace quiesce {
inline namespace v0 {
namespace {

constexpr size_t kMostDiscarded = size_t{1} << 20;

template <class Result>
Result OrErrno(Result result) {
  return result >= 0 ? result : -errno;
}

void TurnOn(int fd, int level, int option) {
  const int on = 1;
  setsockopt(fd, level, option, &on, sizeof on);
}

using AddressCall = int (*)(int, sockaddr*, socklen_t*);
int AskAddress(AddressCall call, int fd, Address* address) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (call(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return -errno;
  *address = Address::FromKernel(storage);
  return 0;
}

class Kernel final : public SocketCalls {
 public:
  int Open(int family) override {
    return OrErrno(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }

  // Not repeated after EINTR: Linux has freed the number by then, and another thread may own it.
  void Close(int fd) override { close(fd); }

  int Listen(int fd, const Address& address, int backlog) override {
    TurnOn(fd, SOL_SOCKET, SO_REUSEADDR);
    // Inherited by the connections that are accepted, which saves a call for each.
    TurnOn(fd, IPPROTO_TCP, TCP_NODELAY);
    const int off = 0;
    if (address.is_ipv6()) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address.data(), address.size()) != 0) return -errno;
    return OrErrno(listen(fd, backlog));
  }

  int Accept(int fd, Address* peer) override {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    const int accepted = OrErrno(
        accept4(fd, reinterpret_cast<sockaddr*>(&storage), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (accepted >= 0) *peer = Address::FromKernel(storage);
    return accepted;
  }

  bool HasConnection(int fd) override {
    pollfd look = {.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&look, 1, 0) != 0;
  }

  int Connect(int fd, const Address& address) override {
    TurnOn(fd, IPPROTO_TCP, TCP_NODELAY);
    if (connect(fd, address.data(), address.size()) == 0) return 0;
    return errno == EINTR ? -EINPROGRESS : -errno;
  }

  int ConnectResult(int fd) override {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return -error;
    // No error also means: not yet.
    Address peer;
    return AskAddress(getpeername, fd, &peer) == 0 ? 0 : -EINPROGRESS;
  }

  void BeforeSend(int, size_t) override {}
  ssize_t Send(int fd, absl::Span<const std::byte> data) override {
    while (true) {
      const ssize_t n = OrErrno(send(fd, data.data(), data.size(), MSG_NOSIGNAL));
      if (n != -EINTR) return n;
    }
  }

  ssize_t Receive(int fd, absl::Span<std::byte> buffer) override {
    while (true) {
      const ssize_t n = OrErrno(recv(fd, buffer.data(), buffer.size(), 0));
      if (n != -EINTR) return n;
    }
  }

  // Without a copy (tcp(7), MSG_TRUNC).
  ssize_t Discard(int fd) override {
    while (true) {
      const ssize_t n = OrErrno(recv(fd, nullptr, kMostDiscarded, MSG_TRUNC | MSG_DONTWAIT));
      if (n != -EINTR) return n;
    }
  }

  int ShutdownWrite(int fd) override { return OrErrno(shutdown(fd, SHUT_WR)); }

  bool AllAcknowledged(int fd) override {
    int unacknowledged = 0;
    return ioctl(fd, SIOCOUTQ, &unacknowledged) == 0 && unacknowledged == 0;
  }

  void EndNow(int fd) override {
    int unread = 0;
    if (ioctl(fd, SIOCINQ, &unread) == 0 && unread > 0) {
      const sockaddr nobody = {.sa_family = AF_UNSPEC, .sa_data = {}};
      connect(fd, &nobody, sizeof nobody);
    } else {
      shutdown(fd, SHUT_RDWR);
    }
  }

  int LocalAddress(int fd, Address* address) override {
    return AskAddress(getsockname, fd, address);
  }
  int PeerAddress(int fd, Address* address) override {
    return AskAddress(getpeername, fd, address);
  }
};

}  // namespace

SocketCalls& KernelSocketCalls() {
  static Kernel kernel;
  return kernel;
}

}  // namespace v0
}  // namespace quiesce

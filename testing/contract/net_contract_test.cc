// The contract (wait_contract.h) for the waits on sockets. The grant is readiness, which says "try again": what was sent stays in
// the kernel.
#include <poll.h>
#include <sys/ioctl.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/net/net_test_support.h"
#include "quiesce/runtime/net/tcp_listener.h"
#include "quiesce/runtime/net/tcp_stream.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

constexpr int kNarrow = 4096;

// The descriptor of ours that is bound to `address`.
int DescriptorAt(const std::string& address) {
  for (int fd = 3;; ++fd) {
    QUIESCE_CHECK(fd < 4096, "test: no descriptor is bound to the address");
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) continue;
    if (Address::FromKernel(storage).ToString() == address) return fd;
  }
}

bool IsReady(int fd, short events) {
  pollfd look = {.fd = fd, .events = events, .revents = 0};
  return poll(&look, 1, 0) > 0 && (look.revents & events) != 0;
}

// What it accepts takes little at a time. Set before the handshake, since a sender whose peer narrows its window later
// waits for timers.
Peer NarrowListener() {
  Peer listener = Peer::Listen(1);
  setsockopt(listener.fd(), SOL_SOCKET, SO_RCVBUF, &kNarrow, sizeof kNarrow);
  return listener;
}

// A stream of ours and its peer, which resets it in the end: thousands of orderly ends would use the ports up.
struct Connection {
  ~Connection() { peer.Reset(); }
  Task<void> Connect(Cx cx) {
    static Peer& listener = *new Peer(NarrowListener());
    stream.emplace(co_await OrReturn(TcpStream::Connect(cx, listener.address())));
    peer = listener.Accept();
    fd = DescriptorAt(stream->local_address());
    co_return Ok();
  }
  std::optional<TcpStream> stream;
  Peer peer;
  int fd = -1;
};

struct ReadContract : WaitContractDefaults {
  static constexpr bool kGrantIsKept = false;
  explicit ReadContract(SteppedRuntime& runtime) : runtime(runtime) {}
  Task<void> SetUp(Cx cx) { return connection.Connect(cx); }
  auto Start(const Cx& cx) { return connection.stream->Read(cx, Room(buffer)); }
  void Grant() {
    connection.peer.Send("*");  // loopback: it is there when this returns
    runtime.PollNow();
  }
  std::string CheckValue(Outcome<size_t>& got) {
    return *got == 1 && buffer[0] == '*' ? "" : absl::StrCat("got ", *got, " bytes");
  }
  std::string CheckState(bool ok, bool granted) {
    int left = 0;
    ioctl(connection.fd, FIONREAD, &left);
    const int expected = granted && !ok ? 1 : 0;
    return left == expected ? "" : absl::StrCat(left, " bytes are left");
  }
  SteppedRuntime& runtime;
  Connection connection;
  std::string buffer = std::string(8, '\0');
};
INSTANTIATE_TYPED_TEST_SUITE_P(TcpRead, WaitContract, ReadContract);

// A stream whose kernel takes no more, until the peer has read.
struct FullStreamContract : WaitContractDefaults {
  static constexpr bool kGrantIsKept = false;
  explicit FullStreamContract(SteppedRuntime& runtime) : runtime(runtime) {}
  Task<void> SetUp(Cx cx) {
    co_await OrReturn(connection.Connect(cx));
    setsockopt(connection.fd, SOL_SOCKET, SO_SNDBUF, &kNarrow, sizeof kNarrow);
    const std::string much(1 << 16, '.');
    while (true) {
      const ssize_t n = send(connection.fd, much.data(), much.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) sent_before += static_cast<size_t>(n);
      // What is under way may still make room.
      if (n < 0 && !IsReady(connection.fd, POLLOUT)) break;
    }
    co_return Ok();
  }
  void Grant() {
    while (!IsReady(connection.fd, POLLOUT)) received += connection.peer.TryReceive(1 << 16);
    runtime.PollNow();
  }
  // Whatever was reported as written arrives, and nothing else.
  std::string CheckState(bool ok, bool) {
    const size_t expected = sent_before + written;
    while (received.size() < expected) received += connection.peer.TryReceive(1 << 16);
    received += connection.peer.TryReceive(1 << 16);
    if (received.size() != expected) {
      return absl::StrCat("written: ", expected, ", received: ", received.size());
    }
    if (ok != (written == 4)) return absl::StrCat(written, " bytes written");
    return received.substr(sent_before) == std::string(written, '*') ? "" : "other bytes";
  }
  std::string Written(size_t bytes) {
    written = bytes;
    return written == 4 ? "" : absl::StrCat("Ok, but ", written, " bytes are written");
  }
  SteppedRuntime& runtime;
  Connection connection;
  size_t sent_before = 0;
  size_t written = 0;
  std::string received;
};

struct WriteContract : FullStreamContract {
  using FullStreamContract::FullStreamContract;
  auto Start(const Cx& cx) { return connection.stream->Write(cx, Bytes("****")); }
  std::string CheckValue(Outcome<size_t>& got) { return Written(*got); }
};
INSTANTIATE_TYPED_TEST_SUITE_P(TcpWrite, WaitContract, WriteContract);

struct WriteAllContract : FullStreamContract {
  using FullStreamContract::FullStreamContract;
  auto Start(const Cx& cx) { return connection.stream->WriteAll(cx, Bytes("****"), &written); }
  std::string CheckValue(Outcome<void>&) { return Written(written); }
};
INSTANTIATE_TYPED_TEST_SUITE_P(TcpWriteAll, WaitContract, WriteAllContract);

struct AcceptContract : WaitContractDefaults {
  static constexpr bool kGrantIsKept = false;
  explicit AcceptContract(SteppedRuntime& runtime) : runtime(runtime) {}
  ~AcceptContract() { peer.Reset(); }
  Task<void> SetUp(Cx cx) {
    listener.emplace(co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0")));
    fd = DescriptorAt(listener->address());
    co_return Ok();
  }
  auto Start(const Cx& cx) { return listener->Accept(cx); }
  void Grant() {
    peer = Peer::Connect(listener->address());
    runtime.PollNow();
  }
  std::string CheckValue(Outcome<TcpStream>& got) {
    accepted = got->peer_address();
    return "";
  }
  std::string CheckState(bool ok, bool granted) {
    if (ok && accepted != peer.address()) return "another connection";
    if (!listener->listening()) return "it has stopped listening";
    const bool expected = granted && !ok;
    return IsReady(fd, POLLIN) == expected ? "" : "a connection is lost or doubled";
  }
  SteppedRuntime& runtime;
  std::optional<TcpListener> listener;
  std::string accepted;
  Peer peer;
  int fd = -1;
};
INSTANTIATE_TYPED_TEST_SUITE_P(TcpAccept, WaitContract, AcceptContract);

}  // namespace
}  // namespace quiesce::contract

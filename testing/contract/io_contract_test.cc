// The contract (wait_contract.h) for the primitives that meet the world outside.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/net/tcp_listener.h"
#include "quiesce/runtime/net/tcp_stream.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/signal/shutdown_signal.h"
#include "quiesce/runtime/signal/signal_hub.h"
#include "quiesce/runtime/sync/completion.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

// ---- sync -------------------------------------------------------------------------------------------

struct CompletionContract : WaitContractDefaults {
  explicit CompletionContract(SteppedRuntime&) {}
  auto Start(const Cx& cx) { return completion.Wait(cx); }
  void Grant() { completion.Complete(42); }
  std::string CheckValue(Outcome<int>& got) { return *got == 42 ? "" : "another value"; }
  std::string CheckState(bool, bool) { return ""; }  // taken twice would be fatal
  Completion<int> completion;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Completion, WaitContract, CompletionContract);

// ---- signals ----------------------------------------------------------------------------------------

struct ShutdownSignalContract : WaitContractDefaults {
  explicit ShutdownSignalContract(SteppedRuntime& runtime)
      : runtime(runtime), hub(SignalHub::CreateUnbound()) {
    runtime.services().signals = hub.get();
  }
  ~ShutdownSignalContract() { runtime.services().signals = nullptr; }
  auto Start(const Cx& cx) { return ShutdownSignal(cx); }
  void Grant() { hub->Deliver(SIGTERM); }
  std::string CheckValue(Outcome<int>& got) { return *got == SIGTERM ? "" : "another signal"; }
  std::string CheckState(bool, bool) { return ""; }
  SteppedRuntime& runtime;
  std::unique_ptr<SignalHub> hub;
};
INSTANTIATE_TYPED_TEST_SUITE_P(ShutdownSignal, WaitContract, ShutdownSignalContract);

// ---- sockets ----------------------------------------------------------------------------------------

// A plain socket of the other side. Closes with a reset, which leaves no TIME_WAIT behind.
class Peer {
 public:
  explicit Peer(int fd = -1) : fd_(fd) {}
  ~Peer() { Reset(-1); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  void Reset(int fd) {
    if (fd_ >= 0) {
      const linger at_once = {.l_onoff = 1, .l_linger = 0};
      setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
      close(fd_);
    }
    fd_ = fd;
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

struct AcceptContract : WaitContractDefaults {
  static constexpr bool kGrantIsKept = false;  // the connection stays in the backlog
  explicit AcceptContract(SteppedRuntime& runtime) : runtime(runtime) {}
  Task<void> SetUp(Cx cx) {
    listener.emplace(co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0")));
    co_return Ok();
  }
  auto Start(const Cx& cx) { return listener->Accept(cx); }
  void Grant() {
    const std::string& address = listener->address();
    int port = 0;
    QUIESCE_CHECK(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port), "no port");
    client.Reset(socket(AF_INET, SOCK_STREAM, 0));
    const sockaddr_in to = Loopback(static_cast<uint16_t>(port));
    QUIESCE_CHECK(connect(client.fd(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0,
                  "the client does not connect");
    runtime.PollNow();
  }
  std::string CheckValue(Outcome<TcpStream>&) { return ""; }
  std::string CheckState(bool, bool) { return ""; }  // a connection that is lost is missed later
  SteppedRuntime& runtime;
  std::optional<TcpListener> listener;
  Peer client;
};
INSTANTIATE_TYPED_TEST_SUITE_P(TcpAccept, WaitContract, AcceptContract);

struct ReadContract : WaitContractDefaults {
  static constexpr bool kGrantIsKept = false;  // the byte stays in the kernel
  explicit ReadContract(SteppedRuntime& runtime) : runtime(runtime) {}
  Task<void> SetUp(Cx cx) {
    Peer listening(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    QUIESCE_CHECK(bind(listening.fd(), raw, size) == 0 && listen(listening.fd(), 1) == 0 &&
                      getsockname(listening.fd(), raw, &size) == 0,
                  "the peer does not listen");
    const std::string to = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
    stream.emplace(co_await OrReturn(TcpStream::Connect(cx, to)));
    peer.Reset(accept(listening.fd(), nullptr, nullptr));
    QUIESCE_CHECK(peer.fd() >= 0, "the peer does not accept");
    co_return Ok();
  }
  auto Start(const Cx& cx) { return stream->Read(cx, absl::MakeSpan(buffer)); }
  void Grant() {
    QUIESCE_CHECK(send(peer.fd(), "x", 1, MSG_NOSIGNAL) == 1, "the peer does not send");
    runtime.PollNow();
  }
  std::string CheckValue(Outcome<size_t>& got) {
    return *got == 1 && buffer[0] == std::byte{'x'} ? "" : absl::StrCat(*got, " bytes were read");
  }
  std::string CheckState(bool, bool) { return ""; }  // a byte that is lost is missed later
  SteppedRuntime& runtime;
  Peer peer;
  std::optional<TcpStream> stream;
  std::array<std::byte, 16> buffer = {};
};
INSTANTIATE_TYPED_TEST_SUITE_P(TcpRead, WaitContract, ReadContract);

}  // namespace
}  // namespace quiesce::contract

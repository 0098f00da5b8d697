// net_test_support.h: peers that know nothing of the runtime, and what the tests of this folder share.
#ifndef QUIESCE_RUNTIME_NET_NET_TEST_SUPPORT_H_
#define QUIESCE_RUNTIME_NET_NET_TEST_SUPPORT_H_

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/unique_fd.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/reactor/io_backend.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"

namespace quiesce {

inline absl::Span<const std::byte> Bytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline absl::Span<std::byte> Room(std::string& text) {
  return {reinterpret_cast<std::byte*>(text.data()), text.size()};
}

// A blocking socket of the kernel's own kind. A task may use it where only the kernel has to do something;
// what another task has to do first would wait behind a step that blocks.
class Peer {
 public:
  Peer() = default;
  // Connected, or about to be if `wait` is false. A kernel accepts on behalf of a listener.
  static Peer Connect(absl::string_view address, bool wait = true) {
    const Address parsed = Address::Parse(address).value();
    Peer peer;
    peer.fd_.Reset(
        socket(parsed.family(), SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0));
    const int result = connect(peer.fd_.get(), parsed.data(), parsed.size());
    peer.error_ = result == 0 ? 0 : errno;
    return peer;
  }
  // A listener with room for `backlog` connections, at a port of the system's choice.
  static Peer Listen(int backlog) {
    const Address any = Address::Parse("127.0.0.1:0").value();
    Peer peer;
    peer.fd_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    QUIESCE_CHECK(bind(peer.fd_.get(), any.data(), any.size()) == 0, "test: bind");
    QUIESCE_CHECK(listen(peer.fd_.get(), backlog) == 0, "test: listen");
    return peer;
  }
  Peer Accept() {
    Peer peer;
    peer.fd_.Reset(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return peer;
  }

  // The errno of Connect, or 0.
  int error() const { return error_; }
  int fd() const { return fd_.get(); }
  std::string address() const {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&storage), &size);
    return Address::FromKernel(storage).ToString();
  }

  // False if not all could be sent.
  bool Send(absl::string_view data) {
    while (!data.empty()) {
      const ssize_t n = send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      data.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  // `size` bytes, or fewer at the end of the stream.
  std::string Receive(size_t size) {
    std::string data(size, '\0');
    const ssize_t n = recv(fd_.get(), data.data(), size, MSG_WAITALL);
    data.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return data;
  }
  // Everything up to the end. `*error` is the errno that ended it, 0 for an orderly end.
  std::string ReceiveAll(int* error) {
    std::string all;
    std::string chunk(1 << 16, '\0');
    while (true) {
      const ssize_t n = recv(fd_.get(), chunk.data(), chunk.size(), 0);
      *error = n < 0 ? errno : 0;
      if (n <= 0) return all;
      all.append(chunk, 0, static_cast<size_t>(n));
    }
  }
  // As Receive, but what is there now: empty if there is nothing yet, or nothing more.
  std::string TryReceive(size_t size) {
    std::string data(size, '\0');
    const ssize_t n = recv(fd_.get(), data.data(), size, MSG_DONTWAIT);
    data.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return data;
  }
  void ShutdownWrite() { shutdown(fd_.get(), SHUT_WR); }
  void Close() { fd_.Reset(); }
  // Ends the connection with a reset.
  void Reset() {
    const linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    fd_.Reset();
  }

 private:
  UniqueFd fd_;
  int error_ = 0;
};

// A runtime of two workers; checks that its end leaves no descriptor behind.
class NetTest : public testing::Test {
 protected:
  explicit NetTest(IoBackend io = IoBackend::kEpoll) : open_before_(OpenDescriptors()), io_(io) {}
  void SetUp() override {
    auto runtime = Runtime::Create(Options());
    if (absl::IsUnavailable(runtime.status())) GTEST_SKIP() << runtime.status();
    runtime_ = *std::move(runtime);
  }
  virtual RuntimeOptions Options() { return RuntimeOptions().WithWorkers(2).WithIo(io_); }
  void TearDown() override {
    runtime_.reset();
    EXPECT_EQ(OpenDescriptors(), open_before_) << "a descriptor was leaked";
  }

  // Runs `body` as a program of its own and expects it to succeed.
  template <class Body>
  void Run(Body&& body) {
    Outcome<void> outcome = runtime_->BlockOn(body);
    EXPECT_TRUE(outcome.ok()) << outcome.ToString();
  }

  // Until `count` tasks are parked in the wait that dumps call `wait`.
  static Task<void> UntilParked(Cx cx, Runtime& runtime, std::string wait, size_t count = 1) {
    while (CountOf(runtime.DumpRegions(), " in " + wait) < count) co_await OrReturn(Yield(cx));
    co_return Ok();
  }
  // The same, for threads.
  static void AwaitParked(Runtime& runtime, const std::string& wait) {
    while (CountOf(runtime.DumpRegions(), " in " + wait) == 0) sched_yield();
  }

  // What some task sends to `peer`: `size` bytes.
  static Task<std::string> Receive(Cx cx, Peer& peer, size_t size) {
    std::string all;
    while (true) {
      all += peer.TryReceive(size - all.size());
      if (all.size() == size) co_return all;
      co_await OrReturn(Yield(cx));
    }
  }

  static size_t CountOf(const std::string& text, const std::string& part) {
    size_t count = 0;
    for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
    return count;
  }
  static int OpenDescriptors() {
    int count = 0;
    DIR* folder = opendir("/proc/self/fd");
    while (readdir(folder) != nullptr) ++count;
    closedir(folder);
    return count;
  }

  const int open_before_;
  const IoBackend io_;
  std::unique_ptr<Runtime> runtime_;
};

// Whoever tells that a descriptor is ready. Instantiate with kEveryBackend and BackendName.
class EveryBackendNetTest : public NetTest, public testing::WithParamInterface<IoBackend> {
 protected:
  EveryBackendNetTest() : NetTest(GetParam()) {}
};
inline const auto kEveryBackend = testing::Values(IoBackend::kEpoll, IoBackend::kIoUring);
inline std::string BackendName(const testing::TestParamInfo<IoBackend>& info) {
  return info.param == IoBackend::kEpoll ? "Epoll" : "IoUring";
}

}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_NET_TEST_SUPPORT_H_

#include "quiesce/runtime/net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/unique_fd.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/reactor/poller.h"

namespace quiesce::net_internal {
namespace {

// Reports the edges that the test says.
struct ScriptedPoller final : Poller {
  absl::Status Add(IoSource* added) override {
    source = added;
    return absl::OkStatus();
  }
  bool Remove(IoSource*) override {
    source = nullptr;
    return lets_go;
  }
  void Edge(uint32_t io_events) { source->notify(source, io_events); }
  IoSource* source = nullptr;
  bool lets_go = true;
};

class SocketTest : public testing::Test {
 protected:
  SocketTest() {
    services_.poller = &poller_;
    EXPECT_TRUE(socket_.Register().ok());
    // What every new socket has: something to try.
    EXPECT_TRUE(socket_.TakeReady(Socket::kRead, "test"));
  }
  bool Ready(Socket::Side side) { return socket_.TakeReady(side, "test"); }

  ScriptedPoller poller_;
  RuntimeServices services_;
  Socket socket_{UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), services_};
};

// Each try is a system call, which an answer of a request-and-answer protocol would pay in vain.
TEST_F(SocketTest, ShortReadIsNotTriedAgainBeforeTheNextEdge) {
  poller_.Edge(kReadable | kWritable);
  EXPECT_TRUE(Ready(Socket::kRead));
  socket_.EndShortRead();
  EXPECT_FALSE(Ready(Socket::kRead));
  poller_.Edge(kReadable);
  EXPECT_TRUE(Ready(Socket::kRead));
}

TEST_F(SocketTest, EdgeDuringAShortReadIsKept) {
  poller_.Edge(kReadable);
  EXPECT_TRUE(Ready(Socket::kRead));
  poller_.Edge(kReadable);
  socket_.EndShortRead();
  EXPECT_TRUE(Ready(Socket::kRead));
}

TEST_F(SocketTest, ShortReadIsTriedAgainOnceAnEdgeHasSaidThatMoreLiesBehindIt) {
  poller_.Edge(kReadable | kMoreAfterShortRead);
  poller_.Edge(kReadable);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Ready(Socket::kRead));
    socket_.EndShortRead();
  }
  EXPECT_TRUE(Ready(Socket::kRead));
  EXPECT_FALSE(Ready(Socket::kRead)) << "a read that found nothing waits all the same";
}

TEST_F(SocketTest, EndOfThePeerSaysNothingAboutWriting) {
  EXPECT_TRUE(Ready(Socket::kWrite));
  poller_.Edge(kReadable | kMoreAfterShortRead);
  EXPECT_FALSE(Ready(Socket::kWrite));
}

// A ring holds the file until its owner looks, and the peer must not wait for that.
TEST(SocketCloseTest, EndsTheConnectionAlsoWhereThePollerKeepsItsFile) {
  for (const bool lets_go : {true, false}) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    ScriptedPoller poller;
    poller.lets_go = lets_go;
    RuntimeServices services;
    services.poller = &poller;
    const UniqueFd kept(lets_go ? -1 : dup(ends[0]));
    UniqueFd peer(ends[1]);
    Socket socket(UniqueFd(ends[0]), services);
    ASSERT_TRUE(socket.Register().ok());
    socket.Close();
    char byte;
    EXPECT_EQ(recv(peer.get(), &byte, 1, 0), 0);
  }
}

// As close() does: what was sent in vain is not taken for a clean end.
TEST(SocketCloseTest, ResetsAConnectionWithUnreadDataAlsoWhereThePollerKeepsItsFile) {
  for (const bool lets_go : {true, false}) {
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(bind(listener.get(), generic, size), 0);
    ASSERT_EQ(listen(listener.get(), 1), 0);
    ASSERT_EQ(getsockname(listener.get(), generic, &size), 0);
    const UniqueFd peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(peer.get(), generic, size), 0);
    UniqueFd accepted(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(accepted.valid());
    char byte = 0;
    ASSERT_EQ(send(peer.get(), &byte, 1, 0), 1);
    ASSERT_EQ(recv(accepted.get(), &byte, 1, MSG_PEEK), 1);  // it has come

    ScriptedPoller poller;
    poller.lets_go = lets_go;
    RuntimeServices services;
    services.poller = &poller;
    const UniqueFd kept(lets_go ? -1 : dup(accepted.get()));
    Socket socket(std::move(accepted), services);
    ASSERT_TRUE(socket.Register().ok());
    socket.Close();
    EXPECT_EQ(recv(peer.get(), &byte, 1, 0), -1);
    EXPECT_EQ(errno, ECONNRESET);
  }
}

}  // namespace
}  // namespace quiesce::net_internal

#include "quiesce/runtime/net/socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/unique_fd.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/net/net_test_support.h"
#include "quiesce/runtime/net/socket_calls.h"
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
  Socket socket_{OwnedSocket(KernelSocketCalls(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                 services_};
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
    Socket socket(OwnedSocket(KernelSocketCalls(), ends[0]), services);
    ASSERT_TRUE(socket.Register().ok());
    socket.Close();
    char byte;
    EXPECT_EQ(recv(peer.get(), &byte, 1, 0), 0);
  }
}

// As close() does: what was sent in vain is not taken for a clean end.
TEST(SocketCloseTest, ResetsAConnectionWithUnreadDataAlsoWhereThePollerKeepsItsFile) {
  for (const bool lets_go : {true, false}) {
    Peer listener = Peer::Listen(1);
    Peer peer = Peer::Connect(listener.address());
    Peer accepted = listener.Accept();
    ASSERT_TRUE(peer.Send("?"));
    char byte;
    ASSERT_EQ(recv(accepted.fd(), &byte, 1, MSG_PEEK), 1);  // it has come

    ScriptedPoller poller;
    poller.lets_go = lets_go;
    RuntimeServices services;
    services.poller = &poller;
    Socket socket(OwnedSocket(KernelSocketCalls(), dup(accepted.fd())), services);
    if (lets_go) accepted.Close();
    ASSERT_TRUE(socket.Register().ok());
    socket.Close();
    EXPECT_EQ(recv(peer.fd(), &byte, 1, 0), -1);
    EXPECT_EQ(errno, ECONNRESET);
  }
}

}  // namespace
}  // namespace quiesce::net_internal

// What sockets do when the kernel refuses, or never stops: system calls answer here as the test says. (The real limit
// of open files is testing/e2e/server_test's: ubsan looks at objects through a descriptor.)
// With it the system's headers define some of these functions inline, in optimised builds.
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/net/net_test_support.h"
#include "quiesce/runtime/net/tcp_listener.h"
#include "quiesce/runtime/region/region.h"

namespace {

// So many calls fail with the errno; negative: all of them.
struct Failures {
  bool Next() {
    int left = count.load();
    while (left != 0 && !count.compare_exchange_weak(left, left > 0 ? left - 1 : left)) {
    }
    if (left == 0) return false;
    failed.fetch_add(1);
    return true;
  }
  void Set(int calls, int with) {
    error.store(with);
    failed.store(0);
    count.store(calls);
  }
  std::atomic<int> count{0};
  std::atomic<int> error{0};
  std::atomic<int> failed{0};
};
Failures accepts;
Failures additions;

std::atomic<bool> flooded{false};  // whoever discards input finds more of it

}  // namespace

extern "C" ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  if (flooded.load() && (flags & MSG_TRUNC) != 0) return static_cast<ssize_t>(size);
  return syscall(SYS_recvfrom, fd, buffer, size, flags, nullptr, nullptr);
}

extern "C" int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  if (accepts.Next()) {
    errno = accepts.error.load();
    return -1;
  }
  return static_cast<int>(syscall(SYS_accept4, fd, address, size, flags));
}

extern "C" int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) noexcept {
  if (operation == EPOLL_CTL_ADD && additions.Next()) {
    errno = additions.error.load();
    return -1;
  }
  return static_cast<int>(syscall(SYS_epoll_ctl, epoll_fd, operation, fd, event));
}

namespace quiesce {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kAnyPort[] = "127.0.0.1:0";

class Reports final : public ReportSink {
 public:
  void Report(const std::string& text) override {
    ThreadMutexLock lock(mutex_);
    all_.push_back(text);
  }
  std::vector<std::string> All() {
    ThreadMutexLock lock(mutex_);
    return all_;
  }

 private:
  ThreadMutex mutex_;
  std::vector<std::string> all_ ABSL_GUARDED_BY(mutex_);
};

class ScriptedKernelTest : public NetTest {
 protected:
  RuntimeOptions Options() override { return NetTest::Options().WithReports(&reports_); }
  void TearDown() override {
    accepts.Set(0, 0);
    additions.Set(0, 0);
    flooded.store(false);
    NetTest::TearDown();
  }
  Reports reports_;
};

// A server that ended its loop over it would serve nobody when there is room again.
TEST_F(ScriptedKernelTest, TooManyOpenFilesAreWaitedForAndReportedOnce) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    Peer first = Peer::Connect(listener.address());
    Peer second = Peer::Connect(listener.address());
    for (Peer* peer : {&first, &second}) {
      accepts.Set(3, EMFILE);
      const Instant begin = cx.Now();
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      EXPECT_EQ(stream.peer_address(), peer->address());
      EXPECT_GE(cx.Now() - begin, absl::Milliseconds(150)) << "three pauses";
    }
    EXPECT_THAT(reports_.All(),
                ElementsAre(AllOf(HasSubstr("TcpListener::Accept(" + listener.address() + ")"),
                                  HasSubstr("ulimit -n"), HasSubstr("WithMaxTasks"))));
    co_return Ok();
  });
}

// accept4 looks for a descriptor first; nobody waits, so there is nothing to report, and no need to try again.
TEST_F(ScriptedKernelTest, TooManyOpenFilesWithoutAClientAreNotNoticed) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    accepts.Set(-1, EMFILE);
    auto acceptor = cx.Spawn("acceptor", [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      co_return Ok();
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
    EXPECT_EQ(accepts.failed.load(), 1);
    EXPECT_THAT(reports_.All(), IsEmpty());
    accepts.Set(0, 0);
    Peer peer = Peer::Connect(listener.address());
    Outcome<void> ended = co_await OrReturn(acceptor.Join(cx));
    EXPECT_TRUE(ended.ok());
    co_return Ok();
  });
}

TEST_F(ScriptedKernelTest, CancelEndsThePause) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    Peer peer = Peer::Connect(listener.address());
    accepts.Set(-1, EMFILE);
    auto acceptor = cx.Spawn("acceptor", [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      co_return Ok();
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
    acceptor.Cancel();
    Outcome<void> ended = co_await OrReturn(acceptor.Join(cx));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    accepts.Set(0, 0);
    TcpStream stream = co_await OrReturn(listener.Accept(cx));
    EXPECT_EQ(stream.peer_address(), peer.address());
    co_return Ok();
  });
}

TEST_F(ScriptedKernelTest, ConnectionThatThePollerHasNoRoomForIsKeptUntilItHas) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    Peer first = Peer::Connect(listener.address());
    Peer second = Peer::Connect(listener.address());
    additions.Set(-1, ENOSPC);
    auto acceptor = cx.Spawn("acceptor", [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      co_return Ok();
    });
    while (additions.failed.load() < 2) co_await OrReturn(Yield(cx));
    acceptor.Cancel();
    Outcome<void> ended = co_await OrReturn(acceptor.Join(cx));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    EXPECT_THAT(reports_.All(),
                ElementsAre(AllOf(HasSubstr("TcpListener::Accept(" + listener.address() + ")"),
                                  HasSubstr("fs.epoll.max_user_watches"))));
    additions.Set(0, 0);
    for (Peer* peer : {&first, &second}) {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      EXPECT_EQ(stream.peer_address(), peer->address());
    }
    co_return Ok();
  });
}

TEST_F(ScriptedKernelTest, ConnectionThatThePollerHasNoRoomForEndsWithTheListener) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    Peer peer = Peer::Connect(listener.address());
    additions.Set(-1, ENOSPC);
    auto acceptor = cx.Spawn("acceptor", [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      co_return Ok();
    });
    while (additions.failed.load() == 0) co_await OrReturn(Yield(cx));
    acceptor.Cancel();
    (void)co_await OrReturn(acceptor.Join(cx));
    listener.Close();
    EXPECT_EQ(peer.Receive(1), "") << "the peer is told";
    co_return Ok();
  });
}

// One that fails is skipped at once; a hundred thousand in a row must not hold the worker up.
TEST_F(ScriptedKernelTest, ConnectionsThatFailInARowAreSkippedInPortions) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    Peer first = Peer::Connect(listener.address());
    Peer second = Peer::Connect(listener.address());
    accepts.Set(63, ECONNABORTED);
    TcpStream stream = co_await OrReturn(listener.Accept(cx));
    EXPECT_EQ(stream.peer_address(), first.address());
    EXPECT_THAT(reports_.All(), IsEmpty());

    accepts.Set(-1, ECONNABORTED);
    auto acceptor = cx.Spawn("acceptor", [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      co_return Ok();
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
    EXPECT_GE(accepts.failed.load(), 64);
    acceptor.Cancel();
    Outcome<void> ended = co_await OrReturn(acceptor.Join(cx));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    EXPECT_THAT(reports_.All(), ElementsAre(HasSubstr("the connection was aborted")));
    accepts.Set(0, 0);
    stream = co_await OrReturn(listener.Accept(cx));
    EXPECT_EQ(stream.peer_address(), second.address());
    co_return Ok();
  });
}

// "At most `linger` long" holds for a peer that never stops sending, too.
TEST_F(ScriptedKernelTest, LingerEndsThoughInputNeverRunsDry) {
  Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
      Peer peer = Peer::Connect(listener.address());
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      stream.SetLinger(absl::Milliseconds(20));
      co_await OrReturn(stream.WriteAll(cx, "answer"));
      flooded.store(true);
      stream.Close();
      EXPECT_EQ(peer.Receive(6), "answer");
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "connections", body);  // its close waits for the end
  });
}

}  // namespace
}  // namespace quiesce

// How a connection ends: see "How it ends" in tcp_stream.h.
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/net/net_test_support.h"
#include "quiesce/runtime/net/tcp_listener.h"
#include "quiesce/runtime/net/tcp_stream.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/trace/recorder.h"

namespace quiesce {
namespace {

constexpr char kWait[] = "TcpStream linger";
constexpr absl::Duration kForEver = absl::Hours(1);

class TcpLingerTest : public EveryBackendNetTest {
 protected:
  // A stream of ours, accepted in the region of `cx`, from `*peer`.
  static Task<TcpStream> Pair(Cx cx, Peer* peer) {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
    *peer = Peer::Connect(listener.address());
    co_return co_await listener.Accept(cx);
  }

  // How many tasks called "tcp linger" `body` has spawned.
  template <class Body>
  int LingersOf(Body&& body) {
    StartRecording();
    Run(body);
    StopRecording();
    int count = 0;
    for (const Event& event : CollectEvents()) {
      if (event.kind == EventKind::kSpawn && event.name != nullptr &&
          std::string(event.name) == "tcp linger") {
        ++count;
      }
    }
    return count;
  }

  void TearDown() override {
    peer_.Close();
    NetTest::TearDown();
  }

  Peer peer_;
  int error_ = -1;
};
INSTANTIATE_TEST_SUITE_P(, TcpLingerTest, kEveryBackend, BackendName);

TEST_P(TcpLingerTest, AnswerArrivesAlthoughTheRequestWasNotReadToItsEnd) {
  for (const bool lingers : {true, false}) {
    std::string received;
    std::thread reads;
    Run([&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      if (!lingers) stream.SetLinger(absl::ZeroDuration());
      EXPECT_TRUE(peer_.Send(std::string(100'000, 'q')));
      std::string buffer(10, '\0');
      size_t n = co_await OrReturn(stream.Read(cx, Room(buffer)));
      EXPECT_EQ(n, 10u);
      co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
      stream.Close();
      reads = std::thread([&] {
        received = peer_.ReceiveAll(&error_);
        peer_.Close();
      });
      co_return Ok();
    });
    reads.join();
    EXPECT_EQ(received, "answer");
    // This is what the test would see if nothing lingered.
    EXPECT_EQ(error_, lingers ? 0 : ECONNRESET);
  }
}

TEST_P(TcpLingerTest, ClientThatIsStillSendingIsHeardOutAndGetsTheAnswer) {
  std::string received;
  std::thread uploads;
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    uploads = std::thread([&] {
      EXPECT_TRUE(peer_.Send(std::string(64 << 20, 'q')));
      received = peer_.ReceiveAll(&error_);
      peer_.Close();
    });
    std::string buffer(10, '\0');
    size_t n = co_await OrReturn(stream.Read(cx, Room(buffer)));
    EXPECT_GT(n, 0u);
    co_await OrReturn(stream.WriteAll(cx, Bytes("too large")));
    co_return Ok();
  });
  uploads.join();
  EXPECT_EQ(received, "too large");
  EXPECT_EQ(error_, 0);
}

TEST_P(TcpLingerTest, RegionCloseWaitsForIt) {
  std::atomic<bool> closed_by_peer{false};
  std::thread closes;
  Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      stream.SetLinger(kForEver);
      EXPECT_TRUE(peer_.Send("unread"));
      co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
      closes = std::thread([&] {
        AwaitParked(*runtime_, kWait);
        closed_by_peer = true;
        peer_.Close();
      });
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "connections", body));
    EXPECT_TRUE(closed_by_peer);
    co_return Ok();
  });
  closes.join();
}

TEST_P(TcpLingerTest, DrainBudgetBoundsIt) {
  DrainReport report;
  auto body = [&](Cx cx) -> Task<void> {
    auto server = cx.Spawn("server", [&](Cx cx) -> Task<void> {
      TcpListener nobody_comes = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
      auto body = [&](Cx cx) -> Task<void> {
        TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
        stream.SetLinger(kForEver);
        EXPECT_TRUE(peer_.Send("unread"));
        co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
        TcpStream none = co_await OrReturn(nobody_comes.Accept(cx));
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "connections", body);
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
    server.Cancel(Budget::Timeout(absl::Milliseconds(50)));
    Outcome<void> ended = co_await OrReturn(server.Join(cx));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    co_return Ok();
  };
  Outcome<void> outcome = runtime_->BlockOn(body, &report);
  EXPECT_TRUE(outcome.ok()) << outcome.ToString();
  EXPECT_EQ(report.tasks_cut_off, 1) << "the peer never closed, and this is said";
  EXPECT_GE(report.time, absl::Milliseconds(50));
}

TEST_P(TcpLingerTest, ItsOwnTimeBoundsItWhereNothingDrains) {
  const int lingers = LingersOf([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    stream.SetLinger(absl::Milliseconds(30));
    EXPECT_TRUE(peer_.Send("unread"));
    co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
    co_return Ok();
  });
  EXPECT_EQ(lingers, 1);
}

// It would take an hour.
TEST_P(TcpLingerTest, SilentPeerThatHasEverythingIsNotWaitedFor) {
  const int lingers = LingersOf([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 3; ++i) {
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      stream.SetLinger(kForEver);
      EXPECT_TRUE(peer_.Send("request"));
      std::string buffer(7, '\0');
      size_t n = co_await OrReturn(stream.Read(cx, Room(buffer)));
      EXPECT_EQ(n, 7u);
      co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
      EXPECT_EQ(peer_.Receive(6), "answer");
    }
    co_return Ok();
  });
  EXPECT_LE(lingers, 3) << "none where the peer's kernel has acknowledged everything before";
}

// What was written is more than the peer's kernel takes, so it arrives only as the peer reads. The peer then
// keeps its side open, for which the stream does not wait.
TEST_P(TcpLingerTest, SlowReaderGetsEverythingAndNeedNotClose) {
  size_t written = 0;
  std::string received;
  std::thread reads;
  const int lingers = LingersOf([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    stream.SetLinger(kForEver);
    const std::string data(32 << 20, 'x');
    auto writer = cx.Spawn("writer", [&](Cx cx) -> Task<void> {
      co_return co_await stream.WriteAll(cx, Bytes(data), &written);
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::WriteAll"));
    writer.Cancel();
    Outcome<void> ended = co_await OrReturn(writer.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    stream.Close();
    reads = std::thread([&] {
      AwaitParked(*runtime_, kWait);
      received = peer_.ReceiveAll(&error_);
    });
    co_return Ok();
  });
  reads.join();
  EXPECT_EQ(lingers, 1);
  EXPECT_EQ(received.size(), written);
  EXPECT_EQ(error_, 0);
}

TEST_P(TcpLingerTest, ManyIdleConnectionsLeaveADrainAtOnce) {
  constexpr int kConnections = 60;  // a dump shows up to 100 tasks of a region
  std::vector<Peer> peers;
  DrainReport report;
  auto body = [&](Cx cx) -> Task<void> {
    auto server = cx.Spawn("server", [&](Cx cx) -> Task<void> {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
      auto accepts = [&](Cx cx) -> Task<void> {
        for (int i = 0; i < kConnections; ++i) {
          peers.push_back(Peer::Connect(listener.address()));
          TcpStream stream = co_await OrReturn(listener.Accept(cx));
          stream.SetLinger(kForEver);
          EXPECT_TRUE(peers.back().Send("request"));
          cx.Spawn(
              "connection",
              [](Cx cx, TcpStream stream) -> Task<void> {
                std::string buffer(64, '\0');
                while (true) {
                  size_t n = co_await OrReturn(stream.Read(cx, Room(buffer)));
                  if (n == 0) co_return Ok();
                  co_await OrReturn(stream.WriteAll(cx.ForDrain(), Bytes(buffer).first(n)));
                }
              },
              std::move(stream));
          std::string answer = co_await OrReturn(Receive(cx, peers.back(), 7));
          EXPECT_EQ(answer, "request");
        }
        TcpStream none = co_await OrReturn(listener.Accept(cx));
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "connections", accepts, Isolate());
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
    server.Cancel(Budget::Timeout(absl::Seconds(50)));
    Outcome<void> ended = co_await OrReturn(server.Join(cx));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    co_return Ok();
  };
  Outcome<void> outcome = runtime_->BlockOn(body, &report);
  EXPECT_TRUE(outcome.ok()) << outcome.ToString();
  EXPECT_EQ(report.tasks_cut_off, 0);
  EXPECT_LT(report.time, absl::Seconds(10));
  for (Peer& peer : peers) {
    EXPECT_EQ(peer.ReceiveAll(&error_), "");
    EXPECT_EQ(error_, 0);
  }
}

TEST_P(TcpLingerTest, NothingLingersWhereNothingCanBeLost) {
  const int lingers = LingersOf([&](Cx cx) -> Task<void> {
    std::string buffer(64, '\0');
    {
      // Nothing was written.
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      stream.SetLinger(kForEver);
      EXPECT_TRUE(peer_.Send("unread"));
    }
    {
      // The peer has closed, and that was read.
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      stream.SetLinger(kForEver);
      co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
      peer_.ShutdownWrite();
      size_t n = co_await OrReturn(stream.Read(cx, Room(buffer)));
      EXPECT_EQ(n, 0u);
      stream.Close();
      EXPECT_EQ(peer_.ReceiveAll(&error_), "answer");
    }
    {
      // The peer has closed, and nobody has looked yet.
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      stream.SetLinger(kForEver);
      EXPECT_TRUE(peer_.Send("request"));
      size_t n = co_await OrReturn(stream.Read(cx, Room(buffer)));
      EXPECT_EQ(n, 7u);
      peer_.ShutdownWrite();
      co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
      stream.Close();
      EXPECT_EQ(peer_.ReceiveAll(&error_), "answer");
    }
    {
      // The connection is broken.
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      stream.SetLinger(kForEver);
      co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
      peer_.Reset();
      Outcome<size_t> n = co_await stream.Read(cx, Room(buffer));
      EXPECT_TRUE(n.is_error());
    }
    co_return Ok();
  });
  EXPECT_EQ(lingers, 0);
}

TEST_P(TcpLingerTest, StreamThatOutlivesItsRegionIsClosedAtOnce) {
  Run([&](Cx cx) -> Task<void> {
    auto accepts = [&](Cx cx) -> Task<TcpStream> { co_return co_await Pair(cx, &peer_); };
    TcpStream stream = co_await OrReturn(Region::Open(cx, "short-lived", accepts));
    stream.SetLinger(kForEver);
    co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
    EXPECT_TRUE(peer_.Send("unread"));
    stream.Close();
    EXPECT_EQ(peer_.Receive(6), "answer");
    co_return Ok();
  });
}

TEST_P(TcpLingerTest, RegionThatIsFullLetsItBeClosedAtOnce) {
  const int lingers = LingersOf([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      stream.SetLinger(kForEver);
      auto handle = cx.Spawn(
          "connection",
          [](Cx cx, TcpStream stream, Peer* peer) -> Task<void> {
            EXPECT_TRUE(peer->Send("unread"));
            co_await OrReturn(stream.WriteAll(cx, Bytes("answer")));
            co_return Ok();
          },
          std::move(stream), &peer_);
      Outcome<void> ended = co_await OrReturn(handle.Join(cx));
      EXPECT_TRUE(ended.ok()) << ended.ToString();
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "full", body, FailFast(), RegionOptions().WithMaxTasks(1)));
    EXPECT_EQ(peer_.Receive(6), "answer");
    co_return Ok();
  });
  EXPECT_EQ(lingers, 0);
}

TEST_P(TcpLingerTest, MoveAssignmentEndsTheStreamThatWasThere) {
  Run([&](Cx cx) -> Task<void> {
    Peer other;
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    TcpStream replacement = co_await OrReturn(Pair(cx, &other));
    stream = std::move(replacement);
    EXPECT_EQ(peer_.ReceiveAll(&error_), "");
    EXPECT_EQ(error_, 0);
    co_await OrReturn(stream.WriteAll(cx, Bytes("here")));
    EXPECT_EQ(other.Receive(4), "here");
    co_return Ok();
  });
}

}  // namespace
}  // namespace quiesce

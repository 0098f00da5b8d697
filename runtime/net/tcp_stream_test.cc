#include "quiesce/runtime/net/tcp_stream.h"

#include <netinet/tcp.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/cx/authority.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/net/net_test_support.h"
#include "quiesce/runtime/net/tcp_listener.h"
#include "quiesce/runtime/region/region.h"

namespace quiesce {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Bytes whose order matters: a repetition or a loss shows.
std::string Pattern(size_t size) {
  std::string data(size, '\0');
  uint32_t state = 1;
  for (char& c : data) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return data;
}

// Both ends of a connection, one of them ours.
class TcpStreamTest : public EveryBackendNetTest {
 protected:
  // A stream of ours to `*peer`.
  static Task<TcpStream> Pair(Cx cx, Peer* peer) {
    Peer listener = Peer::Listen(1);
    TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, listener.address()));
    *peer = listener.Accept();
    co_return stream;
  }

  void TearDown() override {
    peer_.Close();
    NetTest::TearDown();
  }

  Peer peer_;
};
INSTANTIATE_TEST_SUITE_P(, TcpStreamTest, kEveryBackend, BackendName);

Task<void> Echo(CxWith<cap::Net> cx, TcpStream stream) {
  std::array<std::byte, 4096> buffer;
  while (true) {
    size_t n = co_await OrReturn(stream.Read(cx, buffer));
    if (n == 0) co_return Ok();
    co_await OrReturn(stream.WriteAll(cx.ForDrain(), absl::MakeSpan(buffer).first(n)));
  }
}

Task<std::string> ReadToEnd(CxWith<cap::Net> cx, TcpStream& stream) {
  std::string all;
  std::string chunk(1 << 16, '\0');
  while (true) {
    size_t n = co_await OrReturn(stream.Read(cx, Room(chunk)));
    if (n == 0) co_return all;
    all.append(chunk, 0, n);
  }
}

// --- what it is for ------------------------------------------------------------------------------

TEST_P(TcpStreamTest, EchoReturnsWhatWasSent) {
  const std::string data = Pattern(4 << 20);
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
    TcpStream client = co_await OrReturn(TcpStream::Connect(cx, listener.address()));
    TcpStream server = co_await OrReturn(listener.Accept(cx));
    EXPECT_EQ(client.local_address(), server.peer_address());
    EXPECT_EQ(server.local_address(), client.peer_address());
    cx.Spawn("echo", Echo, std::move(server));
    std::string answer;
    auto body = [&](Cx cx) -> Task<void> {
      cx.Spawn("writer", [&](Cx cx) -> Task<void> {
        size_t written = 0;
        co_await OrReturn(client.WriteAll(cx, Bytes(data), &written));
        EXPECT_EQ(written, data.size());
        EXPECT_TRUE(client.ShutdownWrite().ok());
        co_return Ok();
      });
      answer = co_await OrReturn(ReadToEnd(cx, client));
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "client", body));
    EXPECT_EQ(answer.size(), data.size());
    EXPECT_TRUE(answer == data);
    co_return Ok();
  });
}

TEST_P(TcpStreamTest, ReadingGoesOnAfterShutdownWriteAndWritingAfterThePeersEnd) {
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    EXPECT_TRUE(stream.ShutdownWrite().ok());
    EXPECT_TRUE(stream.ShutdownWrite().ok());
    EXPECT_EQ(peer_.Receive(1), "");
    EXPECT_TRUE(peer_.Send("late"));
    peer_.ShutdownWrite();
    std::string got = co_await OrReturn(ReadToEnd(cx, stream));
    EXPECT_EQ(got, "late");

    TcpStream other = co_await OrReturn(Pair(cx, &peer_));
    EXPECT_TRUE(peer_.Send("request"));
    peer_.ShutdownWrite();
    got = co_await OrReturn(ReadToEnd(cx, other));
    EXPECT_EQ(got, "request");
    std::string buffer(8, '\0');
    size_t n = co_await OrReturn(other.Read(cx, Room(buffer)));
    EXPECT_EQ(n, 0u) << "the end stays";
    co_await OrReturn(other.WriteAll(cx, Bytes("answer")));
    other.Close();
    EXPECT_FALSE(other.open());
    int error = 0;
    EXPECT_EQ(peer_.ReceiveAll(&error), "answer");
    EXPECT_EQ(error, 0);
    co_return Ok();
  });
}

// The end of the stream comes together with its last bytes, so that there is one edge for both.
TEST_P(TcpStreamTest, EndThatComesWithTheLastBytesIsNotMissed) {
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 200; ++i) {
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      auto reader = cx.Spawn(
          "reader", [&](Cx cx) -> Task<std::string> { co_return co_await ReadToEnd(cx, stream); });
      if (i % 2 == 0) co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::Read"));
      EXPECT_TRUE(peer_.Send("last"));
      peer_.Close();
      Outcome<std::string> got = co_await OrReturn(reader.Join(cx));
      EXPECT_TRUE(got.ok() && *got == "last");
    }
    co_return Ok();
  });
}

// A read stops at an urgent byte, with more behind it that makes no edge of its own (tcp(7)).
TEST_P(TcpStreamTest, BytesBehindAnUrgentOneAreNotMissed) {
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 50; ++i) {
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      std::atomic<size_t> read{0};
      auto reader = cx.Spawn("reader", [&](Cx cx) -> Task<void> {
        std::string buffer(64, '\0');
        while (true) {
          size_t n = co_await OrReturn(stream.Read(cx, Room(buffer)));
          if (n == 0) co_return Ok();
          read.fetch_add(n);
        }
      });
      if (i % 2 == 0) co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::Read"));
      EXPECT_TRUE(peer_.Send("before"));
      EXPECT_EQ(send(peer_.fd(), "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
      EXPECT_TRUE(peer_.Send("behind"));
      // Before the peer ends, which is an edge.
      const Instant too_late = cx.Now() + absl::Seconds(10);
      while (read.load() < 12 && cx.Now() < too_late) co_await OrReturn(Yield(cx));
      EXPECT_EQ(read.load(), 12u);
      peer_.ShutdownWrite();
      Outcome<void> ended = co_await OrReturn(reader.Join(cx));
      EXPECT_TRUE(ended.ok()) << ended.ToString();
    }
    co_return Ok();
  });
}

TEST_P(TcpStreamTest, WriteTakesWhatTheKernelTakesAndGoesOnWhenThereIsRoom) {
  const std::string data = Pattern(16 << 20);
  std::string received;
  std::thread reads;
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    size_t sent = co_await OrReturn(stream.Write(cx, Bytes(data)));
    EXPECT_GT(sent, 0u);
    EXPECT_LT(sent, data.size()) << "the kernel took 16 MiB at once: choose more";
    reads = std::thread([&] {
      int error = 0;
      received = peer_.ReceiveAll(&error);
      EXPECT_EQ(error, 0);
    });
    while (sent < data.size()) {
      sent += co_await OrReturn(stream.Write(cx, Bytes(data).subspan(sent)));
    }
    co_return Ok();
  });
  reads.join();
  EXPECT_TRUE(received == data);
}

TEST_P(TcpStreamTest, ThousandConnectionsAreServedAtOnce) {
  constexpr int kConnections = 1000;
  std::atomic<int> answered{0};
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
    auto server = cx.Spawn("server", [&](Cx cx) -> Task<void> {
      while (true) {
        TcpStream stream = co_await OrReturn(listener.Accept(cx));
        cx.Spawn("connection", Echo, std::move(stream));
      }
    });
    auto clients = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < kConnections; ++i) {
        cx.Spawn("client", [&, i](Cx cx) -> Task<void> {
          TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, listener.address()));
          const std::string request = "request " + std::to_string(i);
          co_await OrReturn(stream.WriteAll(cx, Bytes(request)));
          std::string answer(request.size(), '\0');
          size_t got = 0;
          while (got < answer.size()) {
            size_t n = co_await OrReturn(stream.Read(cx, Room(answer).subspan(got)));
            if (n == 0) co_return absl::DataLossError("the end came too early");
            got += n;
          }
          if (answer == request) answered.fetch_add(1);
          // All stay until the last has been answered.
          while (answered.load() < kConnections) co_await OrReturn(Yield(cx));
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "clients", clients));
    server.Cancel();
    Outcome<void> ended = co_await OrReturn(server.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    co_return Ok();
  });
  EXPECT_EQ(answered.load(), kConnections);
}

TEST_P(TcpStreamTest, SocketsAreNonDelayingAndNotInherited) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
    TcpStream client = co_await OrReturn(TcpStream::Connect(cx, listener.address()));
    TcpStream server = co_await OrReturn(listener.Accept(cx));
    int found = 0;
    for (int fd = 3; fd < 1024; ++fd) {
      sockaddr_storage storage{};
      socklen_t size = sizeof storage;
      if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) continue;
      const std::string peer = Address::FromKernel(storage).ToString();
      if (peer != client.peer_address() && peer != server.peer_address()) continue;
      ++found;
      int on = 0;
      size = sizeof on;
      EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
      EXPECT_EQ(on, 1);
      EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    }
    EXPECT_EQ(found, 2);
    co_return Ok();
  });
}

// --- cancel --------------------------------------------------------------------------------------

TEST_P(TcpStreamTest, CancelWhileReadWaitsTakesNothing) {
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    auto reader = cx.Spawn("reader", [&](Cx cx) -> Task<size_t> {
      std::string buffer(8, '\0');
      co_return co_await stream.Read(cx, Room(buffer));
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::Read"));
    reader.Cancel();
    Outcome<size_t> ended = co_await OrReturn(reader.Join(cx));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    EXPECT_TRUE(peer_.Send("kept"));
    peer_.ShutdownWrite();
    std::string got = co_await OrReturn(ReadToEnd(cx, stream));
    EXPECT_EQ(got, "kept");
    co_return Ok();
  });
}

TEST_P(TcpStreamTest, DeadlineEndsReadThatWaits) {
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    auto body = [&](Cx cx) -> Task<void> {
      std::string buffer(8, '\0');
      Outcome<size_t> read = co_await stream.Read(cx, Room(buffer));
      EXPECT_TRUE(read.is_cancelled()) << read.ToString();
      if (read.is_cancelled()) {
        EXPECT_EQ(read.cancel_reason().root().kind(), CancelKind::kDeadline);
      }
      read = co_await stream.Read(cx, Room(buffer));
      EXPECT_TRUE(read.is_cancelled()) << "every wait fails, again and again";
      EXPECT_TRUE(peer_.Send("more"));
      size_t n = co_await OrReturn(stream.Read(cx.ForDrain(), Room(buffer)));
      EXPECT_EQ(n, 4u) << "a drain wait goes on";
      co_return Ok();
    };
    co_await OrReturn(
        Region::Open(cx, "short", body, FailFast(),
                     RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(1)))));
    co_return Ok();
  });
}

// A byte comes in the same moment as a cancel: it is read by this Read or by the next, never lost.
TEST_P(TcpStreamTest, CancelAndDataAtOnceLoseNothing) {
  constexpr int kRounds = 1000;
  std::string received;
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    for (int i = 0; i < kRounds; ++i) {
      auto reader = cx.Spawn("reader", [&](Cx cx) -> Task<void> {
        std::string buffer(1, '\0');
        size_t n = co_await OrReturn(stream.Read(cx, Room(buffer)));
        received.append(buffer, 0, n);
        co_return Ok();
      });
      // It does not wait if the round before has left its byte.
      while (i % 4 != 0 && !reader.ended() &&
             CountOf(runtime_->DumpRegions(), "TcpStream::Read") == 0) {
        co_await OrReturn(Yield(cx));
      }
      const char byte = static_cast<char>('a' + i % 26);
      EXPECT_TRUE(peer_.Send(absl::string_view(&byte, 1)));
      reader.Cancel();
      Outcome<void> ended = co_await OrReturn(reader.Join(cx));
      EXPECT_FALSE(ended.is_error());
    }
    peer_.ShutdownWrite();
    received += co_await OrReturn(ReadToEnd(cx, stream));
    co_return Ok();
  });
  ASSERT_EQ(received.size(), size_t{kRounds});
  for (int i = 0; i < kRounds; ++i) ASSERT_EQ(received[i], 'a' + i % 26) << i;
}

TEST_P(TcpStreamTest, CancelledWriteAllReportsExactlyWhatThePeerReceives) {
  const std::string data = Pattern(32 << 20);
  size_t written = 12345;
  std::string received;
  int error = -1;
  std::thread reads;
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    auto writer = cx.Spawn("writer", [&](Cx cx) -> Task<void> {
      co_return co_await stream.WriteAll(cx, Bytes(data), &written);
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::WriteAll"));
    writer.Cancel();
    Outcome<void> ended = co_await OrReturn(writer.Join(cx));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    reads = std::thread([&] { received = peer_.ReceiveAll(&error); });
    co_return Ok();  // the stream's end delivers what was written
  });
  reads.join();
  EXPECT_EQ(error, 0);
  EXPECT_GT(written, 0u);
  EXPECT_LT(written, data.size());
  EXPECT_EQ(received.size(), written);
  EXPECT_TRUE(received == data.substr(0, written));
}

TEST_P(TcpStreamTest, DeadlineWhileThePeerReadsReportsExactlyWhatItReceives) {
  const std::string data = Pattern(1 << 20);
  for (int i = 0; i < 20; ++i) {
    std::vector<size_t> written(400);
    std::string received;
    int error = -1;
    std::thread reads;
    Run([&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      reads = std::thread([&] { received = peer_.ReceiveAll(&error); });
      auto body = [&](Cx cx) -> Task<void> {
        for (size_t& part : written) co_await OrReturn(stream.WriteAll(cx, Bytes(data), &part));
        co_return Ok();
      };
      Outcome<void> ended = co_await Region::Open(
          cx, "short", body, FailFast(),
          RegionOptions().WithBudget(Budget::Timeout(absl::Microseconds(500 * i))));
      co_return Ok();
    });
    reads.join();
    size_t sum = 0;
    for (size_t part : written) sum += part;
    EXPECT_EQ(error, 0);
    EXPECT_EQ(received.size(), sum);
  }
}

TEST_P(TcpStreamTest, CancelledBeforeItBeganWroteNothing) {
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    auto body = [&](Cx cx) -> Task<void> {
      cx.Ref().Cancel();
      size_t written = 77;
      Outcome<void> all = co_await stream.WriteAll(cx, Bytes("lost"), &written);
      EXPECT_TRUE(all.is_cancelled());
      EXPECT_EQ(written, 0u);
      Outcome<size_t> some = co_await stream.Write(cx, Bytes("lost"));
      EXPECT_TRUE(some.is_cancelled());
      Outcome<TcpStream> connected = co_await TcpStream::Connect(cx, "127.0.0.1:1");
      EXPECT_TRUE(connected.is_cancelled()) << connected.ToString();
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "cancelled", body));
    stream.Close();
    int error = 0;
    EXPECT_EQ(peer_.ReceiveAll(&error), "");
    co_return Ok();
  });
}

TEST_P(TcpStreamTest, CancelGivesConnectUp) {
  // A backlog that is full lets further connections wait.
  Peer listener = Peer::Listen(0);
  Peer first = Peer::Connect(listener.address(), /*wait=*/false);
  Peer second = Peer::Connect(listener.address(), /*wait=*/false);
  Run([&](Cx cx) -> Task<void> {
    auto connects = [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, listener.address()));
      co_return Ok();
    };
    auto by_request = cx.Spawn("by request", connects);
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::Connect"));
    by_request.Cancel();
    Outcome<void> ended = co_await OrReturn(by_request.Join(cx));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    Outcome<void> late =
        co_await Region::Open(cx, "by deadline", connects, FailFast(),
                              RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(20))));
    EXPECT_TRUE(late.is_cancelled()) << late.ToString();
    co_return Ok();
  });
}

// --- errors --------------------------------------------------------------------------------------

TEST_P(TcpStreamTest, ConnectWhereNobodyListensIsUnavailableAndSaysWhere) {
  std::string address;
  {
    Peer gone = Peer::Listen(1);
    address = gone.address();
  }
  Run([&](Cx cx) -> Task<void> {
    Outcome<TcpStream> stream = co_await TcpStream::Connect(cx, address);
    EXPECT_TRUE(stream.is_error());
    if (!stream.is_error()) co_return Ok();
    EXPECT_EQ(stream.error().code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(
        std::string(stream.error().message()),
        AllOf(HasSubstr("TcpStream::Connect(" + address + ")"), HasSubstr("nobody listens")));
    Outcome<TcpStream> bad = co_await TcpStream::Connect(cx, "nowhere");
    EXPECT_TRUE(bad.is_error());
    EXPECT_EQ(bad.ToStatus().code(), absl::StatusCode::kInvalidArgument);
    co_return Ok();
  });
}

TEST_P(TcpStreamTest, EmptyBufferIsRefused) {
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    Outcome<size_t> read = co_await stream.Read(cx, absl::Span<std::byte>());
    EXPECT_EQ(read.ToStatus().code(), absl::StatusCode::kInvalidArgument);
    Outcome<size_t> write = co_await stream.Write(cx, Bytes(""));
    EXPECT_EQ(write.ToStatus().code(), absl::StatusCode::kInvalidArgument);
    size_t written = 5;
    co_await OrReturn(stream.WriteAll(cx, Bytes(""), &written));
    EXPECT_EQ(written, 0u);
    co_return Ok();
  });
}

TEST_P(TcpStreamTest, ResetIsAnErrorThatNamesThePeerAndStays) {
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    peer_.Reset();
    std::string buffer(8, '\0');
    for (int i = 0; i < 3; ++i) {
      Outcome<size_t> read = co_await stream.Read(cx, Room(buffer));
      EXPECT_TRUE(read.is_error()) << read.ToString();
      EXPECT_EQ(read.ToStatus().code(), absl::StatusCode::kUnavailable);
      EXPECT_THAT(
          std::string(read.ToStatus().message()),
          AllOf(HasSubstr("TcpStream::Read(" + stream.peer_address() + ")"), HasSubstr("reset")));
    }
    size_t written = 5;
    Outcome<void> write = co_await stream.WriteAll(cx, Bytes("to nobody"), &written);
    EXPECT_EQ(write.ToStatus().code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(write.ToStatus().message()),
                AllOf(HasSubstr(stream.peer_address()), HasSubstr("reset")));
    EXPECT_EQ(written, 0u);
    co_return Ok();
  });
}

// The kernel tells one call only that the connection was reset; the reader must not take it for the end.
TEST_P(TcpStreamTest, ResetWhileBothDirectionsWaitIsAnErrorForBoth) {
  const std::string data(8 << 20, 'x');
  Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 50; ++i) {
      TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
      Outcome<size_t> read = size_t{0};
      Outcome<void> write = Ok();
      auto both = [&](Cx cx) -> Task<void> {
        cx.Spawn("reader", [&](Cx cx) -> Task<void> {
          std::string buffer(8, '\0');
          read = co_await stream.Read(cx, Room(buffer));
          co_return Ok();
        });
        cx.Spawn("writer", [&](Cx cx) -> Task<void> {
          write = co_await stream.WriteAll(cx, Bytes(data));
          co_return Ok();
        });
        co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::Read"));
        co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::WriteAll"));
        peer_.Reset();
        co_return Ok();
      };
      co_await OrReturn(Region::Open(cx, "both", both));
      EXPECT_TRUE(read.is_error()) << read.ToString();
      EXPECT_TRUE(write.is_error()) << write.ToString();
    }
    co_return Ok();
  });
}

TEST_P(TcpStreamTest, WriteToAPeerThatClosedFailsWithoutASignal) {
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    peer_.Close();
    Outcome<void> write = Ok();
    while (write.ok()) write = co_await stream.WriteAll(cx, Bytes("hello?"));
    EXPECT_EQ(write.ToStatus().code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(write.ToStatus().message()), HasSubstr(stream.peer_address()));
    co_return Ok();
  });
}

TEST_P(TcpStreamTest, WriteAfterShutdownWriteSaysWhoseFaultItIs) {
  Run([&](Cx cx) -> Task<void> {
    TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
    EXPECT_TRUE(stream.ShutdownWrite().ok());
    Outcome<void> write = co_await stream.WriteAll(cx, Bytes("late"));
    EXPECT_EQ(write.ToStatus().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(write.ToStatus().message()), HasSubstr("ShutdownWrite"));
    co_return Ok();
  });
}

class OnlyLocal : public Policy {
 public:
  absl::Status AllowConnect(absl::string_view address) const override {
    if (address.substr(0, 4) == "127.") return absl::OkStatus();
    return absl::PermissionDeniedError("only local");
  }
  absl::Status AllowListen(absl::string_view) const override {
    return absl::PermissionDeniedError("no listening");
  }
};

TEST_P(TcpStreamTest, PolicyIsAskedBeforeAnyEffect) {
  const OnlyLocal policy;
  Run([&](Cx cx) -> Task<void> {
    Cx limited = cx.Restrict(policy);
    Outcome<TcpStream> far = co_await TcpStream::Connect(limited, "192.0.2.1:80");
    EXPECT_EQ(far.ToStatus().code(), absl::StatusCode::kPermissionDenied);
    Outcome<TcpListener> listener = co_await TcpListener::Bind(limited, "127.0.0.1:0");
    EXPECT_EQ(listener.ToStatus().code(), absl::StatusCode::kPermissionDenied);
    Peer local = Peer::Listen(1);
    TcpStream near = co_await OrReturn(TcpStream::Connect(limited, local.address()));
    EXPECT_TRUE(near.open());
    co_return Ok();
  });
}

// --- bugs of the caller --------------------------------------------------------------------------

using TcpStreamDeathTest = TcpStreamTest;
INSTANTIATE_TEST_SUITE_P(, TcpStreamDeathTest, kEveryBackend, BackendName);

TEST_P(TcpStreamDeathTest, TwoReadersAtOnceAreFatal) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(
      Run([&](Cx cx) -> Task<void> {
        TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
        auto reads = [&](Cx cx) -> Task<void> {
          std::string buffer(8, '\0');
          co_await OrReturn(stream.Read(cx, Room(buffer)));
          co_return Ok();
        };
        cx.Spawn("first reader", reads);
        co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::Read"));
        co_await OrReturn(reads(cx));
        co_return Ok();
      }),
      "TcpStream::Read \\(peer 127.0.0.1:[0-9]+\\) while task [0-9]+ \\('first reader', spawned at "
      ".*tcp_stream_test.cc:[0-9]+\\) waits in TcpStream::Read of the same socket: one task");
}

TEST_P(TcpStreamDeathTest, DestroyingAStreamThatIsReadIsFatal) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(Run([&](Cx cx) -> Task<void> {
                 TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
                 cx.Spawn("reader", [&](Cx cx) -> Task<void> {
                   std::string buffer(8, '\0');
                   co_await OrReturn(stream.Read(cx, Room(buffer)));
                   co_return Ok();
                 });
                 co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::Read"));
                 co_return Ok();
               }),
               "a TcpStream \\(peer 127.0.0.1:[0-9]+\\) was closed or destroyed while task [0-9]+ "
               "\\('reader'");
}

TEST_P(TcpStreamDeathTest, UseAfterCloseIsFatal) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(Run([&](Cx cx) -> Task<void> {
                 TcpStream stream = co_await OrReturn(Pair(cx, &peer_));
                 stream.Close();
                 std::string buffer(8, '\0');
                 co_await OrReturn(stream.Read(cx, Room(buffer)));
                 co_return Ok();
               }),
               "TcpStream::Read on a stream that was closed or moved from");
}

}  // namespace
}  // namespace quiesce

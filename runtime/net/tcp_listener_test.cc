#include "quiesce/runtime/net/tcp_listener.h"

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/net/net_test_support.h"
#include "quiesce/runtime/region/region.h"

namespace quiesce {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using TcpListenerTest = EveryBackendNetTest;
INSTANTIATE_TEST_SUITE_P(, TcpListenerTest, kEveryBackend, BackendName);

constexpr char kAnyPort[] = "127.0.0.1:0";

// Is a new connection taken by the kernel?
bool IsTaken(const std::string& address) { return Peer::Connect(address).error() == 0; }
bool IsRefused(const std::string& address) {
  return Peer::Connect(address).error() == ECONNREFUSED;
}

Task<void> Hold(CxWith<cap::Net> cx, TcpStream stream) {
  std::string buffer(64, '\0');
  while (true) {
    size_t n = co_await OrReturn(stream.Read(cx.ForDrain(), Room(buffer)));
    if (n == 0) co_return Ok();
    co_await OrReturn(stream.WriteAll(cx.ForDrain(), Bytes(buffer).first(n)));
  }
}

// The sketch of the documentation: binds in its own scope, accepts in a region below.
Task<void> Serve(Cx cx, std::string* address) {
  TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
  *address = listener.address();
  auto accepts = [&](Cx cx) -> Task<void> {
    while (true) {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      cx.Spawn("connection", Hold, std::move(stream));
    }
  };
  co_return co_await Region::Open(cx, "connections", accepts, Isolate());
}

// --- bind ----------------------------------------------------------------------------------------

TEST_P(TcpListenerTest, BindSaysWhichPortTheSystemChose) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    absl::StatusOr<Address> address = Address::Parse(listener.address());
    EXPECT_TRUE(address.ok()) << address.status();
    EXPECT_NE(address->port(), 0);
    EXPECT_TRUE(listener.listening());
    EXPECT_TRUE(IsTaken(listener.address()));
    TcpListener moved = std::move(listener);
    EXPECT_FALSE(listener.listening());
    EXPECT_TRUE(IsTaken(moved.address()));
    const std::string was = moved.address();
    moved.Close();
    EXPECT_TRUE(IsRefused(was));
    EXPECT_EQ(moved.address(), was);
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, AddressInUseSaysWhichAndWhatToDo) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    Outcome<TcpListener> second = co_await TcpListener::Bind(cx, listener.address());
    EXPECT_TRUE(second.is_error());
    EXPECT_EQ(second.ToStatus().code(), absl::StatusCode::kAlreadyExists);
    EXPECT_THAT(std::string(second.ToStatus().message()),
                AllOf(HasSubstr("TcpListener::Bind(" + listener.address() + ")"),
                      HasSubstr("in use by another socket"), HasSubstr("choose another port")));
    EXPECT_TRUE(IsTaken(listener.address()));
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, ServerStartsAgainAtOnceWhereItsConnectionsHaveJustEnded) {
  Run([&](Cx cx) -> Task<void> {
    std::string address = kAnyPort;
    for (int i = 0; i < 3; ++i) {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, address));
      address = listener.address();
      Peer peer = Peer::Connect(address);
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      EXPECT_TRUE(
          stream.ShutdownWrite().ok());  // the side that ends first keeps the address in TIME_WAIT
      EXPECT_EQ(peer.Receive(1), "");
    }
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, BadAddressIsAnError) {
  Run([&](Cx cx) -> Task<void> {
    Outcome<TcpListener> none = co_await TcpListener::Bind(cx, "8080");
    EXPECT_EQ(none.ToStatus().code(), absl::StatusCode::kInvalidArgument);
    Outcome<TcpListener> foreign = co_await TcpListener::Bind(cx, "192.0.2.1:0");
    EXPECT_EQ(foreign.ToStatus().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(foreign.ToStatus().message()), HasSubstr("0.0.0.0"));
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, BindIsACheckpoint) {
  Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      cx.Ref().Cancel();
      Outcome<TcpListener> bound = co_await TcpListener::Bind(cx, kAnyPort);
      EXPECT_TRUE(bound.is_cancelled()) << bound.ToString();
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "cancelled", body));
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, Ipv6ListenerOfAllInterfacesTakesIpv4Too) {
  Run([&](Cx cx) -> Task<void> {
    Outcome<TcpListener> bound = co_await TcpListener::Bind(cx, "[::]:0");
    if (!bound.ok()) {
      EXPECT_EQ(bound.ToStatus().code(), absl::StatusCode::kInvalidArgument) << bound.ToString();
      co_return Ok();  // no IPv6 here
    }
    const std::string port = std::to_string(Address::Parse(bound->address())->port());
    Peer peer = Peer::Connect("127.0.0.1:" + port);
    EXPECT_EQ(peer.error(), 0);
    TcpStream stream = co_await OrReturn(bound->Accept(cx));
    EXPECT_EQ(stream.peer_address().rfind("[::ffff:127.0.0.1]:", 0), 0u) << stream.peer_address();
    co_return Ok();
  });
}

// --- accept --------------------------------------------------------------------------------------

TEST_P(TcpListenerTest, ConnectionsThatCameBeforeAcceptAreTakenInTheirOrder) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    std::vector<Peer> peers;
    for (int i = 0; i < 20; ++i) peers.push_back(Peer::Connect(listener.address()));
    for (Peer& peer : peers) {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      EXPECT_EQ(stream.peer_address(), peer.address());
    }
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, CancelOfAnAcceptTakesNoConnection) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    int taken = 0;
    for (int i = 0; i < 200; ++i) {
      auto acceptor = cx.Spawn("acceptor", [&](Cx cx) -> Task<void> {
        TcpStream stream = co_await OrReturn(listener.Accept(cx));
        ++taken;
        co_return Ok();
      });
      co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
      Peer peer = Peer::Connect(listener.address());
      acceptor.Cancel();
      Outcome<void> ended = co_await OrReturn(acceptor.Join(cx));
      if (ended.is_cancelled()) {
        TcpStream stream = co_await OrReturn(listener.Accept(cx));
        EXPECT_EQ(stream.peer_address(), peer.address());
        ++taken;
      }
    }
    EXPECT_EQ(taken, 200);
    co_return Ok();
  });
}

// --- when it stops -------------------------------------------------------------------------------

// `stop` cancels a server that was bound in its own scope; new clients are refused while an old one is still
// served, though the listener lives on until the drain has ended.
class DrainTest : public TcpListenerTest {
 protected:
  void Check(void (*stop)(const TaskHandle<void>& server, const RegionRef& region)) {
    Run([&](Cx cx) -> Task<void> {
      std::string address;
      auto body = [&](Cx cx) -> Task<void> {
        auto server = cx.Spawn("server", Serve, &address);
        co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
        Peer peer = Peer::Connect(address);
        co_await OrReturn(UntilParked(cx, *runtime_, "TcpStream::Read"));
        EXPECT_TRUE(IsTaken(address));
        co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));

        stop(server, cx.Ref());
        while (!IsRefused(address)) co_await OrReturn(Yield(cx.ForDrain()));
        EXPECT_FALSE(server.ended());
        EXPECT_TRUE(peer.Send("still there?"));
        std::string answer = co_await OrReturn(Receive(cx.ForDrain(), peer, 12));
        EXPECT_EQ(answer, "still there?");
        peer.Close();
        Outcome<void> ended = co_await OrReturn(server.Join(cx.ForDrain()));
        EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
        co_return Ok();
      };
      Outcome<void> all = co_await Region::Open(cx, "all", body);
      EXPECT_FALSE(all.is_error());
      co_return Ok();
    });
  }
};
INSTANTIATE_TEST_SUITE_P(, DrainTest, kEveryBackend, BackendName);

TEST_P(DrainTest, CancelOfTheTaskThatBoundItRefusesNewClients) {
  Check([](const TaskHandle<void>& server, const RegionRef&) {
    server.Cancel(Budget::Timeout(absl::Seconds(30)));
  });
}

TEST_P(DrainTest, CancelOfTheRegionItWasBoundInRefusesNewClients) {
  Check([](const TaskHandle<void>&, const RegionRef& region) {
    region.Cancel(Budget::Timeout(absl::Seconds(30)));
  });
}

TEST_P(TcpListenerTest, CancelledAcceptInASpawnedTaskBelowTheBindingTaskStopsIt) {
  Run([&](Cx cx) -> Task<void> {
    std::string address;
    auto server = cx.Spawn("server", [&](Cx cx) -> Task<void> {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
      address = listener.address();
      auto body = [&](Cx cx) -> Task<void> {
        cx.Spawn("acceptor", [&](Cx cx) -> Task<void> {
          TcpStream stream = co_await OrReturn(listener.Accept(cx));
          co_return Ok();
        });
        co_return Ok();
      };
      Outcome<void> ended = co_await Region::Open(cx, "acceptors", body);
      EXPECT_FALSE(listener.listening());
      Outcome<TcpStream> later = co_await listener.Accept(cx.ForDrain());
      EXPECT_EQ(later.ToStatus().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_THAT(std::string(later.ToStatus().message()),
                  AllOf(HasSubstr(address), HasSubstr("stopped listening")));
      later = co_await listener.Accept(cx);
      EXPECT_TRUE(later.is_cancelled());
      co_return ended;
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
    server.Cancel();
    Outcome<void> ended = co_await OrReturn(server.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    EXPECT_TRUE(IsRefused(address));
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, AcceptThatBeginsAfterTheCancelStopsItToo) {
  Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
      cx.Ref().Cancel();
      EXPECT_TRUE(IsTaken(listener.address()));
      Outcome<TcpStream> stream = co_await listener.Accept(cx);
      EXPECT_TRUE(stream.is_cancelled());
      EXPECT_TRUE(IsRefused(listener.address()));
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "cancelled", body));
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, DrainAcceptGoesOnAfterTheCancel) {
  Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
      cx.Ref().Cancel();
      Peer peer = Peer::Connect(listener.address());
      TcpStream stream = co_await OrReturn(listener.Accept(cx.ForDrain()));
      EXPECT_EQ(stream.peer_address(), peer.address());
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "cancelled", body));
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, TimeoutAroundAcceptLeavesItListening) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    auto accepts = [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      co_return Ok();
    };
    Outcome<void> ended =
        co_await Region::Open(cx, "short", accepts, FailFast(),
                              RegionOptions().WithBudget(Budget::Timeout(absl::Milliseconds(1))));
    EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
    EXPECT_TRUE(listener.listening());
    Peer peer = Peer::Connect(listener.address());
    TcpStream stream = co_await OrReturn(listener.Accept(cx));
    EXPECT_EQ(stream.peer_address(), peer.address());
    co_return Ok();
  });
}

TEST_P(TcpListenerTest, AcceptorThatLostLeavesItListening) {
  Run([&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
    auto acceptor = cx.Spawn("acceptor", [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      co_return Ok();
    });
    co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
    acceptor.Cancel();
    Outcome<void> ended = co_await OrReturn(acceptor.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    EXPECT_TRUE(IsTaken(listener.address()));
    co_return Ok();
  });
}

// The task that bound it has ended before, and its region lives: nothing stops the listener.
TEST_P(TcpListenerTest, EndOfTheTaskThatBoundItLeavesItListening) {
  Run([&](Cx cx) -> Task<void> {
    auto binder = cx.Spawn("binder", [&](Cx cx) -> Task<TcpListener> {
      co_return co_await TcpListener::Bind(cx, kAnyPort);
    });
    Outcome<TcpListener> bound = co_await OrReturn(binder.Join(cx));
    binder.Cancel();
    TcpListener listener = std::move(bound).value();
    Peer peer = Peer::Connect(listener.address());
    TcpStream stream = co_await OrReturn(listener.Accept(cx));
    EXPECT_EQ(stream.peer_address(), peer.address());
    co_return Ok();
  });
}

// --- bugs of the caller --------------------------------------------------------------------------

using TcpListenerDeathTest = TcpListenerTest;
INSTANTIATE_TEST_SUITE_P(, TcpListenerDeathTest, kEveryBackend, BackendName);

TEST_P(TcpListenerDeathTest, TwoAcceptsAtOnceAreFatal) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(
      Run([&](Cx cx) -> Task<void> {
        TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAnyPort));
        auto accepts = [&](Cx cx) -> Task<void> {
          TcpStream stream = co_await OrReturn(listener.Accept(cx));
          co_return Ok();
        };
        cx.Spawn("first acceptor", accepts);
        co_await OrReturn(UntilParked(cx, *runtime_, "TcpListener::Accept"));
        co_await OrReturn(accepts(cx));
        co_return Ok();
      }),
      "TcpListener::Accept \\(at 127.0.0.1:[0-9]+\\) while task [0-9]+ \\('first acceptor'");
}

TEST_P(TcpListenerDeathTest, BacklogMustBePositive) {
  EXPECT_DEATH(TcpListenOptions().WithBacklog(0), "must be positive");
}

}  // namespace
}  // namespace quiesce

#include "quiesce/testing/lab/network.h"

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/sanitizers.h"
#include "quiesce/runtime/combinator/timeout.h"
#include "quiesce/runtime/net/tcp_listener.h"
#include "quiesce/runtime/net/tcp_stream.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/lab/googletest.h"
#include "quiesce/testing/lab/lab.h"
#include "quiesce/testing/lab/outcomes.h"

namespace quiesce {
namespace {

using ::testing::HasSubstr;

constexpr const char* kServer = "10.0.0.1";
constexpr const char* kClient = "10.0.0.2";
constexpr const char* kAt = "10.0.0.1:80";

absl::Span<const std::byte> Bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

template <class T>
absl::Status StatusOf(const Outcome<T>& outcome) {
  return outcome.is_error() ? outcome.error() : absl::OkStatus();
}

// Up to the end.
Task<std::string> ReadAll(Cx cx, TcpStream& stream) {
  std::string all;
  std::array<std::byte, 16> buffer;
  while (true) {
    const size_t n = co_await OrReturn(stream.Read(cx, buffer));
    if (n == 0) co_return all;
    all.append(reinterpret_cast<const char*>(buffer.data()), n);
  }
}

// Sends back what it gets, of one connection.
Task<void> EchoOnce(Cx cx, TcpListener& listener) {
  TcpStream stream = co_await OrReturn(listener.Accept(cx));
  const std::string all = co_await OrReturn(ReadAll(cx, stream));
  co_await OrReturn(stream.WriteAll(cx, Bytes(all)));
  co_return Ok();
}

Task<std::string> Ask(Cx cx, std::string address, std::string question) {
  TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, address));
  co_await OrReturn(stream.WriteAll(cx, Bytes(question)));
  if (absl::Status ended = stream.ShutdownWrite(); !ended.ok()) co_return ended;
  co_return co_await OrReturn(ReadAll(cx, stream));
}

Task<TcpStream> ConnectTo(Cx cx, std::string address) {
  co_return co_await OrReturn(TcpStream::Connect(cx, address));
}

// A server on one node; once it listens, `client` on another.
template <class Client>
Task<void> ServeAndAsk(Cx cx, Client client) {
  auto nodes = [&](Cx cx) -> Task<void> {
    auto server = [&](Cx cx) -> Task<void> {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAt));
      auto both = [&](Cx cx) -> Task<void> {
        cx.Spawn("echo", [&](Cx cx) { return EchoOnce(cx, listener); });
        cx.Spawn("client", [&](Cx cx) { return lab::OnNode(cx, kClient, client); });
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "both", both);
    };
    co_return co_await lab::OnNode(cx, kServer, server);
  };
  co_return co_await Region::Open(cx, "nodes", nodes);
}

Task<void> AskFromTheOtherNode(Cx cx) {
  co_return co_await ServeAndAsk(cx, [](Cx cx) -> Task<void> {
    const std::string answer = co_await OrReturn(Ask(cx, kAt, "ab"));
    EXPECT_EQ(answer, "ab");
    co_return Ok();
  });
}

// ---- bytes ------------------------------------------------------------------------------------------

Task<void> EchoWithinANode(Cx cx) {
  TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
  auto both = [&](Cx cx) -> Task<void> {
    cx.Spawn("echo", [&](Cx cx) { return EchoOnce(cx, listener); });
    const std::string answer = co_await OrReturn(Ask(cx, listener.address(), "ab"));
    EXPECT_EQ(answer, "ab");
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "both", both);
}

LAB_TEST(NetworkTest, EchoWithinANode, Explore::Walk(1000)) {
  co_return co_await EchoWithinANode(cx);
}
LAB_TEST(NetworkTest, EchoBetweenNodes, Explore::Walk(1000)) {
  co_return co_await AskFromTheOtherNode(cx);
}
LAB_TEST(NetworkTest, EchoIsCancelledAtAnyMoment, Explore::Walk(1000).WithCancelSweep()) {
  co_return co_await AskFromTheOtherNode(cx);
}

// One message there and one back. What is seen goes to `seen`.
Task<void> RequestAndAnswer(Cx cx, std::string at, bool two_nodes, std::string& seen) {
  TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "0.0.0.0:80"));
  auto both = [&](Cx cx) -> Task<void> {
    cx.Spawn("server", [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      std::array<std::byte, 4> buffer;
      Outcome<size_t> n = co_await stream.Read(cx, buffer);
      absl::StrAppend(&seen, n.ok() ? absl::StrCat("s", *n) : "s?");
      if (n.ok()) (void)co_await stream.Write(cx, Bytes(std::string("ab")));
      co_return Ok();
    });
    auto client = [&](Cx cx) -> Task<void> {
      Outcome<TcpStream> stream = co_await TcpStream::Connect(cx, at);
      if (!stream.ok()) {
        absl::StrAppend(&seen, "c!");
        co_return stream.error();
      }
      (void)co_await stream->Write(cx, Bytes(std::string("cd")));
      std::array<std::byte, 4> buffer;
      Outcome<size_t> n = co_await stream->Read(cx, buffer);
      absl::StrAppend(&seen, n.ok() ? absl::StrCat("c", *n) : "c?");
      co_return Ok();
    };
    if (two_nodes) co_return co_await lab::OnNode(cx, kClient, client);
    co_return co_await client(cx);
  };
  co_return co_await Region::Open(cx, "both", both);
}

TEST(NetworkTest, EveryOrderOfARequestAndItsAnswerWithinANode) {
  const LabResult all = RunLab(Explore::Exhaustive(), [](Cx cx) -> Task<void> {
    std::string seen;
    co_await OrReturn(RequestAndAnswer(cx, "127.0.0.1:80", false, seen));
    EXPECT_EQ(seen, "s2c2");
    co_return Ok();
  });
  EXPECT_TRUE(all.ok()) << all.failure;
  EXPECT_TRUE(all.exhausted) << all.verdict;
}

// What is written in all executions that come to their end.
std::set<std::string> Written(const Explore& how,
                              const std::function<Task<void>(Cx, std::string&)>& body) {
  const lab::Outcomes all = lab::OutcomesOf(how, body);
  EXPECT_TRUE(all.result.ok()) << all.result.failure;
  return all.seen;
}

// One message, from a client that ends then.
std::set<std::string> SeenOfAMessage(const Explore& how, bool two_nodes) {
  return Written(how, [&](Cx cx, std::string& seen) -> Task<void> {
    auto server = [&](Cx cx, TcpListener& listener) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      std::array<std::byte, 4> buffer;
      const Outcome<size_t> n = co_await stream.Read(cx, buffer);
      absl::StrAppend(&seen, "s", n.ok() ? absl::StrCat(*n) : "!");
      co_return Ok();
    };
    auto both = [&](Cx cx) -> Task<void> {
      TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, kAt));
      auto client = [&](Cx cx) -> Task<void> {
        TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, kAt));
        const Outcome<size_t> n = co_await stream.Write(cx, Bytes(std::string("cd")));
        absl::StrAppend(&seen, "c", n.ok() ? absl::StrCat(*n) : "!");
        co_return Ok();
      };
      auto connection = [&](Cx cx) -> Task<void> {
        cx.Spawn("server", [&](Cx cx) { return server(cx, listener); });
        if (two_nodes) co_return co_await lab::OnNode(cx, kClient, client);
        co_return co_await client(cx);
      };
      co_return co_await Region::Open(cx, "connection", connection);
    };
    // What failed is seen in what is missing.
    (void)co_await lab::OnNode(cx, kServer, both);
    co_return Ok();
  });
}

// What a network declares of its operations leaves nothing out that a random walk sees.
TEST(NetworkTest, ResetsAndShortReadsAreSeenByExhaustionAsByWalks) {
  if (QUIESCE_ASAN || QUIESCE_TSAN) GTEST_SKIP() << "would take minutes";
  for (const Faults& faults :
       {Faults().WithResets(1), Faults().WithShortReads(1), Faults().WithShortWrites(1)}) {
    const std::set<std::string> all =
        SeenOfAMessage(Explore::Exhaustive().WithFaults(faults).WithDeadlocks(), false);
    EXPECT_EQ(all, SeenOfAMessage(Explore::Walk(2000).WithFaults(faults).WithDeadlocks(), false));
    EXPECT_TRUE(all.contains("c2s2"));
    EXPECT_GT(all.size(), 1u);
  }
  const std::set<std::string> far = SeenOfAMessage(Explore::Exhaustive(), true);
  EXPECT_EQ(far, SeenOfAMessage(Explore::Walk(2000), true));
  EXPECT_EQ(far, std::set<std::string>{"c2s2"});
}

// An edge between a read in vain and its wait is not lost.
TEST(NetworkTest, EdgeThatComesBeforeItsWaitIsQueued) {
  EXPECT_EQ(SeenOfAMessage(Explore::Exhaustive().WithSplitWaits(), false),
            std::set<std::string>{"c2s2"});
}

// ---- time, and what goes wrong ----------------------------------------------------------------------

LAB_TEST(NetworkTest, LatencyTakesVirtualTime, Explore::Walk(100)) {
  lab::SetLink(kServer, kClient, lab::Link().WithLatency(absl::Milliseconds(3)));
  const Instant begun = cx.Now();
  co_await OrReturn(AskFromTheOtherNode(cx));
  // The connection, there and back, and the question and its answer.
  EXPECT_EQ(cx.Now() - begun, absl::Milliseconds(12));
  co_return Ok();
}

LAB_TEST(NetworkTest, NobodyListens, Explore::Exhaustive()) {
  const Outcome<std::string> answer = co_await Ask(cx, "127.0.0.1:80", "ab");
  EXPECT_TRUE(absl::IsUnavailable(StatusOf(answer))) << answer.ToString();
  const Outcome<std::string> nowhere = co_await Ask(cx, "10.0.0.9:80", "ab");
  EXPECT_TRUE(absl::IsUnavailable(StatusOf(nowhere))) << nowhere.ToString();
  co_return Ok();
}

LAB_TEST(NetworkTest, NobodyListensOnTheOtherNode, Explore::Exhaustive()) {
  lab::SetLink(kServer, kClient, lab::Link());
  auto client = [](Cx cx) -> Task<void> {
    const Outcome<std::string> answer = co_await Ask(cx, kAt, "ab");
    EXPECT_TRUE(absl::IsUnavailable(StatusOf(answer))) << answer.ToString();
    co_return Ok();
  };
  co_return co_await lab::OnNode(cx, kClient, client);
}

LAB_TEST(NetworkTest, ConnectGivesUpBehindAPartition, Explore::Walk(100)) {
  lab::Partition(kServer, kClient);
  const Instant begun = cx.Now();
  auto client = [](Cx cx) -> Task<void> {
    const Outcome<std::string> answer = co_await Ask(cx, kAt, "ab");
    EXPECT_TRUE(absl::IsUnavailable(StatusOf(answer))) << answer.ToString();
    co_return Ok();
  };
  co_await OrReturn(lab::OnNode(cx, kClient, client));
  EXPECT_EQ(cx.Now() - begun, absl::Seconds(127));
  co_return Ok();
}

LAB_TEST(NetworkTest, WhatAPartitionHeldBackArrivesAfterIt, Explore::Walk(300)) {
  auto ask = [](Cx cx) -> Task<void> {
    lab::Partition(kServer, kClient);
    auto client = [](Cx cx) -> Task<void> {
      const Instant begun = cx.Now();
      const std::string answer = co_await OrReturn(Ask(cx, kAt, "ab"));
      EXPECT_EQ(answer, "ab");
      EXPECT_EQ(cx.Now() - begun, absl::Seconds(5));
      co_return Ok();
    };
    auto both = [&](Cx cx) -> Task<void> {
      cx.Spawn("ask", client);
      co_await OrReturn(Sleep(cx, absl::Seconds(5)));
      lab::Heal(kServer, kClient);
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "both", both);
  };
  co_return co_await ServeAndAsk(cx, ask);
}

LAB_TEST(NetworkTest, ConnectIsRefusedAtSomeMoment,
         Explore::Walk(200).WithFaults(Faults().WithRefusals(1))) {
  std::string seen;
  (void)co_await RequestAndAnswer(cx, "127.0.0.1:80", false, seen);
  EXPECT_THAT(seen, ::testing::AnyOf("s2c2", "c!"));
  co_return Ok();
}

TEST(NetworkTest, AcceptWaitsForADescriptor) {
  struct : ReportSink {
    void Report(const std::string&) override {}
  } ignored;
  bool waited = false;
  const LabResult result = RunLab(
      Explore::Pct(1000).WithFaults(Faults().WithoutDescriptors(1)).WithReports(&ignored),
      [&](Cx cx) -> Task<void> {
        const Instant begun = cx.Now();
        Outcome<void> ended = co_await EchoWithinANode(cx);
        if (ended.ok()) waited |= cx.Now() - begun == absl::Milliseconds(50);
        EXPECT_TRUE(ended.ok() || absl::IsResourceExhausted(StatusOf(ended))) << ended.ToString();
        co_return Ok();
      });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(waited);
}

TEST(NetworkTest, DelayLetsATimeoutBeFirst) {
  bool late = false, in_time = false;
  const Faults slow = Faults().WithDelays(1, absl::Seconds(1));
  const LabResult result = RunLab(Explore::Walk(300).WithFaults(slow), [&](Cx cx) -> Task<void> {
    auto ask = [&](Cx cx) -> Task<void> {
      Outcome<std::string> answer =
          co_await Timeout(cx, absl::Milliseconds(10), [](Cx cx) { return Ask(cx, kAt, "ab"); });
      (answer.ok() ? in_time : late) = true;
      co_return Ok();
    };
    Outcome<void> ended = co_await ServeAndAsk(cx, ask);
    // The server may have been left by its client.
    (void)ended;
    co_return Ok();
  });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(late);
  EXPECT_TRUE(in_time);
}

LAB_TEST(NetworkTest, ShortReadsAndWritesLoseNothing,
         Explore::Walk(1000).WithFaults(Faults().WithShortReads(3).WithShortWrites(3))) {
  co_return co_await AskFromTheOtherNode(cx);
}

LAB_TEST(NetworkTest, BufferOfOneByteTakesOneAfterTheOther, Explore::Walk(300)) {
  lab::SetLink(kServer, kClient, lab::Link().WithBuffer(1));
  auto ask = [](Cx cx) -> Task<void> {
    const std::string answer = co_await OrReturn(Ask(cx, kAt, "abcdef"));
    EXPECT_EQ(answer, "abcdef");
    co_return Ok();
  };
  co_return co_await ServeAndAsk(cx, ask);
}

// A server that has answered, and is left while its client still sends, lingers: the answer is not lost to a reset.
LAB_TEST(NetworkTest, AnswerIsNotLostByTheEndOfItsStream, Explore::Walk(1000)) {
  TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:80"));
  auto both = [&](Cx cx) -> Task<void> {
    cx.Spawn("server", [&](Cx cx) -> Task<void> {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      co_await OrReturn(stream.WriteAll(cx, Bytes(std::string("no"))));
      co_return Ok();
    });
    TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, "127.0.0.1:80"));
    for (int i = 0; i < 3; ++i) (void)co_await stream.Write(cx, Bytes(std::string("more")));
    std::array<std::byte, 4> buffer;
    const size_t n = co_await OrReturn(stream.Read(cx, buffer));
    EXPECT_EQ(n, 2u);
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "both", both);
}

// ---- connections ------------------------------------------------------------------------------------

// Two clients, a backlog of one, and a server that takes both.
Task<void> TwoClients(Cx cx, bool two_nodes, std::string& seen) {
  auto server = [&](Cx cx) -> Task<void> {
    TcpListener listener =
        co_await OrReturn(TcpListener::Bind(cx, kAt, TcpListenOptions().WithBacklog(1)));
    auto all = [&](Cx cx) -> Task<void> {
      for (const char* name : {"1", "2"}) {
        auto client = [&seen, name](Cx cx) -> Task<void> {
          TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, kAt));
          lab::Write(seen, name);
          co_return Ok();
        };
        if (two_nodes) {
          cx.Spawn("client", [client](Cx cx) { return lab::OnNode(cx, kClient, client); });
        } else {
          cx.Spawn("client", client);
        }
      }
      for (int i = 0; i < 2; ++i) {
        TcpStream stream = co_await OrReturn(listener.Accept(cx));
        lab::Write(seen, "a");
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "all", all);
  };
  co_return co_await lab::OnNode(cx, kServer, server);
}

TEST(NetworkTest, FullBacklogHoldsConnectionsBack) {
  for (const bool two_nodes : {false, true}) {
    const auto body = [&](Cx cx, std::string& seen) { return TwoClients(cx, two_nodes, seen); };
    const std::set<std::string> some = Written(Explore::Walk(2000), body);
    EXPECT_TRUE(some.contains("1a2a"));
    EXPECT_TRUE(some.contains("2a1a"));
  }
}

// Cut while the connection is made: whoever connects is told in the end, with a listener and without.
TEST(NetworkTest, PartitionWhileConnecting) {
  for (const bool listens : {false, true}) {
    const LabResult result = RunLab(Explore::Walk(100), [&](Cx cx) -> Task<void> {
      lab::SetLink(kServer, kClient, lab::Link().WithLatency(absl::Milliseconds(3)));
      auto client = [](Cx cx) -> Task<void> {
        const Instant begun = cx.Now();
        const Outcome<TcpStream> stream = co_await TcpStream::Connect(cx, kAt);
        EXPECT_TRUE(absl::IsUnavailable(StatusOf(stream))) << stream.ToString();
        EXPECT_EQ(cx.Now() - begun, absl::Seconds(127));
        co_return Ok();
      };
      auto server = [&](Cx cx) -> Task<void> {
        std::optional<TcpListener> listener;
        if (listens) {
          TcpListener bound = co_await OrReturn(TcpListener::Bind(cx, kAt));
          listener.emplace(std::move(bound));
        }
        auto all = [&](Cx cx) -> Task<void> {
          cx.Spawn("client", [&](Cx cx) { return lab::OnNode(cx, kClient, client); });
          co_await OrReturn(Sleep(cx, absl::Milliseconds(4)));
          lab::Partition(kServer, kClient);
          co_return Ok();
        };
        co_return co_await Region::Open(cx, "all", all);
      };
      co_return co_await lab::OnNode(cx, kServer, server);
    });
    EXPECT_TRUE(result.ok()) << result.failure;
  }
}

// As with Linux: who was told the end goes on being told that, also if what it sent was answered by a reset.
LAB_TEST(NetworkTest, EndStaysTheEnd, Explore::Walk(200)) {
  TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:80"));
  TcpStream client = co_await OrReturn(TcpStream::Connect(cx, "127.0.0.1:80"));
  {
    TcpStream gone = co_await OrReturn(listener.Accept(cx));
  }
  const std::string nothing = co_await OrReturn(ReadAll(cx, client));
  EXPECT_EQ(nothing, "");
  (void)co_await client.Write(cx, Bytes(std::string("ab")));
  const std::string nothing_still = co_await OrReturn(ReadAll(cx, client));
  EXPECT_EQ(nothing_still, "");
  EXPECT_TRUE(absl::IsUnavailable(StatusOf(co_await client.Write(cx, Bytes(std::string("ab"))))));
  co_return Ok();
}

LAB_TEST(NetworkTest, ListenerIsWhereItWasBound, Explore::Exhaustive()) {
  auto on_server = [](Cx cx) -> Task<void> {
    TcpListener local = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:80"));
    TcpListener own = co_await OrReturn(TcpListener::Bind(cx, "10.0.0.1:81"));
    TcpListener every = co_await OrReturn(TcpListener::Bind(cx, "[::]:82"));
    const auto connects = [&cx](std::string address) -> Task<bool> {
      const Outcome<TcpStream> stream = co_await TcpStream::Connect(cx, address);
      co_return stream.ok();
    };
    EXPECT_TRUE(co_await OrReturn(connects("127.0.0.1:80")));
    EXPECT_FALSE(co_await OrReturn(connects("10.0.0.1:80")));
    EXPECT_TRUE(co_await OrReturn(connects("10.0.0.1:81")));
    EXPECT_FALSE(co_await OrReturn(connects("127.0.0.1:81")));
    EXPECT_TRUE(co_await OrReturn(connects("[::1]:82")));
    EXPECT_TRUE(co_await OrReturn(connects("127.0.0.1:82")));
    EXPECT_TRUE(absl::IsAlreadyExists(StatusOf(co_await TcpListener::Bind(cx, "127.0.0.1:82"))));
    co_return Ok();
  };
  co_return co_await lab::OnNode(cx, kServer, on_server);
}

LAB_TEST(NetworkTest, EchoOnTwoWorkers, Explore::Walk(300).WithWorkers(2)) {
  co_return co_await AskFromTheOtherNode(cx);
}

TEST(NetworkTest, ArrivalAndTimeoutWhereTimersMayBeEarly) {
  const auto body = [](Cx cx, std::string& seen) -> Task<void> {
    lab::SetLink(kServer, kClient, lab::Link().WithLatency(absl::Milliseconds(3)));
    auto client = [&](Cx cx) -> Task<void> {
      const Outcome<TcpStream> stream =
          co_await Timeout(cx, absl::Milliseconds(10), [](Cx cx) { return ConnectTo(cx, kAt); });
      lab::Write(seen, absl::IsUnavailable(StatusOf(stream)) ? "refused" : "late");
      co_return Ok();
    };
    co_return co_await lab::OnNode(cx, kClient, client);
  };
  const std::set<std::string> some = Written(Explore::Walk(500).WithEarlyTimers(), body);
  const std::set<std::string> all = Written(Explore::Exhaustive().WithEarlyTimers(), body);
  EXPECT_EQ(some, all);
  EXPECT_EQ(all.size(), 2u);
}

// ---- bad use ----------------------------------------------------------------------------------------

TEST(NetworkTest, SocketLeftOpenIsALeak) {
  // What a lab has left behind cannot be destroyed after it; and a leak checker finds it here.
  [[maybe_unused]] static TcpListener* kept;
  const LabResult result = RunLab(Explore::Walk(1).WithoutRepeating(), [&](Cx cx) -> Task<void> {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:80"));
    kept = new TcpListener(std::move(listener));
    co_return Ok();
  });
  EXPECT_THAT(result.failure, HasSubstr("LEAK: listener 127.0.0.1:80"));
}

TEST(NetworkTest, TwoListenersAtOneAddress) {
  const LabResult result = RunLab(Explore::Exhaustive(), [&](Cx cx) -> Task<void> {
    TcpListener one = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:80"));
    Outcome<TcpListener> other = co_await TcpListener::Bind(cx, "127.0.0.1:80");
    EXPECT_TRUE(absl::IsAlreadyExists(StatusOf(other))) << other.ToString();
    co_return Ok();
  });
  EXPECT_TRUE(result.ok()) << result.failure;
}

TEST(NetworkDeathTest, WhatIsNoAddress) {
  const auto in_lab = [](void (*body)()) {
    (void)RunLab(1, [body](Cx) -> Task<void> {
      body();
      co_return Ok();
    });
  };
  EXPECT_DEATH(in_lab([] { lab::Partition("here", "there"); }), "'here' is no address of a node");
  EXPECT_DEATH(Faults().WithResets(-1), "cannot happen so often");
  EXPECT_DEATH(in_lab([] { lab::Partition(kServer, kServer); }), "cannot be parted from itself");
  EXPECT_DEATH(lab::Link().WithBuffer(0), "nothing would ever be sent");
  EXPECT_DEATH(lab::Link().WithLatency(-absl::Seconds(1)), "from nothing to a year");
  EXPECT_DEATH(lab::Heal(kServer, kClient), "only in the body of a lab");
}

}  // namespace
}  // namespace quiesce

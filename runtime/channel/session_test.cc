#include "quiesce/runtime/channel/session.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::IsCancelled;
using rules::IsError;
using rules::IsErrorCode;
using rules::IsOk;
using rules::TestRuntime;
using rules::Until;
using ::testing::ElementsAre;

using Client = SessionClient<std::string, std::string>;
using Server = SessionServer<std::string, std::string>;

// Longer than what a string keeps in itself: moved from, it is empty.
std::string Long(const std::string& text) { return text + std::string(64, '.'); }

Task<std::string> CallOnce(Cx cx, Client client, std::string request) {
  co_return co_await client.Call(cx, std::move(request));
}

class SessionTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  // Runs body(cx, client, server) in a region that isolates.
  template <class Body>
  void Run(size_t capacity, Body body) {
    const auto run = [&](Cx cx) -> Task<void> {
      auto [client, server] = MakeSession<std::string, std::string>(capacity);
      co_return co_await body(cx, std::move(client), std::move(server));
    };
    EXPECT_THAT(rt.Open(run, Isolate(&failed_calls)), IsOk());
  }
  TestRuntime rt{GetParam()};
  rules::Sink failed_calls;
};
INSTANTIATE_TEST_SUITE_P(Workers, SessionTest, ::testing::Values(1, 2));

// ---- replies ----------------------------------------------------------------------------------------

TEST_P(SessionTest, ACallGetsItsReply) {
  Run(4, [](Cx cx, Client client, Server server) -> Task<void> {
    auto serve = [](Cx cx, Server server) -> Task<void> {
      while (auto call = co_await OrReturn(server.Next(cx))) {
        EXPECT_TRUE(std::move(call->reply).Reply(absl::StrCat(call->request, "!")));
      }
      co_return Ok();
    };
    cx.Spawn("serve", serve, std::move(server));
    for (int i = 0; i < 10; ++i) {
      std::string request = absl::StrCat(i);
      const std::string reply = co_await OrReturn(client.Call(cx, std::move(request)));
      EXPECT_EQ(reply, absl::StrCat(i, "!"));
    }
    co_return Ok();
  });
}

TEST_P(SessionTest, AFailureReachesTheCaller) {
  Run(4, [](Cx cx, Client client, Server server) -> Task<void> {
    auto calling = cx.Spawn("call", CallOnce, client, "a");
    auto call = co_await OrReturn(server.Next(cx));
    EXPECT_TRUE(std::move(call->reply).Fail(absl::NotFoundError("no row")));
    Outcome<std::string> reply = co_await OrReturn(calling.Join(cx));
    EXPECT_THAT(reply, IsError("no row"));
    co_return Ok();
  });
}

// By Abort, and with a frame that ended by a failure.
TEST_P(SessionTest, ACallerLearnsAtOnceThatItsReplyWasDropped) {
  Run(4, [](Cx cx, Client client, Server server) -> Task<void> {
    auto first = cx.Spawn("call", CallOnce, client, "a");
    auto call = co_await OrReturn(server.Next(cx));
    std::move(call->reply).Abort();
    Outcome<std::string> reply = co_await OrReturn(first.Join(cx));
    EXPECT_THAT(reply, IsErrorCode(absl::StatusCode::kAborted));
    EXPECT_THAT(reply, IsError("did not answer it"));
    auto second = cx.Spawn("call", CallOnce, client, "b");
    auto fail = [&server](Cx cx) -> Task<void> {
      auto call = co_await OrReturn(server.Next(cx));
      co_await OrReturn(Outcome<void>(absl::InternalError("bug")));
      std::move(call->reply).Reply("never");
      co_return Ok();
    };
    EXPECT_THAT(co_await fail(cx), IsError("bug"));
    reply = co_await OrReturn(second.Join(cx));
    EXPECT_THAT(reply, IsErrorCode(absl::StatusCode::kAborted));
    EXPECT_EQ(client.with_server(), 0u);
    co_return Ok();
  });
}

TEST(SessionVoidTest, AReplyMayBeNoMoreThanThatItIsDone) {
  TestRuntime rt(1);
  EXPECT_THAT(rt.Run([](Cx cx) -> Task<void> {
    auto [client, server] = MakeSession<int, void>(1);
    auto serve = [](Cx cx, SessionServer<int, void> server) -> Task<void> {
      auto call = co_await OrReturn(server.Next(cx));
      EXPECT_EQ(call->request, 7);
      EXPECT_TRUE(std::move(call->reply).Reply());
      co_return Ok();
    };
    cx.Spawn("serve", serve, std::move(server));
    co_await OrReturn(client.Call(cx, 7));
    co_return Ok();
  }),
              IsOk());
}

TEST_P(SessionTest, ARevokedReplyIsGivenBackAndItsCallerIsTold) {
  Run(1, [](Cx cx, Client client, Server server) -> Task<void> {
    auto calling = cx.Spawn("call", CallOnce, client, "a");
    std::optional<Incoming<std::string, std::string>> call;
    auto body = [&](Cx cx) -> Task<void> {
      call = co_await OrReturn(server.Next(cx));
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "hasty", body, FailFast(),
                                RegionOptions().WithDrain(Budget::Timeout(absl::ZeroDuration())));
    std::string value = Long("b");
    EXPECT_FALSE(std::move(call->reply).Reply(std::move(value)));
    EXPECT_EQ(value, Long("b"));
    Outcome<std::string> reply = co_await OrReturn(calling.Join(cx));
    EXPECT_THAT(reply, IsErrorCode(absl::StatusCode::kAborted));
    co_return Ok();
  });
}

// ---- the line ---------------------------------------------------------------------------------------

TEST_P(SessionTest, AtMostTheCapacityIsWithTheServerAndTheRestComesInOrder) {
  Run(2, [this](Cx cx, Client client, Server server) -> Task<void> {
    std::vector<TaskHandle<std::string>> calls;
    for (int i = 0; i < 4; ++i) {
      calls.push_back(cx.Spawn("call", CallOnce, client, absl::StrCat(i)));
      co_await OrReturn(rt.UntilParked(cx, "SessionClient::Call", i + 1));
    }
    EXPECT_EQ(client.waiting(), 4u);
    auto first = co_await OrReturn(server.Next(cx));
    auto second = co_await OrReturn(server.Next(cx));
    EXPECT_EQ(first->request, "0");
    EXPECT_EQ(second->request, "1");
    EXPECT_FALSE(server.TryNext(cx).has_value());
    EXPECT_EQ(client.waiting(), 2u);
    EXPECT_EQ(client.with_server(), 2u);
    auto taking = cx.Spawn("take", [&server](Cx cx) -> Task<std::string> {
      auto call = co_await OrReturn(server.Next(cx));
      std::move(call->reply).Reply("");
      co_return call->request;
    });
    co_await OrReturn(rt.UntilParked(cx, "SessionServer::Next"));
    std::move(second->reply).Reply("");  // makes room for who waits in Next
    Outcome<std::string> third = co_await OrReturn(taking.Join(cx));
    EXPECT_EQ(third.value(), "2");
    auto fourth = server.TryNext(cx);
    EXPECT_EQ(fourth->request, "3");
    std::move(fourth->reply).Reply("");
    std::move(first->reply).Reply("");
    for (auto& call : calls) EXPECT_THAT(co_await OrReturn(call.Join(cx)), IsOk());
    co_return Ok();
  });
}

TEST_P(SessionTest, ACallThatIsCancelledInLineIsNeverSeen) {
  Run(1, [this](Cx cx, Client client, Server server) -> Task<void> {
    auto call = [client](Cx cx) mutable -> Task<void> {
      std::string request = Long("cancelled");
      EXPECT_TRUE((co_await client.Call(cx, std::move(request))).is_cancelled());
      EXPECT_EQ(request, Long("cancelled"));
      co_return Ok();
    };
    auto cancelled = cx.Spawn("cancelled", call);
    co_await OrReturn(rt.UntilParked(cx, "SessionClient::Call"));
    auto other = cx.Spawn("other", CallOnce, client, "b");
    co_await OrReturn(rt.UntilParked(cx, "SessionClient::Call", 2));
    // From here on it is decided, though the task may not have run.
    cancelled.Cancel();
    auto next = server.TryNext(cx);
    EXPECT_EQ(next->request, "b");
    std::move(next->reply).Reply("");
    (void)co_await OrReturn(cancelled.Join(cx));
    EXPECT_FALSE(server.TryNext(cx).has_value());
    EXPECT_THAT(co_await OrReturn(other.Join(cx)), IsOk());
    co_return Ok();
  });
}

TEST_P(SessionTest, TheServerIsToldThatItsCallerHasGivenUp) {
  Run(1, [this](Cx cx, Client client, Server server) -> Task<void> {
    auto calling = cx.Spawn("call", CallOnce, client, "a");
    auto call = co_await OrReturn(server.Next(cx));
    EXPECT_FALSE(call->reply.abandoned());
    auto cancel = [&](Cx cx) -> Task<void> {
      co_await OrReturn(rt.UntilParked(cx, "Select"));
      calling.Cancel();
      co_return Ok();
    };
    cx.Spawn("cancel", cancel);
    auto abandoned = call->reply.Abandoned(cx);
    auto work = SleepUntil(cx, Instant::InfiniteFuture());
    auto won = co_await OrReturn(Select(cx, work, abandoned));
    EXPECT_EQ(won.index(), 1u);
    EXPECT_TRUE(call->reply.abandoned());
    co_await OrReturn(call->reply.Abandoned(cx));  // it stays so
    std::string value = Long("late");
    EXPECT_FALSE(std::move(call->reply).Reply(std::move(value)));
    EXPECT_EQ(value, Long("late"));
    EXPECT_TRUE((co_await OrReturn(calling.Join(cx))).is_cancelled());
    co_return Ok();
  });
}

// From the cancel on, though the caller may not have run.
TEST_P(SessionTest, AReplyToACallerThatIsBeingCancelledStaysWithTheServer) {
  Run(1, [](Cx cx, Client client, Server server) -> Task<void> {
    auto calling = cx.Spawn("call", CallOnce, client, "a");
    auto call = co_await OrReturn(server.Next(cx));
    std::string value = Long("late");
    calling.Cancel();
    EXPECT_FALSE(std::move(call->reply).Reply(std::move(value)));
    EXPECT_EQ(value, Long("late"));
    EXPECT_TRUE((co_await OrReturn(calling.Join(cx))).is_cancelled());
    co_return Ok();
  });
}

// ---- the ends ---------------------------------------------------------------------------------------

TEST_P(SessionTest, AClosedServerServesTheLineAndTakesNoMore) {
  Run(1, [this](Cx cx, Client client, Server server) -> Task<void> {
    auto first = cx.Spawn("call", CallOnce, client, "a");
    co_await OrReturn(rt.UntilParked(cx, "SessionClient::Call"));
    server.Close();
    std::string request = Long("b");
    EXPECT_THAT(co_await client.Call(cx, std::move(request)),
                IsErrorCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_EQ(request, Long("b"));
    auto call = co_await OrReturn(server.Next(cx));
    EXPECT_EQ(call->request, "a");
    auto none = co_await OrReturn(server.Next(cx));
    EXPECT_FALSE(none.has_value());
    std::move(call->reply).Reply("A");
    Outcome<std::string> reply = co_await OrReturn(first.Join(cx));
    EXPECT_EQ(reply.value(), "A");
    co_return Ok();
  });
}

// One call is with the server, whose task waits for room to take the next.
TEST_P(SessionTest, WhoWaitsInNextIsToldOfTheEndWhenTheLineHasGone) {
  Run(1, [this](Cx cx, Client client, Server server) -> Task<void> {
    auto first = cx.Spawn("call", CallOnce, client, "a");
    auto call = co_await OrReturn(server.Next(cx));
    auto second = cx.Spawn("call", CallOnce, client, "b");
    co_await OrReturn(rt.UntilParked(cx, "SessionClient::Call", 2));
    auto next = cx.Spawn("next", [&server](Cx cx) -> Task<bool> {
      auto call = co_await OrReturn(server.Next(cx));
      if (call.has_value()) std::move(call->reply).Abort();
      co_return call.has_value();
    });
    co_await OrReturn(rt.UntilParked(cx, "SessionServer::Next"));
    server.Close();
    second.Cancel();
    Outcome<bool> another = co_await OrReturn(next.Join(cx));
    EXPECT_FALSE(another.value());
    std::move(call->reply).Reply("");
    EXPECT_THAT(co_await OrReturn(first.Join(cx)), IsOk());
    co_return Ok();
  });
}

// More in line than are told under one lock. What the server has taken, it may still answer.
TEST_P(SessionTest, AServerThatGoesLeavesRequestsWithTheirCallers) {
  constexpr int kCalls = 80;
  Run(1, [this](Cx cx, Client client, Server first_server) -> Task<void> {
    std::optional<Server> server = std::move(first_server);
    auto taken = cx.Spawn("call", CallOnce, client, "a");
    auto call = co_await OrReturn(server->Next(cx));
    std::atomic<int> kept{0};
    for (int i = 0; i < kCalls; ++i) {
      auto refused = [client, &kept](Cx cx) mutable -> Task<void> {
        std::string request = Long("b");
        EXPECT_THAT(co_await client.Call(cx, std::move(request)),
                    IsErrorCode(absl::StatusCode::kFailedPrecondition));
        if (request == Long("b")) ++kept;
        co_return Ok();
      };
      cx.Spawn("refused", refused);
    }
    co_await OrReturn(rt.UntilParked(cx, "SessionClient::Call", kCalls + 1));
    server.reset();
    co_await OrReturn(Until(cx, [&] { return kept == kCalls; }));
    std::move(call->reply).Reply("A");
    Outcome<std::string> reply = co_await OrReturn(taken.Join(cx));
    EXPECT_EQ(reply.value(), "A");
    co_return Ok();
  });
}

TEST_P(SessionTest, NextEndsWithTheLastClient) {
  Run(1, [this](Cx cx, Client first_client, Server server) -> Task<void> {
    std::optional<Client> client = std::move(first_client);
    std::atomic<int> ended{0};
    for (int i = 0; i < 3; ++i) {
      cx.Spawn("next", [&](Cx cx) -> Task<void> {
        auto call = co_await OrReturn(server.Next(cx));
        EXPECT_FALSE(call.has_value());
        ++ended;
        co_return Ok();
      });
    }
    co_await OrReturn(rt.UntilParked(cx, "SessionServer::Next", 3));
    client.reset();
    co_await OrReturn(Until(cx, [&] { return ended == 3; }));
    co_return Ok();
  });
}

// ---- threads ----------------------------------------------------------------------------------------

TEST(SessionThreadsTest, PlainThreadsCallAndServe) {
  auto ends = MakeSession<int, int>(2);
  std::thread thread([server = std::move(ends.second)]() mutable {
    while (true) {
      auto call = server.BlockingNext();
      if (!call->has_value()) break;
      const int request = (*call)->request;
      std::move((*call)->reply).Reply(request + 1);
    }
  });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ends.first.BlockingCall(int{i}).value(), i + 1);
  {
    auto gone = std::move(ends.first);
  }
  thread.join();
}

TEST(SessionThreadsTest, ATimeoutTakesTheCallOutOfTheLineOrGivesItUp) {
  auto [client, server] = MakeSession<std::string, int>(1);
  EXPECT_THAT(server.BlockingNext(absl::Milliseconds(1)), IsCancelled(CancelKind::kDeadline));
  std::string request = Long("a");
  EXPECT_THAT(client.BlockingCall(std::move(request), absl::Milliseconds(1)),
              IsCancelled(CancelKind::kDeadline));
  EXPECT_EQ(request, Long("a"));
  EXPECT_EQ(client.waiting(), 0u);
  std::thread thread([&server = server] {
    auto call = server.BlockingNext();
    while (!(*call)->reply.abandoned()) std::this_thread::yield();
    EXPECT_FALSE(std::move((*call)->reply).Reply(1));
  });
  EXPECT_THAT(client.BlockingCall(std::move(request), absl::Milliseconds(20)),
              IsCancelled(CancelKind::kDeadline));
  while (client.with_server() == 0 && !request.empty()) {
    (void)client.BlockingCall(std::move(request), absl::Milliseconds(20));
  }
  thread.join();
  EXPECT_EQ(client.with_server(), 0u);
}

// Tasks and a thread call; two tasks and a thread serve; callers are cancelled at any moment. Each call that ends Ok
// has its own reply, and nothing is left.
TEST(SessionStressTest, EachReplyGoesToItsOwnCaller) {
  constexpr int kEach = 1000;
  using Number = std::unique_ptr<int>;
  TestRuntime rt(2);
  auto ends = std::make_optional(MakeSession<Number, Number>(3));
  SessionServer<Number, Number> server = std::move(ends->second);
  SessionClient<Number, Number> metrics = ends->first;
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  threads.emplace_back([&server] {
    while (true) {
      auto call = server.BlockingNext();
      if (!call->has_value()) break;
      Number request = std::move((*call)->request);
      (void)std::move((*call)->reply).Reply(std::make_unique<int>(2 * *request));
    }
  });
  std::atomic<bool> thread_has_called{false};
  threads.emplace_back([&thread_has_called, client = ends->first]() mutable {
    for (int i = 0; i < kEach; ++i) {
      auto reply = client.BlockingCall(std::make_unique<int>(i));
      if (reply.is_error()) continue;  // aborted by 'drop'
      EXPECT_THAT(reply, IsOk());
      EXPECT_EQ(**reply, 2 * i);
    }
    thread_has_called = true;
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto serve = [&server](Cx cx) -> Task<void> {
      for (int served = 0;; ++served) {
        auto call = co_await OrReturn(server.Next(cx));
        if (!call.has_value()) co_return Ok();
        if (served % 11 == 0) {
          std::move(call->reply).Abort();
          continue;
        }
        if (served % 3 == 0) co_await OrReturn(Yield(cx));
        (void)std::move(call->reply).Reply(std::make_unique<int>(2 * *call->request));
      }
    };
    for (int i = 0; i < 2; ++i) cx.Spawn("serve", serve);
    auto call = [&answered](Cx cx, SessionClient<Number, Number> client) -> Task<void> {
      for (int i = 0; i < kEach; ++i) {
        auto attempt = [&](Cx cx) -> Task<void> {
          if (i % 2 == 0) {
            auto cancel = [](Cx cx) -> Task<void> {
              cx.Ref().Cancel();
              co_return Ok();
            };
            cx.Spawn("cancel", cancel);
          }
          Number request = std::make_unique<int>(i);
          Outcome<Number> reply = co_await client.Call(cx, std::move(request));
          if (reply.ok()) {
            EXPECT_EQ(**reply, 2 * i);
            ++answered;
          }
          co_return Ok();
        };
        (void)co_await Region::Open(cx, "attempt", attempt);
      }
      co_return Ok();
    };
    std::vector<TaskHandle<void>> calls;
    for (int i = 0; i < 3; ++i) calls.push_back(cx.Spawn("call", call, ends->first));
    ends.reset();
    for (TaskHandle<void>& call : calls) EXPECT_THAT(co_await OrReturn(call.Join(cx)), IsOk());
    co_await OrReturn(Until(cx, [&] { return thread_has_called.load(); }));
    server.Close();
    co_return Ok();
  }),
              IsOk());
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(answered, 0);
  EXPECT_EQ(metrics.waiting(), 0u);
  EXPECT_EQ(metrics.with_server(), 0u);
}

// ---- bad use ----------------------------------------------------------------------------------------

TEST(SessionDeathTest, AnEndThatWasMovedFrom) {
  auto [client, server] = MakeSession<int, int>(1);
  SessionServer<int, int> elsewhere = std::move(server);
  EXPECT_DEATH(server.Close(), "a SessionServer was used after it had been moved from");
  SessionClient<int, int> other = std::move(client);
  EXPECT_DEATH(client.waiting(), "a SessionClient was used after it had been moved from");
}

TEST(SessionDeathTest, CapacityZero) {
  EXPECT_DEATH((void)(MakeSession<int, int>(0)), "MakeSession: capacity 0");
}

// A root region whose body is body(cx, rt, client, server).
template <class Body>
void RunWithEnds(Body body) {
  TestRuntime rt(1);
  auto ends = MakeSession<int, int>(1);
  std::optional<SessionClient<int, int>> client = std::move(ends.first);
  std::optional<SessionServer<int, int>> server = std::move(ends.second);
  (void)rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("call", [&](Cx cx) -> Task<void> {
      (void)co_await client->Call(cx, 1);
      co_return Ok();
    });
    co_return co_await body(cx, rt, client, server);
  });
}

TEST(SessionDeathTest, AServerThatIsDestroyedWhileATaskWaitsInNext) {
  const auto body = [](Cx cx, TestRuntime& rt, auto&, auto& server) -> Task<void> {
    auto call = co_await OrReturn(server->Next(cx));
    cx.Spawn("wait", [&](Cx cx) -> Task<void> {
      (void)co_await OrReturn(server->Next(cx));
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "SessionServer::Next"));
    server.reset();
    std::move(call->reply).Abort();
    co_return Ok();
  };
  EXPECT_DEATH(
      RunWithEnds(body),
      "the SessionServer is destroyed while a task waits in SessionServer::Next \\(1 in all");
}

TEST(SessionDeathTest, TheLastClientThatIsDestroyedWhileATaskCalls) {
  const auto body = [](Cx cx, TestRuntime& rt, auto& client, auto&) -> Task<void> {
    co_await OrReturn(rt.UntilParked(cx, "SessionClient::Call"));
    client.reset();
    co_return Ok();
  };
  EXPECT_DEATH(
      RunWithEnds(body),
      "the last SessionClient is destroyed while a task waits in SessionClient::Call \\(1 in all");
}

TEST(SessionDeathTest, AReplyThatIsForgotten) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  const auto body = [](Cx cx, TestRuntime&, auto&, auto& server) -> Task<void> {
    {
      auto call = co_await OrReturn(server->Next(cx));
    }
    co_return Ok();
  };
  EXPECT_DEATH(
      RunWithEnds(body),
      "permit leaked: ReplyPermit #[0-9]+, reserved at .*session_test.cc:[0-9]+ by task [0-9]+ "
      "'main' .*Reply, Fail, Complete or Abort it");
}

TEST(SessionDeathTest, AskedWhetherItIsAbandonedAfterTheReply) {
  const auto body = [](Cx cx, TestRuntime&, auto&, auto& server) -> Task<void> {
    auto call = co_await OrReturn(server->Next(cx));
    std::move(call->reply).Reply(1);
    (void)call->reply.abandoned();
    co_return Ok();
  };
  EXPECT_DEATH(RunWithEnds(body), "ReplyPermit::abandoned: the permit was consumed before");
}

TEST(SessionDeathTest, AReplyWhileAnotherTaskWaitsForItsCallerToGiveUp) {
  const auto body = [](Cx cx, TestRuntime& rt, auto&, auto& server) -> Task<void> {
    auto call = co_await OrReturn(server->Next(cx));
    cx.Spawn("watch", [&](Cx cx) -> Task<void> {
      (void)co_await call->reply.Abandoned(cx);
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "ReplyPermit::Abandoned"));
    std::move(call->reply).Reply(1);
    co_return Ok();
  };
  EXPECT_DEATH(RunWithEnds(body),
               "a ReplyPermit is used up while task [0-9]+ waits in its Abandoned");
}

// ---- the example of the header ----------------------------------------------------------------------

TEST(SessionExampleTest, TheExample) {
  struct Key {
    explicit Key(int number) : number(number) {}
    int number;
  };
  struct Row {
    explicit Row(int number) : number(number) {}
    int number;
  };
  const auto Find = [](const Key& key) { return Row(key.number * 6); };
  TestRuntime rt(2);
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [client, server] = MakeSession<Key, Row>(16);
    auto serve = [&](Cx cx, SessionServer<Key, Row> server) -> Task<void> {
      while (auto call = co_await OrReturn(server.Next(cx))) {
        std::move(call->reply).Reply(Find(call->request));
      }
      co_return Ok();
    };
    cx.Spawn("serve", serve, std::move(server));
    Row row = co_await OrReturn(client.Call(cx, Key(7)));
    EXPECT_EQ(row.number, 42);
    co_return Ok();
  }),
              IsOk());
}

}  // namespace
}  // namespace quiesce

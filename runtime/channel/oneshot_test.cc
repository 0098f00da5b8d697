#include "quiesce/runtime/channel/oneshot.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::IsOk;
using rules::TestRuntime;

// ---- without a runtime ------------------------------------------------------------------------------

TEST(OneshotTest, TheValueIsReceivedOnce) {
  auto [sender, receiver] = MakeOneshot<std::string>();
  EXPECT_EQ(receiver.TryReceive(), std::nullopt);
  EXPECT_FALSE(receiver.ended());
  EXPECT_EQ(std::move(sender).Send("hello"), std::nullopt);
  EXPECT_FALSE(receiver.ended());
  EXPECT_EQ(receiver.TryReceive(), "hello");
  EXPECT_TRUE(receiver.ended());
  EXPECT_EQ(receiver.BlockingReceive().value(), std::nullopt);
}

TEST(OneshotTest, ADroppedSenderIsTheEnd) {
  auto [sender, receiver] = MakeOneshot<int>();
  {
    OneshotSender<int> dropped = std::move(sender);
  }
  EXPECT_TRUE(receiver.ended());
  EXPECT_EQ(receiver.BlockingReceive().value(), std::nullopt);
}

TEST(OneshotTest, AValueThatCannotArriveIsGivenBack) {
  auto closed = MakeOneshot<std::unique_ptr<int>>();
  closed.receiver.Close();
  EXPECT_TRUE(closed.sender.closed());
  std::optional<std::unique_ptr<int>> back =
      std::move(closed.sender).Send(std::make_unique<int>(1));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(**back, 1);
  EXPECT_TRUE(closed.receiver.ended());

  auto gone = MakeOneshot<std::unique_ptr<int>>();
  {
    OneshotReceiver<std::unique_ptr<int>> dropped = std::move(gone.receiver);
  }
  EXPECT_TRUE(gone.sender.closed());
  back = std::move(gone.sender).Send(std::make_unique<int>(2));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(**back, 2);
}

TEST(OneshotTest, AValueThatWasSentBeforeCloseCanBeReceived) {
  auto [sender, receiver] = MakeOneshot<int>();
  EXPECT_EQ(std::move(sender).Send(1), std::nullopt);
  receiver.Close();
  EXPECT_FALSE(receiver.ended());
  EXPECT_EQ(receiver.TryReceive(), 1);
  EXPECT_TRUE(receiver.ended());
}

TEST(OneshotTest, WhoeverGoesLastFreesItAndTheValue) {
  std::atomic<int> alive{0};
  const size_t memory = GetSlabStats().live_bytes;
  {
    auto unread = MakeOneshot<std::unique_ptr<rules::Witness>>();
    EXPECT_EQ(std::move(unread.sender).Send(std::make_unique<rules::Witness>(&alive)),
              std::nullopt);
    auto unsent = MakeOneshot<int>();
    auto closed = MakeOneshot<int>();
    closed.receiver.Close();
    auto receiver_first = MakeOneshot<int>();
    {
      OneshotReceiver<int> dropped = std::move(receiver_first.receiver);
    }
    auto taken = MakeOneshot<int>();
    EXPECT_EQ(std::move(taken.sender).Send(1), std::nullopt);
    EXPECT_EQ(taken.receiver.TryReceive(), 1);
    auto assigned = MakeOneshot<int>();
    assigned.sender = std::move(unsent.sender);
    assigned.receiver = std::move(unsent.receiver);
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(GetSlabStats().live_bytes, memory);
}

TEST(OneshotTest, AThreadWaitsBlockingAndGivesUpInTime) {
  auto [sender, receiver] = MakeOneshot<int>();
  EXPECT_EQ(receiver.BlockingReceive(absl::Milliseconds(1)).cancel_reason().kind(),
            CancelKind::kDeadline);
  std::thread answers([sender = std::move(sender)]() mutable {
    EXPECT_EQ(std::move(sender).Send(1), std::nullopt);
  });
  EXPECT_EQ(receiver.BlockingReceive().value(), 1);
  answers.join();
}

// ---- with tasks -------------------------------------------------------------------------------------

class OneshotWorkersTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, OneshotWorkersTest, ::testing::Values(1, 2));

TEST_P(OneshotWorkersTest, AParkedReceiverGetsTheValueOrTheEnd) {
  TestRuntime rt(GetParam());
  for (bool send : {true, false}) {
    Oneshot<int> channel = MakeOneshot<int>();
    auto receive = [&](Cx cx) -> Task<std::optional<int>> {
      co_return co_await channel.receiver.Receive(cx);
    };
    EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto receiving = cx.Spawn("receiver", receive);
      co_await OrReturn(rt.UntilParked(cx, "OneshotReceiver::Receive"));
      OneshotSender<int> sender = std::move(channel.sender);
      if (send) {
        EXPECT_EQ(std::move(sender).Send(7), std::nullopt);
      } else {
        OneshotSender<int> dropped = std::move(sender);
      }
      Outcome<std::optional<int>> got = co_await OrReturn(receiving.Join(cx));
      EXPECT_EQ(got.value(), send ? std::optional<int>(7) : std::nullopt);
      co_return Ok();
    }),
                IsOk());
  }
}

TEST(OneshotTest, ACancelledReceiveTookNothingAndCanBeMadeAgain) {
  TestRuntime rt(1);
  Oneshot<int> channel = MakeOneshot<int>();
  auto receive = [&](Cx cx) -> Task<void> {
    (void)co_await OrReturn(channel.receiver.Receive(cx));
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto receiving = cx.Spawn("receiver", receive);
    co_await OrReturn(rt.UntilParked(cx, "OneshotReceiver::Receive"));
    // Cancelled, but it has not run since: the send passes it over.
    receiving.Cancel();
    EXPECT_EQ(std::move(channel.sender).Send(7), std::nullopt);
    Outcome<void> ended = co_await OrReturn(receiving.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    EXPECT_EQ(co_await OrReturn(channel.receiver.Receive(cx)), 7);
    co_return Ok();
  }),
              IsOk());
}

// Both ends wait at once.
TEST_P(OneshotWorkersTest, ASenderThatWaitsForTheReceiversEndStopsItsWork) {
  TestRuntime rt(GetParam());
  Oneshot<int> channel = MakeOneshot<int>();
  auto work = [&](Cx cx) -> Task<void> {
    co_await OrReturn(channel.sender.Closed(cx));
    EXPECT_TRUE(channel.sender.closed());
    EXPECT_EQ(std::move(channel.sender).Send(7), 7);
    co_return Ok();
  };
  auto receive = [](Cx cx, OneshotReceiver<int> receiver) -> Task<void> {
    (void)co_await OrReturn(receiver.Receive(cx));
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto receiving = cx.Spawn("receiver", receive, std::move(channel.receiver));
    auto working = cx.Spawn("worker", work);
    co_await OrReturn(rt.UntilParked(cx, "OneshotReceiver::Receive"));
    co_await OrReturn(rt.UntilParked(cx, "OneshotSender::Closed"));
    receiving.Cancel();
    (void)co_await OrReturn(receiving.Join(cx));
    Outcome<void> worked = co_await OrReturn(working.Join(cx));
    EXPECT_THAT(worked, IsOk());
    co_return Ok();
  }),
              IsOk());
}

TEST(OneshotTest, AsAnArmOfASelect) {
  TestRuntime rt;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeOneshot<int>();
    auto timed_out =
        co_await OrReturn(Select(cx, receiver.Receive(cx), Sleep(cx, absl::Milliseconds(1))));
    EXPECT_EQ(timed_out.index(), 1u);
    EXPECT_EQ(std::move(sender).Send(7), std::nullopt);
    auto won = co_await OrReturn(Select(cx, receiver.Receive(cx), Sleep(cx, absl::Hours(1))));
    EXPECT_EQ(std::get<0>(won).value(), 7);
    co_return Ok();
  }),
              IsOk());
}

// Threads answer tasks, and either may give up first.
TEST_P(OneshotWorkersTest, SendAndCancelRaceAndTheValueIsAtOneEnd) {
  TestRuntime rt(GetParam());
  constexpr int kRounds = 300;
  std::vector<Oneshot<std::unique_ptr<int>>> channels(kRounds);
  std::atomic<int> received{0};
  std::atomic<int> given_back{0};
  std::atomic<int> ready{0};
  std::thread answers([&] {
    for (int i = 0; i < kRounds; ++i) {
      rules::SpinUntil([&] { return ready.load() > i; });
      auto& sender = channels[static_cast<size_t>(i)].sender;
      if (std::move(sender).Send(std::make_unique<int>(i)).has_value()) ++given_back;
    }
  });
  auto receive = [&](Cx cx, OneshotReceiver<std::unique_ptr<int>> receiver) -> Task<void> {
    std::optional<std::unique_ptr<int>> got = co_await OrReturn(receiver.Receive(cx));
    EXPECT_TRUE(got.has_value() && *got != nullptr);
    ++received;
    co_return Ok();
  };
  int dropped_unread = 0;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < kRounds; ++i) {
      auto receiving =
          cx.Spawn("receiver", receive, std::move(channels[static_cast<size_t>(i)].receiver));
      co_await OrReturn(Yield(cx));
      ++ready;
      receiving.Cancel();
      Outcome<void> ended = co_await OrReturn(receiving.Join(cx));
      if (ended.is_cancelled()) ++dropped_unread;
    }
    co_return Ok();
  }),
              IsOk());
  answers.join();
  EXPECT_EQ(received + dropped_unread, kRounds);
  EXPECT_LE(given_back, dropped_unread);
}

// ---- bad use ----------------------------------------------------------------------------------------

TEST(OneshotDeathTest, UsedTwice) {
  auto [sender, receiver] = MakeOneshot<int>();
  EXPECT_EQ(std::move(sender).Send(1), std::nullopt);
  EXPECT_DEATH((void)std::move(sender).Send(2),
               "a OneshotSender was used after it had been moved from, or consumed");
}

TEST(OneshotDeathTest, AnEndDestroyedUnderItsWait) {
  const auto destroy = [](bool sending, bool granted) {
    TestRuntime rt(1);
    std::optional<OneshotSender<int>> sender;
    std::optional<OneshotReceiver<int>> receiver;
    {
      Oneshot<int> channel = MakeOneshot<int>();
      sender.emplace(std::move(channel.sender));
      receiver.emplace(std::move(channel.receiver));
    }
    auto wait = [&](Cx cx) -> Task<void> {
      if (sending) {
        (void)co_await OrReturn(sender->Closed(cx));
      } else {
        (void)co_await OrReturn(receiver->Receive(cx));
      }
      co_return Ok();
    };
    (void)rt.Run([&](Cx cx) -> Task<void> {
      cx.Spawn("waiting", wait);
      co_await OrReturn(
          rt.UntilParked(cx, sending ? "OneshotSender::Closed" : "OneshotReceiver::Receive"));
      if (sending) {
        if (granted) receiver.reset();
        sender.reset();
      } else {
        if (granted) sender.reset();
        receiver.reset();
      }
      co_return Ok();
    });
  };
  for (bool granted : {false, true}) {
    EXPECT_DEATH(destroy(true, granted),
                 "a OneshotSender was destroyed, or consumed, while task [0-9]+ 'waiting' waits in "
                 "OneshotSender::Closed on it");
    EXPECT_DEATH(destroy(false, granted),
                 "a OneshotReceiver was destroyed, or consumed, while task [0-9]+ 'waiting' waits "
                 "in OneshotReceiver::Receive on it");
  }
}

TEST(OneshotDeathTest, TwoTasksThatReceive) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        Oneshot<int> channel = MakeOneshot<int>();
        auto receive = [&](Cx cx) -> Task<void> {
          (void)co_await OrReturn(channel.receiver.Receive(cx));
          co_return Ok();
        };
        (void)rt.Run([&](Cx cx) -> Task<void> {
          cx.Spawn("one", receive);
          cx.Spawn("another", receive);
          co_return Ok();
        });
      },
      "OneshotReceiver::Receive by task [0-9]+ while task [0-9]+ waits");
}

TEST(OneshotDeathTest, BlockingInATask) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        (void)rt.Run([&](Cx) -> Task<void> {
          Oneshot<int> channel = MakeOneshot<int>();
          (void)channel.receiver.BlockingReceive();
          co_return Ok();
        });
      },
      "OneshotReceiver::BlockingReceive was called in a task, whose worker it would block");
}

}  // namespace
}  // namespace quiesce

#include "quiesce/runtime/channel/mpsc.h"

#include <atomic>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::Forever;
using rules::IsErrorCode;
using rules::IsOk;
using rules::Live;
using rules::SpinUntil;
using rules::TestRuntime;
using rules::Until;
using ::testing::ElementsAre;

// A value that says when it is destroyed, and cannot be copied.
using Counted = std::unique_ptr<rules::Witness>;
Counted Count(std::atomic<int>* alive) { return std::make_unique<rules::Witness>(alive); }

// ---- without a runtime ------------------------------------------------------------------------------

TEST(MpscTest, TrySendFillsItAndTryReceiveEmptiesItInOrder) {
  auto [sender, receiver] = MakeMpsc<int>(2);
  EXPECT_EQ(sender.capacity(), 2u);
  EXPECT_EQ(sender.TrySend(1), TrySendResult::kSent);
  EXPECT_EQ(sender.TrySend(2), TrySendResult::kSent);
  EXPECT_EQ(sender.TrySend(3), TrySendResult::kFull);
  EXPECT_EQ(receiver.size(), 2u);
  EXPECT_EQ(receiver.TryReceive(), 1);
  EXPECT_EQ(sender.TrySend(4), TrySendResult::kSent);
  EXPECT_EQ(receiver.TryReceive(), 2);
  EXPECT_EQ(receiver.TryReceive(), 4);
  EXPECT_EQ(receiver.TryReceive(), std::nullopt);
  EXPECT_FALSE(receiver.ended());
}

TEST(MpscTest, ASendThatDoesNotSucceedHasNotMovedTheValue) {
  auto [sender, receiver] = MakeMpsc<std::unique_ptr<int>>(1);
  auto value = std::make_unique<int>(7);
  EXPECT_EQ(sender.TrySend(std::make_unique<int>(1)), TrySendResult::kSent);
  EXPECT_EQ(sender.TrySend(std::move(value)), TrySendResult::kFull);
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(sender.BlockingSend(std::move(value), absl::Milliseconds(1)).cancel_reason().kind(),
            CancelKind::kDeadline);
  ASSERT_NE(value, nullptr);
  receiver.Close();
  EXPECT_EQ(sender.TrySend(std::move(value)), TrySendResult::kClosed);
  EXPECT_THAT(sender.BlockingSend(std::move(value)),
              IsErrorCode(absl::StatusCode::kFailedPrecondition));
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(*value, 7);
}

TEST(MpscTest, EndsForTheReceiverAfterTheLastSenderAndTheLastMessage) {
  auto [sender, receiver] = MakeMpsc<int>(4);
  {
    Sender<int> copy = sender;
    Sender<int> moved = std::move(sender);
    EXPECT_EQ(copy.TrySend(1), TrySendResult::kSent);
    moved = copy;  // the one it was is dropped
    EXPECT_FALSE(receiver.ended());
  }
  EXPECT_FALSE(receiver.ended());
  EXPECT_EQ(receiver.TryReceive(), 1);
  EXPECT_TRUE(receiver.ended());
  EXPECT_EQ(receiver.BlockingReceive().value(), std::nullopt);
  EXPECT_EQ(receiver.BlockingReceive().value(), std::nullopt);
}

TEST(MpscTest, AfterCloseWhatIsQueuedIsStillReceived) {
  auto [sender, receiver] = MakeMpsc<int>(4);
  EXPECT_EQ(sender.TrySend(1), TrySendResult::kSent);
  receiver.Close();
  EXPECT_TRUE(sender.closed());
  EXPECT_EQ(sender.TrySend(2), TrySendResult::kClosed);
  EXPECT_FALSE(receiver.ended());
  EXPECT_EQ(receiver.TryReceive(), 1);
  EXPECT_TRUE(receiver.ended());
}

TEST(MpscTest, ADestroyedReceiverDestroysWhatIsQueued) {
  std::atomic<int> alive{0};
  std::optional<Mpsc<Counted>> channel(MakeMpsc<Counted>(4));
  Sender<Counted> sender = channel->sender;
  EXPECT_EQ(sender.TrySend(Count(&alive)), TrySendResult::kSent);
  EXPECT_EQ(sender.TrySend(Count(&alive)), TrySendResult::kSent);
  EXPECT_EQ(alive, 2);
  channel.reset();
  EXPECT_EQ(alive, 0);
  EXPECT_TRUE(sender.closed());
  EXPECT_EQ(sender.size(), 0u);
}

// A message that holds an end of its own channel, as replies to itself would.
TEST(MpscTest, AMessageMayHoldTheLastSenderOfItsChannel) {
  struct Loop {
    explicit Loop(Sender<Loop> sender) : sender(std::move(sender)) {}
    Sender<Loop> sender;
  };
  const size_t memory = GetSlabStats().live_bytes;
  {
    auto [sender, receiver] = MakeMpsc<Loop>(1);
    Loop loop(sender);
    EXPECT_EQ(sender.TrySend(std::move(loop)), TrySendResult::kSent);
    Sender<Loop> dropped = std::move(sender);
  }
  EXPECT_EQ(GetSlabStats().live_bytes, memory);
}

TEST(MpscTest, AnUnboundedOneIsNeverFull) {
  const size_t memory = GetSlabStats().live_bytes;
  {
    auto [sender, receiver] = MakeUnboundedMpsc<std::string>();
    for (int i = 0; i < 10'000; ++i) {
      ASSERT_EQ(sender.TrySend(std::to_string(i)), TrySendResult::kSent);
    }
    for (int i = 0; i < 9'000; ++i) ASSERT_EQ(receiver.TryReceive(), std::to_string(i));
  }
  EXPECT_EQ(GetSlabStats().live_bytes, memory);
}

TEST(MpscTest, ThreadsSendAndReceiveBlocking) {
  auto [sender, receiver] = MakeMpsc<int>(2);
  std::thread producer([sender = std::move(sender)] {
    for (int i = 0; i < 1000; ++i) EXPECT_THAT(sender.BlockingSend(int{i}), IsOk());
  });
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(receiver.BlockingReceive().value(), i);
  EXPECT_EQ(receiver.BlockingReceive().value(), std::nullopt);
  producer.join();
}

TEST(MpscTest, ABlockingReceiveGivesUpInTimeWithNothingTaken) {
  auto [sender, receiver] = MakeMpsc<int>(2);
  EXPECT_EQ(receiver.BlockingReceive(absl::Milliseconds(1)).cancel_reason().kind(),
            CancelKind::kDeadline);
  EXPECT_EQ(sender.TrySend(1), TrySendResult::kSent);
  EXPECT_EQ(receiver.BlockingReceive(absl::Milliseconds(1)).value(), 1);
}

// ---- send -------------------------------------------------------------------------------------------

class MpscWorkersTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, MpscWorkersTest, ::testing::Values(1, 2));

// The example of the header, and of README.md.
struct Job {
  explicit Job(int number) : number(number) {}
  int number;
};

Task<void> Produce(Cx cx, Sender<Job> sender) {
  for (int i = 0; i < 100; ++i) {
    co_await OrReturn(sender.Send(cx, Job(i)));
  }
  co_return Ok();
}

Task<void> RunAll(Cx cx) {
  auto [sender, receiver] = MakeMpsc<Job>(64);
  cx.Spawn("producer", Produce, std::move(sender));
  int expected = 0;
  while (std::optional<Job> job = co_await OrReturn(receiver.Receive(cx))) {
    EXPECT_EQ(job->number, expected++);
  }
  EXPECT_EQ(expected, 100);
  co_return Ok();
}

TEST_P(MpscWorkersTest, TheExampleOfTheHeader) {
  TestRuntime rt(GetParam());
  EXPECT_THAT(rt.Run(RunAll), IsOk());
}

TEST_P(MpscWorkersTest, EachMessageArrivesOnceAndInTheOrderOfItsSender) {
  TestRuntime rt(GetParam());
  auto produce = [](Cx cx, Sender<int> sender, int first) -> Task<void> {
    for (int i = 0; i < 1000; ++i) co_await OrReturn(sender.Send(cx, first + i));
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Mpsc<int> channel = MakeMpsc<int>(3);
    for (int i = 0; i < 4; ++i) cx.Spawn("producer", produce, channel.sender, i * 1000);
    {
      Sender<int> dropped = std::move(channel.sender);
    }
    std::vector<int> next = {0, 1000, 2000, 3000};
    while (std::optional<int> got = co_await OrReturn(channel.receiver.Receive(cx))) {
      EXPECT_EQ(*got, next[static_cast<size_t>(*got / 1000)]++);
    }
    EXPECT_THAT(next, ElementsAre(1000, 2000, 3000, 4000));
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscSendTest, WaitingSendersAreServedInOrderAndTrySendDoesNotPass) {
  TestRuntime rt(1);
  Mpsc<int> channel = MakeMpsc<int>(1);
  auto send = [&](Cx cx, int value) -> Task<void> {
    co_await OrReturn(channel.sender.Send(cx, std::move(value)));
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_EQ(channel.sender.TrySend(0), TrySendResult::kSent);
    for (int i = 1; i <= 3; ++i) {
      cx.Spawn("sender", send, int{i});
      co_await OrReturn(rt.UntilParked(cx, "Sender::Send", i));
    }
    for (int i = 0; i <= 3; ++i) {
      EXPECT_EQ(channel.receiver.TryReceive(), i);
      // The slot is the next waiting sender's, who need not have run for that.
      EXPECT_EQ(channel.sender.TrySend(9), i < 3 ? TrySendResult::kFull : TrySendResult::kSent);
    }
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscSendTest, CancelWhileFullLeavesTheValueAndTheNextInLineIsServed) {
  TestRuntime rt(1);
  Mpsc<std::unique_ptr<int>> channel = MakeMpsc<std::unique_ptr<int>>(1);
  std::vector<std::unique_ptr<int>> values;
  values.push_back(std::make_unique<int>(1));
  values.push_back(std::make_unique<int>(2));
  auto send = [&](Cx cx, size_t i) -> Task<void> {
    co_await OrReturn(channel.sender.Send(cx, std::move(values[i])));
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_EQ(channel.sender.TrySend(std::make_unique<int>(0)), TrySendResult::kSent);
    auto first = cx.Spawn("first", send, size_t{0});
    co_await OrReturn(rt.UntilParked(cx, "Sender::Send", 1));
    auto second = cx.Spawn("second", send, size_t{1});
    co_await OrReturn(rt.UntilParked(cx, "Sender::Send", 2));
    // Cancelled, but it has not run since: the receive passes it over.
    first.Cancel();
    EXPECT_EQ(*channel.receiver.TryReceive().value(), 0);
    Outcome<void> first_ended = co_await OrReturn(first.Join(cx));
    EXPECT_TRUE(first_ended.is_cancelled());
    EXPECT_NE(values[0], nullptr);
    Outcome<void> second_ended = co_await OrReturn(second.Join(cx));
    EXPECT_THAT(second_ended, IsOk());
    EXPECT_EQ(*channel.receiver.TryReceive().value(), 2);
    co_return Ok();
  }),
              IsOk());
}

TEST_P(MpscWorkersTest, CloseWakesWaitingSendersWhoKeepTheirValues) {
  TestRuntime rt(GetParam());
  Mpsc<std::unique_ptr<int>> channel = MakeMpsc<std::unique_ptr<int>>(1);
  std::atomic<int> refused{0};
  auto send = [&](Cx cx) -> Task<void> {
    auto value = std::make_unique<int>(1);
    Outcome<void> sent = co_await channel.sender.Send(cx, std::move(value));
    EXPECT_THAT(sent, IsErrorCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_NE(value, nullptr);
    Outcome<SendPermit<std::unique_ptr<int>>> reserved = co_await channel.sender.Reserve(cx);
    EXPECT_THAT(reserved, IsErrorCode(absl::StatusCode::kFailedPrecondition));
    ++refused;
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_EQ(channel.sender.TrySend(std::make_unique<int>(0)), TrySendResult::kSent);
    for (int i = 0; i < 5; ++i) cx.Spawn("sender", send);
    co_await OrReturn(rt.UntilParked(cx, "Sender::Send", 5));
    channel.receiver.Close();
    EXPECT_EQ(*channel.receiver.TryReceive().value(), 0);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(refused, 5);
  EXPECT_TRUE(channel.receiver.ended());
}

TEST_P(MpscWorkersTest, AThreadAndATaskStandInOneLine) {
  TestRuntime rt(GetParam());
  Mpsc<int> to_thread = MakeMpsc<int>(1);
  Mpsc<int> to_task = MakeMpsc<int>(1);
  std::thread echo(
      [receiver = std::move(to_thread.receiver), sender = std::move(to_task.sender)]() mutable {
        while (std::optional<int> got = receiver.BlockingReceive().value()) {
          EXPECT_THAT(sender.BlockingSend(*got + 1), IsOk());
        }
      });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Sender<int> sender = std::move(to_thread.sender);
    for (int i = 0; i < 500; ++i) {
      co_await OrReturn(sender.Send(cx, int{i}));
      EXPECT_EQ(co_await OrReturn(to_task.receiver.Receive(cx)), i + 1);
    }
    co_return Ok();
  }),
              IsOk());
  echo.join();
}

// ---- reserve ----------------------------------------------------------------------------------------

TEST(MpscReserveTest, CancelWhileFullLeavesCapacityForOthers) {
  TestRuntime rt(1);
  Mpsc<int> channel = MakeMpsc<int>(1);
  rules::Gate tried;
  auto reserve = [&](Cx cx) -> Task<void> {
    SendPermit<int> permit = co_await OrReturn(channel.sender.Reserve(cx));
    co_await OrReturn(Pass(cx, tried));
    EXPECT_EQ(std::move(permit).Send(2), std::nullopt);
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    SendPermit<int> permit = co_await OrReturn(channel.sender.Reserve(cx));
    EXPECT_EQ(channel.sender.reserved(), 1u);
    auto first = cx.Spawn("first", reserve);
    co_await OrReturn(rt.UntilParked(cx, "Sender::Reserve", 1));
    auto second = cx.Spawn("second", reserve);
    co_await OrReturn(rt.UntilParked(cx, "Sender::Reserve", 2));
    first.Cancel();
    std::move(permit).Abort();
    EXPECT_EQ(channel.sender.reserved(), 1u);  // it is the second's already
    EXPECT_EQ(channel.sender.TryReserve(cx), std::nullopt);
    tried.Open();
    Outcome<void> first_ended = co_await OrReturn(first.Join(cx));
    EXPECT_TRUE(first_ended.is_cancelled());
    EXPECT_EQ(co_await OrReturn(channel.receiver.Receive(cx)), 2);
    Outcome<void> second_ended = co_await OrReturn(second.Join(cx));
    EXPECT_THAT(second_ended, IsOk());
    EXPECT_EQ(channel.sender.reserved(), 0u);
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscReserveTest, MessagesComeInTheOrderOfSendNotOfReserve) {
  TestRuntime rt;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeMpsc<int>(2);
    SendPermit<int> first = co_await OrReturn(sender.Reserve(cx));
    SendPermit<int> second = co_await OrReturn(sender.Reserve(cx));
    EXPECT_EQ(sender.TrySend(3), TrySendResult::kFull);
    EXPECT_EQ(std::move(second).Send(2), std::nullopt);
    EXPECT_EQ(std::move(first).Send(1), std::nullopt);
    EXPECT_EQ(receiver.TryReceive(), 2);
    EXPECT_EQ(receiver.TryReceive(), 1);
    co_return Ok();
  }),
              IsOk());
}

TEST_P(MpscWorkersTest, TheEndWaitsForAnOpenPermitThoughNoSenderIsLeft) {
  TestRuntime rt(GetParam());
  Mpsc<int> channel = MakeMpsc<int>(2);
  std::vector<int> got;
  auto receive = [&](Cx cx) -> Task<void> {
    while (std::optional<int> message = co_await OrReturn(channel.receiver.Receive(cx))) {
      got.push_back(*message);
    }
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    SendPermit<int> sent = co_await OrReturn(channel.sender.Reserve(cx));
    SendPermit<int> aborted = co_await OrReturn(channel.sender.Reserve(cx));
    {
      Sender<int> dropped = std::move(channel.sender);
    }
    auto receiving = cx.Spawn("receiver", receive);
    co_await OrReturn(rt.UntilParked(cx, "Receiver::Receive"));
    EXPECT_EQ(std::move(sent).Send(1), std::nullopt);
    co_await OrReturn(Until(cx, [&] { return channel.receiver.size() == 0; }));
    co_await OrReturn(rt.UntilParked(cx, "Receiver::Receive"));
    std::move(aborted).Abort();
    (void)co_await OrReturn(receiving.Join(cx));
    co_return Ok();
  }),
              IsOk());
  EXPECT_THAT(got, ElementsAre(1));
  EXPECT_TRUE(channel.receiver.ended());
}

TEST(MpscReserveTest, APermitOutlivesTheEndsAndGivesTheValueBack) {
  TestRuntime rt;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    std::optional<SendPermit<std::unique_ptr<int>>> permit;
    {
      auto [sender, receiver] = MakeMpsc<std::unique_ptr<int>>(1);
      permit = sender.TryReserve(cx);
    }
    std::optional<std::unique_ptr<int>> back = std::move(*permit).Send(std::make_unique<int>(5));
    EXPECT_TRUE(back.has_value() && **back == 5);
    co_return Ok();
  }),
              IsOk());
}

// Reserved in a region that closes while the permit is elsewhere.
TEST(MpscReserveTest, ARevokedPermitGivesTheValueAndTheSlotBack) {
  TestRuntime rt;
  Mpsc<int> channel = MakeMpsc<int>(1);
  std::optional<SendPermit<int>> kept;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      kept.emplace(co_await OrReturn(channel.sender.Reserve(cx)));
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body, FailFast(),
                                RegionOptions().WithDrain(Budget::Timeout(absl::ZeroDuration())));
    EXPECT_TRUE(kept->revoked());
    EXPECT_EQ(channel.sender.TrySend(1), TrySendResult::kFull);
    EXPECT_EQ(std::move(*kept).Send(7), 7);
    EXPECT_EQ(channel.sender.TrySend(1), TrySendResult::kSent);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(rt->counters().permits_revoked, 1u);
  EXPECT_EQ(channel.receiver.TryReceive(), 1);
}

// ---- receive ----------------------------------------------------------------------------------------

TEST_P(MpscWorkersTest, TheEndWakesTheReceiver) {
  TestRuntime rt(GetParam());
  Mpsc<int> channel = MakeMpsc<int>(1);
  auto receive = [&](Cx cx) -> Task<std::optional<int>> {
    co_return co_await channel.receiver.Receive(cx);
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto receiving = cx.Spawn("receiver", receive);
    co_await OrReturn(rt.UntilParked(cx, "Receiver::Receive"));
    {
      Sender<int> dropped = std::move(channel.sender);
    }
    Outcome<std::optional<int>> ended = co_await OrReturn(receiving.Join(cx));
    EXPECT_EQ(ended.value(), std::nullopt);
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscReceiveTest, OfTwoReceiversInASelectOneMessageIsTaken) {
  TestRuntime rt;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [left, left_receiver] = MakeMpsc<int>(1);
    auto [right, right_receiver] = MakeMpsc<int>(1);
    EXPECT_EQ(left.TrySend(1), TrySendResult::kSent);
    EXPECT_EQ(right.TrySend(2), TrySendResult::kSent);
    auto won = co_await OrReturn(Select(cx, left_receiver.Receive(cx), right_receiver.Receive(cx)));
    EXPECT_EQ(won.index(), 0u);
    EXPECT_EQ(left.size(), 0u);
    EXPECT_EQ(right.size(), 1u);
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscReceiveTest, ManyTakesWhatIsThereButNoMoreThanAskedFor) {
  TestRuntime rt;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeMpsc<int>(10);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(sender.TrySend(int{i}), TrySendResult::kSent);
    std::vector<int> batch = {-1};
    EXPECT_EQ(co_await OrReturn(receiver.ReceiveMany(cx, batch, 3)), 3u);
    EXPECT_THAT(batch, ElementsAre(-1, 0, 1, 2));
    EXPECT_EQ(co_await OrReturn(receiver.ReceiveMany(cx, batch, 3)), 2u);
    EXPECT_THAT(batch, ElementsAre(-1, 0, 1, 2, 3, 4));
    {
      Sender<int> dropped = std::move(sender);
    }
    EXPECT_EQ(co_await OrReturn(receiver.ReceiveMany(cx, batch, 3)), 0u);
    EXPECT_EQ(batch.size(), 6u);
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscReceiveTest, ABatchFreesItsSlotsForAllWhoWait) {
  TestRuntime rt(1);
  Mpsc<int> channel = MakeMpsc<int>(2);
  auto send = [&](Cx cx, int value) -> Task<void> {
    co_await OrReturn(channel.sender.Send(cx, std::move(value)));
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 5; ++i) {
      cx.Spawn("sender", send, int{i});
      const auto come = [&] {
        return static_cast<int>(channel.receiver.size()) + rt.Parked("Sender::Send");
      };
      co_await OrReturn(Until(cx, [&] { return come() == i + 1; }));
    }
    std::vector<int> all;
    while (all.size() < 5) (void)co_await OrReturn(channel.receiver.ReceiveMany(cx, all, 10));
    EXPECT_THAT(all, ElementsAre(0, 1, 2, 3, 4));
    co_return Ok();
  }),
              IsOk());
}

TEST_P(MpscWorkersTest, AMessageThatIsHandedOverMayBeTheLast) {
  TestRuntime rt(GetParam());
  Mpsc<int> channel = MakeMpsc<int>(1);
  Mpsc<int> busy = MakeMpsc<int>(1);
  auto receive = [&](Cx cx) -> Task<int> {
    std::optional<int> last = co_await OrReturn(channel.receiver.Receive(cx));
    EXPECT_EQ(busy.sender.TrySend(1), TrySendResult::kSent);
    auto won =
        co_await OrReturn(Select(cx, channel.receiver.Receive(cx), busy.receiver.Receive(cx)));
    EXPECT_EQ(won.index(), 0u) << "the end is the first of the waits that are ready";
    EXPECT_EQ(std::get<0>(won).value(), std::nullopt);
    co_return last.value_or(-1);
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    SendPermit<int> permit = co_await OrReturn(channel.sender.Reserve(cx));
    channel.receiver.Close();
    auto receiving = cx.Spawn("receiver", receive);
    co_await OrReturn(rt.UntilParked(cx, "Receiver::Receive"));
    EXPECT_EQ(std::move(permit).Send(7), std::nullopt);
    EXPECT_EQ((co_await OrReturn(receiving.Join(cx))).value(), 7);
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscReceiveTest, AMessageThatIsHandedOverNeedsItsChannelNoMore) {
  TestRuntime rt(1);
  std::optional<Mpsc<int>> channel(MakeMpsc<int>(1));
  auto receive = [&](Cx cx) -> Task<std::optional<int>> {
    co_return co_await channel->receiver.Receive(cx);
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto receiving = cx.Spawn("receiver", receive);
    co_await OrReturn(rt.UntilParked(cx, "Receiver::Receive"));
    EXPECT_EQ(channel->sender.TrySend(1), TrySendResult::kSent);
    EXPECT_EQ(channel->sender.size(), 0u);
    EXPECT_EQ(channel->sender.TrySend(2), TrySendResult::kSent) << "its slot is free";
    channel.reset();
    EXPECT_EQ((co_await OrReturn(receiving.Join(cx))).value(), 1);
    co_return Ok();
  }),
              IsOk());
}

// Who waits for room comes before who sends later, also where the slot is freed by a hand-over.
TEST(MpscReceiveTest, AHandOverOutOfAnAbortServesWhoWaitsInOrder) {
  TestRuntime rt(1);
  Mpsc<int> channel = MakeMpsc<int>(2);
  auto send = [&](Cx cx, int value) -> Task<void> {
    co_await OrReturn(channel.sender.Send(cx, std::move(value)));
    co_return Ok();
  };
  std::vector<int> all;
  auto receive = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 3; ++i) {
      all.push_back((co_await OrReturn(channel.receiver.Receive(cx))).value());
    }
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    SendPermit<int> left = co_await OrReturn(channel.sender.Reserve(cx));
    SendPermit<int> right = co_await OrReturn(channel.sender.Reserve(cx));
    auto receiving = cx.Spawn("receiver", receive);
    co_await OrReturn(rt.UntilParked(cx, "Receiver::Receive"));
    for (int i = 1; i <= 3; ++i) {
      cx.Spawn("sender", send, int{i});
      co_await OrReturn(rt.UntilParked(cx, "Sender::Send", i));
    }
    std::move(left).Abort();
    std::move(right).Abort();
    EXPECT_THAT(co_await receiving.Join(cx), IsOk());
    EXPECT_THAT(all, ElementsAre(1, 2, 3));
    co_return Ok();
  }),
              IsOk());
}

// The send claims the Select of the very task that is to be handed its message.
TEST(MpscReceiveTest, ASelectOfBothEndsOfAChannelSendsOrReceives) {
  TestRuntime rt(1);
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    Mpsc<int> channel = MakeMpsc<int>(1);
    for (int round = 0; round < 3; ++round) {
      int value = round;
      auto won = co_await OrReturn(
          Select(cx, channel.receiver.Receive(cx), channel.sender.Send(cx, std::move(value))));
      EXPECT_EQ(won.index(), 1u);
      EXPECT_EQ(channel.sender.size(), 1u);
      EXPECT_EQ(channel.receiver.TryReceive(), round);
    }
    co_return Ok();
  }),
              IsOk());
}

// ---- acknowledged -----------------------------------------------------------------------------------

TEST(MpscAckTest, TheSlotIsTakenUntilTheCommit) {
  TestRuntime rt;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeMpsc<int>(1);
    EXPECT_EQ(sender.TrySend(1), TrySendResult::kSent);
    std::optional<Ack<int>> ack = co_await OrReturn(receiver.ReceiveAcked(cx));
    EXPECT_EQ(ack->value(), 1);
    EXPECT_EQ(sender.TrySend(2), TrySendResult::kFull);
    EXPECT_EQ(receiver.TryReceive(), std::nullopt);
    EXPECT_EQ(std::move(*ack).Commit(), 1);
    EXPECT_EQ(sender.TrySend(2), TrySendResult::kSent);
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscAckTest, ANackedMessageComesAgainBeforeTheOthers) {
  TestRuntime rt;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeMpsc<std::string>(2);
    EXPECT_EQ(sender.TrySend("first"), TrySendResult::kSent);
    EXPECT_EQ(sender.TrySend("second"), TrySendResult::kSent);
    std::optional<Ack<std::string>> ack = co_await OrReturn(receiver.ReceiveAcked(cx));
    ack->value() += ", once more";
    std::move(*ack).Nack();
    EXPECT_EQ(co_await OrReturn(receiver.Receive(cx)), "first, once more");
    EXPECT_EQ(co_await OrReturn(receiver.Receive(cx)), "second");
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscAckTest, ATaskThatIsCancelledAtWorkLosesNoMessage) {
  TestRuntime rt(1);
  Mpsc<int> channel = MakeMpsc<int>(2);
  auto work = [&](Cx cx) -> Task<void> {
    std::optional<Ack<int>> ack = co_await OrReturn(channel.receiver.ReceiveAcked(cx));
    co_await OrReturn(Forever(cx));
    (void)std::move(*ack).Commit();
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_EQ(channel.sender.TrySend(1), TrySendResult::kSent);
    EXPECT_EQ(channel.sender.TrySend(2), TrySendResult::kSent);
    auto working = cx.Spawn("worker", work);
    co_await OrReturn(Until(cx, [&] { return channel.receiver.size() == 1; }));
    working.Cancel();
    (void)co_await OrReturn(working.Join(cx));
    EXPECT_EQ(co_await OrReturn(channel.receiver.Receive(cx)), 1);
    EXPECT_EQ(co_await OrReturn(channel.receiver.Receive(cx)), 2);
    co_return Ok();
  }),
              IsOk());
}

TEST_P(MpscWorkersTest, TheEndWaitsForAnOpenAckWhichMayComeAgain) {
  TestRuntime rt(GetParam());
  Mpsc<int> channel = MakeMpsc<int>(1);
  std::vector<int> got;
  auto receive = [&](Cx cx) -> Task<void> {
    while (std::optional<int> message = co_await OrReturn(channel.receiver.Receive(cx))) {
      got.push_back(*message);
    }
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_EQ(channel.sender.TrySend(1), TrySendResult::kSent);
    std::optional<Ack<int>> ack = co_await OrReturn(channel.receiver.ReceiveAcked(cx));
    {
      Sender<int> dropped = std::move(channel.sender);
    }
    EXPECT_FALSE(channel.receiver.ended());
    auto receiving = cx.Spawn("receiver", receive);
    co_await OrReturn(rt.UntilParked(cx, "Receiver::Receive"));
    std::move(*ack).Nack();
    (void)co_await OrReturn(receiving.Join(cx));
    co_return Ok();
  }),
              IsOk());
  EXPECT_THAT(got, ElementsAre(1));
}

TEST(MpscAckTest, ACommitFreesTheSlotForWhoWaitsAndBringsTheEnd) {
  TestRuntime rt(1);
  Mpsc<int> channel = MakeMpsc<int>(1);
  auto send = [&](Cx cx, Sender<int> sender) -> Task<void> {
    co_await OrReturn(sender.Send(cx, 2));
    co_return Ok();
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_EQ(channel.sender.TrySend(1), TrySendResult::kSent);
    std::optional<Ack<int>> ack = co_await OrReturn(channel.receiver.ReceiveAcked(cx));
    cx.Spawn("sender", send, std::move(channel.sender));
    co_await OrReturn(rt.UntilParked(cx, "Sender::Send"));
    EXPECT_EQ(std::move(*ack).Commit(), 1);
    EXPECT_EQ(co_await OrReturn(channel.receiver.Receive(cx)), 2);
    EXPECT_EQ(co_await OrReturn(channel.receiver.Receive(cx)), std::nullopt);
    co_return Ok();
  }),
              IsOk());
}

TEST(MpscAckTest, ANackAfterTheReceiverDestroysTheMessageAndACommitKeepsIt) {
  TestRuntime rt;
  std::atomic<int> alive{0};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    std::optional<Ack<Counted>> nacked;
    std::optional<Ack<Counted>> committed;
    {
      auto [sender, receiver] = MakeMpsc<Counted>(2);
      EXPECT_EQ(sender.TrySend(Count(&alive)), TrySendResult::kSent);
      EXPECT_EQ(sender.TrySend(Count(&alive)), TrySendResult::kSent);
      nacked = co_await OrReturn(receiver.ReceiveAcked(cx));
      committed = co_await OrReturn(receiver.ReceiveAcked(cx));
    }
    std::move(*nacked).Nack();
    nacked.reset();
    EXPECT_EQ(alive, 1);
    std::optional<Counted> kept = std::move(*committed).Commit();
    EXPECT_EQ(alive, 1);
    EXPECT_TRUE(kept.has_value());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(alive, 0);
}

TEST(MpscAckTest, ARevokedAckCannotCommitAndItsMessageComesAgain) {
  TestRuntime rt;
  Mpsc<int> channel = MakeMpsc<int>(1);
  std::optional<Ack<int>> kept;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_EQ(channel.sender.TrySend(1), TrySendResult::kSent);
    auto body = [&](Cx cx) -> Task<void> {
      kept = co_await OrReturn(channel.receiver.ReceiveAcked(cx));
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body, FailFast(),
                                RegionOptions().WithDrain(Budget::Timeout(absl::ZeroDuration())));
    EXPECT_EQ(std::move(*kept).Commit(), std::nullopt);
    EXPECT_EQ(co_await OrReturn(channel.receiver.Receive(cx)), 1);
    co_return Ok();
  }),
              IsOk());
}

// ---- memory -----------------------------------------------------------------------------------------

TEST(MpscTest, WhoeverGoesLastFreesTheChannel) {
  TestRuntime rt(1);
  enum Last { kSender, kReceiver, kPermit, kAck };
  for (Last last : {kSender, kReceiver, kPermit, kAck}) {
    EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      const size_t memory = GetSlabStats().live_bytes;
      {
        std::optional<Mpsc<std::string>> channel(MakeMpsc<std::string>(3));
        EXPECT_EQ(channel->sender.TrySend("held"), TrySendResult::kSent);
        EXPECT_EQ(channel->sender.TrySend("queued"), TrySendResult::kSent);
        std::optional<Ack<std::string>> ack = co_await OrReturn(channel->receiver.ReceiveAcked(cx));
        std::optional<SendPermit<std::string>> permit = channel->sender.TryReserve(cx);
        std::optional<Sender<std::string>> sender(std::move(channel->sender));
        std::optional<Receiver<std::string>> receiver(std::move(channel->receiver));
        channel.reset();
        if (last != kSender) sender.reset();
        if (last != kReceiver) receiver.reset();
        if (last != kPermit) std::move(*permit).Abort();
        if (last != kAck) std::move(*ack).Nack();
        if (last == kPermit) std::move(*permit).Abort();
        if (last == kAck) std::move(*ack).Nack();
      }
      EXPECT_EQ(GetSlabStats().live_bytes, memory) << "last: " << last;
      co_return Ok();
    }),
                IsOk());
  }
}

// ---- bad use ----------------------------------------------------------------------------------------

TEST(MpscDeathTest, ACapacityOfZero) {
  EXPECT_DEATH(MakeMpsc<int>(0), "MakeMpsc: a capacity of 0");
}

TEST(MpscDeathTest, AnEndThatWasMovedFrom) {
  auto [sender, receiver] = MakeMpsc<int>(1);
  Sender<int> other = std::move(sender);
  EXPECT_DEATH(sender.TrySend(1), "a Sender was used after it had been moved from");
  Receiver<int> elsewhere = std::move(receiver);
  EXPECT_DEATH(receiver.TryReceive(), "a Receiver was used after it had been moved from");
}

TEST(MpscDeathTest, ABatchOfNone) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        (void)rt.Run([&](Cx cx) -> Task<void> {
          Mpsc<int> channel = MakeMpsc<int>(1);
          std::vector<int> batch;
          (void)co_await OrReturn(channel.receiver.ReceiveMany(cx, batch, 0));
          co_return Ok();
        });
      },
      "ReceiveMany of at most 0 messages");
}

TEST(MpscDeathTest, TwoTasksThatReceive) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        Mpsc<int> channel = MakeMpsc<int>(1);
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
      "Receiver::Receive while task [0-9]+ '(one|another)' waits in Receiver::Receive on the same "
      "channel: a Receiver has one consumer");
}

TEST(MpscDeathTest, AReceiverDestroyedUnderItsWait) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        std::optional<Mpsc<int>> channel(MakeMpsc<int>(1));
        auto receive = [&](Cx cx) -> Task<void> {
          (void)co_await OrReturn(channel->receiver.Receive(cx));
          co_return Ok();
        };
        (void)rt.Run([&](Cx cx) -> Task<void> {
          cx.Spawn("waiting", receive);
          co_await OrReturn(rt.UntilParked(cx, "Receiver::Receive"));
          channel.reset();
          co_return Ok();
        });
      },
      "a Receiver was destroyed while task [0-9]+ 'waiting' waits in Receiver::Receive on it");
}

TEST(MpscDeathTest, AReceiverDestroyedUnderAWaitThatWasGranted) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        std::optional<Mpsc<int>> channel(MakeMpsc<int>(1));
        auto receive = [&](Cx cx) -> Task<void> {
          (void)co_await OrReturn(channel->receiver.ReceiveAcked(cx));
          co_return Ok();
        };
        (void)rt.Run([&](Cx cx) -> Task<void> {
          cx.Spawn("waiting", receive);
          co_await OrReturn(rt.UntilParked(cx, "Receiver::ReceiveAcked"));
          (void)channel->sender.TrySend(1);
          channel.reset();
          co_return Ok();
        });
      },
      "a Receiver was destroyed while task [0-9]+ 'waiting' waits in Receiver::ReceiveAcked on it");
}

TEST(MpscDeathTest, TheLastSenderDestroyedUnderAWait) {
  const auto destroy_under_send = [](bool granted) {
    TestRuntime rt(1);
    Mpsc<int> channel = MakeMpsc<int>(1);
    std::optional<Sender<int>> sender(std::move(channel.sender));
    auto send = [&](Cx cx) -> Task<void> {
      co_await OrReturn(sender->Send(cx, 2));
      co_return Ok();
    };
    (void)rt.Run([&](Cx cx) -> Task<void> {
      (void)sender->TrySend(1);
      cx.Spawn("waiting", send);
      co_await OrReturn(rt.UntilParked(cx, "Sender::Send"));
      if (granted) (void)channel.receiver.TryReceive();
      sender.reset();
      co_return Ok();
    });
  };
  EXPECT_DEATH(destroy_under_send(false),
               "the last Sender of a channel was destroyed while task [0-9]+ 'waiting' waits in "
               "Sender::Send");
  EXPECT_DEATH(destroy_under_send(true),
               "the last Sender of a channel was destroyed while a task that waited in Send");
}

TEST(MpscDeathTest, BlockingInATask) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        (void)rt.Run([&](Cx) -> Task<void> {
          Mpsc<int> channel = MakeMpsc<int>(1);
          (void)channel.receiver.BlockingReceive();
          co_return Ok();
        });
      },
      "Receiver::BlockingReceive was called in a task, whose worker it would block");
}

TEST(MpscDeathTest, APermitOrAnAckThatIsDropped) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  const auto drop = [](bool ack) {
    TestRuntime rt(1);
    (void)rt.Run([&](Cx cx) -> Task<void> {
      Mpsc<int> channel = MakeMpsc<int>(2);
      (void)channel.sender.TrySend(1);
      if (ack) {
        std::optional<Ack<int>> dropped = co_await OrReturn(channel.receiver.ReceiveAcked(cx));
      } else {
        SendPermit<int> dropped = co_await OrReturn(channel.sender.Reserve(cx));
      }
      co_return Ok();
    });
  };
  EXPECT_DEATH(drop(false), "permit leaked: SendPermit #[0-9]+, reserved at .*mpsc_test.cc:[0-9]+");
  EXPECT_DEATH(drop(true), "permit leaked: Ack #[0-9]+, reserved at .*mpsc_test.cc:[0-9]+");
}

}  // namespace
}  // namespace quiesce

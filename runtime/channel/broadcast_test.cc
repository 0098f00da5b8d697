#include "quiesce/runtime/channel/broadcast.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::IsCancelled;
using rules::IsError;
using rules::IsOk;
using rules::SpinUntil;
using rules::TestRuntime;
using rules::Until;
using ::testing::ElementsAre;

// Longer than what a string keeps in itself: moved from, it is empty.
std::string Long(const std::string& text) { return text + std::string(64, '.'); }

template <class T>
std::vector<T> TakeAll(BroadcastReceiver<T>& receiver) {
  std::vector<T> all;
  while (auto message = receiver.TryReceive()) all.push_back(message->value);
  return all;
}

// ---- messages ---------------------------------------------------------------------------------------

TEST(BroadcastTest, EachReceiverGetsEachMessageInOrder) {
  auto sender = MakeBroadcast<std::string>(4);
  auto first = sender.Subscribe();
  auto second = sender.Subscribe();
  EXPECT_EQ(sender.Send(Long("a")), 2u);
  EXPECT_EQ(sender.Send(Long("b")), 2u);
  EXPECT_THAT(TakeAll(first), ElementsAre(Long("a"), Long("b")));
  EXPECT_THAT(TakeAll(second), ElementsAre(Long("a"), Long("b")));
  EXPECT_EQ(sender.size(), 0u);
}

TEST(BroadcastTest, AReceiverGetsWhatIsSentFromItsSubscribeOn) {
  auto sender = MakeBroadcast<int>(4);
  auto early = sender.Subscribe();
  sender.Send(1);
  auto late = sender.Subscribe();
  EXPECT_EQ(sender.Send(2), 2u);
  EXPECT_THAT(TakeAll(early), ElementsAre(1, 2));
  EXPECT_THAT(TakeAll(late), ElementsAre(2));
}

TEST(BroadcastTest, AReceiverThatLagsIsToldHowMuchItMissed) {
  auto sender = MakeBroadcast<int>(4);
  auto slow = sender.Subscribe();
  auto quick = sender.Subscribe();
  for (int i = 0; i < 10; ++i) {
    sender.Send(int{i});
    auto message = quick.TryReceive();
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->value, i);
    EXPECT_EQ(message->missed, 0u);
  }
  auto message = slow.TryReceive();
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->value, 6);
  EXPECT_EQ(message->missed, 6u);
  EXPECT_EQ(slow.TryReceive()->missed, 0u);
  EXPECT_THAT(TakeAll(slow), ElementsAre(8, 9));
}

TEST(BroadcastTest, AMessageForNobodyStaysWithItsSender) {
  auto sender = MakeBroadcast<std::string>(4);
  std::string message = Long("a");
  EXPECT_EQ(sender.Send(std::move(message)), 0u);
  EXPECT_EQ(message, Long("a"));
  auto receiver = sender.Subscribe();
  sender.Close();
  EXPECT_EQ(sender.Send(std::move(message)), 0u);
  EXPECT_EQ(message, Long("a"));
  EXPECT_TRUE(receiver.at_end());
}

struct Copied {
  explicit Copied(std::atomic<int>* copies) : copies(copies) {}
  Copied(const Copied& other) : copies(other.copies) { ++*copies; }
  Copied(Copied&& other) noexcept = default;
  std::atomic<int>* copies;
};

TEST(BroadcastTest, TheLastReceiverMovesTheMessageOut) {
  std::atomic<int> copies{0};
  auto sender = MakeBroadcast<Copied>(4);
  auto first = sender.Subscribe();
  auto second = sender.Subscribe();
  auto third = sender.Subscribe();
  sender.Send(Copied(&copies));
  EXPECT_TRUE(first.TryReceive().has_value());
  EXPECT_TRUE(second.TryReceive().has_value());
  EXPECT_EQ(copies, 2);
  EXPECT_TRUE(third.TryReceive().has_value());
  EXPECT_EQ(copies, 2);
}

// Its copy and its destructor look at the channel, which would wait for ever for a lock that is held.
struct Looks {
  explicit Looks(BroadcastSender<Looks>* at) : at(at) {}
  Looks(const Looks& other) : at(other.at) { (void)at->size(); }
  Looks(Looks&& other) noexcept : at(std::exchange(other.at, nullptr)) {}
  ~Looks() {
    if (at != nullptr) (void)at->size();
  }
  BroadcastSender<Looks>* at;
};

TEST(BroadcastTest, CopiesAndDestructorsRunUnderNoLock) {
  auto sender = MakeBroadcast<Looks>(2);
  auto receiver = sender.Subscribe();
  {
    auto slow = sender.Subscribe();
    for (int i = 0; i < 5; ++i) sender.Send(Looks(&sender));  // overwrites
    EXPECT_TRUE(receiver.TryReceive().has_value());           // copies
  }
  EXPECT_TRUE(receiver.TryReceive().has_value());
  sender.Send(Looks(&sender));
  {
    auto gone = std::move(receiver);
  }  // destroys what it has not taken
  EXPECT_EQ(sender.size(), 0u);
}

// Calls `when_gone` when the message itself, not a copy that was moved out of it, is destroyed.
struct TellsWhenGone {
  explicit TellsWhenGone(std::function<void()>* when_gone) : when_gone(when_gone) {}
  TellsWhenGone(const TellsWhenGone& other) = default;
  TellsWhenGone(TellsWhenGone&& other) noexcept
      : when_gone(std::exchange(other.when_gone, nullptr)) {}
  ~TellsWhenGone() {
    if (when_gone != nullptr && *when_gone != nullptr) std::exchange(*when_gone, nullptr)();
  }
  std::function<void()>* when_gone;
};

// A receiver that goes does so in several steps: what is sent and taken between them is not its business.
TEST(BroadcastTest, WhatIsSentWhileAReceiverGoesIsKeptInOrder) {
  std::function<void()> when_gone;
  auto sender = MakeBroadcast<TellsWhenGone>(64);
  auto receiver = sender.Subscribe();
  std::optional<BroadcastReceiver<TellsWhenGone>> goes = sender.Subscribe();
  for (int i = 0; i < 40; ++i) sender.Send(TellsWhenGone(&when_gone));
  while (receiver.TryReceive().has_value()) {
  }
  when_gone = [&] {
    EXPECT_EQ(sender.Send(TellsWhenGone(&when_gone)), 1u);
    EXPECT_TRUE(receiver.TryReceive().has_value());
    EXPECT_EQ(sender.Send(TellsWhenGone(&when_gone)), 1u);
  };
  goes.reset();
  EXPECT_EQ(sender.size(), 1u);
  EXPECT_EQ(receiver.TryReceive()->missed, 0u);
  EXPECT_EQ(sender.size(), 0u);
}

// ---- waiting ----------------------------------------------------------------------------------------

class BroadcastWorkersTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, BroadcastWorkersTest, ::testing::Values(1, 2));

// More than are woken under one lock.
TEST_P(BroadcastWorkersTest, EachReceiverThatWaitsIsWokenByAMessageAndByTheEnd) {
  constexpr int kReceivers = 80;
  TestRuntime rt(GetParam());
  std::atomic<int> sum{0};
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto sender = MakeBroadcast<int>(4);
    for (int i = 0; i < kReceivers; ++i) {
      auto receive = [&sum](Cx cx, BroadcastReceiver<int> receiver) -> Task<void> {
        while (auto message = co_await OrReturn(receiver.Receive(cx))) sum += message->value;
        co_return Ok();
      };
      cx.Spawn("receive", receive, sender.Subscribe());
    }
    co_await OrReturn(rt.UntilParked(cx, "BroadcastReceiver::Receive", kReceivers));
    EXPECT_EQ(sender.Send(3), size_t{kReceivers});
    co_await OrReturn(Until(cx, [&] { return sum == 3 * kReceivers; }));
    co_await OrReturn(rt.UntilParked(cx, "BroadcastReceiver::Receive", kReceivers));
    co_return Ok();  // the sender goes
  });
  EXPECT_THAT(ended, IsOk());
}

TEST_P(BroadcastWorkersTest, ASendWithCxWaitsForTheSlowestReceiver) {
  TestRuntime rt(GetParam());
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto sender = MakeBroadcast<int>(2);
    auto quick = sender.Subscribe();
    auto slow = sender.Subscribe();
    cx.Spawn(
        "send",
        [](Cx cx, BroadcastSender<int> sender) -> Task<void> {
          for (int i = 0; i < 6; ++i) EXPECT_EQ(co_await OrReturn(sender.Send(cx, int{i})), 2u);
          co_return Ok();
        },
        sender);
    for (int i = 0; i < 6; ++i) {
      if (i < 4) co_await OrReturn(rt.UntilParked(cx, "BroadcastSender::Send"));
      auto message = co_await OrReturn(quick.Receive(cx));
      EXPECT_EQ(message->value, i);
      if (i < 4) {
        EXPECT_EQ(rt.Parked("BroadcastSender::Send"), 1);
      }
      message = co_await OrReturn(slow.Receive(cx));
      EXPECT_EQ(message->value, i);
      EXPECT_EQ(message->missed, 0u);
    }
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
}

TEST_P(BroadcastWorkersTest, RoomComesWhenTheSlowestReceiverGoes) {
  TestRuntime rt(GetParam());
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto sender = MakeBroadcast<std::string>(2);
    auto receiver = sender.Subscribe();
    std::optional<BroadcastReceiver<std::string>> slow = sender.Subscribe();
    sender.Send(Long("a"));
    sender.Send(Long("b"));
    EXPECT_EQ(TakeAll(receiver).size(), 2u);
    auto sending = cx.Spawn(
        "send",
        [](Cx cx, BroadcastSender<std::string> sender) -> Task<size_t> {
          std::string message = Long("c");
          co_return co_await sender.Send(cx, std::move(message));
        },
        sender);
    co_await OrReturn(rt.UntilParked(cx, "BroadcastSender::Send"));
    slow.reset();
    Outcome<size_t> receivers = co_await OrReturn(sending.Join(cx));
    EXPECT_EQ(receivers.value(), 1u);
    EXPECT_THAT(TakeAll(receiver), ElementsAre(Long("c")));
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
}

// ---- room -------------------------------------------------------------------------------------------

TEST_P(BroadcastWorkersTest, MessagesAndReservedRoomTogetherAreAtMostTheCapacity) {
  TestRuntime rt(GetParam());
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto sender = MakeBroadcast<int>(2);
    auto receiver = sender.Subscribe();
    auto permit = co_await OrReturn(sender.Reserve(cx));
    (void)co_await OrReturn(sender.Send(cx, 1));
    auto second = cx.Spawn(
        "second",
        [](Cx cx, BroadcastSender<int> sender) -> Task<void> {
          auto permit = co_await OrReturn(sender.Reserve(cx));
          EXPECT_EQ(std::move(permit).Send(2), 1u);
          co_return Ok();
        },
        sender);
    co_await OrReturn(rt.UntilParked(cx, "BroadcastSender::Reserve"));
    auto third = cx.Spawn(
        "third",
        [](Cx cx, BroadcastSender<int> sender) -> Task<void> {
          (void)co_await OrReturn(sender.Send(cx, 3));
          co_return Ok();
        },
        sender);
    co_await OrReturn(rt.UntilParked(cx, "BroadcastSender::Send"));
    EXPECT_EQ(sender.reserved(), 1u);
    std::move(permit).Abort();  // the first in line gets what it held
    (void)co_await OrReturn(second.Join(cx));
    EXPECT_EQ(sender.size(), 2u);
    EXPECT_EQ(rt.Parked("BroadcastSender::Send"), 1);
    std::vector<int> got;
    while (got.size() < 3) {
      auto message = co_await OrReturn(receiver.Receive(cx));
      got.push_back(message->value);
    }
    EXPECT_THAT(got, ElementsAre(1, 2, 3));
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
}

// It overwrites what is kept, before its own message goes into the reserved room: so the permit overwrites nothing.
TEST(BroadcastTest, ASendWithoutCxLeavesReservedRoomAlone) {
  TestRuntime rt(1);
  EXPECT_THAT(rt.Run([](Cx cx) -> Task<void> {
    auto sender = MakeBroadcast<int>(2);
    auto receiver = sender.Subscribe();
    auto permit = co_await OrReturn(sender.Reserve(cx));
    (void)co_await OrReturn(sender.Send(cx, 1));
    EXPECT_EQ(sender.Send(2), 1u);
    EXPECT_EQ(sender.size(), 1u);
    EXPECT_EQ(sender.reserved(), 1u);
    auto second = receiver.TryReceive();
    EXPECT_EQ(second->value, 2);
    EXPECT_EQ(second->missed, 1u);
    EXPECT_EQ(sender.Send(3), 1u);
    EXPECT_EQ(std::move(permit).Send(4), 1u);
    auto third = receiver.TryReceive();
    EXPECT_EQ(third->value, 3);
    EXPECT_EQ(third->missed, 0u);
    EXPECT_EQ(receiver.TryReceive()->value, 4);
    co_return Ok();
  }),
              IsOk());
}

// There is nothing that it could overwrite.
TEST(BroadcastTest, ASendWithoutCxIsRefusedWhereAllRoomIsReserved) {
  TestRuntime rt(1);
  EXPECT_THAT(rt.Run([](Cx cx) -> Task<void> {
    auto sender = MakeBroadcast<std::string>(1);
    auto receiver = sender.Subscribe();
    auto permit = co_await OrReturn(sender.Reserve(cx));
    std::string message = Long("a");
    EXPECT_EQ(sender.Send(std::move(message)), 0u);
    EXPECT_EQ(message, Long("a"));
    EXPECT_EQ(sender.size(), 0u);
    EXPECT_EQ(std::move(permit).Send(Long("b")), 1u);
    EXPECT_EQ(sender.Send(std::move(message)), 1u);
    auto got = receiver.TryReceive();
    EXPECT_EQ(got->value, Long("a"));
    EXPECT_EQ(got->missed, 1u);  // b, which was overwritten; a was not sent the first time
    co_return Ok();
  }),
              IsOk());
}

TEST(BroadcastTest, NobodyOvertakesWhoWaitsForRoom) {
  TestRuntime rt(1);
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto sender = MakeBroadcast<int>(1);
    auto receiver = sender.Subscribe();
    sender.Send(0);
    auto waiting = cx.Spawn(
        "waiting",
        [](Cx cx, BroadcastSender<int> sender) -> Task<void> {
          (void)co_await OrReturn(sender.Send(cx, 1));
          co_return Ok();
        },
        sender);
    co_await OrReturn(rt.UntilParked(cx, "BroadcastSender::Send"));
    EXPECT_EQ(receiver.TryReceive()->value, 0);
    EXPECT_TRUE(sender.reserved() == 1 || sender.size() == 1) << "it is handed over";
    auto second = cx.Spawn(
        "second",
        [](Cx cx, BroadcastSender<int> sender) -> Task<void> {
          (void)co_await OrReturn(sender.Send(cx, 2));
          co_return Ok();
        },
        sender);
    (void)co_await OrReturn(waiting.Join(cx));
    EXPECT_EQ(receiver.TryReceive()->value, 1);
    (void)co_await OrReturn(second.Join(cx));
    EXPECT_EQ(receiver.TryReceive()->value, 2);
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
}

TEST_P(BroadcastWorkersTest, AChannelIsNotAtItsEndWhileRoomIsReserved) {
  TestRuntime rt(GetParam());
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    for (const bool send : {true, false}) {
      std::optional<BroadcastSender<int>> sender = MakeBroadcast<int>(2);
      auto receiving = cx.Spawn(
          "receive",
          [](Cx cx, BroadcastReceiver<int> receiver) -> Task<int> {
            int sum = 0;
            while (auto message = co_await OrReturn(receiver.Receive(cx))) sum += message->value;
            EXPECT_TRUE(receiver.at_end());
            co_return sum;
          },
          sender->Subscribe());
      auto permit = co_await OrReturn(sender->Reserve(cx));
      sender.reset();
      co_await OrReturn(rt.UntilParked(cx, "BroadcastReceiver::Receive"));
      if (send) {
        EXPECT_EQ(std::move(permit).Send(7), 1u);
      } else {
        std::move(permit).Abort();
      }
      Outcome<int> sum = co_await OrReturn(receiving.Join(cx));
      EXPECT_EQ(sum.value(), send ? 7 : 0);
    }
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
}

TEST(BroadcastTest, APermitOutlivesEveryHandle) {
  TestRuntime rt(1);
  const Outcome<void> ended = rt.Run([](Cx cx) -> Task<void> {
    std::optional<BroadcastSender<std::string>> sender = MakeBroadcast<std::string>(2);
    auto permit = co_await OrReturn(sender->Reserve(cx));
    sender.reset();
    std::string message = Long("a");
    EXPECT_EQ(std::move(permit).Send(std::move(message)), 0u);
    EXPECT_EQ(message, Long("a"));
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
}

TEST(BroadcastTest, ARevokedPermitGivesMessageAndRoomBack) {
  TestRuntime rt(1);
  auto sender = MakeBroadcast<std::string>(1);
  auto receiver = sender.Subscribe();
  std::optional<BroadcastPermit<std::string>> permit;
  (void)rt.Open(
      [&](Cx cx) -> Task<void> {
        permit.emplace(co_await OrReturn(sender.Reserve(cx)));
        co_return Ok();
      },
      FailFast(), RegionOptions().WithDrain(Budget::Timeout(absl::ZeroDuration())));
  EXPECT_EQ(sender.reserved(), 1u);
  std::string message = Long("a");
  EXPECT_EQ(std::move(*permit).Send(std::move(message)), 0u);
  EXPECT_EQ(message, Long("a"));
  EXPECT_EQ(sender.reserved(), 0u);
  EXPECT_FALSE(receiver.TryReceive().has_value());
}

TEST_P(BroadcastWorkersTest, CloseRefusesWhoWaitsAndDeliversWhatWasSent) {
  TestRuntime rt(GetParam());
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto sender = MakeBroadcast<std::string>(1);
    auto receiver = sender.Subscribe();
    sender.Send(Long("a"));
    auto sending = cx.Spawn(
        "send",
        [](Cx cx, BroadcastSender<std::string> sender) -> Task<void> {
          std::string message = Long("b");
          Outcome<size_t> sent = co_await sender.Send(cx, std::move(message));
          EXPECT_THAT(sent, IsError("BroadcastSender::Send: the channel is closed"));
          EXPECT_EQ(message, Long("b"));
          EXPECT_THAT(co_await sender.Reserve(cx), IsError("BroadcastSender::Reserve"));
          co_return Ok();
        },
        sender);
    co_await OrReturn(rt.UntilParked(cx, "BroadcastSender::Send"));
    sender.Close();
    (void)co_await OrReturn(sending.Join(cx));
    auto message = co_await OrReturn(receiver.Receive(cx));
    EXPECT_EQ(message->value, Long("a"));
    message = co_await OrReturn(receiver.Receive(cx));
    EXPECT_FALSE(message.has_value());
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
}

// ---- threads ----------------------------------------------------------------------------------------

TEST(BroadcastTest, PlainThreadsSendAndReceive) {
  auto sender = MakeBroadcast<int>(2);
  std::thread thread([receiver = sender.Subscribe()]() mutable {
    for (int i = 0; i < 100; ++i) {
      auto message = receiver.BlockingReceive();
      ASSERT_TRUE(message.ok() && message->has_value());
      EXPECT_EQ((*message)->value, i);
    }
    EXPECT_FALSE(receiver.BlockingReceive()->has_value());
  });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(sender.BlockingSend(int{i}).value(), 1u);
  {
    auto gone = std::move(sender);
  }
  thread.join();
}

TEST(BroadcastTest, AThreadsTimeoutTakesNothing) {
  auto sender = MakeBroadcast<int>(1);
  auto receiver = sender.Subscribe();
  EXPECT_THAT(receiver.BlockingReceive(absl::Milliseconds(1)), IsCancelled(CancelKind::kDeadline));
  sender.Send(1);
  EXPECT_THAT(sender.BlockingSend(2, absl::Milliseconds(1)), IsCancelled(CancelKind::kDeadline));
  EXPECT_EQ(sender.reserved(), 0u);
  EXPECT_THAT(TakeAll(receiver), ElementsAre(1));
}

// Tasks and threads send, in order for each; receivers come, go, are cancelled, and get all of what was sent while
// they were there.
constexpr int kEach = 2000;
constexpr int kSenders = 3;
struct Message {
  Message(int sender, int number)
      : sender(sender), number(number), shared(std::make_shared<int>(number)) {}
  int sender;
  int number;
  std::shared_ptr<int> shared;  // not plain bytes
};

TEST(BroadcastStressTest, NobodyMissesWhatIsSentWithRoom) {
  TestRuntime rt(2);
  auto sender = std::make_optional(MakeBroadcast<Message>(8));
  std::thread thread;
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto receive = [](Cx cx, BroadcastReceiver<Message> receiver) -> Task<void> {
      int next[kSenders] = {};
      while (true) {
        std::optional<std::optional<Broadcasted<Message>>> got;
        // In a region that is cancelled now and then: what a cancelled Receive left, the next one gets.
        auto once = [&](Cx cx) -> Task<void> {
          got.emplace(co_await OrReturn(receiver.Receive(cx)));
          co_return Ok();
        };
        auto attempt = [&](Cx cx) -> Task<void> {
          if (next[0] % 7 == 3) cx.Ref().Cancel();
          co_await OrReturn(once(cx));
          co_return Ok();
        };
        if (next[0] % 7 == 3) (void)co_await Region::Open(cx, "attempt", attempt);
        if (!got.has_value()) co_await OrReturn(once(cx));
        if (!got->has_value()) break;
        const Message& message = (*got)->value;
        EXPECT_EQ((*got)->missed, 0u);
        EXPECT_EQ(message.number, next[message.sender]);
        EXPECT_EQ(*message.shared, message.number);
        next[message.sender] = message.number + 1;
      }
      for (const int received : next) EXPECT_EQ(received, kEach);
      co_return Ok();
    };
    for (int i = 0; i < 3; ++i) cx.Spawn("receive", receive, sender->Subscribe());
    auto leave = [](Cx cx, BroadcastReceiver<Message> receiver) -> Task<void> {
      for (int i = 0; i < 50; ++i) (void)co_await OrReturn(receiver.Receive(cx));
      co_return Ok();
    };
    for (int i = 0; i < 3; ++i) cx.Spawn("leave", leave, sender->Subscribe());
    auto send = [](Cx cx, BroadcastSender<Message> sender) -> Task<void> {
      for (int i = 0; i < kEach; ++i) {
        (void)co_await OrReturn(sender.Send(cx, Message(0, i)));
      }
      co_return Ok();
    };
    cx.Spawn("send", send, *sender);
    auto reserve = [](Cx cx, BroadcastSender<Message> sender) -> Task<void> {
      for (int i = 0; i < kEach; ++i) {
        auto aborted = co_await OrReturn(sender.Reserve(cx));
        std::move(aborted).Abort();
        auto permit = co_await OrReturn(sender.Reserve(cx));
        (void)std::move(permit).Send(Message(1, i));
      }
      co_return Ok();
    };
    cx.Spawn("reserve", reserve, *sender);
    thread = std::thread([sender = *sender]() mutable {
      for (int i = 0; i < kEach; ++i) {
        (void)sender.BlockingSend(Message(2, i));
      }
    });
    sender.reset();
    co_return Ok();
  });
  thread.join();
  EXPECT_THAT(ended, IsOk());
}

// ---- bad use ----------------------------------------------------------------------------------------

TEST(BroadcastDeathTest, AnEndThatWasMovedFrom) {
  BroadcastSender<int> sender = MakeBroadcast<int>(1);
  BroadcastReceiver<int> receiver = sender.Subscribe();
  BroadcastReceiver<int> elsewhere = std::move(receiver);
  EXPECT_DEATH(receiver.TryReceive(), "a BroadcastReceiver was used after it had been moved from");
  BroadcastSender<int> other = std::move(sender);
  EXPECT_DEATH(sender.Send(1), "a BroadcastSender was used after it had been moved from");
}

TEST(BroadcastDeathTest, CapacityZero) {
  EXPECT_DEATH((void)MakeBroadcast<int>(0), "capacity 0.*Use 1 or more");
}

TEST(BroadcastDeathTest, AReceiverThatIsDestroyedWhileATaskWaitsInIt) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        auto sender = MakeBroadcast<int>(1);
        (void)rt.Run([&](Cx cx) -> Task<void> {
          std::optional<BroadcastReceiver<int>> receiver = sender.Subscribe();
          cx.Spawn("wait", [&](Cx cx) -> Task<void> {
            (void)co_await OrReturn(receiver->Receive(cx));
            co_return Ok();
          });
          co_await OrReturn(rt.UntilParked(cx, "BroadcastReceiver::Receive"));
          receiver.reset();
          co_return Ok();
        });
      },
      "a BroadcastReceiver is destroyed while task [0-9]+ waits in BroadcastReceiver::Receive");
}

TEST(BroadcastDeathTest, TheLastSenderThatIsDestroyedWhileATaskWaitsForRoom) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        std::optional<BroadcastSender<int>> sender = MakeBroadcast<int>(1);
        auto receiver = sender->Subscribe();
        (void)rt.Run([&](Cx cx) -> Task<void> {
          sender->Send(1);
          cx.Spawn("wait", [&](Cx cx) -> Task<void> {
            (void)co_await OrReturn(sender->Send(cx, 2));
            co_return Ok();
          });
          co_await OrReturn(rt.UntilParked(cx, "BroadcastSender::Send"));
          sender.reset();
          co_return Ok();
        });
      },
      "the last BroadcastSender is destroyed while task [0-9]+ waits in BroadcastSender::Send");
}

TEST(BroadcastDeathTest, ASecondReceiveWhileATaskWaits) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        auto sender = MakeBroadcast<int>(1);
        auto receiver = sender.Subscribe();
        (void)rt.Run([&](Cx cx) -> Task<void> {
          cx.Spawn("wait", [&](Cx cx) -> Task<void> {
            (void)co_await OrReturn(receiver.Receive(cx));
            co_return Ok();
          });
          co_await OrReturn(rt.UntilParked(cx, "BroadcastReceiver::Receive"));
          (void)receiver.TryReceive();
          co_return Ok();
        });
      },
      "a second Receive while task [0-9]+ waits in one.*Subscribe once for each");
}

TEST(BroadcastDeathTest, BlockingInATask) {
  EXPECT_DEATH(
      {
        TestRuntime rt(1);
        auto sender = MakeBroadcast<int>(1);
        (void)rt.Run([&](Cx) -> Task<void> {
          (void)sender.BlockingSend(1);
          co_return Ok();
        });
      },
      "BroadcastSender::BlockingSend was called in a task");
}

// ---- the example of the header ----------------------------------------------------------------------

struct Price {
  explicit Price(int cents) : cents(cents) {}
  int cents;
};

TEST(BroadcastTest, TheExample) {
  TestRuntime rt(2);
  std::atomic<int> shown{0};
  const auto Show = [&](const Price& price, uint64_t missed) {
    shown += price.cents + static_cast<int>(missed);
  };
  const Outcome<void> ended = rt.Run([&](Cx cx) -> Task<void> {
    auto prices = MakeBroadcast<Price>(64);
    cx.Spawn(
        "show",
        [&](Cx cx, BroadcastReceiver<Price> prices) -> Task<void> {
          while (auto price = co_await OrReturn(prices.Receive(cx)))
            Show(price->value, price->missed);
          co_return Ok();
        },
        prices.Subscribe());
    prices.Send(Price(42));
    (void)co_await OrReturn(prices.Send(cx, Price(43)));
    co_await OrReturn(Until(cx, [&] { return shown == 85; }));
    co_return Ok();
  });
  EXPECT_THAT(ended, IsOk());
}

}  // namespace
}  // namespace quiesce

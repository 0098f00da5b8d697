// Many senders, tasks and threads, that wait, give up, reserve and abort; one receiver that acknowledges, refuses and
// is replaced. No message is lost and none comes twice; the order of each sender is kept where nothing is refused.
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/runtime/channel/oneshot.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/testing/stress/stress.h"

namespace quiesce::stress {
namespace {

constexpr int kTasks = 6;
constexpr int kThreads = 2;
constexpr uint32_t kEach = kSlow ? 400 : 4000;

struct Message {
  Message(uint32_t sender, uint32_t number)
      : sender(sender), number(number), body(new uint32_t(number)) {}
  uint32_t sender;
  uint32_t number;
  std::unique_ptr<uint32_t> body;  // so that a lost or doubled one is found by asan
};

// Sends its numbers in order, each once, in one way or another.
Task<void> SendAll(Cx cx, Sender<Message> sender, uint32_t self, uint64_t seed) {
  Random random(seed);
  for (uint32_t i = 0; i < kEach; ++i) {
    Message message(self, i);
    bool sent = false;
    while (!sent) {
      switch (random.Below(5)) {
        case 0:
          sent = sender.TrySend(std::move(message)) == TrySendResult::kSent;
          break;
        case 1: {  // given up after a while, with the message still here
          auto body = [&](Cx cx) -> Task<void> {
            co_await OrReturn(sender.Send(cx, std::move(message)));
            sent = true;
            co_return Ok();
          };
          (void)co_await Region::Open(
              cx, "impatient", body, FailFast(),
              RegionOptions().WithBudget(Budget::Timeout(absl::Microseconds(random.Below(100)))));
          break;
        }
        case 2: {
          SendPermit<Message> permit = co_await OrReturn(sender.Reserve(cx));
          if (random.OneIn(4)) {
            std::move(permit).Abort();
          } else {
            EXPECT_FALSE(std::move(permit).Send(std::move(message)).has_value());
            sent = true;
          }
          break;
        }
        case 3: {  // sent by another task: its region is told by whoever resolves it
          SendPermit<Message> permit = co_await OrReturn(sender.Reserve(cx));
          auto helper = cx.Spawn(
              "helper",
              [](Cx, SendPermit<Message> permit, Message message) -> Task<void> {
                EXPECT_FALSE(std::move(permit).Send(std::move(message)).has_value());
                co_return Ok();
              },
              std::move(permit), std::move(message));
          (void)co_await OrReturn(helper.Join(cx));
          sent = true;
          break;
        }
        default:
          co_await OrReturn(sender.Send(cx, std::move(message)));
          sent = true;
      }
    }
  }
  co_return Ok();
}

// What has come: each number of each sender once, in order.
class Tally {
 public:
  void Add(const Message& message) {
    ASSERT_NE(message.body, nullptr);
    EXPECT_EQ(*message.body, message.number);
    EXPECT_EQ(message.number, next_[message.sender]++);
    ++count_;
  }
  uint32_t count() const { return count_; }

 private:
  uint32_t next_[kTasks + kThreads] = {};
  uint32_t count_ = 0;
};

Task<void> ReceiveAll(Cx cx, Receiver<Message> receiver, Tally* tally, uint64_t seed) {
  Random random(seed);
  std::vector<Message> batch;
  while (true) {
    switch (random.Below(5)) {
      case 0: {
        if (co_await OrReturn(receiver.ReceiveMany(cx, batch, 5)) == 0) co_return Ok();
        for (const Message& message : batch) tally->Add(message);
        batch.clear();
        break;
      }
      case 1: {  // refused once or more, then taken
        std::optional<Ack<Message>> ack = co_await OrReturn(receiver.ReceiveAcked(cx));
        if (!ack.has_value()) co_return Ok();
        if (random.OneIn(2)) {
          std::move(*ack).Nack();
        } else {
          std::optional<Message> message = std::move(*ack).Commit();
          if (message.has_value()) tally->Add(*message);
        }
        break;
      }
      case 2: {  // cancelled: takes nothing, or it is there
        std::optional<Message> got;
        auto body = [&](Cx cx) -> Task<void> {
          got = co_await OrReturn(receiver.Receive(cx));
          co_return Ok();
        };
        (void)co_await Region::Open(
            cx, "impatient", body, FailFast(),
            RegionOptions().WithBudget(Budget::Timeout(absl::Microseconds(random.Below(100)))));
        if (got.has_value()) tally->Add(*got);
        break;
      }
      case 3:
        if (std::optional<Message> message = receiver.TryReceive()) tally->Add(*message);
        co_await OrReturn(Yield(cx));
        break;
      default: {
        std::optional<Message> message = co_await OrReturn(receiver.Receive(cx));
        if (!message.has_value()) co_return Ok();
        tally->Add(*message);
      }
    }
  }
}

void SendAndReceiveAll(uint32_t workers, size_t capacity) {
  std::unique_ptr<Runtime> runtime = MakeRuntime(workers);
  Watchdog watchdog(runtime.get(), kSlow ? 200 : 50);
  Random random(Seed());
  Tally tally;
  Mpsc<Message> channel = MakeMpsc<Message>(capacity);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([sender = channel.sender, self = kTasks + i, seed = random.Next()] {
      Random random(seed);
      for (uint32_t i = 0; i < kEach; ++i) {
        Message message(self, i);
        const absl::Duration patience =
            random.OneIn(3) ? absl::Microseconds(random.Below(50)) : absl::InfiniteDuration();
        while (!sender.BlockingSend(std::move(message), patience).ok()) {
        }
      }
    });
  }
  Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    for (uint32_t i = 0; i < kTasks; ++i) {
      cx.Spawn("sender", SendAll, channel.sender, i, random.Next());
    }
    {
      Sender<Message> dropped = std::move(channel.sender);
    }
    cx.Spawn("receiver", ReceiveAll, std::move(channel.receiver), &tally, random.Next());
    co_return Ok();
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_EQ(tally.count(), (kTasks + kThreads) * kEach);
}

TEST(MpscStressTest, EachMessageComesOnceWithOneWorkerAndOneSlot) { SendAndReceiveAll(1, 1); }
TEST(MpscStressTest, EachMessageComesOnceWithTwoWorkersAndOneSlot) { SendAndReceiveAll(2, 1); }
TEST(MpscStressTest, EachMessageComesOnceWithFourWorkersAndManySlots) { SendAndReceiveAll(4, 16); }

// Senders, permits and messages are dropped, and the receiver goes, at any moment: everything comes back.
TEST(MpscStressTest, EndsThatGoAtAnyMomentLeaveNothing) {
  std::unique_ptr<Runtime> runtime = MakeRuntime(2);
  Watchdog watchdog(runtime.get(), kSlow ? 200 : 50);
  constexpr int kRounds = kSlow ? 200 : 2000;
  Random random(Seed());
  const auto send = [](Cx cx, Sender<Message> sender, uint64_t seed) -> Task<void> {
    Random random(seed);
    while (true) {
      Message message(0, random.Below(100));
      const uint32_t number = message.number;
      if (random.OneIn(2)) {
        Outcome<void> sent = co_await sender.Send(cx, std::move(message));
        if (sent.ok()) continue;
        EXPECT_TRUE(message.body != nullptr && *message.body == number);
        co_return Ok();
      }
      Outcome<SendPermit<Message>> permit = co_await sender.Reserve(cx);
      if (!permit.ok()) co_return Ok();
      std::optional<Message> back = std::move(*permit).Send(std::move(message));
      if (!back.has_value()) continue;
      EXPECT_TRUE(back->body != nullptr && *back->body == number);
      co_return Ok();
    }
  };
  const auto receive = [](Cx cx, Receiver<Message> receiver, uint64_t seed) -> Task<void> {
    Random random(seed);
    for (uint32_t count = random.Below(20); count > 0; --count) {
      std::optional<Message> got = co_await OrReturn(receiver.Receive(cx));
      EXPECT_TRUE(got.has_value() && got->body != nullptr);
    }
    if (random.OneIn(2)) co_return Ok();
    std::optional<Ack<Message>> ack = co_await OrReturn(receiver.ReceiveAcked(cx));
    {
      Receiver<Message> dropped = std::move(receiver);
    }
    std::move(*ack).Nack();
    co_return Ok();
  };
  Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    for (int round = 0; round < kRounds; ++round) {
      auto body = [&](Cx cx) -> Task<void> {
        Mpsc<Message> channel = MakeMpsc<Message>(1 + random.Below(3));
        for (int i = 0; i < 3; ++i) cx.Spawn("sender", send, channel.sender, random.Next());
        cx.Spawn("receiver", receive, std::move(channel.receiver), random.Next());
        co_return Ok();
      };
      co_await OrReturn(Region::Open(cx, "round", body));
    }
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

TEST(OneshotStressTest, RequestsAreAnsweredByTasksOnOtherWorkers) {
  std::unique_ptr<Runtime> runtime = MakeRuntime(3);
  Watchdog watchdog(runtime.get(), kSlow ? 200 : 50);
  struct Request {
    Request(uint32_t number, OneshotSender<uint32_t> answer)
        : number(number), answer(std::move(answer)) {}
    uint32_t number;
    OneshotSender<uint32_t> answer;
  };
  Mpsc<Request> requests = MakeMpsc<Request>(2);
  const auto serve = [](Cx cx, Receiver<Request> requests) -> Task<void> {
    while (std::optional<Request> request = co_await OrReturn(requests.Receive(cx))) {
      if (request->number % 7 == 0) continue;  // dropped unanswered
      (void)std::move(request->answer).Send(request->number + 1);
    }
    co_return Ok();
  };
  const auto ask = [](Cx cx, Sender<Request> requests, uint64_t seed) -> Task<void> {
    Random random(seed);
    for (uint32_t i = 0; i < kEach; ++i) {
      auto [answer, answered] = MakeOneshot<uint32_t>();
      Request request(i, std::move(answer));
      co_await OrReturn(requests.Send(cx, std::move(request)));
      if (random.OneIn(8)) continue;  // goes away before the answer
      const std::optional<uint32_t> got = co_await OrReturn(answered.Receive(cx));
      EXPECT_EQ(got, i % 7 == 0 ? std::nullopt : std::optional<uint32_t>(i + 1));
    }
    co_return Ok();
  };
  Random random(Seed());
  Outcome<void> ended = runtime->BlockOn([&](Cx cx) -> Task<void> {
    cx.Spawn("server", serve, std::move(requests.receiver));
    for (int i = 0; i < 4; ++i) cx.Spawn("client", ask, requests.sender, random.Next());
    {
      Sender<Request> dropped = std::move(requests.sender);
    }
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

}  // namespace
}  // namespace quiesce::stress

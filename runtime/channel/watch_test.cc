#include "quiesce/runtime/channel/watch.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::IsCancelled;
using rules::IsOk;
using rules::TestRuntime;
using rules::Until;

// ---- values -----------------------------------------------------------------------------------------

TEST(WatchTest, AReceiverSeesTheLatestAndSkipsWhatWasBefore) {
  TestRuntime rt(1);
  EXPECT_THAT(rt.Run([](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeWatch<std::string>("a");
    EXPECT_EQ(receiver.Get(), "a");
    sender.Send("b");
    sender.Send("c");
    EXPECT_TRUE(co_await OrReturn(receiver.Changed(cx)));
    EXPECT_EQ(receiver.Get(), "c");
    EXPECT_EQ(sender.Get(), "c");
    co_return Ok();
  }),
              IsOk());
}

TEST(WatchTest, TheLastValueIsAnnouncedBeforeTheEnd) {
  TestRuntime rt(1);
  EXPECT_THAT(rt.Run([](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeWatch<int>(1);
    sender.Send(2);
    {
      auto gone = std::move(sender);
    }
    EXPECT_TRUE(co_await OrReturn(receiver.Changed(cx)));
    EXPECT_EQ(receiver.Get(), 2);
    EXPECT_FALSE(co_await OrReturn(receiver.Changed(cx)));
    EXPECT_EQ(receiver.Get(), 2);
    co_return Ok();
  }),
              IsOk());
}

// What is read, by Get, With or after a Changed, is not announced again.
TEST(WatchTest, NoValueIsAnnouncedTwice) {
  auto [sender, receiver] = MakeWatch<int>(1);
  const auto nothing_new = [&] {
    return receiver.BlockingChanged(absl::ZeroDuration()).is_cancelled();
  };
  EXPECT_TRUE(nothing_new());
  sender.Send(2);
  EXPECT_EQ(receiver.Get(), 2);
  EXPECT_TRUE(nothing_new());
  sender.Send(3);
  EXPECT_EQ(receiver.With([](const int& value) { return value; }), 3);
  EXPECT_TRUE(nothing_new());
  sender.Send(4);
  EXPECT_FALSE(nothing_new());
  EXPECT_TRUE(nothing_new());
}

TEST(WatchTest, ACloneHasSeenWhatTheOriginalHasAndASubscriberTheLatest) {
  auto [sender, receiver] = MakeWatch<int>(1);
  sender.Send(2);
  auto clone = receiver.Clone();
  auto subscriber = sender.Subscribe();
  EXPECT_EQ(sender.receivers(), 3u);
  EXPECT_TRUE(clone.BlockingChanged(absl::ZeroDuration()).value());
  EXPECT_TRUE(receiver.BlockingChanged(absl::ZeroDuration()).value());
  EXPECT_TRUE(subscriber.BlockingChanged(absl::ZeroDuration()).is_cancelled());
  EXPECT_EQ(subscriber.Get(), 2);
  {
    auto gone = std::move(clone);
  }
  EXPECT_EQ(sender.receivers(), 2u);
}

TEST(WatchTest, SendWithoutReceiversKeepsTheValue) {
  auto [sender, receiver] = MakeWatch<std::string>("a");
  {
    auto gone = std::move(receiver);
  }
  sender.Send("b");
  EXPECT_EQ(sender.receivers(), 0u);
  EXPECT_EQ(sender.Subscribe().Get(), "b");
}

TEST(WatchTest, ModifyLosesNoChange) {
  constexpr int kThreads = 4;
  constexpr int kEach = 1000;
  auto [sender, receiver] = MakeWatch<std::vector<int>>(std::vector<int>(kThreads));
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([i, sender = sender]() mutable {
      for (int j = 0; j < kEach; ++j) sender.Modify([i](std::vector<int>& counts) { ++counts[i]; });
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(receiver.Get(), std::vector<int>(kThreads, kEach));
}

// Its copy and its destructor look at the watch, which would wait for ever for a lock that is held.
struct Looks {
  explicit Looks(WatchSender<Looks>** at) : at(at) {}
  Looks(const Looks& other) : at(other.at) { Look(); }
  Looks(Looks&& other) noexcept : at(std::exchange(other.at, nullptr)) {}
  ~Looks() { Look(); }
  void Look() const {
    if (at != nullptr && *at != nullptr) (void)(*at)->receivers();
  }
  WatchSender<Looks>** at;
};

TEST(WatchTest, UserCodeRunsUnderNoLock) {
  WatchSender<Looks>* where = nullptr;
  auto [sender, receiver] = MakeWatch<Looks>(Looks(&where));
  where = &sender;
  (void)receiver.Get();
  sender.Send(Looks(&where));
  sender.Modify([&](Looks&) { (void)sender.Get(); });
  // What is being read stays, though it is not the latest any more.
  receiver.With([&](const Looks& read) {
    sender.Send(Looks(&where));
    read.Look();
  });
  where = nullptr;
}

// The function reads the same receiver, which sees a later value meanwhile: that stays seen.
TEST(WatchTest, WhatIsSeenInAVisitStaysSeen) {
  auto [sender, receiver] = MakeWatch<int>(1);
  sender.Send(2);
  receiver.With([&, &sender = sender, &receiver = receiver](const int& read) {
    sender.Send(3);
    EXPECT_EQ(receiver.Get(), 3);
    EXPECT_EQ(read, 2);
  });
  EXPECT_TRUE(receiver.BlockingChanged(absl::ZeroDuration()).is_cancelled());
}

#ifdef __cpp_exceptions
struct Brittle {
  explicit Brittle(bool* breaks) : breaks(breaks) {}
  Brittle(const Brittle& other) : breaks(other.breaks) {
    if (*breaks) throw 1;
  }
  Brittle(Brittle&&) noexcept = default;
  Brittle& operator=(Brittle&&) = default;
  bool* breaks;
};

TEST(WatchTest, AValueWhoseCopyOrVisitThrewIsNotSeen) {
  bool breaks = false;
  auto [sender, receiver] = MakeWatch<Brittle>(Brittle(&breaks));
  const auto is_new = [&, &receiver = receiver] {
    return receiver.BlockingChanged(absl::ZeroDuration()).ok();
  };
  sender.Send(Brittle(&breaks));
  breaks = true;
  EXPECT_ANY_THROW((void)receiver.Get());
  EXPECT_TRUE(is_new());
  sender.Send(Brittle(&breaks));
  EXPECT_ANY_THROW(receiver.With([](const Brittle&) { throw 1; }));
  EXPECT_TRUE(is_new());
  EXPECT_FALSE(is_new());
}
#endif

// ---- waiting ----------------------------------------------------------------------------------------

class WatchWorkersTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, WatchWorkersTest, ::testing::Values(1, 2));

// More than are woken under one lock.
TEST_P(WatchWorkersTest, EachReceiverThatWaitsIsWokenByAValueAndByTheEnd) {
  constexpr int kReceivers = 80;
  TestRuntime rt(GetParam());
  std::atomic<int> sum{0};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto watch = MakeWatch<int>(0);
    auto receive = [&sum](Cx cx, WatchReceiver<int> receiver) -> Task<void> {
      while (co_await OrReturn(receiver.Changed(cx))) sum += receiver.Get();
      co_return Ok();
    };
    for (int i = 0; i < kReceivers; ++i) cx.Spawn("receive", receive, watch.second.Clone());
    co_await OrReturn(rt.UntilParked(cx, "WatchReceiver::Changed", kReceivers));
    watch.first.Send(3);
    co_await OrReturn(Until(cx, [&] { return sum == 3 * kReceivers; }));
    co_await OrReturn(rt.UntilParked(cx, "WatchReceiver::Changed", kReceivers));
    co_return Ok();  // the sender goes
  }),
              IsOk());
}

TEST(WatchTest, PlainThreadsWaitAndTimeOut) {
  auto [sender, receiver] = MakeWatch<int>(0);
  EXPECT_THAT(receiver.BlockingChanged(absl::Milliseconds(1)), IsCancelled(CancelKind::kDeadline));
  std::thread thread([receiver = std::move(receiver)]() mutable {
    int last = 0;
    while (receiver.BlockingChanged().value()) {
      const int now = receiver.Get();
      EXPECT_GT(now, last);
      last = now;
    }
    EXPECT_EQ(last, 100);
  });
  for (int i = 1; i <= 100; ++i) sender.Send(i);
  {
    auto gone = std::move(sender);
  }
  thread.join();
}

// Senders race; receivers, some of which are cancelled now and then, see values rise and get the last.
TEST(WatchStressTest, EveryReceiverGetsToTheLastValue) {
  constexpr int kLast = 5000;
  TestRuntime rt(2);
  auto watch = std::make_optional(MakeWatch<std::shared_ptr<int>>(std::make_shared<int>(0)));
  std::thread thread;
  const auto rise = [](std::shared_ptr<int>& value) { value = std::make_shared<int>(*value + 1); };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto receive = [](Cx cx, WatchReceiver<std::shared_ptr<int>> receiver) -> Task<void> {
      int last = 0;
      int looks = 0;
      while (true) {
        std::optional<bool> changed;
        auto attempt = [&](Cx cx) -> Task<void> {
          if (looks % 2 == 0) cx.Ref().Cancel();
          changed.emplace(co_await OrReturn(receiver.Changed(cx)));
          co_return Ok();
        };
        if (++looks % 3 == 0) (void)co_await Region::Open(cx, "attempt", attempt);
        if (!changed.has_value()) changed.emplace(co_await OrReturn(receiver.Changed(cx)));
        if (!*changed) break;
        const int now = receiver.With([](const std::shared_ptr<int>& value) { return *value; });
        EXPECT_GT(now, last);
        last = now;
      }
      EXPECT_EQ(last, 2 * kLast);
      co_return Ok();
    };
    for (int i = 0; i < 4; ++i) cx.Spawn("receive", receive, watch->second.Clone());
    auto send = [rise](Cx cx, WatchSender<std::shared_ptr<int>> sender) -> Task<void> {
      for (int i = 0; i < kLast; ++i) {
        sender.Modify(rise);
        if (i % 16 == 0) co_await OrReturn(Yield(cx));
      }
      co_return Ok();
    };
    cx.Spawn("send", send, watch->first);
    thread = std::thread([rise, sender = watch->first]() mutable {
      for (int i = 0; i < kLast; ++i) sender.Modify(rise);
    });
    watch.reset();
    co_return Ok();
  }),
              IsOk());
  thread.join();
}

// ---- bad use ----------------------------------------------------------------------------------------

template <class Act>
void WhileATaskWaits(Act act) {
  TestRuntime rt(1);
  auto watch = MakeWatch<int>(0);
  std::optional<WatchReceiver<int>> receiver = std::move(watch.second);
  (void)rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("wait", [&](Cx cx) -> Task<void> {
      (void)co_await OrReturn(receiver->Changed(cx));
      co_return Ok();
    });
    co_await OrReturn(rt.UntilParked(cx, "WatchReceiver::Changed"));
    co_await OrReturn(act(cx, receiver));
    co_return Ok();
  });
}

TEST(WatchDeathTest, AnEndThatWasMovedFrom) {
  auto [sender, receiver] = MakeWatch<int>(1);
  WatchReceiver<int> elsewhere = std::move(receiver);
  EXPECT_DEATH(receiver.Get(), "a WatchReceiver was used after it had been moved from");
  WatchSender<int> other = std::move(sender);
  EXPECT_DEATH(sender.Send(1), "a WatchSender was used after it had been moved from");
}

TEST(WatchDeathTest, AReceiverThatIsDestroyedWhileATaskWaitsInIt) {
  EXPECT_DEATH(WhileATaskWaits([](Cx, std::optional<WatchReceiver<int>>& receiver) -> Task<void> {
                 receiver.reset();
                 co_return Ok();
               }),
               "a WatchReceiver is destroyed while task [0-9]+ waits in WatchReceiver::Changed");
}

TEST(WatchDeathTest, ASecondWaitInOneReceiver) {
  EXPECT_DEATH(
      WhileATaskWaits([](Cx cx, std::optional<WatchReceiver<int>>& receiver) -> Task<void> {
        (void)co_await OrReturn(receiver->Changed(cx));
        co_return Ok();
      }),
      "WatchReceiver::Changed while task [0-9]+ waits in it.*Clone it");
}

// ---- the example of the header ----------------------------------------------------------------------

TEST(WatchTest, TheExample) {
  struct Setting {
    int level = 0;
  };
  TestRuntime rt(2);
  std::atomic<int> applied{-1};
  const auto Apply = [&](const Setting& setting) { applied = setting.level; };
  const auto Read = [](const char*) { return Setting{.level = 7}; };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto [setting, watching] = MakeWatch<Setting>(Setting());
    auto apply = [&](Cx cx, WatchReceiver<Setting> setting) -> Task<void> {
      Apply(setting.Get());
      while (co_await OrReturn(setting.Changed(cx))) Apply(setting.Get());
      co_return Ok();
    };
    cx.Spawn("apply", apply, std::move(watching));
    setting.Send(Read("app.conf"));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(applied, 7);
}

}  // namespace
}  // namespace quiesce

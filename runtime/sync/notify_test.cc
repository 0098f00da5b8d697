#include "quiesce/runtime/sync/notify.h"

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::Forever;
using rules::IsCancelled;
using rules::IsCancelledBy;
using rules::IsOk;
using rules::TestRuntime;
using rules::Trail;
using rules::Until;
using ::testing::ElementsAre;

class NotifyTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, NotifyTest, ::testing::Values(1, 2));

TEST_P(NotifyTest, TheExampleOfTheHeaderHandsOutEachJobOnce) {
  TestRuntime rt(GetParam());
  constexpr int kJobs = 2000;
  ThreadMutex mutex;
  std::deque<int> jobs;
  Notify added;
  std::atomic<int> sum{0}, done{0};
  auto try_pop = [&]() -> std::optional<int> {
    ThreadMutexLock lock(mutex);
    if (jobs.empty()) return std::nullopt;
    const int job = jobs.front();
    jobs.pop_front();
    return job;
  };
  auto worker = [&](Cx cx) -> Task<void> {
    while (true) {
      while (const std::optional<int> job = try_pop()) {
        sum += *job;
        ++done;
      }
      co_await OrReturn(added.Wait(cx));
    }
  };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      std::vector<TaskHandle<void>> workers;
      for (int i = 0; i < 3; ++i) workers.push_back(cx.Spawn("worker", worker));
      for (int i = 1; i <= kJobs; ++i) {
        {
          ThreadMutexLock lock(mutex);
          jobs.push_back(i);
        }
        added.NotifyOne();
        if (i % 7 == 0) co_await OrReturn(Yield(cx));
      }
      co_await OrReturn(Until(cx, [&] { return done.load() == kJobs; }));
      for (TaskHandle<void>& task : workers) task.Cancel();
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "jobs", body);
  }),
              IsOk());
  EXPECT_EQ(sum.load(), kJobs * (kJobs + 1) / 2);
}

TEST_P(NotifyTest, OneIsStoredAndOnlyOne) {
  TestRuntime rt(GetParam());
  Notify notify;
  EXPECT_FALSE(notify.TryWait());
  notify.NotifyOne();
  notify.NotifyOne();
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    co_await OrReturn(notify.Wait(cx));
    EXPECT_FALSE(notify.TryWait());
    notify.NotifyOne();
    EXPECT_TRUE(notify.TryWait());
    EXPECT_FALSE(notify.TryWait());
    co_return Ok();
  }),
              IsOk());
}

TEST_P(NotifyTest, NotifyOneEndsTheLongestWaitAndNoOther) {
  TestRuntime rt(GetParam());
  Notify notify;
  Trail trail;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (const char* name : {"a", "b", "c"}) {
      const int before = rt.Parked("Notify::Wait");
      cx.Spawn("waiting", [&notify, &trail, name](Cx cx) -> Task<void> {
        co_await OrReturn(notify.Wait(cx));
        trail.Add(name);
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return rt.Parked("Notify::Wait") == before + 1; }));
    }
    for (size_t i = 1; i <= 3; ++i) {
      notify.NotifyOne();
      co_await OrReturn(Until(cx, [&] { return trail.Steps().size() == i; }));
    }
    co_return Ok();
  }),
              IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("a", "b", "c"));
  EXPECT_FALSE(notify.TryWait());
}

TEST_P(NotifyTest, NotifyAllEndsAllThatWaitAndStoresNothing) {
  TestRuntime rt(GetParam());
  Notify notify;
  constexpr int kWaits = 100;  // more than a batch
  std::atomic<int> woken{0};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < kWaits; ++i) {
      cx.Spawn("waiting", [&](Cx cx) -> Task<void> {
        co_await OrReturn(notify.Wait(cx));
        ++woken;
        co_return Ok();
      });
    }
    co_await OrReturn(Until(cx, [&] { return rt.Parked("Notify::Wait") == kWaits; }));
    notify.NotifyAll();
    co_await OrReturn(Until(cx, [&] { return woken.load() == kWaits; }));
    EXPECT_FALSE(notify.TryWait());
    co_return Ok();
  }),
              IsOk());
}

TEST_P(NotifyTest, NotifyAllReachesAWaitThatIsMadeAndNotAwaitedYet) {
  TestRuntime rt(GetParam());
  Notify notify;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    NotifyWait before = notify.Wait(cx);
    notify.NotifyOne();
    notify.NotifyAll();
    co_await OrReturn(before);
    // By the NotifyAll: what is stored is still there.
    EXPECT_TRUE(notify.TryWait());
    NotifyWait after = notify.Wait(cx);
    Notify other;
    other.NotifyOne();
    NotifyWait ready = other.Wait(cx);
    auto won = co_await OrReturn(Select(cx, after, ready));
    EXPECT_EQ(won.index(), 1u);
    co_return Ok();
  }),
              IsOk());
}

// Of two that wait one is cancelled while somebody notifies: whoever is left has been notified, always.
TEST_P(NotifyTest, WhatACancelledWaitWouldHaveGotGoesToTheNext) {
  TestRuntime rt(GetParam());
  for (int round = 0; round < 500; ++round) {
    Notify notify;
    std::atomic<int> woken{0};
    std::thread notifier;
    std::atomic<bool> go{false};
    ASSERT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        auto wait = [&](Cx cx) -> Task<void> {
          co_await OrReturn(notify.Wait(cx));
          ++woken;
          co_return Ok();
        };
        auto first = cx.Spawn("first", wait);
        auto second = cx.Spawn("second", wait);
        notifier = std::thread([&] {
          while (!go.load()) std::this_thread::yield();
          notify.NotifyOne();
        });
        if (round % 2 == 0) co_await OrReturn(Yield(cx));
        go.store(true);
        first.Cancel();
        const Outcome<void> ended = co_await OrReturn(first.Join(cx));
        if (ended.ok()) {
          // It was notified before the cancel: the other is still to be.
          notify.NotifyOne();
        }
        Outcome<void> other = co_await OrReturn(second.Join(cx));
        EXPECT_THAT(other, IsOk());
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "round", body);
    }),
                IsOk());
    notifier.join();
    ASSERT_FALSE(notify.TryWait());
  }
}

TEST_P(NotifyTest, TheWokenTaskMayDestroyItAtOnce) {
  TestRuntime rt(GetParam());
  for (int i = 0; i < 500; ++i) {
    std::thread notifier;
    ASSERT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto notify = std::make_unique<Notify>();
      notifier = std::thread([raw = notify.get(), i] {
        if (i % 2 == 0) return raw->NotifyOne();
        raw->NotifyAll();
        raw->NotifyOne();
      });
      // Both calls have begun once the second has been seen; the first may still be on its way out.
      if (i % 2 == 0) {
        co_await OrReturn(notify->Wait(cx));
      } else {
        co_await OrReturn(Until(cx, [&] { return notify->TryWait(); }));
      }
      notify.reset();
      co_return Ok();
    }),
                IsOk());
    notifier.join();
  }
}

TEST(NotifyThreadTest, AThreadWaitsInTheSameLine) {
  TestRuntime rt;
  Notify notify;
  EXPECT_THAT(notify.BlockingWait(absl::Milliseconds(1)), IsCancelled(CancelKind::kDeadline));
  notify.NotifyOne();
  EXPECT_THAT(notify.BlockingWait(), IsOk());
  std::atomic<int> thread_got{0}, task_got{0};
  constexpr int kEach = 2000;
  std::thread waiting([&] {
    for (int i = 0; i < kEach; ++i) {
      if (notify.BlockingWait().ok()) ++thread_got;
    }
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("waiting", [&](Cx cx) -> Task<void> {
      for (int i = 0; i < kEach; ++i) {
        co_await OrReturn(notify.Wait(cx));
        ++task_got;
      }
      co_return Ok();
    });
    // Stored ones are merged, so more are needed than waits.
    co_await OrReturn(Until(cx, [&] {
      notify.NotifyOne();
      return thread_got.load() == kEach && task_got.load() == kEach;
    }));
    co_return Ok();
  }),
              IsOk());
  waiting.join();
}

TEST(NotifyDeathTest, DestroyedWhileATaskWaitsIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          auto notify = std::make_unique<Notify>();
          cx.Spawn("sleeper", [raw = notify.get()](Cx cx) -> Task<void> {
            co_await OrReturn(raw->Wait(cx));
            co_return Ok();
          });
          co_await OrReturn(Until(cx, [&] { return rt.Parked("Notify::Wait") == 1; }));
          notify.reset();
          co_return Ok();
        });
      },
      "a Notify was destroyed while task 'sleeper'");
}

// The notification passes over it, so it stands in line no more; but it has yet to leave.
TEST(NotifyDeathTest, DestroyedBeforeACancelledWaitHasLeftIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const bool all : {false, true}) {
    EXPECT_DEATH(
        {
          TestRuntime rt(1);
          (void)rt.Run([&](Cx cx) -> Task<void> {
            auto notify = std::make_unique<Notify>();
            auto sleeper = cx.Spawn("sleeper", [raw = notify.get()](Cx cx) -> Task<void> {
              co_await OrReturn(raw->Wait(cx));
              co_return Ok();
            });
            co_await OrReturn(Until(cx, [&] { return rt.Parked("Notify::Wait") == 1; }));
            sleeper.Cancel();  // the only worker is ours
            if (all) {
              notify->NotifyAll();
            } else {
              notify->NotifyOne();
            }
            notify.reset();
            co_return Ok();
          });
        },
        "a Notify was destroyed before 1 of its waits, cancelled when it was notified, has ended");
  }
}

TEST(NotifyDeathTest, BlockingInATaskIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([](Cx) -> Task<void> {
          Notify notify;
          co_return notify.BlockingWait();
        });
      },
      "Notify::BlockingWait was called in a task");
}

}  // namespace
}  // namespace quiesce

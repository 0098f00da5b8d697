#include "quiesce/runtime/scheduler/run_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace quiesce {
namespace {

constexpr Instant kNever = Instant::InfiniteFuture();

struct Item : Runnable {
  explicit Item(int number = 0) : Runnable([](Runnable*) {}), number(number) {}
  int number;
  std::atomic<int> taken{0};
};

class RunQueueTest : public ::testing::Test {
 protected:
  RunQueueTest() {
    for (int i = 0; i < 1000; ++i) items_.emplace_back(i);
  }
  Item* item(int number) { return &items_[number]; }
  void Back(int number) { queue_.Push(item(number), Lane::kReady, Place::kBack, kNever); }
  void Next(int number) { queue_.Push(item(number), Lane::kReady, Place::kNext, kNever); }
  void Cancel(int number) { queue_.Push(item(number), Lane::kCancel, Place::kBack, kNever); }
  void Timed(int number, int64_t deadline) {
    queue_.Push(item(number), Lane::kTimed, Place::kBack, Instant::FromNanos(deadline));
  }
  int Pop(bool hungry = false) {
    Runnable* runnable = queue_.Pop(hungry);
    return runnable == nullptr ? -1 : static_cast<Item*>(runnable)->number;
  }

  std::deque<Item> items_;
  RunQueue queue_;
};

TEST_F(RunQueueTest, ReadyWorkIsFirstInFirstOut) {
  for (int i = 0; i < 500; ++i) Back(i);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(Pop(), i);
  EXPECT_EQ(Pop(), -1);
}

TEST_F(RunQueueTest, WhatWasWokenLastRunsNextAndDisplacesTheOneBefore) {
  Back(0);
  Next(1);
  Next(2);
  EXPECT_EQ(Pop(), 2);
  EXPECT_EQ(Pop(), 0);
  EXPECT_EQ(Pop(), 1);
}

TEST_F(RunQueueTest, SlotDoesNotStarveTheOthers) {
  for (bool hungry : {false, true}) {
    Back(1);
    Back(2);
    Next(0);
    int polls = 0;
    while (Pop(hungry) == 0) {
      ASSERT_LE(++polls, 3);
      Next(0);
    }
    EXPECT_EQ(polls, 3);
    EXPECT_EQ(Pop(hungry), 2);
    EXPECT_EQ(Pop(hungry), 0);
    EXPECT_EQ(Pop(hungry), -1);
  }
}

TEST_F(RunQueueTest, HungryPopLeavesNothingPrivate) {
  Back(0);
  Back(1);
  Next(2);
  Cancel(3);
  Cancel(4);
  Timed(5, 7);
  EXPECT_EQ(Pop(true), 3);
  EXPECT_TRUE(queue_.private_empty());
  RunQueue thief;
  std::vector<int> stolen;
  for (Lane lane : {Lane::kCancel, Lane::kTimed, Lane::kReady}) {
    while (thief.StealFrom(queue_, lane)) {
      while (Runnable* runnable = thief.Pop(false)) {
        stolen.push_back(static_cast<Item*>(runnable)->number);
      }
    }
  }
  EXPECT_EQ(stolen, (std::vector<int>{4, 5, 2, 0, 1}));
  EXPECT_EQ(queue_.shared_lanes(), 0u);
}

TEST_F(RunQueueTest, HungryPopOfTheOnlyOneSharesNothing) {
  for (int round = 0; round < 10; ++round) {
    if (round % 2 == 0) {
      Back(0);
    } else {
      Next(0);
    }
    EXPECT_EQ(Pop(true), 0);
    EXPECT_EQ(queue_.shared_lanes(), 0u);
  }
}

TEST_F(RunQueueTest, SharedWorkIsOlderThanWhatWasPostedAfterIt) {
  for (int i = 0; i < 10; ++i) Back(i);
  queue_.Publish();
  for (int i = 10; i < 20; ++i) Back(i);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Pop(i % 3 == 0), i);
}

TEST_F(RunQueueTest, ForeignWorkComesInItsTurnAndStarvesNobody) {
  for (Lane lane : {Lane::kReady, Lane::kCancel}) {
    for (bool hungry : {false, true}) {
      queue_.Push(item(0), lane, Place::kBack, kNever);
      int foreign = 1;
      int before = 0;
      while (true) {
        queue_.PushShared(item(foreign++), lane, kNever);
        if (Pop(hungry) == 0) break;
        ASSERT_LE(++before, 3);
      }
      while (Pop() != -1) {
      }
    }
  }
}

TEST_F(RunQueueTest, EarliestDeadlineFirstAcrossPrivateAndSharedParts) {
  Timed(0, 50);
  Timed(1, 10);
  queue_.PushShared(item(2), Lane::kTimed, Instant::FromNanos(20));
  queue_.PushShared(item(3), Lane::kTimed, Instant::FromNanos(5));
  EXPECT_EQ(Pop(), 3);
  queue_.PushShared(item(4), Lane::kTimed, Instant::FromNanos(7));
  EXPECT_EQ(Pop(true), 4);
  EXPECT_EQ(Pop(), 1);
  EXPECT_EQ(Pop(true), 2);
  EXPECT_EQ(Pop(), 0);
}

TEST_F(RunQueueTest, LanesGoAsThePickerSays) {
  for (bool hungry : {false, true}) {
    for (int i = 0; i < 100; ++i) Back(i);
    for (int i = 100; i < 200; ++i) Cancel(i);
    for (int i = 200; i < 300; ++i) Timed(i, i);
    std::vector<int> order;
    for (int number = Pop(hungry); number != -1; number = Pop(hungry)) order.push_back(number);
    ASSERT_EQ(order.size(), 300u);
    std::vector<int> expected;
    LanePicker picker;
    int at[3] = {100, 200, 0};
    const int end[3] = {200, 300, 100};
    while (auto lane = picker.Next(at[0] < end[0], at[1] < end[1], at[2] < end[2])) {
      expected.push_back(at[static_cast<int>(*lane)]++);
    }
    EXPECT_EQ(order, expected) << "hungry: " << hungry;
  }
}

TEST_F(RunQueueTest, ThiefTakesHalfRoundedUp) {
  for (int i = 0; i < 9; ++i) Back(i);
  queue_.Publish();
  RunQueue thief;
  for (int expected : {5, 2, 1, 1, 0}) {
    EXPECT_EQ(thief.StealFrom(queue_, Lane::kReady), expected != 0);
    int count = 0;
    while (thief.Pop(false) != nullptr) ++count;
    EXPECT_EQ(count, expected);
  }
}

TEST_F(RunQueueTest, BatchesKeepTheirOrder) {
  for (Lane lane : {Lane::kReady, Lane::kCancel}) {
    RunnableQueue batch;
    for (int i = 0; i < 10; ++i) batch.PushBack(item(i));
    queue_.Append(batch, lane);
    for (int i = 10; i < 20; ++i) batch.PushBack(item(i));
    queue_.Publish();
    queue_.AppendShared(batch, lane);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(Pop(), i);
    EXPECT_EQ(Pop(), -1);
  }
}

TEST_F(RunQueueTest, PopIfGivesOnlyWhatIsWantedAndWouldComeNext) {
  const auto pop_if = [this](int number) {
    Runnable* runnable = queue_.PopIf([&](Runnable* next) { return next == item(number); });
    return runnable == nullptr ? -1 : static_cast<Item*>(runnable)->number;
  };
  EXPECT_EQ(pop_if(0), -1) << "nothing is there";
  Back(0);
  Back(1);
  EXPECT_EQ(pop_if(1), -1) << "it is not the next";
  EXPECT_EQ(pop_if(0), 0);
  EXPECT_EQ(pop_if(1), 1);
  EXPECT_EQ(Pop(), -1);
  // Whatever else is there, another lane, the slot or what is shared, has to be looked at first.
  Back(2);
  Cancel(3);
  EXPECT_EQ(pop_if(2), -1);
  EXPECT_EQ(Pop(), 3);
  Timed(4, 1);
  EXPECT_EQ(pop_if(2), -1);
  EXPECT_EQ(Pop(), 4);
  Next(5);
  EXPECT_EQ(pop_if(2), -1);
  EXPECT_EQ(Pop(), 5);
  queue_.Publish();
  EXPECT_EQ(pop_if(2), -1);
  EXPECT_EQ(Pop(), 2);
  EXPECT_EQ(Pop(), -1);
}

// Owner, thieves and foreign threads at once: nothing is lost and nothing is taken twice.
TEST(RunQueueStressTest, EachIsTakenOnce) {
  constexpr int kItems = 60'000;
  std::deque<Item> items;
  for (int i = 0; i < kItems; ++i) items.emplace_back(i);
  RunQueue queue;
  std::atomic<int> taken{0};
  std::atomic<int> foreign_next{kItems / 2};
  const auto take = [&](Runnable* runnable) {
    static_cast<Item*>(runnable)->taken.fetch_add(1, std::memory_order_relaxed);
    taken.fetch_add(1, std::memory_order_relaxed);
  };
  const auto lane_of = [](int number) { return static_cast<Lane>(number % 3); };
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    std::mt19937 random(1);
    int next = 0;
    while (taken.load(std::memory_order_relaxed) < kItems) {
      for (uint32_t i = random() % 20; i > 0 && next < kItems / 2; --i, ++next) {
        const Place place = random() % 2 == 0 ? Place::kNext : Place::kBack;
        queue.Push(&items[next], lane_of(next), place, Instant::FromNanos(next));
      }
      for (uint32_t i = random() % 20; i > 0; --i) {
        if (Runnable* runnable = queue.Pop(random() % 4 == 0)) take(runnable);
      }
      if (next == kItems / 2) std::this_thread::yield();
    }
  });
  threads.emplace_back([&] {
    while (true) {
      const int number = foreign_next.fetch_add(1);
      if (number >= kItems) break;
      queue.PushShared(&items[number], lane_of(number), Instant::FromNanos(number));
    }
  });
  threads.emplace_back([&] {
    RunQueue thief;
    while (taken.load(std::memory_order_relaxed) < kItems) {
      bool any = false;
      for (Lane lane : {Lane::kCancel, Lane::kTimed, Lane::kReady}) {
        any |= thief.StealFrom(queue, lane);
      }
      while (Runnable* runnable = thief.Pop(false)) take(runnable);
      if (!any) std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  for (Item& item : items) ASSERT_EQ(item.taken.load(), 1) << item.number;
  EXPECT_EQ(queue.Pop(false), nullptr);
}

}  // namespace
}  // namespace quiesce

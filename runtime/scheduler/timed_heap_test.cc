#include "quiesce/runtime/scheduler/timed_heap.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace quiesce {
namespace {

struct Item : Runnable {
  Item() : Runnable([](Runnable*) {}) {}
  int64_t deadline = 0;
  int number = 0;
};

std::deque<Item> MakeItems(int count) {
  std::deque<Item> items(count);
  for (int i = 0; i < count; ++i) items[i].number = i;
  return items;
}

TEST(TimedHeapTest, GivesTheEarliestDeadlineFirstAndEqualOnesInTheirOrder) {
  std::mt19937 random(7);
  std::deque<Item> items = MakeItems(1000);
  TimedHeap heap;
  for (Item& item : items) {
    item.deadline = static_cast<int64_t>(random() % 20);
    heap.Push(&item, Instant::FromNanos(item.deadline));
  }
  const Item* last = nullptr;
  for (int i = 0; i < 1000; ++i) {
    const Item* item = static_cast<Item*>(heap.Pop());
    if (last != nullptr) {
      EXPECT_LE(last->deadline, item->deadline);
      if (last->deadline == item->deadline) {
        EXPECT_LT(last->number, item->number);
      }
    }
    last = item;
  }
  EXPECT_EQ(heap.Pop(), nullptr);
}

TEST(TimedHeapTest, MergeAndMoveKeepTheOrder) {
  std::deque<Item> items = MakeItems(100);
  for (size_t first_size : {0, 1, 50, 99, 100}) {
    TimedHeap first, second;
    for (size_t i = 0; i < items.size(); ++i) {
      (i < first_size ? first : second)
          .Push(&items[i], Instant::FromNanos(static_cast<int64_t>(i)));
    }
    first.Merge(second);
    EXPECT_TRUE(second.empty());
    EXPECT_EQ(first.size(), items.size());
    first.MoveFront(30, second);
    EXPECT_EQ(second.size(), 30u);
    for (size_t i = 0; i < 30; ++i) EXPECT_EQ(second.Pop(), &items[i]);
    for (size_t i = 30; i < 100; ++i) EXPECT_EQ(first.Pop(), &items[i]);
  }
}

// What keeps coming with an equal deadline in one heap must not overtake what waits in the other.
TEST(TimedHeapTest, EqualDeadlinesOfTwoHeapsDoNotStarveEachOther) {
  std::deque<Item> items = MakeItems(400);
  TimedHeap mine, theirs;
  const Instant deadline = Instant::FromNanos(1);
  size_t next = 0;
  for (int i = 0; i < 100; ++i) {  // far ahead in its count
    mine.Push(&items[next++], deadline);
    mine.Pop();
  }
  Item waiting;
  mine.Push(&waiting, deadline);
  int overtaken = 0;
  while (true) {
    theirs.Push(&items[next++], deadline);
    mine.Merge(theirs);
    if (mine.Pop() == &waiting) break;
    ASSERT_LE(++overtaken, 2);
  }
}

}  // namespace
}  // namespace quiesce

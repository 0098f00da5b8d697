#include "quiesce/runtime/base/intrusive_list.h"

#include <algorithm>
#include <deque>
#include <list>
#include <random>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quiesce {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Item : ListHook {
  explicit Item(int id) : id(id) {}
  int id;
};

std::vector<int> Ids(const IntrusiveList<Item>& list) {
  std::vector<int> ids;
  for (const Item* item = list.front(); item != nullptr; item = list.Next(item)) {
    ids.push_back(item->id);
  }
  return ids;
}

TEST(IntrusiveListTest, StartsEmpty) {
  IntrusiveList<Item> list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
  EXPECT_EQ(list.PopFront(), nullptr);
}

TEST(IntrusiveListTest, PushesAtBothEndsAndPopsAtTheFront) {
  IntrusiveList<Item> list;
  Item one(1), two(2), three(3);
  list.PushBack(&two);
  list.PushBack(&three);
  list.PushFront(&one);
  EXPECT_THAT(Ids(list), ElementsAre(1, 2, 3));
  EXPECT_EQ(list.PopFront(), &one);
  EXPECT_EQ(list.PopFront(), &two);
  EXPECT_EQ(list.PopFront(), &three);
  EXPECT_TRUE(list.empty());
}

TEST(IntrusiveListTest, AppendMovesAllBehindWhatIsThere) {
  IntrusiveList<Item> list, other;
  Item one(1), two(2), three(3), four(4);
  list.Append(other);
  EXPECT_THAT(Ids(list), IsEmpty());
  other.PushBack(&one);
  other.PushBack(&two);
  list.Append(other);
  EXPECT_THAT(Ids(list), ElementsAre(1, 2));
  EXPECT_TRUE(other.empty());
  other.PushBack(&three);
  other.PushBack(&four);
  list.Append(other);
  EXPECT_THAT(Ids(list), ElementsAre(1, 2, 3, 4));
  // What was moved leaves like any other, and both lists can be used again.
  IntrusiveList<Item>::Remove(&two);
  IntrusiveList<Item>::Remove(&four);
  EXPECT_THAT(Ids(list), ElementsAre(1, 3));
  other.PushBack(&four);
  list.PushBack(&two);
  EXPECT_THAT(Ids(list), ElementsAre(1, 3, 2));
  EXPECT_THAT(Ids(other), ElementsAre(4));
}

TEST(IntrusiveListTest, RemovesAnywhereWithoutTheList) {
  for (int removed = 0; removed < 3; ++removed) {
    IntrusiveList<Item> list;
    std::vector<Item> items = {Item(0), Item(1), Item(2)};
    for (Item& item : items) list.PushBack(&item);
    IntrusiveList<Item>::Remove(&items[removed]);
    std::vector<int> expected = {0, 1, 2};
    expected.erase(expected.begin() + removed);
    EXPECT_EQ(Ids(list), expected);
    list.PushBack(&items[removed]);
    expected.push_back(removed);
    EXPECT_EQ(Ids(list), expected) << "a removed element may be inserted again";
  }
}

TEST(IntrusiveListTest, LinkedIsExact) {
  IntrusiveList<Item> list;
  Item one(1), two(2);
  EXPECT_FALSE(one.linked());
  list.PushBack(&one);
  EXPECT_TRUE(one.linked()) << "also when it is alone";
  list.PushBack(&two);
  list.PopFront();
  EXPECT_FALSE(one.linked());
  EXPECT_TRUE(two.linked());
  IntrusiveList<Item>::Remove(&two);
  EXPECT_FALSE(two.linked());
}

TEST(IntrusiveListTest, AgreesWithAPlainListUnderRandomOperations) {
  std::mt19937 random(1);
  std::deque<Item> items;  // addresses stay
  for (int id = 0; id < 20; ++id) items.emplace_back(id);
  IntrusiveList<Item> list;
  std::list<int> plain;
  for (int step = 0; step < 5'000; ++step) {
    Item& item = items[random() % items.size()];
    const unsigned operation = random() % 4;
    if (operation == 0) {
      const Item* popped = list.PopFront();
      ASSERT_EQ(popped == nullptr, plain.empty());
      if (popped != nullptr) {
        ASSERT_EQ(popped->id, plain.front());
        plain.pop_front();
      }
    } else if (item.linked()) {
      IntrusiveList<Item>::Remove(&item);
      plain.remove(item.id);
    } else if (operation == 1) {
      list.PushFront(&item);
      plain.push_front(item.id);
    } else {
      list.PushBack(&item);
      plain.push_back(item.id);
    }
    ASSERT_EQ(Ids(list), std::vector<int>(plain.begin(), plain.end()));
    for (const Item& each : items) {
      ASSERT_EQ(each.linked(), std::count(plain.begin(), plain.end(), each.id) == 1);
    }
  }
}

struct Node {
  explicit Node(int id) : id(id) {}
  int id;
  Node* next = nullptr;
};
using Queue = IntrusiveQueue<Node>;

std::vector<int> Drain(Queue& queue) {
  std::vector<int> ids;
  while (Node* node = queue.PopFront()) ids.push_back(node->id);
  return ids;
}

TEST(IntrusiveQueueTest, IsFirstInFirstOutAndCounts) {
  Queue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.PopFront(), nullptr);
  Node one(1), two(2);
  queue.PushBack(&one);
  EXPECT_EQ(queue.front(), &one);
  queue.PushBack(&two);
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.PopFront(), &one);
  EXPECT_EQ(one.next, nullptr) << "a popped element points at nothing";
  EXPECT_EQ(queue.size(), 1u);
  queue.PushBack(&one);
  EXPECT_THAT(Drain(queue), ElementsAre(2, 1));
  queue.PushBack(&two);
  EXPECT_THAT(Drain(queue), ElementsAre(2)) << "a drained queue may be filled again";
}

TEST(IntrusiveQueueTest, AppendMovesEverythingBehind) {
  for (int left_size = 0; left_size < 3; ++left_size) {
    for (int right_size = 0; right_size < 3; ++right_size) {
      std::deque<Node> nodes;
      std::vector<int> expected;
      Queue left, right;
      for (int i = 0; i < left_size + right_size; ++i) {
        nodes.emplace_back(i);
        (i < left_size ? left : right).PushBack(&nodes.back());
        expected.push_back(i);
      }
      left.Append(right);
      EXPECT_TRUE(right.empty());
      EXPECT_EQ(right.size(), 0u);
      EXPECT_EQ(left.size(), expected.size());
      Node last(99);
      left.PushBack(&last);  // the back is where it should be
      expected.push_back(99);
      EXPECT_EQ(Drain(left), expected);
      Node again(7);
      right.PushBack(&again);
      EXPECT_THAT(Drain(right), ElementsAre(7));
    }
  }
}

TEST(IntrusiveQueueTest, MoveFrontMovesAtMostWhatIsThere) {
  for (size_t count = 0; count < 5; ++count) {
    std::deque<Node> nodes;
    for (int i = 0; i < 4; ++i) nodes.emplace_back(i);
    Queue from, to;
    to.PushBack(&nodes[3]);
    for (int i = 0; i < 3; ++i) from.PushBack(&nodes[i]);
    from.MoveFront(count, to);
    std::vector<int> moved = {3}, stayed;
    for (size_t i = 0; i < 3; ++i) (i < count ? moved : stayed).push_back(static_cast<int>(i));
    EXPECT_EQ(to.size(), moved.size());
    EXPECT_EQ(from.size(), stayed.size());
    EXPECT_EQ(Drain(to), moved);
    EXPECT_EQ(Drain(from), stayed);
  }
}

TEST(IntrusiveQueueTest, AMoveLeavesAnEmptyQueue) {
  Node one(1), two(2);
  Queue from;
  from.PushBack(&one);
  from.PushBack(&two);
  Queue to = std::move(from);
  EXPECT_THAT(Drain(from), IsEmpty());
  EXPECT_EQ(from.size(), 0u);
  EXPECT_EQ(to.size(), 2u);
  EXPECT_THAT(Drain(to), ElementsAre(1, 2));
}

}  // namespace
}  // namespace quiesce

#include "quiesce/runtime/channel/chunk_queue.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <utility>

#include "gtest/gtest.h"
#include "quiesce/runtime/base/slab.h"

namespace quiesce::channel_internal {
namespace {

// Against std::deque, by random operations. Each value is a heap object, for the leak checker.
void CompareWithDeque(size_t most, uint32_t seed) {
  const size_t memory_before = GetSlabStats().live_bytes;
  {
    std::minstd_rand random(seed);
    ChunkQueue<std::unique_ptr<int>> queue(most);
    std::deque<int> expected;
    int next = 0;
    uint32_t growth =
        0;  // how likely it is pushed to: so that it is long at times, and empty at others
    for (int step = 0; step < 20'000; ++step) {
      if (step % 500 == 0) growth = random() % 4;
      const uint32_t what = random() % 6;
      if (what < 1 + growth) {
        queue.PushBack(std::make_unique<int>(next));
        expected.push_back(next++);
      } else if (what == 4 && random() % 8 == 0) {
        queue.PushFront(std::make_unique<int>(next));
        expected.push_front(next++);
      } else if (!expected.empty()) {
        ASSERT_EQ(*queue.front(), expected.front());
        queue.PopFront();
        expected.pop_front();
      }
      ASSERT_EQ(queue.size(), expected.size());
      ASSERT_EQ(queue.empty(), expected.empty());
    }
    ChunkQueue<std::unique_ptr<int>> moved(std::move(queue));
    EXPECT_TRUE(queue.empty());
    EXPECT_EQ(queue.size(), 0u);
    queue.PushBack(std::make_unique<int>(1));
    while (!expected.empty()) {
      ASSERT_EQ(*moved.front(), expected.front());
      moved.PopFront();
      expected.pop_front();
    }
    moved.PushBack(std::make_unique<int>(2));
  }
  EXPECT_EQ(GetSlabStats().live_bytes, memory_before);
}

TEST(ChunkQueueTest, IsAFifoWithAFrontOfAnySize) {
  for (size_t most : {1, 2, 3, 7, 64, 1000}) {
    for (uint32_t seed = 1; seed <= 5; ++seed) CompareWithDeque(most, seed);
  }
}

TEST(ChunkQueueTest, StaysOnOneChunkWhileShort) {
  ChunkQueue<uint64_t> queue(1000);
  queue.PushBack(0);
  const uint64_t* first = &queue.front();
  const size_t memory = GetSlabStats().live_bytes;
  queue.PopFront();
  for (uint64_t i = 0; i < 1000; ++i) {
    queue.PushBack(uint64_t{i});
    EXPECT_EQ(&queue.front(), first);
    queue.PopFront();
  }
  EXPECT_EQ(GetSlabStats().live_bytes, memory);
}

TEST(ChunkQueueTest, KeepsOneChunkMoreThanItNeeds) {
  const size_t memory_before = GetSlabStats().live_bytes;
  ChunkQueue<uint64_t> queue(1000);
  for (uint64_t i = 0; i < 1000; ++i) queue.PushBack(uint64_t{i});
  const size_t memory_full = GetSlabStats().live_bytes - memory_before;
  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(queue.front(), i);
    queue.PopFront();
  }
  EXPECT_LE(GetSlabStats().live_bytes - memory_before, memory_full / 7);
}

}  // namespace
}  // namespace quiesce::channel_internal

#include "quiesce/runtime/base/slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "quiesce/runtime/base/sanitizers.h"

namespace quiesce {
namespace {

size_t Live() { return GetSlabStats().live_bytes; }
size_t Reserved() { return GetSlabStats().reserved_bytes; }

// Blocks of one size, freed at the end.
class Blocks {
 public:
  Blocks(size_t count, size_t size) : size_(size) {
    for (size_t i = 0; i < count; ++i) blocks_.push_back(SlabAllocate(size));
  }
  ~Blocks() { Free(); }
  void Free() {
    for (void* block : blocks_) SlabFree(block, size_);
    blocks_.clear();
  }
  const std::vector<void*>& get() const { return blocks_; }

 private:
  const size_t size_;
  std::vector<void*> blocks_;
};

TEST(SlabTest, BlocksAreAlignedWritableAndDistinct) {
  for (size_t size : {0, 1, 15, 16, 17, 64, 255, 256, 257, 320, 1023, 1024, 1025, 2048, 4095, 4096,
                      4097, 100'000}) {
    Blocks blocks(200, size);
    for (size_t i = 0; i < 200; ++i) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.get()[i]) % 16, 0u);
      std::memset(blocks.get()[i], static_cast<int>(i), size);
    }
    for (size_t i = 0; i < 200; ++i) {
      const auto* bytes = static_cast<const unsigned char*>(blocks.get()[i]);
      EXPECT_TRUE(std::all_of(bytes, bytes + size, [i](unsigned char byte) { return byte == i; }));
    }
  }
}

TEST(SlabTest, WasteIsBounded) {
  for (size_t size = 1; size <= kMaxSlabBlock; ++size) {
    const size_t real = SlabBlockSize(size);
    EXPECT_GE(real, size);
    EXPECT_EQ(SlabBlockSize(real), real);
    EXPECT_LT(real, size <= 256 ? size + 16 : size <= 1024 ? size + 64 : size + size / 4);
  }
}

TEST(SlabTest, BlockStartIsFoundFromAnyByteOfAnySize) {
  for (size_t size = 16; size <= kMaxSlabBlock; size += 16) {
    Blocks blocks(70'000 / size, size);  // all of a slab
    for (void* block : blocks.get()) {
      auto* begin = static_cast<char*>(block);
      for (size_t offset : {size_t{0}, size_t{1}, size / 2, size - 1}) {
        ASSERT_EQ(SlabBlockStart(begin + offset), block) << size << "+" << offset;
      }
    }
  }
}

TEST(SlabTest, StatsCountWhatIsHandedOut) {
  const size_t before = Live();
  const size_t blocks_before = GetSlabStats().live_blocks;
  {
    Blocks small(1000, 40), large(3, 10'000);
    EXPECT_EQ(Live() - before, 1000 * 48 + 3 * 10'000u);
    EXPECT_EQ(GetSlabStats().live_blocks - blocks_before, 1003u);
  }
  EXPECT_EQ(Live(), before);
  EXPECT_EQ(GetSlabStats().live_blocks, blocks_before);
}

TEST(SlabTest, FreedMemoryServesTheNextAllocations) {
  Blocks(10'000, 192).Free();
  const size_t reserved = Reserved();
  for (int round = 0; round < 10; ++round) Blocks(10'000, 192).Free();
  for (size_t size : {32, 1000, 4096}) Blocks(1'900'000 / size, size).Free();
  EXPECT_LE(Reserved(), reserved + (size_t{3} << 16)) << "one slab in use for each size";
}

TEST(SlabTest, TrimGivesEverythingBackAndItReadsAsZero) {
  SlabTrim();
  const size_t before = Reserved();
  Blocks blocks(5000, 512);
  std::vector<void*> stale = blocks.get();
  for (void* block : stale) std::memset(block, 0xff, 512);
  EXPECT_GT(Reserved(), before + 5000 * 512);
  blocks.Free();
  SlabTrim();
  EXPECT_EQ(Reserved(), before);
  EXPECT_EQ(Live(), 0u);
#if !QUIESCE_ASAN  // there, a stale read is an error
  for (void* block : stale) EXPECT_EQ(*static_cast<const volatile char*>(block), 0);
#endif
  // And can be used again.
  Blocks again(5000, 512);
  for (void* block : again.get()) std::memset(block, 1, 512);
}

TEST(SlabTest, BlocksFreedElsewhereComeBackToTheirOwner) {
  auto blocks = std::make_unique<Blocks>(20'000, 128);
  const size_t reserved = Reserved();
  for (int round = 0; round < 5; ++round) {
    std::thread([&] { blocks.reset(); }).join();
    EXPECT_EQ(Live(), 0u);
    blocks = std::make_unique<Blocks>(20'000, 128);
    EXPECT_LE(Reserved(), reserved + (2 << 16));
  }
  std::thread([&] { blocks.reset(); }).join();
  SlabTrim();
  EXPECT_EQ(Reserved(), 0u);
}

TEST(SlabTest, MemoryOfAnEndedThreadIsUsedByOthers) {
  std::unique_ptr<Blocks> left;
  // Every second block stays, so that no slab is wholly free.
  std::thread([&] {
    left = std::make_unique<Blocks>(20'000, 128);
    std::vector<void*> kept;
    for (size_t i = 0; i < left->get().size(); ++i) {
      if (i % 2 == 0) {
        kept.push_back(left->get()[i]);
      } else {
        SlabFree(left->get()[i], 128);
      }
    }
    const_cast<std::vector<void*>&>(left->get()) = kept;
  }).join();
  const size_t reserved = Reserved();
  Blocks mine(9'000, 128);
  EXPECT_LE(Reserved(), reserved + (1 << 16));
  left.reset();  // what was the other's is mine now
  mine.Free();
  SlabTrim();
  EXPECT_EQ(Reserved(), 0u);
}

// The thread that frees learns of the heir's heap from the slab alone; thread sanitizer watches this.
TEST(SlabTest, BlockWhoseSlabWentToAYoungerHeapIsFreedElsewhere) {
  constexpr size_t kSize = 3000;
  constexpr size_t kMoreThanASlab = 64;
  // Relaxed: orders the threads in time, and publishes nothing.
  std::atomic<int> stage{0};
  const auto reach = [&stage](int n) {
    while (stage.load(std::memory_order_relaxed) != n) std::this_thread::yield();
  };
  const size_t live = Live();
  void* block = nullptr;
  std::thread owner([&] {
    block = SlabAllocate(kSize);
    stage.store(1, std::memory_order_relaxed);
    reach(3);
  });
  reach(1);
  std::thread heir([&] {
    SlabFree(SlabAllocate(kSize), kSize);  // attaches a heap while the owner has its own
    stage.store(2, std::memory_order_relaxed);
    reach(4);
    Blocks many(kMoreThanASlab, kSize);  // takes the ended owner's slabs over
    stage.store(5, std::memory_order_relaxed);
    reach(6);
  });
  reach(2);
  stage.store(3, std::memory_order_relaxed);
  owner.join();
  stage.store(4, std::memory_order_relaxed);
  reach(5);
  SlabFree(block, kSize);
  stage.store(6, std::memory_order_relaxed);
  heir.join();
  EXPECT_EQ(Live(), live);
}

TEST(SlabTest, TrimReachesTheMemoryOfAParkedThread) {
  std::atomic<int> stage{0};
  std::unique_ptr<Blocks> blocks;
  std::thread owner([&] {
    blocks = std::make_unique<Blocks>(10'000, 256);
    SlabThreadPark();
    stage.store(1);
    stage.notify_all();
    stage.wait(1);
    SlabThreadUnpark();
    blocks = std::make_unique<Blocks>(10, 256);
    blocks.reset();
  });
  stage.wait(0);
  blocks.reset();
  EXPECT_GT(Reserved(), size_t{10'000 * 256});
  SlabTrim();
  EXPECT_EQ(Reserved(), 0u);
  stage.store(2);
  stage.notify_all();
  owner.join();
}

// Threads that come and go, allocate, free their own and each other's, park and trim.
TEST(SlabStressTest, NoBlockIsHandedOutTwice) {
  constexpr int kThreads = 4;
  constexpr int kGenerations = 6;
  constexpr int kSteps = 30'000;
  constexpr size_t kSlots = 512;
  // Each holds a block or null. A block's first bytes name its size, its last byte is a copy.
  std::vector<std::atomic<uint32_t*>> slots(kSlots);
  std::atomic<bool> corrupt{false};
  const auto release = [&](uint32_t* block) {
    const uint32_t size = block[0];
    if (size > 5000 || reinterpret_cast<unsigned char*>(block)[size - 1] != size % 251) {
      corrupt.store(true);
      return;
    }
    std::memset(static_cast<void*>(block), 0xdd, size);
    SlabFree(block, size);
  };
  for (int generation = 0; generation < kGenerations; ++generation) {
    std::vector<std::thread> threads;
    for (int number = 0; number < kThreads; ++number) {
      threads.emplace_back([&, number] {
        std::mt19937 random(static_cast<uint32_t>(generation * kThreads + number));
        for (int step = 0; step < kSteps; ++step) {
          const uint32_t size = 8 + random() % (random() % 8 == 0 ? 4900 : 300);
          auto* block = static_cast<uint32_t*>(SlabAllocate(size));
          block[0] = size;
          reinterpret_cast<unsigned char*>(block)[size - 1] =
              static_cast<unsigned char>(size % 251);
          block = slots[random() % kSlots].exchange(block, std::memory_order_acq_rel);
          if (block != nullptr) release(block);
          if (random() % 4096 == 0) SlabTrim();
          if (random() % 1024 == 0) {
            SlabThreadPark();
            std::this_thread::yield();
            SlabThreadUnpark();
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_FALSE(corrupt.load());
  }
  size_t live = 0;
  for (auto& slot : slots) {
    if (slot.load() != nullptr) live += SlabBlockSize(slot.load()[0]);
  }
  EXPECT_EQ(Live(), live);
  for (auto& slot : slots) {
    if (slot.load() != nullptr) release(slot.load());
  }
  EXPECT_EQ(Live(), 0u);
  SlabTrim();
  EXPECT_EQ(Reserved(), 0u);
}

#if QUIESCE_ASAN
TEST(SlabDeathTest, UseAfterFreeIsFoundByAddressSanitizer) {
  auto* block = static_cast<volatile char*>(SlabAllocate(100));
  SlabFree(const_cast<char*>(block), 100);
  EXPECT_DEATH(block[50] = 1, "use-after-poison");
}
#endif

}  // namespace
}  // namespace quiesce

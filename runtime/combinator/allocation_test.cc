// How many blocks of memory a combinator consists of: nothing else says when one more creeps in.
//
// Blocks of the slab are counted while all of them live, by a branch at its end: its siblings have been started then.
// Those of the heap by an operator new of this program's own. There is one worker, and nobody else allocates meanwhile.
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <ostream>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/combinator/bracket.h"
#include "quiesce/runtime/combinator/hedge.h"
#include "quiesce/runtime/combinator/join_all.h"
#include "quiesce/runtime/combinator/retry.h"
#include "quiesce/runtime/combinator/timeout.h"
#include "quiesce/testing/rules/fixture.h"

namespace {
thread_local size_t heap_blocks_made = 0;  // by this thread
}  // namespace

void* operator new(size_t size) {
  ++heap_blocks_made;
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace quiesce {
namespace rules {
namespace {

struct Blocks {
  Blocks(size_t slab, size_t heap) : slab(slab), heap(heap) {}
  friend bool operator==(const Blocks&, const Blocks&) = default;
  friend void PrintTo(const Blocks& blocks, std::ostream* to) {
    *to << blocks.slab << " of the slab, " << blocks.heap << " of the heap";
  }
  size_t slab;
  size_t heap;
};

// The region: its record, the frame that opens it and the body's frame.
constexpr size_t kRegion = 3;

class AllocationTest : public testing::Test {
 protected:
  template <class Body>
  void Run(Body body) {
    TestRuntime rt(1);
    EXPECT_THAT(rt.Run(body), IsOk());
  }
  // What awaiting make() takes, once each of its sites has run before.
  template <class Make>
  Task<Blocks> BlocksOf(Make make) {
    Blocks taken(0, 0);
    for (int i = 0; i < 3; ++i) {
      most_ = 0;
      const size_t slab = GetSlabStats().live_blocks;
      const size_t heap = heap_blocks_made;
      auto ended = co_await make();
      taken = Blocks(most_ - slab, heap_blocks_made - heap);
      EXPECT_TRUE(ended.ok());
    }
    co_return taken;
  }
  // A branch that counts.
  auto Counts() {
    return [this](Cx cx) -> Task<int> {
      co_await OrReturn(Yield(cx));
      most_ = std::max(most_, GetSlabStats().live_blocks);
      co_return 7;
    };
  }

 private:
  size_t most_ = 0;
};

// The last branch is the body.
TEST_F(AllocationTest, JoinAllIsTheRegionAndABlockForEachBranch) {
  Run([&](Cx cx) -> Task<void> {
    auto counts = Counts();
    auto waits = [](Cx cx) -> Task<void> {
      for (int i = 0; i < 3; ++i) co_await OrReturn(Yield(cx));
      co_return Ok();
    };
    const auto one = [&] { return JoinAll(cx, counts); };
    EXPECT_EQ(co_await OrReturn(BlocksOf(one)), Blocks(kRegion, 0));
    const auto three = [&] { return JoinAll(cx, waits, counts, waits); };
    EXPECT_EQ(co_await OrReturn(BlocksOf(three)), Blocks(kRegion + 2, 0));
    // The branches of a container are in one block of the heap, and what it yields in another.
    std::vector<decltype(counts)> branches(20, counts);
    const auto many = [&] { return JoinAll(cx, branches); };
    EXPECT_EQ(co_await OrReturn(BlocksOf(many)), Blocks(kRegion + 19, 2));
    co_return Ok();
  });
}

TEST_F(AllocationTest, TimeoutIsTheRegionAndAFrame) {
  Run([&](Cx cx) -> Task<void> {
    auto counts = Counts();
    const auto timeout = [&] { return Timeout(cx, absl::Hours(1), counts); };
    EXPECT_EQ(co_await OrReturn(BlocksOf(timeout)), Blocks(kRegion + 1, 0));
    co_return Ok();
  });
}

TEST_F(AllocationTest, RetryIsAFrameAndTheRegionOfTheAttempt) {
  Run([&](Cx cx) -> Task<void> {
    auto counts = Counts();
    const RetryPolicy policy;
    const auto retry = [&] { return Retry(cx, policy, counts); };
    EXPECT_EQ(co_await OrReturn(BlocksOf(retry)), Blocks(kRegion + 1, 0));
    co_return Ok();
  });
}

TEST_F(AllocationTest, BracketIsAFrameAndTheRegionOfTheUse) {
  Run([&](Cx cx) -> Task<void> {
    auto counts = Counts();
    auto acquire = [](Cx) -> Task<int> { co_return 1; };
    auto use = [&](Cx cx, int&) { return counts(cx); };
    auto release = [](Cx, int&) -> Task<void> { co_return Ok(); };
    const auto bracket = [&] { return Bracket(cx, acquire, use, release); };
    EXPECT_EQ(co_await OrReturn(BlocksOf(bracket)), Blocks(kRegion + 1, 0));
    co_return Ok();
  });
}

TEST_F(AllocationTest, HedgeIsTheRegionAndABlockForEachAttempt) {
  Run([&](Cx cx) -> Task<void> {
    auto counts = Counts();
    const auto fast = [&] { return Hedge(cx, absl::Hours(1), counts); };
    EXPECT_EQ(co_await OrReturn(BlocksOf(fast)), Blocks(kRegion + 1, 0));
    co_return Ok();
  });
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

#include "quiesce/testing/lab/fiber.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace quiesce::lab {
namespace {

TEST(FiberTest, GoesOnWhereItWasLeft) {
  std::string log;
  Fiber fiber([&] {
    log += 'a';
    Fiber::Leave();
    log += 'b';
  });
  EXPECT_EQ(log, "");
  fiber.Resume();
  EXPECT_EQ(log, "a");
  EXPECT_FALSE(fiber.ended());
  fiber.Resume();
  EXPECT_EQ(log, "ab");
  EXPECT_TRUE(fiber.ended());
}

TEST(FiberTest, OfSeveralEachHasAStackOfItsOwn) {
  std::vector<Fiber> fibers;
  std::vector<int> log;
  for (int i = 0; i < 3; ++i) {
    fibers.emplace_back([&log, i] {
      for (int j = 0; j < 2; ++j) {
        log.push_back(10 * i + j);
        Fiber::Leave();
      }
    });
  }
  for (int round = 0; round < 3; ++round) {
    for (Fiber& fiber : fibers) fiber.Resume();
  }
  EXPECT_EQ(log, (std::vector<int>{0, 10, 20, 1, 11, 21}));
  for (const Fiber& fiber : fibers) EXPECT_TRUE(fiber.ended());
}

struct Counted {
  explicit Counted(int* count) : count(count) { ++*count; }
  ~Counted() { --*count; }
  int* count;
};

TEST(FiberTest, WhatIsDroppedIsUnwound) {
  int live = 0;
  {
    Fiber begun([&] {
      const Counted outer(&live);
      Fiber::Leave();
      FAIL() << "it goes on";
    });
    const Fiber not_begun([&] { FAIL() << "it begins"; });
    begun.Resume();
    EXPECT_EQ(live, 1);
  }
  EXPECT_EQ(live, 0);
  // The stack is of use again.
  bool ran = false;
  Fiber next([&] { ran = true; });
  next.Resume();
  EXPECT_TRUE(ran);
}

TEST(FiberTest, WhoSwallowsTheUnwindingIsUnwoundAtTheNextLeave) {
  int caught = 0;
  {
    Fiber fiber([&] {
      for (int i = 0; i < 2; ++i) {
        try {
          Fiber::Leave();
        } catch (...) {
          ++caught;
        }
      }
      Fiber::Leave();
      FAIL() << "it goes on";
    });
    fiber.Resume();
  }
  EXPECT_EQ(caught, 2);
}

TEST(FiberTest, AMovedOneIsTheSame) {
  int steps = 0;
  Fiber fiber([&] {
    ++steps;
    Fiber::Leave();
    ++steps;
  });
  fiber.Resume();
  Fiber moved = std::move(fiber);
  moved.Resume();
  EXPECT_EQ(steps, 2);
  EXPECT_TRUE(moved.ended());
}

TEST(FiberTest, AHundredThousandUseFewStacks) {
  int steps = 0;
  for (int i = 0; i < 100'000; ++i) {
    Fiber fiber([&] {
      ++steps;
      Fiber::Leave();
      ++steps;
    });
    fiber.Resume();
    fiber.Resume();
  }
  EXPECT_EQ(steps, 200'000);
}

}  // namespace
}  // namespace quiesce::lab

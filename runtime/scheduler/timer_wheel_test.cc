#include "quiesce/runtime/scheduler/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace quiesce {
namespace {

constexpr int64_t kTick = 1024;
constexpr int64_t kYear = int64_t{365} * 24 * 3600 * 1'000'000'000;

int64_t TickOf(int64_t nanos) { return nanos <= 0 ? 0 : (nanos - 1) / kTick + 1; }

// A timer that writes down when it fired.
struct TestTimer : Timer {
  TestTimer() : Timer(&Fired) {}
  static void Fired(Timer* timer) {
    auto* self = static_cast<TestTimer*>(timer);
    ++self->fired;
    if (self->log != nullptr) self->log->push_back(self);
  }
  int fired = 0;
  std::vector<TestTimer*>* log = nullptr;
};

TEST(TimerWheelTest, FiresAtItsInstantAndNotBefore) {
  for (int64_t delay : {int64_t{0}, int64_t{1}, kTick - 1, kTick, kTick + 1, 63 * kTick, 64 * kTick,
                        65 * kTick, 4096 * kTick, int64_t{1'000'000}, int64_t{1'000'000'000},
                        int64_t{3600} * 1'000'000'000, 20 * kYear}) {
    for (int64_t start : {int64_t{0}, int64_t{1'000'000'007}, 40 * kYear + 12345}) {
      TimerWheel wheel(Instant::FromNanos(start));
      TestTimer timer;
      timer.when = Instant::FromNanos(start + delay);
      const Instant fires = wheel.Insert(&timer);
      EXPECT_GE(fires.nanos(), std::min(timer.when.nanos(), start / kTick * kTick));
      EXPECT_LT(fires.nanos(), timer.when.nanos() + kTick);
      EXPECT_EQ(wheel.NextExpiry(), fires);
      EXPECT_TRUE(wheel.Advance(Instant::FromNanos(start)));
      if (delay > 0 && fires.nanos() > start) {
        EXPECT_EQ(timer.fired, 0);
        EXPECT_TRUE(wheel.Advance(Instant::FromNanos(fires.nanos() - 1)));
        EXPECT_EQ(timer.fired, 0) << "early by a nanosecond, delay " << delay;
      }
      EXPECT_TRUE(wheel.Advance(fires));
      EXPECT_EQ(timer.fired, 1) << "delay " << delay << " start " << start;
      EXPECT_FALSE(timer.armed);
      EXPECT_TRUE(wheel.empty());
      EXPECT_TRUE(wheel.NextExpiry().is_infinite());
    }
  }
}

TEST(TimerWheelTest, PastInstantFiresInTheNextAdvance) {
  TimerWheel wheel(Instant::FromNanos(5'000'000));
  for (Instant when : {Instant::InfinitePast(), Instant(), Instant::FromNanos(4'990'000)}) {
    TestTimer timer;
    timer.when = when;
    EXPECT_LE(wheel.Insert(&timer), Instant::FromNanos(5'000'000));
    EXPECT_TRUE(wheel.Advance(Instant::FromNanos(5'000'000)));
    EXPECT_EQ(timer.fired, 1);
  }
}

TEST(TimerWheelTest, RemovedTimerDoesNotFireAndLeavesNothingBehind) {
  TimerWheel wheel;
  std::vector<TestTimer> timers(1000);
  std::mt19937_64 random(1);
  for (TestTimer& timer : timers) {
    timer.when = Instant::FromNanos(static_cast<int64_t>(random() >> (1 + random() % 60)));
    wheel.Insert(&timer);
  }
  for (TestTimer& timer : timers) wheel.Remove(&timer);
  EXPECT_TRUE(wheel.empty());
  EXPECT_TRUE(wheel.NextExpiry().is_infinite());
  EXPECT_TRUE(wheel.Advance(Instant::FromNanos(200 * kYear)));
  for (TestTimer& timer : timers) EXPECT_EQ(timer.fired, 0);
}

TEST(TimerWheelTest, LimitedAdvanceDoesTheRestLaterInOrder) {
  TimerWheel wheel;
  std::vector<TestTimer*> log;
  std::vector<TestTimer> timers(500);
  for (size_t i = 0; i < timers.size(); ++i) {
    timers[i].log = &log;
    timers[i].when = Instant::FromNanos(static_cast<int64_t>(5'000'000 + i * kTick));
    wheel.Insert(&timers[i]);
  }
  const Instant now = Instant::FromNanos(6'000'000);
  TestTimer late;  // armed while an Advance is half done
  late.log = &log;
  late.when = Instant::FromNanos(100);
  int calls = 1;
  for (; !wheel.Advance(now, 7); ++calls) {
    EXPECT_LE(wheel.NextExpiry(), now);
    if (calls == 20) wheel.Insert(&late);
    if (calls == 21) wheel.Remove(&timers[499]);
  }
  EXPECT_GT(calls, 70);
  EXPECT_EQ(late.fired, 1);
  EXPECT_EQ(timers[499].fired, 0);
  ASSERT_EQ(log.size(), 500u);
  log.erase(std::find(log.begin(), log.end(), &late));
  for (size_t i = 0; i < log.size(); ++i) EXPECT_EQ(log[i], &timers[i]);
}

// One far timer costs no wake-up before it is due, however many nearer ones came and went.
TEST(TimerWheelTest, NextExpiryIsExactAfterTheEarliestOfAFewWasRemoved) {
  for (int64_t nearer : {int64_t{20'000}, int64_t{40'000'000}, int64_t{100'000'000'000}}) {
    TimerWheel wheel;
    TestTimer near, far;
    near.when = Instant::FromNanos(nearer);
    far.when = Instant::FromNanos(nearer + nearer / 8);
    wheel.Insert(&near);
    const Instant fires = wheel.Insert(&far);
    wheel.Remove(&near);
    EXPECT_EQ(wheel.NextExpiry(), fires);
    wheel.Remove(&far);
  }
}

TEST(TimerWheelTest, ManyInOneSlotCostAtMostOneWakeUpTooEarly) {
  TimerWheel wheel;
  std::vector<TestTimer> timers(10'000);
  for (size_t i = 0; i < timers.size(); ++i) {
    timers[i].when = Instant::FromNanos(static_cast<int64_t>(30'000'000'000 + i * 50'000));
    wheel.Insert(&timers[i]);
  }
  for (size_t i = 0; i + 1 < timers.size(); ++i) wheel.Remove(&timers[i]);
  int wakes = 0;
  while (!wheel.empty()) {
    ASSERT_TRUE(wheel.Advance(wheel.NextExpiry()));
    ++wakes;
  }
  EXPECT_LE(wakes, 2);
}

// Random operations against a multimap, which is slow and obviously right.
class TimerWheelPropertyTest : public ::testing::TestWithParam<int> {};

TEST_P(TimerWheelPropertyTest, BehavesLikeASortedMap) {
  std::mt19937_64 random(GetParam());
  const auto below = [&](uint64_t bound) { return static_cast<int64_t>(random() % bound); };
  int64_t now = GetParam() % 3 == 0 ? 0 : below(100 * kYear);
  TimerWheel wheel(Instant::FromNanos(now));
  std::multimap<int64_t, TestTimer*> reference;  // by tick
  std::vector<std::unique_ptr<TestTimer>> idle;
  std::vector<TestTimer*> log;
  for (int i = 0; i < 200; ++i) {
    idle.push_back(std::make_unique<TestTimer>());
    idle.back()->log = &log;
  }
  std::map<TestTimer*, std::unique_ptr<TestTimer>> armed;
  int64_t current_tick = now / kTick;  // what is armed for the past counts for this one

  for (int step = 0; step < 20'000; ++step) {
    const int64_t action = below(10);
    if (action < 5 && !idle.empty()) {
      std::unique_ptr<TestTimer> timer = std::move(idle.back());
      idle.pop_back();
      // Delays of every magnitude, and now and then the past or the neighbour of another timer.
      int64_t when = now + static_cast<int64_t>(random() >> (8 + below(54)));
      if (below(16) == 0) when = now - below(1'000'000);
      if (below(4) == 0 && !reference.empty()) {
        when = reference.begin()->second->when.nanos() + below(3) - 1;
      }
      timer->when = Instant::FromNanos(when);
      wheel.Insert(timer.get());
      reference.emplace(std::max(TickOf(when), current_tick), timer.get());
      TestTimer* key = timer.get();
      armed[key] = std::move(timer);
    } else if (action < 8 && !reference.empty()) {
      auto victim = reference.begin();
      if (below(2) == 0) std::advance(victim, below(reference.size()));
      ASSERT_TRUE(victim->second->armed);
      wheel.Remove(victim->second);
      idle.push_back(std::move(armed[victim->second]));
      armed.erase(victim->second);
      reference.erase(victim);
    } else {
      if (below(3) == 0 && !reference.empty()) {
        now = std::max(now, wheel.NextExpiry().nanos());
      } else {
        now += static_cast<int64_t>(random() >> (10 + below(52)));
      }
      log.clear();
      const size_t limit = below(2) == 0 ? 5 : ~size_t{0};
      while (!wheel.Advance(Instant::FromNanos(now), limit)) {
      }
      for (TestTimer* timer : log) {
        auto found = reference.begin();
        while (found != reference.end() && found->second != timer) ++found;
        ASSERT_TRUE(found != reference.end()) << "fired, but not armed";
        ASSERT_LE(timer->when.nanos(), now) << "early";
        ASSERT_EQ(found->first, reference.begin()->first) << "not the earliest";
        idle.push_back(std::move(armed[timer]));
        armed.erase(timer);
        reference.erase(found);
      }
      current_tick = std::max(current_tick, now / kTick);
      if (!reference.empty()) {
        ASSERT_GT(reference.begin()->first, current_tick) << "late";
      }
    }
    ASSERT_EQ(wheel.size(), reference.size());
    const Instant next = wheel.NextExpiry();
    if (reference.empty()) {
      ASSERT_TRUE(next.is_infinite());
    } else {
      ASSERT_LE(next.nanos(), reference.begin()->first * kTick) << "sleeps too long";
    }
  }
  for (auto& [key, timer] : armed) wheel.Remove(timer.get());
}

INSTANTIATE_TEST_SUITE_P(Seeds, TimerWheelPropertyTest, ::testing::Range(0, 12));

}  // namespace
}  // namespace quiesce

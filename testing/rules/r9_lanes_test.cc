// R9, G12: the cancel lane before the timed lane before the ready lane, with bounded streaks. One worker, so
// that the order of steps is the picker's; the picker itself has its own tests.
#include <algorithm>
#include <string>
#include <vector>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;

// The longest run of `step` that is followed by something else.
int LongestRun(const std::vector<std::string>& steps, const std::string& step) {
  int longest = 0;
  int run = 0;
  for (const std::string& s : steps) {
    if (s == step) {
      ++run;
    } else {
      longest = std::max(longest, run);
      run = 0;
    }
  }
  return longest;
}

TEST(LanesTest, CancelledTasksGoFirstButNoMoreThanSixteenInARow) {
  TestRuntime rt(1);
  Trail trail;
  Gate gate;
  constexpr int kParked = 160;
  std::optional<RegionRef> region;
  bool stop = false;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    cx.Spawn("opener", [&](Cx cx) -> Task<void> {
      (void)co_await Region::Open(cx, "cancelled", [&](Cx cx) -> Task<void> {
        region = cx.Ref();
        for (int i = 0; i < kParked; ++i) {
          cx.Spawn("parked", [&](Cx cx) -> Task<void> {
            Outcome<void> passed = co_await Pass(cx, gate);
            trail.Add("cancel");
            co_return passed;
          });
        }
        co_return Ok();
      });
      stop = true;
      co_return Ok();
    });
    for (int i = 0; i < 3; ++i) {
      cx.Spawn("ready", [&](Cx cx) -> Task<void> {
        while (!stop) {
          if (region.has_value() && region->cancelled()) trail.Add("ready");
          co_await OrReturn(Yield(cx));
        }
        co_return Ok();
      });
    }
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == kParked; }));
    region->Cancel();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  std::vector<std::string> steps = trail.Steps();
  EXPECT_LE(LongestRun(steps, "cancel"), 16) << "ready tasks starve";
  // First: ten batches of sixteen, with a few ready steps in between.
  const auto last = std::find(steps.rbegin(), steps.rend(), "cancel").base();
  EXPECT_EQ(std::count(steps.begin(), last, "cancel"), kParked);
  EXPECT_LE(std::count(steps.begin(), last, "ready"), kParked / 16 + 3);
}

RegionOptions DeadlineIn(absl::Duration time) {
  return RegionOptions().WithBudget(Budget::Timeout(time));
}

TEST(LanesTest, TasksWithADeadlineGoBeforeThoseWithoutButNoMoreThanThirtyTwoInARow) {
  TestRuntime rt(1);
  Trail trail;
  int timed_left = 1000;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("ready", [&](Cx cx) -> Task<void> {
        while (timed_left > 0) {
          trail.Add("ready");
          co_await OrReturn(Yield(cx));
        }
        co_return Ok();
      });
    }
    co_return co_await Region::Open(
        cx, "timed",
        [&](Cx cx) -> Task<void> {
          for (int i = 0; i < 3; ++i) {
            cx.Spawn("timed", [&](Cx cx) -> Task<void> {
              while (timed_left > 0) {
                --timed_left;
                trail.Add("timed");
                co_await OrReturn(Yield(cx));
              }
              co_return Ok();
            });
          }
          co_return Ok();
        },
        FailFast(), DeadlineIn(absl::Hours(1)));
  });
  EXPECT_THAT(outcome, IsOk());
  const std::vector<std::string> steps = trail.Steps();
  EXPECT_LE(LongestRun(steps, "timed"), 32) << "ready tasks starve";
  EXPECT_LE(std::count(steps.begin(), steps.end(), "ready"), 1000 / 32 + 4);
}

TEST(LanesTest, EarlierDeadlineGoesFirst) {
  TestRuntime rt(1);
  Trail trail;
  Gate gate;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    const auto open = [&](const char* name, absl::Duration time) {
      cx.Spawn("opener", [&trail, &gate, name, time](Cx cx) -> Task<void> {
        co_return co_await Region::Open(
            cx, "timed",
            [&](Cx cx) -> Task<void> {
              co_await OrReturn(Pass(cx, gate));
              trail.Add(name);
              co_return Ok();
            },
            FailFast(), DeadlineIn(time));
      });
    };
    open("two hours", absl::Hours(2));
    open("three hours", absl::Hours(3));
    open("one hour", absl::Hours(1));
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 3; }));
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("one hour", "two hours", "three hours"));
}

// In what order tasks of the names go on that were woken at once, if `boost` was called on 'holder' before it
// parked.
std::vector<std::string> OrderAfter(void (*boost)(TaskCore*)) {
  TestRuntime rt(1);
  Trail trail;
  Gate gate;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    for (const char* name : {"a", "holder", "c"}) {
      cx.Spawn("child", [&, name](Cx cx) -> Task<void> {
        if (absl::string_view(name) == "holder") boost(static_cast<TaskCore*>(cx.task()));
        co_await OrReturn(Pass(cx, gate));
        trail.Add(name);
        co_return Ok();
      });
    }
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 3; }));
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  return trail.Steps();
}

TEST(LaneInheritanceTest, BoostedTaskGoesBeforeWhatIsReady) {
  EXPECT_EQ(OrderAfter([](TaskCore* holder) { holder->Boost(1); }).front(), "holder");
}
TEST(LaneInheritanceTest, EndsWithTheBoost) {
  const auto order = OrderAfter([](TaskCore* holder) {
    holder->Boost(2);
    holder->Boost(-2);
  });
  EXPECT_EQ(order.front(), "c") << "woken last, so it runs next";
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

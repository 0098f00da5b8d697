#include "quiesce/runtime/combinator/timeout.h"

#include <atomic>
#include <string>
#include <utility>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

class TimeoutTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, TimeoutTest, testing::Values(1, 2));

TEST_P(TimeoutTest, WhatIsDoneInTimeGivesItsOutcome) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto seven = [](Cx) -> Task<int> { co_return 7; };
    EXPECT_EQ(co_await OrReturn(Timeout(cx, absl::Hours(1), seven)), 7);
    auto fails = [](Cx) -> Task<int> { co_return absl::NotFoundError("gone"); };
    EXPECT_THAT(co_await Timeout(cx, absl::InfiniteDuration(), fails), IsError("gone"));
    auto panics = [](Cx) -> Task<void> { co_return Panic("bug"); };
    EXPECT_THAT(co_await Timeout(cx, absl::Hours(1), panics), IsPanicked("bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(TimeoutTest, WhatTakesLongerIsStoppedAndFails) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto never = [&](Cx cx) -> Task<int> {
      Witness witness(&alive);
      cx.Spawn("helper", Forever);
      co_await OrReturn(Forever(cx));
      co_return 0;
    };
    Outcome<int> ended = co_await Timeout(cx, absl::Milliseconds(1), never);
    EXPECT_THAT(ended, IsErrorCode(absl::StatusCode::kDeadlineExceeded));
    EXPECT_THAT(ended, IsError("not done in 1ms"));
    EXPECT_THAT(ended, IsError("timeout_test.cc"));
    EXPECT_EQ(alive, 0);
    EXPECT_THAT(co_await Timeout(cx, absl::ZeroDuration(), never),
                IsErrorCode(absl::StatusCode::kDeadlineExceeded));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(TimeoutTest, WhatEndsOkAlthoughItIsLateGivesItsValue) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto late = [](Cx cx) -> Task<int> {
      EXPECT_THAT(co_await Forever(cx), IsCancelled(CancelKind::kDeadline));
      co_return 7;
    };
    EXPECT_EQ(co_await OrReturn(Timeout(cx, absl::Milliseconds(1), late)), 7);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(TimeoutTest, CancelOfTheCallerStaysCancelled) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto waits = [&](Cx cx) -> Task<void> { return HoldAt(cx, &never); };
    auto limited = [&](Cx cx) -> Task<void> { return Timeout(cx, absl::Hours(1), waits); };
    auto running = cx.Spawn("limited", limited);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
    running.Cancel();
    EXPECT_THAT(co_await OrReturn(running.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

// The inner one did not expire: the outer one did.
TEST_P(TimeoutTest, EarlierDeadlineAroundItStaysCancelledUntilThere) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    bool inner_cancelled = false;
    auto inner = [&](Cx cx) -> Task<void> {
      auto never = [](Cx cx) -> Task<void> { return Forever(cx); };
      Outcome<void> ended = co_await Timeout(cx, absl::Hours(1), never);
      inner_cancelled = ended.is_cancelled();
      co_return ended;
    };
    EXPECT_THAT(co_await Timeout(cx, absl::Milliseconds(1), inner),
                IsErrorCode(absl::StatusCode::kDeadlineExceeded));
    EXPECT_TRUE(inner_cancelled);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

// That is why it is no Cancelled: one whose cause lies inside a region would count as Ok there (R1).
TEST_P(TimeoutTest, OfATaskFailsItsRegion) {
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    cx.Spawn("slow", [](Cx cx) -> Task<void> {
      auto never = [](Cx cx) -> Task<void> { return Forever(cx); };
      co_return co_await Timeout(cx, absl::Milliseconds(1), never);
    });
    co_return Ok();
  });
  EXPECT_THAT(opened, IsErrorCode(absl::StatusCode::kDeadlineExceeded));
}

TEST_P(TimeoutTest, WhatIsCancelledByItselfStaysCancelledAlsoWithoutAValue) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_THAT(co_await Timeout(cx, absl::Hours(1), CancelledByItself),
                IsCancelledBy(CancelKind::kUser));
    // What the failure of a child does to the callable is not its own.
    auto held = [](Cx cx) -> Task<void> {
      cx.Spawn("child", [](Cx) -> Task<void> { co_return absl::NotFoundError("gone"); });
      co_return co_await Forever(cx);
    };
    EXPECT_THAT(co_await Timeout(cx, absl::Hours(1), held), IsError("gone"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(TimeoutTest, OnACancelledCxNothingStarts) {
  bool started = false;
  Outcome<void> opened = rt.Open([&](Cx cx) -> Task<void> {
    auto starts = [&](Cx) -> Task<void> {
      started = true;
      co_return Ok();
    };
    cx.Ref().Cancel();
    EXPECT_TRUE((co_await Timeout(cx, absl::Hours(1), starts)).is_cancelled());
    co_return Ok();
  });
  EXPECT_THAT(opened, IsOk());
  EXPECT_FALSE(started);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

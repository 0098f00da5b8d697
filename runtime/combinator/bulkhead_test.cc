#include "quiesce/runtime/combinator/bulkhead.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;

class BulkheadTest : public testing::TestWithParam<uint32_t> {
 protected:
  // A call that is held at `gate`.
  TaskHandle<void> Held(Cx cx, Bulkhead& bulkhead, Gate& gate, std::string name = "") {
    return cx.Spawn(
        "held",
        [this, &bulkhead, &gate](Cx cx, std::string name) -> Task<void> {
          auto call = [&](Cx cx) -> Task<void> {
            trail.Add(name);
            co_await OrReturn(Pass(cx, gate));
            co_return Ok();
          };
          co_return co_await bulkhead.Call(cx, call);
        },
        std::move(name));
  }
  TestRuntime rt{GetParam()};
  Trail trail;
};
INSTANTIATE_TEST_SUITE_P(Workers, BulkheadTest, testing::Values(1, 2));

TEST_P(BulkheadTest, GivesTheOutcomeOfTheCall) {
  Bulkhead bulkhead("database", 1, 0);
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto seven = [](Cx) -> Task<int> { co_return 7; };
    EXPECT_EQ(co_await OrReturn(bulkhead.Call(cx, seven)), 7);
    auto fails = [](Cx) -> Task<int> { co_return absl::NotFoundError("gone"); };
    EXPECT_THAT(co_await bulkhead.Call(cx, fails), IsError("gone"));
    auto panics = [](Cx) -> Task<int> { co_return Panic("bug"); };
    EXPECT_THAT(co_await bulkhead.Call(cx, panics), IsPanicked("bug"));
    // Each has given its place back.
    EXPECT_EQ(co_await OrReturn(bulkhead.Call(cx, seven)), 7);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_EQ(bulkhead.inside(), 0);
}

TEST_P(BulkheadTest, SoManyRunSoManyWaitInOrderAndTheNextIsRefused) {
  Bulkhead bulkhead("database", 2, 2);
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<Gate> gates(4);
    std::vector<TaskHandle<void>> calls;
    for (int i = 0; i < 4; ++i) {
      calls.push_back(Held(cx, bulkhead, gates[static_cast<size_t>(i)], std::to_string(i)));
      co_await OrReturn(Until(cx, [&] { return bulkhead.inside() == i + 1; }));
    }
    co_await OrReturn(Until(cx, [&] { return gates[0].waiting() + gates[1].waiting() == 2; }));
    auto one_more = [](Cx) -> Task<void> {
      ADD_FAILURE() << "was called";
      co_return Ok();
    };
    Outcome<void> refused = co_await bulkhead.Call(cx, one_more);
    EXPECT_THAT(refused, IsErrorCode(absl::StatusCode::kResourceExhausted));
    EXPECT_THAT(refused,
                IsError("bulkhead 'database': not called, since 2 calls run and 2 wait already"));
    EXPECT_EQ(gates[2].waiting() + gates[3].waiting(), 0);
    for (size_t i = 0; i < 4; ++i) {
      co_await OrReturn(Until(cx, [&] { return gates[i].waiting() == 1; }));
      gates[i].Open();
      EXPECT_THAT(co_await OrReturn(calls[i].Join(cx)), IsOk());
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  std::vector<std::string> begun = trail.Steps();
  std::sort(begun.begin(), begun.begin() + 2);  // the first two run at once
  EXPECT_THAT(begun, ElementsAre("0", "1", "2", "3"));
}

TEST_P(BulkheadTest, ACancelledCallerIsToldSoAlsoWhereItIsFull) {
  Bulkhead bulkhead("database", 1, 0);
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate gate;
    TaskHandle<void> held = Held(cx, bulkhead, gate);
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    auto cancelled = [&](Cx cx) -> Task<int> {
      cx.Ref().Cancel();
      auto call = [](Cx) -> Task<int> { co_return 1; };
      co_return co_await bulkhead.Call(cx, call);
    };
    EXPECT_THAT(co_await Region::Open(cx, "cancelled", cancelled), IsCancelled(CancelKind::kUser));
    gate.Open();
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(BulkheadTest, CancelFreesThePlaceOfACallThatRunsAndOfOneThatWaits) {
  Bulkhead bulkhead("database", 1, 1);
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    Gate gate;
    auto running = Held(cx, bulkhead, never, "running");
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
    auto waiting = Held(cx, bulkhead, gate, "waiting");
    co_await OrReturn(Until(cx, [&] { return bulkhead.inside() == 2; }));
    waiting.Cancel();
    EXPECT_TRUE((co_await OrReturn(waiting.Join(cx))).is_cancelled());
    EXPECT_EQ(bulkhead.inside(), 1);
    auto next = Held(cx, bulkhead, gate, "next");
    co_await OrReturn(Until(cx, [&] { return bulkhead.inside() == 2; }));
    running.Cancel();
    EXPECT_TRUE((co_await OrReturn(running.Join(cx))).is_cancelled());
    gate.Open();
    EXPECT_THAT(co_await OrReturn(next.Join(cx)), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("running", "next"));
  EXPECT_EQ(bulkhead.inside(), 0);
}

TEST_P(BulkheadTest, CrowdWithCancelsKeepsTheLimitsAndLosesNoPlace) {
  Bulkhead bulkhead("database", 3, 5);
  std::atomic<int> now{0};
  std::atomic<int> most{0};
  std::atomic<int> refused{0};
  std::atomic<int> made{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto crowd = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 200; ++i) {
        auto task = cx.Spawn("call", [&](Cx cx) -> Task<void> {
          auto call = [&](Cx cx) -> Task<void> {
            const int running = ++now;
            int seen = most;
            while (seen < running && !most.compare_exchange_weak(seen, running)) {
            }
            Outcome<void> yielded = co_await Yield(cx);
            --now;
            co_return yielded;
          };
          for (int k = 0; k < 10; ++k) {
            Outcome<void> ended = co_await bulkhead.Call(cx, call);
            if (ended.ok()) ++made;
            if (ended.is_error()) ++refused;
            (void)co_await Yield(cx);
          }
          co_return Ok();
        });
        if (i % 3 == 0) task.Cancel();
        if (i % 7 == 0) co_await OrReturn(Yield(cx));
      }
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "crowd", crowd));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
  EXPECT_LE(most, 3);
  EXPECT_GT(made, 0);
  EXPECT_GT(refused, 0);
  EXPECT_EQ(bulkhead.inside(), 0);
}

TEST(BulkheadDeathTest, WhatMakesNoSenseIsFatal) {
  EXPECT_DEATH(Bulkhead("database", 0, 1), "Bulkhead\\('database', 0, 1\\) at .*bulkhead_test.cc");
  EXPECT_DEATH(Bulkhead("database", 1, -1), "and 0 or more to wait");
}

TEST(BulkheadDeathTest, DestroyingItUnderACallIsFatal) {
  const auto destroy_too_early = [] {
    TestRuntime rt(1);
    (void)rt.Run([&](Cx cx) -> Task<void> {
      auto bulkhead = std::make_unique<Bulkhead>("database", 1, 0);
      Gate never;
      cx.Spawn("call", [&](Cx cx) -> Task<void> {
        auto held = [&](Cx cx) { return HoldAt(cx, &never); };
        co_return co_await bulkhead->Call(cx, held);
      });
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      bulkhead.reset();
      co_return Ok();
    });
  };
  EXPECT_DEATH(destroy_too_early(),
               "the bulkhead 'database' was destroyed while 1 calls run or wait");
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

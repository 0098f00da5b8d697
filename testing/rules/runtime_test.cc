// Runtime: inside programs that are not ours.
#include "quiesce/runtime/runtime.h"

#include <signal.h>

#include <atomic>
#include <thread>
#include <vector>

#include "quiesce/runtime/sync/completion.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

TEST(RuntimeTest, SeveralInOneProcessAnswerEachOtherAndStopAlone) {
  TestRuntime a, b;
  Completion<int> answer;
  std::thread other([&] {
    Outcome<void> of_b = b.Run([&](Cx cx) -> Task<void> {
      answer.Complete(42);
      co_return co_await Forever(cx);
    });
    EXPECT_THAT(of_b, IsCancelledBy(CancelKind::kShutdown));
  });
  Outcome<void> of_a = a.Run([&](Cx cx) -> Task<void> {
    const int got = co_await OrReturn(answer.Wait(cx));
    EXPECT_EQ(got, 42);
    b->Shutdown();
    co_await OrReturn(Yield(cx));
    EXPECT_FALSE(cx.cancelled());
    co_return Ok();
  });
  other.join();
  EXPECT_THAT(of_a, IsOk());
}

TEST(RuntimeTest, WithoutSignalsLeavesThoseOfTheProcessAlone) {
  const auto handlers = [] {
    std::vector<void (*)(int)> all;
    for (const int number : {SIGINT, SIGTERM, SIGQUIT, SIGPIPE}) {
      struct sigaction now = {};
      sigaction(number, nullptr, &now);
      all.push_back(now.sa_handler);
    }
    return all;
  };
  const std::vector<void (*)(int)> before = handlers();
  TestRuntime rt;
  EXPECT_EQ(handlers(), before);
  EXPECT_THAT(rt.Run([](Cx) -> Task<void> { co_return Ok(); }), IsOk());
}

// A cancel from a foreign thread may be under way while everything ends: nothing that it uses goes away.
TEST(RuntimeTest, EndsOnlyAfterCancelsThatAreUnderWay) {
  for (int round = 0; round < 200; ++round) {
    std::optional<RegionRef> region;
    std::optional<TaskHandle<void>> handle;
    std::atomic<int> ready{0};
    std::vector<std::thread> cancellers;
    cancellers.emplace_back([&] {
      SpinUntil([&] { return ready.load() != 0; });
      region->Cancel();
    });
    cancellers.emplace_back([&] {
      SpinUntil([&] { return ready.load() != 0; });
      handle->Cancel();
    });
    {
      TestRuntime rt;
      (void)rt.Run([&](Cx cx) -> Task<void> {
        handle.emplace(
            cx.Spawn("child", [](Cx cx) -> Task<void> { co_return co_await Yield(cx); }));
        region = cx.Ref();
        ready = 1;
        co_return Ok();
      });
    }
    for (std::thread& canceller : cancellers) canceller.join();
  }
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

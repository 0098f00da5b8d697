// One exploration in four shards. With Bazel each of them is a process of its own (shard_count); the others of what is tested
// here are in //testing/e2e:shards_test.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/testing/lab/certificate.h"
#include "quiesce/testing/lab/googletest.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce::lab {
namespace {

using ::testing::HasSubstr;

// So many that take turns.
Task<void> TakeTurns(Cx cx, int tasks) {
  Mutex mutex;
  Semaphore semaphore(1);
  int turns = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < tasks; ++i) {
      cx.Spawn("player", [&](Cx cx) -> Task<void> {
        SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx));
        {
          const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
          ++turns;
        }
        std::move(permit).Release();
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "players", body));
  EXPECT_EQ(turns, tasks);
  co_return Ok();
}

LAB_TEST_SHARDED(ShardedTest, EveryOrder, 4, Explore::Exhaustive()) {
  co_return co_await TakeTurns(cx, 4);
}

TEST(ShardTest, TogetherFindWhatOneFinds) {
  const auto three = [](Cx cx) { return TakeTurns(cx, 3); };
  const LabResult whole = RunLab(Explore::Exhaustive(), three);
  ASSERT_TRUE(whole.exhausted) << whole.verdict;
  std::string digests;
  for (const uint32_t shards : {1u, 2u, 3u, 7u}) {
    std::vector<Certificate> all;
    for (uint32_t shard = 0; shard < shards; ++shard) {
      const LabResult some = RunLab(Explore::Exhaustive().AsShard(shard, shards), three);
      EXPECT_TRUE(some.ok()) << some.failure;
      EXPECT_EQ(some.exhausted, shards == 1);
      ASSERT_TRUE(some.certificate.has_value());
      all.push_back(*some.certificate);
    }
    const Aggregate together = AddUp(all);
    EXPECT_THAT(together.problems, ::testing::ElementsAre());
    EXPECT_THAT(together.verdict, HasSubstr("EXHAUSTIVE: " + std::to_string(whole.executions) +
                                            " classes in " + std::to_string(shards) + " shards"));
    // The same classes, however they were found.
    const std::string digest = together.verdict.substr(together.verdict.find("digest"), 23);
    if (digests.empty()) digests = digest;
    EXPECT_EQ(digest, digests);
  }
}

TEST(ShardTest, AFailureOfOneIsSaidInItsCertificate) {
  int failures = 0;
  for (uint32_t shard = 0; shard < 2; ++shard) {
    const LabResult some = RunLab(Explore::Exhaustive().AsShard(shard, 2), [](Cx cx) -> Task<void> {
      Mutex mutex;
      int order = 0;
      auto body = [&](Cx cx) -> Task<void> {
        for (int i = 1; i <= 2; ++i) {
          cx.Spawn("digit", [&, i](Cx cx) -> Task<void> {
            const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
            order = order * 10 + i;
            co_return Ok();
          });
        }
        co_return Ok();
      };
      co_await OrReturn(Region::Open(cx, "digits", body));
      EXPECT_TRUE(order == 12 || order == 21);
      if (order == 21) co_return absl::InternalError("the wrong order");
      co_return Ok();
    });
    ASSERT_TRUE(some.certificate.has_value());
    EXPECT_EQ(some.certificate->exhausted, some.ok());
    if (some.ok()) continue;
    ++failures;
    EXPECT_THAT(some.failure, HasSubstr("the wrong order"));
    EXPECT_THAT(some.certificate->verdict, HasSubstr("FAILED after"));
  }
  EXPECT_GE(failures, 1);
}

TEST(ShardTest, ALimitIsNotAll) {
  const LabResult some = RunLab(Explore::Exhaustive().AsShard(0, 2).WithMaxExecutions(2),
                                [](Cx cx) { return TakeTurns(cx, 4); });
  EXPECT_TRUE(some.ok()) << some.failure;
  EXPECT_THAT(some.verdict, HasSubstr("STOPPED: "));
  EXPECT_FALSE(some.certificate->exhausted);
}

TEST(ShardTest, ASampleHasNoShards) {
  EXPECT_THAT(
      RunLab(Explore::Walk(10).AsShard(0, 2), [](Cx cx) { return TakeTurns(cx, 2); }).failure,
      HasSubstr("only Explore::Exhaustive"));
}

}  // namespace
}  // namespace quiesce::lab

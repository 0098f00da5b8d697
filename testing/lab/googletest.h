// googletest.h: a GoogleTest test whose body runs in the lab.
//
// Example:    LAB_TEST(TransferTest, NeverLosesMoney, Explore::Exhaustive()) {
//               auto accounts = std::make_shared<Accounts>();
//               cx.Spawn("one", Transfer, accounts);
//               …
//               EXPECT_EQ(accounts->total(), 100);
//               co_return Ok();
//             }
// The body is a coroutine with a `Cx cx`, run once for each execution, in a region of its own: it makes anew what it uses.
// EXPECT_ works in it and in its tasks (ASSERT_ does not, since it returns). The first execution that fails ends the
// test, which prints the way there; --quiesce_replay=… takes it again.
#ifndef QUIESCE_TESTING_LAB_GOOGLETEST_H_
#define QUIESCE_TESTING_LAB_GOOGLETEST_H_

#include <cstdint>

#include "gtest/gtest.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce::lab {

// Runs `main`, and fails the running test if it fails. Of a shard, leaves its certificate in the folder of
// --quiesce_certificates=…, or where Bazel collects what a test leaves; and if this process has run all of them, says what
// they are together.
void RunLabTest(Explore how, const LabMain& main);

// One test for each shard: suite.name/0, suite.name/1 …
bool RegisterShards(const char* suite, const char* name, const char* file, int line,
                    uint32_t shards, const Explore& how, LabMain main);

}  // namespace quiesce::lab

#define LAB_TEST(suite, name, ...)                                                        \
  static ::quiesce::Task<void> suite##_##name##_InLab(::quiesce::Cx cx);                  \
  TEST(suite, name) { ::quiesce::lab::RunLabTest(__VA_ARGS__, &suite##_##name##_InLab); } \
  static ::quiesce::Task<void> suite##_##name##_InLab([[maybe_unused]] ::quiesce::Cx cx)

// An exploration that takes too long for one process, as so many tests: suite.name/0, suite.name/1 …, each of which explores
// its part. With `shard_count` Bazel spreads them over as many machines; //testing/lab:aggregate says of what they
// have left whether together they are EXHAUSTIVE. In one process they run one after the other, and say so themselves.
//
//   LAB_TEST_SHARDED(TransferTest, NeverLosesMoney, 4, Explore::Exhaustive()) { … }
#define LAB_TEST_SHARDED(suite, name, shards, ...)                                                 \
  static ::quiesce::Task<void> suite##_##name##_InLab(::quiesce::Cx cx);                           \
  [[maybe_unused]] static const bool suite##_##name##_registered = ::quiesce::lab::RegisterShards( \
      #suite, #name, __FILE__, __LINE__, shards, __VA_ARGS__, &suite##_##name##_InLab);            \
  static ::quiesce::Task<void> suite##_##name##_InLab([[maybe_unused]] ::quiesce::Cx cx)

#endif  // QUIESCE_TESTING_LAB_GOOGLETEST_H_

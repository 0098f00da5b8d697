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

#include "gtest/gtest.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce::lab {

// Runs `main`, and fails the running test if it fails.
void RunLabTest(Explore how, const LabMain& main);

}  // namespace quiesce::lab

#define LAB_TEST(suite, name, ...)                                                        \
  static ::quiesce::Task<void> suite##_##name##_InLab(::quiesce::Cx cx);                  \
  TEST(suite, name) { ::quiesce::lab::RunLabTest(__VA_ARGS__, &suite##_##name##_InLab); } \
  static ::quiesce::Task<void> suite##_##name##_InLab([[maybe_unused]] ::quiesce::Cx cx)

#endif  // QUIESCE_TESTING_LAB_GOOGLETEST_H_

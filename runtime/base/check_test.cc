#include "quiesce/runtime/base/check.h"

#include <cstdlib>

#include "gtest/gtest.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
namespace {

TEST(CheckTest, APassedCheckEvaluatesItsConditionOnce) {
  int evaluated = 0;
  QUIESCE_CHECK(++evaluated == 1, "never printed");
  EXPECT_EQ(evaluated, 1);
}

TEST(CheckDeathTest, AFailedCheckNamesPlaceConditionAndMessage) {
  const int left = 1;
  EXPECT_DEATH(QUIESCE_CHECK(left == 2, "run queue: pop from an empty queue"),
               "check_test.cc:[0-9]+: check failed: left == 2: run queue: pop from an empty queue");
}

TEST(CheckDeathTest, FatalFormatsItsMessage) {
  EXPECT_DEATH(Fatal("region '%s' has %d permits", "fetch", 3),
               "quiesce: region 'fetch' has 3 permits");
}

TEST(CheckDeathTest, TheEnvironmentOverridesDebugChecks) {
  // In a child process, since the answer is fixed at its first use.
  EXPECT_EXIT(
      {
        setenv("QUIESCE_DEBUG_CHECKS", "1", 1);
        std::_Exit(DebugChecks() ? 10 : 11);
      },
      ::testing::ExitedWithCode(10), "");
  EXPECT_EXIT(
      {
        setenv("QUIESCE_DEBUG_CHECKS", "0", 1);
        std::_Exit(DebugChecks() ? 10 : 11);
      },
      ::testing::ExitedWithCode(11), "");
}

TEST(VersionTest, TheLinkedLibraryIsTheOneOfTheHeaders) {
  EXPECT_EQ(quiesce_abi_0_1, 1);
  EXPECT_STREQ(kVersion, "0.1.0");
}

}  // namespace
}  // namespace quiesce

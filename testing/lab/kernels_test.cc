#include "quiesce/testing/lab/kernels.h"

#include <string>

#include "gtest/gtest.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce::lab {
namespace {

class KernelTest : public testing::TestWithParam<Kernel> {};

TEST_P(KernelTest, ItsMistakeIsFound) {
  const LabResult result =
      RunLab(Explore::Exhaustive(), [](Cx cx) { return GetParam().run(cx, /*fixed=*/false); });
  EXPECT_FALSE(result.ok()) << result.verdict;
  const LabResult again = RunLab(Explore::Replay(result.replay),
                                 [](Cx cx) { return GetParam().run(cx, /*fixed=*/false); });
  EXPECT_FALSE(again.ok()) << result.replay;
}

TEST_P(KernelTest, ItsFixHasNone) {
  const LabResult result =
      RunLab(Explore::Exhaustive(), [](Cx cx) { return GetParam().run(cx, /*fixed=*/true); });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(result.exhausted) << result.verdict;
}

INSTANTIATE_TEST_SUITE_P(All, KernelTest, testing::ValuesIn(Kernels()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace quiesce::lab

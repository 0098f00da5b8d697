#include "quiesce/testing/lab/mutants/programs.h"

#include "gtest/gtest.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce::lab {
namespace {

// The runtime as it is runs all of them.
TEST(ProgramsTest, BreakNoGuarantee) {
  for (const MutantProgram& program : MutantPrograms()) {
    const LabResult result = RunLab(program.options(Explore::Exhaustive()), program.main);
    EXPECT_TRUE(result.ok()) << program.name << ": " << result.failure;
    EXPECT_TRUE(result.exhausted) << program.name << ": " << result.verdict;
  }
}

}  // namespace
}  // namespace quiesce::lab

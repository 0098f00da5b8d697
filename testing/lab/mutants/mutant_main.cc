// mutant_main.cc: runs a program by a runtime that breaks a guarantee, and is content if that is what the lab says.
//
// Usage:      NAME_test --program=NAME --fails=HOW_THE_FAILURE_BEGINS [--says=TEXT_IN_IT]
// Exit:       0 if the exhaustive exploration fails like this, and nothing else fails in any of the walks; 1 if not; 2 for bad usage.
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "quiesce/testing/lab/lab.h"
#include "quiesce/testing/lab/mutants/programs.h"

namespace quiesce::lab {
namespace {

constexpr uint64_t kWalks = 200;

struct Expected {
  absl::string_view program;
  absl::string_view fails;
  absl::string_view says;
};

const MutantProgram* Find(absl::string_view name) {
  for (const MutantProgram& program : MutantPrograms()) {
    if (program.name == name) return &program;
  }
  return nullptr;
}

bool IsAsExpected(const Expected& expected, const MutantProgram& program) {
  const LabResult all = RunLab(program.options(Explore::Exhaustive()), program.main);
  std::printf("%s\n%s\n", all.verdict.c_str(), all.failure.c_str());
  if (!absl::StartsWith(all.failure, expected.fails) ||
      !absl::StrContains(all.failure, expected.says)) {
    std::printf("expected: %s… %s\n", std::string(expected.fails).c_str(),
                std::string(expected.says).c_str());
    return false;
  }
  // A failure ends an exploration. Is there another way to fail?
  uint64_t failed = 0;
  for (uint64_t seed = 1; seed <= kWalks; ++seed) {
    const Explore walk = program.options(Explore::Walk(1).WithSeed(seed).WithoutRepeating());
    const LabResult one = RunLab(walk, program.main);
    if (one.ok()) continue;
    ++failed;
    if (!absl::StartsWith(one.failure, expected.fails)) {
      std::printf("another failure, with seed %d: %s\n", static_cast<int>(seed),
                  one.failure.c_str());
      return false;
    }
  }
  std::printf("%d of %d walks fail, all of them like this\n", static_cast<int>(failed),
              static_cast<int>(kWalks));
  return failed != 0;
}

}  // namespace

int Main(int argc, char** argv) {
  Expected expected;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (absl::ConsumePrefix(&argument, "--program=")) {
      expected.program = argument;
    } else if (absl::ConsumePrefix(&argument, "--fails=")) {
      expected.fails = argument;
    } else if (absl::ConsumePrefix(&argument, "--says=")) {
      expected.says = argument;
    } else {
      std::fprintf(stderr, "unknown argument %s\n", argv[i]);
      return 2;
    }
  }
  const MutantProgram* program = Find(expected.program);
  if (program == nullptr || expected.fails.empty()) {
    std::fprintf(stderr, "usage: --program=NAME --fails=TEXT [--says=TEXT]; programs:\n");
    for (const MutantProgram& one : MutantPrograms()) {
      std::fprintf(stderr, "  %s\n", std::string(one.name).c_str());
    }
    return 2;
  }
  return IsAsExpected(expected, *program) ? 0 : 1;
}

}  // namespace quiesce::lab

int main(int argc, char** argv) { return quiesce::lab::Main(argc, argv); }

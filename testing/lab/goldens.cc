// goldens: how many classes a program has, of those whose number is known. See --help.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "quiesce/testing/lab/golden_programs.h"

namespace {

using quiesce::lab::FindGolden;
using quiesce::lab::Golden;
using quiesce::lab::Goldens;

std::string Usage() {
  std::string text =
      "goldens --program=NAME --n=N\n"
      "  Explores a program exhaustively, and prints how many classes of executions it has, how "
      "many of them it saw\n"
      "  twice, how many executions it gave up, and the time.\n\nPrograms, and their number of "
      "classes:\n";
  for (const Golden& golden : Goldens()) {
    absl::StrAppend(&text, "  ", golden.name,
                    std::string(18 - std::string(golden.name).size(), ' '), golden.what, "\n");
  }
  return text;
}

int Misuse(const std::string& what) {
  std::fprintf(stderr, "goldens: %s; try --help\n", what.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::string program;
  int n = 0;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (argument == "--help") {
      std::fputs(Usage().c_str(), stdout);
      return 0;
    }
    if (absl::StartsWith(argument, "--program=")) {
      program = std::string(argument.substr(10));
    } else if (absl::StartsWith(argument, "--n=")) {
      if (!absl::SimpleAtoi(argument.substr(4), &n) || n < 1 || n > 1000) {
        return Misuse(absl::StrCat("'", argument, "': n is a number from 1 to 1000"));
      }
    } else {
      return Misuse(absl::StrCat("'", argument, "' is no option"));
    }
  }
  if (n == 0) return Misuse("--n is missing");
  if (const Golden* golden = FindGolden(program)) {
    const auto start = std::chrono::steady_clock::now();
    const quiesce::explore::Exploration all = ExploreGolden(*golden, n);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (!all.problem.empty()) {
      std::fprintf(stderr, "goldens: %s\n", all.problem.c_str());
      return 1;
    }
    std::printf(
        "classes=%llu duplicates=%llu blocked=%llu seconds=%.3f deadlocks=%llu steps=%llu\n",
        static_cast<unsigned long long>(all.classes),
        static_cast<unsigned long long>(all.duplicates),
        static_cast<unsigned long long>(all.blocked), seconds.count(),
        static_cast<unsigned long long>(all.deadlocks), static_cast<unsigned long long>(all.steps));
    return 0;
  }
  return Misuse(absl::StrCat("there is no program '", program, "'"));
}

// programs.h: small programs that keep every guarantee, each of which a runtime that breaks one of them cannot run.
//
// Why:        an oracle that is only fed with made-up events may look at what never comes. These are run by runtimes with
//             one mistake each: see mutant.bzl.
// Threads:    that of the lab.
#ifndef QUIESCE_TESTING_LAB_MUTANTS_PROGRAMS_H_
#define QUIESCE_TESTING_LAB_MUTANTS_PROGRAMS_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce::lab {

struct MutantProgram {
  absl::string_view name;
  // What it needs beside a strategy.
  Explore (*options)(Explore how);
  Task<void> (*main)(Cx cx);
};

absl::Span<const MutantProgram> MutantPrograms();

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_MUTANTS_PROGRAMS_H_

// golden_programs.h: programs whose number of classes is known.
#ifndef QUIESCE_TESTING_LAB_GOLDEN_PROGRAMS_H_
#define QUIESCE_TESTING_LAB_GOLDEN_PROGRAMS_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "quiesce/testing/explore/dpor.h"
#include "quiesce/testing/lab/machine.h"

namespace quiesce::lab {

struct Golden {
  const char* name;
  const char* what;  // with its number of classes
  void (*build)(Machine& machine, int n);
};

absl::Span<const Golden> Goldens();
// Null: there is none of that name.
const Golden* FindGolden(absl::string_view name);
explore::Exploration ExploreGolden(const Golden& golden, int n);

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_GOLDEN_PROGRAMS_H_

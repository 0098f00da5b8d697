// kernels.h: bugs of real Go programs, reduced (GoKer, of GoBench: Yuan et al., CGO 2021), on our primitives: each with
// its mistake and without.
#ifndef QUIESCE_TESTING_LAB_KERNELS_H_
#define QUIESCE_TESTING_LAB_KERNELS_H_

#include <vector>

#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce::lab {

struct Kernel {
  const char* name;
  const char* mistake;  // what happens, in a few words
  Task<void> (*run)(Cx cx, bool fixed);
};

const std::vector<Kernel>& Kernels();

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_KERNELS_H_

#include "quiesce/runtime/base/version.h"

extern "C" {
const int quiesce_abi_0_1 = 1;
const int quiesce_only_one_version_per_program = 1;
}

// layout.cc: the size and alignment of the public types, as numbers that layout_test.sh reads in the assembly.
//
// It is compiled the way a user's file may be compiled: with and without NDEBUG, exceptions, RTTI, sanitizers, by either compiler. The numbers have to agree.
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/task.h"

#define LAYOUT(...) sizeof(__VA_ARGS__), alignof(__VA_ARGS__)

using namespace quiesce;

extern "C" const unsigned long quiesce_layout[] = {
    LAYOUT(Outcome<void>),
    LAYOUT(Outcome<int>),
    LAYOUT(Task<void>),
    LAYOUT(Task<int>),
};

// layout.cc: the size and alignment of the public types, as numbers that layout_test.sh reads in the assembly.
//
// It is compiled the way a user's file may be compiled: with and without NDEBUG, exceptions, RTTI, sanitizers, by either compiler. The numbers have to agree.
#include <memory>

#include "quiesce/runtime/quiesce.h"

#define LAYOUT(...) sizeof(__VA_ARGS__), alignof(__VA_ARGS__)

using namespace quiesce;

extern "C" const unsigned long quiesce_layout[] = {
    // values
    LAYOUT(Outcome<void>),
    LAYOUT(Outcome<int>),
    LAYOUT(Outcome<std::unique_ptr<int>>),
    LAYOUT(CancelReason),
    LAYOUT(Panic),
    LAYOUT(Instant),
    LAYOUT(Budget),
    // tasks and waits
    LAYOUT(Task<void>),
    LAYOUT(Task<int>),
    LAYOUT(Task<int>::promise_type),
    LAYOUT(TaskAwait<int>),
    LAYOUT(OutcomeOrReturn<int>),
    LAYOUT(TaskCore),
    LAYOUT(Waiter),
    LAYOUT(SleepWait),
    // regions
    LAYOUT(Cx),
    LAYOUT(CxWith<cap::Time>),
    LAYOUT(Authority),
    LAYOUT(RegionScope),
    LAYOUT(TaskScope),
    LAYOUT(Masked),
    LAYOUT(RegionPolicy),
    LAYOUT(RegionOptions),
    LAYOUT(RegionRef),
    LAYOUT(TaskHandle<int>),
    // the runtime
    LAYOUT(Runtime),
    LAYOUT(RuntimeOptions),
    LAYOUT(RuntimeServices),
    LAYOUT(DrainReport),
};

// hottest_loop.h: what an execution does that does not end.
#ifndef QUIESCE_TESTING_LAB_HOTTEST_LOOP_H_
#define QUIESCE_TESTING_LAB_HOTTEST_LOOP_H_

#include <string>

#include "quiesce/testing/lab/lab_trace.h"

namespace quiesce::lab {

// Of each task that makes a good part of the last half of the steps, the operations that it repeats, a line for each:
//   the hottest loop, 49,990 of the last 50,000 steps: 'poller' (server.cc:12): Mutex 1: TryLock -> Notify 2: Wait
// Objects of the same kind are not told apart: a loop may make them anew.
std::string HottestLoops(const LabTrace& log);

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_HOTTEST_LOOP_H_

// async_stack.h: the chain of co_await sites of a parked task, for dumps and stall reports.
#ifndef QUIESCE_RUNTIME_TASK_ASYNC_STACK_H_
#define QUIESCE_RUNTIME_TASK_ASYNC_STACK_H_

#include <cstdint>
#include <source_location>
#include <string>

#include "absl/strings/string_view.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

// Appends one line for each frame, innermost first, each after `indent`:
//   at examples/server.cc:21 in Echo
// The waiter's task must be pinned (ParkRegistry::ForEach), which keeps the frames where they are.
void AppendAsyncStack(const Waiter& waiter, absl::string_view indent, std::string& to);

// "examples/server.cc:30"; a header's path is the one by which it is included.
std::string DescribePlace(const char* file, uint32_t line);
std::string DescribePlace(const std::source_location& where);

// "'connection' #12 (spawned at examples/server.cc:30)"
std::string DescribeTask(const TaskCore& core);

// One line for each task that a thread of this process is running at the moment: those have no stack
// to print, since they are at no checkpoint.
std::string DescribeRunningTasks();

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_ASYNC_STACK_H_

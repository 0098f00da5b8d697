// main.h: a whole program in one macro.
//
// Example:    Task<void> Main(Cx cx) { … co_return Ok(); }        // or Main(Cx cx, int argc, char** argv)
//             QUIESCE_MAIN(Main)
// Signals:    SIGINT and SIGTERM ask for shutdown: ShutdownSignal(cx) returns, or, where nobody has called
//             it, the root region gets a kShutdown request, also if the signal came before the region was
//             opened. A second one, which a terminal and a wrapper may well send together with the first,
//             only says that the next will end the process at once. SIGQUIT prints the live region tree
//             to stderr.
// Exit code:  0 Ok, also after a handled shutdown; 1 Error; 70 Panicked; 75 the shutdown had to cut a task
//             off (not: a request further down has cut one off, at any time before; see DrainReport).
//             Anything but Ok is explained on stderr, and so is a shutdown, in one line.
#ifndef QUIESCE_RUNTIME_MAIN_H_
#define QUIESCE_RUNTIME_MAIN_H_

#include <type_traits>

#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
inline namespace v0 {
namespace main_internal {

enum ExitCode : int { kExitOk = 0, kExitError = 1, kExitPanicked = 70, kExitCutOff = 75 };

using MainFunction = Task<void> (*)(Cx cx, int argc, char** argv);
int Run(MainFunction main, int argc, char** argv);

template <auto kMain>
Task<void> Call(Cx cx, int argc, char** argv) {
  if constexpr (std::is_invocable_r_v<Task<void>, decltype(kMain), Cx, int, char**>) {
    return kMain(cx, argc, argv);
  } else {
    static_assert(
        std::is_invocable_r_v<Task<void>, decltype(kMain), Cx>,
        "QUIESCE_MAIN(F): F is Task<void> F(Cx) or Task<void> F(Cx, int argc, char** argv)");
    return kMain(cx);
  }
}

}  // namespace main_internal

// All of QUIESCE_MAIN but the function `main`, for one that has something to do before: a library that may
// call exit(), such as one that parses flags, must not be called once there is a runtime.
//   int main(int argc, char** argv) {
//     absl::ParseCommandLine(argc, argv);
//     return quiesce::RunMain<Main>(argc, argv);
//   }
// Returns the exit code. Once in a process at a time, since it takes over the signals.
template <auto kMain>
int RunMain(int argc, char** argv) {
  return main_internal::Run(&main_internal::Call<kMain>, argc, argv);
}

}  // namespace v0
}  // namespace quiesce

#define QUIESCE_MAIN(function) \
  int main(int argc, char** argv) { return ::quiesce::RunMain<&function>(argc, argv); }

#endif  // QUIESCE_RUNTIME_MAIN_H_

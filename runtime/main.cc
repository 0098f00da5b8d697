#include "quiesce/runtime/main.h"

#include <cstdio>

namespace quiesce {
inline namespace v0 {
namespace main_internal {

int Run(MainFunction main, int argc, char** argv) {
  absl::StatusOr<std::unique_ptr<Runtime>> runtime =
      Runtime::Create(RuntimeOptions().WithSignals());
  if (!runtime.ok()) {
    std::fprintf(stderr, "quiesce: cannot start: %s\n", runtime.status().ToString().c_str());
    return kExitError;
  }
  DrainReport report;
  const Outcome<void> outcome =
      (*runtime)->BlockOn([=](Cx cx) { return main(cx, argc, argv); }, &report);
  if (report.cancelled || report.tasks_cut_off > 0) {
    std::fprintf(stderr, "quiesce: %s\n", report.ToString().c_str());
  }
  const bool shutdown =
      outcome.is_cancelled() && outcome.cancel_reason().root().kind() == CancelKind::kShutdown;
  if (!outcome.ok() && !shutdown) {
    std::fprintf(stderr, "quiesce: main ended with %s\n", outcome.ToString().c_str());
  }
  if (outcome.is_panicked()) return kExitPanicked;
  if (report.tasks_cut_off > 0) return kExitCutOff;
  return outcome.ok() || shutdown ? kExitOk : kExitError;
}

}  // namespace main_internal
}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/combinator/pipeline.h"

#include <utility>

#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

void NoCapacity(const char* file, uint32_t line) {
  Fatal(
      "Pipeline(cx, 0, ...) at %s:%u: a channel without room passes nothing on; its capacity is at "
      "least 1",
      file, line);
}

void NoWorkers(const char* file, uint32_t line) {
  Fatal("Pipeline at %s:%u: a stage with 0 workers never ends; Parallel needs at least 1", file,
        line);
}

void PipelineTasks::ItemFailed(const Outcome<void>& failure) {
  if (failure.is_cancelled() && !item_cancelled_.exchange(true, std::memory_order_relaxed)) {
    first_cancelled_ = failure;
  }
  if (source_stopped_.exchange(true, std::memory_order_relaxed)) return;
  task_handle_internal::CancelTask(tasks_.front().task(), CancelKind::kFailFast,
                                   "an item of the pipeline has failed", Budget());
}

Outcome<void> PipelineTasks::TakeFailures() {
  Outcome<void> failures = Ok();
  for (const Branch& task : tasks_) {
    Outcome<void> ended = TakeBranch<void>(task);
    // A source that was stopped since an item had failed: that one counts.
    const bool stopped = &task == &tasks_.front() && ended.is_cancelled() && source_stopped();
    if (!stopped) JoinInto(failures, std::move(ended));
  }
  JoinInto(failures, std::move(first_cancelled_));
  return failures;
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

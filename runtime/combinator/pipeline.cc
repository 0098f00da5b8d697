#include "quiesce/runtime/combinator/pipeline.h"

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

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

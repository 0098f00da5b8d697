#include "quiesce/runtime/combinator/map_reduce.h"

#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

void NoParallelism(const char* file, uint32_t line) {
  Fatal(
      "MapReduce(cx, range, 0, ...) at %s:%u: nothing would ever be mapped; allow at least one "
      "map at once",
      file, line);
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

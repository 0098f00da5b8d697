#include "quiesce/runtime/combinator/timeout.h"

#include "absl/strings/str_cat.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

bool EndedByDeadlineOf(uint64_t region, const CancelReason& reason) {
  const CancelReason& root = reason.root();
  return root.kind() == CancelKind::kDeadline && root.origin().region == region &&
         root.origin().task == 0;
}

absl::Status TimedOut(absl::Duration duration, const char* file, uint32_t line,
                      const CancelReason& reason) {
  return absl::DeadlineExceededError(absl::StrCat("Timeout at ", file, ":", line, ": not done in ",
                                                  absl::FormatDuration(duration), " (",
                                                  reason.ToString(), ")"));
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

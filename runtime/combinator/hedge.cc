#include "quiesce/runtime/combinator/hedge.h"

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

absl::Status CheckHedge(absl::Duration delay, int max_attempts, const char* file, uint32_t line) {
  if (delay < absl::ZeroDuration()) {
    Fatal("Hedge(cx, %s) at %s:%u: the delay cannot be negative; zero starts all attempts at once",
          absl::FormatDuration(delay).c_str(), file, line);
  }
  if (max_attempts >= 1 && max_attempts <= kMaxHedgeAttempts) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("Hedge at ", file, ":", line, ": ", max_attempts,
                                                 " attempts are not possible; ask for 1 to ",
                                                 kMaxHedgeAttempts));
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

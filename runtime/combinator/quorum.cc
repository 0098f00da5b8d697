#include "quiesce/runtime/combinator/quorum.h"

#include "absl/strings/str_cat.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

absl::Status CheckQuorum(const QuorumSize& wanted, size_t branches) {
  if (wanted.count >= 1 && static_cast<uint64_t>(wanted.count) <= branches) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "Quorum at ", wanted.file, ":", wanted.line, ": ", wanted.count, " of ", branches,
      " branches is not possible; ask for at least 1 and at most as many as there are"));
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

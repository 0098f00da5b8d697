#include "quiesce/runtime/combinator/branches.h"

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

void LoseRest(RegionScope* region, bool body_ended) {
  using ArmAlarm = RegionCore::ArmAlarm;
  CoreOf(region)->BeforeRequest(ScopeRequest::kCancel);
  // Also when nothing is left: somebody outside may be about to spawn into it.
  CoreOf(region)->Cancel(CancelKind::kRaceLost, "a branch won", Budget(),
                         body_ended ? ArmAlarm::kWhenCloserParks : ArmAlarm::kNow);
}

absl::Status NothingToRun(const char* combinator, const char* file, uint32_t line) {
  return absl::InvalidArgumentError(absl::StrCat(
      combinator, " at ", file, ":", line,
      ": the container of branches is empty, so no branch can ever win; pass at least one"));
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/region/region_policy.h"

#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {

RegionOptions& RegionOptions::WithGrace(absl::Duration grace) {
  if (grace < absl::ZeroDuration()) {
    Fatal(
        "RegionOptions::WithGrace(%s): a grace budget cannot be negative; zero lets no finalizer "
        "wait",
        absl::FormatDuration(grace).c_str());
  }
  grace_ = grace;
  return *this;
}
RegionOptions& RegionOptions::WithMaxTasks(int64_t tasks) {
  if (tasks <= 0) {
    Fatal(
        "RegionOptions::WithMaxTasks(%lld): the limit must be positive; a region that admits no "
        "task needs no limit but no Spawn capability",
        static_cast<long long>(tasks));
  }
  max_tasks_ = tasks;
  return *this;
}
RegionOptions& RegionOptions::WithMaxSpawnBytes(int64_t bytes) {
  if (bytes <= 0) {
    Fatal("RegionOptions::WithMaxSpawnBytes(%lld): the limit must be positive",
          static_cast<long long>(bytes));
  }
  max_spawn_bytes_ = bytes;
  return *this;
}

}  // namespace v0
}  // namespace quiesce

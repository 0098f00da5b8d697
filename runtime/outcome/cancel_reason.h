// cancel_reason.h: why something was cancelled, by whom, when, and what had caused that.
//
// Example:    CancelReason reason(CancelKind::kDeadline, {.region = 7, .name = "fetch"}, now, "3 s");
//             CancelReason below = CancelReason::Caused(CancelKind::kParent, origin, now, "", reason);
//             below.root().kind() == CancelKind::kDeadline;
// Invariants: (1) one pointer to an immutable, counted record: cheap to move and to copy, and a
//             whole tree of descendants shares one chain;
//             (2) a chain of any length is destroyed without recursion;
//             (3) a moved-from reason may only be destroyed or assigned to.
// Threads:    copies that share records may be used and destroyed on different threads.
#ifndef QUIESCE_RUNTIME_OUTCOME_CANCEL_REASON_H_
#define QUIESCE_RUNTIME_OUTCOME_CANCEL_REASON_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/budget/instant.h"

namespace quiesce {
inline namespace v0 {

enum class CancelKind : uint8_t {
  kUser = 1,          // TaskHandle::Cancel, RegionRef::Cancel
  kDeadline,          // a budget's deadline passed
  kQuota,             // a budget's poll or cost quota was spent
  kFailFast,          // a sibling ended with an Error or a Panic
  kRaceLost,          // another branch of a race won
  kParent,            // an enclosing region was cancelled; the cause says why
  kShutdown,          // the process was asked to end
  kDrainBudgetSpent,  // the time to drain is over: even drain waits fail now
};

// "deadline", "fail-fast" …
const char* CancelKindName(CancelKind kind);

// The order of requests (G3): a later request replaces an earlier one only if it is more severe.
// kUser < kDeadline = kQuota < kFailFast = kRaceLost < kParent < kShutdown < kDrainBudgetSpent.
int CancelSeverity(CancelKind kind);

// What a request was aimed at.
struct CancelOrigin {
  uint64_t region = 0;
  uint64_t task = 0;  // 0: the region itself was the target
  uint32_t region_depth = 0;
  const char* name = "";  // a literal: the name of the target; never null
  // The ids of the regions around `region`, outermost first, one for each depth. Of a request itself only: what
  // follows from it below its target has none.
  absl::InlinedVector<uint64_t, 6> around = {};

  // Does `id`, a region at `depth`, lie around `region`?
  bool LiesBelow(uint64_t id, uint32_t depth) const {
    return depth < around.size() && around[depth] == id;
  }
};

class CancelReason {
 public:
  CancelReason(CancelKind kind, CancelOrigin origin, Instant time, absl::string_view message);
  static CancelReason Caused(CancelKind kind, CancelOrigin origin, Instant time,
                             absl::string_view message, CancelReason cause);

  CancelReason(const CancelReason& other) : record_(other.record_) { Ref(record_); }
  CancelReason(CancelReason&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}
  CancelReason& operator=(CancelReason other) noexcept {
    std::swap(record_, other.record_);
    return *this;
  }
  ~CancelReason() {
    if (record_ != nullptr) Unref(record_);
  }

  CancelKind kind() const;
  const CancelOrigin& origin() const;
  Instant time() const;
  absl::string_view message() const;
  // Null at the end of the chain. Valid while any reason that reaches it through causes lives.
  const CancelReason* cause() const;
  // The last of the chain, in O(1); *this if it has no cause.
  const CancelReason& root() const;

  // The same reason in a record of its own, which shares no count with this one; the causes are shared.
  CancelReason Clone() const;

  // "parent (region 'b') <- deadline: 3 s (task 'a')". A long chain is shortened in the middle.
  std::string ToString() const;

  // For keeping a reason in an atomic word: Release gives up the reference, and exactly one Adopt of
  // that pointer takes it back. Never null.
  const void* Release() && { return std::exchange(record_, nullptr); }
  static CancelReason Adopt(const void* released) {
    return CancelReason(static_cast<const Record*>(released));
  }

 private:
  struct Record;
  explicit CancelReason(const Record* record) : record_(record) {}
  static void Ref(const Record* record);
  static void Unref(const Record* record);

  const Record* record_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_OUTCOME_CANCEL_REASON_H_

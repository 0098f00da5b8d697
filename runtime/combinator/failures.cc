#include "quiesce/runtime/combinator/failures.h"

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {
namespace {

constexpr size_t kNamed = 8;

absl::Status WithMessage(const absl::Status& status, absl::string_view message) {
  absl::Status changed(status.code(), message);
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    changed.SetPayload(type, payload);
  });
  return changed;
}

}  // namespace

void Failures::Add(size_t index, Outcome<void> failure) {
  failures_.emplace_back(index, std::move(failure));
}

Outcome<void> Failures::Joined(const char* combinator) && {
  std::sort(failures_.begin(), failures_.end(),
            [](const Failure& left, const Failure& right) { return left.index < right.index; });
  const auto first = std::max_element(failures_.begin(), failures_.end(),
                                      [](const Failure& left, const Failure& right) {
                                        return left.outcome.severity() < right.outcome.severity();
                                      });
  if (!first->outcome.is_error() || failures_.size() == 1) return std::move(first->outcome);
  std::string message =
      absl::StrCat(first->outcome.error().message(), " (", combinator, ": branch ", first->index);
  size_t named = 0;
  for (const Failure& failure : failures_) {
    if (&failure == &*first) continue;
    if (named++ == kNamed) {
      absl::StrAppend(&message, "; and ", failures_.size() - 1 - kNamed, " more");
      break;
    }
    absl::StrAppend(&message, "; branch ", failure.index, ": ", failure.outcome.ToString());
  }
  return WithMessage(first->outcome.error(), absl::StrCat(message, ")"));
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

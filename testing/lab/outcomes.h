// outcomes.h: what a body writes, over all executions that come to their end. For tests of the lab itself.
//
// Example:    const Outcomes all = OutcomesOf(Explore::Exhaustive(), [](Cx cx, std::string& seen) -> Task<void> {
//               … Write(seen, 'a'); …
//             });
//             EXPECT_THAT(all.seen, ElementsAre("ab", "ba"));
#ifndef QUIESCE_TESTING_LAB_OUTCOMES_H_
#define QUIESCE_TESTING_LAB_OUTCOMES_H_

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/shared_object.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce::lab {

struct Outcomes {
  std::set<std::string> seen;
  LabResult result;
};

inline Outcomes OutcomesOf(Explore how, const std::function<Task<void>(Cx, std::string&)>& body) {
  Outcomes outcomes;
  std::string seen;
  how.WithCheck([&] { seen.clear(); },
                [&]() -> std::optional<std::string> {
                  outcomes.seen.insert(seen);
                  return std::nullopt;
                });
  outcomes.result = RunLab(how, [&](Cx cx) { return body(cx, seen); });
  return outcomes;
}

// So that the order of what tasks write counts.
template <class What>
void Write(std::string& seen, const What& what) {
  BeforeUse(&seen, ObjectUse::kChange);
  absl::StrAppend(&seen, what);
}

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_OUTCOMES_H_

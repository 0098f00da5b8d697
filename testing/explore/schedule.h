// schedule.h: one execution as a few decisions, which can be kept, sent to a colleague, and made again.
//
// Why:        a failing execution has thousands of steps, of which two or three matter. What is kept is where it
//             leaves the usual way: the task that ran last goes on for as long as it can, and then the oldest that can.
// Example:    Schedule failing = …;  std::string text = failing.ToString();  // "1:5f2c81d07be9a3e4:12=3,40=1"
//             absl::StatusOr<Schedule> again = Schedule::Parse(text);
// Threads:    values.
#ifndef QUIESCE_TESTING_EXPLORE_SCHEDULE_H_
#define QUIESCE_TESTING_EXPLORE_SCHEDULE_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/explore/trace.h"

namespace quiesce::explore {

// At step `step`, counted from 0, a task goes that would not have: the `age`th that was made, from 0. (What a model calls
// it depends on what it has done before.)
struct Deviation {
  uint32_t step;
  uint32_t age;
  bool operator==(const Deviation&) const = default;
};

struct Schedule {
  std::vector<Deviation> deviations;  // by step
  // Of what it does (Trace::OrderHash): another program, or another version of it, is told from this one by it.
  uint64_t hash = 0;

  bool operator==(const Schedule&) const = default;
  std::string ToString() const;
  // Errors   kInvalidArgument, and what it has found where.
  static absl::StatusOr<Schedule> Parse(absl::string_view text);
};

struct Execution {
  enum class Ended : uint8_t { kComplete, kDeadlock, kTooLong };
  Ended ended;
  Schedule schedule;
};

// One execution, in which `choose` says who goes next, of those that can (by age, not empty); `usual` is who would.
using Choose = absl::FunctionRef<TaskId(const std::vector<TaskId>& can, TaskId usual)>;
Execution Execute(Model* model, Trace* trace, Choose choose, size_t max_steps = kMostSteps);

// One execution by `deviations`. Those that cannot be followed (that task cannot go then) are left out.
Execution Follow(Model* model, Trace* trace, const std::vector<Deviation>& deviations,
                 size_t max_steps = kMostSteps);

// One execution whose steps are made by these tasks, each by its age. Where that one cannot go, and at the end of the list,
// whoever would by itself.
Execution FollowSteps(Model* model, Trace* trace, const std::vector<uint32_t>& made_by,
                      size_t max_steps = kMostSteps);

// `schedule` once more, exactly. `max_steps`: as when it was made.
// Errors   kFailedPrecondition: the program does something else now.
absl::Status Replay(Model* model, Trace* trace, const Schedule& schedule,
                    size_t max_steps = kMostSteps);

// Deviations of which none can be left out, so that an execution still fails; `fails` says of each execution, after its
// end, whether it did. Delta debugging: Zeller, Hildebrandt, IEEE TSE 28(2), 2002.
// Precondition: that of `failing` fails.
Schedule Minimize(Model* model, const Schedule& failing,
                  absl::FunctionRef<bool(const Execution&, const Trace&)> fails,
                  size_t max_steps = kMostSteps);

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_SCHEDULE_H_

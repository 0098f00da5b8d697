// bounded.h: every behaviour of a program that shows when few tasks are interrupted.
//
// Why:        where there are too many classes to explore all of them, those that take one or two interruptions are few,
//             and hold most bugs.
// Example:    BoundedExplorer explorer(&program, /*preemptions=*/2);
//             Exploration some = explorer.Run();
// Source:     iterative context bounding: Musuvathi, Qadeer, PLDI 2007. A preemption is a step of another task than the one
//             before while that one could go on; where it cannot, each that can is tried. To cut dynamic partial order
//             reduction by such a bound would be unsound. Instead all schedules within the bound are tried, but
//             none goes on from where another has been: from a prefix of the same class, after a step of the same task,
//             with as few preemptions or fewer, what can follow is the same.
// Invariants: (1) each class that has an execution with so few preemptions is explored, and no other; (2) those with fewer
//             come first, so the first failure takes as few as any; (3) a prefix that is executed again must do the same.
//             (But for two prefixes whose hashes, of 64 bits, are equal by accident.)
// Threads:    none.
#ifndef QUIESCE_TESTING_EXPLORE_BOUNDED_H_
#define QUIESCE_TESTING_EXPLORE_BOUNDED_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/exploration.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/explore/trace.h"

namespace quiesce::explore {

class BoundedExplorer {
 public:
  // `options`: max_executions counts also those that are given up. Classes are always told apart.
  BoundedExplorer(Model* model, uint32_t preemptions, ExploreOptions options = ExploreOptions())
      : model_(model), most_(preemptions), options_(options) {}

  // Explores. Call it once. `blocked` counts the executions that came to where another had been.
  Exploration Run();
  // From the model's End: that was the last execution.
  void Stop() { stopped_ = true; }
  // The latest execution: after a problem, the one that has it.
  const Trace& trace() const { return trace_; }
  // Those of the executions that are under way: all with fewer have been explored.
  uint32_t preemptions() const { return preemptions_; }

 private:
  // A step, and those before it: the tree of all that has been executed.
  struct Step {
    uint32_t before;
    TaskId task;
    uint32_t op;  // a hash of what it has touched
  };
  static constexpr uint32_t kBegin = ~uint32_t{0};
  // To be executed: what leads to `after`, then a step of `task`, and on to the end.
  struct Branch {
    uint32_t after;
    TaskId task;
  };

  // False: there is a problem.
  bool Execute(Branch branch);
  // False: it cannot be made, or is another than it was.
  bool Repeat(uint32_t step);
  void Make(TaskId task, uint32_t before);
  // After the steps up to steps_.back(), which are new: who goes on? False: nobody can. Others are left for later.
  bool Choose(TaskId* next);
  void CountEnd(Model::Ended how);
  uint32_t HashOfLatestOp() const;

  Model* const model_;
  const uint32_t most_;
  const ExploreOptions options_;
  Exploration result_;
  Trace trace_;
  uint32_t preemptions_ = 0;
  bool cut_ = false;  // an execution was left out, since it takes more
  bool stopped_ = false;
  uint64_t executions_ = 0;
  std::vector<Step> steps_;
  std::vector<Branch> todo_;            // with as many preemptions as now
  std::vector<Branch> later_;           // with one more
  absl::flat_hash_set<uint64_t> seen_;  // prefixes, each with the task of its last step
  // Scratch.
  std::vector<uint32_t> path_;
  std::vector<TaskId> can_;
};

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_BOUNDED_H_

// split.h: the executions of a program in parts, which can be explored without knowing of each other.
//
// Why:        processes on several machines explore one program, each some of its parts, and need not talk.
// How:        a tree of beginnings. From each state of it branch the tasks of which one can go first in each execution that
//             was tried from there, of some random ones (a source set, as far as one knows: Abdulla, Aronis, Jonsson,
//             Sagonas, JACM 2017). What begins at a leaf is a part. Branches that come before it sleep there, as in an
//             exploration by one process. A race that reverses above the leaf is left to the other branches there if
//             one of them can go first; if none can, the random executions have not shown it, and who finds it
//             explores it.
// Invariants: (1) each class is explored in its part, or with one in which the race was found that leads to it; (2) it is in one
//             part at most, found by way of the first branch of each state that can go first in it; (3) two processes
//             that run the same program split it in the same way.
//             Only for an explorer that keeps no wakeup trees: with them, what sleeps would have to write down for
//             what comes later how it goes on, and classes would be lost.
// Threads:    none.
#ifndef QUIESCE_TESTING_EXPLORE_SPLIT_H_
#define QUIESCE_TESTING_EXPLORE_SPLIT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/exploration.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/explore/trace.h"

namespace quiesce::explore {

class Split {
 public:
  // Into at least so many parts, if there are so many within the first kLongestPart steps. `max_steps`: of the executions
  // by which it finds them.
  Split(Model* model, size_t at_least, size_t max_steps);

  static constexpr size_t kLongestPart = 200;
  static constexpr int kTries = 32;  // random executions from each state of the tree

  size_t parts() const { return parts_.size(); }
  const std::vector<PartStep>& part(size_t number) const { return parts_[number]; }
  // That of the class of this execution, which is complete.
  std::optional<size_t> FindPart(const Trace& trace) const;
  // Equal for equal splits, also of another process.
  uint64_t hash() const { return hash_; }
  uint64_t steps() const { return steps_; }  // that it took

 private:
  struct Branch {
    TaskId task = 0;
    Op op;
    size_t to = 0;  // a node
  };
  struct Node {
    std::vector<PartStep> steps;
    std::vector<PartStep::Other> sleep;
    uint64_t hash = 0;
    std::vector<Branch> branches;  // by Trace::OriginOf
    size_t part = 0;               // if it has none
  };
  // Finds the branches of a node. False: it is the end of an execution.
  bool FindBranches(Model* model, Node& node);

  const size_t max_steps_;
  std::vector<Node> nodes_;
  std::vector<std::vector<PartStep>> parts_;
  uint64_t hash_ = 0;
  uint64_t steps_ = 0;
  Trace trace_;
};

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_SPLIT_H_

// dpor.h: every behaviour of a program, each once.
//
// Why:        the orders in which tasks can run are too many to try; nearly all of them differ only in the order of
//             operations that do not touch the same thing. This explores one of each class (Mazurkiewicz trace).
// Example:    Explorer explorer(&program);
//             Exploration all = explorer.Run();
//             EXPECT_EQ(all.classes, 24u);
//             EXPECT_EQ(all.deadlocks, 0u);
// Source:     optimal dynamic partial order reduction with wakeup trees: Abdulla, Aronis, Jonsson, Sagonas, JACM
//             64(4), 2017. Beyond it: of an operation that may block every conflicting predecessor that does not come
//             before the task's previous operation is a race, not only the last; those that wait when the execution
//             ends race too (without this, deadlocks are missed); and it is tried out whether it can go earlier.
//             Without wakeup trees (ExploreOptions): source sets, of the same paper.
// Invariants: (1) each class is explored, as long as the model says of each operation all that it touches; if it says
//             less, classes are missed; if it says more, `duplicates` and `blocked` count what that has cost;
//             (2) none is explored twice, and no execution is given up half-way, where no operation waits and wakeup
//             trees are kept; else some are; (3) a prefix that is executed again must do the same: what differs first is named.
// Threads:    none.
#ifndef QUIESCE_TESTING_EXPLORE_DPOR_H_
#define QUIESCE_TESTING_EXPLORE_DPOR_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/exploration.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/explore/trace.h"
#include "quiesce/testing/explore/wakeup_tree.h"

namespace quiesce::explore {

class Explorer {
 public:
  explicit Explorer(Model* model, ExploreOptions options = ExploreOptions())
      : model_(model), options_(options) {}

  // Explores. Call it once.
  Exploration Run();
  // From the model's End: that was the last execution.
  void Stop() { stopped_ = true; }
  // The latest execution: after a problem, the one that has it.
  const Trace& trace() const { return trace_; }
  // How many classes there may be, deadlocks among them: what is left at each state of the latest execution is taken for as
  // much as what has been explored from there, on the average. From the model's End, or after Run.
  // Rough: what only later executions will find is not in it, so it is too low at first (estimate.h has numbers).
  // Source: the recursive estimator of Kilby, Slaney, Thiebaux, Walsh, AAAI 2006; for partial order reduction, where what
  // is left grows while one explores: Simsa, Bryant, Gibson, CMU-PDL-12-113, 2012 (its lazy strategy).
  double EstimateClasses() const;

 private:
  using Node = WakeupNodes::Index;
  using Event = Trace::Event;
  static constexpr size_t kNowhere = Trace::kNowhere;

  // Explored already from a state, and independent of all that came since: to go that way again is to do the same.
  struct Asleep {
    TaskId task;
    Op op;
  };
  // The state before an event.
  struct State {
    std::vector<Asleep> sleep;
    WakeupNodes::List todo;  // beside what is being explored
    // For EstimateClasses: of what has been explored from here, how many branches and executions; and how many executions
    // had ended when the branch began that is being explored.
    uint64_t branches = 0;
    uint64_t executions = 0;
    uint64_t began_at = 0;
  };

  // One execution: the first `known` events again, then the operation of `next` (kNone: whatever comes), and on to an
  // end; then its races. False: there is a problem.
  bool Execute(size_t known, Node next);
  // The steps with which each execution is to begin. False: there is a problem.
  bool BeginPart();
  // What comes next: of `todo`, with what is to follow it; else something. False: nothing can, or only what is asleep.
  bool Choose(Node* next, TaskId* task, WakeupNodes::List* guide, bool* any_enabled);
  void Step(TaskId task, WakeupNodes::List guide);
  void CountEnd(Model::Ended how);
  uint64_t ended() const { return Executions(result_); }

  // The races of `late`, at `late_at` (or one that waits, when that is the end), with what came before it: to races_.
  void FindRaces(const Event& late, size_t late_at);
  // Sees to it that `late` is also tried before the event at `early`. No execution is under way.
  void Reverse(size_t early, Event late);
  // Can the operation of `late`, which may block, go after the events before `early` and word_, or after what of it has to
  // come before? What it is then is in late->op.
  bool Probe(size_t early, Event* late);
  // Can word_ be done with the operation of `task` first: is it one that may come first (at *at), or none of it, and
  // in the way of nothing (kNowhere)?
  bool MayStartWith(TaskId task, const Op& op, size_t* at) const;
  bool ComesBefore(size_t a, size_t b) const;  // of word_

  Model* const model_;
  const ExploreOptions options_;
  Exploration result_;
  WakeupNodes nodes_;
  Trace trace_;
  std::vector<State> states_;  // before each event, and at the end

  // Scratch. What is to be executed from the state before `early`: the later events that do not follow from it, in their
  // order, and then `late`.
  struct Letter {
    const Event* event;
    size_t at;  // kNowhere: `late`
  };
  std::vector<Letter> word_;
  struct Race {
    size_t early;
    Event late;
  };
  std::vector<Race> races_;
  bool waits_for_several_ = false;
  bool stopped_ = false;
  std::vector<uint32_t> joined_;
  std::vector<size_t> candidates_;
};

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_DPOR_H_

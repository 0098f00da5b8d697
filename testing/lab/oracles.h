// oracles.h: the guarantees, watched over while an execution runs.
//
// Why:        what a test asserts is what its author thought of. These read the runtime's own events, in every lab test.
// Which       (DESIGN.md, section 2):
//             G1   a task is spawned into a region that lives, begins and ends once, and no region closes over one
//             G2   nothing happens in a region that has closed, nor is one left open, nor a timer armed
//             G3   a region's phases only advance; the end of its drain is not put off
//             G4   nobody goes on waiting, ordinarily, in a region that was cancelled, and a deadline that has passed cancels
//             G5   … nor in any way that its budget ends, once that is spent, which is when its time is over; who does not
//                  end all the same is reported
//             G6   finalizers run once each, last registered first, one at a time, after the tasks, in a time of their own, and
//                  register no other
//             G7   a permit is resolved once, and no region closes over one that it has not revoked
//             G8   a wait is decided once, and one that was cancelled has reserved nothing
//             G9   what a combinator has run has ended when its region closes
//             G10  a task acts in its own region and in those that it has opened below, and has the time of a finalizer in
//                  a finalizer only
//             G12  who was spawned begins, who was woken goes on, who waits for the end of tasks or permits is woken at the
//                  last, and nobody is passed by one who came later, where waits are in order; where workers are modelled,
//                  each goes when its lane's turn has come
// Not seen:   what no event says. Of G3: the kind of a region's reason. Of G5: quotas, the drain of a task that was
//             cancelled by its handle, and the time that finalizers have. Of G8: what a primitive has given away. Of G10: what
//             types forbid (the compiler's and capgen's), and policies, which nothing asks that runs in a lab. G11 is that of
//             the property tests of Outcome and Budget.
// Threads:    none.
#ifndef QUIESCE_TESTING_LAB_ORACLES_H_
#define QUIESCE_TESTING_LAB_ORACLES_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce::lab {

class Oracles {
 public:
  void Begin();
  void OnEvent(EventKind kind, uint64_t region, uint64_t task, uint64_t arg, const char* name);
  // Workers have got, or have taken, a step. What it is is known by its address.
  void OnQueued(const void* step, Lane lane, Instant deadline);
  void OnTaken(const void* step);
  // The task has left its wait, which no event says.
  void OnWaitLeft(uint64_t task);
  // Time has moved, since nobody could go on; what is due has not fired yet.
  void OnTime(int64_t now_ns);
  // Nothing can go on but time: whoever has to go on has.
  void OnQuiet();
  // The execution is complete, and so many timers are still armed.
  void OnEnd(size_t timers);
  // The first that was found, "G1 (no orphans): …". Empty: none.
  const std::string& violation() const { return violation_; }

 private:
  struct Region {
    const char* name = "";
    uint64_t parent = 0;
    uint64_t opener = 0;
    int64_t live = 0;      // tasks
    int64_t children = 0;  // open regions below
    int64_t permits = 0;
    bool cancelled = false;
    bool lost = false;  // cancelled since a branch won
    bool spent = false;
    bool grace_spent = false;
    bool finalizing = false;
    bool in_finalizer = false;
    bool closed = false;
    bool stalled = false;  // it was reported
    int64_t deadline = kNever;
    int64_t drain_by = kNever;    // the earliest that was requested
    int64_t latest_drain_by = 0;  // … and the latest
    int64_t grace_spent_since = kNever;
    std::vector<const char*> finalizers;
  };
  struct Task {
    const char* name = "";
    uint64_t home = 0;
    bool began = false;
    uint64_t waits_in = 0;  // the region of the wait
    uint64_t queue = 0;     // the object that it is queued at; 0: none that is known
    uint64_t since = 0;     // which of those that have parked, counted
    uint8_t mode = 0;       // of the wait
    const char* wait = "";
    bool parked = false;
    bool woken = false;
    bool decided = false;  // the wait, by a grant or a cancel
    bool wait_was_cancelled = false;
    bool cancelled = false;  // by its handle
    bool spent = false;
    bool grace_spent = false;
  };

  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  Region* RegionOf(uint64_t id);
  Task* TaskOf(uint64_t id);
  void Violated(const char* guarantee, const std::string& what);
  void OnCancel(Region& region, uint64_t task, uint64_t kind);
  void CheckEnded(const Region& region);
  void OnClose(Region& region);
  void OnOpen(uint64_t id, uint64_t opener, uint64_t parent, const char* name);
  void OnFinalizer(Region& region, const char* name);
  void OnPermitEnd(Region& region, uint64_t arg, const char* name);
  void OnWaitPoint(EventKind kind, uint64_t id, Task& task, uint64_t region, uint64_t arg,
                   const char* name);
  void OnPark(uint64_t id, Task& task, uint64_t region, uint64_t mode, const char* name);
  void OnWake(Task& task, bool cancelled);
  // May `task` act in `region`?
  void CheckAuthority(uint64_t id, const Task& task, uint64_t region);
  void CheckFinalizerMayStop(uint64_t id, const Task& task, uint64_t region, const char* name);
  bool InFinalizer(uint64_t region);
  // Must a wait as that of `task` have ended?
  void CheckParked(uint64_t id, const Task& task);
  void CheckCloser(uint64_t id, const Task& task);

  // R9's, and on purpose not LanePicker's.
  static constexpr int kMostCancelSteps = 16;
  static constexpr int kMostTimedSteps = 32;
  struct Queued {
    const void* step;
    Lane lane;
    Instant deadline;
  };
  std::vector<Queued> queued_;
  int cancel_streak_ = 0;
  int timed_streak_ = 0;

  absl::flat_hash_map<uint64_t, Region> regions_;
  absl::flat_hash_map<uint64_t, Task> tasks_;  // that live
  uint64_t enqueues_ = 0;  // the task that is about to be queued, if that was the last event
  uint64_t parks_ = 0;
  int64_t now_ns_ = 0;
  std::string violation_;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_ORACLES_H_

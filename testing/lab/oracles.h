// oracles.h: the guarantees, watched over while an execution runs.
//
// Why:        what a test asserts is what its author thought of. These read the runtime's own events, in every lab test.
// Which       (DESIGN.md, section 2):
//             G1   a task is spawned into a region that lives, ends once, and no region closes over one
//             G2   nothing happens in a region that has closed, nor is one left open
//             G3   a region's phases only advance
//             G4   nobody goes on waiting, ordinarily, in a region that was cancelled
//             G5   … nor in any way that its budget ends, once that is spent
//             G6   finalizers run once each, last registered first, one at a time, after the tasks
//             G7   a permit is resolved once, and no region closes over one that it has not revoked
//             G8   a wait that was cancelled has reserved nothing
//             G9   what a combinator has run has ended when its region closes
//             G12  who was woken goes on; and, where workers are modelled, goes when its lane's turn has come
//             (G10 is the compiler's and capgen's, G11 that of the property tests of Outcome and Budget.)
// Threads:    none.
#ifndef QUIESCE_TESTING_LAB_ORACLES_H_
#define QUIESCE_TESTING_LAB_ORACLES_H_

#include <cstdint>
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
  // Nothing can go on but time: whoever has to go on has.
  void OnQuiet();
  // The execution is complete.
  void OnEnd();
  // The first that was found, "G1 (no orphans): …". Empty: none.
  const std::string& violation() const { return violation_; }

 private:
  struct Region {
    const char* name = "";
    uint64_t parent = 0;
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
    std::vector<const char*> finalizers;
  };
  struct Task {
    const char* name = "";
    uint64_t waits_in = 0;  // the region of the wait
    uint8_t mode = 0;       // of the wait
    const char* wait = "";
    bool parked = false;
    bool woken = false;
    bool wait_was_cancelled = false;
    bool cancelled = false;  // by its handle
    bool spent = false;
    bool grace_spent = false;
  };

  Region* RegionOf(uint64_t id);
  Task* TaskOf(uint64_t id);
  void Violated(const char* guarantee, const std::string& what);
  void OnCancel(Region& region, uint64_t task, uint64_t kind);
  void OnClose(Region& region);
  void OnWaitPoint(EventKind kind, Task& task, uint64_t region, uint64_t arg, const char* name);
  // Must a wait as that of `task` have ended?
  void CheckParked(uint64_t id, const Task& task);

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
  std::string violation_;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_ORACLES_H_

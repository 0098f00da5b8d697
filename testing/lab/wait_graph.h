// wait_graph.h: who waits for what that who has, as far as the events tell.
//
// Why:        a deadlock is a cycle, and the region tree shows its tasks, but not what they have of one another.
// How:        what a task waits for is what it used in its wait, and whom: the task that it joins, the tasks of the region that
//             it closes, who has reserved a permit there, who has the lock. A lock (Mutex, RwLock) is had from the end of the
//             wait for it until its next use by the same task.
// Not known:  who would send or notify, and who has a lock by TryLock.
// Threads:    none.
#ifndef QUIESCE_TESTING_LAB_WAIT_GRAPH_H_
#define QUIESCE_TESTING_LAB_WAIT_GRAPH_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce::lab {

class WaitGraph {
 public:
  void Begin();
  // `by`: the task whose step it is; 0: none of the runtime's.
  void OnEvent(EventKind kind, uint64_t region, uint64_t task, uint64_t arg, const char* name,
               uint64_t by);
  // A cycle, if there is one, and all others that wait; a line for each task.
  std::string Describe() const;

 private:
  struct Holding {
    uint64_t object;
    const char* permit;  // its kind; null: the lock itself
  };
  struct Task {
    const char* name = "";
    uint64_t home = 0;
    const char* wait = "";
    uint64_t object = 0;  // of the wait; 0: none that is known
    uint64_t closes = 0;  // the region whose tasks it waits for
    uint64_t used = 0;    // the latest
    bool asks = false;    // its next use of an object is the wait's
    bool parked = false;
    bool ended = false;
    std::vector<Holding> holds;
  };
  struct Region {
    const char* name = "";
    uint64_t opener = 0;
  };
  struct Object {
    const char* what = "";
    uint32_t ordinal = 0;  // of its kind
    uint64_t task = 0;     // whose record it is
  };
  struct Wait {
    std::string what;            // "waits in Mutex::Lock for Mutex 1, which "
    std::vector<uint64_t> whom;  // those that are known
  };

  Task* Find(uint64_t id);
  void OnUse(Task& task, uint64_t object);
  bool IsLock(uint64_t object) const;
  void Take(Task& task, uint64_t object);
  void Drop(Task& task, uint64_t object);
  static bool Waits(const Task& task) { return !task.ended && (task.parked || task.closes != 0); }
  Wait WaitOf(uint64_t id, const Task& task) const;
  std::vector<uint64_t> HoldersOf(uint64_t object) const;
  // The tasks of one, in its order; empty: there is none.
  std::vector<uint64_t> FindCycle() const;
  std::string NameOf(uint64_t id) const;
  std::string Line(uint64_t id) const;

  std::map<uint64_t, Task>
      tasks_;  // also those that have ended; in the order of their ids, for who reads it
  std::map<uint64_t, Region> regions_;
  absl::flat_hash_map<uint64_t, Object> objects_;  // by address
  absl::flat_hash_map<const char*, uint32_t> of_kind_;
  uint64_t made_ = 0;  // the latest object
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_WAIT_GRAPH_H_

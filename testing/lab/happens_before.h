// happens_before.h: which accesses of plain memory nothing orders.
//
// Source:     vector clocks, as in FastTrack (Flanagan, Freund, PLDI 2009), without its epochs.
// Invariants: what one task does comes before what another does if it did it before it was joined, before it woke the
//             other, or before a use of an object that the other used later.
// Threads:    none.
#ifndef QUIESCE_TESTING_LAB_HAPPENS_BEFORE_H_
#define QUIESCE_TESTING_LAB_HAPPENS_BEFORE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "quiesce/testing/explore/event.h"

namespace quiesce::lab {

class HappensBefore {
 public:
  // An execution in which nothing has happened.
  void Begin();
  // `task` goes on after all that `other` has done so far.
  void Join(explore::TaskId task, explore::TaskId other);
  // … that has been done before earlier uses of `object`; and who uses it next, after this.
  void Use(explore::TaskId task, explore::ObjectId object);
  // `task` reads, or changes, plain memory. The task whose access is not ordered before it; none: all are.
  std::optional<explore::TaskId> Race(explore::TaskId task, explore::ObjectId memory, bool change);

 private:
  // For each task how much of what it has done is known to have happened.
  using Clock = std::vector<uint32_t>;
  struct Memory {
    Clock reads;   // when each task has read it last
    Clock writes;  // … and changed it
  };

  static uint32_t At(const Clock& clock, uint32_t task) {
    return task < clock.size() ? clock[task] : 0;
  }
  static void Raise(Clock& clock, uint32_t task, uint32_t to);
  static void JoinInto(Clock& clock, const Clock& other);
  // The clock of `task`, one step on.
  Clock& Tick(explore::TaskId task);

  std::vector<Clock> tasks_;
  std::vector<Clock> objects_;
  std::vector<Memory> memory_;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_HAPPENS_BEFORE_H_

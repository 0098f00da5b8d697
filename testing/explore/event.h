// event.h: what a task does next, as far as others can tell.
//
// Why:        two executions that differ only in the order of operations which do not touch the same thing are one; to
//             explore each only once, one must know which operations those are.
// Invariants: (1) ids of tasks and objects are dense, and the same in every execution that one model makes;
//             (2) operations of different tasks commute unless an access of one conflicts with one of the other, or
//             one has to come after the other (see Model::Step).
// Threads:    values.
#ifndef QUIESCE_TESTING_EXPLORE_EVENT_H_
#define QUIESCE_TESTING_EXPLORE_EVENT_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/inlined_vector.h"

namespace quiesce::explore {

using TaskId = uint32_t;
using ObjectId = uint32_t;

// What an operation does to one object.
enum class Effect : uint8_t {
  kRead,   // of memory; also a compare-exchange or a Try that fails
  kWrite,  // of memory; also a read-modify-write
  kAcquire,  // of a lock: two of them compete. Of one of several permits, the release is one of these, too
  kRelease,  // of a lock, lets an acquire come, and competes with nothing
  kSend,     // into a queue, which keeps the order of the sends …
  kReceive,  // … and gives them out in that order, so that the two ends do not compete
  kWhole,    // depends on the whole object or changes it: a close, a length, a Try that succeeds
};
inline constexpr size_t kEffects = 7;

constexpr bool Conflict(Effect a, Effect b) {
  const auto is = [](Effect effect, Effect x, Effect y) { return effect == x || effect == y; };
  if (a == Effect::kWhole || b == Effect::kWhole) return true;
  if (is(a, Effect::kRead, Effect::kWrite) || is(b, Effect::kRead, Effect::kWrite)) {
    return a != Effect::kRead || b != Effect::kRead;
  }
  return a == b && a != Effect::kRelease;
}

struct Access {
  ObjectId object;
  Effect effect;
  bool operator==(const Access&) const = default;
};

struct Op {
  bool operator==(const Op&) const = default;
  void Touch(ObjectId object, Effect effect) { accesses.push_back({object, effect}); }

  absl::InlinedVector<Access, 2> accesses;
  // It may have to wait for another one: what it could overtake is then not only what comes just before it. Where it
  // waits for several objects at once, some of what it could overtake may not be found.
  bool may_block = false;
};

inline bool Commute(const Op& a, const Op& b) {
  for (const Access& mine : a.accesses) {
    for (const Access& other : b.accesses) {
      if (mine.object == other.object && Conflict(mine.effect, other.effect)) return false;
    }
  }
  return true;
}

// The `index`th operation of a task, counted from 1.
struct EventRef {
  TaskId task;
  uint32_t index;
  bool operator==(const EventRef&) const = default;
};
using EventRefs = absl::InlinedVector<EventRef, 2>;

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_EVENT_H_

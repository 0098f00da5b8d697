// part.h: what each part of the mixed program offers to the others.
#ifndef QUIESCE_TESTING_ABI_PART_H_
#define QUIESCE_TESTING_ABI_PART_H_

#include "quiesce/runtime/quiesce.h"

namespace quiesce_abi {

// How the last part of a chain ends.
enum class End { kValue, kError, kPanic, kWait };

// One object file: part.cc, compiled by some compiler with some options.
struct Part {
  const char* name;
  // Opens a region, spawns the next part of `rest` (null ends the list) in it, waits for it, and
  // yields one more than that part did; the last part ends by itself.
  quiesce::Task<int> (*relay)(quiesce::Cx cx, const Part* const* rest, End end);
  // The same by awaiting the next part's Task: frames of one object inside those of another.
  quiesce::Task<int> (*await)(quiesce::Cx cx, const Part* const* rest, End end);
  // Does this object throw, or return a Panic?
  bool exceptions;
  // Fails before there is a coroutine. A plain function, so that all objects share the types, and with
  // them the symbols, of what the runtime's templates make of it.
  quiesce::Task<int> (*fail)(quiesce::Cx cx);
  // Opens a region with `body`, or spawns it and waits for it.
  quiesce::Task<int> (*open)(quiesce::Cx cx, quiesce::Task<int> (*body)(quiesce::Cx cx));
  quiesce::Task<int> (*spawn)(quiesce::Cx cx, quiesce::Task<int> (*body)(quiesce::Cx cx));
};

}  // namespace quiesce_abi

#endif  // QUIESCE_TESTING_ABI_PART_H_

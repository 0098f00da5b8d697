// spawn_name.h: a literal name and the place it was given at.
#ifndef QUIESCE_RUNTIME_REGION_SPAWN_NAME_H_
#define QUIESCE_RUNTIME_REGION_SPAWN_NAME_H_

#include <cstddef>
#include <cstdint>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// Converts from a string literal only, at compile time, so that a name costs nothing and lives for ever.
struct SpawnName {
  template <size_t N>
  consteval SpawnName(const char (&literal)[N], const char* file = __builtin_FILE(),
                      uint32_t line = __builtin_LINE())
      : name(literal), file(file), line(line) {}
  const char* name;
  const char* file;
  uint32_t line;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_SPAWN_NAME_H_

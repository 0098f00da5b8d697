// winner.h: the value of one branch out of several, and which branch that was.
#ifndef QUIESCE_RUNTIME_COMBINATOR_WINNER_H_
#define QUIESCE_RUNTIME_COMBINATOR_WINNER_H_

#include <cstddef>
#include <utility>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// What Race, FirstOk and Quorum give where all branches have the same T. `index` counts the branches as they
// were passed, from 0.
template <class T>
struct Winner {
  Winner(size_t index, T value) : index(index), value(std::move(value)) {}
  size_t index;
  T value;
};
template <>
struct Winner<void> {
  explicit Winner(size_t index) : index(index) {}
  size_t index;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_WINNER_H_

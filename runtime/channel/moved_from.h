// moved_from.h: an end of a channel that was moved from is used: a bug, which is named instead of a crash.
#ifndef QUIESCE_RUNTIME_CHANNEL_MOVED_FROM_H_
#define QUIESCE_RUNTIME_CHANNEL_MOVED_FROM_H_

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {
namespace channel_internal {

// `state`, which is null in an end that was moved from: then fatal. `what`: "a Sender".
template <class State>
State* NotMovedFrom(State* state, const char* what) {
  if (state == nullptr) [[unlikely]] {
    Fatal("%s was used after it had been moved from. Use the one that it was moved to", what);
  }
  return state;
}

}  // namespace channel_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_MOVED_FROM_H_

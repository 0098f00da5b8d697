// Built with exceptions in every configuration: a library without them still has to serve objects
// that throw.
#include <exception>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/task/promise.h"

namespace quiesce {
inline namespace v0 {

Panic PanicFromCurrentException() {
  try {
    throw;
  } catch (const std::exception& exception) {
    return Panic(absl::StrCat("exception escaped a task: ", exception.what()));
  } catch (...) {
    return Panic("exception escaped a task: not a std::exception");
  }
}

std::optional<Panic> CallCatching(void (*thunk)(void*), void* argument) {
  try {
    thunk(argument);
    return std::nullopt;
  } catch (...) {
    return PanicFromCurrentException();
  }
}

}  // namespace v0
}  // namespace quiesce

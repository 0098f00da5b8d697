#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace trace_internal {

void SayUse(const void* object, ObjectUse use, const char* function) {
  Emit(EventKind::kObjectUse, 0, 0, UseOf(object, use), function);
}

}  // namespace trace_internal
}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/scheduler/owner_gate.h"

namespace quiesce {
inline namespace v0 {

template class BasicOwnerGate<HardwareMemory>;

}  // namespace v0
}  // namespace quiesce

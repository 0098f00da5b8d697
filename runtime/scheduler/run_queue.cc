#include "quiesce/runtime/scheduler/run_queue.h"

#include "quiesce/runtime/scheduler/run_queue_impl.h"

namespace quiesce {
inline namespace v0 {

template class BasicRunQueue<HardwareMemory>;

}  // namespace v0
}  // namespace quiesce

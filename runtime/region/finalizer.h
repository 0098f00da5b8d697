// finalizer.h: the nodes that a region keeps for Defer and for admission. Internal to runtime/region.
#ifndef QUIESCE_RUNTIME_REGION_FINALIZER_H_
#define QUIESCE_RUNTIME_REGION_FINALIZER_H_

#include <cstdint>

#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
inline namespace v0 {

class Waiter;

// Clean-up that a region runs once, last-registered first (G6). Owned by the region.
struct Finalizer {
  virtual ~Finalizer() = default;
  // As part of the opener's `task`.
  virtual Task<void> Run(TaskScope* task, uint32_t cx_flags) = 0;
  const char* name = "";
  Finalizer* next = nullptr;
};

// One task that waits to be admitted. FIFO: a small one does not overtake a big one.
struct AdmissionRequest : ListHook {
  explicit AdmissionRequest(uint32_t size) : size(size) {}
  Waiter* waiter = nullptr;
  const uint32_t size;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_FINALIZER_H_

// slab.h: memory for frames, task records and regions: size classes in aligned slabs, per-thread caches.
//
// Why:        a spawn is one allocation; the general allocator would be its largest cost, above all
//             when another thread frees it.
// Invariants: (1) blocks are 16-byte aligned; (2) SlabFree may run on any thread; (3) memory of a
//             slab stays mapped while the process lives (its pages may be given back to the kernel,
//             and then read as zero), so a stale pointer into it can be *read* safely.
// Threads:    any.
#ifndef QUIESCE_RUNTIME_BASE_SLAB_H_
#define QUIESCE_RUNTIME_BASE_SLAB_H_

#include <cstddef>
#include <cstdint>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// Largest block that comes from a slab; larger ones come from the system allocator.
inline constexpr size_t kMaxSlabBlock = 4096;

// Never null: running out of memory is fatal, as everywhere in the runtime.
void* SlabAllocate(size_t size);
// `size` is what SlabAllocate was called with (any size of the same class will do).
void SlabFree(void* block, size_t size);
// The start of the slab block that contains `address`, which must lie in a live block of size at
// most kMaxSlabBlock.
void* SlabBlockStart(const void* address);
// The bytes that a request of `size` really occupies.
size_t SlabBlockSize(size_t size);

struct SlabStats {
  size_t live_bytes = 0;      // in blocks handed out and not freed
  size_t live_blocks = 0;     // how many these are
  size_t reserved_bytes = 0;  // in slabs whose pages were not given back
};
// A consistent sum only while no other thread allocates or frees.
SlabStats GetSlabStats();
// Gives the pages of wholly free slabs back to the kernel: those of the calling thread, of threads that
// have ended and of threads that are parked. Safe at any time.
void SlabTrim();

// A thread that is about to sleep leaves its memory to SlabTrim meanwhile. Between the two calls it
// neither allocates nor frees. A few nanoseconds each; never required.
void SlabThreadPark();
void SlabThreadUnpark();

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_SLAB_H_

// frame.h: memory of coroutine frames.
//
// Why:        a spawn is one allocation (record, callable, arguments and root frame in one block), and
//             every other frame comes from the slab.
// Invariants: (1) between FrameArena (frame_arena.h) and its end, the first frame of this thread that fits is placed
//             in the arena; (2) such a frame lives no longer than the block, see kAdoptsForeignFrame.
// Threads:    a frame may be freed on any thread.
#ifndef QUIESCE_RUNTIME_TASK_FRAME_H_
#define QUIESCE_RUNTIME_TASK_FRAME_H_

#include <cstddef>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

void* AllocateFrame(size_t size);
void FreeFrame(void* frame, size_t size);

// The frame of a task that is about to end and lies in its record's block: FreeFrame need not look for that. Returns what
// was expected before.
void* ExpectEmbeddedFrame(void* frame);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_FRAME_H_

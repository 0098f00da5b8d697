// frame.h: memory of coroutine frames.
//
// Why:        a spawn is one allocation (record, callable, arguments and root frame in one block), and
//             every other frame comes from the slab.
// Invariants: (1) between `FrameArena` and its end, the first frame of this thread that fits is placed in
//             the arena; (2) such a frame lives no longer than the block, see AdoptsForeignFrame.
// Threads:    a frame may be freed on any thread.
#ifndef QUIESCE_RUNTIME_TASK_FRAME_H_
#define QUIESCE_RUNTIME_TASK_FRAME_H_

#include <cstddef>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

void* AllocateFrame(size_t size);
void FreeFrame(void* frame, size_t size);

// The frame of a task that is about to end and lies in its record's block: FreeFrame need not look for that.
void ExpectEmbeddedFrame(void* frame);

// Offers `memory` to the next frame of this thread.
class FrameArena {
 public:
  FrameArena(void* memory, size_t size);
  ~FrameArena();
  FrameArena(const FrameArena&) = delete;
  FrameArena& operator=(const FrameArena&) = delete;

  // The frame that took the memory, or null; and the size that the first frame asked for.
  void* taken() const { return taken_; }
  size_t wanted() const { return wanted_; }

 private:
  friend void* AllocateFrame(size_t size);
  friend void FreeFrame(void* frame, size_t size);
  void* memory_;
  size_t size_;
  void* taken_ = nullptr;
  size_t wanted_ = 0;
  FrameArena* outer_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_FRAME_H_

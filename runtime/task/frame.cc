#include "quiesce/runtime/task/frame.h"

#include <utility>

#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/task/frame_arena.h"
#include "quiesce/runtime/task/task_core.h"

namespace quiesce {
inline namespace v0 {
namespace task_internal {

constinit thread_local FrameArena* current_arena = nullptr;

}  // namespace task_internal

namespace {

using task_internal::current_arena;

// Read and written only in the functions below, which are never inlined into coroutines: see frame_arena.h.
constinit thread_local void* embedded_frame = nullptr;

}  // namespace

[[gnu::noinline]] void* AllocateFrame(size_t size) {
  FrameArena* arena = current_arena;
  if (arena != nullptr && arena->wanted_ == 0) {
    arena->wanted_ = size;
    if (size <= arena->size_) {
      arena->taken_ = arena->memory_;
      return arena->memory_;
    }
  }
  return SlabAllocate(size);
}

[[gnu::noinline]] void* ExpectEmbeddedFrame(void* frame) {
  return std::exchange(embedded_frame, frame);
}

[[gnu::noinline]] void FreeFrame(void* frame, size_t size) {
  if (frame == embedded_frame) [[likely]] {
    embedded_frame = nullptr;
    return;
  }
  if (size <= kMaxSlabBlock) {
    void* block = SlabBlockStart(frame);
    if (block != frame) {
      if (current_arena != nullptr && current_arena->taken_ == frame) {
        current_arena->taken_ = nullptr;  // gone again before its task was launched
        return;
      }
      // Inside a spawn block, which goes when the last reference to its task does.
      auto* core = static_cast<TaskCore*>(static_cast<Runnable*>(block));
      if (core->flags & kAdoptsForeignFrame) core->UnrefRecord();
      return;
    }
  }
  SlabFree(frame, size);
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/frame.h"

#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/task/task_core.h"

namespace quiesce {
inline namespace v0 {
namespace {

// Read and written only in the functions below, which are never inlined into coroutines: compilers
// keep the address of a thread-local across a suspension, after which the thread may be another.
constinit thread_local FrameArena* current_arena = nullptr;
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

[[gnu::noinline]] void ExpectEmbeddedFrame(void* frame) { embedded_frame = frame; }

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

[[gnu::noinline]] FrameArena::FrameArena(void* memory, size_t size)
    : memory_(memory), size_(size), outer_(current_arena) {
  current_arena = this;
}

[[gnu::noinline]] FrameArena::~FrameArena() { current_arena = outer_; }

}  // namespace v0
}  // namespace quiesce

// frame_arena.h: memory for the frame that a spawn is about to make. For the function that launches tasks.
//
// Never included where a coroutine could inline it: compilers keep the address of a thread-local across a suspension,
// after which the thread may be another.
#ifndef QUIESCE_RUNTIME_TASK_FRAME_ARENA_H_
#define QUIESCE_RUNTIME_TASK_FRAME_ARENA_H_

#include <cstddef>

#include "quiesce/runtime/base/thread_word.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class FrameArena;

namespace task_internal {

// constinit: an access is one instruction, without a look whether it has been constructed.
extern constinit thread_local FrameArena* current_arena QUIESCE_THREAD_WORD_MODEL;

}  // namespace task_internal

// Offers `memory` to the next frame of this thread.
class FrameArena {
 public:
  FrameArena(void* memory, size_t size)
      : memory_(memory), size_(size), outer_(task_internal::current_arena) {
    task_internal::current_arena = this;
  }
  ~FrameArena() { task_internal::current_arena = outer_; }
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

#endif  // QUIESCE_RUNTIME_TASK_FRAME_ARENA_H_

// chunk_queue.h: the messages of a channel: a FIFO in chunks that stays on the same cache lines while it is short.
//
// Why:        a ring of the channel's capacity walks through all of its memory, however few messages lie in it, and
//             has to be moved to grow. Chunks are made when they are needed, and one that was emptied is used next.
// Invariants: (1) head_ == tail_ exactly if it is empty, and then both are at the start of the only chunk;
//             (2) at most one chunk more is kept than the values need; (3) values are moved twice each: in, and out.
// Threads:    none by itself: the channel's lock guards it. So T's move constructor, and the destructor of what was
//             moved from, run under that lock: they must not throw, and must not use the channel.
#ifndef QUIESCE_RUNTIME_CHANNEL_CHUNK_QUEUE_H_
#define QUIESCE_RUNTIME_CHANNEL_CHUNK_QUEUE_H_

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {
namespace channel_internal {

template <class T>
class ChunkQueue {
  static_assert(std::is_nothrow_move_constructible_v<T>,
                "a channel's messages must be nothrow move constructible, so that a send cannot be "
                "half done: send a std::unique_ptr of what is not");
  static_assert(alignof(T) <= 16,
                "a channel's messages must not be aligned to more than 16 bytes: send a pointer");

 public:
  // For about `most` values at a time: a hint for the size of its chunks.
  explicit ChunkQueue(size_t most) : slots_(std::clamp<size_t>(most, 1, kMostSlots)) {}
  // Takes the values of `other`, which stays usable.
  ChunkQueue(ChunkQueue&& other) noexcept
      : head_(std::exchange(other.head_, nullptr)),
        head_end_(std::exchange(other.head_end_, nullptr)),
        tail_(std::exchange(other.tail_, nullptr)),
        tail_end_(std::exchange(other.tail_end_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        spare_(std::exchange(other.spare_, nullptr)),
        slots_(other.slots_) {}
  ChunkQueue& operator=(ChunkQueue&&) = delete;
  ~ChunkQueue() {
    while (!empty()) PopFront();
    if (tail_end_ != nullptr) Free(ChunkBefore(tail_end_));
    if (spare_ != nullptr) Free(spare_);
  }

  bool empty() const { return head_ == tail_; }
  size_t size() const { return size_; }

  void PushBack(T&& value) {
    if (tail_ == tail_end_) [[unlikely]]
      AddChunk();
    std::construct_at(tail_, std::move(value));
    ++tail_;
    ++size_;
  }
  void PushFront(T&& value) {
    if (empty()) return PushBack(std::move(value));
    if (head_ == FirstSlot(ChunkBefore(head_end_))) {
      Chunk* chunk = NewChunk();
      chunk->next = ChunkBefore(head_end_);
      head_ = head_end_ = FirstSlot(chunk) + slots_;
    }
    --head_;
    std::construct_at(head_, std::move(value));
    ++size_;
  }
  // Precondition for both: !empty().
  T& front() { return *head_; }
  void PopFront() {
    std::destroy_at(head_);
    ++head_;
    --size_;
    if (head_ == tail_) {
      head_ = tail_ = tail_end_ - slots_;
    } else if (head_ == head_end_) [[unlikely]] {
      DropFirstChunk();
    }
  }

 private:
  struct alignas(16) Chunk {  // and behind it the slots
    Chunk* next;
  };
  static constexpr size_t kMostSlots =
      std::clamp<size_t>((1024 - sizeof(Chunk)) / sizeof(T), 4, 64);

  static T* FirstSlot(Chunk* chunk) { return reinterpret_cast<T*>(chunk + 1); }
  Chunk* ChunkBefore(T* end) const { return reinterpret_cast<Chunk*>(end - slots_) - 1; }
  size_t ChunkSize() const { return sizeof(Chunk) + slots_ * sizeof(T); }

  Chunk* NewChunk() {
    if (spare_ != nullptr) return std::exchange(spare_, nullptr);
    return static_cast<Chunk*>(SlabAllocate(ChunkSize()));
  }
  void Free(Chunk* chunk) { SlabFree(chunk, ChunkSize()); }

  [[gnu::noinline]] void AddChunk() {
    Chunk* chunk = NewChunk();
    chunk->next = nullptr;
    T* first = FirstSlot(chunk);
    if (tail_end_ == nullptr) {
      head_ = first;
      head_end_ = first + slots_;
    } else {
      ChunkBefore(tail_end_)->next = chunk;
    }
    tail_ = first;
    tail_end_ = first + slots_;
  }
  [[gnu::noinline]] void DropFirstChunk() {
    Chunk* chunk = ChunkBefore(head_end_);
    head_ = FirstSlot(chunk->next);
    head_end_ = head_ + slots_;
    if (spare_ == nullptr) {
      spare_ = chunk;
    } else {
      Free(chunk);
    }
  }

  T* head_ = nullptr;
  T* head_end_ = nullptr;  // of the chunk that head_ is in
  T* tail_ = nullptr;
  T* tail_end_ = nullptr;
  size_t size_ = 0;
  Chunk* spare_ = nullptr;
  const size_t slots_;
};

}  // namespace channel_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_CHUNK_QUEUE_H_

// shared_value.h: one value that several read, each for itself.
//
// Why:        a message to many, or the latest of a setting, is copied by whoever reads it. T's copy and T's
//             destructor are user code, which must not run under the lock of a channel. What is copied
//             under the lock is this: a pointer; or T itself, where that is no more than its bytes.
// Example:    { SpinLockHolder lock(lock_); mine = latest_; }   // no user code
//             return std::move(mine).Take();                    // T's copy, without the lock
// Threads:    as a value, like a shared pointer to const: copies of one may be used on any threads at once.
#ifndef QUIESCE_RUNTIME_CHANNEL_SHARED_VALUE_H_
#define QUIESCE_RUNTIME_CHANNEL_SHARED_VALUE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "quiesce/runtime/base/slab.h"

namespace quiesce {
inline namespace v0 {
namespace channel_internal {

// Is a copy of it no more than a few bytes?
template <class T>
inline constexpr bool kIsPlain = std::is_trivially_copyable_v<T> && sizeof(T) <= 32;

template <class T>
class SharedValue {
  static_assert(std::is_nothrow_move_constructible_v<T>,
                "a value in a channel is moved under its lock: T's move constructor is noexcept");
  static_assert(alignof(T) <= 16, "a value in a channel is aligned to at most 16 bytes");

 public:
  // Empty: may be assigned to and destroyed, and is Allocated and Put before it is read.
  SharedValue() = default;
  SharedValue(const SharedValue& other) noexcept : block_(other.block_) {
    if (block_ != nullptr) block_->refs.fetch_add(1, std::memory_order_relaxed);
  }
  SharedValue(SharedValue&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  // Under a lock assign only to an empty one: what was there may be destroyed here.
  SharedValue& operator=(SharedValue other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~SharedValue() {
    if (block_ != nullptr) Unref();
  }

  // Makes room for a value, outside of locks.
  void Allocate() {
    if (block_ == nullptr) block_ = new (SlabAllocate(sizeof(Block))) Block();
  }
  // Fills that room. Moves from `value`, and does nothing else.
  void Put(T&& value) {
    new (std::addressof(block_->value)) T(std::move(value));
    block_->refs.store(1, std::memory_order_relaxed);
  }

  const T& operator*() const { return block_->value; }
  // The value: moved out if nobody else has it, else copied.
  T Take() && {
    // acquire: the others have read it.
    if (block_->refs.load(std::memory_order_acquire) == 1) return std::move(block_->value);
    return block_->value;
  }

 private:
  struct Block {
    Block() {}
    ~Block() {}
    // 0: no value yet; else how many share it. Released when given up, acquired by the last.
    std::atomic<uint32_t> refs{0};
    union {
      T value;
    };
  };

  void Unref() {
    const uint32_t refs = block_->refs.load(std::memory_order_acquire);
    if (refs > 1 && block_->refs.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    if (refs > 0) block_->value.~T();
    SlabFree(block_, sizeof(Block));
  }

  Block* block_ = nullptr;
};

template <class T>
  requires kIsPlain<T>
class SharedValue<T> {
 public:
  void Allocate() {}
  void Put(T&& value) { value_.emplace(value); }
  const T& operator*() const { return *value_; }
  T Take() && { return *value_; }

 private:
  std::optional<T> value_;
};

}  // namespace channel_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_SHARED_VALUE_H_

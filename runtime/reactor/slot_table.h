// slot_table.h: numbered slots whose memory stays where it is.
//
// Why:        the kernel answers with a number, long after whoever it stood for may have gone; what the number names
//             must still be there, to say that it means nobody any more.
// Invariants: (1) slots are type-stable: their memory is not given back before the table's end; (2) a slot is
//             anybody's from Acquire to Release, and at most one's.
// Threads:    any. lock_ is a leaf.
#ifndef QUIESCE_RUNTIME_REACTOR_SLOT_TABLE_H_
#define QUIESCE_RUNTIME_REACTOR_SLOT_TABLE_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/spin_lock.h"

namespace quiesce {
inline namespace v0 {

inline constexpr uint32_t kNoSlot = ~uint32_t{0};

// `Slot` has a member `uint32_t next_free`, which is the table's.
template <class Slot>
class SlotTable {
 public:
  SlotTable() = default;
  ~SlotTable() {
    for (std::atomic<Slot*>& block : blocks_) delete[] block.load(std::memory_order_relaxed);
  }
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;

  // `index` is less than count().
  Slot& At(uint32_t index) {
    // Block n begins at slot kFirstBlock * (2^n - 1).
    const uint64_t position = uint64_t{index} + kFirstBlock;
    const int block = std::bit_width(position) - std::bit_width(kFirstBlock);
    return blocks_[block].load(std::memory_order_acquire)[position - (kFirstBlock << block)];
  }

  // kNoSlot if all that there can be are taken.
  uint32_t Acquire() ABSL_LOCKS_EXCLUDED(lock_) {
    SpinLockHolder held(lock_);
    if (first_free_ == kNoSlot && !Grow()) return kNoSlot;
    const uint32_t index = first_free_;
    first_free_ = At(index).next_free;
    return index;
  }
  void Release(uint32_t index) ABSL_LOCKS_EXCLUDED(lock_) {
    SpinLockHolder held(lock_);
    At(index).next_free = first_free_;
    first_free_ = index;
  }

  // How many slots there are, taken or free: it only grows.
  uint32_t count() const { return count_.load(std::memory_order_acquire); }

 private:
  static constexpr size_t kFirstBlock = 64;  // slots in the first block; each next one doubles
  static constexpr size_t kBlocks = 20;

  bool Grow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    const uint32_t begin = count_.load(std::memory_order_relaxed);
    const size_t block = static_cast<size_t>(std::bit_width(begin / kFirstBlock + 1)) - 1;
    if (block == kBlocks) return false;
    const uint32_t size = static_cast<uint32_t>(kFirstBlock << block);
    blocks_[block].store(new Slot[size], std::memory_order_release);
    for (uint32_t index = begin + size; index-- > begin;) {
      At(index).next_free = first_free_;
      first_free_ = index;
    }
    count_.store(begin + size, std::memory_order_release);
    return true;
  }

  // Block n holds kFirstBlock << n slots. Null, then set once (release) with lock_ held; read (acquire) by
  // anybody.
  std::atomic<Slot*> blocks_[kBlocks] = {};
  std::atomic<uint32_t> count_{0};  // written with lock_ held, after the block (release)
  SpinLock lock_;
  uint32_t first_free_ ABSL_GUARDED_BY(lock_) = kNoSlot;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_SLOT_TABLE_H_

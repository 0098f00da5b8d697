// epoll_poller.h: readiness from one epoll instance.
//
// Why:        a worker sleeps in one place, for descriptors, timers and wake-ups alike.
// Example:    poller->Add(&source);  poller->Wait(deadline);  // calls source.notify
// Invariants: (1) an event names a slot and the slot's generation, so that one which was under way when
//                 its source was removed is recognised as stale and reaches nobody;
//             (2) `notify` runs with its slot's lock held, and Remove takes that lock: after Remove it
//                 neither runs nor will run;
//             (3) slots are type-stable: their memory is never given back before the poller's end.
// Threads:    any, for all of it; several threads may be in Wait at once. Each edge reaches one of them.
//             Lock order: a slot's lock, then what `notify` takes; free_lock_ is a leaf.
#ifndef QUIESCE_RUNTIME_REACTOR_EPOLL_POLLER_H_
#define QUIESCE_RUNTIME_REACTOR_EPOLL_POLLER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/reactor/poller.h"

namespace quiesce {
inline namespace v0 {

class EpollPoller final : public Poller {
 public:
  // Error(kResourceExhausted) if the process has no descriptor left.
  static absl::StatusOr<std::unique_ptr<EpollPoller>> Create();
  ~EpollPoller() override;
  EpollPoller(const EpollPoller&) = delete;
  EpollPoller& operator=(const EpollPoller&) = delete;

  // `source->home` is the caller's to use.
  absl::Status Add(IoSource* source) override;
  void Remove(IoSource* source) override;

  // Waits until an event or a Wake comes, for at most `timeout` (rounded up, never cut short by a
  // signal handler's return alone: it may return early, as for any spurious wake), then calls
  // `notify` for what came: at most kMaxEvents. Returns how many. While it sleeps the thread's memory
  // is left to SlabTrim.
  size_t Wait(absl::Duration timeout);

  // As Wait, but only for what has come, on behalf of somebody else who sleeps in Wait. A Wake is for
  // them: its edge goes to one caller only, so one that was taken here is given back.
  size_t PollForOther();

  // Ends one Wait that is under way, or else the next. Async-signal-safe.
  void Wake();

  // How many sources are registered. A hint while others add and remove.
  size_t source_count() const { return sources_.load(std::memory_order_relaxed); }

 private:
  static constexpr int kMaxEvents = 256;
  static constexpr size_t kFirstBlock = 64;  // slots in the first block; each next one doubles
  static constexpr size_t kBlocks = 20;
  static constexpr uint32_t kNoSlot = ~uint32_t{0};

  struct Slot {
    SpinLock lock;
    uint32_t generation ABSL_GUARDED_BY(lock) = 0;  // of the present or next source
    uint32_t next_free = kNoSlot;                   // guarded by free_lock_
    IoSource* source ABSL_GUARDED_BY(lock) = nullptr;
  };

  EpollPoller(int epoll_fd, int wake_fd) : epoll_fd_(epoll_fd), wake_fd_(wake_fd) {}

  Slot& SlotAt(uint32_t index);
  // Wait, which says in `woken` whether a Wake was among what came.
  size_t WaitFor(absl::Duration timeout, bool& woken);
  // kNoSlot if there are as many sources as slots.
  uint32_t AcquireSlot() ABSL_LOCKS_EXCLUDED(free_lock_);
  void ReleaseSlot(uint32_t index) ABSL_LOCKS_EXCLUDED(free_lock_);

  const int epoll_fd_;
  const int wake_fd_;  // an eventfd, edge-triggered: never read
  std::atomic<size_t> sources_{0};

  // Block n holds kFirstBlock << n slots. Null, then set once (release) with free_lock_ held; read
  // (acquire) by anybody.
  std::atomic<Slot*> blocks_[kBlocks] = {};
  SpinLock free_lock_;
  uint32_t first_free_ ABSL_GUARDED_BY(free_lock_) = kNoSlot;
  uint32_t slot_count_ ABSL_GUARDED_BY(free_lock_) = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_EPOLL_POLLER_H_

// epoll_poller.h: readiness from one epoll instance.
//
// Why:        a worker sleeps in one place, for descriptors, timers and wake-ups alike.
// Example:    poller->Add(&source);  poller->Wait(deadline);  // calls source.notify
// Invariants: (1) an event names a slot and the slot's generation, so that one which was under way when
//                 its source was removed is recognised as stale and reaches nobody;
//             (2) `notify` runs with its slot's lock held, and Remove takes that lock: after Remove it
//                 neither runs nor will run.
// Threads:    any, for all of it; several threads may be in Wait at once. Each edge reaches one of them.
//             Lock order: a slot's lock, then what `notify` takes.
#ifndef QUIESCE_RUNTIME_REACTOR_EPOLL_POLLER_H_
#define QUIESCE_RUNTIME_REACTOR_EPOLL_POLLER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/unique_fd.h"
#include "quiesce/runtime/reactor/kernel_poller.h"
#include "quiesce/runtime/reactor/poller.h"
#include "quiesce/runtime/reactor/slot_table.h"

namespace quiesce {
inline namespace v0 {

class EpollPoller final : public KernelPoller {
 public:
  // Error(kResourceExhausted) if the process has no descriptor left.
  static absl::StatusOr<std::unique_ptr<EpollPoller>> Create();
  ~EpollPoller() override;
  EpollPoller(const EpollPoller&) = delete;
  EpollPoller& operator=(const EpollPoller&) = delete;

  // `source->home` is the caller's to use.
  absl::Status Add(IoSource* source) override;
  bool Remove(IoSource* source) override;

  size_t Wait(absl::Duration timeout) override;
  // An edge reaches one caller only. So does that of a Wake: one that was taken here is given back.
  size_t PollForOther() override;
  void Wake() override;

 private:
  struct Slot {
    SpinLock lock;
    uint32_t generation ABSL_GUARDED_BY(lock) = 0;  // of the present or next source
    uint32_t next_free;                             // the table's
    IoSource* source ABSL_GUARDED_BY(lock) = nullptr;
  };

  EpollPoller(UniqueFd epoll_fd, UniqueFd wake_fd)
      : epoll_fd_(std::move(epoll_fd)), wake_fd_(std::move(wake_fd)) {}

  // Wait, which says in `woken` whether a Wake was among what came.
  size_t WaitFor(absl::Duration timeout, bool& woken);

  const UniqueFd epoll_fd_;
  const UniqueFd wake_fd_;
  SlotTable<Slot> slots_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_EPOLL_POLLER_H_

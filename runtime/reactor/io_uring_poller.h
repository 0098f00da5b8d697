// io_uring_poller.h: readiness from one io_uring instance, by a multishot poll for each source.
//
// Why:        the requests of a whole loop go to the kernel in the call in which it sleeps; and to ask whether something
//             has come, where nothing has, takes no call at all.
// How:        only the owner talks to the kernel (IORING_SETUP_SINGLE_ISSUER), and the kernel works for this ring only while
//             the owner asks it to (IORING_SETUP_DEFER_TASKRUN). What other threads want is queued to it.
//
// slot           | source | armed | requested | leaves by
// ---------------|--------|-------|-----------|------------------------------------------------------------
// free           | –      | –     | –         | Add: to be armed
// to be armed    | yes    | –     | yes       | the owner serves it: armed. Remove: to be released
// armed          | yes    | yes   | –         | Remove: to be cancelled. The kernel ended the poll: to be armed
// refused        | yes    | –     | –         | Remove: free
// to be cancelled| –      | yes   | yes       | the owner serves it: free, under the next generation
// to be released | –      | –     | yes       | the same
//
// Invariants: (1) a poll names a slot and the slot's generation, so that an answer which comes after its source was removed
//             reaches nobody; the kernel knows no other address of ours;
//             (2) `notify` runs with its slot's lock held, and Remove takes that lock: after Remove it neither runs nor
//             will run;
//             (3) a source that is not refused is armed, or requested: no edge is lost when the kernel ends a poll (memory,
//             a full queue), since a new one reports what is ready at its start.
// Threads:    as KernelPoller says. The owner is bound to its thread for good.
//             Lock order: a slot's lock, then what `notify` takes; requests_lock_ is a leaf.
#ifndef QUIESCE_RUNTIME_REACTOR_IO_URING_POLLER_H_
#define QUIESCE_RUNTIME_REACTOR_IO_URING_POLLER_H_

#include <liburing.h>

#include <atomic>
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

class IoUringPoller final : public KernelPoller {
 public:
  // Of the two queues that are shared with the kernel; powers of two. What finds no room in them waits.
  struct Sizes {
    uint32_t submissions = 256;
    uint32_t completions = 4096;
  };

  // Error(kUnavailable) says what the kernel lacks, or who forbids it; Error(kResourceExhausted) if the process has no
  // descriptor left.
  static absl::StatusOr<std::unique_ptr<IoUringPoller>> Create(Sizes sizes);
  static absl::StatusOr<std::unique_ptr<IoUringPoller>> Create() { return Create(Sizes()); }
  ~IoUringPoller() override;
  IoUringPoller(const IoUringPoller&) = delete;
  IoUringPoller& operator=(const IoUringPoller&) = delete;

  // Asks the kernel what the descriptor is, and nothing more; the ring hears of the source when the owner next waits. A descriptor that is added twice is not
  // recognised, and reports to both.
  absl::Status Add(IoSource* source) override;
  // On the owner's thread the kernel has let go when it returns. Else it does when the owner next waits, which a sleeping
  // owner does at once.
  bool Remove(IoSource* source) override;

  size_t Wait(absl::Duration timeout) override;
  // The kernel keeps what it has for the owner's thread. So this asks for the descriptors' state, some kVisited slots in
  // turn, and reports what is ready, new or not.
  size_t PollForOther() override;
  void Wake() override;

 private:
  static constexpr uint32_t kVisited = 1024;

  struct Slot {
    SpinLock lock;
    bool armed ABSL_GUARDED_BY(lock) = false;       // the kernel has a poll of this generation
    bool requested ABSL_GUARDED_BY(lock) = false;   // is in the list of requests
    uint32_t generation ABSL_GUARDED_BY(lock) = 0;  // of the present or next source
    uint32_t next_free;                             // the table's
    uint32_t next_request;  // requests_lock_'s; the owner's when it has taken the list
    IoSource* source ABSL_GUARDED_BY(lock) = nullptr;
  };

  explicit IoUringPoller(UniqueFd wake_fd) : wake_fd_(std::move(wake_fd)) {}

  bool OwnerIsHere() const;
  // Of the calling thread.
  static const void* ThreadMark();
  // The owner has something to do for this slot.
  void Request(uint32_t index, Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(slot.lock);

  // ---- the owner's ----
  void BecomeOwner();
  void ArmWake();  // if there is room: else at the next Wait
  void ServeRequests();
  void Serve(uint32_t index, Slot& slot);
  bool MakeRoom();
  // Gives the kernel what is queued for it, and collects what it has. Does not sleep.
  void Submit();
  // The same, until nothing is left to give and to collect. False if the kernel does not come to an end of it.
  bool Settle();
  void Sleep(absl::Duration timeout);
  void CheckAnswer(int result);
  // Calls `notify` for what is in the completion queue.
  size_t Reap();
  bool Deliver(const io_uring_cqe& completion);

  const UniqueFd wake_fd_;
  bool wake_armed_ = false;  // the owner's: the kernel has that poll
  io_uring ring_ = {};
  std::atomic<const void*> owner_{
      nullptr};  // null -> ThreadMark() of the owner (relaxed: compared only)
  // Around a sleep, by the owner. True before it takes the list of requests for the last time, under requests_lock_: who
  // comes later with a request sees it.
  std::atomic<bool> sleeping_{false};
  std::atomic<uint32_t> next_visit_{0};  // a slot (relaxed: any will do)

  SpinLock requests_lock_;
  uint32_t first_request_ ABSL_GUARDED_BY(requests_lock_) = kNoSlot;

  SlotTable<Slot> slots_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_IO_URING_POLLER_H_

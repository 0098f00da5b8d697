// kernel_poller.h: what a worker needs of its poller, whichever of the kernel's interfaces is behind it.
//
// Threads:    Wait is for one thread, the poller's owner: whoever calls it first. Everything else is for any.
#ifndef QUIESCE_RUNTIME_REACTOR_KERNEL_POLLER_H_
#define QUIESCE_RUNTIME_REACTOR_KERNEL_POLLER_H_

#include <atomic>
#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "quiesce/runtime/reactor/io_backend.h"
#include "quiesce/runtime/reactor/poller.h"

namespace quiesce {
inline namespace v0 {

class KernelPoller : public Poller {
 public:
  // Error(kResourceExhausted) if the process has no descriptor left; Error(kUnavailable) if the kernel does not offer the
  // backend, or something forbids it: not for kEpoll and kAuto.
  static absl::StatusOr<std::unique_ptr<KernelPoller>> Create(IoBackend backend);

  // Waits until an event or a Wake comes, for at most `timeout` (rounded up, never cut short by a
  // signal handler's return alone: it may return early, as for any spurious wake), then calls
  // `notify` for what came: at most kMaxEvents. Returns how many. While it sleeps the thread's memory
  // is left to SlabTrim.
  virtual size_t Wait(absl::Duration timeout) = 0;

  // Calls `notify` for what is ready, on behalf of the owner, who may be in Wait or in a long step. Takes none of its
  // Wakes. Returns how many calls it made; the owner may report the same once more.
  virtual size_t PollForOther() = 0;

  // Ends one Wait that is under way, or else the next. Async-signal-safe.
  virtual void Wake() = 0;

  // How many sources are registered. A hint while others add and remove.
  size_t source_count() const { return sources_.load(std::memory_order_relaxed); }
  // False: a Wait would find nothing but a Wake. A hint.
  bool may_have_events() const {
    return source_count() != 0 || requests_.load(std::memory_order_relaxed) != 0;
  }

 protected:
  static constexpr int kMaxEvents = 256;

  // Counters (relaxed). Requests: what other threads want of the owner, and it has not done yet.
  std::atomic<size_t> sources_{0};
  std::atomic<size_t> requests_{0};
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_KERNEL_POLLER_H_

#include "quiesce/runtime/reactor/kernel_poller.h"

#include "quiesce/runtime/reactor/epoll_poller.h"
#include "quiesce/runtime/reactor/io_uring_poller.h"

namespace quiesce {
inline namespace v0 {

absl::StatusOr<std::unique_ptr<KernelPoller>> KernelPoller::Create(IoBackend backend) {
  if (backend == IoBackend::kEpoll) return EpollPoller::Create();
  absl::StatusOr<std::unique_ptr<KernelPoller>> poller = IoUringPoller::Create();
  // Also where memory or descriptors run out: epoll needs less.
  if (backend == IoBackend::kAuto && !poller.ok()) return EpollPoller::Create();
  return poller;
}

}  // namespace v0
}  // namespace quiesce

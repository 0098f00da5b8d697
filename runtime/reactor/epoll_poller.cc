#include "quiesce/runtime/reactor/epoll_poller.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/reactor/poller_support.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

constexpr uint64_t kWakeToken = ~uint64_t{0};  // no slot has this number

// epoll_pwait2 knows nanoseconds (Linux 5.11); where it is missing, milliseconds rounded up.
int EpollWait(int epoll_fd, epoll_event* events, int max_events, absl::Duration timeout) {
  if (timeout <= absl::ZeroDuration()) return epoll_wait(epoll_fd, events, max_events, 0);
  if (timeout == absl::InfiniteDuration()) return epoll_wait(epoll_fd, events, max_events, -1);
#ifdef SYS_epoll_pwait2
  // false -> true by whoever finds it missing; relaxed, since it stands for nothing else.
  static std::atomic<bool> missing{false};
  if (!missing.load(std::memory_order_relaxed)) {
    // A year at a time: every caller copes with an early return.
    const timespec limit = absl::ToTimespec(std::min(timeout, absl::Hours(24 * 365)));
    const long count = syscall(SYS_epoll_pwait2, epoll_fd, events, max_events, &limit, nullptr, 0);
    // EPERM: the seccomp filter of a container that is older than the call, which itself never says so.
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(count);
    missing.store(true, std::memory_order_relaxed);
  }
#endif
  const int64_t milliseconds = absl::ToInt64Milliseconds(
      absl::Ceil(std::min(timeout, absl::Hours(24)), absl::Milliseconds(1)));
  return epoll_wait(epoll_fd, events, max_events, static_cast<int>(milliseconds));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EpollPoller>> EpollPoller::Create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return PollerError(errno, "poller: cannot make an epoll instance");
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    const int error = errno;
    close(epoll_fd);
    return PollerError(error, "poller: cannot make an eventfd");
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kWakeToken;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0) {
    const int error = errno;
    close(wake_fd);
    close(epoll_fd);
    return PollerError(error, "poller: cannot add the wake-up descriptor");
  }
  return std::unique_ptr<EpollPoller>(new EpollPoller(epoll_fd, wake_fd));
}

EpollPoller::~EpollPoller() {
  QUIESCE_CHECK(source_count() == 0,
                "poller: a source is still registered at its end; Remove it first");
  close(wake_fd_);
  close(epoll_fd_);
}

absl::Status EpollPoller::Add(IoSource* source) {
  const uint32_t index = slots_.Acquire();
  if (index == kNoSlot) {
    return absl::ResourceExhaustedError(
        absl::StrCat("poller: no slot is left for fd ", source->fd));
  }
  Slot& slot = slots_.At(index);
  source->slot = index;
  epoll_event event{};
  event.events = kWatchedEvents | EPOLLET;
  {
    // Before epoll_ctl, since the first edge may be delivered before it returns.
    SpinLockHolder held(slot.lock);
    slot.source = source;
    event.data.u64 = index | uint64_t{slot.generation} << 32;
  }
  sources_.fetch_add(1, std::memory_order_relaxed);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, source->fd, &event) == 0) return absl::OkStatus();
  const int error = errno;
  {
    SpinLockHolder held(slot.lock);
    slot.source = nullptr;
    ++slot.generation;
  }
  sources_.fetch_sub(1, std::memory_order_relaxed);
  slots_.Release(index);
  return PollerError(error, absl::StrCat("poller: cannot wait for fd ", source->fd));
}

bool EpollPoller::Remove(IoSource* source) {
  const uint32_t index = source->slot;
  Slot& slot = slots_.At(index);
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, source->fd, nullptr);
  {
    SpinLockHolder held(slot.lock);
    QUIESCE_CHECK(slot.source == source, "poller: Remove of a source that is not registered");
    slot.source = nullptr;
    ++slot.generation;  // what is under way is stale from here on
  }
  sources_.fetch_sub(1, std::memory_order_relaxed);
  slots_.Release(index);
  return true;
}

size_t EpollPoller::Wait(absl::Duration timeout) {
  bool woken;
  return WaitFor(timeout, woken);
}

size_t EpollPoller::PollForOther() {
  bool woken;
  const size_t notified = WaitFor(absl::ZeroDuration(), woken);
  if (woken) Wake();
  return notified;
}

size_t EpollPoller::WaitFor(absl::Duration timeout, bool& woken) {
  woken = false;
  epoll_event events[kMaxEvents];
  const bool sleeps = timeout > absl::ZeroDuration();
  if (sleeps) SlabThreadPark();
  const int count = EpollWait(epoll_fd_, events, kMaxEvents, timeout);
  const int error = errno;
  if (sleeps) SlabThreadUnpark();
  if (count < 0) {
    if (error != EINTR) Fatal("poller: epoll_wait: %s", std::strerror(error));
    return 0;
  }
  size_t notified = 0;
  for (int i = 0; i < count; ++i) {
    const uint64_t token = events[i].data.u64;
    if (token == kWakeToken) {
      woken = true;
      continue;
    }
    Slot& slot = slots_.At(static_cast<uint32_t>(token));
    SpinLockHolder held(slot.lock);
    if (slot.source == nullptr || slot.generation != token >> 32) continue;
    const uint32_t io_events = ToIoEvents(events[i].events);
    Emit(EventKind::kIoReady, 0, 0, uint64_t(slot.source->fd) << 32 | io_events);
    slot.source->notify(slot.source, io_events);
    ++notified;
  }
  return notified;
}

void EpollPoller::Wake() {
  // Each write is an edge of its own, so nobody has to read the counter; it would overflow after 2^64.
  const int saved = errno;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
  errno = saved;
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/reactor/epoll_poller.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/reactor/poller_support.h"

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
  UniqueFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_fd.valid()) return PollerError(errno, "poller: cannot make an epoll instance");
  absl::StatusOr<UniqueFd> wake_fd = NewWakeDescriptor();
  if (!wake_fd.ok()) return wake_fd.status();
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kWakeToken;
  if (epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, wake_fd->get(), &event) != 0) {
    return PollerError(errno, "poller: cannot add the wake-up descriptor");
  }
  return std::unique_ptr<EpollPoller>(new EpollPoller(std::move(epoll_fd), *std::move(wake_fd)));
}

EpollPoller::~EpollPoller() {
  QUIESCE_CHECK(source_count() == 0,
                "poller: a source is still registered at its end; Remove it first");
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
    event.data.u64 = SlotToken(index, slot.generation);
  }
  sources_.fetch_add(1, std::memory_order_relaxed);
  if (epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, source->fd, &event) == 0) return absl::OkStatus();
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
  epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, source->fd, nullptr);
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
  const int count = EpollWait(epoll_fd_.get(), events, kMaxEvents, timeout);
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
    Report(slot.source, ToIoEvents(events[i].events));
    ++notified;
  }
  return notified;
}

void EpollPoller::Wake() { WakeBy(wake_fd_); }

}  // namespace v0
}  // namespace quiesce

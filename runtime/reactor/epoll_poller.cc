#include "quiesce/runtime/reactor/epoll_poller.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

constexpr uint64_t kWakeToken = ~uint64_t{0};  // no slot has this number

const char* Remedy(int error) {
  switch (error) {
    case EMFILE:
      return "; raise this process's limit of open files (ulimit -n), or make fewer workers: each "
             "takes two";
    case ENFILE:
      return "; raise the system's limit of open files (sysctl fs.file-max)";
    case ENOSPC:
      return "; raise the user's limit of watched files (sysctl fs.epoll.max_user_watches)";
    case ENOMEM:
      return "; the system is out of memory: lower its load";
    default:
      return "";
  }
}

absl::Status ErrnoStatus(int error, absl::string_view what) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error), Remedy(error));
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InvalidArgumentError(message);
  }
}

uint32_t FromEpoll(uint32_t epoll_events) {
  uint32_t io_events = 0;
  if ((epoll_events & EPOLLIN) != 0) io_events |= kReadable;
  if ((epoll_events & EPOLLOUT) != 0) io_events |= kWritable;
  // A hang-up of the peer's writing side alone ends no writing.
  if ((epoll_events & (EPOLLRDHUP | EPOLLPRI)) != 0) io_events |= kReadable | kMoreAfterShortRead;
  // Reads and writes return the cause.
  if ((epoll_events & (EPOLLERR | EPOLLHUP)) != 0) {
    io_events |= kReadable | kWritable | kMoreAfterShortRead;
  }
  return io_events;
}

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
  if (epoll_fd < 0) return ErrnoStatus(errno, "poller: cannot make an epoll instance");
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    const int error = errno;
    close(epoll_fd);
    return ErrnoStatus(error, "poller: cannot make an eventfd");
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kWakeToken;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0) {
    const int error = errno;
    close(wake_fd);
    close(epoll_fd);
    return ErrnoStatus(error, "poller: cannot add the wake-up descriptor");
  }
  return std::unique_ptr<EpollPoller>(new EpollPoller(epoll_fd, wake_fd));
}

EpollPoller::~EpollPoller() {
  QUIESCE_CHECK(source_count() == 0,
                "poller: a source is still registered at its end; Remove it first");
  close(wake_fd_);
  close(epoll_fd_);
  for (std::atomic<Slot*>& block : blocks_) delete[] block.load(std::memory_order_relaxed);
}

EpollPoller::Slot& EpollPoller::SlotAt(uint32_t index) {
  // Block n begins at slot kFirstBlock * (2^n - 1).
  const uint64_t position = uint64_t{index} + kFirstBlock;
  const int block = std::bit_width(position) - std::bit_width(kFirstBlock);
  return blocks_[block].load(std::memory_order_acquire)[position - (kFirstBlock << block)];
}

uint32_t EpollPoller::AcquireSlot() {
  SpinLockHolder held(free_lock_);
  if (first_free_ == kNoSlot) {
    const uint32_t begin = slot_count_;
    const size_t block = static_cast<size_t>(std::bit_width(begin / kFirstBlock + 1)) - 1;
    if (block == kBlocks) return kNoSlot;
    const uint32_t size = static_cast<uint32_t>(kFirstBlock << block);
    blocks_[block].store(new Slot[size], std::memory_order_release);
    slot_count_ += size;
    for (uint32_t index = begin + size; index-- > begin;) {
      SlotAt(index).next_free = first_free_;
      first_free_ = index;
    }
  }
  const uint32_t index = first_free_;
  first_free_ = SlotAt(index).next_free;
  return index;
}

void EpollPoller::ReleaseSlot(uint32_t index) {
  SpinLockHolder held(free_lock_);
  SlotAt(index).next_free = first_free_;
  first_free_ = index;
}

absl::Status EpollPoller::Add(IoSource* source) {
  const uint32_t index = AcquireSlot();
  if (index == kNoSlot) {
    return absl::ResourceExhaustedError(
        absl::StrCat("poller: no slot is left for fd ", source->fd));
  }
  Slot& slot = SlotAt(index);
  source->slot = index;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
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
  ReleaseSlot(index);
  return ErrnoStatus(error, absl::StrCat("poller: cannot wait for fd ", source->fd));
}

void EpollPoller::Remove(IoSource* source) {
  const uint32_t index = source->slot;
  Slot& slot = SlotAt(index);
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, source->fd, nullptr);
  {
    SpinLockHolder held(slot.lock);
    QUIESCE_CHECK(slot.source == source, "poller: Remove of a source that is not registered");
    slot.source = nullptr;
    ++slot.generation;  // what is under way is stale from here on
  }
  sources_.fetch_sub(1, std::memory_order_relaxed);
  ReleaseSlot(index);
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
    Slot& slot = SlotAt(static_cast<uint32_t>(token));
    SpinLockHolder held(slot.lock);
    if (slot.source == nullptr || slot.generation != token >> 32) continue;
    const uint32_t io_events = FromEpoll(events[i].events);
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

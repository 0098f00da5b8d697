#include "quiesce/runtime/reactor/io_uring_poller.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>

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

// What an answer belongs to. No slot has these numbers, and ~0 is liburing's own.
constexpr uint64_t kWakeToken = ~uint64_t{1};
constexpr uint64_t kNobody = ~uint64_t{2};

// Calls for one Remove. In each the kernel does some 20 pieces of what it has to do for this ring.
constexpr int kMostCalls = 64;

constexpr unsigned kNeededFeatures = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;

absl::Status SetupError(int error) {
  const char* remedy;
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return PollerError(error, "poller: cannot make an io_uring instance");
    case ENOSYS:
      remedy = "this kernel has none, or the container's seccomp filter hides it";
      break;
    case EPERM:
    case EACCES:
      remedy =
          "it is forbidden: by the container's seccomp filter, or by sysctl "
          "kernel.io_uring_disabled";
      break;
    case EINVAL:
      remedy = "this kernel is older than Linux 6.1";
      break;
    default:
      remedy = "see io_uring_setup(2)";
  }
  return absl::UnavailableError(
      absl::StrCat("poller: cannot make an io_uring instance: ", std::strerror(error), ": ", remedy,
                   "; use IoBackend::kEpoll, or kAuto"));
}

// Has an urgent byte come? The mask that came with a wake-up says so for any data: it is what the kernel's socket wakes up
// all sorts of waiters with.
bool HasUrgent(int fd) {
  pollfd polled = {.fd = fd, .events = POLLPRI, .revents = 0};
  return poll(&polled, 1, 0) == 1 && (polled.revents & POLLPRI) != 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<IoUringPoller>> IoUringPoller::Create(Sizes sizes) {
  absl::StatusOr<UniqueFd> wake_fd = NewWakeDescriptor();
  if (!wake_fd.ok()) return wake_fd.status();
  std::unique_ptr<IoUringPoller> poller(new IoUringPoller(*std::move(wake_fd)));
  io_uring_params parameters = {};
  // Disabled, until its owner is known.
  parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                     IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
  parameters.cq_entries = sizes.completions;
  poller->ring_.ring_fd = -1;
  const int error = io_uring_queue_init_params(sizes.submissions, &poller->ring_, &parameters);
  if (error != 0) {
    poller->ring_.ring_fd = -1;
    return SetupError(-error);
  }
  if ((parameters.features & kNeededFeatures) != kNeededFeatures) return SetupError(EINVAL);
  return poller;
}

IoUringPoller::~IoUringPoller() {
  QUIESCE_CHECK(source_count() == 0,
                "poller: a source is still registered at its end; Remove it first");
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

const void* IoUringPoller::ThreadMark() {
  static thread_local const char mark = 0;
  return &mark;
}

bool IoUringPoller::OwnerIsHere() const {
  return owner_.load(std::memory_order_relaxed) == ThreadMark();
}

// ---- any thread -----------------------------------------------------------------------------------

void IoUringPoller::Request(uint32_t index, Slot& slot) {
  if (std::exchange(slot.requested, true)) return;
  requests_.fetch_add(1, std::memory_order_relaxed);
  SpinLockHolder held(requests_lock_);
  slot.next_request = std::exchange(first_request_, index);
}

absl::Status IoUringPoller::Add(IoSource* source) {
  // What epoll_ctl says at once, a ring would say later, or not at all.
  struct stat status;
  int error = fstat(source->fd, &status) == 0 ? 0 : errno;
  if (error == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))) error = EPERM;
  if (error != 0) {
    return PollerError(error, absl::StrCat("poller: cannot wait for fd ", source->fd));
  }
  const uint32_t index = slots_.Acquire();
  if (index == kNoSlot) {
    return absl::ResourceExhaustedError(
        absl::StrCat("poller: no slot is left for fd ", source->fd));
  }
  source->slot = index;
  sources_.fetch_add(1, std::memory_order_relaxed);
  Slot& slot = slots_.At(index);
  {
    SpinLockHolder held(slot.lock);
    slot.source = source;
    Request(index, slot);
  }
  if (sleeping_.load(std::memory_order_relaxed)) Wake();
  return absl::OkStatus();
}

bool IoUringPoller::Remove(IoSource* source) {
  const uint32_t index = source->slot;
  Slot& slot = slots_.At(index);
  bool armed;
  {
    SpinLockHolder held(slot.lock);
    QUIESCE_CHECK(slot.source == source, "poller: Remove of a source that is not registered");
    slot.source = nullptr;
    armed = slot.armed;
    if (armed) {
      Request(index, slot);
    } else if (!slot.requested) {
      ++slot.generation;
      slots_.Release(index);
    }
  }
  sources_.fetch_sub(1, std::memory_order_relaxed);
  if (!armed) return true;
  if (OwnerIsHere()) {
    ServeRequests();
    const bool settled = Settle();
    SpinLockHolder held(slot.lock);
    return settled && !slot.requested;
  }
  if (sleeping_.load(std::memory_order_relaxed)) Wake();
  return false;
}

size_t IoUringPoller::PollForOther() {
  const uint32_t slots = slots_.count();
  const uint32_t visited = std::min(slots, kVisited);
  uint32_t index = next_visit_.fetch_add(visited, std::memory_order_relaxed);
  size_t notified = 0;
  pollfd polled[kMaxEvents];
  uint64_t tokens[kMaxEvents];
  int count = 0;
  for (uint32_t i = 1; i <= visited; ++i, ++index) {
    const uint32_t at = index % slots;
    {
      Slot& slot = slots_.At(at);
      SpinLockHolder held(slot.lock);
      if (slot.source != nullptr) {
        polled[count] = {.fd = slot.source->fd, .events = kWatchedEvents, .revents = 0};
        tokens[count++] = SlotToken(at, slot.generation);
      }
    }
    if (count < kMaxEvents && i < visited) continue;
    const int ready = count == 0 ? 0 : poll(polled, static_cast<nfds_t>(count), 0);
    for (int k = 0; ready > 0 && k < count; ++k) {
      // A descriptor may have been closed since, and its number be another's: its source has been removed.
      const uint32_t io_events = ToIoEvents(static_cast<uint32_t>(polled[k].revents));
      if (io_events == 0) continue;
      Slot& slot = slots_.At(static_cast<uint32_t>(tokens[k]));
      SpinLockHolder held(slot.lock);
      if (slot.source == nullptr || slot.generation != tokens[k] >> 32) continue;
      Report(slot.source, io_events);
      ++notified;
    }
    count = 0;
  }
  return notified;
}

void IoUringPoller::Wake() { WakeBy(wake_fd_); }

// ---- the owner ------------------------------------------------------------------------------------

void IoUringPoller::BecomeOwner() {
  const void* owner = owner_.load(std::memory_order_relaxed);
  if (owner == ThreadMark()) [[likely]]
    return;
  QUIESCE_CHECK(owner == nullptr, "poller: two threads wait for one io_uring instance");
  // io_uring_enable_rings is not among what liburing 2.3 exports.
  const int error = io_uring_register(static_cast<unsigned>(ring_.ring_fd),
                                      IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  if (error < 0) Fatal("poller: cannot enable an io_uring instance: %s", std::strerror(-error));
  owner_.store(ThreadMark(), std::memory_order_relaxed);
}

void IoUringPoller::ArmWake() {
  if (!MakeRoom()) return;
  wake_armed_ = true;
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  io_uring_prep_poll_multishot(sqe, wake_fd_.get(), EPOLLIN | EPOLLET);
  io_uring_sqe_set_data64(sqe, kWakeToken);
}

bool IoUringPoller::MakeRoom() {
  if (io_uring_sq_space_left(&ring_) != 0) return true;
  CheckAnswer(io_uring_submit(&ring_));
  return io_uring_sq_space_left(&ring_) != 0;
}

void IoUringPoller::ServeRequests() {
  uint32_t index;
  {
    SpinLockHolder held(requests_lock_);
    index = std::exchange(first_request_, kNoSlot);
  }
  while (index != kNoSlot) {
    Slot& slot = slots_.At(index);
    const uint32_t next = slot.next_request;
    Serve(index, slot);
    index = next;
  }
}

void IoUringPoller::Serve(uint32_t index, Slot& slot) {
  const bool room = MakeRoom();
  SpinLockHolder held(slot.lock);
  slot.requested = false;
  requests_.fetch_sub(1, std::memory_order_relaxed);
  if (slot.armed == (slot.source != nullptr)) {
    if (slot.armed) return;
  } else if (!room) {
    Request(index, slot);  // for the next time
    return;
  }
  const uint64_t token = SlotToken(index, slot.generation);
  if (slot.source != nullptr) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    // Between here and the submission the source may be removed, and its descriptor's number become another's. Then
    // another file is polled for a moment, until what Remove has queued is served, and reaches nobody.
    // EPOLLRDBAND comes only with a wake-up's mask, which Deliver must not believe as it is.
    io_uring_prep_poll_multishot(sqe, slot.source->fd, kWatchedEvents | EPOLLRDBAND | EPOLLET);
    io_uring_sqe_set_data64(sqe, token);
    slot.armed = true;
    return;
  }
  if (std::exchange(slot.armed, false)) {
    // Not IORING_OP_POLL_REMOVE, which fails if an event is under way.
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_cancel64(sqe, token, 0);
    io_uring_sqe_set_data64(sqe, kNobody);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  }
  ++slot.generation;  // what is under way is stale from here on
  slots_.Release(index);
}

void IoUringPoller::CheckAnswer(int result) {
  if (result >= 0) return;
  switch (-result) {
    case EINTR:
    case ETIME:
    // It has taken as much as it could, and takes the rest the next time.
    case EAGAIN:
    case EBUSY:
    case ENOMEM:
      return;
    case EBADR:
      Fatal(
          "poller: the kernel had no memory for an answer of io_uring and has lost it. Give this "
          "process more, or take IoBackend::kEpoll");
    default:
      Fatal("poller: io_uring_enter: %s", std::strerror(-result));
  }
}

void IoUringPoller::Submit() { CheckAnswer(io_uring_submit_and_get_events(&ring_)); }

bool IoUringPoller::Settle() {
  for (int calls = 0; calls < kMostCalls; ++calls) {
    Submit();
    const bool more = (IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN) != 0;
    if (!more && io_uring_sq_ready(&ring_) == 0) return true;
  }
  return false;
}

void IoUringPoller::Sleep(absl::Duration timeout) {
  SlabThreadPark();
  if (timeout == absl::InfiniteDuration()) {
    CheckAnswer(io_uring_submit_and_wait(&ring_, 1));
  } else {
    // A year at a time: every caller copes with an early return.
    const timespec limit = absl::ToTimespec(std::min(timeout, absl::Hours(24 * 365)));
    __kernel_timespec kernel_limit = {.tv_sec = limit.tv_sec, .tv_nsec = limit.tv_nsec};
    io_uring_cqe* first;
    CheckAnswer(io_uring_submit_and_wait_timeout(&ring_, &first, 1, &kernel_limit, nullptr));
  }
  SlabThreadUnpark();
}

size_t IoUringPoller::Wait(absl::Duration timeout) {
  BecomeOwner();
  if (!wake_armed_) [[unlikely]]
    ArmWake();
  const bool sleeps = timeout > absl::ZeroDuration();
  if (sleeps) sleeping_.store(true, std::memory_order_relaxed);
  if (sleeps || requests_.load(std::memory_order_relaxed) != 0) ServeRequests();
  // What found no room does not wait for whatever ends a sleep.
  if (sleeps && wake_armed_ && io_uring_cq_ready(&ring_) == 0 &&
      requests_.load(std::memory_order_relaxed) == 0) {
    Sleep(timeout);
    // What it was woken for: after this it may be in a long step.
    if (requests_.load(std::memory_order_relaxed) != 0) {
      ServeRequests();
      Submit();
    }
  } else {
    // The kernel says in a word that it shares with us whether there is something to collect.
    const unsigned flags = IO_URING_READ_ONCE(*ring_.sq.kflags);
    if (io_uring_sq_ready(&ring_) != 0 ||
        (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0) {
      Submit();
    }
  }
  if (sleeps) sleeping_.store(false, std::memory_order_relaxed);
  return Reap();
}

size_t IoUringPoller::Reap() {
  size_t notified = 0;
  unsigned count = 0;
  unsigned head;
  io_uring_cqe* completion;
  io_uring_for_each_cqe(&ring_, head, completion) {
    if (count == kMaxEvents) break;
    ++count;
    const uint64_t token = completion->user_data;
    if (token == kWakeToken) {
      if ((completion->flags & IORING_CQE_F_MORE) == 0) wake_armed_ = false;
    } else if (token != kNobody && Deliver(*completion)) {
      ++notified;
    }
  }
  io_uring_cq_advance(&ring_, count);
  return notified;
}

bool IoUringPoller::Deliver(const io_uring_cqe& completion) {
  const uint64_t token = completion.user_data;
  const uint32_t index = static_cast<uint32_t>(token);
  Slot& slot = slots_.At(index);
  SpinLockHolder held(slot.lock);
  if (slot.generation != token >> 32) return false;
  const bool ended = (completion.flags & IORING_CQE_F_MORE) == 0;
  if (ended) slot.armed = false;
  if (slot.source == nullptr) return false;
  uint32_t mask;
  if (completion.res >= 0) {
    mask = static_cast<uint32_t>(completion.res);
    if (ended) Request(index, slot);
    if ((mask & EPOLLPRI) != 0 && (mask & EPOLLRDBAND) != 0 && !HasUrgent(slot.source->fd)) {
      mask &= ~uint32_t{EPOLLPRI};
    }
  } else if (completion.res == -ECANCELED || completion.res == -ENOMEM ||
             completion.res == -EAGAIN) {
    Request(index, slot);
    return false;
  } else {
    mask = EPOLLERR;  // refused: reads and writes return the cause
  }
  const uint32_t io_events = ToIoEvents(mask);
  if (io_events == 0) return false;
  Report(slot.source, io_events);
  return true;
}

}  // namespace v0
}  // namespace quiesce

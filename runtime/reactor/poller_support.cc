#include "quiesce/runtime/reactor/poller_support.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {
namespace {

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

}  // namespace

absl::Status PollerError(int error, absl::string_view what) {
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

absl::StatusOr<UniqueFd> NewWakeDescriptor() {
  UniqueFd descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!descriptor.valid()) return PollerError(errno, "poller: cannot make an eventfd");
  return descriptor;
}

void WakeBy(const UniqueFd& wake_descriptor) {
  // Each write is an edge of its own, so nobody has to read the counter; it would overflow after 2^64.
  const int saved = errno;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_descriptor.get(), &one, sizeof one);
  errno = saved;
}

void Report(IoSource* source, uint32_t io_events) {
  Emit(EventKind::kIoReady, 0, 0, uint64_t(source->fd) << 32 | io_events);
  source->notify(source, io_events);
}

uint32_t ToIoEvents(uint32_t mask) {
  uint32_t io_events = 0;
  if ((mask & EPOLLIN) != 0) io_events |= kReadable;
  if ((mask & EPOLLOUT) != 0) io_events |= kWritable;
  // A hang-up of the peer's writing side alone ends no writing.
  if ((mask & (EPOLLRDHUP | EPOLLPRI)) != 0) io_events |= kReadable | kMoreAfterShortRead;
  // Reads and writes return the cause.
  if ((mask & (EPOLLERR | EPOLLHUP)) != 0) {
    io_events |= kReadable | kWritable | kMoreAfterShortRead;
  }
  return io_events;
}

}  // namespace v0
}  // namespace quiesce

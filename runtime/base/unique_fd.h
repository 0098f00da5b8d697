// unique_fd.h: a file descriptor with one owner, who closes it.
//
// Example:    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
//             if (!fd.valid()) return Failed(errno);
// Invariants: (1) the descriptor is closed exactly once, when its owner ends or is given another;
//             (2) closing leaves errno as it was, so that a failed call can be reported after it.
// Threads:    as a value.
#ifndef QUIESCE_RUNTIME_BASE_UNIQUE_FD_H_
#define QUIESCE_RUNTIME_BASE_UNIQUE_FD_H_

#include <errno.h>
#include <unistd.h>

#include <utility>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class [[nodiscard]] UniqueFd {
 public:
  UniqueFd() = default;
  // Takes `fd` over; a negative one is none.
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

  // Gives the descriptor up: the caller closes it.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  // Closes what is held and takes `fd` over.
  void Reset(int fd = -1) {
    const int old = std::exchange(fd_, fd);
    if (old < 0) return;
    const int saved = errno;
    // Not repeated after EINTR: Linux has freed the number by then, and another thread may own it.
    close(old);
    errno = saved;
  }

 private:
  int fd_ = -1;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_UNIQUE_FD_H_

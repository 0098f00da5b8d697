// poller.h: the third interface: wait for the kernel.
#ifndef QUIESCE_RUNTIME_REACTOR_POLLER_H_
#define QUIESCE_RUNTIME_REACTOR_POLLER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// What became possible.
enum IoEvents : uint32_t {
  kReadable = 1,
  kWritable = 2,
  // A read that returns less than was asked for may leave something of which no further edge tells: the
  // peer's end, what broke the connection, or what follows an urgent byte. Comes with kReadable. Whoever
  // has not been told so, at the latest edge or before, need not try again after a short read.
  kMoreAfterShortRead = 4,
};

// A file descriptor that somebody waits for. Lives in its owner.
struct IoSource {
  // Called on any thread for each edge: readiness that came since the last call. Runs with a lock of
  // the poller held: it may decide waits and Post, and must not Add, Remove or block.
  using Notify = void (*)(IoSource*, uint32_t io_events);
  IoSource(int fd, Notify notify) : notify(notify), fd(fd) {}
  IoSource(const IoSource&) = delete;
  IoSource& operator=(const IoSource&) = delete;

  Notify notify;
  int fd;
  // Owned by the poller.
  uint32_t slot = 0;
  uint32_t home = 0;
};

class Poller {
 public:
  virtual ~Poller() = default;
  // Reports edges of `source->fd` until Remove. Both directions are reported once at the start when
  // they are ready then. Error(kResourceExhausted | kInvalidArgument) names the fd and the cause.
  virtual absl::Status Add(IoSource* source) = 0;
  // After it returns `notify` is not running and will not be called again. Call before closing the fd.
  // Returns  whether the kernel has let go of the file, too. If not it soon will, and until then closing the fd does not
  //          end what the file stands for: shut a connection down first. (Which ends it for every process that has the
  //          file, unlike close.)
  virtual bool Remove(IoSource* source) = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_POLLER_H_

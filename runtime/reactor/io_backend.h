// io_backend.h: which of the kernel's interfaces tells a runtime that a descriptor is ready.
#ifndef QUIESCE_RUNTIME_REACTOR_IO_BACKEND_H_
#define QUIESCE_RUNTIME_REACTOR_IO_BACKEND_H_

#include <cstdint>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

enum class IoBackend : uint8_t {
  kEpoll,
  kIoUring,  // Linux 6.1 or later, where nothing forbids it; else the runtime is not made
  kAuto,     // io_uring where it can be had, else epoll
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_IO_BACKEND_H_

#include "quiesce/runtime/base/memory_model.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {

bool HardwareMemory::HasFenceForAll() {
  static const bool registered =
      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  return registered;
}

void HardwareMemory::FenceForAll() {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
    Fatal("membarrier: %s", std::strerror(errno));
  }
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/scheduler/owner_gate.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {
namespace {

// The other side holds its section for nanoseconds, unless it has lost its processor.
template <class Condition>
void SpinWhile(Condition condition) {
  for (int spins = 0; condition(); ++spins) {
    if (spins >= 64) sched_yield();
  }
}

}  // namespace

bool OwnerGate::Supported() {
  static const bool registered =
      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  return registered;
}

void OwnerGate::Barrier() {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
    Fatal("owner gate: membarrier: %s", std::strerror(errno));
  }
}

void OwnerGate::AwaitOwner() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  SpinWhile([this] { return inside_.load(std::memory_order_acquire); });
}

void OwnerGate::EnterSlow() {
  do {
    inside_.store(false, std::memory_order_release);
    SpinWhile([this] { return closed_.load(std::memory_order_relaxed); });
    inside_.store(true, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } while (closed_.load(std::memory_order_acquire));
}

}  // namespace v0
}  // namespace quiesce

// owner_gate.h: a lock that its owner takes without an atomic instruction.
//
// Why:        what a worker keeps to itself is used by it alone, millions of times a second, except when it
//             is stuck in a long step and an idle worker wants to have it: then, and only then, somebody
//             should pay.
// How:        an asymmetric Dekker lock. The owner stores `inside_` and reads `closed_` without a fence
//             between; a visitor stores `closed_`, makes every running thread of the process pass a
//             fence (membarrier(2)), and reads `inside_`. So one of them sees the other.
// Example:    owner:    OwnerScope inside(gate);
//             visitor:  if (OwnerGate::Supported() && gate.TryClose()) {
//                         OwnerGate::Barrier();  // one for any number of gates
//                         gate.AwaitOwner();
//                         ...
//                         gate.Open();
//                       }
// Invariants: (1) the owner's sections are short, take only leaf locks, and do not nest; (2) a visitor's
//             is short, too: the owner waits for it.
// Threads:    Enter, TryEnter and Leave: the owner's. The rest: any; one visitor at a time.
#ifndef QUIESCE_RUNTIME_SCHEDULER_OWNER_GATE_H_
#define QUIESCE_RUNTIME_SCHEDULER_OWNER_GATE_H_

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/memory_model.h"

namespace quiesce {
inline namespace v0 {

template <class Memory = HardwareMemory>
class ABSL_LOCKABLE BasicOwnerGate {
 public:
  BasicOwnerGate() = default;
  BasicOwnerGate(const BasicOwnerGate&) = delete;
  BasicOwnerGate& operator=(const BasicOwnerGate&) = delete;

  void Enter() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    inside_.store(true, std::memory_order_relaxed);
    Memory::CompilerFence();  // the processor's order: see Barrier
    if (closed_.load(std::memory_order_acquire)) [[unlikely]]
      EnterSlow();
  }
  // False, at once, where Enter would have to wait: for a fast path that must not call anything.
  bool TryEnter() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    inside_.store(true, std::memory_order_relaxed);
    Memory::CompilerFence();
    if (!closed_.load(std::memory_order_acquire)) [[likely]]
      return true;
    inside_.store(false, std::memory_order_release);
    return false;
  }
  void Leave() ABSL_UNLOCK_FUNCTION() { inside_.store(false, std::memory_order_release); }

  // False where the kernel has no membarrier: then there must be no visitors.
  static bool Supported() { return Memory::HasFenceForAll(); }

  // Becomes the visitor, if nobody is; the owner may still be inside.
  bool TryClose() { return !closed_.exchange(true, std::memory_order_acquire); }
  // After it every gate closed before either keeps its owner out or shows it inside.
  static void Barrier() { Memory::FenceForAll(); }
  // Waits until the owner is outside.
  void AwaitOwner() ABSL_EXCLUSIVE_LOCK_FUNCTION();
  void Open() ABSL_UNLOCK_FUNCTION() { closed_.store(false, std::memory_order_release); }

 private:
  static bool IsFalse(bool value) { return !value; }
  [[gnu::cold]] void EnterSlow();

  // The owner is in a section, or about to look whether it may be. Written by the owner: false with
  // release, read by the visitor with acquire, so that it sees what the owner did.
  typename Memory::template Atomic<bool> inside_{false};
  // A visitor keeps the owner out. Set by exchange (acquire, after the visitor before), cleared with
  // release; read by the owner with acquire, so that it sees what the visitor did.
  typename Memory::template Atomic<bool> closed_{false};
};

template <class Memory>
void BasicOwnerGate<Memory>::AwaitOwner() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Memory::Await(inside_, &IsFalse, std::memory_order_acquire);
}

template <class Memory>
void BasicOwnerGate<Memory>::EnterSlow() {
  do {
    inside_.store(false, std::memory_order_release);
    Memory::Await(closed_, &IsFalse, std::memory_order_relaxed);
    inside_.store(true, std::memory_order_relaxed);
    Memory::CompilerFence();
  } while (closed_.load(std::memory_order_acquire));
}

extern template class BasicOwnerGate<HardwareMemory>;
using OwnerGate = BasicOwnerGate<>;

template <class Memory = HardwareMemory>
class ABSL_SCOPED_LOCKABLE BasicOwnerScope {
 public:
  explicit BasicOwnerScope(BasicOwnerGate<Memory>& gate) ABSL_EXCLUSIVE_LOCK_FUNCTION(gate)
      : gate_(gate) {
    gate_.Enter();
  }
  ~BasicOwnerScope() ABSL_UNLOCK_FUNCTION() { gate_.Leave(); }
  BasicOwnerScope(const BasicOwnerScope&) = delete;
  BasicOwnerScope& operator=(const BasicOwnerScope&) = delete;

 private:
  BasicOwnerGate<Memory>& gate_;
};
using OwnerScope = BasicOwnerScope<>;

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_OWNER_GATE_H_

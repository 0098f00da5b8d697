// socket.h: one descriptor in the poller, and who waits for it. Internal to runtime/net.
//
// Why:        readiness comes as edges, once each. Whoever tries first and waits only if it must would lose
//             an edge that comes in between; that race is solved here, for every operation on a socket.
// How:        each side has a ready bit. An operation takes the bit *before* its system call, so that an
//             edge that comes during the call sets it again, and sets it itself if the call may have left
//             something. Park looks at the bit under the lock.
// Invariants: (1) a side is not ready only if the latest system call on it left nothing for the next one
//             and no edge has come since its bit was taken; (2) between Park and Leave a side has one waiter,
//             which is granted at most once; (3) `fd` is in the poller from Register until Close.
// Threads:    edges and timers come on any thread; everything else is called by the one task that uses
//             that side, and Register, Close and the destructor by the socket's owner.
// Points:     of a lab, on the IoSource: readiness is asked for, a waiter comes or goes.
// Locks:      the poller's slot or the clock's lock, then lock_, then a run queue's (inside Grant).
#ifndef QUIESCE_RUNTIME_NET_SOCKET_H_
#define QUIESCE_RUNTIME_NET_SOCKET_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/budget/instant.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/net/socket_calls.h"
#include "quiesce/runtime/reactor/poller.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {
namespace net_internal {

class SocketTimer;

class Socket : private IoSource {
 public:
  enum Side : uint8_t { kRead = 0, kWrite = 1 };

  // `services` outlives the socket. Both sides count as ready: the first operation tries.
  Socket(OwnedSocket owned, const RuntimeServices& services);
  ~Socket() { Close(); }

  // Puts the descriptor into the poller. Error(kResourceExhausted | kInvalidArgument).
  absl::Status Register();
  // Leaves the poller and closes the descriptor. Calling it again has no effect.
  void Close();
  bool open() const { return owned_.open(); }
  int fd() const { return owned_.fd(); }
  SocketCalls& calls() const { return owned_.calls(); }
  const RuntimeServices& services() const { return services_; }
  // What the poller, and a lab, know it by.
  const IoSource* source() const { return this; }

  // Takes the ready bit: true if a system call may succeed. Fatal if another task waits for the same
  // side; `operation` names the caller.
  bool TakeReady(Side side, const char* operation);
  // There may be more: the next operation tries at once.
  void SetReady(Side side);
  // Nothing is ready until an edge comes.
  void SetNotReady(Side side);

  // Queues `waiter`, to be granted by the next edge of the side, or by `timer`, if it is set. False if one
  // of the two has come already.
  bool Park(Side side, Waiter& waiter, const SocketTimer* timer = nullptr);
  // As Park, but only `timer` grants; edges are kept for later.
  bool ParkUntil(Side side, Waiter& waiter, const SocketTimer& timer);
  // The waiter goes, granted or not. Before its operation ends.
  void Leave(Side side);
  // The same, and TakeReady.
  bool LeaveAndTakeReady(Side side);

  // After a read that filled a part of its buffer only: what had come has been read. There is more only if
  // an edge has said so (kMoreAfterShortRead); whatever comes later makes an edge of its own.
  void EndShortRead();

  // From now on an edge of either side counts for both: for one who waits for any change.
  void JoinSides();

  // Fatal if an operation waits: for the end of `owner`, the type of the user's object.
  void CheckNobodyWaits(const char* owner);

 private:
  friend class SocketTimer;

  struct SideState {
    Waiter* waiter = nullptr;  // from Park to Leave
    bool granted = false;      // the waiter has been granted
    bool timer_only = false;   // edges do not grant
    // Written with lock_ held, read by TakeReady as a hint without it (relaxed).
    std::atomic<bool> ready{true};
  };

  static void OnEdge(IoSource* source, uint32_t io_events);
  bool Take(SideState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void Wake(SideState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  bool ParkIn(Side side, Waiter& waiter, const SocketTimer* timer, bool timer_only);

  // Constant until Close.
  const RuntimeServices& services_;
  OwnedSocket owned_;
  bool registered_ = false;

  SpinLock lock_;
  bool joined_ ABSL_GUARDED_BY(lock_) = false;
  // An edge had kMoreAfterShortRead. Kept for good: a peer ends once, and urgent bytes are rare.
  // Relaxed: the edges that count came before the lock was taken for TakeReady.
  std::atomic<bool> more_after_short_read_{false};
  SideState sides_[2];  // guarded by lock_, but for the hint
};

// Grants the waiter of one side at an instant. Lives in an operation; dies before its socket.
class SocketTimer : public Timer {
 public:
  SocketTimer(Socket& socket, Socket::Side side) : Timer(&Fire), socket_(socket), side_(side) {}
  ~SocketTimer() { Stop(); }

  // Without effect if the timer is set already, also if it has come since. Hold no lock.
  void Set(Instant at);
  // It is not due from then on, and may be set anew.
  void Stop();
  // Has the instant come? Acquire, pairs with the release in Fire.
  bool due() const { return due_.load(std::memory_order_acquire); }

 private:
  static void Fire(Timer* timer);

  Socket& socket_;
  const Socket::Side side_;
  bool set_ = false;
  std::atomic<bool> due_{false};  // false -> true by Fire, back by Stop
};

}  // namespace net_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_SOCKET_H_

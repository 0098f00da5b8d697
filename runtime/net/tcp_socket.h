// tcp_socket.h: what a TcpStream owns, and how it ends. Internal to runtime/net.
//
// Why:        close() with unread input makes the kernel send a reset (RFC 2525 section 2.17), which destroys
//             answers that are still under way. So an end that may lose something is staged, as RFC 9112
//             section 9.6 says: close the writing side, read on and discard, then close.
#ifndef QUIESCE_RUNTIME_NET_TCP_SOCKET_H_
#define QUIESCE_RUNTIME_NET_TCP_SOCKET_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/net/socket.h"
#include "quiesce/runtime/net/socket_calls.h"
#include "quiesce/runtime/region/region_ref.h"

namespace quiesce {
inline namespace v0 {
namespace net_internal {

struct TcpSocket final : Socket {
  TcpSocket(OwnedSocket owned, const RuntimeServices& services, const Address& peer,
            RegionRef region)
      : Socket(std::move(owned), services), peer(peer), region(std::move(region)) {}

  static void* operator new(size_t size) { return SlabAllocate(size); }
  static void operator delete(void* memory, size_t size) { SlabFree(memory, size); }

  const Address peer;
  RegionRef region;  // where it was accepted or connected, and lingers
  absl::Duration linger = absl::Seconds(5);

  // Touched by the reading task only, until the end.
  bool read_ended = false;  // the peer has closed its side
  // By the writing task only, until the end.
  bool written = false;  // something was sent
  bool write_shut_down = false;
  // By the end only.
  bool discarded = false;  // there was input that nobody had read

  // The kernel tells why a connection broke (an errno) to one call only, and to the other side's next one
  // "the end", which a reader must not take for the peer's. So whoever is told keeps it here.
  // 0 -> errno by either side; relaxed, since it stands for nothing else.
  std::atomic<int> broken{0};
  // A send is under way, and may be told. Set before the call (relaxed: the kernel's own lock on the socket
  // orders it before a receive that comes too late); cleared after `broken` was set (release).
  std::atomic<bool> sending{false};
};

// The end of a stream that nobody waits for any more: closes the connection now if nothing can be lost
// by it, else hands it to a task of its region that lingers. Does not wait.
void EndConnection(std::unique_ptr<TcpSocket> socket);

}  // namespace net_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_TCP_SOCKET_H_

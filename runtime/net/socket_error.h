// socket_error.h: what a failed system call on a socket says to a human. Internal to runtime/net.
#ifndef QUIESCE_RUNTIME_NET_SOCKET_ERROR_H_
#define QUIESCE_RUNTIME_NET_SOCKET_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {
namespace net_internal {

// "OPERATION(ADDRESS): what happened; what to do next". `error` is an errno.
//
// For what is done at a local address, and for what is done on a connection:
//
// kUnavailable        the peer or the way to it: refused, reset, closed, timed out, unreachable
// kResourceExhausted  descriptors, memory, local ports
// kAlreadyExists      the address is in use
// kPermissionDenied   a privileged port, a firewall
// kInvalidArgument    the address is none of this machine's, or of no family that it has
// kUnknown            anything else, by its name
absl::Status SocketError(int error, absl::string_view operation, absl::string_view address);

// The same for a connect to `address`, where some errors stand for something else:
//
// kResourceExhausted  no local port is left
// kPermissionDenied   a firewall
absl::Status ConnectError(int error, absl::string_view operation, absl::string_view address);

// Does `error` mean that descriptors or memory ran out?
bool IsExhausted(int error);

}  // namespace net_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_SOCKET_ERROR_H_

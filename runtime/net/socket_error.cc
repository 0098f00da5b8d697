#include "quiesce/runtime/net/socket_error.h"

#include <errno.h>
#include <string.h>

#include "absl/strings/str_cat.h"

namespace quiesce {
inline namespace v0 {
namespace net_internal {
namespace {

struct Explanation {
  int error;
  absl::StatusCode code;
  const char* text;
};

constexpr Explanation kExplanations[] = {
    {ECONNREFUSED, absl::StatusCode::kUnavailable,
     "nobody listens there; start the server, or try again later"},
    {ECONNRESET, absl::StatusCode::kUnavailable,
     "the peer reset the connection; what was under way is lost"},
    {EPIPE, absl::StatusCode::kUnavailable, "the peer has closed the connection and reads no more"},
    {ECONNABORTED, absl::StatusCode::kUnavailable, "the connection was aborted"},
    {ETIMEDOUT, absl::StatusCode::kUnavailable,
     "the peer does not answer; check the address and the network, or try again later"},
    {EHOSTUNREACH, absl::StatusCode::kUnavailable, "no route to the host; check the network"},
    {ENETUNREACH, absl::StatusCode::kUnavailable, "the network is unreachable; check its routes"},
    {ENETDOWN, absl::StatusCode::kUnavailable, "the network is down"},
    {EADDRINUSE, absl::StatusCode::kAlreadyExists,
     "the address is in use by another socket; stop what listens there (`ss -ltnp` shows it), or "
     "choose another port (port 0 lets the system choose)"},
    {EADDRNOTAVAIL, absl::StatusCode::kInvalidArgument,
     "no interface of this machine has the address; 0.0.0.0 and [::] stand for all interfaces"},
    {EAFNOSUPPORT, absl::StatusCode::kInvalidArgument,
     "this machine has no network of that kind (IPv4 or IPv6)"},
    {EACCES, absl::StatusCode::kPermissionDenied,
     "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE"},
    {EPERM, absl::StatusCode::kPermissionDenied, "not permitted; a firewall rule may forbid it"},
    {EMFILE, absl::StatusCode::kResourceExhausted,
     "too many open files in this process; raise its limit (`ulimit -n`), or admit fewer "
     "connections at once (RegionOptions::WithMaxTasks)"},
    {ENFILE, absl::StatusCode::kResourceExhausted,
     "too many open files on this machine; raise fs.file-max, or admit fewer connections at once "
     "(RegionOptions::WithMaxTasks)"},
    {ENOBUFS, absl::StatusCode::kResourceExhausted,
     "the kernel has no memory for it; admit fewer connections at once"},
    {ENOMEM, absl::StatusCode::kResourceExhausted,
     "the kernel has no memory for it; admit fewer connections at once"},
};

constexpr char kForbidden[] =
    "not permitted; a firewall rule of this machine forbids it, or it is a broadcast address";
// What differs for a connect.
constexpr Explanation kConnectExplanations[] = {
    {EADDRNOTAVAIL, absl::StatusCode::kResourceExhausted,
     "no local port is left for connections to there; use connections again, end some, or widen "
     "net.ipv4.ip_local_port_range (or this machine has no address of that family)"},
    {EADDRINUSE, absl::StatusCode::kResourceExhausted,
     "no local port is left for connections to there; use connections again, end some, or widen "
     "net.ipv4.ip_local_port_range"},
    {EACCES, absl::StatusCode::kPermissionDenied, kForbidden},
    {EPERM, absl::StatusCode::kPermissionDenied, kForbidden},
};

absl::Status Explain(const Explanation& explanation, absl::string_view operation,
                     absl::string_view address) {
  return absl::Status(explanation.code,
                      absl::StrCat(operation, "(", address, "): ", explanation.text));
}

}  // namespace

absl::Status SocketError(int error, absl::string_view operation, absl::string_view address) {
  for (const Explanation& explanation : kExplanations) {
    if (explanation.error == error) return Explain(explanation, operation, address);
  }
  return absl::UnknownError(absl::StrCat(operation, "(", address, "): ", strerror(error)));
}

absl::Status ConnectError(int error, absl::string_view operation, absl::string_view address) {
  for (const Explanation& explanation : kConnectExplanations) {
    if (explanation.error == error) return Explain(explanation, operation, address);
  }
  return SocketError(error, operation, address);
}

bool IsExhausted(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace net_internal
}  // namespace v0
}  // namespace quiesce

// address.h: an IP address with a port, as text and as the kernel has it.
//
// Why:        "HOST:PORT" is what configurations and messages hold. Names are not resolved here, since
//             that blocks the thread: only literals, and `localhost` (127.0.0.1).
// Example:    absl::StatusOr<Address> address = Address::Parse("[::1]:8080");
//             if (address.ok()) std::cout << address->ToString();   // [::1]:8080
// Invariants: what ToString prints, Parse reads back as an equal address.
// Threads:    a plain value.
#ifndef QUIESCE_RUNTIME_NET_ADDRESS_H_
#define QUIESCE_RUNTIME_NET_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class Address {
 public:
  // 0.0.0.0:0.
  Address();

  // Reads "127.0.0.1:8080", "0.0.0.0:0", "[::1]:8080" or "localhost:8080". Port 0 lets the system choose
  // one, where an address is bound.
  // Returns  Address | Error(kInvalidArgument), which says what is wrong and shows how it is written.
  static absl::StatusOr<Address> Parse(absl::string_view text);
  // What accept, getsockname and getpeername give; 0.0.0.0:0 for another family.
  static Address FromKernel(const sockaddr_storage& storage);

  // "127.0.0.1:8080", "[::1]:8080".
  std::string ToString() const;

  bool is_ipv6() const { return any_.sa_family == AF_INET6; }
  uint16_t port() const;

  // For system calls.
  int family() const { return any_.sa_family; }
  const sockaddr* data() const { return &any_; }
  socklen_t size() const;

  friend bool operator==(const Address& left, const Address& right);

 private:
  union {
    sockaddr any_;
    sockaddr_in v4_;
    sockaddr_in6 v6_;
  };
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_ADDRESS_H_

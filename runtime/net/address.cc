#include "quiesce/runtime/net/address.h"

#include <arpa/inet.h>

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace quiesce {
inline namespace v0 {
namespace {

constexpr absl::string_view kExample =
    "write HOST:PORT, as in 127.0.0.1:8080, 0.0.0.0:0, [::1]:8080 or localhost:8080";

absl::Status Bad(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("address '", text, "': ", what, "; ", kExample));
}

// 0..65535, digits only. False if it is something else.
bool ParsePort(absl::string_view text, uint16_t* port) {
  if (text.empty() || text.size() > 5) return false;
  uint32_t value = 0;
  for (const char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
    value = 10 * value + static_cast<uint32_t>(c - '0');
  }
  if (value > 65535) return false;
  *port = static_cast<uint16_t>(value);
  return true;
}

}  // namespace

Address::Address() {
  std::memset(&v6_, 0, sizeof v6_);
  v4_.sin_family = AF_INET;
}

absl::StatusOr<Address> Address::Parse(absl::string_view text) {
  const bool bracketed = !text.empty() && text.front() == '[';
  absl::string_view host;
  absl::string_view port_text;
  if (bracketed) {
    const size_t end = text.find(']');
    if (end == text.npos) return Bad(text, "the bracket '[' is not closed");
    host = text.substr(1, end - 1);
    port_text = text.substr(end + 1);
    if (port_text.empty() || port_text.front() != ':') return Bad(text, "no port after ']'");
    port_text.remove_prefix(1);
  } else {
    const size_t colon = text.rfind(':');
    if (colon == text.npos) return Bad(text, "no port");
    host = text.substr(0, colon);
    port_text = text.substr(colon + 1);
    if (host.find(':') != host.npos) return Bad(text, "an IPv6 address stands in brackets");
    if (host.empty()) return Bad(text, "no host (0.0.0.0 and [::] stand for all interfaces)");
  }
  Address address;
  uint16_t port = 0;
  if (!ParsePort(port_text, &port)) {
    return Bad(text, absl::StrCat("the port '", port_text, "' is not a number from 0 to 65535"));
  }
  // inet_pton wants a terminated string, and nothing that it could accept is longer than this.
  char literal[INET6_ADDRSTRLEN] = {};
  const bool fits = host.size() < sizeof literal && host.find('\0') == host.npos;
  if (fits) host.copy(literal, host.size());
  if (bracketed) {
    address.v6_.sin6_family = AF_INET6;
    if (!fits || inet_pton(AF_INET6, literal, &address.v6_.sin6_addr) != 1) {
      return Bad(text, absl::StrCat("'", host, "' is not an IPv6 address"));
    }
    address.v6_.sin6_port = htons(port);
    return address;
  }
  if (host == "localhost") {
    address.v4_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else if (!fits || inet_pton(AF_INET, literal, &address.v4_.sin_addr) != 1) {
    return Bad(text,
               absl::StrCat("'", host,
                            "' is not an IPv4 address, and names are not resolved here, since "
                            "that blocks the thread"));
  }
  address.v4_.sin_port = htons(port);
  return address;
}

Address Address::FromKernel(const sockaddr_storage& storage) {
  Address address;
  if (storage.ss_family == AF_INET) std::memcpy(&address.v4_, &storage, sizeof address.v4_);
  if (storage.ss_family == AF_INET6) std::memcpy(&address.v6_, &storage, sizeof address.v6_);
  return address;
}

std::string Address::ToString() const {
  char literal[INET6_ADDRSTRLEN] = {};
  if (is_ipv6()) {
    inet_ntop(AF_INET6, &v6_.sin6_addr, literal, sizeof literal);
    return absl::StrCat("[", literal, "]:", port());
  }
  inet_ntop(AF_INET, &v4_.sin_addr, literal, sizeof literal);
  return absl::StrCat(literal, ":", port());
}

uint16_t Address::port() const { return ntohs(is_ipv6() ? v6_.sin6_port : v4_.sin_port); }

socklen_t Address::size() const { return is_ipv6() ? sizeof v6_ : sizeof v4_; }

bool operator==(const Address& left, const Address& right) {
  if (left.family() != right.family() || left.port() != right.port()) return false;
  if (left.is_ipv6()) {
    return std::memcmp(&left.v6_.sin6_addr, &right.v6_.sin6_addr, sizeof(in6_addr)) == 0;
  }
  return left.v4_.sin_addr.s_addr == right.v4_.sin_addr.s_addr;
}

}  // namespace v0
}  // namespace quiesce

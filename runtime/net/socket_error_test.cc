#include "quiesce/runtime/net/socket_error.h"

#include <errno.h>

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quiesce::net_internal {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string Text(const absl::Status& status) { return std::string(status.message()); }

TEST(SocketErrorTest, SaysOperationAddressCauseAndRemedy) {
  const absl::Status status = SocketError(EADDRINUSE, "TcpListener::Bind", "0.0.0.0:80");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(Text(status), AllOf(HasSubstr("TcpListener::Bind(0.0.0.0:80): "), HasSubstr("in use"),
                                  HasSubstr("choose another port")));
}

TEST(SocketErrorTest, AddressThatABindCannotHaveIsNotOneThatAConnectCannotGet) {
  const absl::Status bound = SocketError(EADDRNOTAVAIL, "TcpListener::Bind", "192.0.2.1:80");
  EXPECT_EQ(bound.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Text(bound), AllOf(HasSubstr("0.0.0.0"), Not(HasSubstr("port"))));
  const absl::Status connected = ConnectError(EADDRNOTAVAIL, "TcpStream::Connect", "192.0.2.1:80");
  EXPECT_EQ(connected.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Text(connected), AllOf(HasSubstr("TcpStream::Connect(192.0.2.1:80): "),
                                     HasSubstr("ip_local_port_range")));
}

TEST(SocketErrorTest, ConnectThatIsForbiddenIsNotAboutPrivilegedPorts) {
  for (const int error : {EACCES, EPERM}) {
    const absl::Status status = ConnectError(error, "TcpStream::Connect", "192.0.2.1:80");
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(Text(status), AllOf(HasSubstr("firewall"), Not(HasSubstr("1024"))));
  }
  EXPECT_THAT(Text(SocketError(EACCES, "TcpListener::Bind", "0.0.0.0:80")), HasSubstr("1024"));
}

TEST(SocketErrorTest, OtherErrorsOfAConnectAreTheSame) {
  EXPECT_EQ(ConnectError(ECONNREFUSED, "c", "a"), SocketError(ECONNREFUSED, "c", "a"));
  EXPECT_EQ(SocketError(ENOTTY, "c", "a").code(), absl::StatusCode::kUnknown);
}

}  // namespace
}  // namespace quiesce::net_internal

#include "quiesce/runtime/net/address.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quiesce {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(AddressTest, WhatIsPrintedReadsBackAsTheSameAddress) {
  for (const char* text : {"127.0.0.1:8080", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:8080",
                           "[::]:0", "[2001:db8::8a2e:370:7334]:443"}) {
    absl::StatusOr<Address> address = Address::Parse(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
    EXPECT_EQ(*Address::Parse(address->ToString()), *address);
  }
}

TEST(AddressTest, LocalhostIsTheLoopbackAddress) {
  EXPECT_EQ(Address::Parse("localhost:80")->ToString(), "127.0.0.1:80");
}

TEST(AddressTest, AddressesThatDifferInOnePartAreNotEqual) {
  const auto parse = [](const char* text) { return *Address::Parse(text); };
  EXPECT_FALSE(parse("127.0.0.1:80") == parse("127.0.0.1:81"));
  EXPECT_FALSE(parse("127.0.0.1:80") == parse("127.0.0.2:80"));
  EXPECT_FALSE(parse("[::1]:80") == parse("[::2]:80"));
  EXPECT_FALSE(parse("0.0.0.0:80") == parse("[::]:80"));
}

struct BadCase {
  const char* text;
  const char* message;
};

TEST(AddressTest, BadAddressIsRefusedWithWhatIsWrongAndAnExample) {
  const BadCase kCases[] = {
      {"", "no port"},
      {"127.0.0.1", "no port"},
      {":8080", "no host"},
      {"127.0.0.1:", "the port '' is not a number"},
      {"127.0.0.1:http", "the port 'http' is not a number from 0 to 65535"},
      {"127.0.0.1:65536", "the port '65536' is not a number from 0 to 65535"},
      {"127.0.0.1:-1", "the port '-1'"},
      {"127.0.0.1:000080", "the port '000080'"},
      {"127.0.0.1:80 ", "the port '80 '"},
      {"127.0.0.256:80", "'127.0.0.256' is not an IPv4 address"},
      {"example.com:80", "'example.com' is not an IPv4 address, and names are not resolved here"},
      {"::1:80", "an IPv6 address stands in brackets"},
      {"[::1:80", "the bracket '[' is not closed"},
      {"[::1]", "no port after ']'"},
      {"[::1]80", "no port after ']'"},
      {"[]:80", "'' is not an IPv6 address"},
      {"[127.0.0.1]:80", "'127.0.0.1' is not an IPv6 address"},
      {"[localhost]:80", "'localhost' is not an IPv6 address"},
  };
  for (const BadCase& bad : kCases) {
    absl::StatusOr<Address> address = Address::Parse(bad.text);
    ASSERT_FALSE(address.ok()) << bad.text;
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(address.status().message()),
                AllOf(HasSubstr(std::string("address '") + bad.text + "'"), HasSubstr(bad.message),
                      HasSubstr("as in 127.0.0.1:8080")));
  }
}

TEST(AddressTest, VeryLongHostIsRefused) {
  const std::string host(1000, '1');
  EXPECT_FALSE(Address::Parse(host + ":80").ok());
  EXPECT_FALSE(Address::Parse("[" + host + "]:80").ok());
}

TEST(AddressTest, HostWithNulByteIsRefused) {
  EXPECT_FALSE(Address::Parse(absl::string_view("127.0.0.1\0x:80", 14)).ok());
}

}  // namespace
}  // namespace quiesce

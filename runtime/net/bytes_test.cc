#include "quiesce/runtime/net/bytes.h"

#include <array>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace quiesce {
namespace {

template <class T>
constexpr bool kFills = std::is_convertible_v<T, ByteBuffer>;
template <class T>
constexpr bool kSends = std::is_convertible_v<T, ByteView>;

static_assert(kFills<std::array<std::byte, 4>&> && kFills<std::vector<std::byte>&>);
static_assert(kFills<absl::Span<std::byte>> && kFills<std::string&>);
static_assert(kFills<std::byte (&)[4]>);
static_assert(!kFills<std::array<std::byte, 4>>, "a temporary is gone before anybody reads it");
static_assert(!kFills<std::string> && !kFills<const std::string&> && !kFills<absl::string_view>);
static_assert(!kFills<const std::vector<std::byte>&> && !kFills<absl::Span<const std::byte>>);
static_assert(!kFills<std::vector<int>&>);

static_assert(kSends<std::array<std::byte, 4>&> && kSends<const std::vector<std::byte>&>);
static_assert(kSends<absl::Span<std::byte>> && kSends<absl::Span<const std::byte>>);
static_assert(kSends<absl::string_view> && kSends<const char*> && kSends<const char (&)[3]>);
static_assert(kSends<std::string&> && kSends<const std::string&>);
static_assert(!kSends<std::string> && !kSends<std::vector<std::byte>>, "R10");
static_assert(!kSends<std::vector<int>&> && !kSends<int>);

size_t SizeOf(ByteView view) { return view.span().size(); }

TEST(BytesTest, ViewsShowWhatTheyAreMadeOf) {
  std::array<std::byte, 4> array{};
  std::string text = "text";
  ByteBuffer buffer = array;
  EXPECT_EQ(buffer.span().data(), array.data());
  EXPECT_EQ(buffer.span().size(), 4u);
  EXPECT_EQ(static_cast<void*>(ByteBuffer(text).span().data()), text.data());
  EXPECT_EQ(ByteView(array).span().data(), array.data());
  EXPECT_EQ(SizeOf(text), 4u);
  EXPECT_EQ(SizeOf("literal"), 7u) << "without the zero at its end";
  EXPECT_EQ(SizeOf(absl::MakeSpan(array).first(2)), 2u);
}

}  // namespace
}  // namespace quiesce

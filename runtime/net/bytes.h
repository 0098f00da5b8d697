// bytes.h: what Read fills and what Write sends: views that any buffer of bytes or characters turns into.
//
// Why:        absl::Span<std::byte> takes neither a std::array nor a std::string without a MakeSpan or a cast
//             at each call.
// Example:    std::array<std::byte, 4096> buffer;
//             size_t n = co_await OrReturn(stream.Read(cx, buffer));
//             co_await OrReturn(stream.WriteAll(cx, "HTTP/1.1 200 OK\r\n"));
// Invariants: (1) a view owns nothing: what it shows outlives it, and the wait that it is given to.
// Compilers:  a temporary that is not trivially destructible (a std::string, say) does not turn into a view:
//             g++ 12 destroys such a temporary twice in a co_await expression (R10). Name it first.
#ifndef QUIESCE_RUNTIME_NET_BYTES_H_
#define QUIESCE_RUNTIME_NET_BYTES_H_

#include <concepts>
#include <cstddef>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// Bytes to be written to: an absl::Span<std::byte>, an lvalue std::array or std::vector of std::byte, or a
// std::string, whose size is the room that it offers.
class ByteBuffer {
 public:
  ByteBuffer(absl::Span<std::byte> bytes) : bytes_(bytes) {}  // NOLINT: converts
  template <class Container>
    requires requires(Container& container) {
      { absl::MakeSpan(container) } -> std::convertible_to<absl::Span<std::byte>>;
    }
  ByteBuffer(Container& container) : bytes_(absl::MakeSpan(container)) {}  // NOLINT: converts
  ByteBuffer(std::string& text)                                            // NOLINT: converts
      : bytes_(reinterpret_cast<std::byte*>(text.data()), text.size()) {}

  absl::Span<std::byte> span() const { return bytes_; }

 private:
  absl::Span<std::byte> bytes_;
};

// Bytes to be read from: whatever turns into an absl::Span<const std::byte> or an absl::string_view.
class ByteView {
 public:
  template <class Source>
    requires(std::is_lvalue_reference_v<Source> || std::is_trivially_destructible_v<Source>) &&
            std::convertible_to<const Source&, absl::Span<const std::byte>>
  ByteView(Source&& source) : bytes_(Const(source)) {}  // NOLINT: converts
  template <class Source>
    requires(std::is_lvalue_reference_v<Source> || std::is_trivially_destructible_v<Source>) &&
            std::convertible_to<const Source&, absl::string_view>
  ByteView(Source&& source) : bytes_(OfText(source)) {}  // NOLINT: converts

  absl::Span<const std::byte> span() const { return bytes_; }

 private:
  static absl::Span<const std::byte> Const(absl::Span<const std::byte> bytes) { return bytes; }
  static absl::Span<const std::byte> OfText(absl::string_view text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
  }

  absl::Span<const std::byte> bytes_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_NET_BYTES_H_

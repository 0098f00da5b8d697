// status_codes.h: a set of status codes, for policies that treat some errors differently.
//
// Example:    RetryPolicy().WithRetried({absl::StatusCode::kUnavailable, absl::StatusCode::kAborted});
// Threads:    a plain value.
#ifndef QUIESCE_RUNTIME_COMBINATOR_STATUS_CODES_H_
#define QUIESCE_RUNTIME_COMBINATOR_STATUS_CODES_H_

#include <cstdint>
#include <initializer_list>

#include "absl/status/status.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class StatusCodes {
 public:
  constexpr StatusCodes() = default;
  constexpr StatusCodes(std::initializer_list<absl::StatusCode> codes) {
    for (const absl::StatusCode code : codes) bits_ |= Bit(code);
  }

  constexpr bool Contains(absl::StatusCode code) const { return (bits_ & Bit(code)) != 0; }
  // By its canonical code: a raw code that Abseil does not know counts as kUnknown.
  bool Contains(const absl::Status& status) const { return Contains(status.code()); }

 private:
  static constexpr uint32_t Bit(absl::StatusCode code) { return 1u << static_cast<uint32_t>(code); }
  uint32_t bits_ = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_STATUS_CODES_H_

#include "quiesce/runtime/base/instrumentation.h"

namespace quiesce {
inline namespace v0 {

constinit std::atomic<uint8_t> instrumentation::bits{instrumentation::kUndecided};

}  // namespace v0
}  // namespace quiesce

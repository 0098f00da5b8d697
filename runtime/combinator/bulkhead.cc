#include "quiesce/runtime/combinator/bulkhead.h"

#include <cinttypes>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {
namespace {

int64_t Checked(const char* name, int64_t concurrent, int64_t waiting,
                const std::source_location& where) {
  if (concurrent < 1 || waiting < 0 || waiting > INT64_MAX - concurrent) {
    Fatal("Bulkhead('%s', %" PRId64 ", %" PRId64
          ") at %s:%u: at least one call must be able to run, and 0 or more to wait",
          name, concurrent, waiting, where.file_name(), static_cast<unsigned>(where.line()));
  }
  return concurrent;
}

}  // namespace

Bulkhead::Bulkhead(const char* name, int64_t concurrent, int64_t waiting,
                   std::source_location where)
    : name_(name),
      concurrent_(Checked(name, concurrent, waiting, where)),
      limit_(concurrent + waiting),
      places_(concurrent) {
  ObjectMade(&inside_, "Bulkhead");
}

Bulkhead::~Bulkhead() {
  const int64_t inside = inside_.load(std::memory_order_acquire);
  if (inside > 0) {
    Fatal("the bulkhead '%s' was destroyed while %" PRId64
          " calls run or wait: let the region of their tasks close before",
          name_, inside);
  }
}

absl::Status Bulkhead::Full() const {
  return absl::ResourceExhaustedError(absl::StrCat("bulkhead '", name_, "': not called, since ",
                                                   concurrent_, " calls run and ",
                                                   limit_ - concurrent_, " wait already"));
}

}  // namespace v0
}  // namespace quiesce

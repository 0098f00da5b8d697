#include "quiesce/runtime/outcome/panic.h"

#include <atomic>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {

struct Panic::Record {
  Record(absl::string_view message, const char* file, int line)
      : message(message), file(file), line(line) {}

  const std::string message;
  const char* const file;
  const int line;
  // The number of Panics that point here. Taken relaxed, since the taker holds one already; given
  // back with acquire-release, so that the last one deletes what all others have finished reading.
  mutable std::atomic<uint32_t> references{1};
};

Panic::Panic(absl::string_view message, const char* file, int line)
    : record_(new Record(message, file, line)) {}

absl::string_view Panic::message() const {
  QUIESCE_CHECK(record_ != nullptr, "Panic: used after it was moved from");
  return record_->message;
}

const char* Panic::file() const {
  QUIESCE_CHECK(record_ != nullptr, "Panic: used after it was moved from");
  return record_->file;
}

int Panic::line() const {
  QUIESCE_CHECK(record_ != nullptr, "Panic: used after it was moved from");
  return record_->line;
}

std::string Panic::ToString() const {
  if (record_ == nullptr) return "(moved from)";
  return absl::StrCat(record_->message, " at ", record_->file, ":", record_->line);
}

void Panic::Ref(const Record* record) {
  if (record != nullptr) record->references.fetch_add(1, std::memory_order_relaxed);
}

void Panic::Unref(const Record* record) {
  if (record->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete record;
}

}  // namespace v0
}  // namespace quiesce

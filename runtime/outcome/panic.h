// panic.h: what went wrong in a way that is a bug.
//
// Why:        a bug in one task ends that task and its region, not the process, and keeps its place
//             in the code. The layout does not depend on whether exceptions are on.
// Example:    co_return Panic("ledger: balance below zero");
// Invariants: (1) one pointer to an immutable, counted record: cheap to move and to copy;
//             (2) a moved-from Panic may only be destroyed or assigned to.
// Threads:    copies that share a record may be used and destroyed on different threads.
#ifndef QUIESCE_RUNTIME_OUTCOME_PANIC_H_
#define QUIESCE_RUNTIME_OUTCOME_PANIC_H_

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

class Panic {
 public:
  // `file` and `line` default to the caller's and must outlive every copy (a literal does).
  explicit Panic(absl::string_view message, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE());

  Panic(const Panic& other) : record_(other.record_) { Ref(record_); }
  Panic(Panic&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}
  Panic& operator=(Panic other) noexcept {
    std::swap(record_, other.record_);
    return *this;
  }
  ~Panic() {
    if (record_ != nullptr) Unref(record_);
  }

  absl::string_view message() const;
  const char* file() const;
  int line() const;

  // "MESSAGE at FILE:LINE".
  std::string ToString() const;

 private:
  struct Record;
  static void Ref(const Record* record);
  static void Unref(const Record* record);

  const Record* record_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_OUTCOME_PANIC_H_

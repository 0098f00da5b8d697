#include "quiesce/runtime/outcome/cancel_reason.h"

#include <atomic>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/slab.h"

namespace quiesce {
inline namespace v0 {
namespace {

// How many reasons of a chain ToString shows before it goes on to the root.
constexpr int kShownBeforeRoot = 4;

}  // namespace

struct CancelReason::Record {
  Record(CancelKind kind, CancelOrigin&& origin, Instant time, absl::string_view message,
         CancelReason&& the_cause)
      : origin(std::move(origin)),
        time(time),
        message(message),
        cause(std::move(the_cause)),
        root(cause.record_ == nullptr ? nullptr : &cause.root()),
        depth(cause.record_ == nullptr ? 0 : cause.record_->depth + 1),
        kind(kind) {
    QUIESCE_CHECK(this->origin.name != nullptr, "CancelReason: the origin's name must not be null");
  }

  // A request that finds few to cancel costs little else.
  static void* operator new(size_t size) { return SlabAllocate(size); }
  static void operator delete(void* memory, size_t size) { SlabFree(memory, size); }

  const CancelOrigin origin;
  const Instant time;
  const std::string message;
  mutable CancelReason cause;  // without a record at the end of the chain; moved from in Unref only
  // Lives in a record further down, which `cause` keeps alive; null at the end of the chain.
  const CancelReason* const root;
  const uint32_t depth;  // the number of causes below this one
  // The number of CancelReasons that point here. Taken relaxed, since the taker holds one already;
  // given back with acquire-release, so that the last one deletes what all others have finished
  // reading.
  mutable std::atomic<uint32_t> references{1};
  const CancelKind kind;
};

CancelReason::CancelReason(CancelKind kind, CancelOrigin origin, Instant time,
                           absl::string_view message)
    : record_(new Record(kind, std::move(origin), time, message, CancelReason(nullptr))) {}

CancelReason CancelReason::Caused(CancelKind kind, CancelOrigin origin, Instant time,
                                  absl::string_view message, CancelReason cause) {
  QUIESCE_CHECK(cause.record_ != nullptr, "CancelReason::Caused: the cause was moved from");
  return CancelReason(new Record(kind, std::move(origin), time, message, std::move(cause)));
}

CancelKind CancelReason::kind() const {
  QUIESCE_CHECK(record_ != nullptr, "CancelReason: used after it was moved from");
  return record_->kind;
}

const CancelOrigin& CancelReason::origin() const {
  QUIESCE_CHECK(record_ != nullptr, "CancelReason: used after it was moved from");
  return record_->origin;
}

Instant CancelReason::time() const {
  QUIESCE_CHECK(record_ != nullptr, "CancelReason: used after it was moved from");
  return record_->time;
}

absl::string_view CancelReason::message() const {
  QUIESCE_CHECK(record_ != nullptr, "CancelReason: used after it was moved from");
  return record_->message;
}

const CancelReason* CancelReason::cause() const {
  QUIESCE_CHECK(record_ != nullptr, "CancelReason: used after it was moved from");
  return record_->cause.record_ == nullptr ? nullptr : &record_->cause;
}

const CancelReason& CancelReason::root() const {
  QUIESCE_CHECK(record_ != nullptr, "CancelReason: used after it was moved from");
  return record_->root == nullptr ? *this : *record_->root;
}

CancelReason CancelReason::Clone() const {
  return cause() == nullptr ? CancelReason(kind(), origin(), time(), message())
                            : Caused(kind(), origin(), time(), message(), *cause());
}

std::string CancelReason::ToString() const {
  if (record_ == nullptr) return "(moved from)";
  std::string text;
  const auto append = [&text](const Record& record) {
    absl::StrAppend(&text, CancelKindName(record.kind));
    if (!record.message.empty()) absl::StrAppend(&text, ": ", record.message);
    absl::StrAppend(&text, record.origin.task == 0 ? " (region '" : " (task '", record.origin.name,
                    "')");
  };
  const Record* record = record_;
  for (int shown = 0; record != nullptr; ++shown, record = record->cause.record_) {
    if (shown > 0) text += " <- ";
    // At least two must be left out, or the line gets no shorter.
    if (shown == kShownBeforeRoot && record->depth >= 2) {
      absl::StrAppend(&text, "(", record->depth, " more) <- ");
      record = root().record_;
    }
    append(*record);
  }
  return text;
}

void CancelReason::Ref(const Record* record) {
  if (record != nullptr) record->references.fetch_add(1, std::memory_order_relaxed);
}

void CancelReason::Unref(const Record* record) {
  // A loop, since a chain is as long as the regions are deep: the cause is taken out of a record
  // before the record goes, so no destructor has another one to run.
  // Who holds the only reference needs no read-modify-write.
  while (record != nullptr && (record->references.load(std::memory_order_acquire) == 1 ||
                               record->references.fetch_sub(1, std::memory_order_acq_rel) == 1)) {
    const Record* cause = std::exchange(record->cause.record_, nullptr);
    delete record;
    record = cause;
  }
}

const char* CancelKindName(CancelKind kind) {
  switch (kind) {
    case CancelKind::kUser:
      return "user";
    case CancelKind::kDeadline:
      return "deadline";
    case CancelKind::kQuota:
      return "quota";
    case CancelKind::kFailFast:
      return "fail-fast";
    case CancelKind::kRaceLost:
      return "race-lost";
    case CancelKind::kParent:
      return "parent";
    case CancelKind::kShutdown:
      return "shutdown";
    case CancelKind::kDrainBudgetSpent:
      return "drain-budget-spent";
  }
  return "unknown";
}

int CancelSeverity(CancelKind kind) {
  switch (kind) {
    case CancelKind::kUser:
      return 1;
    case CancelKind::kDeadline:
    case CancelKind::kQuota:
      return 2;
    case CancelKind::kFailFast:
    case CancelKind::kRaceLost:
      return 3;
    case CancelKind::kParent:
      return 4;
    case CancelKind::kShutdown:
      return 5;
    case CancelKind::kDrainBudgetSpent:
      return 6;
  }
  Fatal("CancelSeverity(%d): no such kind of cancel", static_cast<int>(kind));
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/outcome/outcome.h"

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce {
inline namespace v0 {

const char* SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kOk:
      return "Ok";
    case Severity::kError:
      return "Error";
    case Severity::kCancelled:
      return "Cancelled";
    case Severity::kPanicked:
      return "Panicked";
  }
  return "unknown";
}

namespace outcome_internal {

void CopyFailure(Failure& to, const Failure& from, Severity severity) {
  switch (severity) {
    case Severity::kOk:
      break;
    case Severity::kError:
      new (&to.error) absl::Status(from.error);
      return;
    case Severity::kCancelled:
      new (&to.cancel_reason) CancelReason(from.cancel_reason);
      return;
    case Severity::kPanicked:
      new (&to.panic) Panic(from.panic);
      return;
  }
  WrongSeverity("a copy of a failure", nullptr, Severity::kOk);
}

void MoveOtherFailure(Failure& to, Failure& from, Severity severity) noexcept {
  switch (severity) {
    case Severity::kOk:
    case Severity::kCancelled:
      break;
    case Severity::kError:
      new (&to.error) absl::Status(std::move(from.error));
      return;
    case Severity::kPanicked:
      new (&to.panic) Panic(std::move(from.panic));
      return;
  }
  WrongSeverity("a move of a failure", nullptr, Severity::kOk);
}

void DestroyOtherFailure(Failure& failure, Severity severity) noexcept {
  switch (severity) {
    case Severity::kOk:
    case Severity::kCancelled:
      break;
    case Severity::kError:
      failure.error.~Status();
      return;
    case Severity::kPanicked:
      failure.panic.~Panic();
      return;
  }
  WrongSeverity("the end of a failure", nullptr, Severity::kOk);
}

absl::Status FailureToStatus(const Failure& failure, Severity severity) {
  switch (severity) {
    case Severity::kOk:
      break;
    case Severity::kError:
      return failure.error;
    case Severity::kCancelled: {
      const bool by_deadline = failure.cancel_reason.root().kind() == CancelKind::kDeadline;
      return absl::Status(
          by_deadline ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kCancelled,
          absl::StrCat("cancelled: ", failure.cancel_reason.ToString()));
    }
    case Severity::kPanicked:
      return absl::InternalError(absl::StrCat("panic: ", failure.panic.ToString()));
  }
  WrongSeverity("ToStatus()", nullptr, Severity::kOk);
}

std::string FailureToString(const Failure& failure, Severity severity) {
  switch (severity) {
    case Severity::kOk:
      break;
    case Severity::kError:
      return absl::StrCat("Error(", failure.error.ToString(), ")");
    case Severity::kCancelled:
      return absl::StrCat("Cancelled(", failure.cancel_reason.ToString(), ")");
    case Severity::kPanicked:
      return absl::StrCat("Panicked(", failure.panic.ToString(), ")");
  }
  WrongSeverity("ToString()", nullptr, Severity::kOk);
}

void WrongSeverity(const char* wanted, const Failure* failure, Severity severity) {
  const std::string found = severity == Severity::kOk || failure == nullptr
                                ? SeverityName(severity)
                                : FailureToString(*failure, severity);
  Fatal(
      "Outcome: %s, but the outcome is %s. Look at severity() first, or end with "
      "co_await OrReturn(outcome).",
      wanted, found.c_str());
}

void OkStatusAsError() {
  Fatal(
      "Outcome: made of an absl::Status that is OK, which is not an Error. Return a value, or "
      "Ok(); "
      "for a status that may be either use ToOutcome(status).");
}

}  // namespace outcome_internal

}  // namespace v0
}  // namespace quiesce

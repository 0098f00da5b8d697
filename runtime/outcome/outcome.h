// outcome.h: how something that may be cancelled ended: Ok < Error < Cancelled < Panicked.
//
// Why:        an absl::Status cannot tell "it failed" from "it was told to stop" from "it is
//             broken", and each of the three asks for another reaction.
// Example:    Outcome<int> Half(int n) {
//               if (n % 2 != 0) return absl::InvalidArgumentError("odd");
//               return n / 2;
//             }
// Invariants: (1) exactly one of value, error, cancel reason and panic is held, and severity() says
//             which; an Error's status is never OK;
//             (2) the size is that of T or of a pointer, plus the tag; the same in every build;
//             (3) Join is associative and idempotent, and commutative but for which payload stays (G11);
//             (4) a moved-from Outcome keeps its severity; what it held has been moved from.
// Threads:    as a value: concurrent const calls are safe.
//
// Reading what is not held (the value of an Error, say) is a bug: fatal, with the outcome printed.
#ifndef QUIESCE_RUNTIME_OUTCOME_OUTCOME_H_
#define QUIESCE_RUNTIME_OUTCOME_OUTCOME_H_

#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/outcome/cancel_reason.h"
#include "quiesce/runtime/outcome/panic.h"

namespace quiesce {
inline namespace v0 {

// The order is the lattice (G11).
enum class Severity : uint8_t { kOk, kError, kCancelled, kPanicked };

// "Ok", "Error", "Cancelled", "Panicked".
const char* SeverityName(Severity severity);

// What Ok() returns, and an Outcome<void> can be made of.
struct OkTag {};
inline OkTag Ok() { return OkTag(); }

template <class T>
class Outcome;

template <class T>
inline constexpr bool kIsOutcome = false;
template <class T>
inline constexpr bool kIsOutcome<Outcome<T>> = true;

namespace outcome_internal {

// Which member lives is told by the severity kept beside it.
union Failure {
  Failure() {}
  ~Failure() {}
  absl::Status error;
  CancelReason cancel_reason;
  Panic panic;
};

// Not templates, and out of line: failures are the rare path of every Outcome<T>. But for a cancel on its way up, which
// is a pointer: a region that is cancelled moves as many as it has tasks, through every frame of theirs.
void CopyFailure(Failure& to, const Failure& from, Severity severity);
void MoveOtherFailure(Failure& to, Failure& from, Severity severity) noexcept;
void DestroyOtherFailure(Failure& failure, Severity severity) noexcept;
[[gnu::always_inline]] inline void MoveFailure(Failure& to, Failure& from,
                                               Severity severity) noexcept {
  if (severity != Severity::kCancelled) return MoveOtherFailure(to, from, severity);
  new (&to.cancel_reason) CancelReason(std::move(from.cancel_reason));
}
[[gnu::always_inline]] inline void DestroyFailure(Failure& failure, Severity severity) noexcept {
  if (severity != Severity::kCancelled) return DestroyOtherFailure(failure, severity);
  failure.cancel_reason.~CancelReason();
}
absl::Status FailureToStatus(const Failure& failure, Severity severity);
std::string FailureToString(const Failure& failure, Severity severity);
// `wanted` is the operation that found something else. `failure` is not read if `severity` is kOk.
[[noreturn, gnu::cold]] void WrongSeverity(const char* wanted, const Failure* failure,
                                           Severity severity);
[[noreturn, gnu::cold]] void OkStatusAsError();

struct Nothing {};  // what an Outcome<void> holds

// A value for an Outcome<T>: anything that converts to T and is not a failure. Only a bool makes a
// bool (a pointer would by accident), and only an Outcome<U> makes an Outcome<Outcome<U>>: any
// failure is the outer one's.
template <class T, class U, class D = std::remove_cvref_t<U>>
concept ValueFor = !std::is_same_v<D, Outcome<T>> && !std::is_same_v<D, absl::Status> &&
                   !std::is_same_v<D, CancelReason> && !std::is_same_v<D, Panic> &&
                   !std::is_same_v<D, OkTag> && (!kIsOutcome<T> || std::is_same_v<D, T>) &&
                   (!std::is_same_v<T, bool> || std::is_same_v<D, bool> || std::is_class_v<D>) &&
                   std::is_convertible_v<U, T>;

// Everything that is the same for Outcome<T> and Outcome<void>.
template <class V>
class Base {
 public:
  Base(absl::Status error) : severity_(Severity::kError) {
    if (error.ok()) [[unlikely]]
      OkStatusAsError();
    new (&failure_.error) absl::Status(std::move(error));
  }
  Base(CancelReason reason) : severity_(Severity::kCancelled) {
    new (&failure_.cancel_reason) CancelReason(std::move(reason));
  }
  Base(Panic panic) : severity_(Severity::kPanicked) {
    new (&failure_.panic) Panic(std::move(panic));
  }

  Base(const Base& other)
    requires(std::is_copy_constructible_v<V>)
      : severity_(other.severity_) {
    if (other.ok()) [[likely]] {
      new (std::addressof(value_)) V(other.value_);
    } else {
      CopyFailure(failure_, other.failure_, severity_);
    }
  }
  Base(Base&& other) noexcept(std::is_nothrow_move_constructible_v<V>)
      : severity_(other.severity_) {
    Take(std::move(other));
  }
  Base& operator=(const Base& other)
    requires(std::is_copy_constructible_v<V>)
  {
    if (this != &other) *this = Base(other);
    return *this;
  }
  // A V whose move constructor throws ends the process here: there is no outcome to go back to.
  Base& operator=(Base&& other) noexcept {
    if (this == &other) return *this;
    Destroy();
    severity_ = other.severity_;
    Take(std::move(other));
    return *this;
  }
  ~Base() { Destroy(); }

  [[nodiscard]] Severity severity() const { return severity_; }
  [[nodiscard]] bool ok() const { return severity_ == Severity::kOk; }
  [[nodiscard]] bool is_error() const { return severity_ == Severity::kError; }
  [[nodiscard]] bool is_cancelled() const { return severity_ == Severity::kCancelled; }
  [[nodiscard]] bool is_panicked() const { return severity_ == Severity::kPanicked; }

  const absl::Status& error() const {
    Require(Severity::kError, "error()");
    return failure_.error;
  }
  const CancelReason& cancel_reason() const {
    Require(Severity::kCancelled, "cancel_reason()");
    return failure_.cancel_reason;
  }
  const Panic& panic() const {
    Require(Severity::kPanicked, "panic()");
    return failure_.panic;
  }

  // For code that knows only statuses. Cancelled: kDeadlineExceeded if the root of the reason is
  // a deadline, else kCancelled. Panicked: kInternal.
  absl::Status ToStatus() const {
    return ok() ? absl::OkStatus() : FailureToStatus(failure_, severity_);
  }
  // "Ok", "Error(NOT_FOUND: no such user)", "Cancelled(…)", "Panicked(…)".
  std::string ToString() const {
    return ok() ? SeverityName(Severity::kOk) : FailureToString(failure_, severity_);
  }

 protected:
  struct InPlace {};
  template <class... Args>
  explicit Base(InPlace, Args&&... args)
      : value_(std::forward<Args>(args)...), severity_(Severity::kOk) {}
  struct FailureOf {};
  template <class W>
  Base(FailureOf, Base<W>&& other) : severity_(other.severity_) {
    if (other.ok()) [[unlikely]]
      WrongSeverity("FromFailure()", nullptr, Severity::kOk);
    MoveFailure(failure_, other.failure_, severity_);
  }
  template <class W>
  Base(FailureOf, const Base<W>& other) : severity_(other.severity_) {
    if (other.ok()) [[unlikely]]
      WrongSeverity("FromFailure()", nullptr, Severity::kOk);
    CopyFailure(failure_, other.failure_, severity_);
  }

  void Require(Severity wanted, const char* operation) const {
    if (severity_ != wanted) [[unlikely]]
      WrongSeverity(operation, &failure_, severity_);
  }

  union {
    V value_;
    Failure failure_;
  };
  Severity severity_;

 private:
  template <class W>
  friend class Base;

  // Builds this one's content, of the same severity as `other`'s, out of `other`'s.
  void Take(Base&& other) {
    if (other.ok()) [[likely]] {
      new (std::addressof(value_)) V(std::move(other.value_));
    } else {
      MoveFailure(failure_, other.failure_, severity_);
    }
  }
  void Destroy() {
    if (ok()) [[likely]] {
      value_.~V();
    } else {
      DestroyFailure(failure_, severity_);
    }
  }
};

}  // namespace outcome_internal

template <class T>
class [[nodiscard]] Outcome : public outcome_internal::Base<T> {
  static_assert(
      std::is_object_v<T> && !std::is_array_v<T> && !std::is_const_v<T>,
      "Outcome<T>: T must be a plain object type, not a reference, array, const or function "
      "type; hold a pointer instead");
  static_assert(!std::is_same_v<T, absl::Status>,
                "Outcome<absl::Status>: use Outcome<void>, whose Error holds the status");
  static_assert(!std::is_same_v<T, CancelReason> && !std::is_same_v<T, Panic> &&
                    !std::is_same_v<T, OkTag>,
                "Outcome<T>: T must not be what an Outcome uses to say that there is no T");
  using Base = outcome_internal::Base<T>;

 public:
  using value_type = T;

  template <class U = T>
    requires outcome_internal::ValueFor<T, U>
  Outcome(U&& value) : Base(typename Base::InPlace(), std::forward<U>(value)) {}
  // Fatal if `error` is OK.
  Outcome(absl::Status error) : Base(std::move(error)) {}
  Outcome(CancelReason reason) : Base(std::move(reason)) {}
  Outcome(Panic panic) : Base(std::move(panic)) {}

  // The same failure as an outcome of another type. Fatal if `other` is Ok.
  template <class U>
  static Outcome FromFailure(Outcome<U>&& other) {
    return Outcome(typename Base::FailureOf(), std::move(other));
  }
  template <class U>
  static Outcome FromFailure(const Outcome<U>& other) {
    return Outcome(typename Base::FailureOf(), other);
  }

  // Fatal if not ok(), as are * and ->.
  T& value() & {
    this->Require(Severity::kOk, "value()");
    return this->value_;
  }
  const T& value() const& {
    this->Require(Severity::kOk, "value()");
    return this->value_;
  }
  T&& value() && {
    this->Require(Severity::kOk, "value()");
    return std::move(this->value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return std::addressof(value()); }
  const T* operator->() const { return std::addressof(value()); }

 private:
  template <class W>
  Outcome(typename Base::FailureOf tag, W&& other) : Base(tag, std::forward<W>(other)) {}
};

template <>
class [[nodiscard]] Outcome<void> : public outcome_internal::Base<outcome_internal::Nothing> {
 public:
  using value_type = void;

  Outcome(OkTag) : Base(InPlace()) {}
  // Fatal if `error` is OK: ToOutcome takes a status that may be either.
  Outcome(absl::Status error) : Base(std::move(error)) {}
  Outcome(CancelReason reason) : Base(std::move(reason)) {}
  Outcome(Panic panic) : Base(std::move(panic)) {}

  template <class U>
  static Outcome FromFailure(Outcome<U>&& other) {
    return Outcome(FailureOf(), std::move(other));
  }
  template <class U>
  static Outcome FromFailure(const Outcome<U>& other) {
    return Outcome(FailureOf(), other);
  }

  // Fatal if not ok().
  void value() const { Require(Severity::kOk, "value()"); }
  void operator*() const { value(); }

 private:
  template <class W>
  Outcome(FailureOf tag, W&& other) : Base(tag, std::forward<W>(other)) {}
};

inline Outcome<void> ToOutcome(absl::Status status) {
  if (status.ok()) return Ok();
  return status;
}
template <class T>
Outcome<T> ToOutcome(absl::StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  return std::move(result).status();
}

// `accumulated` becomes the more severe of the two, and stays as it is on a tie (G11, R1).
template <class T, class U>
void JoinInto(Outcome<T>& accumulated, Outcome<U> more) {
  if (more.severity() > accumulated.severity()) {
    accumulated = Outcome<T>::FromFailure(std::move(more));
  }
}
// The more severe of the two, `left` on a tie. The value, if any, is left's.
template <class T, class U>
Outcome<T> Join(Outcome<T> left, Outcome<U> right) {
  JoinInto(left, std::move(right));
  return left;
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_OUTCOME_OUTCOME_H_

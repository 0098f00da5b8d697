#include "quiesce/runtime/outcome/outcome.h"

#include <array>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quiesce {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

CancelReason Reason(CancelKind kind = CancelKind::kUser) {
  return CancelReason(kind, {.region = 1, .name = "r"}, Instant(), "stop");
}
Panic Bug() { return Panic("bug", "file.cc", 3); }

// Layout: the value or a pointer, and the tag.
static_assert(sizeof(Outcome<void>) == 16);
static_assert(sizeof(Outcome<char>) == 16);
static_assert(sizeof(Outcome<int64_t>) == 16);
static_assert(sizeof(Outcome<std::string>) == sizeof(std::string) + 8);
static_assert(sizeof(Outcome<std::array<char, 21>>) == 32);
static_assert(std::is_nothrow_move_constructible_v<Outcome<std::string>>);
static_assert(std::is_nothrow_move_assignable_v<Outcome<std::string>>);

// Move-only values.
using MoveOnly = std::unique_ptr<int>;
static_assert(!std::is_copy_constructible_v<Outcome<MoveOnly>>);
static_assert(!std::is_copy_assignable_v<Outcome<MoveOnly>>);
static_assert(std::is_move_constructible_v<Outcome<MoveOnly>>);
static_assert(std::is_copy_constructible_v<Outcome<int>>);
static_assert(std::is_copy_constructible_v<Outcome<void>>);

// What converts, and what does not.
struct Animal {
  virtual ~Animal() = default;
};
struct Cat : Animal {};
struct Ticket {
  explicit Ticket(int) {}
};
static_assert(std::is_convertible_v<const char*, Outcome<std::string>>);
static_assert(std::is_convertible_v<std::unique_ptr<Cat>, Outcome<std::unique_ptr<Animal>>>);
static_assert(!std::is_constructible_v<Outcome<Ticket>, int>, "explicit stays explicit");
static_assert(!std::is_constructible_v<Outcome<int>, const char*>);
static_assert(!std::is_constructible_v<Outcome<int>>, "no outcome without a decision");
static_assert(!std::is_constructible_v<Outcome<bool>, const char*>, "a pointer is no truth value");
static_assert(!std::is_constructible_v<Outcome<bool>, int*>);
static_assert(!std::is_constructible_v<Outcome<bool>, std::nullptr_t>);
static_assert(!std::is_constructible_v<Outcome<bool>, Outcome<int>>);
static_assert(std::is_convertible_v<bool, Outcome<bool>>);
static_assert(!std::is_constructible_v<Outcome<int>, OkTag>, "an int is owed");
static_assert(!std::is_constructible_v<Outcome<void>, int>);
static_assert(!std::is_constructible_v<Outcome<int>, Outcome<std::string>>, "FromFailure says so");
static_assert(!std::is_constructible_v<Outcome<int>, absl::StatusOr<int>>, "ToOutcome says so");
static_assert(!std::is_convertible_v<Outcome<bool>, bool>);
static_assert(std::is_convertible_v<Outcome<int>, Outcome<Outcome<int>>>);
static_assert(!std::is_constructible_v<Outcome<Outcome<int>>, int>, "which of the two is Ok?");
static_assert(!std::is_constructible_v<Outcome<Outcome<void>>, OkTag>, "which of the two is Ok?");
static_assert(std::is_convertible_v<Outcome<void>, Outcome<Outcome<void>>>);

Outcome<int> Half(int n) {
  if (n % 2 != 0) return absl::InvalidArgumentError("odd");
  return n / 2;
}

TEST(OutcomeTest, TheExampleInTheHeader) {
  EXPECT_EQ(Half(4).value(), 2);
  EXPECT_EQ(Half(3).error(), absl::InvalidArgumentError("odd"));
}

TEST(OutcomeTest, HoldsExactlyOneOfFour) {
  const Outcome<int> ok = 5;
  EXPECT_EQ(ok.severity(), Severity::kOk);
  EXPECT_TRUE(ok.ok());
  EXPECT_FALSE(ok.is_error() || ok.is_cancelled() || ok.is_panicked());
  EXPECT_EQ(*ok, 5);

  const Outcome<int> error = absl::NotFoundError("no such user");
  EXPECT_EQ(error.severity(), Severity::kError);
  EXPECT_TRUE(error.is_error());
  EXPECT_FALSE(error.ok() || error.is_cancelled() || error.is_panicked());
  EXPECT_EQ(error.error(), absl::NotFoundError("no such user"));

  const Outcome<int> cancelled = Reason();
  EXPECT_EQ(cancelled.severity(), Severity::kCancelled);
  EXPECT_TRUE(cancelled.is_cancelled());
  EXPECT_FALSE(cancelled.ok() || cancelled.is_error() || cancelled.is_panicked());
  EXPECT_EQ(cancelled.cancel_reason().message(), "stop");

  const Outcome<int> panicked = Bug();
  EXPECT_EQ(panicked.severity(), Severity::kPanicked);
  EXPECT_TRUE(panicked.is_panicked());
  EXPECT_FALSE(panicked.ok() || panicked.is_error() || panicked.is_cancelled());
  EXPECT_EQ(panicked.panic().message(), "bug");
}

TEST(OutcomeTest, VoidIsMadeOfOk) {
  const Outcome<void> ok = Ok();
  EXPECT_TRUE(ok.ok());
  ok.value();
  *ok;
  EXPECT_TRUE(Outcome<void>(absl::AbortedError("")).is_error());
  EXPECT_TRUE(Outcome<void>(Reason()).is_cancelled());
  EXPECT_TRUE(Outcome<void>(Bug()).is_panicked());
}

TEST(OutcomeTest, SeverityIsOrdered) {
  EXPECT_LT(Severity::kOk, Severity::kError);
  EXPECT_LT(Severity::kError, Severity::kCancelled);
  EXPECT_LT(Severity::kCancelled, Severity::kPanicked);
}

TEST(OutcomeTest, ValuesOfManyTypes) {
  EXPECT_FALSE(*Outcome<bool>(false));
  EXPECT_EQ(*Outcome<std::string>("text"), "text");
  EXPECT_EQ(*Outcome<std::vector<int>>({1, 2}), (std::vector<int>{1, 2}));
  EXPECT_EQ(**Outcome<MoveOnly>(std::make_unique<int>(5)), 5);
  EXPECT_EQ(*Outcome<int*>(nullptr), nullptr);
  const Outcome<const char*> text = "x";
  EXPECT_STREQ(*text, "x");
}

TEST(OutcomeTest, AMoveOnlyValueIsMovedOutOfAnRvalue) {
  Outcome<MoveOnly> outcome = std::make_unique<int>(5);
  *outcome.value() = 6;
  EXPECT_EQ(*outcome->get(), 6);
  MoveOnly out = std::move(outcome).value();
  EXPECT_EQ(*out, 6);
  MoveOnly again = *Outcome<MoveOnly>(std::move(out));
  EXPECT_EQ(*again, 6);
}

TEST(OutcomeTest, ArrowReachesMembers) {
  Outcome<std::string> text = "abc";
  text->push_back('d');
  EXPECT_EQ(std::as_const(text)->size(), 4u);
}

TEST(OutcomeTest, CopiesAndMovesKeepTheContent) {
  const std::string long_text(100, 'x');
  const std::vector<Outcome<std::string>> all = {long_text, absl::NotFoundError(long_text),
                                                 Reason(), Bug()};
  for (const Outcome<std::string>& from : all) {
    const std::string expected = from.ToString();
    Outcome<std::string> copy = from;
    EXPECT_EQ(copy.ToString(), expected);
    Outcome<std::string> moved = std::move(copy);
    EXPECT_EQ(moved.ToString(), expected);
    EXPECT_EQ(copy.severity(), from.severity()) << "a moved-from outcome keeps its severity";
    for (Outcome<std::string> to : all) {
      to = from;
      EXPECT_EQ(to.ToString(), expected);
      EXPECT_EQ(to.severity(), from.severity());
      if (to.ok()) {
        EXPECT_EQ(*to, long_text);
      }
    }
    for (Outcome<std::string> to : all) {
      to = std::move(moved);
      EXPECT_EQ(to.ToString(), expected);
      moved = std::move(to);  // a moved-from outcome may be assigned to
    }
    copy = moved;
    Outcome<std::string>& same = copy;
    copy = same;
    EXPECT_EQ(copy.ToString(), expected);
    copy = std::move(same);
    EXPECT_EQ(copy.ToString(), expected);
  }
}

// Counts its lives.
struct Counted {
  explicit Counted(int* live) : live(live) { ++*live; }
  Counted(const Counted& other) : live(other.live) { ++*live; }
  Counted(Counted&& other) noexcept : live(other.live) { ++*live; }
  Counted& operator=(const Counted&) = delete;  // an Outcome needs no assignment of its T
  ~Counted() { --*live; }
  int* live;
};

TEST(OutcomeTest, DestroysItsValueExactlyOnce) {
  int live = 0;
  {
    Outcome<Counted> outcome = Counted(&live);
    EXPECT_EQ(live, 1);
    Outcome<Counted> copy = outcome;
    EXPECT_EQ(live, 2);
    copy = Reason();
    EXPECT_EQ(live, 1);
    copy = outcome;
    EXPECT_EQ(live, 2);
    copy = std::move(outcome);
    EXPECT_EQ(live, 2);
    outcome = absl::InternalError("");
    EXPECT_EQ(live, 1);
  }
  EXPECT_EQ(live, 0);
}

TEST(OutcomeTest, AnOutcomeMayBeTheValue) {
  const Outcome<Outcome<int>> both_ok = Outcome<int>(5);
  EXPECT_EQ(**both_ok, 5);
  const Outcome<Outcome<int>> task_failed = Outcome<int>(absl::NotFoundError("task"));
  ASSERT_TRUE(task_failed.ok()) << "the joiner did learn how the task ended";
  EXPECT_EQ(task_failed->error(), absl::NotFoundError("task"));
  const Outcome<Outcome<int>> joiner_cancelled = Reason();
  EXPECT_TRUE(joiner_cancelled.is_cancelled()) << "a failure is the outer one's";
  const Outcome<Outcome<int>> joiner_failed = absl::NotFoundError("joiner");
  EXPECT_TRUE(joiner_failed.is_error());

  Outcome<int> inner = 7;
  const Outcome<Outcome<int>> from_lvalue = inner;
  EXPECT_EQ(**from_lvalue, 7);
  const Outcome<Outcome<void>> nothing = Outcome<void>(Ok());
  EXPECT_TRUE(nothing.ok() && nothing->ok());
  const Outcome<Outcome<int>> copy = task_failed;
  EXPECT_TRUE(copy->is_error()) << "a copy is no value";
  Outcome<Outcome<MoveOnly>> move_only = Outcome<MoveOnly>(std::make_unique<int>(5));
  EXPECT_EQ(**std::move(move_only).value(), 5);
}

TEST(OutcomeTest, FromFailureKeepsTheFailure) {
  EXPECT_EQ(Outcome<int>::FromFailure(Outcome<std::string>(absl::NotFoundError("x"))).error(),
            absl::NotFoundError("x"));
  EXPECT_EQ(Outcome<void>::FromFailure(Outcome<MoveOnly>(Reason())).cancel_reason().message(),
            "stop");
  EXPECT_EQ(Outcome<MoveOnly>::FromFailure(Outcome<void>(Bug())).panic().line(), 3);
  const Outcome<MoveOnly> kept = Reason();
  EXPECT_TRUE(Outcome<int>::FromFailure(kept).is_cancelled());
  EXPECT_EQ(kept.cancel_reason().message(), "stop");
}

TEST(OutcomeTest, ToStatusForCodeThatKnowsOnlyStatuses) {
  EXPECT_EQ(Outcome<int>(1).ToStatus(), absl::OkStatus());
  EXPECT_EQ(Outcome<int>(absl::NotFoundError("x")).ToStatus(), absl::NotFoundError("x"));
  EXPECT_EQ(Outcome<int>(Reason()).ToStatus(),
            absl::CancelledError("cancelled: user: stop (region 'r')"));
  EXPECT_EQ(Outcome<int>(Bug()).ToStatus(), absl::InternalError("panic: bug at file.cc:3"));
  for (int kind = 1; kind <= static_cast<int>(CancelKind::kDrainBudgetSpent); ++kind) {
    const auto cancel_kind = static_cast<CancelKind>(kind);
    EXPECT_EQ(Outcome<void>(Reason(cancel_kind)).ToStatus().code(),
              cancel_kind == CancelKind::kDeadline ? absl::StatusCode::kDeadlineExceeded
                                                   : absl::StatusCode::kCancelled);
  }
}

TEST(OutcomeTest, ToStatusLooksAtTheRootOfTheReason) {
  const auto below = [](CancelKind root) {
    return Outcome<void>(CancelReason::Caused(CancelKind::kParent, {}, Instant(), "", Reason(root)))
        .ToStatus()
        .code();
  };
  EXPECT_EQ(below(CancelKind::kDeadline), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(below(CancelKind::kQuota), absl::StatusCode::kCancelled);
}

TEST(OutcomeTest, ToStringSaysWhatIsHeld) {
  EXPECT_EQ(Outcome<int>(1).ToString(), "Ok");
  EXPECT_EQ(Outcome<int>(absl::NotFoundError("x")).ToString(), "Error(NOT_FOUND: x)");
  EXPECT_EQ(Outcome<int>(Reason()).ToString(), "Cancelled(user: stop (region 'r'))");
  EXPECT_EQ(Outcome<int>(Bug()).ToString(), "Panicked(bug at file.cc:3)");
}

TEST(OutcomeTest, ToOutcomeTakesWhatMayBeOk) {
  EXPECT_EQ(*ToOutcome(absl::StatusOr<int>(5)), 5);
  EXPECT_EQ(ToOutcome(absl::StatusOr<int>(absl::NotFoundError("x"))).error(),
            absl::NotFoundError("x"));
  EXPECT_EQ(**ToOutcome(absl::StatusOr<MoveOnly>(std::make_unique<int>(5))), 5);
  EXPECT_TRUE(ToOutcome(absl::OkStatus()).ok());
  EXPECT_TRUE(ToOutcome(absl::NotFoundError("x")).is_error());
}

TEST(OutcomeTest, JoinKeepsTheValueOfTheLeft) {
  EXPECT_EQ(*Join(Outcome<int>(1), Outcome<int>(2)), 1);
  EXPECT_EQ(**Join(Outcome<MoveOnly>(std::make_unique<int>(5)), Outcome<void>(Ok())), 5);
  EXPECT_TRUE(Join(Outcome<int>(1), Outcome<void>(Reason())).is_cancelled());
  Outcome<int> accumulated = 1;
  JoinInto(accumulated, Outcome<void>(absl::NotFoundError("first")));
  JoinInto(accumulated, Outcome<std::string>(absl::NotFoundError("second")));
  EXPECT_EQ(accumulated.error().message(), "first");
}

TEST(OutcomeDeathTest, ReadingWhatIsNotHeldPrintsTheOutcome) {
  Outcome<int> error = absl::NotFoundError("no such user");
  EXPECT_DEATH(error.value(), "value.., but the outcome is Error.NOT_FOUND: no such user.");
  EXPECT_DEATH(static_cast<void>(*std::move(error)), "the outcome is Error");
  EXPECT_DEATH(Outcome<void>(Reason()).value(), "the outcome is Cancelled.user: stop");
  EXPECT_DEATH(Outcome<int>(1).error(), "error.., but the outcome is Ok");
  EXPECT_DEATH(Outcome<int>(1).panic(), "panic.., but the outcome is Ok");
  EXPECT_DEATH(Outcome<int>(Bug()).cancel_reason(), "cancel_reason.., but the outcome is Panicked");
  Outcome<std::string> text = Bug();
  EXPECT_DEATH(static_cast<void>(text->size()), "the outcome is Panicked.bug at file.cc:3");
}

TEST(OutcomeDeathTest, AnOkStatusIsNoError) {
  EXPECT_DEATH(static_cast<void>(Outcome<int>(absl::OkStatus())), "an absl::Status that is OK");
  EXPECT_DEATH(static_cast<void>(Outcome<void>(absl::OkStatus())), "use ToOutcome");
}

TEST(OutcomeDeathTest, FromFailureOfOkIsFatal) {
  EXPECT_DEATH(static_cast<void>(Outcome<int>::FromFailure(Outcome<void>(Ok()))),
               "FromFailure.., but the outcome is Ok");
}

}  // namespace
}  // namespace quiesce

// G10: authority only narrows. Provide, Get, Restrict, and what does not compile.
#include <concepts>
#include <string>
#include <type_traits>

#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using ::testing::ElementsAre;

struct Ledger {
  int balance = 0;
};
struct Audit {
  int entries = 0;
};

// --- narrowing, at compile time ------------------------------------------------------------------

using Net = CxWith<cap::Net>;
using NetTime = CxWith<cap::Net, cap::Time>;
using TimeNet = CxWith<cap::Time, cap::Net>;

static_assert(std::is_convertible_v<Cx, Net>);
static_assert(std::is_convertible_v<Cx, NetTime>);
static_assert(std::is_convertible_v<NetTime, Net>);
static_assert(std::is_convertible_v<NetTime, TimeNet>, "the order of a set does not matter");
static_assert(std::is_convertible_v<NetTime, CxWith<>>);
static_assert(!std::is_convertible_v<Net, NetTime> && !std::is_constructible_v<NetTime, Net>);
static_assert(!std::is_constructible_v<Cx, NetTime>, "a Cx never widens");
static_assert(!std::is_constructible_v<Net, CxWith<>>);
static_assert(!std::is_constructible_v<CxWith<Ledger>, Cx>, "nor gains what it was not provided");
static_assert(std::is_convertible_v<CxWith<cap::Net, Ledger>, CxWith<Ledger>>);
static_assert(!std::is_constructible_v<CxWith<Audit>, CxWith<Ledger>>);

static_assert(!std::is_default_constructible_v<Cx> && !std::is_default_constructible_v<CxWith<>>);
static_assert(!std::is_constructible_v<Cx, const Authority*, TaskScope*, uint32_t>,
              "only the mint");
static_assert(!std::is_constructible_v<Cx, CxBase>);
static_assert(!std::is_constructible_v<CxBase, const Authority*, TaskScope*, uint32_t>);
static_assert(std::is_trivially_copyable_v<Cx> && sizeof(Cx) <= 24);

// A wait that needs a capability cannot be made without it.
template <class C>
concept CanSleep = requires(C cx) { Sleep(cx, absl::Seconds(1)); };
static_assert(CanSleep<Cx> && CanSleep<CxWith<cap::Time>> && !CanSleep<Net>);

// A task takes a Cx that its spawner can narrow to.
template <class C, class F>
concept CanCall = std::is_invocable_v<F, C>;
static_assert(CanCall<NetTime, Task<void> (*)(Net)> && !CanCall<Net, Task<void> (*)(NetTime)>);

// --- Provide and Get -----------------------------------------------------------------------------

Task<void> Deposit(CxWith<Ledger> cx, int amount) {
  cx.Get<Ledger>().balance += amount;
  co_return Ok();
}

TEST(ProvideTest, CalleesThatAskForItReachTheImplementation) {
  TestRuntime rt;
  Ledger ledger;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto with = cx.Provide<Ledger>(ledger);
    static_assert(std::is_convertible_v<decltype(with), Cx>, "it keeps what it had");
    static_assert(std::is_convertible_v<decltype(with), CxWith<Ledger, cap::Time>>);
    co_await OrReturn(Deposit(with, 5));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(ledger.balance, 5);
}

TEST(ProvideTest, TasksAndRegionsBelowInheritIt) {
  TestRuntime rt;
  Ledger ledger;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto with = cx.Provide<Ledger>(ledger);
    auto child = with.Spawn("child", Deposit, 1);
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsOk());
    using With = decltype(with);
    co_return co_await Region::Open(with, "inner", [](With cx) -> Task<void> {
      auto grandchild = cx.Spawn("grandchild", Deposit, 10);
      EXPECT_THAT(co_await OrReturn(grandchild.Join(cx)), IsOk());
      EXPECT_TRUE(
          cx.Defer("finalizer", [](With cx) -> Task<void> { return Deposit(cx, 100); }).ok());
      co_return Ok();
    });
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(ledger.balance, 111);
}

TEST(ProvideTest, TheNearestImplementationIsTheOneThatCounts) {
  TestRuntime rt;
  Ledger outer, inner;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto with_outer = cx.Provide<Ledger>(outer);
    auto with_inner = with_outer.Provide<Ledger>(inner);
    co_await OrReturn(Deposit(CxWith<Ledger>(with_outer), 1));
    co_await OrReturn(Deposit(CxWith<Ledger>(with_inner), 10));
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(outer.balance, 1);
  EXPECT_EQ(inner.balance, 10);
}

TEST(ProvideTest, SeveralCapabilitiesAreKeptApart) {
  TestRuntime rt;
  Ledger ledger;
  Audit audit;
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    auto with = cx.Provide<Ledger>(ledger).Provide<Audit>(audit);
    auto both = [](CxWith<Audit, Ledger> cx) -> Task<void> {
      cx.Get<Ledger>().balance = 3;
      cx.Get<Audit>().entries = 4;
      co_return Ok();
    };
    co_return co_await both(with);
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(ledger.balance, 3);
  EXPECT_EQ(audit.entries, 4);
}

// --- Restrict ------------------------------------------------------------------------------------

// Refuses what does not begin with `prefix`, and notes that it was asked.
class OnlyPrefix final : public Policy {
 public:
  OnlyPrefix(Trail* trail, std::string prefix) : trail_(trail), prefix_(std::move(prefix)) {}
  absl::Status AllowConnect(absl::string_view address) const override {
    trail_->Add(prefix_);
    if (absl::StartsWith(address, prefix_)) return absl::OkStatus();
    return absl::PermissionDeniedError(absl::StrCat("only ", prefix_));
  }

 private:
  Trail* trail_;
  std::string prefix_;
};

absl::Status Ask(const CxBase& cx, absl::string_view address) {
  return cx.authority()->Allow([&](const Policy& policy) { return policy.AllowConnect(address); });
}

TEST(RestrictTest, EveryPolicyFromTheCxUpIsAskedAndTheFirstRefusalCounts) {
  TestRuntime rt;
  Trail trail;
  const OnlyPrefix ten(&trail, "10."), ten_one(&trail, "10.1.");
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    const Cx outer = cx.Restrict(ten);
    const Cx inner = outer.Restrict(ten_one);
    EXPECT_TRUE(Ask(cx, "1.2.3.4").ok());
    EXPECT_TRUE(Ask(outer, "10.2.0.1").ok());
    EXPECT_EQ(Ask(inner, "10.2.0.1").code(), absl::StatusCode::kPermissionDenied);
    EXPECT_TRUE(Ask(inner, "10.1.0.1").ok());
    EXPECT_EQ(Ask(inner, "1.2.3.4").message(), "only 10.1.");
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("10.", "10.1.", "10.1.", "10.", "10.1."));
}

TEST(RestrictTest, HoldsForTasksRegionsRefsAndNarrowedCopies) {
  TestRuntime rt;
  Trail trail;
  const OnlyPrefix ten(&trail, "10.");
  Outcome<void> outcome = rt.Run([&](Cx cx) -> Task<void> {
    const Cx restricted = cx.Restrict(ten);
    const auto refused = [](Cx cx) -> Task<void> {
      EXPECT_EQ(Ask(cx, "1.2.3.4").code(), absl::StatusCode::kPermissionDenied);
      co_return Ok();
    };
    EXPECT_FALSE(Ask(CxWith<cap::Net>(restricted), "1.2.3.4").ok());
    EXPECT_FALSE(Ask(restricted.ForDrain(), "1.2.3.4").ok());
    auto child = restricted.Spawn("child", refused);
    EXPECT_THAT(co_await OrReturn(child.Join(cx)), IsOk());
    auto through_ref = restricted.Ref().Spawn("child", refused);
    EXPECT_THAT(co_await OrReturn(through_ref.Join(cx)), IsOk());
    Ledger ledger;
    EXPECT_FALSE(Ask(restricted.Provide<Ledger>(ledger), "1.2.3.4").ok());
    co_return co_await Region::Open(restricted, "inner", refused);
  });
  EXPECT_THAT(outcome, IsOk());
}

struct Clerk {
  int seen = 0;
};

TEST(ProvideTest, FinalizerHasWhatItsOwnRegionProvided) {
  TestRuntime rt;
  Clerk clerk;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    auto with = cx.Provide<Clerk>(clerk);
    EXPECT_TRUE(with.Defer("finalizer",
                           [](decltype(with) cx) -> Task<void> {
                             ++cx.template Get<Clerk>().seen;
                             co_return Ok();
                           })
                    .ok());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(clerk.seen, 1);
}

class NoConnects final : public Policy {
 public:
  absl::Status AllowConnect(absl::string_view) const override {
    return absl::PermissionDeniedError("no connects");
  }
};

TEST(RestrictTest, FinalizerRegisteredThroughARestrictedCxIsRestricted) {
  TestRuntime rt;
  NoConnects policy;
  absl::Status asked;
  Outcome<void> outcome = rt.Open([&](Cx cx) -> Task<void> {
    EXPECT_TRUE(cx.Restrict(policy)
                    .Defer("finalizer",
                           [&](Cx cx) -> Task<void> {
                             asked = cx.authority()->Allow(
                                 [](const Policy& policy) { return policy.AllowConnect("a:1"); });
                             co_return Ok();
                           })
                    .ok());
    co_return Ok();
  });
  EXPECT_THAT(outcome, IsOk());
  EXPECT_EQ(asked.code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

#include "quiesce/runtime/budget/budget.h"

#include <vector>

#include "gtest/gtest.h"

namespace quiesce {
namespace {

Instant At(int64_t nanos) { return Instant::FromNanos(nanos); }

TEST(BudgetTest, ANewBudgetIsUnlimited) {
  const Budget budget;
  EXPECT_EQ(budget.deadline(), Instant::InfiniteFuture());
  EXPECT_EQ(budget.timeout(), absl::InfiniteDuration());
  EXPECT_EQ(budget.polls(), Budget::kUnlimited);
  EXPECT_EQ(budget.cost(), Budget::kUnlimited);
  EXPECT_TRUE(budget.is_unlimited());
  EXPECT_EQ(budget, Budget::Unlimited());
}

TEST(BudgetTest, EachFactorySetsItsFieldAlone) {
  EXPECT_EQ(Budget::Timeout(absl::Seconds(5)).timeout(), absl::Seconds(5));
  EXPECT_EQ(Budget::Deadline(At(7)).deadline(), At(7));
  EXPECT_EQ(Budget::Polls(3).polls(), 3);
  EXPECT_EQ(Budget::Cost(4).cost(), 4);
  EXPECT_TRUE(
      Budget::Timeout(absl::Seconds(5)).WithTimeout(absl::InfiniteDuration()).is_unlimited());
  EXPECT_TRUE(Budget::Deadline(At(7)).WithDeadline(Instant::InfiniteFuture()).is_unlimited());
  EXPECT_TRUE(Budget::Polls(3).WithPolls(Budget::kUnlimited).is_unlimited());
  EXPECT_TRUE(Budget::Cost(4).WithCost(Budget::kUnlimited).is_unlimited());
}

TEST(BudgetTest, FieldsAreChained) {
  const Budget budget =
      Budget::Timeout(absl::Seconds(5)).WithDeadline(At(7)).WithPolls(10'000).WithCost(4);
  EXPECT_EQ(budget.timeout(), absl::Seconds(5));
  EXPECT_EQ(budget.deadline(), At(7));
  EXPECT_EQ(budget.polls(), 10'000);
  EXPECT_EQ(budget.cost(), 4);
}

TEST(BudgetTest, EqualityLooksAtEveryField) {
  const Budget budget =
      Budget::Timeout(absl::Seconds(1)).WithDeadline(At(1)).WithPolls(1).WithCost(1);
  EXPECT_EQ(budget, budget);
  EXPECT_NE(budget, budget.WithTimeout(absl::Seconds(2)));
  EXPECT_NE(budget, budget.WithDeadline(At(2)));
  EXPECT_NE(budget, budget.WithPolls(2));
  EXPECT_NE(budget, budget.WithCost(2));
}

TEST(BudgetTest, MeetIsTheMinimumOfEachField) {
  const Budget left =
      Budget::Timeout(absl::Seconds(1)).WithDeadline(At(9)).WithPolls(1).WithCost(9);
  const Budget right =
      Budget::Timeout(absl::Seconds(9)).WithDeadline(At(1)).WithPolls(9).WithCost(1);
  EXPECT_EQ(Meet(left, right),
            Budget::Timeout(absl::Seconds(1)).WithDeadline(At(1)).WithPolls(1).WithCost(1));
}

TEST(BudgetTest, ResolveTurnsTheTimeoutIntoADeadline) {
  EXPECT_EQ(Budget::Timeout(absl::Nanoseconds(5)).Resolve(At(100)), Budget::Deadline(At(105)));
  EXPECT_EQ(Budget::Timeout(absl::ZeroDuration()).Resolve(At(100)), Budget::Deadline(At(100)));
  EXPECT_EQ(
      Budget::Timeout(absl::Nanoseconds(5)).WithDeadline(At(103)).WithPolls(1).Resolve(At(100)),
      Budget::Deadline(At(103)).WithPolls(1))
      << "the earlier of the two";
  EXPECT_EQ(Budget::Deadline(At(3)).Resolve(At(100)), Budget::Deadline(At(3)));
  EXPECT_TRUE(Budget().Resolve(At(100)).is_unlimited());
}

TEST(BudgetTest, ToStringNamesOnlyTheLimits) {
  EXPECT_EQ(Budget().ToString(), "unlimited");
  EXPECT_EQ(Budget::Polls(100).ToString(), "polls 100");
  EXPECT_EQ(Budget::Timeout(absl::Seconds(5))
                .WithDeadline(At(12'500'000'000))
                .WithPolls(100)
                .WithCost(7)
                .ToString(),
            "deadline 12.5s, timeout 5s, polls 100, cost 7");
}

// Every combination of a few values for each field, the extremes among them.
std::vector<Budget> Set() {
  std::vector<Budget> set;
  for (const Instant deadline : {Instant::InfinitePast(), At(50), Instant::InfiniteFuture()}) {
    for (const absl::Duration timeout :
         {absl::ZeroDuration(), absl::Nanoseconds(20), absl::InfiniteDuration()}) {
      for (const int64_t polls : {int64_t{0}, int64_t{8}, Budget::kUnlimited}) {
        for (const int64_t cost : {int64_t{0}, int64_t{9}, Budget::kUnlimited}) {
          set.push_back(
              Budget::Deadline(deadline).WithTimeout(timeout).WithPolls(polls).WithCost(cost));
        }
      }
    }
  }
  return set;
}

std::vector<Instant> Nows() {
  return {Instant::InfinitePast(),
          At(0),
          At(31),
          At(49),
          At(70),
          At(Instant::InfiniteFuture().nanos() - 5),
          Instant::InfiniteFuture()};
}

TEST(BudgetAlgebraTest, MeetIsIdempotentAndUnlimitedIsItsUnit) {
  for (const Budget& a : Set()) {
    EXPECT_EQ(Meet(a, a), a);
    EXPECT_EQ(Meet(a, Budget::Unlimited()), a);
    EXPECT_EQ(Meet(Budget::Unlimited(), a), a);
  }
}

TEST(BudgetAlgebraTest, MeetIsCommutative) {
  const std::vector<Budget> set = Set();
  for (const Budget& a : set) {
    for (const Budget& b : set) ASSERT_EQ(Meet(a, b), Meet(b, a));
  }
}

TEST(BudgetAlgebraTest, MeetIsAssociative) {
  const std::vector<Budget> set = Set();
  for (const Budget& a : set) {
    for (const Budget& b : set) {
      for (const Budget& c : set) {
        if (!(Meet(Meet(a, b), c) == Meet(a, Meet(b, c)))) {
          FAIL() << a.ToString() << " | " << b.ToString() << " | " << c.ToString();
        }
      }
    }
  }
}

TEST(BudgetAlgebraTest, MeetLoosensNothing) {
  const std::vector<Budget> set = Set();
  for (const Budget& a : set) {
    for (const Budget& b : set) {
      const Budget meet = Meet(a, b);
      ASSERT_LE(meet.deadline(), a.deadline());
      ASSERT_LE(meet.timeout(), a.timeout());
      ASSERT_LE(meet.polls(), a.polls());
      ASSERT_LE(meet.cost(), a.cost());
    }
  }
}

TEST(BudgetAlgebraTest, ResolveDistributesOverMeet) {
  const std::vector<Budget> set = Set();
  for (const Instant now : Nows()) {
    for (const Budget& a : set) {
      for (const Budget& b : set) {
        ASSERT_EQ(Meet(a, b).Resolve(now), Meet(a.Resolve(now), b.Resolve(now)));
      }
    }
  }
}

TEST(BudgetAlgebraTest, ResolveIsIdempotentTightensAndIsMonotone) {
  for (const Budget& a : Set()) {
    Instant before = Instant::InfinitePast();
    for (const Instant now : Nows()) {
      const Budget resolved = a.Resolve(now);
      EXPECT_EQ(resolved.timeout(), absl::InfiniteDuration());
      EXPECT_LE(resolved.deadline(), a.deadline());
      if (a.timeout() == absl::InfiniteDuration()) {
        EXPECT_EQ(resolved.deadline(), a.deadline());
      } else {
        EXPECT_LE(resolved.deadline(), now + a.timeout());
      }
      EXPECT_EQ(resolved.polls(), a.polls());
      EXPECT_EQ(resolved.cost(), a.cost());
      EXPECT_EQ(resolved.Resolve(At(1)), resolved) << "a second clock reading changes nothing";
      EXPECT_GE(resolved.deadline(), before) << "a later now means no earlier deadline";
      before = resolved.deadline();
    }
  }
}

TEST(BudgetDeathTest, NegativeAmountsAreBugsAndNamed) {
  EXPECT_DEATH(Budget::Timeout(-absl::Milliseconds(5)),
               "timeout of -5ms at .*budget_test.cc:[0-9]+ is negative. Pass absl::ZeroDuration");
  EXPECT_DEATH(static_cast<void>(Budget().WithTimeout(-absl::InfiniteDuration())),
               "timeout of -inf");
  EXPECT_DEATH(Budget::Polls(-1), "poll quota of -1 at .*budget_test.cc:[0-9]+ is negative");
  EXPECT_DEATH(Budget::Cost(-7), "cost quota of -7 at .*budget_test.cc:[0-9]+ is negative");
}

}  // namespace
}  // namespace quiesce

// The laws of Join (G11), over every pair and triple of a set that holds each severity several times.

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/outcome.h"

namespace quiesce {
namespace {

// Each of them differs from all others, so that it can be told which payload stayed.
std::vector<Outcome<int>> Set() {
  std::vector<Outcome<int>> set;
  for (int i = 0; i < 5; ++i) {
    set.push_back(i);
    set.push_back(absl::Status(static_cast<absl::StatusCode>(i + 1), absl::StrCat("error ", i)));
    set.push_back(CancelReason(static_cast<CancelKind>(i + 1), {.region = 1, .name = "r"},
                               Instant(), absl::StrCat("reason ", i)));
    set.push_back(Panic(absl::StrCat("panic ", i), "file.cc", i));
  }
  return set;
}

// Names the content exactly.
std::string Identity(const Outcome<int>& outcome) {
  return outcome.ok() ? absl::StrCat("value ", *outcome) : outcome.ToString();
}
std::string Identity(const Outcome<std::string>& outcome) {
  return outcome.ok() ? *outcome : outcome.ToString();
}

// The same failure, or `ok` as the value.
Outcome<std::string> AsString(const Outcome<int>& from, std::string ok) {
  if (from.ok()) return ok;
  return Outcome<std::string>::FromFailure(from);
}

TEST(JoinTest, TheSetTellsItsMembersApart) {
  const std::vector<Outcome<int>> set = Set();
  for (const auto& a : set) {
    for (const auto& b : set) EXPECT_EQ(Identity(a) == Identity(b), &a == &b);
  }
}

TEST(JoinTest, IsIdempotent) {
  for (const auto& a : Set()) EXPECT_EQ(Identity(Join(a, a)), Identity(a));
}

TEST(JoinTest, IsTheMaximumOfSeverities) {
  for (const auto& a : Set()) {
    for (const auto& b : Set()) {
      EXPECT_EQ(Join(a, b).severity(), std::max(a.severity(), b.severity()));
    }
  }
}

TEST(JoinTest, KeepsTheLeftOnATie) {
  for (const auto& a : Set()) {
    for (const auto& b : Set()) {
      if (a.severity() == b.severity()) {
        EXPECT_EQ(Identity(Join(a, b)), Identity(a));
      }
    }
  }
}

TEST(JoinTest, IsCommutativeButForTies) {
  for (const auto& a : Set()) {
    for (const auto& b : Set()) {
      EXPECT_EQ(Join(a, b).severity(), Join(b, a).severity());
      if (a.severity() != b.severity()) {
        EXPECT_EQ(Identity(Join(a, b)), Identity(Join(b, a)));
      }
    }
  }
}

TEST(JoinTest, IsAssociativeIncludingThePayload) {
  const std::vector<Outcome<int>> set = Set();
  for (const auto& a : set) {
    for (const auto& b : set) {
      for (const auto& c : set) {
        ASSERT_EQ(Identity(Join(Join(a, b), c)), Identity(Join(a, Join(b, c))));
      }
    }
  }
}

TEST(JoinTest, IsAssociativeAcrossTypes) {
  const std::vector<Outcome<int>> set = Set();
  for (const auto& a : set) {
    for (const auto& b : set) {
      for (const auto& c : set) {
        const Outcome<std::string> left = AsString(a, "mine");
        ASSERT_EQ(Identity(Join(Join(left, b), c)), Identity(Join(left, Join(b, c))));
      }
    }
  }
}

TEST(JoinTest, OkIsAUnitButForItsValue) {
  for (const auto& a : Set()) {
    EXPECT_EQ(Identity(Join(a, Outcome<int>(99))), Identity(a));
    if (!a.ok()) {
      EXPECT_EQ(Identity(Join(Outcome<int>(99), a)), Identity(a));
    }
  }
}

TEST(JoinTest, JoinIntoInCompletionOrderIsTheFirstOfTheMostSevere) {
  std::mt19937 random(20240501);
  std::vector<Outcome<int>> set = Set();
  for (int round = 0; round < 200; ++round) {
    std::shuffle(set.begin(), set.end(), random);
    const size_t count = 1 + random() % set.size();
    Outcome<int> accumulated = set[0];
    for (size_t i = 1; i < count; ++i) JoinInto(accumulated, set[i]);
    const auto expected = std::max_element(  // the first of equals
        set.begin(), set.begin() + count,
        [](const auto& a, const auto& b) { return a.severity() < b.severity(); });
    ASSERT_EQ(Identity(accumulated), Identity(*expected));
  }
}

}  // namespace
}  // namespace quiesce

#include "quiesce/testing/lab/certificate.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quiesce::lab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Certificate Some(uint32_t shard, uint32_t shards) {
  Certificate some;
  some.test = "Big.Everything";
  some.version = "0.1.0";
  some.program = 0x5f2c81d07be9a3e4;
  some.options = "seed=1 max_steps=100000";
  some.not_covered = "not covered: other inputs";
  some.split = 7;
  some.parts_in_all = 2 * shards;
  some.shard = shard;
  some.shards = shards;
  some.parts = 2;
  some.exhausted = true;
  some.verdict = "SHARD 0 OF 2 EXHAUSTED: 10 classes";
  some.classes = 10;
  some.deadlocks = 1;
  some.executions = 12;
  some.digest = 99;
  return some;
}

std::string Refusal(const std::string& text) {
  const absl::StatusOr<Certificate> read = Certificate::Parse(text);
  return read.ok() ? "" : std::string(read.status().message());
}

TEST(CertificateTest, IsTheSameAfterItWasWrittenAndRead) {
  Certificate written = Some(1, 3);
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<Certificate> read = Certificate::Parse(written.ToString());
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, written);
    written.strays.push_back({uint64_t{0xd} + static_cast<uint64_t>(i), i == 1});
    written.exhausted = false;
  }
}

TEST(CertificateTest, WhatWasCutOffOrChangedIsRefused) {
  const std::string text = Some(0, 2).ToString();
  EXPECT_THAT(Refusal(""), HasSubstr("its first line is ''"));
  EXPECT_THAT(Refusal("quiesce-shard-certificate 0\n"),
              HasSubstr("not 'quiesce-shard-certificate 1'"));
  EXPECT_THAT(Refusal(text.substr(0, 100)), HasSubstr("cut off"));
  EXPECT_THAT(Refusal(text.substr(0, text.size() - 3)), HasSubstr("checksum is another"));
  EXPECT_THAT(Refusal(absl::StrReplaceAll(text, {{"classes: 10", "classes: 11"}})),
              HasSubstr("it was changed"));
  EXPECT_THAT(Refusal(Some(2, 2).ToString()), HasSubstr("shard 2 of 2"));
}

TEST(AggregateTest, OfAllShardsIsExhaustiveAndCountsAStrayOnce) {
  std::vector<Certificate> all = {Some(1, 2), Some(0, 2)};
  all[0].strays = {{5, false}, {6, true}};
  all[1].strays = {{5, false}};
  const Aggregate together = AddUp(all);
  EXPECT_THAT(together.problems, ElementsAre());
  EXPECT_THAT(together.verdict,
              HasSubstr("EXHAUSTIVE: 21 classes and 3 deadlocks in 2 shards, 1.00 "));
  EXPECT_THAT(together.verdict, HasSubstr("; not covered: other inputs"));
}

TEST(AggregateTest, OneThatIsMissingOrThereTwiceIsAProblem) {
  EXPECT_THAT(AddUp({Some(0, 3), Some(2, 3)}).problems, ElementsAre("shard 1 of 3 is missing"));
  EXPECT_THAT(AddUp({Some(0, 3), Some(2, 3)}).verdict, HasSubstr("NOT EXHAUSTIVE: 1 problem, "));
  EXPECT_THAT(AddUp({Some(0, 2), Some(1, 2), Some(1, 2)}).problems,
              ElementsAre("shard 1 is there twice"));
}

TEST(AggregateTest, OneThatIsOfSomethingElseIsAProblem) {
  const auto problems = [](const auto& change) {
    std::vector<Certificate> all = {Some(0, 2), Some(1, 2)};
    change(all[1]);
    return AddUp(all).problems;
  };
  EXPECT_THAT(problems([](Certificate& c) { c.program = 1; }),
              ElementsAre("shard 1 is of another program than shard 0: 0000000000000001, not "
                          "5f2c81d07be9a3e4"));
  EXPECT_THAT(problems([](Certificate& c) { c.options = "seed=2"; }),
              ElementsAre(HasSubstr("another options than shard 0: seed=2, not seed=1")));
  EXPECT_THAT(problems([](Certificate& c) { c.version = "0.2.0"; }),
              ElementsAre(HasSubstr("another version of Quiesce")));
  EXPECT_THAT(problems([](Certificate& c) { c.shards = 3; }),
              ElementsAre(HasSubstr("another number of shards")));
  EXPECT_THAT(problems([](Certificate& c) { c.split = 8; }),
              ElementsAre(HasSubstr("another split")));
  EXPECT_THAT(problems([](Certificate& c) { c.parts = 1; }),
              ElementsAre("the shards have 3 parts, of 4"));
  EXPECT_THAT(problems([](Certificate& c) {
                c.exhausted = false;
                c.verdict = "STOPPED: 5 classes";
              }),
              ElementsAre("shard 1 is not exhausted: STOPPED: 5 classes"));
}

}  // namespace
}  // namespace quiesce::lab

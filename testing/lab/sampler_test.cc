#include "quiesce/testing/explore/sampler.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/testing/explore/schedule.h"
#include "quiesce/testing/explore/trace.h"
#include "quiesce/testing/lab/atomic.h"
#include "quiesce/testing/lab/blocking.h"
#include "quiesce/testing/lab/machine.h"

namespace quiesce::lab {
namespace {

using explore::Deviation;
using explore::Execution;
using explore::SampleOptions;
using explore::Sampler;
using explore::Schedule;
using explore::Strategy;
using explore::Trace;
using ::testing::HasSubstr;

// A balance that is read, and written later: two deposits at once lose one. `other` steps besides.
void Deposits(Machine& machine, int other) {
  struct Shared {
    Atomic<int> balance{0};
    Atomic<int> noise{0};
  };
  auto shared = std::make_shared<Shared>();
  for (int i = 0; i < 2; ++i) {
    machine.Spawn([shared, other] {
      for (int j = 0; j < other; ++j) shared->noise.fetch_add(1);
      const int before = shared->balance.load();
      for (int j = 0; j < other; ++j) shared->noise.fetch_add(1);
      shared->balance.store(before + 1);
    });
  }
  machine.Spawn([shared, other] {
    for (int j = 0; j < other; ++j) shared->noise.fetch_add(1);
  });
}

// Did it lose one? Of the tasks that load and store, both loads stand before both stores.
bool LosesADeposit(const Trace& trace) {
  std::vector<char> order;
  for (size_t at = 0; at < trace.length(); ++at) {
    const explore::Access& access = trace[at].op.accesses[0];
    if (access.object != 0) continue;
    order.push_back(access.effect == explore::Effect::kRead ? 'r' : 'w');
  }
  return order.size() == 4 && order[1] == 'r';
}

class SamplerTest : public ::testing::TestWithParam<Strategy> {
 protected:
  SampleOptions Options(uint64_t seed) const {
    SampleOptions options;
    options.strategy = GetParam();
    options.seed = seed;
    return options;
  }
};

TEST_P(SamplerTest, TheSameSeedGivesTheSameExecutionsAndAnotherSeedOthers) {
  Machine machine([](Machine& to) { Deposits(to, 5); });
  const auto schedules = [&](uint64_t seed) {
    Sampler sampler(&machine, Options(seed));
    std::vector<std::string> all;
    for (int i = 0; i < 10; ++i) all.push_back(sampler.Next().schedule.ToString());
    return all;
  };
  EXPECT_EQ(schedules(1), schedules(1));
  EXPECT_NE(schedules(1), schedules(2));
}

// On every machine, with every compiler.
TEST_P(SamplerTest, ASeedMeansTheSameEverywhere) {
  Machine machine([](Machine& to) { Deposits(to, 1); });
  Sampler sampler(&machine, Options(1));
  std::string tasks;
  for (int i = 0; i < 3; ++i) {
    sampler.Next();
    for (size_t at = 0; at < sampler.trace().length(); ++at) {
      tasks += static_cast<char>('0' + sampler.trace()[at].task);
    }
    tasks += ' ';
  }
  EXPECT_EQ(tasks, GetParam() == Strategy::kWalk  ? "200001111 121110000 201101100 "
                   : GetParam() == Strategy::kPct ? "111120000 201111000 201111000 "
                                                  : "211011000 010020111 200101101 ");
}

TEST_P(SamplerTest, FindsALostUpdate) {
  Machine machine([](Machine& to) { Deposits(to, 5); });
  Sampler sampler(&machine, Options(1));
  int found = 0;
  for (int i = 0; i < 1000; ++i) {
    sampler.Next();
    found += LosesADeposit(sampler.trace());
  }
  EXPECT_GT(found, 10);
  EXPECT_LT(found, 990);
}

INSTANTIATE_TEST_SUITE_P(All, SamplerTest,
                         ::testing::Values(Strategy::kWalk, Strategy::kPct, Strategy::kPos),
                         [](const auto& info) {
                           return std::string(info.param == Strategy::kWalk  ? "Walk"
                                              : info.param == Strategy::kPct ? "Pct"
                                                                             : "Pos");
                         });

// ---- schedules --------------------------------------------------------------------------------------

TEST(ScheduleTest, AFailureIsTheOneSwitchThatItTakes) {
  Machine machine([](Machine& to) { Deposits(to, 20); });
  Sampler sampler(&machine, {.strategy = Strategy::kWalk, .seed = 7});
  Execution failing = sampler.Next();
  while (!LosesADeposit(sampler.trace())) failing = sampler.Next();
  ASSERT_GT(failing.schedule.deviations.size(), 20u);

  Trace trace;
  int runs = 0;
  const Schedule least =
      Minimize(&machine, failing.schedule, [&](const Execution&, const Trace& execution) {
        ++runs;
        return LosesADeposit(execution);
      });
  // From between the load and the store of one to the other; when that has ended the first goes on by itself.
  EXPECT_EQ(least.deviations.size(), 1u) << least.ToString();
  EXPECT_LT(runs, 100);
  EXPECT_TRUE(explore::Replay(&machine, &trace, least).ok());
  EXPECT_TRUE(LosesADeposit(trace));
}

TEST(ScheduleTest, IsTheSameAfterItWasWrittenAndRead) {
  for (const Schedule& schedule :
       {Schedule{{}, 0}, Schedule{{{12, 3}, {40, 1}}, 0x5f2c81d07be9a3e4}}) {
    const absl::StatusOr<Schedule> read = Schedule::Parse(schedule.ToString());
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, schedule);
  }
}

TEST(ScheduleTest, WhatIsNoneIsRefusedWithTheReason) {
  const auto refusal = [](const char* text) {
    return std::string(Schedule::Parse(text).status().message());
  };
  EXPECT_THAT(refusal(""), HasSubstr("three parts"));
  EXPECT_THAT(refusal("0:0000000000000000:"), HasSubstr("its version is '0', and this reads 1"));
  EXPECT_THAT(refusal("1:beef:"), HasSubstr("no hash"));
  EXPECT_THAT(refusal("1:0000000000000000:1=2,x"), HasSubstr("'x' is not step=age"));
  EXPECT_THAT(refusal("1:0000000000000000:1=2,3=-4"), HasSubstr("'3=-4'"));
  EXPECT_THAT(refusal("1:0000000000000000:5=2,3=4"), HasSubstr("'3=4' is not later"));
  EXPECT_THAT(refusal("1:0x0000000000000a:"), HasSubstr("it would be 1:000000000000000a:"));
  EXPECT_THAT(refusal("1:0000000000000000:1= +2"), HasSubstr("it would be"));
}

TEST(ScheduleTest, IsGoodForAnotherMachineWithTheSameProgram) {
  // Tasks and objects are made by tasks, so that each execution makes them in another order.
  const auto build = [](Machine& to) {
    for (int i = 0; i < 2; ++i) {
      to.Spawn([] {
        auto x = std::make_shared<Atomic<int>>(0);
        x->store(1);
        Machine::Current().Spawn([x] { x->store(2); });
        x->store(3);
      });
    }
  };
  Machine machine(build);
  Sampler sampler(&machine, {.strategy = Strategy::kWalk, .seed = 1});
  for (int i = 0; i < 100; ++i) {
    const Schedule schedule = sampler.Next().schedule;
    Machine fresh(build);
    Trace trace;
    const absl::Status replayed = explore::Replay(&fresh, &trace, schedule);
    EXPECT_TRUE(replayed.ok()) << replayed;
  }
}

TEST(ScheduleTest, OfAnotherProgramIsRefused) {
  Machine machine([](Machine& to) { Deposits(to, 5); });
  const Schedule schedule = Sampler(&machine, SampleOptions()).Next().schedule;
  Trace trace;
  EXPECT_TRUE(explore::Replay(&machine, &trace, schedule).ok());
  Machine changed([](Machine& to) { Deposits(to, 6); });
  const absl::Status refused = explore::Replay(&changed, &trace, schedule);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("another version"));
}

TEST(ScheduleTest, AProgramThatDoesNotEndIsStopped) {
  Machine machine([](Machine& to) {
    auto x = std::make_shared<Atomic<int>>(0);
    to.Spawn([x] {
      while (x->load() == 0) {
      }
    });
  });
  Trace trace;
  EXPECT_EQ(explore::Follow(&machine, &trace, {}, 100).ended, Execution::Ended::kTooLong);
  EXPECT_EQ(trace.length(), 100u);
}

}  // namespace
}  // namespace quiesce::lab

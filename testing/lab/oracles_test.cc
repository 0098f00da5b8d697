#include "quiesce/testing/lab/oracles.h"

#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/cx/scope.h"
#include "quiesce/runtime/obligation/ledger.h"
#include "quiesce/runtime/outcome/cancel_reason.h"

namespace quiesce::lab {
namespace {

using testing::IsEmpty;
using testing::StartsWith;

constexpr uint64_t kRoot = 1, kRegion = 2;
constexpr uint64_t kMain = 10, kTask = 11;

// A root region with a main task that has opened a region with a task.
class OraclesTest : public testing::Test {
 protected:
  OraclesTest() {
    oracles_.Begin();
    See(EventKind::kRegionOpen, kRoot, 0, 0, "root");
    See(EventKind::kSpawn, kRoot, kMain, 0, "main");
    See(EventKind::kRegionOpen, kRegion, kMain, kRoot, "region");
    See(EventKind::kSpawn, kRegion, kTask, kMain, "task");
  }
  void See(EventKind kind, uint64_t region, uint64_t task, uint64_t arg = 0,
           const char* name = "x") {
    oracles_.OnEvent(kind, region, task, arg, name);
  }
  void Park(uint32_t mode) {
    See(EventKind::kCheckpoint, kRegion, kTask);
    See(EventKind::kPark, kRegion, kTask, mode, "Wait");
  }
  void EndTask() { See(EventKind::kTaskEnd, kRegion, kTask); }
  void EndAll() {
    EndTask();
    See(EventKind::kRegionClose, kRegion, kMain);
    See(EventKind::kTaskEnd, kRoot, kMain);
    See(EventKind::kRegionClose, kRoot, 0);
    oracles_.OnEnd();
  }
  const std::string& violation() { return oracles_.violation(); }

  Oracles oracles_;
};

TEST_F(OraclesTest, HaveNothingToSayOfWhatIsRight) {
  Park(task_word::kParkedOrdinary);
  See(EventKind::kCancelRequest, kRegion, 0);
  See(EventKind::kWake, kRegion, kTask, 1);
  See(EventKind::kDraining, kRegion, 0);
  See(EventKind::kResume, kRegion, kTask);
  Park(task_word::kParkedDrain);
  See(EventKind::kWake, kRegion, kTask, 0);
  See(EventKind::kResume, kRegion, kTask);
  See(EventKind::kPermitReserve, kRegion, kTask);
  See(EventKind::kPermitEnd, kRegion, kTask, static_cast<uint64_t>(PermitEnd::kActed));
  See(EventKind::kDefer, kRegion, kMain, 0, "one");
  See(EventKind::kDefer, kRegion, kMain, 0, "two");
  EndTask();
  for (const char* name : {"two", "one"}) {
    See(EventKind::kFinalizerStart, kRegion, kMain, 0, name);
    See(EventKind::kFinalizerEnd, kRegion, kMain, 0, name);
  }
  See(EventKind::kRegionClose, kRegion, kMain);
  See(EventKind::kTaskEnd, kRoot, kMain);
  See(EventKind::kRegionClose, kRoot, 0);
  oracles_.OnQuiet();
  oracles_.OnEnd();
  EXPECT_THAT(violation(), IsEmpty());
}

TEST_F(OraclesTest, G1ARegionThatClosesOverATask) {
  See(EventKind::kRegionClose, kRegion, kMain);
  EXPECT_THAT(violation(), StartsWith("G1"));
}
TEST_F(OraclesTest, G1ASpawnIntoAClosedRegion) {
  EndTask();
  See(EventKind::kRegionClose, kRegion, kMain);
  See(EventKind::kSpawn, kRegion, kTask + 1);
  EXPECT_THAT(violation(), StartsWith("G1"));
}
TEST_F(OraclesTest, G1ATaskThatEndsTwice) {
  EndTask();
  EndTask();
  EXPECT_THAT(violation(), StartsWith("G1"));
}
TEST_F(OraclesTest, G1ATaskThatIsLeft) {
  oracles_.OnEnd();
  EXPECT_THAT(violation(), StartsWith("G1"));
}
TEST_F(OraclesTest, G2SomethingGoesOnInAClosedRegion) {
  EndTask();
  See(EventKind::kRegionClose, kRegion, kMain);
  See(EventKind::kResume, kRegion, kMain);
  EXPECT_THAT(violation(), StartsWith("G2"));
}
TEST_F(OraclesTest, G2ARegionThatClosesOverAnother) {
  See(EventKind::kTaskEnd, kRoot, kMain);
  See(EventKind::kRegionClose, kRoot, 0);
  EXPECT_THAT(violation(), StartsWith("G2"));
}
TEST_F(OraclesTest, G3ACancelAfterTheClose) {
  EndTask();
  See(EventKind::kRegionClose, kRegion, kMain);
  See(EventKind::kCancelRequest, kRegion, 0);
  EXPECT_THAT(violation(), StartsWith("G3"));
}
TEST_F(OraclesTest, G4ACancelThatDoesNotReachAWait) {
  Park(task_word::kParkedOrdinary);
  See(EventKind::kCancelRequest, kRegion, 0);
  See(EventKind::kDraining, kRegion, 0);
  EXPECT_THAT(violation(), StartsWith("G4"));
}
TEST_F(OraclesTest, G4AWaitThatBeginsAfterTheCancel) {
  See(EventKind::kCancelRequest, kRegion, 0);
  See(EventKind::kDraining, kRegion, 0);
  Park(task_word::kParkedOrdinary);
  oracles_.OnQuiet();
  EXPECT_THAT(violation(), StartsWith("G4"));
}
TEST_F(OraclesTest, G5AWaitThatOutlivesTheBudget) {
  See(EventKind::kCancelRequest, kRegion, 0);
  Park(task_word::kParkedDrain);
  See(EventKind::kBudgetSpent, kRegion, 0, 0);
  oracles_.OnQuiet();
  EXPECT_THAT(violation(), StartsWith("G5"));
}
TEST_F(OraclesTest, G6AFinalizerWithATaskBesideIt) {
  See(EventKind::kDefer, kRegion, kMain, 0, "one");
  See(EventKind::kFinalizerStart, kRegion, kMain, 0, "one");
  EXPECT_THAT(violation(), StartsWith("G6"));
}
TEST_F(OraclesTest, G6FinalizersInTheWrongOrder) {
  See(EventKind::kDefer, kRegion, kMain, 0, "one");
  See(EventKind::kDefer, kRegion, kMain, 0, "two");
  EndTask();
  See(EventKind::kFinalizerStart, kRegion, kMain, 0, "one");
  EXPECT_THAT(violation(), StartsWith("G6"));
}
TEST_F(OraclesTest, G6AFinalizerThatDoesNotRun) {
  See(EventKind::kDefer, kRegion, kMain, 0, "one");
  EndTask();
  See(EventKind::kRegionClose, kRegion, kMain);
  EXPECT_THAT(violation(), StartsWith("G6"));
}
TEST_F(OraclesTest, G7APermitThatIsResolvedTwice) {
  See(EventKind::kPermitReserve, kRegion, kTask);
  See(EventKind::kPermitEnd, kRegion, kTask, static_cast<uint64_t>(PermitEnd::kActed));
  See(EventKind::kPermitEnd, kRegion, kTask, static_cast<uint64_t>(PermitEnd::kAborted));
  EXPECT_THAT(violation(), StartsWith("G7"));
}
TEST_F(OraclesTest, G7ACloseOverAPermit) {
  See(EventKind::kPermitReserve, kRegion, kTask);
  EndTask();
  See(EventKind::kRegionClose, kRegion, kMain);
  EXPECT_THAT(violation(), StartsWith("G7"));
}
TEST_F(OraclesTest, G8ACancelledWaitThatHasReserved) {
  Park(task_word::kParkedOrdinary);
  See(EventKind::kWake, kRegion, kTask, 1);
  See(EventKind::kPermitReserve, kRegion, kTask);
  EXPECT_THAT(violation(), StartsWith("G8"));
}
TEST_F(OraclesTest, G9ALoserThatIsLeft) {
  See(EventKind::kCancelRequest, kRegion, 0, static_cast<uint64_t>(CancelKind::kRaceLost));
  See(EventKind::kRegionClose, kRegion, kMain);
  EXPECT_THAT(violation(), StartsWith("G9"));
}
TEST_F(OraclesTest, G12AWakeUpThatIsLost) {
  Park(task_word::kParkedOrdinary);
  See(EventKind::kWake, kRegion, kTask, 0);
  oracles_.OnQuiet();
  EXPECT_THAT(violation(), StartsWith("G12"));
}

}  // namespace
}  // namespace quiesce::lab

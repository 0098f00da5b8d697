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
    See(EventKind::kStart, kRoot, kMain);
    See(EventKind::kRegionOpen, kRegion, kMain, kRoot, "region");
    See(EventKind::kSpawn, kRegion, kTask, kMain, "task");
    See(EventKind::kStart, kRegion, kTask);
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
    oracles_.OnEnd(0);
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
  oracles_.OnEnd(0);
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
  oracles_.OnEnd(0);
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
TEST_F(OraclesTest, G2ATimerThatStaysArmed) {
  EndTask();
  See(EventKind::kRegionClose, kRegion, kMain);
  See(EventKind::kTaskEnd, kRoot, kMain);
  See(EventKind::kRegionClose, kRoot, 0);
  oracles_.OnEnd(/*timers=*/1);
  EXPECT_THAT(violation(), StartsWith("G2"));
}
TEST_F(OraclesTest, G3ADrainThatIsPutOff) {
  for (const uint64_t drain_by : {100, 200}) {
    See(EventKind::kCancelRequest, kRegion, 0);
    See(EventKind::kDraining, kRegion, 0, drain_by);
  }
  oracles_.OnTime(100);  // its alarm comes now
  EXPECT_THAT(violation(), IsEmpty());
  oracles_.OnTime(101);
  EXPECT_THAT(violation(), StartsWith("G3"));
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
TEST_F(OraclesTest, G4ACancelOfATaskThatDoesNotReachWhatItHasOpened) {
  Park(task_word::kParkedOrdinary);
  See(EventKind::kCancelRequest, kRoot, kMain);  // who has opened the region
  oracles_.OnQuiet();
  EXPECT_THAT(violation(), StartsWith("G4"));
}
TEST_F(OraclesTest, G4ADeadlineThatCancelsNothing) {
  See(EventKind::kRegionDeadline, kRegion, kMain, 100);
  oracles_.OnTime(100);
  EXPECT_THAT(violation(), IsEmpty());
  oracles_.OnTime(101);
  EXPECT_THAT(violation(), StartsWith("G4"));
}
TEST_F(OraclesTest, G5ADrainThatDoesNotEnd) {
  See(EventKind::kCancelRequest, kRegion, 0);
  See(EventKind::kDraining, kRegion, 0, 100);
  oracles_.OnTime(101);
  EXPECT_THAT(violation(), StartsWith("G5"));
}
TEST_F(OraclesTest, G5AStallThatIsNotReported) {
  See(EventKind::kCancelRequest, kRegion, 0);
  See(EventKind::kDraining, kRegion, 0, 100);
  Park(task_word::kParkedStructural);
  oracles_.OnTime(100);
  See(EventKind::kBudgetSpent, kRegion, 0, 0);
  See(EventKind::kBudgetSpent, kRegion, 0, 1);
  oracles_.OnTime(1'000'000'100);
  EXPECT_THAT(violation(), IsEmpty());
  oracles_.OnTime(1'000'000'101);
  EXPECT_THAT(violation(), StartsWith("G5"));
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
TEST_F(OraclesTest, G6AFinalizerThatRegistersAnother) {
  See(EventKind::kDefer, kRegion, kMain, 0, "one");
  EndTask();
  See(EventKind::kFinalizerStart, kRegion, kMain, 0, "one");
  See(EventKind::kDefer, kRegion, kMain, 0, "another");
  EXPECT_THAT(violation(), StartsWith("G6"));
}
TEST_F(OraclesTest, G6AFinalizerThatIsToldToStop) {
  See(EventKind::kDefer, kRegion, kMain, 0, "one");
  See(EventKind::kCancelRequest, kRegion, 0);
  EndTask();
  See(EventKind::kFinalizerStart, kRegion, kMain, 0, "one");
  See(EventKind::kCheckpoint, kRegion, kMain, 1);
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
TEST_F(OraclesTest, G8AWaitThatIsGrantedAfterItsCancel) {
  Park(task_word::kParkedOrdinary);
  See(EventKind::kWake, kRegion, kTask, 1);
  See(EventKind::kResume, kRegion, kTask);
  See(EventKind::kWake, kRegion, kTask, 0);
  EXPECT_THAT(violation(), StartsWith("G8"));
}
TEST_F(OraclesTest, G8APermitAfterACancelledWaitIsNotItsDoing) {
  Park(task_word::kParkedOrdinary);
  See(EventKind::kWake, kRegion, kTask, 1);
  oracles_.OnWaitLeft(kTask);
  See(EventKind::kPermitReserve, kRegion, kTask);
  EXPECT_EQ(violation(), "");
}
TEST_F(OraclesTest, G9ALoserThatIsLeft) {
  See(EventKind::kCancelRequest, kRegion, 0, static_cast<uint64_t>(CancelKind::kRaceLost));
  See(EventKind::kRegionClose, kRegion, kMain);
  EXPECT_THAT(violation(), StartsWith("G9"));
}
TEST_F(OraclesTest, G9ALoserThatIsLeftBeforeTheClose) {
  See(EventKind::kCancelRequest, kRegion, 0, static_cast<uint64_t>(CancelKind::kRaceLost));
  See(EventKind::kScopeRequest, kRegion, 0, static_cast<uint64_t>(ScopeRequest::kSettle));
  EXPECT_THAT(violation(), StartsWith("G9"));
}
TEST_F(OraclesTest, G10ATaskInTheRegionAboveItsOwn) {
  See(EventKind::kScopeLook, kRegion, kMain);  // which it has opened
  See(EventKind::kScopeLook, kRegion, kTask);  // its own
  EXPECT_THAT(violation(), IsEmpty());
  See(EventKind::kScopeLook, kRoot, kTask);
  EXPECT_THAT(violation(), StartsWith("G10"));
}
TEST_F(OraclesTest, G10ASpawnIntoTheRegionAbove) {
  See(EventKind::kSpawn, kRoot, kTask + 1, kTask);
  EXPECT_THAT(violation(), StartsWith("G10"));
}
TEST_F(OraclesTest, G10ATaskWithTheTimeOfAFinalizer) {
  Park(task_word::kParkedGrace);
  EXPECT_THAT(violation(), StartsWith("G10"));
}
TEST_F(OraclesTest, G10AFinalizerHasThatTime) {
  See(EventKind::kDefer, kRegion, kMain, 0, "one");
  EndTask();
  See(EventKind::kFinalizerStart, kRegion, kMain, 0, "one");
  See(EventKind::kCheckpoint, kRegion, kMain);
  See(EventKind::kPark, kRegion, kMain, task_word::kParkedGrace, "Wait");
  EXPECT_THAT(violation(), IsEmpty());
}
TEST_F(OraclesTest, G12AWakeUpThatIsLost) {
  Park(task_word::kParkedOrdinary);
  See(EventKind::kWake, kRegion, kTask, 0);
  oracles_.OnQuiet();
  EXPECT_THAT(violation(), StartsWith("G12"));
}
TEST_F(OraclesTest, G12ATaskThatNeverBegins) {
  See(EventKind::kSpawn, kRegion, kTask + 1, kTask);
  oracles_.OnQuiet();
  EXPECT_THAT(violation(), StartsWith("G12"));
}
TEST_F(OraclesTest, G12AnOpenerThatIsNotWoken) {
  EndTask();
  See(EventKind::kCheckpoint, kRoot, kMain);
  See(EventKind::kPark, kRoot, kMain, task_word::kParkedStructural, "Region close");
  oracles_.OnQuiet();
  EXPECT_THAT(violation(), StartsWith("G12"));
}
TEST_F(OraclesTest, G12OneWhoIsPassed) {
  See(EventKind::kSpawn, kRegion, kTask + 1, kTask, "late");
  for (const uint64_t task : {kTask, kTask + 1}) {
    See(EventKind::kWaitEnqueue, kRegion, task);
    See(EventKind::kObjectUse, 0, 0, 400);
    See(EventKind::kPark, kRegion, task, task_word::kParkedOrdinary, "Semaphore::Acquire");
  }
  See(EventKind::kWake, kRegion, kTask + 1);
  EXPECT_THAT(violation(), StartsWith("G12"));
}
TEST_F(OraclesTest, G12WhereThereIsNoOrderNobodyIsPassed) {
  See(EventKind::kSpawn, kRegion, kTask + 1, kTask, "late");
  for (const uint64_t task : {kTask, kTask + 1}) {
    See(EventKind::kWaitEnqueue, kRegion, task);
    See(EventKind::kObjectUse, 0, 0, 400);
    See(EventKind::kPark, kRegion, task, task_word::kParkedOrdinary, "SessionClient::Call");
  }
  See(EventKind::kWake, kRegion, kTask + 1);
  EXPECT_THAT(violation(), IsEmpty());
}
TEST_F(OraclesTest, G12InAnotherQueueNobodyIsPassed) {
  See(EventKind::kSpawn, kRegion, kTask + 1, kTask, "late");
  for (const uint64_t task : {kTask, kTask + 1}) {
    See(EventKind::kWaitEnqueue, kRegion, task);
    See(EventKind::kObjectUse, 0, 0, task << 4);
    See(EventKind::kPark, kRegion, task, task_word::kParkedOrdinary, "Semaphore::Acquire");
  }
  See(EventKind::kWake, kRegion, kTask + 1);
  EXPECT_THAT(violation(), IsEmpty());
}

}  // namespace
}  // namespace quiesce::lab

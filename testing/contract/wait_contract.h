// wait_contract.h: the contract that every wait of every primitive keeps, as a test of one line.
//
// Why:        "was I given the value, or was I cancelled?" has to be answered right at every instant and
//             under every kind of cancel (G4, G8). Nobody thinks of all of them; this sweeps them.
// Example:    struct MailboxContract : WaitContractDefaults {
//               explicit MailboxContract(SteppedRuntime&) {}
//               auto Start(const Cx& cx) { return box.Take(cx); }            // the wait
//               void Grant() { box.Put(42); }                               // ends it; any thread
//               std::string CheckValue(Outcome<int>& got) { … }             // what Ok means
//               std::string CheckState(bool ok, bool granted) { … }         // taken iff Ok
//               Mailbox box;
//             };
//             INSTANTIATE_TYPED_TEST_SUITE_P(Mailbox, WaitContract, MailboxContract);
// Checked, in each scenario (scenario.h) of {moment of the cancel} x {its source} x {moment of the
//             grant} x {kind of wait} x {from where}:
//             (1) the wait yields Ok or Cancelled: Ok only if granted, Cancelled only if a cancel came
//                 that ends this kind of wait, with its reason; where the order of the two decides,
//                 as the order says;
//             (2) a cancelled wait took nothing and left nothing: CheckState, and a second wait
//                 gets what the first did not;
//             (3) no wake-up is lost, none is doubled: nothing stays parked, each park posts once;
//             (4) the waiter is in no queue; every region closes; all memory comes back.
//             Then the same with threads that really race (for ThreadSanitizer), with no order given.
#ifndef QUIESCE_TESTING_CONTRACT_WAIT_CONTRACT_H_
#define QUIESCE_TESTING_CONTRACT_WAIT_CONTRACT_H_

#include <bitset>
#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/testing/contract/scenario.h"
#include "quiesce/testing/contract/stepped_runtime.h"
#include "quiesce/testing/contract/wait_driver.h"

namespace quiesce::contract {

// What a contract inherits, and hides where it differs.
struct WaitContractDefaults {
  // Nothing ends the wait once it has begun.
  static constexpr bool kStructural = false;
  // … and it begins with a checkpoint, which an ordinary wait does anyway.
  static constexpr bool kChecksFirst = true;
  // It ends by itself; Grant is never needed.
  static constexpr bool kEndsAlone = false;
  // When Grant() returns the wait has been decided: no further step had to run for it.
  static constexpr bool kGrantIsImmediate = true;
  // What was granted before a cancel came is taken. False for readiness, which only says "try again".
  static constexpr bool kGrantIsKept = true;
  // What was granted before the wait began completes it at once. False for a wait that others only learn of when
  // it is queued.
  static constexpr bool kTryCompletes = true;
  // Grant() moves the clock: by one millisecond, from the start of the scenario.
  static constexpr bool kGrantMovesTime = false;
  // Tasks of the contract live in the region that is cancelled, until Grant().
  static constexpr bool kHoldsRegion = false;
  // The wait may be made in a finalizer.
  static constexpr bool kInFinalizer = true;
  // The wait whose moments count, if Start() makes more than one. Null: any.
  static constexpr const char* kWaitName = nullptr;
  // The moments that must be reached in the sweep.
  static constexpr uint32_t kReached = kAllMoments;

  // Before the scenario, in a region that is not cancelled.
  Task<void> SetUp(Cx) { co_return Ok(); }
  // In the region that is cancelled, before the waiting task is spawned into it.
  void SetUpInside(const Cx&) {}
  static RegionOptions InsideOptions() { return RegionOptions(); }
};

template <class C>
class SubjectOf final : public Subject {
 public:
  explicit SubjectOf(SteppedRuntime& runtime) : contract_(runtime) {}

  Traits traits() const override {
    return {.wait_name = C::kWaitName,
            .structural = C::kStructural,
            .checks_first = C::kChecksFirst,
            .ends_alone = C::kEndsAlone,
            .grant_is_immediate = C::kGrantIsImmediate,
            .grant_is_kept = C::kGrantIsKept,
            .try_completes = C::kTryCompletes,
            .grant_moves_time = C::kGrantMovesTime,
            .holds_region = C::kHoldsRegion};
  }
  Task<void> SetUp(Cx cx) override { return contract_.SetUp(cx); }
  void SetUpInside(const Cx& cx) override { contract_.SetUpInside(cx); }
  RegionOptions InsideOptions() override { return C::InsideOptions(); }
  void Grant() override { contract_.Grant(); }

  Task<void> WaitOnce(Cx cx, WaitDriver& driver) override {
    driver.Hit(Moment::kBeforeWait);
    auto wait = contract_.Start(cx);
    driver.Hit(Moment::kBeforeAwait);
    if constexpr (std::derived_from<decltype(wait), Waiter>) {
      // Of a wait that is never queued by it, it stays unset: LeaveWait could not ask.
      static_cast<ListHook&>(wait) = ListHook();
    }
    driver.EnterWait(cx);
    auto result = co_await wait;
    if constexpr (std::derived_from<decltype(wait), Waiter>) {
      driver.LeaveWait(&wait);
    } else {
      driver.LeaveWait(nullptr);
    }
    std::string problem;
    if (result.ok()) problem = contract_.CheckValue(result);
    if (!driver.racing()) problem += contract_.CheckState(result.ok(), driver.granted());
    if (result.ok()) {
      driver.Report(Ok(), std::move(problem));
    } else {
      driver.Report(Outcome<void>::FromFailure(result), std::move(problem));
    }
    driver.Hit(Moment::kAfter);
    co_return Ok();
  }
  Task<std::string> WaitAgain(Cx cx) override {
    auto wait = contract_.Start(cx);
    auto result = co_await wait;
    if (!result.ok()) co_return "the second wait yields " + result.ToString();
    co_return contract_.CheckValue(result);
  }

 private:
  C contract_;
};

template <class C>
class WaitContract : public ::testing::Test {
 protected:
  // Every scenario of one mode. The environment variable QUIESCE_CONTRACT_SCENARIO=number runs one.
  void Sweep(Mode mode) {
    if (mode == Mode::kFinalizer && !C::kInFinalizer) return;
    WaitDriver driver;
    Failures failures;
    int number = -1;
    for (const Scenario& scenario : AllScenarios(mode)) {
      if (!Wanted(++number)) continue;
      const std::string wrong =
          driver.Run(scenario, std::make_unique<SubjectOf<C>>(driver.runtime()));
      if (!wrong.empty() && failures.Add(number, scenario, wrong)) return;
    }
    // A moment that is never reached is a moment that is not tested.
    if (!Wanted(-1)) return;
    EXPECT_EQ(std::bitset<kMoments>(driver.reached() & C::kReached),
              std::bitset<kMoments>(C::kReached));
  }

  void RaceAll(uint32_t rounds) {
    WaitDriver driver;
    Failures failures;
    for (uint32_t round = 0; round < rounds; ++round) {
      Scenario scenario;
      scenario.mode = static_cast<Mode>(round % (C::kInFinalizer ? 4 : 3));
      scenario.source = static_cast<Source>(round / 4 % kSources);
      const std::string wrong =
          driver.Race(scenario, round, std::make_unique<SubjectOf<C>>(driver.runtime()));
      if (!wrong.empty() && failures.Add(static_cast<int>(round), scenario, wrong)) return;
    }
  }

 private:
  class Failures {
   public:
    // True once there are enough to see the pattern.
    bool Add(int number, const Scenario& scenario, const std::string& wrong) {
      ADD_FAILURE() << "scenario " << number << ": " << scenario.ToString() << "\n" << wrong;
      return ++count_ == 5;
    }

   private:
    int count_ = 0;
  };

  static bool Wanted(int number) {
    const char* only = std::getenv("QUIESCE_CONTRACT_SCENARIO");
    return only == nullptr || std::atoi(only) == number;
  }
};

TYPED_TEST_SUITE_P(WaitContract);

TYPED_TEST_P(WaitContract, OrdinaryWaitAtEachMoment) { this->Sweep(Mode::kOrdinary); }
TYPED_TEST_P(WaitContract, DrainWaitAtEachMoment) { this->Sweep(Mode::kForDrain); }
TYPED_TEST_P(WaitContract, MaskedWaitAtEachMoment) { this->Sweep(Mode::kMasked); }
TYPED_TEST_P(WaitContract, WaitInFinalizerAtEachMoment) { this->Sweep(Mode::kFinalizer); }
TYPED_TEST_P(WaitContract, GrantAndCancelOnRacingThreads) { this->RaceAll(600); }

REGISTER_TYPED_TEST_SUITE_P(WaitContract, OrdinaryWaitAtEachMoment, DrainWaitAtEachMoment,
                            MaskedWaitAtEachMoment, WaitInFinalizerAtEachMoment,
                            GrantAndCancelOnRacingThreads);

}  // namespace quiesce::contract

#endif  // QUIESCE_TESTING_CONTRACT_WAIT_CONTRACT_H_

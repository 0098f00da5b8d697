// The contract (wait_contract.h) for the waits of the core: floors 4 to 6 without I/O.
#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/contract/mailbox.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

std::string Is42(const Outcome<int>& got) {
  return got.ok() && *got == 42 ? "" : absl::StrCat("42 was given, got ", got.ToString());
}

// ---- the reference ----------------------------------------------------------------------------------

struct MailboxContract : WaitContractDefaults {
  explicit MailboxContract(SteppedRuntime&) {}
  auto Start(const Cx& cx) { return box.Take(cx); }
  void Grant() { box.Put(42); }
  std::string CheckValue(Outcome<int>& got) { return Is42(got); }
  std::string CheckState(bool ok, bool granted) {
    if (!box.queue_empty()) return "a waiter is left in the queue";
    if (box.reserved() != 0) return "a letter was handed over and not taken";
    const size_t expected = granted && !ok ? 1 : 0;
    return box.letters() == expected ? "" : absl::StrCat(box.letters(), " letters are left");
  }
  Mailbox box;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Mailbox, WaitContract, MailboxContract);

struct StructuralMailboxContract : MailboxContract {
  using MailboxContract::MailboxContract;
  static constexpr bool kStructural = true;
  static constexpr bool kChecksFirst = false;
  auto Start(const Cx& cx) { return box.TakeStructural(cx); }
};
INSTANTIATE_TYPED_TEST_SUITE_P(StructuralMailbox, WaitContract, StructuralMailboxContract);

// ---- time -------------------------------------------------------------------------------------------

struct SleepContract : WaitContractDefaults {
  static constexpr bool kGrantMovesTime = true;
  explicit SleepContract(SteppedRuntime& runtime)
      : runtime(runtime), until(runtime.Now() + absl::Milliseconds(1)) {}
  auto Start(const Cx& cx) { return SleepUntil(cx, until); }
  void Grant() { runtime.AdvanceTo(until); }
  std::string CheckValue(Outcome<void>&) { return runtime.Now() >= until ? "" : "woke too early"; }
  std::string CheckState(bool, bool) {
    return "";
  }  // a timer that stays armed is the runtime's problem
  SteppedRuntime& runtime;
  const Instant until;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Sleep, WaitContract, SleepContract);

// A tick that nobody waits for is a tick missed, so a grant that comes before the wait is made takes
// effect when it is.
struct IntervalContract : WaitContractDefaults {
  static constexpr bool kGrantMovesTime = true;
  explicit IntervalContract(SteppedRuntime& runtime) : runtime(runtime) {}
  Task<void> SetUp(Cx cx) {
    tick.emplace(cx, absl::Milliseconds(1));
    co_return Ok();
  }
  Task<void> Start(Cx cx) {
    bool granted_before = false;
    auto wait = [&] {
      ThreadMutexLock lock(mutex);
      waited = true;
      due = runtime.Now() + absl::Milliseconds(1);
      granted_before = granted;
      return tick->Next(cx);
    }();
    if (granted_before) runtime.AdvanceTo(due);
    co_return co_await wait;
  }
  void Grant() {
    ThreadMutexLock lock(mutex);
    granted = true;
    if (waited) runtime.AdvanceTo(due);
  }
  std::string CheckValue(Outcome<void>&) { return ""; }
  std::string CheckState(bool, bool) { return ""; }
  SteppedRuntime& runtime;
  std::optional<Interval> tick;
  ThreadMutex mutex;
  bool granted = false;
  bool waited = false;
  Instant due;
};
INSTANTIATE_TYPED_TEST_SUITE_P(IntervalTick, WaitContract, IntervalContract);

// ---- tasks ------------------------------------------------------------------------------------------

struct JoinContract : WaitContractDefaults {
  static constexpr bool kGrantIsImmediate = false;  // the joined task has to run to its end
  explicit JoinContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    joined.emplace(cx.Spawn(
        "joined", [this](Cx cx) -> Task<int> { co_return co_await gate.TakeStructural(cx); }));
    co_return Ok();
  }
  auto Start(const Cx& cx) { return joined->Join(cx); }
  void Grant() { gate.Put(42); }
  std::string CheckValue(Outcome<Outcome<int>>& got) { return Is42(*got); }
  std::string CheckState(bool ok, bool) {
    return ok && !joined->ended() ? "joined before the task's end" : "";
  }
  Mailbox gate;
  std::optional<TaskHandle<int>> joined;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Join, WaitContract, JoinContract);

// At most two tasks: the one that waits for admission, and one that leaves at the grant.
struct AdmissionContract : WaitContractDefaults {
  static constexpr bool kGrantIsImmediate = false;
  static constexpr bool kHoldsRegion = true;
  static constexpr bool kInFinalizer = false;  // a finalizer may not spawn
  explicit AdmissionContract(SteppedRuntime&) {}
  static RegionOptions InsideOptions() { return RegionOptions().WithMaxTasks(2); }
  void SetUpInside(const Cx& cx) {
    region = CoreOf(cx.region());
    first.emplace(cx.ForDrain().Spawn("first", [this](Cx cx) -> Task<void> {
      co_await OrReturn(gate.TakeStructural(cx));
      co_return Ok();
    }));
  }
  auto Start(const Cx& cx) {
    region = CoreOf(cx.region());
    return cx.SpawnWhenAdmitted("admitted", [](Cx) -> Task<int> { co_return 42; });
  }
  void Grant() { gate.Put(42); }
  std::string CheckValue(Outcome<TaskHandle<int>>& got) {
    // The region may have been cancelled between the admission and the spawn, which gives it back.
    spawned = !got->ended();
    return "";
  }
  std::string CheckState(bool ok, bool) {
    const bool expected = first->ended() && !(ok && spawned);
    const bool free = region->TryReserveAdmission(1);
    if (free) region->ReturnAdmission(1);
    return free == expected ? "" : free ? "one too many is admitted" : "an admission is lost";
  }
  RegionCore* region = nullptr;
  Mailbox gate;
  std::optional<TaskHandle<void>> first;
  bool spawned = false;
};
INSTANTIATE_TYPED_TEST_SUITE_P(SpawnWhenAdmitted, WaitContract, AdmissionContract);

struct YieldContract : WaitContractDefaults {
  static constexpr bool kEndsAlone = true;
  static constexpr uint32_t kReached = Bit(Moment::kBeforeStart) | Bit(Moment::kBeforeWait) |
                                       Bit(Moment::kBeforeAwait) | Bit(Moment::kChecked) |
                                       Bit(Moment::kResuming) | Bit(Moment::kAfter);
  explicit YieldContract(SteppedRuntime&) {}
  auto Start(const Cx& cx) { return Yield(cx); }
  void Grant() {}
  std::string CheckValue(Outcome<void>&) { return ""; }
  std::string CheckState(bool, bool) { return ""; }
};
INSTANTIATE_TYPED_TEST_SUITE_P(Yield, WaitContract, YieldContract);

// ---- select -----------------------------------------------------------------------------------------

INSTANTIATE_TYPED_TEST_SUITE_P(SelectMailbox, WaitContract, SelectContract<MailboxContract>);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectSleep, WaitContract, SelectContract<SleepContract>);

// Enqueue answers kRetry when the task has just ended.
struct SelectJoinContract : JoinContract {
  using JoinContract::JoinContract;
  static constexpr const char* kWaitName = "Select";
  Task<int> Start(Cx cx) {
    auto before = never.Take(cx);
    auto arm = joined->Join(cx);
    auto won = co_await OrReturn(Select(cx, before, arm));
    Outcome<Outcome<int>> ended = std::get<1>(std::move(won));
    co_return co_await OrReturn(std::move(*ended));
  }
  std::string CheckValue(Outcome<int>& got) { return Is42(got); }
  Mailbox never;
};
INSTANTIATE_TYPED_TEST_SUITE_P(SelectJoin, WaitContract, SelectJoinContract);

// A grant serves both arms: exactly one of the letters is taken.
struct TwoBoxesContract : WaitContractDefaults {
  static constexpr const char* kWaitName = "Select";
  explicit TwoBoxesContract(SteppedRuntime&) {}
  Task<int> Start(Cx cx) {
    auto left_arm = left.Take(cx);
    auto right_arm = right.Take(cx);
    auto won = co_await OrReturn(Select(cx, left_arm, right_arm));
    co_return won.index() == 0 ? std::get<0>(std::move(won)) : std::get<1>(std::move(won));
  }
  void Grant() {
    right.Put(42);
    left.Put(42);
  }
  std::string CheckValue(Outcome<int>& got) { return Is42(got); }
  std::string CheckState(bool ok, bool granted) {
    if (!left.queue_empty() || !right.queue_empty()) return "a waiter is left in a queue";
    if (left.reserved() + right.reserved() != 0) return "a letter was handed over and not taken";
    const size_t expected = (granted ? 2u : 0u) - (ok ? 1u : 0u);
    const size_t letters = left.letters() + right.letters();
    return letters == expected ? "" : absl::StrCat(letters, " letters are left, not ", expected);
  }
  Mailbox left;
  Mailbox right;
};
INSTANTIATE_TYPED_TEST_SUITE_P(SelectTwoBoxes, WaitContract, TwoBoxesContract);

// ---- regions ----------------------------------------------------------------------------------------

// The close is structural: whatever comes, it waits for the task in the region.
struct RegionCloseContract : WaitContractDefaults {
  static constexpr bool kStructural = true;
  static constexpr bool kHoldsRegion = true;
  static constexpr bool kGrantIsImmediate = false;
  static constexpr const char* kWaitName = "Region close";
  explicit RegionCloseContract(SteppedRuntime&) {}
  // Tells the body that the task in its region runs, or will never.
  struct Arrival {
    explicit Arrival(Mailbox* to) : to(to) {}
    Arrival(Arrival&& other) noexcept : to(std::exchange(other.to, nullptr)) {}
    ~Arrival() { Now(); }
    void Now() {
      if (to != nullptr) std::exchange(to, nullptr)->Put(1);
    }
    Mailbox* to;
  };
  auto Start(const Cx& cx) {
    return Region::Open(cx, "closing", [this](Cx cx) -> Task<void> {
      (void)cx.ForDrain().Spawn(
          "held",
          [this](Cx cx, Arrival arrival) -> Task<void> {
            held = true;
            arrival.Now();
            co_await OrReturn(gate.TakeStructural(cx));
            held = false;
            co_return Ok();
          },
          Arrival(&arrived));
      co_await OrReturn(arrived.TakeStructural(cx));
      started = held;
      co_return Ok();
    });
  }
  void Grant() { gate.Put(42); }
  std::string CheckValue(Outcome<void>&) { return held ? "closed over a live task (G2)" : ""; }
  std::string CheckState(bool ok, bool) {
    return !ok && started ? "all that ran ended Ok, but the region yields Cancelled" : "";
  }
  Mailbox gate;
  Mailbox arrived;
  bool started = false;
  std::atomic<bool> held{false};
};
INSTANTIATE_TYPED_TEST_SUITE_P(RegionClose, WaitContract, RegionCloseContract);

}  // namespace
}  // namespace quiesce::contract

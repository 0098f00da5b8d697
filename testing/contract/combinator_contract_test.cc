// The contract (wait_contract.h) for the waits of the combinators: for the end of a branch.
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/combinator/ended_queue.h"
#include "quiesce/runtime/combinator/join_set.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/testing/contract/mailbox.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

using combinator_internal::Branch;
using combinator_internal::EndedQueue;
using combinator_internal::EndedWait;

// A task that ends, with 42, at the grant.
struct HeldTask {
  auto Spawn(const Cx& cx) {
    return cx.Spawn("held",
                    [this](Cx cx) -> Task<int> { co_return co_await gate.TakeStructural(cx); });
  }
  void Grant() { gate.Put(42); }
  Mailbox gate;
};

// As MapReduce and Pipeline wait.
struct BranchEndContract : WaitContractDefaults {
  static constexpr bool kStructural = true;
  static constexpr bool kChecksFirst = false;
  static constexpr bool kGrantIsImmediate = false;  // the task has to run to its end
  explicit BranchEndContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    ended.Add(&branch, held.Spawn(cx).Release());
    co_return Ok();
  }
  auto Start(const Cx& cx) { return EndedWait(cx, &ended, 1); }
  void Grant() { held.Grant(); }
  std::string CheckValue(Outcome<Branch*>& got) {
    return *got == &branch ? "" : "Ok, but not with the branch that ended";
  }
  std::string CheckState(bool, bool) { return ""; }
  HeldTask held;
  EndedQueue ended;
  Branch branch;
};
INSTANTIATE_TYPED_TEST_SUITE_P(BranchEnd, WaitContract, BranchEndContract);

// As Hedge waits, when an attempt ends before the time: no timer stays armed.
struct BranchEndBeforeTimeContract : BranchEndContract {
  using BranchEndContract::BranchEndContract;
  auto Start(const Cx& cx) {
    return EndedWait(cx, &ended, 1, cx.services().clock, cx.Now() + absl::Hours(10'000));
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(BranchEndBeforeTime, WaitContract, BranchEndBeforeTimeContract);

// As Hedge waits, when the time ends the wait: the branch never ends before.
struct BranchEndOrTimeContract : WaitContractDefaults {
  static constexpr bool kStructural = true;
  static constexpr bool kChecksFirst = false;
  static constexpr bool kGrantMovesTime = true;
  explicit BranchEndOrTimeContract(SteppedRuntime& runtime)
      : runtime(runtime), until(runtime.Now() + absl::Milliseconds(1)) {}
  auto Start(const Cx& cx) { return EndedWait(cx, &ended, 1, cx.services().clock, until); }
  void Grant() { runtime.AdvanceTo(until); }
  std::string CheckValue(Outcome<Branch*>& got) {
    if (*got != nullptr) return "yields a branch, but none has ended";
    return runtime.Now() >= until ? "" : "woke too early";
  }
  std::string CheckState(bool, bool) { return ""; }
  SteppedRuntime& runtime;
  const Instant until;
  EndedQueue ended;
};
INSTANTIATE_TYPED_TEST_SUITE_P(BranchEndOrTime, WaitContract, BranchEndOrTimeContract);

struct JoinSetNextContract : WaitContractDefaults {
  static constexpr bool kGrantIsImmediate = false;
  explicit JoinSetNextContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    set.Spawn(cx, "held",
              [this](Cx cx) -> Task<int> { co_return co_await held.gate.TakeStructural(cx); });
    co_return Ok();
  }
  auto Start(const Cx& cx) { return set.Next(cx); }
  void Grant() { held.Grant(); }
  std::string CheckValue(Outcome<std::optional<Outcome<int>>>& got) {
    if (!got->has_value()) return "nullopt, but there is a task in the set";
    return (*got)->ok() && ***got == 42 ? "" : absl::StrCat("got ", (*got)->ToString());
  }
  std::string CheckState(bool ok, bool) {
    return set.size() == (ok ? 0u : 1u) ? "" : absl::StrCat(set.size(), " tasks are in the set");
  }
  HeldTask held;
  JoinSet<int> set;
};
INSTANTIATE_TYPED_TEST_SUITE_P(JoinSetNext, WaitContract, JoinSetNextContract);

}  // namespace
}  // namespace quiesce::contract

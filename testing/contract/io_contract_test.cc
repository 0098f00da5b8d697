// The contract (wait_contract.h) for the primitives that other threads and the process complete. Sockets have a file of
// their own.
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/blocking/blocking.h"
#include "quiesce/runtime/blocking/blocking_pool.h"
#include "quiesce/runtime/signal/shutdown_signal.h"
#include "quiesce/runtime/signal/signal_hub.h"
#include "quiesce/runtime/sync/completion.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

// ---- sync -------------------------------------------------------------------------------------------

struct CompletionContract : WaitContractDefaults {
  explicit CompletionContract(SteppedRuntime&) {}
  auto Start(const Cx& cx) { return completion.Wait(cx); }
  void Grant() { completion.Complete(42); }
  std::string CheckValue(Outcome<int>& got) { return *got == 42 ? "" : "another value"; }
  std::string CheckState(bool, bool) { return ""; }  // taken twice would be fatal
  Completion<int> completion;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Completion, WaitContract, CompletionContract);

// ---- signals ----------------------------------------------------------------------------------------

struct ShutdownSignalContract : WaitContractDefaults {
  explicit ShutdownSignalContract(SteppedRuntime& runtime)
      : runtime(runtime), hub(SignalHub::CreateUnbound()) {
    runtime.services().signals = hub.get();
  }
  ~ShutdownSignalContract() { runtime.services().signals = nullptr; }
  auto Start(const Cx& cx) { return ShutdownSignal(cx); }
  void Grant() { hub->Deliver(SIGTERM); }
  std::string CheckValue(Outcome<int>& got) { return *got == SIGTERM ? "" : "another signal"; }
  std::string CheckState(bool, bool) { return ""; }
  SteppedRuntime& runtime;
  std::unique_ptr<SignalHub> hub;
};
INSTANTIATE_TYPED_TEST_SUITE_P(ShutdownSignal, WaitContract, ShutdownSignalContract);

// ---- blocking calls ---------------------------------------------------------------------------------

using blocking_internal::Call;

// The wait for a thread: the pool's only one is taken until the grant.
struct BlockingStartContract : WaitContractDefaults {
  explicit BlockingStartContract(SteppedRuntime&) : holder(&Hold, [](BlockingJob*) {}) {
    QUIESCE_CHECK(Pool().TryStart(&holder).value(), "the pool's thread is not free");
  }
  ~BlockingStartContract() { Grant(); }
  static BlockingPool& Pool() {
    static BlockingPool pool(BlockingPoolOptions().WithMaxThreads(1));
    return pool;
  }
  auto Start(const Cx& cx) {
    call.emplace(cx, this);
    return Wait<blocking_internal::StartOp>(cx, &Pool(), &kName, &*call);
  }
  // The thread is free again, and what was queued has been called.
  void Grant() {
    holder.held.store(false);
    holder.held.notify_one();
    while (Pool().load().idle == 0) sched_yield();
  }
  std::string CheckValue(Outcome<void>&) {
    while (!call->Ended()) sched_yield();
    return Made(1);
  }
  std::string CheckState(bool ok, bool) { return Made(ok ? 1 : 0); }

  std::string Made(int expected) {
    const int made = calls.load();
    return made == expected ? "" : absl::StrCat(made, " calls were made");
  }
  struct Holder : BlockingJob {
    using BlockingJob::BlockingJob;
    std::atomic<bool> held{true};
  };
  static void Hold(BlockingJob* job) { static_cast<Holder*>(job)->held.wait(true); }
  struct CountedCall : Call {
    CountedCall(const CxBase& cx, BlockingStartContract* contract)
        : Call(cx, [](BlockingJob* job) { ++static_cast<CountedCall*>(job)->contract->calls; }),
          contract(contract) {}
    BlockingStartContract* contract;
  };
  static constexpr SpawnName kName = "blocking call";
  Holder holder;
  std::optional<CountedCall> call;
  std::atomic<int> calls{0};
};
INSTANTIATE_TYPED_TEST_SUITE_P(RunBlockingStart, WaitContract, BlockingStartContract);

// The wait for the end of a call, which nothing shortens.
struct BlockingEndContract : WaitContractDefaults {
  static constexpr bool kStructural = true;
  static constexpr bool kChecksFirst = false;
  explicit BlockingEndContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    call.emplace(cx, [](BlockingJob*) {});
    co_return Ok();
  }
  auto Start(const Cx& cx) { return Wait<blocking_internal::EndOp>(cx, &*call); }
  void Grant() { call->finish(&*call); }
  std::string CheckValue(Outcome<void>&) { return call->Ended() ? "" : "the call goes on"; }
  std::string CheckState(bool, bool) { return ""; }
  std::optional<Call> call;
};
INSTANTIATE_TYPED_TEST_SUITE_P(RunBlockingEnd, WaitContract, BlockingEndContract);

}  // namespace
}  // namespace quiesce::contract

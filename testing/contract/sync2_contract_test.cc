// The contract (wait_contract.h) for Notify, Barrier, OnceCell, Pool and IoPermit, each also as an arm of a Select.
#include <atomic>
#include <optional>
#include <source_location>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/sync/barrier.h"
#include "quiesce/runtime/sync/io_permit.h"
#include "quiesce/runtime/sync/notify.h"
#include "quiesce/runtime/sync/once_cell.h"
#include "quiesce/runtime/sync/pool.h"
#include "quiesce/runtime/sync/pool_seats.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/testing/contract/mailbox.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

// ---- Notify -----------------------------------------------------------------------------------------

struct NotifyContract : WaitContractDefaults {
  explicit NotifyContract(SteppedRuntime&) {}
  auto Start(const Cx& cx) { return notify.Wait(cx); }
  void Grant() { notify.NotifyOne(); }
  std::string CheckValue(Outcome<void>&) { return ""; }
  std::string CheckState(bool ok, bool granted) {
    const bool stored = notify.TryWait();
    if (stored) notify.NotifyOne();
    if (stored == (granted && !ok)) return "";
    return stored ? "a notification is stored that was used up" : "a notification is lost";
  }
  Notify notify;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Notify, WaitContract, NotifyContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectNotify, WaitContract, SelectContract<NotifyContract>);

// The wait is made before the condition is looked at, as notify.h says. What was there before counts at once.
struct NotifyAllContract : WaitContractDefaults {
  explicit NotifyAllContract(SteppedRuntime&) {}
  Task<void> Start(Cx cx) {
    NotifyWait changed = notify.Wait(cx);
    if (ready.load()) notify.NotifyAll();
    co_return co_await changed;
  }
  void Grant() {
    ready.store(true);
    notify.NotifyAll();
  }
  std::string CheckValue(Outcome<void>&) { return ready.load() ? "" : "nobody had notified"; }
  std::string CheckState(bool, bool) { return notify.TryWait() ? "NotifyAll has stored one" : ""; }
  Notify notify;
  std::atomic<bool> ready{false};
};
INSTANTIATE_TYPED_TEST_SUITE_P(NotifyAll, WaitContract, NotifyAllContract);

// ---- Barrier ----------------------------------------------------------------------------------------

// For two; the other one arrives at the grant.
struct BarrierContract : WaitContractDefaults {
  static constexpr bool kGrantIsImmediate = false;
  explicit BarrierContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    cx.Spawn("other", [this](Cx cx) -> Task<void> {
      co_await OrReturn(gate.TakeStructural(cx));
      co_await OrReturn(barrier.Arrive(cx));
      ++passed;
      co_return Ok();
    });
    co_return Ok();
  }
  auto Start(const Cx& cx) { return barrier.Arrive(cx); }
  void Grant() { gate.Put(1); }
  std::string CheckValue(Outcome<bool>&) { return ""; }
  std::string CheckState(bool ok, bool granted) {
    const uint32_t standing = barrier.standing();
    if (ok) return standing == 0 ? "" : absl::StrCat(standing, " stand there still");
    if (passed.load() != 0) return "the other went on because of an arrival that was cancelled";
    return standing <= (granted ? 1u : 0u) ? "" : "the cancelled arrival stands there still";
  }
  Barrier barrier{2};
  Mailbox gate;
  std::atomic<int> passed{0};
};
INSTANTIATE_TYPED_TEST_SUITE_P(Barrier, WaitContract, BarrierContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectBarrier, WaitContract, SelectContract<BarrierContract>);

// ---- OnceCell ---------------------------------------------------------------------------------------

using sync_internal::OnceGetOp;
using sync_internal::Turns;

// The turn is somebody's who cannot make the value, and passes it on at the grant.
struct OncePassContract : WaitContractDefaults {
  explicit OncePassContract(SteppedRuntime&) {
    turns.TryTake(ThisThreadAsTask(), std::source_location::current());
  }
  auto Start(const Cx& cx) { return Wait<OnceGetOp>(cx, &turns, std::source_location::current()); }
  void Grant() { turns.Pass(); }
  std::string CheckValue(Outcome<bool>& got) {
    if (!*got) return "a value is there that nobody has made";
    turns.Pass();
    return "";
  }
  std::string CheckState(bool, bool granted) {
    const bool free = turns.TryTake(ThisThreadAsTask(), std::source_location::current());
    if (free) turns.Pass();
    return free == granted ? "" : free ? "two have the turn" : "the turn is lost";
  }
  Turns turns;
};
INSTANTIATE_TYPED_TEST_SUITE_P(OncePass, WaitContract, OncePassContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectOncePass, WaitContract, SelectContract<OncePassContract>);

// … or makes it.
struct OnceSetContract : OncePassContract {
  using OncePassContract::OncePassContract;
  void Grant() { turns.Set(); }
  std::string CheckValue(Outcome<bool>& got) {
    return *got ? "a turn, but the value is there" : "";
  }
  std::string CheckState(bool, bool granted) {
    return turns.set() == granted ? "" : "set by somebody else";
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(OnceSet, WaitContract, OnceSetContract);

struct OnceWaitContract : WaitContractDefaults {
  static constexpr bool kGrantIsImmediate = false;
  explicit OnceWaitContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    cx.Spawn("maker", [this](Cx cx) -> Task<void> {
      auto init = [this](Cx cx) -> Task<int> { co_return co_await gate.TakeStructural(cx); };
      co_await OrReturn(cell.Get(cx, init));
      co_return Ok();
    });
    co_return Ok();
  }
  auto Start(const Cx& cx) { return cell.Wait(cx); }
  void Grant() { gate.Put(42); }
  std::string CheckValue(Outcome<const int*>& got) {
    return **got == 42 && *got == cell.TryGet() ? "" : "another value";
  }
  std::string CheckState(bool ok, bool) {
    return ok && cell.TryGet() == nullptr ? "a value that is not set" : "";
  }
  OnceCell<int> cell;
  Mailbox gate;
};
INSTANTIATE_TYPED_TEST_SUITE_P(OnceWait, WaitContract, OnceWaitContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectOnceWait, WaitContract, SelectContract<OnceWaitContract>);

// ---- Pool -------------------------------------------------------------------------------------------

using sync_internal::PooledThing;
using sync_internal::PoolSeats;
using sync_internal::SeatOp;

struct CountingSeats final : PoolSeats {
  CountingSeats() : PoolSeats(1, 1) {}
  void Destroy(PooledThing* thing) noexcept override { delete thing; }
};

// One seat, with a thing in it, which comes back at the grant.
struct SeatContract : WaitContractDefaults {
  explicit SeatContract(SteppedRuntime&) {}
  ~SeatContract() { seats->DropPool(); }
  Task<void> SetUp(Cx cx) {
    EXPECT_EQ(co_await OrReturn(Wait<SeatOp>(cx, seats)), nullptr);
    co_return Ok();
  }
  auto Start(const Cx& cx) { return Wait<SeatOp>(cx, seats); }
  void Grant() { seats->Return(new PooledThing()); }
  std::string CheckValue(Outcome<PooledThing*>& got) {
    if (*got == nullptr) return "the seat is there, and the thing is not";
    seats->Return(*got);
    return "";
  }
  std::string CheckState(bool, bool granted) {
    if (seats->size() != 1) return absl::StrCat("there are ", seats->size());
    return (seats->idle() == 1) == granted ? "" : absl::StrCat(seats->idle(), " are idle");
  }
  CountingSeats* const seats = new CountingSeats();
};
INSTANTIATE_TYPED_TEST_SUITE_P(PoolSeat, WaitContract, SeatContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectPoolSeat, WaitContract, SelectContract<SeatContract>);

// The whole of Checkout, with its permit, which the region of the wait owes.
struct CheckoutContract : WaitContractDefaults {
  static constexpr const char* kWaitName = "Pool::Checkout";
  explicit CheckoutContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    held.emplace(co_await OrReturn(pool.Checkout(cx)));
    co_return Ok();
  }
  Task<PoolPermit<int>> Start(Cx cx) { return pool.Checkout(cx); }
  void Grant() { (*std::exchange(held, std::nullopt)).Return(); }
  std::string CheckValue(Outcome<PoolPermit<int>>& got) {
    const int value = **got;
    (*std::move(got)).Return();
    return value == 1 ? "" : absl::StrCat("number ", value, " was made");
  }
  std::string CheckState(bool, bool granted) {
    return pool.size() == 1 && (pool.idle() == 1) == granted ? "" : "the seat is lost";
  }
  int made = 0;
  Pool<int> pool{PoolOptions().WithMaxSize(1), [this](Cx) -> Task<int> { co_return ++made; }};
  std::optional<PoolPermit<int>> held;
};
INSTANTIATE_TYPED_TEST_SUITE_P(PoolCheckout, WaitContract, CheckoutContract);

struct PoolCloseContract : CheckoutContract {
  using CheckoutContract::CheckoutContract;
  static constexpr const char* kWaitName = nullptr;
  auto Start(const Cx& cx) { return pool.Close(cx); }
  std::string CheckValue(Outcome<void>&) {
    return pool.size() == 0 ? "" : absl::StrCat(pool.size(), " are left");
  }
  std::string CheckState(bool, bool) { return ""; }
};
INSTANTIATE_TYPED_TEST_SUITE_P(PoolClose, WaitContract, PoolCloseContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectPoolClose, WaitContract, SelectContract<PoolCloseContract>);

// ---- IoPermit ---------------------------------------------------------------------------------------

using sync_internal::IoAnswerOp;
using sync_internal::IoBlockOf;

template <bool structural>
struct IoAnswerContract : WaitContractDefaults {
  static constexpr bool kStructural = structural;
  static constexpr bool kChecksFirst = !structural;
  explicit IoAnswerContract(SteppedRuntime&) { block->Start(); }
  ~IoAnswerContract() { block->DropOperation(); }
  auto Start(const Cx& cx) { return Wait<IoAnswerOp<structural>>(cx, block); }
  void Grant() { block->Answer(size_t{42}); }
  std::string CheckValue(Outcome<size_t>& got) { return *got == 42 ? "" : "another answer"; }
  std::string CheckState(bool, bool) { return ""; }  // an answer that is taken twice is fatal
  IoBlockOf<int>* const block = new IoBlockOf<int>();
};
INSTANTIATE_TYPED_TEST_SUITE_P(IoAnswer, WaitContract, IoAnswerContract<false>);
INSTANTIATE_TYPED_TEST_SUITE_P(IoAnswerStructural, WaitContract, IoAnswerContract<true>);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectIoAnswer, WaitContract,
                               SelectContract<IoAnswerContract<false>>);

// Done as a whole: whatever comes, it waits for the answer, and forwards the cancel once.
struct IoDoneContract : WaitContractDefaults {
  static constexpr bool kStructural = true;
  static constexpr bool kChecksFirst = false;
  explicit IoDoneContract(SteppedRuntime&) {
    operation.WithCancel([this] { ++told; });
  }
  Task<void> SetUp(Cx cx) {
    permit.emplace(operation.Start(cx));
    co_return Ok();
  }
  Task<size_t> Start(Cx cx) { return operation.Done(cx); }
  void Grant() { (*std::exchange(permit, std::nullopt)).Complete(42); }
  std::string CheckValue(Outcome<size_t>& got) { return *got == 42 ? "" : "another answer"; }
  std::string CheckState(bool ok, bool) {
    if (!ok) return "it ended before the answer";
    operation.buffer() = 1;  // the task's again; fatal if it is not
    return told <= 1 ? "" : absl::StrCat("the hook was called ", told, " times");
  }
  IoOperation<int> operation;
  std::optional<IoPermit<int>> permit;
  int told = 0;
};
INSTANTIATE_TYPED_TEST_SUITE_P(IoDone, WaitContract, IoDoneContract);

}  // namespace
}  // namespace quiesce::contract

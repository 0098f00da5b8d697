// pool.h: a bounded number of things that are made when they are needed and used again: connections, sessions.
//
// Why:        a connection is dear, limited in number, and may break while it is used. Whoever holds one owes it back;
//             one that is lost with a cancelled task must not shrink the pool, and one in an unknown state must
//             not be handed to the next.
// Example:    Pool<Session> sessions(PoolOptions().WithMaxSize(8), [](Cx cx) { return Connect(cx, "db:5432"); });
//             PoolPermit<Session> session = co_await OrReturn(sessions.Checkout(cx));
//             auto rows = co_await OrReturn(session->Query(cx, "…"));      // fails: the session is discarded
//             std::move(session).Return();                                // works: it is used again
// When not:   for a limit without things there is Semaphore. For one thing that all share: OnceCell.
// Invariants: (1) at most max_size exist at any moment, those that are being made or destroyed included;
//             (2) FIFO: what is returned goes to the Checkout that has waited longest, and nobody comes in between;
//             (3) a Checkout that is cancelled, or whose factory fails, holds nothing (G8): its seat goes to the next,
//             whose factory is tried then; (4) each permit ends by Return or Discard, and is named if it is
//             forgotten (G7); (5) what was used last is used first, so that the others may be closed.
//
// event \ state   | one is idle          | none idle, below max_size | max_size are out    | closed
// ----------------|----------------------|---------------------------|---------------------|-------------------
// Checkout        | that one, if the     | the factory makes one     | waits               | Error
//                 | check says yes       |                           |                     |
// TryCheckout     | that one, unchecked  | nothing                   | nothing             | nothing
// Return          | idle, or destroyed   | idle                      | to the first that   | destroyed
//                 | above max_idle       |                           | waits, else idle    |
// Discard, failure| destroyed            | destroyed                 | destroyed; the first| destroyed
// of the factory  |                      |                           | that waits makes one|
//
// Abort is Discard: who gives up in the middle (cancelled, failed, panicked) leaves a thing in a state that nobody knows,
// with half a request written, say. Only Return says that it may be used again.
// Lifetime:   the Pool outlives the calls of Checkout and Close. Permits, and a Checkout's factory, may outlive it: what
//             it holds is in a block that they keep. Idle things are destroyed with the Pool, those that are out when
//             they come back.
// Threads:    any. A thread that is no task takes what is idle (TryCheckout); to wait, or to make one, takes a task:
//             RegionRef::Spawn.
#ifndef QUIESCE_RUNTIME_SYNC_POOL_H_
#define QUIESCE_RUNTIME_SYNC_POOL_H_

#include <cstdint>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/permit.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/pool_seats.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

template <class T, class CxType>
class Pool;

namespace sync_internal {

// One of the things, where it stays.
template <class T>
struct PoolThing : PooledThing {
  template <class U>
  explicit PoolThing(U&& made) : value(std::forward<U>(made)) {}
  T value;
};

template <class T>
struct PoolSlot {
  static constexpr PermitKind kKind = {"PoolPermit", "Return or Discard"};
  PoolSlot(PoolSeats* seats, PoolThing<T>* thing) : seats(seats), thing(thing) {}
  void Abort() { seats->Discard(thing); }
  PoolSeats* seats;
  PoolThing<T>* thing;
};

}  // namespace sync_internal

// One of a pool's things, for its holder alone. Owes Return or Discard (G7); dropped, aborted or completed another way it
// is discarded. It does not move in memory while it is passed on.
template <class T>
class [[nodiscard]] PoolPermit : public Permit<sync_internal::PoolSlot<T>> {
  using Slot = sync_internal::PoolSlot<T>;

 public:
  // Fatal after the permit has been consumed or moved from.
  T& operator*() const { return Thing()->value; }
  T* operator->() const { return &Thing()->value; }

  // It is as good as before: gives it to the next. False, and discarded, if its region had revoked the permit. Does not
  // suspend.
  bool Return() && {
    return std::move(*this).Act([](Slot& slot) { slot.seats->Return(slot.thing); });
  }
  // It is broken, or might be: destroys it, here and now. Another may be made in its place.
  void Discard() && {
    (void)std::move(*this).Act([](Slot& slot) { slot.Abort(); });
  }

 private:
  template <class U, class CxType>
  friend class Pool;
  PoolPermit(const CxBase& cx, Slot slot, const std::source_location& where)
      : Permit<Slot>(cx, slot, where) {}
  PoolPermit(Slot slot, const std::source_location& where) : Permit<Slot>(slot, where) {}

  sync_internal::PoolThing<T>* Thing() const {
    if (!this->live()) [[unlikely]]
      Fatal(
          "PoolPermit: used after it was consumed or moved from: the thing may be another's by "
          "now");
    return this->slot().thing;
  }
};

class PoolOptions {
 public:
  // At most so many exist. Fatal if 0.
  PoolOptions& WithMaxSize(uint32_t max_size) {
    max_size_ = max_size;
    return *this;
  }
  // At most so many are kept while nobody wants them; those above are destroyed when they are returned. Unless set: all.
  PoolOptions& WithMaxIdle(uint32_t max_idle) {
    max_idle_ = max_idle;
    return *this;
  }
  uint32_t max_size() const { return max_size_; }
  uint32_t max_idle() const { return max_idle_; }

 private:
  uint32_t max_size_ = 16;
  uint32_t max_idle_ = ~uint32_t{0};
};

// CxType: what the factory and the check may do, and so what Checkout needs, CxWith<cap::Net> say.
template <class T, class CxType = Cx>
class Pool {
  using Seats = sync_internal::PoolSeats;
  using Thing = sync_internal::PoolThing<T>;

 public:
  using Factory = absl::AnyInvocable<Task<T>(CxType) const>;
  using Check = absl::AnyInvocable<Task<bool>(CxType, T&) const>;

  // `factory` makes one; it runs in the task that calls Checkout, with its cx, in several at a time.
  Pool(const PoolOptions& options, Factory factory)
      : core_(new Core(options, std::move(factory))) {}
  // Fatal if a Checkout or a Close waits, or one that was passed over has yet to return.
  ~Pool() { core_->DropPool(); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // `check` is asked before an idle one is given out: Ok(true): it is good; Ok(false) or an Error: it is destroyed, and
  // the factory makes another one. Before the first Checkout.
  Pool& WithCheck(Check check) {
    core_->check = std::move(check);
    return *this;
  }

  // Takes an idle one, or makes one.
  // Returns  PoolPermit | Cancelled | Error(kFailedPrecondition) if closed | what the factory yielded.
  // Suspends while max_size are out, FIFO, and in the check and the factory. A checkpoint in any case.
  // Cancel   safe (G8): holds nothing; loses its place in line. One that was being checked is destroyed.
  // Owes     Return or Discard (G7); the region counts it until then.
  // Threads  any.
  Task<PoolPermit<T>> Checkout(CxType cx,
                               std::source_location where = std::source_location::current()) {
    return Run(core_, cx, where);
  }
  // Takes an idle one, unchecked; nullopt if there is none or somebody waits for it. Never suspends; no checkpoint.
  std::optional<PoolPermit<T>> TryCheckout(
      const CxBase& cx, std::source_location where = std::source_location::current()) {
    cx.Verify();
    auto* thing = static_cast<Thing*>(core_->TryTakeIdle());
    if (thing == nullptr) return std::nullopt;
    return PoolPermit<T>(cx, {core_, thing}, where);
  }
  // The same for a thread that is no task. No region owes the permit, unless it is bound to one by Rebind.
  std::optional<PoolPermit<T>> TryCheckout(
      std::source_location where = std::source_location::current()) {
    auto* thing = static_cast<Thing*>(core_->TryTakeIdle());
    if (thing == nullptr) return std::nullopt;
    return PoolPermit<T>({core_, thing}, where);
  }

  // Closes the pool, at the call: what is idle is destroyed, and every Checkout fails but for those that have got past
  // the wait. Then waits until all that are out have come back, and every one is destroyed, whoever does that.
  // Returns  Ok | Cancelled.
  // Suspends until then; an ordinary wait, since how long others keep theirs is not the pool's to say: through
  //          cx.ForDrain() it goes on while the region drains. A checkpoint also when none is out.
  // Cancel   safe (G8): only the waiting ends. The pool is closed, and Close can be called again.
  // Threads  any; several may wait.
  PoolCloseWait Close(const CxBase& cx) {
    core_->Close();
    return PoolCloseWait(cx, core_);
  }

  // How many exist, those being made included, and how many of them are idle. Hints: they may have changed by now.
  uint32_t size() const { return core_->size(); }
  uint32_t idle() const { return core_->idle(); }

 private:
  struct Core final : Seats {
    Core(const PoolOptions& options, Factory factory)
        : Seats(options.max_size(), options.max_idle()), factory(std::move(factory)) {}
    void Destroy(sync_internal::PooledThing* thing) noexcept override {
      delete static_cast<Thing*>(thing);
    }
    const Factory factory;
    Check check;
  };

  // A seat, and perhaps a thing, on the way to its permit.
  class Seated {
   public:
    Seated(Core* core, Thing* thing) : core_(core), thing_(thing) {}
    Seated(const Seated&) = delete;
    Seated& operator=(const Seated&) = delete;
    ~Seated() {
      if (core_ != nullptr) core_->Discard(thing_);
    }
    Thing* thing() const { return thing_; }
    void Replace(Thing* thing) {
      if (thing_ != nullptr) core_->Destroy(thing_);
      thing_ = thing;
    }
    sync_internal::PoolSlot<T> Take() { return {std::exchange(core_, nullptr), thing_}; }

   private:
    Core* core_;
    Thing* thing_;
  };

  static Task<PoolPermit<T>> Run(Core* core, CxType cx, std::source_location where) {
    using SeatWait = Wait<sync_internal::SeatOp>;
    auto* idle = static_cast<Thing*>(co_await OrReturn(SeatWait(cx, core)));
    Seated seated(core, idle);
    if (idle != nullptr && core->check != nullptr) {
      Task<bool> checking =
          task_internal::CallForTask<bool>([&] { return core->check(cx, idle->value); });
      Outcome<bool> good = co_await checking;
      if (good.severity() >= Severity::kCancelled) {
        co_return Outcome<PoolPermit<T>>::FromFailure(std::move(good));
      }
      if (!good.ok() || !*good) seated.Replace(nullptr);
    }
    if (seated.thing() == nullptr) {
      Task<T> making = task_internal::CallForTask<T>([&] { return core->factory(cx); });
      T made = co_await OrReturn(making);
      seated.Replace(new Thing(std::move(made)));
    }
    co_return PoolPermit<T>(cx, seated.Take(), where);
  }

  Core* const core_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_POOL_H_

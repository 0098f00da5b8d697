// permit.h: a value that must be consumed exactly once, and how to make a kind of one's own.
//
// Why:        "reserved, and then forgotten" loses capacity, answers and locks. Here forgetting does not compile,
//             or names the place that was forgotten.
// Example:    a kind of permit is a slot, what is held, and a class with the actions:
//               struct SeatSlot {
//                 static constexpr PermitKind kKind = {"SeatPermit", "Book"};
//                 void Abort() { hall->GiveBack(seat); }
//                 Hall* hall;
//                 int seat;
//               };
//               class [[nodiscard]] SeatPermit : public Permit<SeatSlot> {
//                public:
//                 SeatPermit(const CxBase& cx, SeatSlot slot, std::source_location where)
//                     : Permit(cx, slot, where) {}
//                 // False if the region had revoked the seat, which then is given back.
//                 bool Book(Guest guest) && {
//                   return std::move(*this).Act([&](SeatSlot& slot) { slot.hall->Book(slot.seat, guest); });
//                 }
//               };
//             It is counted by its region, named when it is leaked, and known to the checker, like all others.
// Consume:    by the action, by Complete (the obligation was met another way), or by Abort (as if it had never
//             been reserved). All three are called on an rvalue: std::move(permit).Book(guest).
// Owed:       by the region of the Cx it was reserved with, wherever it travels, until it is consumed or Rebind is
//             called (R8). That region's close waits for it, at most as long as a drain may take, and then
//             revokes it: a later action does nothing but an abort, and says so.
// Dropped:    with a frame that ended through OrReturn, by a cancel or by a panic, or in the value of a task that was
//             cancelled, or whose handle went with such a frame: aborted. Anywhere else:
//             a leak, which is fatal where debug checks are on; in production aborted, counted
//             (Runtime::counters) and reported once for each place.
// Threads:    as a value. It may be moved to any thread and be consumed there.
#ifndef QUIESCE_RUNTIME_OBLIGATION_PERMIT_H_
#define QUIESCE_RUNTIME_OBLIGATION_PERMIT_H_

#include <concepts>
#include <source_location>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/ledger.h"
#include "quiesce/runtime/task/silent_end.h"

namespace quiesce {
inline namespace v0 {

// What a permit holds. Abort gives it back; it does not fail, suspend or throw, and is called on any thread.
// Complete, if there is one, does what is to be done when the obligation was met another way; else Abort does.
template <class S>
concept PermitSlot = std::is_nothrow_move_constructible_v<S> &&
                     std::is_nothrow_move_assignable_v<S> && requires(S slot) {
                       { S::kKind } -> std::convertible_to<const PermitKind&>;
                       slot.Abort();
                     };

template <class Slot>
class [[nodiscard]] Permit {
  static_assert(
      PermitSlot<Slot>,
      "Permit<Slot>: the slot is nothrow movable, has a `static constexpr PermitKind kKind` and "
      "a `void Abort()`");

 public:
  Permit(Permit&&) noexcept = default;
  // A live permit that is assigned to is dropped.
  Permit& operator=(Permit&& other) noexcept {
    if (this != &other) {
      if (live()) Drop();
      obligation_ = std::move(other.obligation_);
      slot_ = std::move(other.slot_);
    }
    return *this;
  }
  ~Permit() {
    if (live()) [[unlikely]]
      Drop();
  }

  // Consumed: what it was for happened another way.
  void Complete() && {
    Finish(PermitEnd::kCompleted, [this](bool granted) {
      if constexpr (requires(Slot slot) { slot.Complete(); }) {
        if (granted) return slot_.Complete();
      }
      slot_.Abort();
    });
  }
  // Consumed: as if it had never been reserved.
  void Abort() && {
    Finish(PermitEnd::kAborted, [this](bool) { slot_.Abort(); });
  }

  // From now on cx's region owes it. `cx` may be another task's, as long as that task waits for this one: a branch
  // rebinds to the Cx of who called the combinator.
  // Errors   kFailedPrecondition: the region that owed it has revoked it. It stays so.
  absl::Status Rebind(const CxBase& cx,
                      std::source_location where = std::source_location::current()) {
    Check();
    if (!obligation_.Resolve(Slot::kKind, PermitEnd::kRebound, [](bool) {})) {
      slot_.Abort();
      return absl::FailedPreconditionError(
          "Rebind: the permit had been revoked by the close of its region, and is given back now");
    }
    obligation_ = Obligation::ForRegionOf(cx, Slot::kKind, where);
    return absl::OkStatus();
  }

  // False once it is consumed or moved from.
  bool live() const { return obligation_.live(); }
  // Has its region revoked it? A hint: it may in the next moment.
  bool revoked() const { return obligation_.revoked(); }

 protected:
  // Reserved through `cx`. Inlined: a permit that is built in memory and moved at once is slow to read again.
  [[gnu::always_inline]] Permit(const CxBase& cx, Slot slot, const std::source_location& where)
      : obligation_(cx, Slot::kKind, where), slot_(std::move(slot)) {}
  // Reserved by a thread that is no task: no region owes it.
  Permit(Slot slot, const std::source_location& where)
      : obligation_(where), slot_(std::move(slot)) {}

  // For the action of a derived class: consumes the permit by effect(slot), which does not throw: what may, comes
  // before. False, and aborted instead, if it
  // was revoked.
  template <class Effect>
  [[gnu::always_inline]] bool Act(Effect effect) && {
    return Finish(PermitEnd::kActed, [this, &effect](bool granted) __attribute__((always_inline)) {
      if (granted) [[likely]] {
        effect(slot_);
      } else {
        slot_.Abort();
      }
    });
  }
  Slot& slot() { return slot_; }
  const Slot& slot() const { return slot_; }

 private:
  // Inlined, as what it calls: an effect is a few instructions that end in the primitive.
  template <class Effect>
  [[gnu::always_inline]] bool Finish(PermitEnd end, Effect effect) {
    Check();
    return obligation_.Resolve(Slot::kKind, end, effect);
  }
  void Check() const {
    if (!live()) [[unlikely]]
      Fatal("%s: consumed twice, or after it was moved from. A permit is consumed exactly once",
            Slot::kKind.name);
  }
  [[gnu::cold, gnu::noinline]] void Drop() {
    const bool silent = EndingSilently() || obligation_.revoked();
    if (!silent) obligation_.Leaked(Slot::kKind);
    obligation_.Resolve(Slot::kKind, silent ? PermitEnd::kAborted : PermitEnd::kLeaked,
                        [this](bool) { slot_.Abort(); });
  }

  Obligation obligation_;
  Slot slot_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_OBLIGATION_PERMIT_H_

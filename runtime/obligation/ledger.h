// ledger.h: who owes what: the side of a permit that its region sees.
//
// Why:        a region must not close over an open permit (G7), wherever the permit has travelled (R8), and to
//             know that must cost a channel's send next to nothing.
// How:        most permits are resolved by the task that reserved them. So a task counts its own, without an atomic
//             operation, and tells its region only when it ends. Who resolves another task's permit works
//             on the region's ledger word: it *claims* the permit, which a revocation cannot take any more, has the
//             effect, and gives the claim back. Once every task has ended the word is exact, and that is when
//             the close reads it.
// Invariants: (1) open permits of a region = its ledger word + what its living tasks count themselves;
//             (2) a permit is claimed once, or revoked, never both: one compare-exchange on the ledger word;
//             (3) a revoked permit keeps the region's record, so that what it points to stays.
// Debug:      where debug checks are on each open permit has an entry here, with its number, place and task.
// Threads:    an Obligation as a value; different ones anywhere.
#ifndef QUIESCE_RUNTIME_OBLIGATION_LEDGER_H_
#define QUIESCE_RUNTIME_OBLIGATION_LEDGER_H_

#include <atomic>
#include <bit>
#include <cstdint>
#include <source_location>
#include <string>
#include <utility>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/trace/emit.h"

namespace quiesce {
inline namespace v0 {

// How a permit was resolved. The numbers are those of EventKind::kPermitEnd.
enum class PermitEnd : uint8_t {
  kActed,      // by its action: Send, Commit, Release …
  kCompleted,  // by Complete
  kAborted,    // by Abort, or with a frame that ended by a failure, a cancel or a panic
  kLeaked,     // dropped
  kGivenBack,  // after it had been revoked
  kRebound,    // another region owes it now
};

// Names of the kind of a permit, for messages.
struct PermitKind {
  const char* name;     // "SendPermit"
  const char* actions;  // "Send": what consumes it, beside Complete and Abort
};

// testing/bench measures what the ledger costs, against permits that nobody counts. Nothing else defines this.
#if defined(QUIESCE_BENCH_WITHOUT_LEDGER)
inline constexpr bool kHasLedger = false;
#else
inline constexpr bool kHasLedger = true;
#endif

class Obligation {
 public:
  // Reserved through `cx`, whose region owes it until it is resolved.
  [[gnu::always_inline]] Obligation(const CxBase& cx, const PermitKind& kind,
                                    const std::source_location& where)
      : region_(cx.region()), task_(cx.task()->id), place_(std::bit_cast<uintptr_t>(where)) {
    if (!kHasLedger) return;
    auto& task = static_cast<TaskCore&>(*cx.task());
    Count(region_ == task.scope ? task.permits : region_->opener_permits, +1);
    if (Instrumented()) [[unlikely]]
      NoteReserve(task, kind);
  }
  // Reserved through `cx` by whatever task or thread, though the message of a leak names cx's task: counted in
  // the region's word.
  static Obligation ForRegionOf(const CxBase& cx, const PermitKind& kind,
                                const std::source_location& where);
  // Reserved by a thread that is no task: no region owes it.
  explicit Obligation(const std::source_location& where)
      : task_(kUncounted), place_(std::bit_cast<uintptr_t>(where)) {}

  Obligation(Obligation&& other) noexcept
      : region_(other.region_), task_(std::exchange(other.task_, 0)), place_(other.place_) {}
  Obligation& operator=(Obligation&& other) noexcept {
    region_ = other.region_;
    task_ = std::exchange(other.task_, 0);
    place_ = other.place_;
    return *this;
  }
  ~Obligation() = default;  // whoever holds it has resolved it

  // False once it has been moved from or resolved.
  bool live() const { return task_ != 0; }

  // Resolves it as `end`, by calling effect(true); effect(false) if it has been revoked, when the effect must be
  // that of an abort. Returns what effect was called with. Precondition: live(). An effect that throws ends the
  // process: half of it would be done, and the permit neither open nor resolved.
  template <class Effect>
  [[gnu::always_inline]] bool Resolve(const PermitKind& kind, PermitEnd end,
                                      Effect effect) noexcept {
    const bool counted = !kHasLedger || CountsHere(task_);
    Claimed claimed;
    if (!counted) [[unlikely]]
      claimed = Claim();
    task_ = 0;
    const bool granted = counted || !claimed.revoked;
    effect(granted);  // it may wake somebody who destroys this
    if (!counted) [[unlikely]]
      End(kind, end, claimed);
    return granted;
  }

  // Dropped without having been consumed: fatal where debug checks are on; else counted, and reported once for
  // each place. Precondition: live().
  [[gnu::cold]] void Leaked(const PermitKind& kind) const;

  // Has it been revoked? For a hint: it may be in the next moment. False once it is resolved.
  bool revoked() const { return live() && region_ != nullptr && RegionHasRevoked(); }

 private:
  // What Resolve keeps where it does more than count.
  struct Claimed {
    RegionScope* region;  // null: nobody's, and nothing more is to be done
    uintptr_t place;
    uint64_t task;
    bool elsewhere;  // the region's word has the claim
    bool revoked;
  };
  // In task_: nobody counts it by itself, whoever resolves it claims it. Without the bit, who reserved it. Neither bit
  // is in an id, of a task (counted from 1) or of a thread (counted from 2^63, thread_wait.cc), so that none is equal to
  // task_.
  static constexpr uint64_t kUncounted = uint64_t{1} << 62;
  // The same of a permit whose reserve was noted, so that its end is too: nothing else need be asked to find that out.
  // A permit that is older than a recording may end in it without a reserve, or not be seen in it at all.
  static constexpr uint64_t kNoted = uint64_t{1} << 61;

  uint64_t task_id() const { return task_ & ~(kUncounted | kNoted); }
  bool RegionHasRevoked() const {
    return (region_->permits.load(std::memory_order_acquire) & permit_word::kRevoked) != 0;
  }
  void Count(std::atomic<int16_t>& counter, int16_t change) {
    int16_t count;
    if (__builtin_add_overflow(counter.load(std::memory_order_relaxed), change, &count))
        [[unlikely]] {
      Spill(counter, change);
    } else {
      counter.store(count, std::memory_order_relaxed);
    }
  }

  // Is `id`, the task that reserved it, the one that runs here, so that it counts by itself? Then it has.
  [[gnu::always_inline]] bool CountsHere(uint64_t id) {
    const auto* now = cx_internal::CurrentTask();
    if (now == nullptr || now->id != id) [[unlikely]]
      return false;
    auto& task = const_cast<TaskCore&>(static_cast<const TaskCore&>(*now));
    if (region_ == task.scope) {
      Count(task.permits, -1);  // its region cannot have closed: the task is one of it
      return true;
    }
    if (RegionHasRevoked()) [[unlikely]]
      return false;
    Count(region_->opener_permits, -1);
    return true;
  }

  [[gnu::cold]] Claimed Claim();
  [[gnu::cold]] static void End(const PermitKind& kind, PermitEnd end, const Claimed& claimed);
  [[gnu::cold]] void NoteReserve(const TaskCore& task, const PermitKind& kind);
  [[gnu::cold]] void Spill(std::atomic<int16_t>& counter, int16_t change);
  void AddEntry(const TaskCore& task, const PermitKind& kind);
  static void RemoveEntry(uintptr_t place);

  struct Entry;
  friend struct LedgerOf;

  RegionScope* region_ = nullptr;  // null: nobody's
  uint64_t task_;                  // its id, perhaps with kUncounted or kNoted; 0: resolved
  // The std::source_location; or, where debug checks are on and a region owes it, the Entry* that has it.
  uintptr_t place_;
  static_assert(sizeof(std::source_location) == sizeof(uintptr_t));
};

// What a region asks of its ledger. For region/.
struct LedgerOf {
  // Moves what `counter` says into the region's word.
  static void Flush(RegionScope* region, std::atomic<int16_t>& counter);
  // The open permits that are known by name, "SendPermit #7, reserved at fetch.cc:41 by task 12 'fetch'; …", at
  // most a few of them; empty where debug checks are off.
  static std::string Describe(const RegionScope* region);
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_OBLIGATION_LEDGER_H_

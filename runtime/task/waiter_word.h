// waiter_word.h: who decides a wait: the steps that the state in a task's word can make.
//
// Why:        grant, cancel, park and pin meet in one word, whose every order counts. Here they are, without what goes
//             on around them, so that an explorer can try each order (testing/lock_free).
// States:     scope.h has the table. A wait is decided by one compare-exchange, of whoever makes it: it moves the word
//             out of kRunning or kParked… to kGranted, kDecidedCancelled or kDecidedSpent. If it was parked, the one who
//             has decided posts the task; else the task sees it when it tries to park.
// Invariants: (1) of a wait one decision is made, and stays until the task ends it; (2) the task is posted once for
//             each park, after it; (3) a cancel that finds the task not parked has left kLook or a cancel bit of the word's
//             own before, and the task looks at it before it parks, as does who grants; (4) a pinned task does not end its decision.
// Threads:    any, but for what is the task's own. Each change is acq_rel: who sees a decision sees what came before it.
#ifndef QUIESCE_RUNTIME_TASK_WAITER_WORD_H_
#define QUIESCE_RUNTIME_TASK_WAITER_WORD_H_

#include <atomic>
#include <cstdint>

#include "quiesce/runtime/cx/scope.h"

namespace quiesce {
inline namespace v0 {

// What a sweep of a region, or a cancel of one task, ends.
enum class SweepKind : uint8_t {
  kCancel,      // ordinary waits
  kSpent,       // … and drain waits
  kGraceSpent,  // … and waits of finalizers
};

// Of a task's word. `Atomic`: std::atomic<uint32_t>, or one whose operations are visible.
template <class Atomic = std::atomic<uint32_t>>
class WaiterWord {
 public:
  explicit WaiterWord(Atomic& word) : word_(word) {}

  static constexpr uint32_t StateOf(uint32_t word) { return word & task_word::kStateMask; }
  static constexpr bool IsParked(uint32_t word) {
    switch (StateOf(word)) {
      case task_word::kParkedOrdinary:
      case task_word::kParkedDrain:
      case task_word::kParkedStructural:
      case task_word::kParkedGrace:
        return true;
      default:
        return false;
    }
  }
  // Does `kind` end the wait of a task in this state? Not one that is not parked; nor a structural one, which forwards a
  // cancel and never ends early.
  static constexpr bool Ends(SweepKind kind, uint32_t word) {
    switch (StateOf(word)) {
      case task_word::kParkedOrdinary:
        return true;
      case task_word::kParkedDrain:
        return kind != SweepKind::kCancel;
      case task_word::kParkedGrace:
        return kind == SweepKind::kGraceSpent;
      default:
        return false;
    }
  }

  // ---- the task's own ----

  // kRunning -> `mode`, one of kParked…, where there is nothing to look at. False: nothing has changed.
  [[gnu::always_inline]] bool TryPark(uint8_t mode) {
    uint32_t word = word_.load(std::memory_order_acquire);
    constexpr uint32_t kUnusual =
        task_word::kStateMask | task_word::kAnyCancel | task_word::kBoostMask | task_word::kLook;
    return (word & kUnusual) == 0 &&
           word_.compare_exchange_strong(word, word | mode, std::memory_order_acq_rel,
                                         std::memory_order_acquire);
  }
  // The same, whatever there is. `fails(word)`: does something in the word, or in the region's if kLook is in the word, end
  // such a wait? Then it is decided (kDecidedCancelled). `prepare()`: true if it has done something that the word is
  // to be looked at for once more; who changes the word after that finds the task parked. False: it is decided.
  template <class Fails, class Prepare>
  [[gnu::always_inline]] bool Park(uint8_t mode, Fails fails, Prepare prepare) {
    bool look = false;
    uint32_t word = word_.load(std::memory_order_acquire);
    while (StateOf(word) == task_word::kRunning) {
      if ((word & task_word::kLook) != 0) {
        // Out before the region is looked at, so that a sweep that comes after this changes the word again.
        word = word_.fetch_and(~task_word::kLook, std::memory_order_acq_rel) & ~task_word::kLook;
        look = true;
        continue;
      }
      if (prepare()) [[unlikely]] {
        word = word_.load(std::memory_order_acquire);
        continue;
      }
      const bool fail = fails(look ? word | task_word::kLook : word);
      const uint32_t wanted = word | (fail ? task_word::kDecidedCancelled : mode);
      if (word_.compare_exchange_weak(word, wanted, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return !fail;
      }
    }
    return false;
  }

  bool IsDecided() const {
    return StateOf(word_.load(std::memory_order_acquire)) != task_word::kRunning;
  }
  // Which way, once it is decided. The word keeps that until EndDecision, so that there is no second one while the
  // waiter may still be in a queue.
  bool IsGranted() const {
    return StateOf(word_.load(std::memory_order_acquire)) == task_word::kGranted;
  }
  // Of a Select: the granted arm's number, from 1.
  uint32_t GrantedArm() const {
    return (word_.load(std::memory_order_acquire) & task_word::kArmMask) >> task_word::kArmShift;
  }
  // … -> kRunning. True if it is pinned: then AwaitUnpin has to follow.
  bool EndDecision() {
    const uint32_t before = word_.fetch_and(~task_word::kWaitMask, std::memory_order_acq_rel);
    return (before & task_word::kPinned) != 0;
  }
  // The same, for a wait that was never parked. Only in a Select can somebody have granted it: the word is nobody's else
  // while the task runs, but for marks that stay.
  void Disarm() {
    if ((word_.load(std::memory_order_acquire) & task_word::kWaitMask) != 0) {
      word_.fetch_and(~task_word::kWaitMask, std::memory_order_acq_rel);
    }
  }
  bool IsPinned() const {
    return (word_.load(std::memory_order_acquire) & task_word::kPinned) != 0;
  }

  // ---- a primitive's, under its lock ----

  // `mode` -> kGranted, where the task is parked in a wait that is no Select's: the caller posts it. False: nothing has
  // changed, and Grant decides.
  [[gnu::always_inline]] bool TryGrant(uint8_t mode) {
    uint32_t word = word_.load(std::memory_order_relaxed);
    return StateOf(word) == mode &&
           word_.compare_exchange_strong(word, ToGranted(word, 0), std::memory_order_acq_rel,
                                         std::memory_order_relaxed);
  }
  // kRunning or `mode` -> kGranted. kLost: another decision came first, or a mark that is in the word: fails(word), as
  // for Park.
  enum class Granted : uint8_t { kLost, kArming, kParked };  // kParked: the caller posts the task
  template <class Fails>
  [[gnu::always_inline]] Granted Grant(uint8_t mode, uint8_t arm, Fails fails) {
    uint32_t word = word_.load(std::memory_order_acquire);
    while (true) {
      const uint32_t state = StateOf(word);
      const bool parked = state == mode;
      if (!parked) {
        if (state != task_word::kRunning) return Granted::kLost;
        // On its way to park. A cancel that came before this grant has left a mark, and the commit will fail of it; but for
        // one of the region, once the task has taken the mark (Park): then this grant still counts.
        if ((word & (task_word::kLook | task_word::kAnyCancel)) != 0 && fails(word)) [[unlikely]] {
          return Granted::kLost;
        }
      }
      if (word_.compare_exchange_weak(word, ToGranted(word, arm), std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return parked ? Granted::kParked : Granted::kArming;
      }
    }
  }
  // kRunning -> kGranted, by the task itself, for an arm that can be had while others are being queued. False: another
  // has been granted, or it was cancelled.
  bool Claim(uint8_t arm) {
    uint32_t word = word_.load(std::memory_order_acquire);
    while (StateOf(word) == task_word::kRunning) {
      if (word_.compare_exchange_weak(word, ToGranted(word, arm), std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return true;
      }
    }
    return false;
  }

  // ---- a cancel's ----

  // Decides the wait, if `kind` ends it: then the caller posts the task. Else, and if `tell`, the task looks at its
  // region's word, which the caller has marked, before it parks.
  template <bool tell>
  [[gnu::always_inline]] bool Decide(SweepKind kind) {
    const uint32_t decision =
        kind == SweepKind::kCancel ? task_word::kDecidedCancelled : task_word::kDecidedSpent;
    uint32_t word = word_.load(std::memory_order_acquire);
    bool ends;
    uint32_t wanted;
    do {
      ends = Ends(kind, word);
      if (!tell && !ends) return false;
      wanted = ends ? (word & ~task_word::kWaitMask) | decision : word | task_word::kLook;
    } while (!word_.compare_exchange_weak(word, wanted, std::memory_order_acq_rel,
                                          std::memory_order_acquire));
    return ends;
  }

  // ---- who reads another task's wait ----

  // A pinned task does not leave the wait that it is parked in. False: it is not parked, or pinned by another.
  bool TryPin() {
    uint32_t word = word_.load(std::memory_order_acquire);
    while (IsParked(word) && (word & task_word::kPinned) == 0) {
      if (word_.compare_exchange_weak(word, word | task_word::kPinned, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return true;
      }
    }
    return false;
  }
  void Unpin() { word_.fetch_and(~task_word::kPinned, std::memory_order_release); }

 private:
  static constexpr uint32_t ToGranted(uint32_t word, uint8_t arm) {
    return (word & ~task_word::kWaitMask) | task_word::kGranted |
           uint32_t{arm} << task_word::kArmShift;
  }

  Atomic& word_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_WAITER_WORD_H_

// watch.h: the latest value of something, and waiting for the next.
//
// Why:        a setting, a leader, a state of health: who reads wants the latest and not the history, must not
//             hold up who writes, and must never miss the last one.
// Example:    auto [setting, watching] = MakeWatch<Setting>(Setting());
//             cx.Spawn("apply", [](Cx cx, WatchReceiver<Setting> setting) -> Task<void> {
//               Apply(setting.Get());
//               while (co_await OrReturn(setting.Changed(cx))) Apply(setting.Get());
//               co_return Ok();                               // the sender is gone, and its last value is applied
//             }, std::move(watching));
//             setting.Send(Read("app.conf"));
// Versions:   each value has a number, one more than that of the value before. A receiver remembers the latest that
//             it has *seen*: by Get or With, or because Changed said that there is one. So between two Changed
//             a receiver may skip values, but never the last, and it is told of none twice.
// Invariants: (1) the value that is there when the last sender goes is announced to each receiver that has not
//                 seen it, before it is told that the senders are gone;
//             (2) a cancelled Changed has seen nothing (G8);
//             (3) T's copy, its destructor and the functions given to With and Modify run under no lock: they
//                 may use the same watch, take their time, or throw, and hold up nobody.
// How (3):    a value is never changed where it lies. Send puts a new one beside it and swaps, a reader keeps the one
//             that it reads. So Send costs a block of the slab, unless T is plain bytes.
//
// event \ state | receiver has seen the latest | has not            | no sender left
// --------------|------------------------------|--------------------|-------------------------------
// Changed       | waits                        | true, and seen     | true if not seen, else false
// Get, With     | the latest, and seen         | the latest, seen   | the latest, seen
// Send          | becomes "has not"            | stays              | –
//
// Lifetime:   what is watched lives as long as its handles. A handle outlives the waits that were made with it; it
//             is fatal to destroy a receiver in which a task waits.
// Threads:    senders on any. A receiver is used by one task or thread at a time; Clone it for another. What
//             happened before a Send happens before the return of what reads that value.
#ifndef QUIESCE_RUNTIME_CHANNEL_WATCH_H_
#define QUIESCE_RUNTIME_CHANNEL_WATCH_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/channel/moved_from.h"
#include "quiesce/runtime/channel/sending_end.h"
#include "quiesce/runtime/channel/shared_value.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

template <class T>
class WatchReceiver;
template <class T>
class WatchSender;

namespace watch_internal {

// A receiver's side of what is watched. Its own task reads and writes `seen` but while it waits; then, and
// `waiter` always, they are guarded by the core's lock.
struct Watcher {
  uint64_t seen = 0;
  Waiter* waiter = nullptr;  // from the Enqueue to the Harvest or Withdraw of a Changed
};

// One wait in Changed. Guarded by the core's lock.
struct Watching : ListHook {
  explicit Watching(Watcher* watcher) : watcher(watcher) {}
  Watcher* watcher;
};

// All of it but the value.
class Core {
 public:
  Core() = default;
  virtual ~Core() = default;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  void AddSender() ABSL_LOCKS_EXCLUDED(lock_);
  void DropSender() ABSL_LOCKS_EXCLUDED(lock_);
  void AddReceiver() ABSL_LOCKS_EXCLUDED(lock_);
  void DropReceiver(const Watcher& watcher) ABSL_LOCKS_EXCLUDED(lock_);
  size_t receivers() ABSL_LOCKS_EXCLUDED(lock_);

  // Is there something to say to `watcher`: a value that it has not seen (true, and it has now), or that there
  // will be none (false)? `granted`: its wait was, for the one or the other.
  bool Look(Watcher& watcher, bool granted, std::optional<Outcome<bool>>& result)
      ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);
    if (granted) watcher.waiter = nullptr;
    if (watcher.waiter != nullptr) [[unlikely]]
      WaitedTwice(*watcher.waiter);
    return Answer(watcher, result);
  }
  Enqueued Enqueue(Watching& watching, Waiter& waiter, std::optional<Outcome<bool>>& result)
      ABSL_LOCKS_EXCLUDED(lock_);
  void Withdraw(Watching& watching) ABSL_LOCKS_EXCLUDED(lock_);

 protected:
  bool HasNews(const Watcher& watcher) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return watcher.seen != version_ || senders_ == 0;
  }
  bool Answer(Watcher& watcher, std::optional<Outcome<bool>>& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (!HasNews(watcher)) return false;
    result.emplace(watcher.seen != version_);
    watcher.seen = version_;
    return true;
  }
  // Wakes those that have something to see, a bounded number, so that nobody spins on the lock for long; true if
  // there are more: then call WakeRest, with a handle and without the lock.
  [[nodiscard]] bool WakeSome() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return !waiting_.empty() && WakeSomeSlow();
  }
  void WakeRest() ABSL_LOCKS_EXCLUDED(lock_);

  PrimitiveLock lock_{"Watch"};  // before a run queue's (inside Waiter::Grant)
  uint32_t senders_ ABSL_GUARDED_BY(lock_) = 1;
  uint32_t receivers_ ABSL_GUARDED_BY(lock_) = 1;
  uint32_t handles_ ABSL_GUARDED_BY(lock_) = 2;
  uint64_t version_ ABSL_GUARDED_BY(lock_) = 1;
  IntrusiveList<Watching> waiting_ ABSL_GUARDED_BY(lock_);

 private:
  bool WakeSomeSlow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[noreturn, gnu::cold]] static void WaitedTwice(const Waiter& waiting);
};

template <class T>
class Watched final : public Core {
 public:
  using Value = channel_internal::SharedValue<T>;

  explicit Watched(T&& initial) { latest_ = Hold(std::move(initial)); }

  void Send(T&& value) ABSL_LOCKS_EXCLUDED(lock_) {
    Value fresh = Hold(std::move(value));
    bool more = false;
    {
      PrimitiveLockHolder lock(lock_);
      std::swap(latest_, fresh);
      ++version_;
      more = WakeSome();
    }
    if (more) [[unlikely]]
      WakeRest();
  }
  // False: another value has come since `version`.
  bool TryReplace(T&& value, uint64_t version) ABSL_LOCKS_EXCLUDED(lock_) {
    Value fresh = Hold(std::move(value));
    bool more = false;
    {
      PrimitiveLockHolder lock(lock_);
      if (version_ != version) return false;
      std::swap(latest_, fresh);
      ++version_;
      more = WakeSome();
    }
    if (more) [[unlikely]]
      WakeRest();
    return true;
  }
  Value Latest(uint64_t* version) ABSL_LOCKS_EXCLUDED(lock_) {
    PrimitiveLockHolder lock(lock_);
    *version = version_;
    return latest_;
  }

 private:
  static Value Hold(T&& value) {
    Value held;
    held.Allocate();
    held.Put(std::move(value));
    return held;
  }

  Value latest_ ABSL_GUARDED_BY(lock_);
};

class ChangedOp {
 public:
  using Value = bool;
  static constexpr const char* kName = "WatchReceiver::Changed";
  static constexpr bool kStructural = false;
  ChangedOp(Core* core, Watcher* watcher) : core_(core), watching_(watcher) {}

  bool Try(Waiter&, std::optional<Outcome<bool>>& result) {
    return core_->Look(*watching_.watcher, /*granted=*/false, result);
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<bool>>& result) {
    return core_->Enqueue(watching_, waiter, result);
  }
  // What it was woken for stays: versions only rise, and senders that are gone do not come back.
  bool Harvest(Waiter&, std::optional<Outcome<bool>>& result) {
    return core_->Look(*watching_.watcher, /*granted=*/true, result);
  }
  void Withdraw(Waiter&) { core_->Withdraw(watching_); }

 private:
  Core* core_;
  Watching watching_;
};

}  // namespace watch_internal

using WatchChangedWait = Wait<watch_internal::ChangedOp>;

// Move-only. Clone it, or WatchSender::Subscribe, for another.
template <class T>
class WatchReceiver {
 public:
  // No wait of it may be under way.
  WatchReceiver(WatchReceiver&& other) noexcept
      : watched_(std::exchange(other.watched_, nullptr)), watcher_(other.watcher_) {}
  WatchReceiver& operator=(WatchReceiver other) noexcept {
    std::swap(watched_, other.watched_);
    std::swap(watcher_, other.watcher_);
    return *this;
  }
  // Fatal while a task waits in Changed.
  ~WatchReceiver() {
    if (watched_ != nullptr) watched_->DropReceiver(watcher_);
  }
  // Another receiver, which has seen what this one has.
  WatchReceiver Clone() const {
    watched()->AddReceiver();
    return WatchReceiver(watched(), watcher_.seen);
  }

  // A copy of the latest value, which it has seen then; not if the copy throws. Suspends never.
  T Get() {
    uint64_t version = 0;
    T value = watched()->Latest(&version).Take();
    HasSeen(version);
    return value;
  }
  // What visit(const T&) returns, for a value that is dear to copy. The reference is not good for longer. It has been
  // seen when the visit returns, and not if that throws. The visit may use the receiver, but not move or destroy it.
  template <class Visit>
  auto With(Visit&& visit) {
    uint64_t version = 0;
    const channel_internal::SharedValue<T> latest = watched()->Latest(&version);
    if constexpr (std::is_void_v<std::invoke_result_t<Visit, const T&>>) {
      std::forward<Visit>(visit)(*latest);
      HasSeen(version);
    } else {
      auto result = std::forward<Visit>(visit)(*latest);
      HasSeen(version);
      return result;
    }
  }

  // Waits for a value that it has not seen.
  // Returns  true: there is one, which counts as seen from here on, and Get has it or a later one | false: it has
  //          seen the last, since every sender is gone | Cancelled.
  // Suspends until one of these. A checkpoint also when it need not wait.
  // Cancel   safe (G8): nothing has been seen; the next Changed says it.
  // Threads  one Changed at a time.
  WatchChangedWait Changed(const CxBase& cx) { return WatchChangedWait(cx, watched(), &watcher_); }
  // The same for a plain thread, which it blocks. Cancelled (kDeadline) once `timeout` has passed. Fatal in a
  // task.
  Outcome<bool> BlockingChanged(absl::Duration timeout = absl::InfiniteDuration()) {
    return BlockThread<watch_internal::ChangedOp>("WatchReceiver::BlockingChanged",
                                                  "co_await OrReturn(receiver.Changed(cx))",
                                                  timeout, watched(), &watcher_);
  }

 private:
  friend class WatchSender<T>;
  template <class U>
  friend std::pair<WatchSender<U>, WatchReceiver<U>> MakeWatch(U initial);
  // Takes over a reference to `watched`.
  WatchReceiver(watch_internal::Watched<T>* watched, uint64_t seen) : watched_(watched) {
    watcher_.seen = seen;
  }
  // The visit of a value may have seen a later one.
  void HasSeen(uint64_t version) { watcher_.seen = std::max(watcher_.seen, version); }

  watch_internal::Watched<T>* watched() const {
    return channel_internal::NotMovedFrom(watched_, "a WatchReceiver");
  }

  watch_internal::Watched<T>* watched_;  // null: moved from
  watch_internal::Watcher watcher_;
};

// Copies send to the same receivers. The last one that goes tells them that nothing will come any more.
template <class T>
class WatchSender {
 public:
  // Makes `value` the latest, also if nobody receives, and wakes who waits for it. Suspends never. Threads: any.
  void Send(T value) { watched()->Send(std::move(value)); }
  // Makes the latest of what change(T&) makes of a copy of the latest. Another sender may be faster: then it is
  // called again, with a copy of that one's, so that no change is lost. Suspends never. Threads: any.
  template <class Change>
  void Modify(Change change) {
    while (true) {
      uint64_t version = 0;
      T value = watched()->Latest(&version).Take();
      change(value);
      if (watched()->TryReplace(std::move(value), version)) return;
    }
  }
  // A copy of the latest.
  T Get() const {
    uint64_t version = 0;
    return watched()->Latest(&version).Take();
  }

  // A receiver that has seen the latest: its Changed waits for the next. Threads: any.
  WatchReceiver<T> Subscribe() {
    uint64_t seen = 0;
    (void)watched()->Latest(&seen);
    watched()->AddReceiver();
    return WatchReceiver<T>(watched(), seen);
  }
  // Does anybody receive? For a sender that could save the work; another moment may say otherwise.
  size_t receivers() const { return watched()->receivers(); }

 private:
  template <class U>
  friend std::pair<WatchSender<U>, WatchReceiver<U>> MakeWatch(U initial);
  explicit WatchSender(watch_internal::Watched<T>* watched) : end_(watched) {}
  watch_internal::Watched<T>* watched() const {
    return channel_internal::NotMovedFrom(end_.get(), "a WatchSender");
  }

  channel_internal::SendingEnd<watch_internal::Watched<T>> end_;
};

// One allocation. The receiver has seen `initial`.
template <class T>
std::pair<WatchSender<T>, WatchReceiver<T>> MakeWatch(T initial) {
  auto* watched = new watch_internal::Watched<T>(std::move(initial));
  return {WatchSender<T>(watched), WatchReceiver<T>(watched, 1)};
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_WATCH_H_

// pool_seats.h: the part of a Pool that does not depend on what is in it: seats, the line for them, what is idle.
//
// How:        a *seat* is the right to let one thing exist. A Checkout takes a seat, with an idle thing in it or without;
//             Return and Discard give it to the first in line, or back.
// Lifetime:   the block goes with the last of: the Pool, the seats that are taken. All of that is counted under the lock,
//             so that nobody has to count references.
// Threads:    any.
#ifndef QUIESCE_RUNTIME_SYNC_POOL_SEATS_H_
#define QUIESCE_RUNTIME_SYNC_POOL_SEATS_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/leaving.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {

// What a Pool holds, without its type. One that is idle is in the stack.
struct PooledThing {
  PooledThing* below = nullptr;
};

class PoolSeats {
 public:
  // Fatal if max_size is 0.
  PoolSeats(uint32_t max_size, uint32_t max_idle);
  PoolSeats(const PoolSeats&) = delete;
  PoolSeats& operator=(const PoolSeats&) = delete;

  // Called without the lock.
  virtual void Destroy(PooledThing* thing) noexcept = 0;

  // Null if none is idle.
  PooledThing* TryTakeIdle() ABSL_LOCKS_EXCLUDED(lock_);
  // Gives the seat and its thing back.
  void Return(PooledThing* thing) ABSL_LOCKS_EXCLUDED(lock_);
  // Destroys the thing (null: there is none), and gives the seat back.
  void Discard(PooledThing* thing) ABSL_LOCKS_EXCLUDED(lock_);

  // Returns when it has destroyed what was idle.
  void Close() ABSL_LOCKS_EXCLUDED(lock_);
  // By ~Pool: it is gone, and with the last seat, or now, the block.
  void DropPool() ABSL_LOCKS_EXCLUDED(lock_);

  uint32_t size() const {
    PrimitiveLockHolder lock(lock_);
    return taken_ + idle_count_;
  }
  uint32_t idle() const {
    PrimitiveLockHolder lock(lock_);
    return idle_count_;
  }

 protected:
  virtual ~PoolSeats() = default;

 private:
  friend class SeatOp;
  friend class PoolCloseOp;

  // A Checkout in line.
  struct Request : ListHook {
    Waiter* waiter = nullptr;
    // What it was given, written before the grant.
    PooledThing* thing = nullptr;
    bool closed = false;
  };

  bool SeatIsFree() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return idle_ != nullptr || taken_ < max_size_;
  }
  // Takes a free seat, with the thing that is in it, if any.
  PooledThing* TakeSeat() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Gives a taken seat, with `thing` or null in it, to the first in line. False if nobody takes it.
  bool HandOver(PooledThing* thing) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Nobody has taken them: so many seats fewer are taken. True if the caller has to delete the block.
  bool GiveBack(uint32_t seats) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  const uint32_t max_size_;
  const uint32_t max_idle_;
  // Held over Waiter::Grant: before a run queue's.
  mutable PrimitiveLock lock_{"Pool"};
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  bool pool_gone_ ABSL_GUARDED_BY(lock_) = false;
  // Seats of permits, of those on their way to one, and of what Close is destroying.
  uint32_t taken_ ABSL_GUARDED_BY(lock_) = 0;
  uint32_t idle_count_ ABSL_GUARDED_BY(lock_) = 0;  // in idle_
  PooledThing* idle_ ABSL_GUARDED_BY(lock_) = nullptr;
  // Not empty only while no seat is free.
  IntrusiveList<Request> line_ ABSL_GUARDED_BY(lock_);
  IntrusiveList<Waiter, QueueHook> closers_ ABSL_GUARDED_BY(lock_);
  Leaving leaving_ ABSL_GUARDED_BY(lock_);
};

// Takes a seat; yields what is in it, or null.
class SeatOp {
 public:
  using Value = PooledThing*;
  static constexpr const char* kName = "Pool::Checkout";
  static constexpr bool kStructural = false;
  explicit SeatOp(PoolSeats* seats) : seats_(seats) {}

  bool Try(Waiter&, std::optional<Outcome<PooledThing*>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<PooledThing*>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<PooledThing*>>& result);
  void Withdraw(Waiter&);

 private:
  // If that needs no wait. `waiter` null: it is not in line yet.
  std::optional<Enqueued> TakeNow(Waiter* waiter, std::optional<Outcome<PooledThing*>>& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(seats_->lock_);

  PoolSeats* const seats_;
  PoolSeats::Request request_;
};

// Waits until no seat is taken. The pool is closed.
class PoolCloseOp {
 public:
  using Value = void;
  static constexpr const char* kName = "Pool::Close";
  static constexpr bool kStructural = false;
  explicit PoolCloseOp(PoolSeats* seats) : seats_(seats) {}

  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result) {
    result.emplace(Ok());
    return true;
  }
  void Withdraw(Waiter& waiter);

 private:
  PoolSeats* const seats_;
};

}  // namespace sync_internal

using PoolCloseWait = Wait<sync_internal::PoolCloseOp>;

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_POOL_SEATS_H_

// guard_of.h: the guard of a lock that owns its data: the only way to that data.
//
// Example:    auto locked = co_await OrReturn(cache.Lock(cx));   // MutexOf<Cache> cache
//             locked->Put(key, value);
// Threads:    as those of the guard G.
#ifndef QUIESCE_RUNTIME_SYNC_GUARD_OF_H_
#define QUIESCE_RUNTIME_SYNC_GUARD_OF_H_

#include <optional>
#include <utility>

#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/holder.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

// A guard G and the data of type T (const where it may only be read) that it opens.
template <class G, class T>
class [[nodiscard]] GuardOf {
 public:
  // For the lock that owns the data.
  GuardOf(G guard, T* data) : guard_(std::move(guard)), data_(data) {}
  GuardOf(GuardOf&&) noexcept = default;
  GuardOf& operator=(GuardOf&&) noexcept = default;
  ~GuardOf() = default;

  // The data, as long as the guard holds the lock; fatal after that.
  T& operator*() const { return *Data(); }
  T* operator->() const { return Data(); }

  // As those of G.
  void Unlock() && { std::move(guard_).Unlock(); }
  void Detach() { guard_.Detach(); }
  bool holds() const { return guard_.holds(); }

 private:
  T* Data() const {
    if (!guard_.holds()) [[unlikely]]
      sync_internal::HoldsNothing("the data of a lock");
    return data_;
  }
  G guard_;
  T* data_;
};

namespace sync_internal {

// The operation (see wait.h) that locks and yields a guard. A Request is what waits: it has kName, TryTake, Queue,
// Withdraw, LendLane, and MakeGuard once the lock is its.
template <class Request>
class LockOp : public Request {
 public:
  using Value = typename Request::Guard;
  static constexpr bool kStructural = false;
  using Request::Request;

  bool Try(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    return this->TryTake(waiter) && Harvest(waiter, result);
  }
  Value MakeValue(Waiter& waiter) { return this->MakeGuard(waiter); }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    const Enqueued enqueued = this->Queue(waiter);
    if (enqueued == Enqueued::kDone) Harvest(waiter, result);
    return enqueued;
  }
  bool Harvest(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    result.emplace(this->MakeGuard(waiter));
    return true;
  }
};

// The request of a lock that owns data of type T: its guard opens the data.
template <class Request, class T>
class OwningRequest : public Request {
 public:
  using Guard = GuardOf<typename Request::Guard, T>;
  template <class... Args>
  explicit OwningRequest(T* data, Args&&... args)
      : Request(std::forward<Args>(args)...), data_(data) {}
  Guard MakeGuard(Waiter& waiter) { return Guard(Request::MakeGuard(waiter), data_); }

 private:
  T* const data_;
};

template <class Request, class T>
using LockOpOf = LockOp<OwningRequest<Request, T>>;

}  // namespace sync_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_GUARD_OF_H_

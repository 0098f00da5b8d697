// bulkhead.h: so many calls at once, so many that wait for a place, and a clear no to all others.
//
// Why:        a callee that has become slow fills the process with calls that wait for it, until nothing else has
//             memory or a connection. Behind a bulkhead it can only fill its own part.
// Example:    Bulkhead database("database", /*concurrent=*/16, /*waiting=*/64);
//             auto query = [&](Cx cx) { return Query(cx, key); };
//             Row row = co_await OrReturn(database.Call(cx, query));
// Invariants: (1) at most `concurrent` callables run, and at most `waiting` calls wait; (2) they begin in the order in
//             which the calls came; (3) a call that ends, however it does, lets the next one begin.
// When not:   to hold a place across several calls, or places of different size: sync/semaphore.h.
// Lifetime:   outlives its calls: destroying it under one is fatal.
// Threads:    any.
#ifndef QUIESCE_RUNTIME_COMBINATOR_BULKHEAD_H_
#define QUIESCE_RUNTIME_COMBINATOR_BULKHEAD_H_

#include <atomic>
#include <cstdint>
#include <source_location>
#include <utility>

#include "absl/status/status.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

class Bulkhead {
 public:
  // `name`, of what is behind it, is a literal, for messages. Fatal unless concurrent >= 1 and waiting >= 0.
  Bulkhead(const char* name, int64_t concurrent, int64_t waiting,
           std::source_location where = std::source_location::current());
  // Fatal while a call runs or waits.
  ~Bulkhead();
  Bulkhead(const Bulkhead&) = delete;
  Bulkhead& operator=(const Bulkhead&) = delete;

  // Runs callable(cx), as part of the calling task, once there is a place.
  // Returns  its outcome; Error(kResourceExhausted), at once and without having called it, if so many run and
  //          so many wait already; Cancelled, full or not, if an ordinary wait of `cx` would fail.
  // Suspends until there is a place, FIFO, and then as the callable does. A checkpoint even when there is one.
  // Cancel   safe: while it waits the callable is not called, and its place in line is free; then it is
  //          forwarded.
  // Callables: a named one stays where it is and must outlive the await; one that is not trivially
  //          destructible must be named (R10).
  template <class CxType, class F>
  auto Call(const CxType& cx, F&& callable,
            std::source_location where = std::source_location::current()) {
    combinator_internal::CheckArguments<F>();
    return Run<combinator_internal::BranchValue<F, CxType>, CxType, F>(
        cx, this, std::forward<F>(callable), where);
  }

  // For figures: calls that run or wait.
  int64_t inside() const { return inside_.load(std::memory_order_relaxed); }

 private:
  // A call that was let in, running or waiting.
  class Entry {
   public:
    explicit Entry(Bulkhead* bulkhead) : bulkhead_(bulkhead->TryEnter() ? bulkhead : nullptr) {}
    ~Entry() {
      // Release: whoever destroys the bulkhead finds it left.
      if (bulkhead_ == nullptr) return;
      BeforeUse(&bulkhead_->inside_, ObjectUse::kChange);
      bulkhead_->inside_.fetch_sub(1, std::memory_order_release);
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    bool refused() const { return bulkhead_ == nullptr; }

   private:
    Bulkhead* const bulkhead_;
  };

  template <class T, class CxType, class F>
  static Task<T> Run(CxType cx, Bulkhead* bulkhead, F callable, std::source_location where) {
    co_await OrReturn(cx.TryCheckpoint());
    const Entry entry(bulkhead);
    if (entry.refused()) co_return bulkhead->Full();
    SemaphorePermit place = co_await OrReturn(bulkhead->places_.Acquire(cx, 1, where));
    Task<T> calling = task_internal::CallForTask<T>([&] { return callable(cx); });
    Outcome<T> ended = co_await calling;
    std::move(place).Release();
    co_return ended;
  }

  bool TryEnter() {
    BeforeUse(&inside_, ObjectUse::kChange);
    int64_t inside = inside_.load(std::memory_order_relaxed);
    while (inside < limit_) {
      if (inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  absl::Status Full() const;

  const char* const name_;
  const int64_t concurrent_;
  const int64_t limit_;  // concurrent and waiting
  Semaphore places_;
  // Calls that run or wait: up in TryEnter (relaxed: it orders nothing), down when one has left.
  std::atomic<int64_t> inside_{0};
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_BULKHEAD_H_

// join_set.h: any number of tasks of one type, taken as they end.
//
// Why:        joining handles in the order of their spawns waits for the slowest first; and a loop that spawns
//             as results come in has no fixed number of branches.
// Example:    JoinSet<Page> pages;
//             for (const Url& url : urls) pages.Spawn(cx, "fetch", Fetch, url);
//             while (std::optional<Outcome<Page>> page = co_await OrReturn(pages.Next(cx))) {
//               if (page->ok()) Index(**page);
//             }
// Invariants: (1) each Spawn gives exactly one outcome of Next, a refused one too;
//             (2) the tasks belong to the region of the Cx that they were spawned with, whose policy applies as
//                 to every other task (in a fail-fast region the first Error cancels all; open one with
//                 CollectAll to deal with Errors yourself).
// Lifetime:   a set that goes away lets its tasks go: they live on, owned by their region (G1), and their
//             outcomes are joined there. CancelAll first, if they shall not.
// Threads:    one task at a time; the tasks of the set end on any.
#ifndef QUIESCE_RUNTIME_COMBINATOR_JOIN_SET_H_
#define QUIESCE_RUNTIME_COMBINATOR_JOIN_SET_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/combinator/ended_queue.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

// A JoinSet without its type.
class TaskSet {
 public:
  TaskSet() = default;
  ~TaskSet();
  TaskSet(const TaskSet&) = delete;
  TaskSet& operator=(const TaskSet&) = delete;
  // Takes over one reference.
  void Add(TaskCore* task);
  void CancelAll(const Budget& drain);
  size_t size() const { return size_; }

  EndedQueue& ended() { return ended_; }
  // `branch` has been popped and read; its place is free.
  void Remove(Branch* branch);

 private:
  EndedQueue ended_;
  std::deque<Branch> places_;  // as many as there were tasks at once
  Branch* free_ = nullptr;
  size_t size_ = 0;
};

template <class T>
class NextOp {
 public:
  using Value = std::optional<Outcome<T>>;
  static constexpr const char* kName = "JoinSet::Next";
  static constexpr bool kStructural = false;
  explicit NextOp(TaskSet* set) : set_(set) {}

  bool Try(Waiter&, std::optional<Outcome<Value>>& result) {
    if (set_->size() == 0) {
      result.emplace(Value());
      return true;
    }
    if (!set_->ended().Has(1)) return false;
    Branch* branch = set_->ended().Pop();
    result.emplace(Value(task_handle_internal::TakeResult<T>(branch->task())));
    set_->Remove(branch);
    return true;
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Value>>&) {
    return set_->ended().Enqueue(&waiter, 1) ? Enqueued::kQueued : Enqueued::kRetry;
  }
  bool Harvest(Waiter& waiter, std::optional<Outcome<Value>>& result) {
    return Try(waiter, result);
  }
  void Withdraw(Waiter& waiter) { set_->ended().Withdraw(&waiter); }

 private:
  TaskSet* set_;
};

}  // namespace combinator_internal

template <class T>
using NextWait = Wait<combinator_internal::NextOp<T>>;

template <class T>
class JoinSet {
 public:
  JoinSet() = default;
  // Lets the tasks go, as ~TaskHandle does: they live on in their regions.
  ~JoinSet() = default;
  JoinSet(const JoinSet&) = delete;
  JoinSet& operator=(const JoinSet&) = delete;

  // cx.Spawn(name, callable, args…), into this set. A refused spawn is a task that has ended with the cause.
  // Does not suspend.
  template <class CxType, class F, class... Args>
  void Spawn(const CxType& cx, SpawnName name, F&& callable, Args&&... args) {
    TaskHandle<T> handle = cx.Spawn(name, std::forward<F>(callable), std::forward<Args>(args)...);
    tasks_.Add(std::move(handle).Release());
  }

  // Waits for the next task to end, in the order in which they do.
  // Returns  Ok(its outcome); Ok(nullopt) if the set is empty; Cancelled (the caller's own).
  // Suspends until one has ended; an ordinary wait.
  // Cancel   safe (G8): no outcome is taken, and all can be waited for again.
  // Threads  one Next at a time; a second is fatal. The set outlives the wait.
  NextWait<T> Next(const CxBase& cx) { return NextWait<T>(cx, &tasks_); }

  // Asks all that have not ended to stop, as TaskHandle::Cancel does. Does not wait: Next does.
  void CancelAll(const Budget& drain = Budget()) { tasks_.CancelAll(drain); }

  // Tasks whose outcome has not been taken, ended or not.
  size_t size() const { return tasks_.size(); }
  bool empty() const { return size() == 0; }

 private:
  combinator_internal::TaskSet tasks_;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_JOIN_SET_H_

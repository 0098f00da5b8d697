// task.h: the coroutine type of Quiesce, and OrReturn.
//
// Why:        a coroutine whose failure, cancel and panic are part of its type, and whose frames are gone
//             before the caller sees them.
// Example:    Task<int> Twice(Cx cx, int n) {
//               int once = co_await OrReturn(Fetch(cx, n));   // Fetch: Task<int>; a failure ends Twice too
//               co_return 2 * once;
//             }
// Invariants: (1) a Task is lazy: it does nothing until it is awaited or spawned;
//             (2) when `co_await task` yields, every local of the task has been destroyed;
//             (3) no exception crosses a Task: one that escapes becomes Panicked.
// Threads:    a Task may be moved between threads before it starts; it then runs where its spawned
//             root runs.
// Compilers:  name a capturing lambda that is not trivially destructible before you put it into a
//             co_await expression: g++ 12 destroys such temporaries twice.
#ifndef QUIESCE_RUNTIME_TASK_TASK_H_
#define QUIESCE_RUNTIME_TASK_TASK_H_

#include <coroutine>
#include <memory>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/promise.h"
#include "quiesce/runtime/task/silent_end.h"

namespace quiesce {
inline namespace v0 {

template <class T>
class Task;
class Waiter;

namespace task_internal {

template <class T>
inline constexpr bool kIsStatusOr = false;
template <class T>
inline constexpr bool kIsStatusOr<absl::StatusOr<T>> = true;

// The value that a coroutine returns, beside the failure in PromiseBase.
template <class T>
class ValueSlot {
 public:
  ValueSlot() {}
  ~ValueSlot() {
    if (has_value_) value_.~T();
  }
  template <class U>
  void Emplace(U&& value) {
    new (std::addressof(value_)) T(std::forward<U>(value));
    has_value_ = true;
  }
  T&& Take() { return std::move(value_); }

 private:
  union {
    T value_;
  };
  bool has_value_ = false;
};

template <>
class ValueSlot<void> {};

// An awaiter that stays where it is. g++ 12 copies what await_transform returns by reference into the
// frame, and awaiters cannot be copied; it takes a prvalue.
template <class A>
class AwaitRef {
 public:
  explicit AwaitRef(A& awaiter) : awaiter_(awaiter) {}
  [[gnu::always_inline]] bool await_ready() { return awaiter_.await_ready(); }
  template <class P>
  auto await_suspend(std::coroutine_handle<P> handle) {
    return awaiter_.await_suspend(handle);
  }
  [[gnu::always_inline]] decltype(auto) await_resume() { return awaiter_.await_resume(); }

 private:
  A& awaiter_;
};

template <class T>
class Promise final : public PromiseBase {
 public:
  Task<T> get_return_object();
  std::suspend_always initial_suspend() noexcept { return {}; }

  struct Final {
    Final() = default;
    bool await_ready() noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      Promise& self = handle.promise();
      if (!self.failure().ok()) {
        if (self.failure().is_error()) {
          self.set_returned_error();
        } else {
          SetEndingSilently(false);
        }
        return PropagateFailure(&self);
      }
      if (self.task() != nullptr) return FinishRoot(&self, nullptr);
      return self.caller()->parent->handle();
    }
    void await_resume() noexcept {}
  };
  Final final_suspend() noexcept { return Final(); }

  template <class U>
  void return_value(U&& result) {
    using D = std::remove_cvref_t<U>;
    if constexpr (std::is_void_v<T> && std::is_same_v<D, OkTag>) {
      // What failure_ says; unless a co_return of a failure was left by an exception of a local's destructor, and caught.
      if (!failure_.ok()) [[unlikely]] {
        failure_ = Outcome<void>(result);
        SetEndingSilently(false);
      }
      return;
    } else if constexpr (std::is_void_v<T>) {
      failure_ = Outcome<void>(std::forward<U>(result));
    } else if constexpr (outcome_internal::ValueFor<T, U> && !kIsOutcome<D>) {
      slot_.Emplace(std::forward<U>(result));
    } else {
      Outcome<T> outcome(std::forward<U>(result));
      if (outcome.ok()) {
        slot_.Emplace(std::move(outcome).value());
      } else {
        failure_ = Outcome<void>::FromFailure(std::move(outcome));
      }
    }
    // Next its locals are destroyed: to end by a cancel or a panic aborts their permits (R8).
    if (failure_.severity() >= Severity::kCancelled) [[unlikely]]
      SetEndingSilently(true);
  }

  // Inlined so that no symbol of this name depends on whether exceptions are on.
  [[gnu::always_inline]] void unhandled_exception() { failure_ = PanicFromCurrentException(); }

  // Only Tasks, waits and OrReturn may be awaited; each remembers where (for async stacks).
  template <class A>
  auto await_transform(A&& awaitable, std::source_location site = std::source_location::current()) {
    static_assert(
        requires { typename std::remove_cvref_t<A>::QuiesceAwaitable; },
        "co_await takes a quiesce::Task, a wait of the runtime, or OrReturn(...) of one");
    await_site_ = site;
    if constexpr (requires { awaitable.operator co_await(); }) {
      return awaitable.operator co_await();
    } else if constexpr (std::is_trivially_copy_constructible_v<std::remove_cvref_t<A>>) {
      return std::remove_cvref_t<A>(awaitable);
    } else {
      return AwaitRef<std::remove_reference_t<A>>(awaitable);
    }
  }

  Outcome<T> TakeOutcome() {
    if (!failure_.ok()) return Outcome<T>::FromFailure(std::move(failure_));
    if constexpr (std::is_void_v<T>) {
      return Ok();
    } else {
      return Outcome<T>(slot_.Take());
    }
  }
  T TakeValue() {
    if constexpr (!std::is_void_v<T>) return slot_.Take();
  }

 private:
  [[no_unique_address]] ValueSlot<T> slot_;
};

template <class T>
Promise<T>& PromiseOf(PromiseBase* base) {
  return *static_cast<Promise<T>*>(base);
}

}  // namespace task_internal

// `co_await task`: starts it, and yields its Outcome<T>.
template <class T>
class TaskAwait : public TaskAwaitBase {
 public:
  using QuiesceAwaitable = void;
  TaskAwait(PromiseBase* child, bool or_return) : TaskAwaitBase(child, or_return) {}
  ~TaskAwait() {
    if (child != nullptr) child->handle().destroy();
  }

  bool await_ready() const noexcept { return false; }
  template <class P>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<P> handle) noexcept {
    parent = &handle.promise();
    child->set_caller(this);
    return child->handle();
  }
  Outcome<T> await_resume() {
    Outcome<T> outcome = task_internal::PromiseOf<T>(child).TakeOutcome();
    DestroyChain(unwind_from, std::exchange(child, nullptr));
    return outcome;
  }
};

// `co_await OrReturn(task)`: yields the T, or ends the awaiting coroutine with the task's failure.
template <class T>
class TaskOrReturn : public TaskAwait<T> {
 public:
  explicit TaskOrReturn(PromiseBase* child) : TaskAwait<T>(child, /*or_return=*/true) {}
  T await_resume() {
    // Only resumed after an Ok: PropagateFailure passes by otherwise.
    if constexpr (std::is_void_v<T>) {
      std::exchange(this->child, nullptr)->handle().destroy();
    } else {
      T value = task_internal::PromiseOf<T>(this->child).TakeValue();
      std::exchange(this->child, nullptr)->handle().destroy();
      return value;
    }
  }
};

// A lazy coroutine that ends in an Outcome<T>. Move-only; awaited or spawned at most once.
// `co_return` takes a T, `Ok()` (for void), an absl::Status that is not OK, a CancelReason, a Panic, or
// an Outcome<T>.
template <class T>
class [[nodiscard]] Task {
  static_assert(!std::is_reference_v<T>, "Task<T&>: return a pointer instead");
  static_assert(!std::is_same_v<T, absl::Status> && !kIsOutcome<T> &&
                    !task_internal::kIsStatusOr<T>,
                "Task<T> already yields an Outcome<T>: use Task<void> for a Status, Task<T> for a "
                "StatusOr<T> or an Outcome<T>");
  static_assert(
      [] {
        if constexpr (std::is_void_v<T>) {
          return true;
        } else {
          return alignof(T) <= 16;
        }
      }(),
      "Task<T>: T must not be aligned to more than 16 bytes; return a pointer instead");

 public:
  using value_type = T;
  using promise_type = task_internal::Promise<T>;
  using QuiesceAwaitable = void;

  Task(Task&& other) noexcept : promise_(std::exchange(other.promise_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (promise_ != nullptr) promise_->handle().destroy();
      promise_ = std::exchange(other.promise_, nullptr);
    }
    return *this;
  }
  ~Task() {
    if (promise_ != nullptr) promise_->handle().destroy();
  }

  TaskAwait<T> operator co_await() { return TaskAwait<T>(Release(), /*or_return=*/false); }

  // For the runtime: gives up the coroutine. Fatal if it has been given up before.
  PromiseBase* Release() {
    if (promise_ == nullptr) [[unlikely]] {
      Fatal(
          "a Task was awaited or spawned twice, or after it was moved from. A Task runs once: call "
          "the coroutine function again for a second run");
    }
    return std::exchange(promise_, nullptr);
  }

 private:
  friend promise_type;
  explicit Task(PromiseBase* promise) : promise_(promise) {}
  PromiseBase* promise_;
};

template <class T>
Task<T> task_internal::Promise<T>::get_return_object() {
  return Task<T>(this);
}

namespace task_internal {

template <class T>
Task<T> Panicked(Panic panic) {
  co_return panic;
}

// Calls `call`, which returns a Task<T>; one that throws instead is one that panicked.
template <class T, class Call>
Task<T> CallForTask(Call call) {
  std::optional<Task<T>> task;
  auto into = [&] { task.emplace(call()); };
  if (std::optional<Panic> panic = CallCatching(into)) return Panicked<T>(*std::move(panic));
  return *std::move(task);
}

}  // namespace task_internal

// `co_await OrReturn(outcome)`: yields the T, or ends the awaiting coroutine with the failure.
template <class T>
class OutcomeOrReturn {
 public:
  using QuiesceAwaitable = void;
  explicit OutcomeOrReturn(Outcome<T>&& outcome) : outcome_(std::move(outcome)) {}
  OutcomeOrReturn(const OutcomeOrReturn&) = delete;
  OutcomeOrReturn& operator=(const OutcomeOrReturn&) = delete;

  bool await_ready() const noexcept { return outcome_.ok(); }
  template <class P>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<P> handle) noexcept {
    PromiseBase& self = handle.promise();
    self.failure() = Outcome<void>::FromFailure(std::move(outcome_));
    return PropagateFailure(&self);
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return std::move(outcome_).value();
  }

 private:
  Outcome<T> outcome_;
};

// `co_await OrReturn(x)` yields the value of x, or ends *this* coroutine with the same error, cancel or
// panic. x: a Task, a wait (see wait.h), an Outcome, an absl::Status or an absl::StatusOr.
template <class T>
TaskOrReturn<T> OrReturn(Task<T>&& task) {
  return TaskOrReturn<T>(task.Release());
}
template <class T>
TaskOrReturn<T> OrReturn(Task<T>& task) {
  return TaskOrReturn<T>(task.Release());
}
template <class T>
OutcomeOrReturn<T> OrReturn(Outcome<T> outcome) {
  return OutcomeOrReturn<T>(std::move(outcome));
}
template <class T>
OutcomeOrReturn<T> OrReturn(absl::StatusOr<T> result) {
  return OutcomeOrReturn<T>(ToOutcome(std::move(result)));
}
inline OutcomeOrReturn<void> OrReturn(absl::Status status) {
  return OutcomeOrReturn<void>(ToOutcome(std::move(status)));
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_TASK_H_

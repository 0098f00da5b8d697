// promise.h: what every coroutine of the runtime carries, and how a failure travels up.
//
// Why:        an error must reach the caller without an exception, destroy the frames it leaves from the
//             innermost outwards, and need no stack for a chain of any depth.
// How:        a coroutine that ends through OrReturn is left suspended; PropagateFailure walks up through
//             every caller that also used OrReturn, moving the failure along, and resumes the first
//             one that did not. That caller destroys the chain, leaf first, before it goes on. No
//             frame destroys itself inside await_suspend (newer GCC and clang have had bugs there).
#ifndef QUIESCE_RUNTIME_TASK_PROMISE_H_
#define QUIESCE_RUNTIME_TASK_PROMISE_H_

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <source_location>
#include <utility>

#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/task/frame.h"

namespace quiesce {
inline namespace v0 {

class PromiseBase;
struct TaskCore;

// Lives in the caller's frame while it awaits a Task.
struct TaskAwaitBase {
  explicit TaskAwaitBase(PromiseBase* child, bool or_return) : child(child), or_return(or_return) {}
  TaskAwaitBase(const TaskAwaitBase&) = delete;
  TaskAwaitBase& operator=(const TaskAwaitBase&) = delete;

  PromiseBase* parent = nullptr;
  PromiseBase* child;                  // owned; null once destroyed
  PromiseBase* unwind_from = nullptr;  // the leaf of the failing chain that ended here
  bool or_return;                      // a failure of the child ends the parent too
};

// Thrown by nobody: the awaiting expression of a coroutine that failed is never resumed.
class PromiseBase {
 public:
  PromiseBase() = default;
  PromiseBase(const PromiseBase&) = delete;
  PromiseBase& operator=(const PromiseBase&) = delete;

  static void* operator new(size_t size) { return AllocateFrame(size); }
  static void operator delete(void* frame, size_t size) { FreeFrame(frame, size); }

  std::coroutine_handle<PromiseBase> handle() {
    return std::coroutine_handle<PromiseBase>::from_promise(*this);
  }

  // Who waits for this coroutine: an awaiting caller, a task, or nobody yet.
  void set_caller(TaskAwaitBase* await) { caller_ = reinterpret_cast<uintptr_t>(await); }
  void set_task(TaskCore* core) { caller_ = reinterpret_cast<uintptr_t>(core) | kIsTask; }
  TaskAwaitBase* caller() const {
    return (caller_ & kIsTask) ? nullptr
                               : reinterpret_cast<TaskAwaitBase*>(caller_ & ~kReturnedError);
  }
  TaskCore* task() const {
    return (caller_ & kIsTask) ? reinterpret_cast<TaskCore*>(caller_ & ~(kIsTask | kReturnedError))
                               : nullptr;
  }

  // Did it end by a `co_return` of an Error, and not by another's? What its parameters owe then is leaked (R8).
  bool returned_error() const { return (caller_ & kReturnedError) != 0; }
  void set_returned_error() { caller_ |= kReturnedError; }

  // Ok until the coroutine has failed.
  Outcome<void>& failure() { return failure_; }
  const Outcome<void>& failure() const { return failure_; }

  // Where this coroutine is suspended: the place of its latest co_await.
  const std::source_location& await_site() const { return await_site_; }

 protected:
  static constexpr uintptr_t kIsTask = 1;
  static constexpr uintptr_t kReturnedError = 2;

  uintptr_t caller_ = 0;
  std::source_location await_site_;
  Outcome<void> failure_ = Ok();
};

// `leaf` is suspended for good and has failed. Returns the coroutine to resume next.
std::coroutine_handle<> PropagateFailure(PromiseBase* leaf);

// Destroys the frames from `leaf` (null: from `last`) up to and including `last`.
void DestroyChain(PromiseBase* leaf, PromiseBase* last);

// Ends the step: the root coroutine `root` of `core` has finished.
std::coroutine_handle<> FinishRoot(PromiseBase* root, PromiseBase* unwind_from);

// The exception now being handled, as a Panic. Only called where exceptions are on.
Panic PanicFromCurrentException();

// Calls thunk(argument), and returns the panic that an exception out of it amounts to, if there was one.
// Templates call the user's code through this instead of `try`: what they compile to must not depend
// on whether exceptions are on, since the linker keeps any one of the copies that a program has.
std::optional<Panic> CallCatching(void (*thunk)(void* argument), void* argument);
// For a callable without parameters. It must have nothing to destroy when it throws.
template <class Call>
std::optional<Panic> CallCatching(Call& call) {
  return CallCatching([](void* argument) { (*static_cast<Call*>(argument))(); }, &call);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_PROMISE_H_

// yield.h: let others run.
#ifndef QUIESCE_RUNTIME_TASK_YIELD_H_
#define QUIESCE_RUNTIME_TASK_YIELD_H_

#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

// The awaiter of Yield. Not made of Wait: it is in no queue but the scheduler's, so nothing can end it.
class [[nodiscard]] YieldWait : public Waiter {
 public:
  using QuiesceAwaitable = void;
  using Value = void;
  explicit YieldWait(const CxBase& cx) : Waiter(cx) { Begin(&kOps); }

  bool await_ready() {
    if (AnyCancel() || Instrumented()) [[unlikely]]
      return BeginUnusual();
    return false;
  }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> handle) {
    frame_ = &handle.promise();
    task()->waiter = this;
    PostSelf();
    return true;
  }
  Outcome<void> await_resume() { return std::move(result_); }

  bool failed() const { return !result_.ok(); }
  Outcome<void>& result() { return result_; }
  void TakeValue() {}

 private:
  // await_ready where something is to be looked at.
  [[gnu::cold]] bool BeginUnusual();
  [[gnu::cold]] WakeAction CompleteCancelled();
  static WakeAction Complete(Waiter* waiter);
  static constexpr WaitOps kOps = {"Yield", &Complete};

  Outcome<void> result_ = Ok();
};

// Puts the task behind what is ready now.
// Returns  Ok | Cancelled. A checkpoint: also a cancel that comes while it is queued is seen.
inline YieldWait Yield(const CxBase& cx) { return YieldWait(cx); }

inline WaitOrReturn<YieldWait> OrReturn(YieldWait&& wait) { return WaitOrReturn<YieldWait>(wait); }

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_YIELD_H_

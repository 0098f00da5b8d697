#include "quiesce/runtime/blocking/blocking.h"

#include "absl/strings/str_cat.h"

namespace quiesce {
inline namespace v0 {

CancelReason CancelProbe::reason() const { return region_->ops->reason(region_, task_); }

namespace blocking_internal {

bool Call::WaitForEnd(Waiter* waiter) {
  uintptr_t running = 0;
  return end_.compare_exchange_strong(running, reinterpret_cast<uintptr_t>(waiter),
                                      std::memory_order_acq_rel, std::memory_order_acquire);
}

void Call::Finish(BlockingJob* job) {
  const uintptr_t waiter =
      static_cast<Call*>(job)->end_.exchange(kEnded, std::memory_order_acq_rel);
  if (waiter != 0) reinterpret_cast<Waiter*>(waiter)->Grant();
}

bool StartOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  if (pool_ == nullptr) {
    result.emplace(absl::FailedPreconditionError(
        absl::StrCat("RunBlocking('", name_->name, "') at ", name_->file, ":", name_->line,
                     ": this runtime has no pool of threads for blocking calls; make it with one "
                     "(RuntimeOptions::WithBlockingThreads), or make the call on a thread of your "
                     "own and hand its "
                     "result over with a Completion")));
    return true;
  }
  absl::StatusOr<bool> started = pool_->TryStart(call_);
  if (!started.ok()) {
    result.emplace(absl::Status(started.status().code(),
                                absl::StrCat("RunBlocking('", name_->name, "') at ", name_->file,
                                             ":", name_->line, ": ", started.status().message())));
    return true;
  }
  if (!*started) return false;
  result.emplace(Ok());
  return true;
}

Enqueued StartOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
  const Enqueued enqueued = pool_->Queue(call_, &waiter);
  if (enqueued == Enqueued::kDone) result.emplace(Ok());
  return enqueued;
}

bool StartOp::Harvest(Waiter&, std::optional<Outcome<void>>& result) {
  if (call_->try_again) {
    call_->try_again = false;
    return false;
  }
  result.emplace(Ok());
  return true;
}

bool EndOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  if (!call_->Ended()) return false;
  result.emplace(Ok());
  return true;
}

Enqueued EndOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
  if (call_->WaitForEnd(&waiter)) return Enqueued::kQueued;
  result.emplace(Ok());
  return Enqueued::kDone;
}

bool EndOp::Harvest(Waiter&, std::optional<Outcome<void>>& result) {
  result.emplace(Ok());
  return true;
}

}  // namespace blocking_internal
}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/task/promise.h"

#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task_core.h"

namespace quiesce {
inline namespace v0 {

namespace {

PromiseBase* DestroyAndGoUp(PromiseBase* frame) {
  TaskAwaitBase* await = frame->caller();
  PromiseBase* parent = await->parent;
  await->child = nullptr;  // or the parent's frame would destroy it again
  frame->handle().destroy();
  return parent;
}

}  // namespace

std::coroutine_handle<> FinishRoot(PromiseBase* root, PromiseBase* unwind_from) {
  StepFrame* step = root->task()->step_frame();
  step->finish = TaskFinish(root, unwind_from, nullptr);
  return std::noop_coroutine();
}

std::coroutine_handle<> PropagateFailure(PromiseBase* leaf) {
  PromiseBase* failed = leaf;
  while (true) {
    TaskAwaitBase* await = failed->caller();
    if (await == nullptr) return FinishRoot(failed, leaf);
    if (!await->or_return) {
      await->unwind_from = leaf;
      return await->parent->handle();
    }
    await->parent->failure() = std::move(failed->failure());
    failed = await->parent;
  }
}

void DestroyChain(PromiseBase* leaf, PromiseBase* last) {
  PromiseBase* frame = leaf == nullptr ? last : leaf;
  if (frame->returned_error() && frame != last) frame = DestroyAndGoUp(frame);
  const SilentEnd silent((leaf != nullptr && !frame->returned_error()) ||
                         last->failure().severity() >= Severity::kCancelled);
  while (frame != last) frame = DestroyAndGoUp(frame);
  last->handle().destroy();
}

}  // namespace v0
}  // namespace quiesce

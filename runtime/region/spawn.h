// spawn.h: the members of Cx that start tasks, register clean-up and mint authority.
//
// One allocation for each spawn: record, callable, arguments and root frame share a block, from the second
// spawn of a site on, when the frame's size is known.
#ifndef QUIESCE_RUNTIME_REGION_SPAWN_H_
#define QUIESCE_RUNTIME_REGION_SPAWN_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "quiesce/runtime/base/slab.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/finalizer.h"
#include "quiesce/runtime/region/region_ref.h"
#include "quiesce/runtime/region/spawn_name.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
inline namespace v0 {
namespace spawn_internal {

template <class T>
struct TaskValue;
template <class T>
struct TaskValue<Task<T>> {
  using type = T;
};

// The callable and its arguments, for as long as the task lives.
template <class F, class... Args>
struct Closure {
  template <class G, class... As>
  explicit Closure(G&& callable, As&&... args)
      : callable(std::forward<G>(callable)), arguments(std::forward<As>(args)...) {}
  [[no_unique_address]] F callable;
  [[no_unique_address]] std::tuple<Args...> arguments;
};

// A value that nobody joins may be one of a cancelled task, or of a cancelled region: then it is to be aborted.
void AbortValueIfCancelled(TaskCore* core);
using task_handle_internal::kMayOwe;

constexpr size_t RoundUp16(size_t size) { return (size + 15) / 16 * 16; }

// TaskOps::finish of a task that has failed, or did not start. `keep_failure` makes an outcome of it in the block, or is
// null.
TaskEnd FinishFailed(TaskCore* core, const TaskFinish& how, void (*destroy_closure)(TaskCore*),
                     void (*keep_failure)(TaskCore*, Outcome<void>));

template <class T, class C>
struct Ops {
  static TaskEnd Finish(TaskCore* core, const TaskFinish& how, bool keep) {
    if (how.not_started != nullptr || !how.root->failure().ok()) [[unlikely]] {
      return FinishFailed(core, how, &DestroyClosure, keep ? &KeepFailure : nullptr);
    }
    if constexpr (std::is_void_v<T>) {
      how.root->handle().destroy();
      DestroyClosure(core);
      if (keep) KeepOutcome(core, Ok());
    } else {
      Outcome<T> outcome = task_internal::PromiseOf<T>(how.root).TakeOutcome();
      how.root->handle().destroy();
      DestroyClosure(core);
      if constexpr (kMayOwe<T>) AbortValueIfCancelled(core);
      if (keep) {
        KeepOutcome(core, std::move(outcome));
      } else if constexpr (kMayOwe<T>) {
        const SilentEnd silent_value(core->AbortsValue());
        const Outcome<T> unwanted = std::move(outcome);
      }
    }
    return TaskEnd(Severity::kOk, Ok());
  }
  static void DestroyClosure(TaskCore* core) {
    if ((core->flags & kNoClosure) == 0) static_cast<C*>(core->payload())->~C();
  }
  static void KeepOutcome(TaskCore* core, Outcome<T> outcome) {
    new (core->payload()) Outcome<T>(std::move(outcome));
    core->flags |= kHasResult;
  }
  static void KeepFailure(TaskCore* core, Outcome<void> failure) {
    KeepOutcome(core, Outcome<T>::FromFailure(std::move(failure)));
  }
  static void DestroyResult(TaskCore* core) {
    static_cast<Outcome<T>*>(core->payload())->~Outcome<T>();
  }
  static PromiseBase* Panicked(Panic panic) {
    return task_internal::Panicked<T>(std::move(panic)).Release();
  }
  static constexpr TaskOps kOps = {&Finish, &DestroyResult, &Panicked};
};

// The static site of this spawn. Most calls of one instantiation come from one place, so the last
// site is remembered; the table behind SiteFor serves the others.
template <class T, class C>
SpawnSite* Site(const SpawnName& name) {
  static std::atomic<SpawnSite*> latest{nullptr};
  SpawnSite* site = latest.load(std::memory_order_acquire);
  if (site == nullptr || site->name != name.name || site->line != name.line ||
      site->file != name.file) [[unlikely]] {
    site = SiteFor(name.name, name.file, name.line, &Ops<T, C>::kOps);
    latest.store(site, std::memory_order_release);
  }
  return site;
}

// The block's size for a site: the frame is part of it once its size is known and fits. `frame_offset`: where
// it would begin in the payload.
inline uint32_t BlockSize(const SpawnSite* site, size_t frame_offset) {
  const size_t frame = RoundUp16(site->frame_size.load(std::memory_order_relaxed));
  const size_t without = TaskCore::kPayloadOffset + frame_offset;
  // Over the slab's largest block the frame goes its own way: it is freed by its own size.
  return static_cast<uint32_t>(without + frame > kMaxSlabBlock ? without : without + frame);
}

// What makes a task's coroutine: the callable and its arguments, on their way into the block. A struct and not a
// closure: its layout is the same whatever compiled it.
struct SpawnRamp {
  SpawnRamp(void (*make)(SpawnRamp*), SpawnSite* site, uint32_t size, uint32_t frame_offset)
      : make(make), site(site), size(size), frame_offset(frame_offset) {}
  // Puts the closure into the block, then calls it for the root coroutine.
  void (*const make)(SpawnRamp*);
  SpawnSite* const site;
  const uint32_t size;          // of the block
  const uint32_t frame_offset;  // in the payload
  TaskCore* core = nullptr;
  PromiseBase* root = nullptr;
  bool has_closure = false;
};

// The record has the reference of a handle. `refusal`: null, or why there will be no task; deleted by who gets it.
struct Launched {
  TaskCore* core;
  Outcome<void>* refusal;
};
// Counts a task in, makes its record and its coroutine, and hands it to the scheduler. An argument whose copy throws, or a
// callable that throws before it gives a Task, is a task that panicked. `listener`: null, or one that always listens
// (TaskCore::ListenAlways).
Launched Launch(SpawnRamp& ramp, const CxBase& spawner, EndListener* listener);
// The same after SpawnWhenAdmitted has waited, and through a RegionRef.
Launched LaunchReserved(SpawnRamp& ramp, const CxBase& spawner);
Launched LaunchFromOutside(SpawnRamp& ramp, RegionScope* region, uint32_t cx_flags);
// Makes it a task that never was: ended, with the outcome that has been put into its block.
void MarkRefused(TaskCore* core);

template <class CxType, class F, class... Args>
struct Spawned {
  using Callable = std::decay_t<F>;
  static_assert(std::is_invocable_v<Callable&, CxType, std::decay_t<Args>...>,
                "Spawn(name, callable, args...): callable(cx, args...) must be callable; its first "
                "parameter is a Cx, or a CxWith<...> that this Cx can narrow to");
  using T =
      typename TaskValue<std::invoke_result_t<Callable&, CxType, std::decay_t<Args>...>>::type;
  using C = Closure<Callable, std::decay_t<Args>...>;
  static_assert(alignof(C) <= 16,
                "Spawn: the callable or an argument is aligned to more than 16 bytes");
  static_assert(
      sizeof(C) <= (size_t{1} << 19) && sizeof(Outcome<T>) <= (size_t{1} << 19),
      "Spawn: the callable with its arguments, or the outcome, is larger than 512 KiB: put "
      "what is large on the heap");
  // Behind the closure, and behind the outcome that takes its place: another coroutine's frame that got the
  // memory may outlive the task.
  static constexpr uint32_t kFrameOffset = RoundUp16(std::max(sizeof(C), sizeof(Outcome<T>)));
  static uint32_t Size(const SpawnSite* site) { return BlockSize(site, kFrameOffset); }
};

template <class CxType, class F, class... Args>
class Ramp : public SpawnRamp {
  using S = Spawned<CxType, F, Args...>;

 public:
  // `size` is the block's, of which the region's admission will be asked, or has been.
  Ramp(SpawnSite* site, uint32_t size, const Authority* authority, uint32_t cx_flags, F&& callable,
       Args&&... args)
      : SpawnRamp(&Make, site, size, S::kFrameOffset),
        authority_(authority),
        cx_flags_(cx_flags),
        callable_(std::forward<F>(callable)),
        args_(std::forward<Args>(args)...) {}

  // The handle of what was launched. A refused spawn destroys what it was given, and aborts what is owed in it.
  TaskHandle<typename S::T> Handle(Launched launched, EndListener* listener = nullptr) {
    if (launched.refusal != nullptr) [[unlikely]]
      Refuse(launched, listener);
    return TaskHandle<typename S::T>(launched.core);
  }

 private:
  using C = typename S::C;

  // A copy that throws changes nothing: the refusal counts. The listener hears of it.
  [[gnu::noinline, gnu::cold]] void Refuse(Launched launched, EndListener* listener) {
    using T = typename S::T;
    const std::unique_ptr<Outcome<void>> refusal(launched.refusal);
    const SilentEnd silent(true);
    auto take = [this] {
      std::apply(
          [this](auto&&... args) {
            (void)C(std::forward<F>(callable_), std::forward<Args>(args)...);
          },
          std::move(args_));
    };
    (void)CallCatching(take);
    new (launched.core->payload()) Outcome<T>(Outcome<T>::FromFailure(std::move(*refusal)));
    MarkRefused(launched.core);
    if (listener != nullptr) listener->on_end(listener, launched.core);
  }

  static void Make(SpawnRamp* ramp) {
    auto* self = static_cast<Ramp*>(ramp);
    C* closure = std::apply(
        [self](auto&&... args) {
          return new (self->core->payload())
              C(std::forward<F>(self->callable_), std::forward<Args>(args)...);
        },
        std::move(self->args_));
    self->has_closure = true;
    const auto cx =
        cx_internal::CxMint::Make<CxType>(self->authority_, self->core, self->cx_flags_);
    self->root =
        std::apply(
            [&](auto&... arguments) { return closure->callable(cx, std::move(arguments)...); },
            closure->arguments)
            .Release();
  }

  const Authority* const authority_;
  const uint32_t cx_flags_;
  F&& callable_;
  std::tuple<Args&&...> args_;
};

template <class CxType, class F, class... Args>
SpawnSite* SiteOf(const SpawnName& name) {
  using S = Spawned<CxType, F, Args...>;
  return Site<typename S::T, typename S::C>(name);
}

template <class CxType, class F, class... Args>
auto SpawnInside(const CxType& cx, EndListener* listener, const SpawnName& name, F&& callable,
                 Args&&... args) {
  SpawnSite* site = SiteOf<CxType, F, Args...>(name);
  Ramp<CxType, F, Args...> ramp(site, Spawned<CxType, F, Args...>::Size(site), cx.authority(),
                                cx.flags(), std::forward<F>(callable), std::forward<Args>(args)...);
  return ramp.Handle(Launch(ramp, cx, listener), listener);
}

// cx.Spawn, with a listener, which also hears of a refusal. Gives the reference of the handle.
template <class CxType, class F>
TaskCore* SpawnListened(const CxType& cx, EndListener* listener, const SpawnName& name,
                        F&& callable) {
  return SpawnInside(cx, listener, name, std::forward<F>(callable)).Release();
}

template <class F, class... Args>
auto SpawnFromOutside(RegionScope* region, const Authority* authority, uint32_t cx_flags,
                      const SpawnName& name, F&& callable, Args&&... args) {
  SpawnSite* site = SiteOf<Cx, F, Args...>(name);
  Ramp<Cx, F, Args...> ramp(site, Spawned<Cx, F, Args...>::Size(site), authority, cx_flags,
                            std::forward<F>(callable), std::forward<Args>(args)...);
  return ramp.Handle(LaunchFromOutside(ramp, region, cx_flags));
}

class AdmissionOp {
 public:
  using Value = void;
  static constexpr const char* kName = "Cx::SpawnWhenAdmitted";
  static constexpr bool kStructural = false;
  AdmissionOp(RegionScope* region, uint32_t size);
  bool Try(Waiter&, std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<void>>& result);
  void Withdraw(Waiter& waiter);

 private:
  RegionScope* region_;
  AdmissionRequest request_;
};

template <class CxType, class F, class... Args>
Task<TaskHandle<typename Spawned<CxType, F, Args...>::T>> SpawnWhenAdmitted(CxType cx,
                                                                            SpawnName name,
                                                                            F callable,
                                                                            Args... args) {
  SpawnSite* site = SiteOf<CxType, F, Args...>(name);
  // The site may learn a larger size meanwhile.
  const uint32_t size = Spawned<CxType, F, Args...>::Size(site);
  co_await OrReturn(Wait<AdmissionOp>(cx, cx.region(), size));
  Ramp<CxType, F, Args...> ramp(site, size, cx.authority(), cx.flags(), std::move(callable),
                                std::move(args)...);
  co_return ramp.Handle(LaunchReserved(ramp, cx));
}

// Runs with the authority of the Cx that registered it, no more (G10) and no less.
template <class CxType, class F>
class FinalizerOf final : public Finalizer {
 public:
  template <class G>
  FinalizerOf(const Authority* authority, G&& finalizer)
      : authority_(authority), finalizer_(std::forward<G>(finalizer)) {}
  Task<void> Run(TaskScope* task, uint32_t cx_flags) override {
    return finalizer_(cx_internal::CxMint::Make<CxType>(authority_, task, cx_flags));
  }

 private:
  const Authority* const authority_;
  F finalizer_;
};

absl::Status CheckMayDefer(const CxBase& cx, const SpawnName& name);
void AddFinalizer(const CxBase& cx, Finalizer* finalizer);
// A node below `cx`'s, owned by its region.
Authority* NewAuthority(const CxBase& cx);

}  // namespace spawn_internal

template <class... Caps>
template <class F, class... Args>
auto CxWith<Caps...>::Spawn(SpawnName name, F&& callable, Args&&... args) const {
  static_assert(cx_internal::kContains<cap::Spawn, Caps...>,
                "Spawn needs a Cx with cap::Spawn: add it to the CxWith<...> of the parameter");
  Verify();
  return spawn_internal::SpawnInside(*this, /*listener=*/nullptr, name, std::forward<F>(callable),
                                     std::forward<Args>(args)...);
}

template <class... Caps>
template <class F, class... Args>
auto CxWith<Caps...>::SpawnWhenAdmitted(SpawnName name, F callable, Args... args) const {
  static_assert(cx_internal::kContains<cap::Spawn, Caps...>,
                "SpawnWhenAdmitted needs a Cx with cap::Spawn: add it to the CxWith<...>");
  return spawn_internal::SpawnWhenAdmitted(*this, name, std::move(callable), std::move(args)...);
}

template <class... Caps>
template <class F>
absl::Status CxWith<Caps...>::Defer(SpawnName name, F&& finalizer) const {
  static_assert(cx_internal::kContains<cap::Spawn, Caps...>,
                "Defer needs a Cx with cap::Spawn: add it to the CxWith<...> of the parameter");
  static_assert(std::is_invocable_r_v<Task<void>, std::decay_t<F>&, CxWith>,
                "Defer(name, finalizer): finalizer(cx) must return a Task<void>");
  Verify();
  absl::Status allowed = spawn_internal::CheckMayDefer(*this, name);
  if (!allowed.ok()) return allowed;
  auto* node = new spawn_internal::FinalizerOf<CxWith, std::decay_t<F>>(authority_,
                                                                        std::forward<F>(finalizer));
  node->name = name.name;
  spawn_internal::AddFinalizer(*this, node);
  return absl::OkStatus();
}

template <class... Caps>
template <class T>
CxWith<Caps..., T> CxWith<Caps...>::Provide(T& implementation) const {
  static_assert(!cx_internal::kBuiltIn<T>, "a built-in capability comes from the runtime only");
  Verify();
  Authority* node = spawn_internal::NewAuthority(*this);
  node->key = &cx_internal::Key<T>::tag;
  node->implementation = &implementation;
  return cx_internal::CxMint::Make<CxWith<Caps..., T>>(node, task_, flags_);
}

template <class... Caps>
CxWith<Caps...> CxWith<Caps...>::Restrict(const Policy& policy) const {
  Verify();
  Authority* node = spawn_internal::NewAuthority(*this);
  node->policy = &policy;
  return cx_internal::CxMint::Make<CxWith>(node, task_, flags_);
}

template <class F, class... Args>
auto RegionRef::Spawn(SpawnName name, F&& callable, Args&&... args) const {
  return spawn_internal::SpawnFromOutside(scope(), authority(), /*cx_flags=*/0, name,
                                          std::forward<F>(callable), std::forward<Args>(args)...);
}

template <class F, class... Args>
auto RegionRef::SpawnForDrain(SpawnName name, F&& callable, Args&&... args) const {
  return spawn_internal::SpawnFromOutside(scope(), authority(), kForDrain, name,
                                          std::forward<F>(callable), std::forward<Args>(args)...);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_SPAWN_H_

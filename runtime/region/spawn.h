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

template <class T, class C>
struct Ops {
  static TaskEnd Finish(TaskCore* core, const TaskFinish& how, bool keep) {
    Outcome<T> outcome = how.not_started == nullptr
                             ? task_internal::PromiseOf<T>(how.root).TakeOutcome()
                             : Outcome<T>::FromFailure(*how.not_started);
    const SilentEnd silent(outcome.severity() >= Severity::kCancelled);
    const bool by_another = how.unwind_from != nullptr && how.unwind_from != how.root;
    if (outcome.ok()) [[likely]] {
      how.root->handle().destroy();
    } else {
      DestroyChain(how.unwind_from, how.root);
    }
    const SilentEnd silent_closure(by_another);
    if ((core->flags & kNoClosure) == 0) static_cast<C*>(core->payload())->~C();
    const Severity severity = outcome.severity();
    if (keep) {
      TaskEnd end(severity, Ok());
      const bool joined = !core->scope->joins_only_panics || severity == Severity::kPanicked;
      if (severity != Severity::kOk && joined) end.failure = Outcome<void>::FromFailure(outcome);
      new (core->payload()) Outcome<T>(std::move(outcome));
      core->flags |= kHasResult;
      if constexpr (kMayOwe<T>) AbortValueIfCancelled(core);
      return end;
    }
    if (!outcome.ok()) {
      return TaskEnd(severity, Outcome<void>::FromFailure(std::move(outcome)));
    }
    if constexpr (kMayOwe<T>) {
      AbortValueIfCancelled(core);
      const SilentEnd silent_value(core->AbortsValue());
      const Outcome<T> unwanted = std::move(outcome);
    }
    return TaskEnd(severity, Ok());
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
  SpawnRamp(void (*make)(SpawnRamp*), TaskCore* core) : make(make), core(core) {}
  // Puts the closure into the block, then calls it for the root coroutine.
  void (*const make)(SpawnRamp*);
  TaskCore* const core;
  bool has_closure = false;
  PromiseBase* root = nullptr;
};
// Makes the coroutine and hands the task to the scheduler. An argument whose copy throws, or a callable that throws
// before it gives a Task, is a task that panicked.
void Start(SpawnRamp& ramp, size_t frame_offset, SpawnSite* site, const CxBase* spawner);
// Makes it a task that never was: ended, with the outcome that has been put into its block.
void MarkRefused(TaskCore* core);

enum class Admission : uint8_t {
  kInside,    // by a task of the region, through its Cx
  kReserved,  // the same, after SpawnWhenAdmitted has waited
  kOutside,   // through a RegionRef
};
// Counts a task in and makes its record; `refused` is not Ok if it was not. `spawner` is null from outside.
TaskCore* AdmitTask(Admission admission, const SpawnSite* site, uint32_t size, RegionScope* region,
                    uint32_t cx_flags, const CxBase* spawner, Outcome<void>& refused);

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
  static constexpr size_t kFrameOffset = RoundUp16(std::max(sizeof(C), sizeof(Outcome<T>)));
  static uint32_t Size(const SpawnSite* site) { return BlockSize(site, kFrameOffset); }
};

template <class CxType, class F, class... Args>
class Ramp : public SpawnRamp {
 public:
  Ramp(TaskCore* core, const Authority* authority, uint32_t cx_flags, F&& callable, Args&&... args)
      : SpawnRamp(&Make, core),
        authority_(authority),
        cx_flags_(cx_flags),
        callable_(std::forward<F>(callable)),
        args_(std::forward<Args>(args)...) {}

 private:
  using C = typename Spawned<CxType, F, Args...>::C;

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

// A refused spawn destroys what it was given, and aborts what is owed in it. A copy that throws changes nothing: the
// refusal counts.
template <class S, class F, class... Args>
[[gnu::noinline, gnu::cold]] void RefuseTask(TaskCore* core, EndListener* listener,
                                             Outcome<void> refused, F&& callable, Args&&... args) {
  using C = typename S::C;
  using T = typename S::T;
  const SilentEnd silent(true);
  auto take = [&] { C unused(std::forward<F>(callable), std::forward<Args>(args)...); };
  (void)CallCatching(take);
  new (core->payload()) Outcome<T>(Outcome<T>::FromFailure(std::move(refused)));
  MarkRefused(core);
  if (listener != nullptr) listener->on_end(listener, core);
}

// `size` is the block's, of which the region's admission has been asked or will be. `listener`: null, or one that
// always listens (TaskCore::ListenAlways), also to a refusal.
//
// Inlined always, so that a program out of objects of two compilers has no copy of it that both share (testing/abi).
template <class CxType, class F, class... Args>
[[gnu::always_inline]] inline auto SpawnSized(SpawnSite* site, uint32_t size, EndListener* listener,
                                              RegionScope* region, const Authority* authority,
                                              uint32_t cx_flags, const CxBase* spawner,
                                              Admission admission, F&& callable, Args&&... args) {
  using S = Spawned<CxType, F, Args...>;
  using T = typename S::T;
  Outcome<void> refused = Ok();
  TaskCore* core = AdmitTask(admission, site, size, region, cx_flags, spawner, refused);
  if (!refused.ok()) [[unlikely]] {
    RefuseTask<S>(core, listener, std::move(refused), std::forward<F>(callable),
                  std::forward<Args>(args)...);
    return TaskHandle<T>(core);
  }
  if (listener != nullptr) core->ListenAlways(listener);
  Ramp<CxType, F, Args...> ramp(core, authority, cx_flags, std::forward<F>(callable),
                                std::forward<Args>(args)...);
  Start(ramp, S::kFrameOffset, site, spawner);
  return TaskHandle<T>(core);
}

template <class CxType, class F, class... Args>
auto SpawnInto(RegionScope* region, const Authority* authority, uint32_t cx_flags,
               const CxBase* spawner, Admission admission, const SpawnName& name, F&& callable,
               Args&&... args) {
  using S = Spawned<CxType, F, Args...>;
  SpawnSite* site = Site<typename S::T, typename S::C>(name);
  return SpawnSized<CxType, F, Args...>(site, S::Size(site), /*listener=*/nullptr, region,
                                        authority, cx_flags, spawner, admission,
                                        std::forward<F>(callable), std::forward<Args>(args)...);
}

// cx.Spawn, with a listener. Gives the reference of the handle.
template <class CxType, class F>
TaskCore* SpawnListened(const CxType& cx, EndListener* listener, const SpawnName& name,
                        F&& callable) {
  using S = Spawned<CxType, F>;
  SpawnSite* site = Site<typename S::T, typename S::C>(name);
  return SpawnSized<CxType, F>(site, S::Size(site), listener, cx.region(), cx.authority(),
                               cx.flags(), &cx, Admission::kInside, std::forward<F>(callable))
      .Release();
}

class AdmissionOp {
 public:
  using Value = void;
  static constexpr const char* kName = "Cx::SpawnWhenAdmitted";
  static constexpr bool kStructural = false;
  AdmissionOp(RegionScope* region, uint32_t size);
  bool Try(std::optional<Outcome<void>>& result);
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result);
  bool Harvest(std::optional<Outcome<void>>& result);
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
  using S = Spawned<CxType, F, Args...>;
  SpawnSite* site = Site<typename S::T, typename S::C>(name);
  const uint32_t size = S::Size(site);
  co_await OrReturn(Wait<AdmissionOp>(cx, cx.region(), size));
  // The size that was reserved, though the site may have learned a larger one meanwhile.
  co_return SpawnSized<CxType, F, Args...>(site, size, /*listener=*/nullptr, cx.region(),
                                           cx.authority(), cx.flags(), &cx, Admission::kReserved,
                                           std::move(callable), std::move(args)...);
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
  return spawn_internal::SpawnInto<CxWith>(region(), authority_, flags_, this,
                                           spawn_internal::Admission::kInside, name,
                                           std::forward<F>(callable), std::forward<Args>(args)...);
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
  return spawn_internal::SpawnInto<Cx>(scope(), authority(), 0, nullptr,
                                       spawn_internal::Admission::kOutside, name,
                                       std::forward<F>(callable), std::forward<Args>(args)...);
}

template <class F, class... Args>
auto RegionRef::SpawnForDrain(SpawnName name, F&& callable, Args&&... args) const {
  return spawn_internal::SpawnInto<Cx>(scope(), authority(), kForDrain, nullptr,
                                       spawn_internal::Admission::kOutside, name,
                                       std::forward<F>(callable), std::forward<Args>(args)...);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_SPAWN_H_

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
  static TaskEnd Finish(TaskCore* core, TaskFinish how, bool keep) {
    Outcome<T> outcome = how.started ? task_internal::PromiseOf<T>(how.root).TakeOutcome()
                                     : Outcome<T>::FromFailure(std::move(how.not_started));
    const SilentEnd silent(outcome.severity() >= Severity::kCancelled);
    const bool by_another = how.unwind_from != nullptr && how.unwind_from != how.root;
    if (how.root != nullptr) DestroyChain(how.unwind_from, how.root);
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
  static constexpr TaskOps kOps = {&Finish, &DestroyResult};
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
uint32_t BlockSize(const SpawnSite* site, size_t frame_offset);

// The record of a task that has been admitted or refused.
TaskCore* NewTask(const SpawnSite* site, uint32_t size, RegionScope* region, uint32_t cx_flags);
// Hands the task to the scheduler.
void Launch(TaskCore* core, PromiseBase* root, size_t frame_offset, const FrameArena& arena,
            SpawnSite* site, const CxBase* spawner);
// While the callable makes the coroutine, in a step of the spawner or on a foreign thread, the new task's
// Cx may be used (R7). Does nothing where there are no debug checks.
class ActingAs {
 public:
  explicit ActingAs(const TaskCore* core) {
    if (DebugChecks()) [[unlikely]]
      Begin(core);
  }
  ~ActingAs() {
    if (acting_) [[unlikely]]
      End();
  }
  ActingAs(const ActingAs&) = delete;
  ActingAs& operator=(const ActingAs&) = delete;

 private:
  void Begin(const TaskCore* core);
  void End();
  bool acting_ = false;
  TaskScope* before_ = nullptr;
};
// Makes it a task that never was: ended, with the outcome that has been put into its block.
void MarkRefused(TaskCore* core);

enum class Admission : uint8_t {
  kInside,    // by a task of the region, through its Cx
  kReserved,  // the same, after SpawnWhenAdmitted has waited
  kOutside,   // through a RegionRef
};
// Counts the task in. `spawner` is null from outside.
Outcome<void> Admit(Admission admission, RegionScope* region, const CxBase* spawner,
                    uint32_t cx_flags, uint32_t size);

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

// `size` is the block's, of which the region's admission has been asked or will be. `listener`: null, or one that
// always listens (TaskCore::ListenAlways), also to a refusal.
//
// Inlined always: else the linker may keep this function of one compiler and the closure that it makes of another, in a
// program out of objects of both (testing/abi).
template <class CxType, class F, class... Args>
[[gnu::always_inline]] inline auto SpawnSized(uint32_t size, EndListener* listener,
                                              RegionScope* region, const Authority* authority,
                                              uint32_t cx_flags, const CxBase* spawner,
                                              Admission admission, const SpawnName& name,
                                              F&& callable, Args&&... args) {
  using S = Spawned<CxType, F, Args...>;
  using C = typename S::C;
  using T = typename S::T;
  SpawnSite* site = Site<T, C>(name);
  Outcome<void> admitted = Admit(admission, region, spawner, cx_flags, size);
  TaskCore* core = NewTask(site, size, region, cx_flags);
  if (!admitted.ok()) [[unlikely]] {
    // A refused spawn destroys what it was given, and aborts what is owed in it. A copy that throws changes nothing: the refusal counts.
    const SilentEnd silent(true);
    auto take = [&] { C unused(std::forward<F>(callable), std::forward<Args>(args)...); };
    (void)CallCatching(take);
    new (core->payload()) Outcome<T>(Outcome<T>::FromFailure(std::move(admitted)));
    MarkRefused(core);
    if (listener != nullptr) listener->on_end(listener, core);
    return TaskHandle<T>(core);
  }
  if (listener != nullptr) core->ListenAlways(listener);
  FrameArena arena(static_cast<char*>(core->payload()) + S::kFrameOffset,
                   size - TaskCore::kPayloadOffset - S::kFrameOffset);
  // An argument whose copy throws, or a callable that throws before it gives a Task, is a task that panicked.
  C* closure = nullptr;
  const ActingAs acting_as(core);
  Task<T> task = task_internal::CallForTask<T>([&] {
    closure = new (core->payload()) C(std::forward<F>(callable), std::forward<Args>(args)...);
    const auto cx = cx_internal::CxMint::Make<CxType>(authority, core, cx_flags);
    return std::apply(
        [&](auto&... arguments) { return closure->callable(cx, std::move(arguments)...); },
        closure->arguments);
  });
  if (closure == nullptr) core->flags |= kNoClosure;
  Launch(core, task.Release(), S::kFrameOffset, arena, site, spawner);
  return TaskHandle<T>(core);
}

template <class CxType, class F, class... Args>
auto SpawnInto(RegionScope* region, const Authority* authority, uint32_t cx_flags,
               const CxBase* spawner, Admission admission, const SpawnName& name, F&& callable,
               Args&&... args) {
  using S = Spawned<CxType, F, Args...>;
  const uint32_t size = S::Size(Site<typename S::T, typename S::C>(name));
  return SpawnSized<CxType>(size, /*listener=*/nullptr, region, authority, cx_flags, spawner,
                            admission, name, std::forward<F>(callable),
                            std::forward<Args>(args)...);
}

// cx.Spawn, with a listener. Gives the reference of the handle.
template <class CxType, class F>
TaskCore* SpawnListened(const CxType& cx, EndListener* listener, const SpawnName& name,
                        F&& callable) {
  using S = Spawned<CxType, F>;
  const uint32_t size = S::Size(Site<typename S::T, typename S::C>(name));
  return SpawnSized<CxType>(size, listener, cx.region(), cx.authority(), cx.flags(), &cx,
                            Admission::kInside, name, std::forward<F>(callable))
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
  const uint32_t size = S::Size(Site<typename S::T, typename S::C>(name));
  co_await OrReturn(Wait<AdmissionOp>(cx, cx.region(), size));
  // The size that was reserved, though the site may have learned a larger one meanwhile.
  co_return SpawnSized<CxType>(size, /*listener=*/nullptr, cx.region(), cx.authority(), cx.flags(),
                               &cx, Admission::kReserved, name, std::move(callable),
                               std::move(args)...);
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

// branch_set.h: a fixed set of branches, run to their ends, and what a rule makes of these. Internal.
//
// Why:        Race, FirstOk, Quorum and JoinAll differ only in what an end decides, and in which outcomes count.
// How it goes: all branches but the last are tasks of one region; the last is the region's body, and so part of the
//             calling task: one task less to make, and nothing to wait for but the region's close. The rule
//             hears of an end in the step that ends the branch, and the losers are cancelled from there:
//             the caller need not run for it.
// Invariants: (1) the rule hears of each branch exactly once; (2) outcomes stay where they are until all tasks of the
//             region have ended; then the rule takes those that count, and the rest are destroyed, silently,
//             before the region's finalizers and its wait for open permits.
#ifndef QUIESCE_RUNTIME_COMBINATOR_BRANCH_SET_H_
#define QUIESCE_RUNTIME_COMBINATOR_BRANCH_SET_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/winner.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/region/spawn_name.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/task/promise.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/task_core.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

// What the task of a branch calls; the callable is the set's.
template <class F, class CxType>
struct CallBranch {
  F* callable;
  auto operator()(CxType cx) const { return (*callable)(cx); }
};

template <class T>
Outcome<Winner<T>> AsWinner(size_t index, Outcome<T> outcome) {
  if (!outcome.ok()) return Outcome<Winner<T>>::FromFailure(std::move(outcome));
  if constexpr (std::is_void_v<T>) {
    return Winner<void>(index);
  } else {
    return Winner<T>(index, std::move(outcome).value());
  }
}

template <class T>
void JoinFailure(Outcome<void>& joined, const Outcome<T>& outcome) {
  if (!outcome.ok()) JoinInto(joined, Outcome<void>::FromFailure(outcome));
}

// --- the branches --------------------------------------------------------------------------------

// A branch that is a task.
struct BranchTask : EndListener {
  BranchTask() : EndListener(nullptr) {}
  BranchTask(const BranchTask&) = delete;
  BranchTask& operator=(const BranchTask&) = delete;
  ~BranchTask() { Drop(); }

  void Drop() {
    if (task != nullptr) std::exchange(task, nullptr)->Unref();
  }

  void* set = nullptr;
  size_t index = 0;
  TaskCore* task = nullptr;  // one reference
};

// Spawns it. `Set` has Ended, see BranchSet; V: what the branch's Task yields.
template <class V, class Set, class CxType, class F>
void StartBranch(const CxType& cx, SpawnName name, Set* set, BranchTask& branch, size_t index,
                 F& callable) {
  branch.set = set;
  branch.index = index;
  branch.on_end = [](EndListener* self, TaskCore* task) {
    auto* ended = static_cast<BranchTask*>(self);
    const auto* outcome = static_cast<const Outcome<V>*>(task->payload());
    static_cast<Set*>(ended->set)->Ended(ended->index, outcome->severity(), /*is_body=*/false);
  };
  branch.task = spawn_internal::SpawnListened(cx, &branch, name, CallBranch<F, CxType>{&callable});
}

// A fixed number of branches, each of a type of its own.
template <class CxType, class... F>
class FixedBranches {
 public:
  using Values = std::tuple<NonVoid<BranchValue<F, CxType>>...>;
  using Winner = typename WinnerOf<BranchValue<F, CxType>...>::type;
  static constexpr size_t kLast = sizeof...(F) - 1;
  using Last = BranchValue<std::tuple_element_t<kLast, std::tuple<F...>>, CxType>;
  // Is there something that a value may owe?
  static constexpr bool kMayOwe = (... || task_handle_internal::kMayOwe<BranchValue<F, CxType>>);

  explicit FixedBranches(F&&... callables) : callables_(std::forward<F>(callables)...) {}
  FixedBranches(FixedBranches&& other) : callables_(std::move(other.callables_)) {}

  size_t size() const { return sizeof...(F); }

  // All but the last; then that.
  template <class Set>
  void Start(const CxType& cx, SpawnName name, Set* set) {
    ForEach<kLast>([&]<size_t i>() {
      StartBranch<Value<i>>(cx, name, set, tasks_[i], i, std::get<i>(callables_));
    });
  }
  Task<Last> CallLast(const CxType& cx) { return std::get<kLast>(callables_)(cx); }
  void LastEnded(Outcome<Last> outcome) { last_.emplace(std::move(outcome)); }

  // Precondition of both: all have ended; an outcome is taken once.
  Outcome<Winner> Take(size_t index) {
    std::optional<Outcome<Winner>> taken;
    ForEach<sizeof...(F)>([&]<size_t i>() {
      if (index == i) taken.emplace(TakeAs<i>());
    });
    return *std::move(taken);
  }
  // All values, or the failures joined.
  Outcome<Values> TakeAll() { return TakeEach(std::index_sequence_for<F...>()); }
  // Lets go what has not been taken.
  void Drop() {
    for (BranchTask& branch : tasks_) branch.Drop();
    last_.reset();
  }

 private:
  template <size_t i>
  using Value = BranchValue<std::tuple_element_t<i, std::tuple<F...>>, CxType>;

  template <size_t count, class Action>
  static void ForEach(Action action) {
    [&]<size_t... i>(std::index_sequence<i...>) {
      (action.template operator()<i>(), ...);
    }(std::make_index_sequence<count>());
  }
  template <size_t i>
  Outcome<Value<i>> TakeOutcome() {
    if constexpr (i == kLast) {
      return *std::move(last_);
    } else {
      return task_handle_internal::TakeResult<Value<i>>(tasks_[i].task);
    }
  }
  template <size_t i>
  Outcome<Winner> TakeAs() {
    Outcome<Value<i>> outcome = TakeOutcome<i>();
    if constexpr (std::is_same_v<Winner, quiesce::Winner<Value<i>>>) {
      return AsWinner(i, std::move(outcome));
    } else {
      if (!outcome.ok()) return Outcome<Winner>::FromFailure(std::move(outcome));
      return Winner(std::in_place_index<i>, ValueOf(std::move(outcome)));
    }
  }
  template <size_t... i>
  Outcome<Values> TakeEach(std::index_sequence<i...>) {
    std::optional<SilentEnd> silent;  // the values that nobody gets, if one has failed
    std::tuple<Outcome<Value<i>>...> outcomes(TakeOutcome<i>()...);
    Outcome<void> joined = Ok();
    (JoinFailure(joined, std::get<i>(outcomes)), ...);
    if (!joined.ok()) {
      silent.emplace(true);
      return Outcome<Values>::FromFailure(std::move(joined));
    }
    return Values(ValueOf(std::move(std::get<i>(outcomes)))...);
  }

  std::tuple<F...> callables_;
  std::array<BranchTask, kLast> tasks_;
  std::optional<Outcome<Last>> last_;
};

// A container of branches of one type, not empty. R: a reference, or a view.
template <class CxType, class R>
class RangeBranches {
 public:
  using T = BranchValue<decltype(*std::begin(std::declval<std::remove_reference_t<R>&>())), CxType>;
  using Values = std::conditional_t<std::is_void_v<T>, void, std::vector<NonVoid<T>>>;
  using Winner = quiesce::Winner<T>;
  using Last = T;
  static constexpr bool kMayOwe = task_handle_internal::kMayOwe<T>;

  explicit RangeBranches(R&& range)
      : range_(std::forward<R>(range)), tasks_(std::size(range_) - 1) {}
  RangeBranches(RangeBranches&& other)
      : range_(std::forward<R>(other.range_)), tasks_(std::move(other.tasks_)) {}

  size_t size() const { return tasks_.size() + 1; }

  template <class Set>
  void Start(const CxType& cx, SpawnName name, Set* set) {
    next_.emplace(std::begin(range_));
    for (size_t i = 0; i < tasks_.size(); ++i, ++*next_) {
      StartBranch<T>(cx, name, set, tasks_[i], i, **next_);
    }
  }
  Task<T> CallLast(const CxType& cx) { return (**next_)(cx); }
  void LastEnded(Outcome<T> outcome) { last_.emplace(std::move(outcome)); }

  Outcome<Winner> Take(size_t index) { return AsWinner(index, TakeOutcome(index)); }
  Outcome<Values> TakeAll() {
    std::optional<SilentEnd> silent;  // as above
    Outcome<void> joined = Ok();
    std::vector<NonVoid<T>> values;
    values.reserve(size());
    for (size_t i = 0; i < size(); ++i) {
      Outcome<T> outcome = TakeOutcome(i);
      JoinFailure(joined, outcome);
      if (!joined.ok() && !silent.has_value()) silent.emplace(true);
      if (joined.ok()) values.push_back(ValueOf(std::move(outcome)));
    }
    if (!joined.ok()) return Outcome<Values>::FromFailure(std::move(joined));
    if constexpr (std::is_void_v<T>) {
      return Ok();
    } else {
      return values;
    }
  }
  void Drop() {
    for (BranchTask& branch : tasks_) branch.Drop();
    last_.reset();
  }

 private:
  Outcome<T> TakeOutcome(size_t index) {
    if (index < tasks_.size() && tasks_[index].task == nullptr) {
      return Panic("a container of branches threw, and this one was not started");
    }
    return index == tasks_.size() ? *std::move(last_)
                                  : task_handle_internal::TakeResult<T>(tasks_[index].task);
  }

  R range_;
  std::vector<BranchTask> tasks_;
  std::optional<decltype(std::begin(std::declval<std::remove_reference_t<R>&>()))> next_;
  std::optional<Outcome<T>> last_;
};

// Which branch was the first: of those that end at the same time, one. Read once all have ended.
class FirstIndex {
 public:
  // True for one caller.
  bool Claim(size_t index) {
    size_t none = kNone;
    return !claimed() && index_.compare_exchange_strong(none, index, std::memory_order_relaxed);
  }
  bool claimed() const { return index_.load(std::memory_order_relaxed) != kNone; }
  size_t index() const { return index_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kNone = ~size_t{0};
  std::atomic<size_t> index_{kNone};
};

// --- the set -------------------------------------------------------------------------------------

// The body (see region.h, RunIn) that runs `Branches` by `Rule`, which has
//   kName, kBranch   of the region, and of a branch that is a task
//   Result<Branches>
//   bool Ended(size_t index, Severity severity, bool stopped)
//                    called in the step that ended the branch, by several at once. `stopped`: Cancelled,
//                    after a cancel of the region. True: it is decided, what is left has lost
//   Outcome<Result> Take(Branches&)   once all have ended; what is not taken is destroyed
//   Outcome<Result> Finish(Outcome<Result> taken, Outcome<void> joined)   `joined`: the region's
// and is moved only before it is told of an end.
template <class CxType, class Branches, class Rule>
class BranchSet {
 public:
  using Value = typename Branches::Last;
  using Result = typename Rule::template Result<Branches>;

  BranchSet(Branches branches, Rule rule)
      : branches_(std::move(branches)), rule_(std::move(rule)) {}
  BranchSet(BranchSet&& other)
      : branches_(std::move(other.branches_)), rule_(std::move(other.rule_)) {}

  Task<Value> Begin(const CxType& cx) {
    region_ = cx.region();
    task_ = cx.task();
    // A mask of the caller is not one of the branches.
    masked_resumes_ = std::exchange(task_->masked_resumes, uint16_t{0});
    branches_.Start(cx, Rule::kBranch, this);
    return branches_.CallLast(cx);
  }
  void BodyEnded(region_internal::Opening& region, Outcome<Value> outcome) {
    task_->masked_resumes = masked_resumes_;
    Ended(branches_.size() - 1, outcome.severity(), /*is_body=*/true);
    region.BodyEnded(outcome, region_internal::Opening::kBranch);
    branches_.LastEnded(std::move(outcome));
  }
  void TasksEnded() {
    auto take = [this] { taken_.emplace(rule_.Take(branches_)); };
    if (std::optional<Panic> panic = CallCatching(take)) taken_.emplace(*std::move(panic));
    const SilentEnd silent(Branches::kMayOwe);
    branches_.Drop();
  }
  Outcome<Result> Finish(Outcome<void> joined) {
    return rule_.Finish(*std::move(taken_), std::move(joined));
  }

  // Threads: any.
  void Ended(size_t index, Severity severity, bool is_body) {
    bool stopped = false;
    if (severity == Severity::kCancelled) {
      stopped = (region_->word.load(std::memory_order_acquire) & region_word::kAnyCancel) != 0;
      // A request to the caller's task reaches the body before it reaches the region.
      stopped |=
          is_body && (task_->word.load(std::memory_order_acquire) & task_word::kAnyCancel) != 0;
    }
    if (rule_.Ended(index, severity, stopped)) LoseRest(region_, is_body);
  }

 private:
  Branches branches_;
  Rule rule_;
  RegionScope* region_ = nullptr;
  TaskScope* task_ = nullptr;
  uint16_t masked_resumes_ = 0;
  std::optional<Outcome<Result>> taken_;
};

// What Finish does where the region joins nothing but panics.
template <class T>
Outcome<T> JoinPanics(Outcome<T> taken, Outcome<void> joined) {
  const SilentEnd silent(!joined.ok());  // the value that nobody gets then
  JoinInto(taken, std::move(joined));
  return taken;
}

// Not a coroutine, so that the set goes into the region's frame without being a temporary of the
// caller's expression.
template <class CxType, class Branches, class Rule>
auto RunBranches(const CxType& cx, Branches branches, Rule rule, RegionPolicy policy) {
  static_assert(cx_internal::kHasSpawn<CxType>, "a combinator needs a Cx with cap::Spawn");
  using Set = BranchSet<CxType, Branches, Rule>;
  using region_internal::NoOptions;
  return region_internal::RunIn<CxType, Set, NoOptions>(
      cx, Rule::kName, Set(std::move(branches), std::move(rule)), policy, NoOptions());
}

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_BRANCH_SET_H_

// pipeline.h: a source, stages and a sink, each a task of its own, with bounded channels between them.
//
// Why:        stages that run at once and slow each other down where they must are easy to write with channels, and
//             hard to stop: a cancel loses the item that one stage has taken and the next one cannot take any more.
// Example:    auto next = [&](Cx cx) { return NextLine(cx, file); };                   // Task<optional<Line>>
//             auto parse = [](Cx, Line line) -> Task<Row> { co_return Parse(line); };
//             auto store = [&](Cx cx, Row row) { return Insert(cx, std::move(row)); };  // Task<void>
//             co_await OrReturn(Pipeline(cx, /*capacity=*/16, next, Parallel(4, parse), store));
// How:        a stage first reserves a place in the next channel, then takes an item, works on it, and puts what comes
//             of it into that place, which cannot fail: it never holds an item that it could not hand on. Only the
//             source is stopped by a cancel; what it has given is finished, for drain.
// Invariants: (1) each item that the source has given goes through every stage and the sink, once, whether the
//                 pipeline is cancelled meanwhile or another item has failed; what it has not given is untouched. Two
//                 things end the way of an item: its own failure, and the end of the time for the drain;
//             (2) when it yields, everything has ended (G9);
//             (3) at most `capacity` items, or as many as the stage before it has workers if that is more, are in one
//                 channel, with those that have a place in it and are still worked on.
#ifndef QUIESCE_RUNTIME_COMBINATOR_PIPELINE_H_
#define QUIESCE_RUNTIME_COMBINATOR_PIPELINE_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/ended_queue.h"
#include "quiesce/runtime/combinator/in_order.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
inline namespace v0 {

// In which order a stage with several workers hands its items on.
enum class StageOrder : uint8_t {
  kKept,  // as they came: what has overtaken another one waits, but not the worker that was so quick
  kAsReady,  // as they are done
};

// A stage, or the sink, with several workers: made by Parallel. F: a reference, or trivially destructible.
template <class F>
class ParallelStage {
 public:
  ParallelStage(size_t workers, F&& callable, StageOrder order)
      : workers(workers), callable(std::forward<F>(callable)), order(order) {}
  size_t workers;
  F callable;
  StageOrder order;
};

// How many items a channel of a pipeline holds. Converts from a number, which must be positive.
class PipelineCapacity {
 public:
  PipelineCapacity(size_t items, const char* file = __builtin_FILE(),
                   uint32_t line = __builtin_LINE())
      : items_(items), file_(file), line_(line) {}
  size_t items() const { return items_; }
  // Where it was given.
  const char* file() const { return file_; }
  uint32_t line() const { return line_; }

 private:
  size_t items_;
  const char* file_;
  uint32_t line_;
};

namespace combinator_internal {

[[noreturn, gnu::cold]] void NoCapacity(const char* file, uint32_t line);
[[noreturn, gnu::cold]] void NoWorkers(const char* file, uint32_t line);

// The callable of a stage, and how it is run.
template <class F>
struct StageSpec {
  explicit StageSpec(F&& callable) : callable(std::forward<F>(callable)) {}
  explicit StageSpec(ParallelStage<F>& stage)
      : callable(std::forward<F>(stage.callable)), workers(stage.workers), order(stage.order) {}
  StageSpec(StageSpec&& other)
      : callable(std::forward<F>(other.callable)), workers(other.workers), order(other.order) {}
  F callable;
  size_t workers = 1;
  StageOrder order = StageOrder::kKept;
};
template <class F>
StageSpec<F> MakeSpec(F&& callable) {
  CheckArguments<F>();
  return StageSpec<F>(std::forward<F>(callable));
}
template <class F>
StageSpec<F> MakeSpec(ParallelStage<F>&& stage) {
  return StageSpec<F>(stage);
}

// The tasks of a pipeline: the source, which the first failure of an item stops, and the workers of the stages.
class PipelineTasks {
 public:
  explicit PipelineTasks(size_t count) : tasks_(count) {}

  // As many as were said. The source first: from then on ItemFailed may be called.
  void Add(TaskHandle<void> task) {
    ended_.Add(&tasks_[added_], std::move(task).Release());
    ++added_;
  }
  // An item has come to nothing. Any thread.
  void ItemFailed(const Outcome<void>& failure);
  size_t size() const { return tasks_.size(); }
  EndedQueue& ended() { return ended_; }
  // Has one? Then the source gives no more, also where its waits do not hear of a cancel (for drain).
  bool source_stopped() const { return source_stopped_.load(std::memory_order_relaxed); }
  // Precondition: all have ended. What has failed, but for the Errors and Panics of items, which the region joins:
  // it would count a Cancelled whose cause lies inside as Ok, and so lose the item. Once.
  Outcome<void> TakeFailures();

 private:
  EndedQueue ended_;
  std::vector<Branch> tasks_;
  size_t added_ = 0;
  // false -> true by the first item that failed, or whose outcome was a Cancelled. Relaxed: what else is to be seen
  // is seen through the end of the worker.
  std::atomic<bool> source_stopped_{false};
  std::atomic<bool> item_cancelled_{false};
  Outcome<void> first_cancelled_ =
      Ok();  // written by the one that set the flag; read once all have ended
};

struct NoPlace {};  // what the sink sends into

// One stage. In: what it takes; Out: what it hands on, void for the sink. Fn: its callable.
template <class CxType, class In, class Out, class Fn>
class Stage {
  static constexpr bool kIsSink = std::is_void_v<Out>;
  using Next = std::conditional_t<kIsSink, NoPlace, Sender<NonVoid<Out>>>;
  using Place = std::conditional_t<kIsSink, NoPlace, SendPermit<NonVoid<Out>>>;

 public:
  struct Init {
    Fn* callable;
    size_t workers;
    StageOrder order;
    size_t capacity;  // of the channel into it
    SpawnName name;   // of its workers
    PipelineTasks* tasks;
  };
  explicit Stage(const Init& init) : Stage(init, MakeMpsc<In>(init.capacity)) {}

  // The way into it: taken once.
  Sender<In> TakeFeed() { return *std::exchange(feed_, std::nullopt); }
  void Start(const CxType& cx, Next next) {
    const auto work = [this](CxType cx, Next next) { return Work(cx, std::move(next)); };
    for (size_t i = 1; i < init_.workers; ++i) init_.tasks->Add(cx.Spawn(init_.name, work, next));
    init_.tasks->Add(cx.Spawn(init_.name, work, std::move(next)));
  }

 private:
  struct Taken {
    Taken(Place place, In item, uint64_t number)
        : place(std::move(place)), item(std::move(item)), number(number) {}
    Place place;
    In item;
    uint64_t number;
  };

  Stage(const Init& init, Mpsc<In> channel)
      : init_(init), feed_(std::move(channel.sender)), items_(std::move(channel.receiver)) {}

  // A worker: until nothing comes any more.
  Task<void> Work(CxType cx, Next next) {
    Outcome<void> failed = Ok();
    while (true) {
      Task<std::optional<Taken>> taking = Take(cx, &next);
      Outcome<std::optional<Taken>> taken = co_await taking;
      if (!taken.ok()) {
        JoinInto(failed, Outcome<void>::FromFailure(std::move(taken)));
        break;
      }
      if (!taken->has_value()) break;
      Taken& one = **taken;
      Task<Out> working = task_internal::CallForTask<Out>(
          [&] { return (*init_.callable)(cx, std::move(one.item)); });
      Outcome<Out> done = co_await working;
      const bool lost = !done.ok();
      if (lost) {
        Outcome<void> failure = Outcome<void>::FromFailure(done);
        init_.tasks->ItemFailed(failure);
        if (!failure.is_cancelled()) JoinInto(failed, std::move(failure));
      }
      if constexpr (!kIsSink) HandOn(std::move(one.place), one.number, std::move(done));
      const SilentEnd silent(lost);  // what the callable has left of an item that nobody gets (R8)
      taken->reset();
    }
    co_return failed;
  }

  // A place, then an item; nullopt at the end.
  Task<std::optional<Taken>> Take(CxType cx, const Next* next) {
    std::optional<MutexGuard> turn;
    if (init_.workers > 1) turn.emplace(co_await OrReturn(turn_.Lock(cx)));
    if constexpr (kIsSink) {
      std::optional<In> item = co_await OrReturn(items_.Receive(cx));
      if (!item.has_value()) co_return std::nullopt;
      co_return std::optional<Taken>(Taken(Place(), *std::move(item), taken_++));
    } else {
      Place place = co_await OrReturn(next->Reserve(cx));
      std::optional<In> item = co_await OrReturn(items_.Receive(cx));
      if (!item.has_value()) {
        std::move(place).Abort();
        co_return std::nullopt;
      }
      co_return std::optional<Taken>(Taken(std::move(place), *std::move(item), taken_++));
    }
  }

  void HandOn(Place place, uint64_t number, Outcome<Out> done) {
    std::optional<NonVoid<Out>> value;
    if (done.ok()) value.emplace(std::move(done).value());
    if (init_.workers > 1 && init_.order == StageOrder::kKept) {
      in_order_.Done(number, std::move(place), std::move(value));
    } else if (value.has_value()) {
      // The next stage receives until every place has been used or given back, so this is not refused.
      (void)std::move(place).Send(*std::move(value));
    } else {
      std::move(place).Abort();
    }
  }

  const Init init_;
  std::optional<Sender<In>> feed_;
  Mutex turn_;  // of the worker that takes next; guards the two below if there are several workers
  Receiver<In> items_;
  uint64_t taken_ = 0;
  [[no_unique_address]] std::conditional_t<kIsSink, NoPlace, InOrder<NonVoid<Out>>> in_order_;
};

// The stages for these callables, the first of which takes an In, and the last is the sink.
template <class CxType, class In, class... Fn>
struct StagesOf;
template <class CxType, class In, class Fn, class... More>
struct StagesOf<CxType, In, Fn, More...> {
  static_assert(
      std::is_invocable_v<Fn&, CxType, In&&>,
      "Pipeline: a stage is called as stage(cx, item), with what the one before it yields");
  using Out = typename spawn_internal::TaskValue<std::invoke_result_t<Fn&, CxType, In&&>>::type;
  static_assert(!std::is_void_v<Out>, "Pipeline: only the last, the sink, returns a Task<void>");
  using type =
      decltype(std::tuple_cat(std::declval<std::tuple<Stage<CxType, In, Out, Fn>*>>(),
                              std::declval<typename StagesOf<CxType, Out, More...>::type>()));
};
template <class CxType, class In, class Fn>
struct StagesOf<CxType, In, Fn> {
  static_assert(
      std::is_invocable_r_v<Task<void>, Fn&, CxType, In&&>,
      "Pipeline: the last, the sink, is called as sink(cx, item) and returns a Task<void>");
  using type = std::tuple<Stage<CxType, In, void, Fn>*>;
};
// The tuple of what those point to.
template <class Pointers>
struct Pointees;
template <class... T>
struct Pointees<std::tuple<T*...>> {
  using type = std::tuple<T...>;
};

template <class T>
struct OptionalValue {
  static_assert(
      !std::is_same_v<T, T>,
      "Pipeline: the source is called as source(cx) and returns a Task<std::optional<T>>, "
      "nullopt at its end");
};
template <class T>
struct OptionalValue<std::optional<T>> {
  using type = T;
};

template <class CxType, class Source, class... F>
class PipelineBody {
  using Item = typename OptionalValue<BranchValue<Source, CxType>>::type;
  using Stages =
      typename Pointees<typename StagesOf<CxType, Item, std::remove_reference_t<F>...>::type>::type;

 public:
  PipelineBody(size_t capacity, Source&& source, StageSpec<F>... specs)
      : capacity_(capacity), source_(std::forward<Source>(source)), specs_(std::move(specs)...) {}
  PipelineBody(PipelineBody&& other)
      : capacity_(other.capacity_),
        source_(std::forward<Source>(other.source_)),
        specs_(std::move(other.specs_)) {}

  Task<void> operator()(CxType cx) {
    Start(cx, std::index_sequence_for<F...>());
    // Structural: the source forwards a cancel, and the stages end behind it.
    (void)co_await EndedWait(cx, &tasks_->ended(), tasks_->size());
    {
      const SilentEnd silent(true);  // the items that the time did not suffice for (R8)
      stages_.reset();
    }
    co_return tasks_->TakeFailures();
  }

 private:
  static constexpr size_t kStages = sizeof...(F);

  template <size_t... i>
  void Start(const CxType& cx, std::index_sequence<i...>) {
    tasks_.emplace((1 + ... + std::get<i>(specs_).workers));
    stages_.emplace(InitOf<i>()...);
    const auto pump = [this](CxType cx, Sender<Item> next) { return Pump(cx, std::move(next)); };
    tasks_->Add(cx.Spawn("pipeline source", pump, std::get<0>(*stages_).TakeFeed()));
    (StartStage<i>(cx), ...);
  }
  template <size_t i>
  static consteval SpawnName NameOf() {
    if constexpr (i + 1 == kStages) return "pipeline sink";
    switch (i) {
      case 0:
        return "pipeline stage 1";
      case 1:
        return "pipeline stage 2";
      case 2:
        return "pipeline stage 3";
      case 3:
        return "pipeline stage 4";
      default:
        return "pipeline stage after the 4th";
    }
  }
  template <size_t i>
  auto InitOf() {
    StageSpec<std::tuple_element_t<i, std::tuple<F...>>>& spec = std::get<i>(specs_);
    size_t capacity = capacity_;
    if constexpr (i > 0) capacity = std::max(capacity, std::get<i - 1>(specs_).workers);
    return typename std::tuple_element_t<i, Stages>::Init{&spec.callable, spec.workers, spec.order,
                                                          capacity,       NameOf<i>(),  &*tasks_};
  }
  // For drain: it runs although there was a cancel, and so do its waits.
  template <size_t i>
  void StartStage(const CxType& cx) {
    auto& stage = std::get<i>(*stages_);
    if constexpr (i + 1 == kStages) {
      stage.Start(cx.ForDrain(), NoPlace());
    } else {
      stage.Start(cx.ForDrain(), std::get<i + 1>(*stages_).TakeFeed());
    }
  }
  // The task of the source. Between its yielding an item and that being in the channel nothing can end it.
  Task<void> Pump(CxType cx, Sender<Item> next) {
    while (true) {
      SendPermit<Item> place = co_await OrReturn(next.Reserve(cx));
      if (tasks_->source_stopped()) {
        std::move(place).Abort();
        co_return Ok();
      }
      Task<std::optional<Item>> giving =
          task_internal::CallForTask<std::optional<Item>>([&] { return source_(cx); });
      std::optional<Item> item = co_await OrReturn(giving);
      if (!item.has_value()) {
        std::move(place).Abort();
        co_return Ok();
      }
      (void)std::move(place).Send(*std::move(item));
    }
  }

  const size_t capacity_;
  Source source_;
  std::tuple<StageSpec<F>...> specs_;
  std::optional<PipelineTasks> tasks_;
  std::optional<Stages> stages_;
};

template <class CxType, class Source, class... F>
Task<void> RunPipeline(const CxType& cx, const PipelineCapacity& capacity, Source&& source,
                       StageSpec<F>... specs) {
  if (capacity.items() == 0) [[unlikely]]
    NoCapacity(capacity.file(), capacity.line());
  if (std::min({specs.workers...}) == 0) [[unlikely]]
    NoWorkers(capacity.file(), capacity.line());
  return RunBody(cx, "pipeline",
                 PipelineBody<CxType, Source, F...>(capacity.items(), std::forward<Source>(source),
                                                    std::move(specs)...),
                 CollectAll());
}

}  // namespace combinator_internal

// A stage, or the sink, of which `workers` items are worked on at once. Fatal if that is 0.
template <class F>
ParallelStage<F> Parallel(size_t workers, F&& callable, StageOrder order = StageOrder::kKept) {
  combinator_internal::CheckArguments<F>();
  return ParallelStage<F>(workers, std::forward<F>(callable), order);
}

// Runs source(cx), a Task<std::optional<T>>, again and again until it yields nullopt; each item goes through the
// stages, stage(cx, item), a Task of what the next one gets; and into the sink, sink(cx, item), a Task<void>. Each is
// a task of a region of its own, or several (Parallel). A callable gets its item as an rvalue that lives as long as
// its call. `capacity` is that of each channel.
// Returns  Ok once the source has ended and all items are through; else the failures, joined (R1). A stage that
//          fails, by an Error, a Panic or a Cancelled of its own, loses that item, stops the source, and goes on with
//          the items that are there: they are not to blame. So does the end of the source by a failure. A Cancelled
//          whose cause lies inside, of an item or of the source, gives way to any other failure; alone it is the
//          outcome: the items are not all through. Cancelled.
// Suspends until everything has ended (G9). A structural wait that forwards a cancel.
// Cancel   safe: it ends the source, between two items. Stages and sink have cx.ForDrain() and go on to the last
//          item; what the drain budget does not suffice for is dropped, and the outcome is Cancelled.
// Errors   a capacity of 0, or a stage without a worker, is fatal.
// Callables: a named one stays where it is and must outlive the await; one that is not trivially
//          destructible must be named (R10). With several workers it is called on several threads at once.
template <class CxType, class Source, class... Stages>
auto Pipeline(const CxType& cx, PipelineCapacity capacity, Source&& source, Stages&&... stages) {
  using namespace combinator_internal;  // NOLINT: of this function only
  static_assert(sizeof...(Stages) >= 1, "Pipeline needs a sink");
  CheckArguments<Source>();
  return RunPipeline(cx, capacity, std::forward<Source>(source),
                     MakeSpec(std::forward<Stages>(stages))...);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_PIPELINE_H_

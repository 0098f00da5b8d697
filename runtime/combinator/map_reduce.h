// map_reduce.h: the same work on many items, so many at a time, and what comes of it as one value.
//
// Why:        a task for each item of a long list is a queue without a bound, and a loop that keeps eight of them
//             going has to get its errors, its cancel and its order right each time it is written.
// Example:    auto count = [](Cx cx, const Path& path) { return CountWords(cx, path); };  // a Task<Counts>
//             auto add = [](Counts left, Counts right) { return left + right; };
//             Counts all = co_await OrReturn(MapReduce(cx, paths, 8, count, add, Counts()));
// Invariants: (1) at most `parallelism` maps live at once, and an item is looked at only when it is about to be started:
//                 not one ahead, and none after a failure or a cancel;
//             (2) when it yields, every map that was started has ended (G9);
//             (3) it holds at most parallelism + 1 values, however long the range is.
#ifndef QUIESCE_RUNTIME_COMBINATOR_MAP_REDUCE_H_
#define QUIESCE_RUNTIME_COMBINATOR_MAP_REDUCE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "quiesce/runtime/combinator/branches.h"
#include "quiesce/runtime/combinator/ended_queue.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region_policy.h"
#include "quiesce/runtime/region/spawn.h"
#include "quiesce/runtime/task/silent_end.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
inline namespace v0 {

// In which order the values are reduced.
enum class ReduceOrder : uint8_t {
  kItems,  // of the items; nothing waits for its turn, as neighbours are reduced when both are there
  kEnds,   // in which the maps end
};

namespace combinator_internal {

// Reduces values in the order of their numbers, from 1, which may come in any order. Neighbours are reduced as soon as
// both are there: so no more values are kept than there are gaps, and each gap is a number still to come.
template <class A, class Reduce>
class OrderedReducer {
 public:
  // `initial` has the number 0.
  OrderedReducer(Reduce& reduce, A initial) : reduce_(reduce) {
    runs_.emplace_back(0, std::move(initial));
  }
  void Add(uint64_t number, A value) {
    const auto after =
        std::upper_bound(runs_.begin(), runs_.end(), number,
                         [](uint64_t wanted, const Run& run) { return wanted < run.begin; });
    const auto before = after - 1;  // there is one: number 0
    const bool joins_after = after != runs_.end() && after->begin == number + 1;
    if (before->end == number) {
      before->value = reduce_(std::move(before->value), std::move(value));
      ++before->end;
      if (!joins_after) return;
      before->value = reduce_(std::move(before->value), std::move(after->value));
      before->end = after->end;
      runs_.erase(after);
    } else if (joins_after) {
      after->value = reduce_(std::move(value), std::move(after->value));
      --after->begin;
    } else {
      runs_.emplace(after, number, std::move(value));
    }
  }
  // How many values it holds.
  size_t size() const { return runs_.size(); }
  // Precondition: no number is missing.
  A Take() && { return std::move(runs_.front().value); }

 private:
  struct Run {
    Run(uint64_t number, A value) : begin(number), end(number + 1), value(std::move(value)) {}
    uint64_t begin;
    uint64_t end;  // one past the last
    A value;
  };
  Reduce& reduce_;
  std::vector<Run> runs_;  // by number
};

// Goes through a range without a look at an item that is not wanted: to move an iterator on, or just to compare it
// with the end, may compute an item or read one from a stream.
template <class Range>
class ItemsOf {
  static constexpr uint64_t kUnknown = UINT64_MAX;

 public:
  using Iterator = decltype(std::begin(std::declval<Range&>()));
  using Reference = decltype(*std::declval<Iterator&>());
  explicit ItemsOf(Range& range) : item_(std::begin(range)), end_(std::end(range)) {
    if constexpr (requires { std::size(range); }) left_ = static_cast<uint64_t>(std::size(range));
  }
  // False: there is no further item, and no look is needed to know that.
  bool MayGoOn() const { return left_ != 0; }
  // Goes to the next item. False: there is none.
  bool Next() {
    if (taken_ > 0) ++item_;
    if (item_ == end_) {
      left_ = 0;
      return false;
    }
    ++taken_;
    if (left_ != kUnknown) --left_;
    return true;
  }
  Reference operator*() { return *item_; }
  // Of the present item, from 1.
  uint64_t number() const { return taken_; }

 private:
  Iterator item_;
  const decltype(std::end(std::declval<Range&>())) end_;
  uint64_t left_ = kUnknown;
  uint64_t taken_ = 0;
};

// What the task of an item calls. By reference, if the item stays where it is …
template <class Map, class Item, class CxType>
struct MapItem {
  Map* map;
  Item* item;
  auto operator()(CxType cx) const { return (*map)(cx, *item); }
};
// … else the item is the task's.
template <class Map, class Item, class CxType>
struct MapOwnItem {
  Map* map;
  auto operator()(CxType cx, Item&& item) const { return (*map)(cx, std::move(item)); }
};

// R, Map, Reduce: references, or trivially destructible.
template <class A, class CxType, class R, class Map, class Reduce>
class MapReduceBody {
  using Range = std::remove_reference_t<R>;
  using Items = ItemsOf<Range>;
  using Iterator = typename Items::Iterator;
  using Reference = typename Items::Reference;
  // An iterator that can be passed once only may give a reference to something of its own.
  static constexpr bool kItemsStay =
      std::is_lvalue_reference_v<Reference> && std::forward_iterator<Iterator>;
  using Item = std::conditional_t<kItemsStay, std::remove_reference_t<Reference>,
                                  std::remove_cvref_t<Reference>>;
  using Given = std::conditional_t<kItemsStay, Item&, Item&&>;
  using MapFn = std::remove_reference_t<Map>;
  using ReduceFn = std::remove_reference_t<Reduce>;
  static_assert(std::is_invocable_v<MapFn&, CxType, Given>,
                "MapReduce: map(cx, item) must be callable, and return a Task");
  using T = typename spawn_internal::TaskValue<std::invoke_result_t<MapFn&, CxType, Given>>::type;
  static_assert(std::is_convertible_v<T, A>,
                "MapReduce: what map's Task yields must convert to the type of `initial`");
  static_assert(std::is_invocable_r_v<A, ReduceFn&, A, A>,
                "MapReduce: reduce(left, right) must take two of the type of `initial` and return "
                "one");

 public:
  MapReduceBody(R&& range, size_t parallelism, Map&& map, Reduce&& reduce, A initial,
                ReduceOrder order)
      : range_(std::forward<R>(range)),
        parallelism_(parallelism),
        map_(std::forward<Map>(map)),
        reduce_(std::forward<Reduce>(reduce)),
        initial_(std::move(initial)),
        order_(order) {}
  MapReduceBody(MapReduceBody&& other)
      : MapReduceBody(std::forward<R>(other.range_), other.parallelism_,
                      std::forward<Map>(other.map_), std::forward<Reduce>(other.reduce_),
                      std::move(other.initial_), other.order_) {}

  Task<A> operator()(CxType cx) {
    std::optional<SilentEnd> silent;  // first, so that it ends after the values that nobody gets
    OrderedReducer<A, ReduceFn> reducer(reduce_, std::move(initial_));
    Outcome<void> failed =
        Ok();  // the first that was seen; what follows from it is joined by the region
    uint64_t reduced = 0;
    size_t running = 0;
    Items items(range_);
    while (true) {
      while (failed.ok() && running < parallelism_ && items.MayGoOn()) {
        // What a spawn would be refused for: the item stays where it is.
        const uint8_t mode = cx_internal::FlagMode(cx);
        if (cx_internal::MustFailNow(cx, mode)) {
          failed = cx_internal::FailReason(cx, mode);
        } else if (items.Next()) {
          Start(cx, items.number(), *items);
          ++running;
        }
      }
      if (running == 0) break;
      // Structural: the maps forward a cancel.
      Branch* branch = co_await OrReturn(EndedWait(cx, &ended_, 1));
      --running;
      const SilentEnd unwanted(!failed.ok());  // nobody gets this value then (R8)
      Outcome<T> mapped = TakeBranch<T>(*branch);
      const uint64_t number = order_ == ReduceOrder::kItems ? NumberOf(branch) : ++reduced;
      Free(branch);
      if (!failed.ok()) continue;
      if (mapped.ok()) {
        reducer.Add(number, std::move(mapped).value());
      } else {
        failed = Outcome<void>::FromFailure(std::move(mapped));
      }
    }
    if (!failed.ok()) {
      silent.emplace(true);
      co_return Outcome<A>::FromFailure(std::move(failed));
    }
    co_return std::move(reducer).Take();
  }

 private:
  struct Place : Branch {
    uint64_t number = 0;  // of its item, from 1
  };

  void Start(const CxType& cx, uint64_t number, Reference item) {
    Place* place = free_.empty() ? &places_.emplace_back() : free_.back();
    if (!free_.empty()) free_.pop_back();
    place->number = number;
    if constexpr (kItemsStay) {
      const MapItem<MapFn, Item, CxType> map_item = {&map_, std::addressof(item)};
      ended_.Add(place, cx.Spawn("map", map_item).Release());
    } else {
      const MapOwnItem<MapFn, Item, CxType> map_item = {&map_};
      ended_.Add(place, cx.Spawn("map", map_item, std::forward<Reference>(item)).Release());
    }
  }
  static uint64_t NumberOf(Branch* branch) { return static_cast<Place*>(branch)->number; }
  void Free(Branch* branch) {
    branch->ForgetSilently();
    free_.push_back(static_cast<Place*>(branch));
  }

  R range_;
  const size_t parallelism_;
  Map map_;
  Reduce reduce_;
  A initial_;
  const ReduceOrder order_;
  EndedQueue ended_;
  std::deque<Place> places_;  // as many as there were maps at once
  std::vector<Place*> free_;
};

[[noreturn, gnu::cold]] void NoParallelism(const char* file, uint32_t line);

}  // namespace combinator_internal

// Runs map(cx, item), a Task<A>, for each item of `range` as a task in a region of its own, at most `parallelism` at
// once, and reduces the values with reduce(A, A), in the calling task, starting from `initial`.
// Returns  the reduced value, `initial` for an empty range; or the first Error of a map, which cancels the others
//          (fail-fast) and starts no further one, joined with any Panic; Cancelled, also if a map is by itself,
//          which starts no further one and leaves the others to end.
// Suspends until every map that was started has ended. A structural wait that forwards a cancel.
// Cancel   safe: forwarded to the maps; no further item is looked at. What the maps have done is done. If all items had
//          been started and all end Ok nevertheless, the outcome is Ok; that there is no further item is known
//          only of a range that has a size.
// Order    kItems: the left operand is of earlier items than the right one, so `reduce` has to be associative, with
//          any grouping. kEnds: as the maps end, so it has to be commutative too. `reduce` does not suspend; if
//          it throws, that is a Panic.
// Range    begin and end are enough: a container, a span, a view, also one that makes its items up or can be passed
//          once only. Where iterators are forward iterators and give an lvalue, `map` gets that very item, by
//          reference; else it gets an rvalue that lives as long as its task.
// Errors   parallelism 0 is fatal.
// Callables: a named one, or a named range, stays where it is and must outlive the await; one that is not
//          trivially destructible must be named (R10), and so must `initial` if it is such an aggregate.
template <class CxType, class R, class Map, class Reduce, class Initial>
auto MapReduce(const CxType& cx, R&& range, size_t parallelism, Map&& map, Reduce&& reduce,
               Initial&& initial, ReduceOrder order = ReduceOrder::kItems,
               const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE()) {
  using namespace combinator_internal;  // NOLINT: of this function only
  CheckArguments<R, Map, Reduce>();
  using A = std::remove_cvref_t<Initial>;
  static_assert(kSafeArgument<Initial> || !std::is_aggregate_v<A>,
                "MapReduce: an aggregate that is not trivially destructible must be named: g++ 12 "
                "destroys such a temporary twice in a co_await expression (R10)");
  if (parallelism == 0) [[unlikely]]
    NoParallelism(file, line);
  using Body = MapReduceBody<A, CxType, R, Map, Reduce>;
  return RunBody(cx, SpawnName("map-reduce"),
                 Body(std::forward<R>(range), parallelism, std::forward<Map>(map),
                      std::forward<Reduce>(reduce), std::forward<Initial>(initial), order),
                 FailFast());
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_MAP_REDUCE_H_

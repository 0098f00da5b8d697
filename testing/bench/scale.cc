// What one more costs where there are few and where there are many: tasks, sibling regions, regions inside regions.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "quiesce/runtime/sync/notify.h"
#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

Task<void> Nothing(Cx) { co_return Ok(); }

// ---- tasks: n in groups, each spawned without yielding, then joined ---------------------------------------

Task<double> TaskGroups(Cx cx, int64_t n, int64_t group) {
  std::vector<TaskHandle<void>> handles;
  handles.reserve(static_cast<size_t>(group));
  const double start = NowNs();
  for (int64_t done = 0; done < n; done += group) {
    for (int64_t i = 0; i < group; ++i) handles.push_back(cx.Spawn("nothing", Nothing));
    for (TaskHandle<void>& handle : handles) (void)co_await OrReturn(handle.Join(cx));
    handles.clear();
  }
  co_return NowNs() - start;
}

// ---- siblings: the oldest of `count` open regions closes, a new one opens ---------------------------------

struct Sibling {
  Notify close;
  std::optional<TaskHandle<void>> task;
};

Task<void> HoldRegionOpen(Cx cx, Notify* close, Notify* opened) {
  auto body = [close, opened](Cx cx) -> Task<void> {
    opened->NotifyOne();
    co_await OrReturn(close->Wait(cx));
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "sibling", body);
}

// Every step does the same, however many there are: only what it finds is larger, and colder.
Task<double> SiblingRegions(Cx cx, int64_t n, int64_t count) {
  std::vector<Sibling> siblings(static_cast<size_t>(count));
  Notify opened;
  double start = 0;
  for (int64_t i = 0; i < count + n; ++i) {
    if (i == count) start = NowNs();
    Sibling& sibling = siblings[static_cast<size_t>(i % count)];
    if (i >= count) {
      sibling.close.NotifyOne();
      co_await OrReturn(co_await OrReturn(sibling.task->Join(cx)));
    }
    sibling.task.emplace(cx.Spawn("sibling", HoldRegionOpen, &sibling.close, &opened));
    co_await OrReturn(opened.Wait(cx));
  }
  const double elapsed = NowNs() - start;
  for (Sibling& sibling : siblings) sibling.close.NotifyOne();
  for (Sibling& sibling : siblings) co_await OrReturn(co_await OrReturn(sibling.task->Join(cx)));
  co_return elapsed;
}

// ---- depth: a region in a region in a region, with one task in each ---------------------------------------

Task<void> Nest(Cx cx, int64_t depth) {
  auto body = [depth](Cx cx) -> Task<void> {
    cx.Spawn("nothing", Nothing);
    if (depth > 1) co_await OrReturn(Nest(cx, depth - 1));
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "level", body);
}

Task<double> NestedRegions(Cx cx, int64_t n, int64_t depth) {
  const double start = NowNs();
  for (int64_t done = 0; done < n; done += depth) co_await OrReturn(Nest(cx, depth));
  co_return NowNs() - start;
}

using Round = Task<double> (*)(Cx, int64_t n, int64_t at_once);

// The same n things, few at once and many at once. n becomes a multiple of both.
void Report(const Arguments& arguments, Round round, int64_t n, int64_t few, int64_t many) {
  n = std::max(arguments.CountOr(n) / many, int64_t{1}) * many;
  const auto print = [&](const char* size, int64_t at_once) {
    const double ns = BestNs(arguments, [=](Cx cx) { return round(cx, n, at_once); });
    Print(arguments.bench + size, ns / static_cast<double>(n), "ns/op");
  };
  print("_small", few);
  print("_large", many);
}

}  // namespace

void ScaleTasks(const Arguments& arguments) {
  Report(arguments, &TaskGroups, 1'000'000, 1'000, 1'000'000);
}
void ScaleRegions(const Arguments& arguments) {
  Report(arguments, &SiblingRegions, 100'000, 1, 10'000);
}
void ScaleDepth(const Arguments& arguments) {
  Report(arguments, &NestedRegions, 100'000, 1, 1'000);
}

}  // namespace quiesce_bench

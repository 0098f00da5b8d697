// What a call pays for being watched over (dice, a rate, a breaker, a bulkhead, a retry that is not needed), and an item
// for its way through MapReduce and Pipeline. No peers.
#include <cstdint>
#include <functional>
#include <optional>
#include <ranges>
#include <utility>

#include "quiesce/runtime/combinator/bulkhead.h"
#include "quiesce/runtime/combinator/circuit_breaker.h"
#include "quiesce/runtime/combinator/map_reduce.h"
#include "quiesce/runtime/combinator/pipeline.h"
#include "quiesce/runtime/combinator/rate_limit.h"
#include "quiesce/runtime/combinator/retry.h"
#include "quiesce/runtime/random/random.h"
#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

// Nanoseconds for one of n, of which `all(cx, n)`, a Task<void>, does all.
template <class All>
void PrintEach(const Arguments& arguments, int64_t standard, All all) {
  const int64_t n = arguments.CountOr(standard);
  const double ns = BestNs(arguments, [=](Cx cx) -> Task<double> {
    const double start = NowNs();
    co_await OrReturn(all(cx, n));
    co_return NowNs() - start;
  });
  Print(arguments.bench, ns / static_cast<double>(n), "ns/op");
}

Task<void> Nothing(Cx) { co_return Ok(); }

}  // namespace

void RandomDraws(const Arguments& arguments) {
  PrintEach(arguments, 20'000'000, [](Cx cx, int64_t n) -> Task<void> {
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += RandomU64(cx);
    if (sum == 0) co_return absl::InternalError("random: not likely");
    co_return Ok();
  });
}

void RateLimitUncontended(const Arguments& arguments) {
  PrintEach(arguments, 5'000'000, [](Cx cx, int64_t n) -> Task<void> {
    RateLimit limit(1'000'000'000'000, absl::Seconds(1), 1'000'000);
    for (int64_t i = 0; i < n; ++i) co_await OrReturn(limit.Acquire(cx));
    co_return Ok();
  });
}

void CircuitBreakerClosed(const Arguments& arguments) {
  PrintEach(arguments, 5'000'000, [](Cx cx, int64_t n) -> Task<void> {
    CircuitBreaker breaker("bench");
    for (int64_t i = 0; i < n; ++i) co_await OrReturn(breaker.Call(cx, Nothing));
    co_return Ok();
  });
}

void BulkheadUncontended(const Arguments& arguments) {
  PrintEach(arguments, 5'000'000, [](Cx cx, int64_t n) -> Task<void> {
    Bulkhead bulkhead("bench", 1, 1);
    for (int64_t i = 0; i < n; ++i) co_await OrReturn(bulkhead.Call(cx, Nothing));
    co_return Ok();
  });
}

void RetryNotNeeded(const Arguments& arguments) {
  PrintEach(arguments, 2'000'000, [](Cx cx, int64_t n) -> Task<void> {
    for (int64_t i = 0; i < n; ++i) co_await OrReturn(Retry(cx, RetryPolicy(), Nothing));
    co_return Ok();
  });
}

void MapReduceItems(const Arguments& arguments) {
  PrintEach(arguments, 1'000'000, [](Cx cx, int64_t n) -> Task<void> {
    const int64_t sum = co_await OrReturn(MapReduce(
        cx, std::views::iota(int64_t{0}, n), 16,
        [](Cx, int64_t item) -> Task<int64_t> { co_return item; }, std::plus<int64_t>(),
        int64_t{0}));
    if (sum != n * (n - 1) / 2) co_return absl::InternalError("map_reduce: the sum is wrong");
    co_return Ok();
  });
}

// Two stages and a sink.
void PipelineItems(const Arguments& arguments) {
  PrintEach(arguments, 500'000, [](Cx cx, int64_t n) -> Task<void> {
    int64_t next = 0;
    int64_t sum = 0;
    auto source = [&](Cx) -> Task<std::optional<int64_t>> {
      if (next == n) co_return std::nullopt;
      co_return next++;
    };
    auto stage = [](Cx, int64_t item) -> Task<int64_t> { co_return item; };
    auto sink = [&](Cx, int64_t item) -> Task<void> {
      sum += item;
      co_return Ok();
    };
    co_await OrReturn(Pipeline(cx, 64, source, stage, stage, sink));
    if (sum != n * (n - 1) / 2) co_return absl::InternalError("pipeline: an item is missing");
    co_return Ok();
  });
}

}  // namespace quiesce_bench

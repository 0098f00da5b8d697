// spawn_join and yield: the scheduler alone.
#include <algorithm>
#include <atomic>
#include <exception>

#include "quiesce/testing/bench/peers/asio/src/harness.h"

namespace asio_peer {
namespace {

Task<void> Nothing() { co_return; }

// Counts ends. Run() ends with the last of them, so nothing has to wait for the count.
class Counter {
 public:
  void Count() { ended_.fetch_add(1, std::memory_order_acq_rel); }
  void Expect(size_t n) const {
    if (ended_.load() != n) Fail("tasks are missing");
  }

 private:
  std::atomic<size_t> ended_{0};
};

// A coroutine is started in place, by co_spawn itself; its completion handler goes through the run queue.
double SpawnCoroutines(Pool& pool, size_t n) {
  Counter ended;
  asio::io_context& context = pool.context();
  asio::post(context, [&] {
    for (size_t i = 0; i < n; ++i) {
      asio::co_spawn(context.get_executor(), Nothing(),
                     [&ended](std::exception_ptr) { ended.Count(); });
    }
  });
  const double ns = pool.Run();
  ended.Expect(n);
  return ns;
}

// Functions, not coroutines: what one would write for tasks that never wait.
double PostFunctions(Pool& pool, size_t n) {
  Counter ended;
  asio::io_context& context = pool.context();
  asio::post(context, [&] {
    for (size_t i = 0; i < n; ++i) asio::post(context, [&ended] { ended.Count(); });
  });
  const double ns = pool.Run();
  ended.Expect(n);
  return ns;
}

constexpr size_t kYieldingTasks = 100;

Task<void> Yielder(Executor executor, size_t times) {
  for (size_t i = 0; i < times; ++i) co_await asio::post(executor, kAwait);
}

Task<void> DeferringYielder(Executor executor, size_t times) {
  for (size_t i = 0; i < times; ++i) co_await asio::defer(executor, kAwait);
}

template <Task<void> (*yielder)(Executor, size_t)>
double YieldCoroutines(Pool& pool, size_t n) {
  const Executor executor = pool.context().get_executor();
  asio::post(executor, [=] {
    for (size_t i = 0; i < kYieldingTasks; ++i) {
      asio::co_spawn(executor, yielder(executor, n / kYieldingTasks), asio::detached);
    }
  });
  return pool.Run();
}

// A handler that posts itself again.
struct PostedYielder {
  Executor executor;
  size_t left;
  void operator()() {
    if (left == 0) return;
    --left;
    asio::post(executor, *this);
  }
};

// The same as a continuation, which needs no wake-up of another thread.
struct DeferredYielder {
  Executor executor;
  size_t left;
  void operator()() {
    if (left == 0) return;
    --left;
    asio::defer(executor, *this);
  }
};

template <class Yielder>
double YieldHandlers(Pool& pool, size_t n) {
  const Executor executor = pool.context().get_executor();
  asio::post(executor, [=] {
    for (size_t i = 0; i < kYieldingTasks; ++i) {
      asio::post(executor, Yielder{executor, n / kYieldingTasks});
    }
  });
  return pool.Run();
}

}  // namespace

void SpawnJoin(const Arguments& arguments) {
  ReportBest(arguments, SharedContext(arguments.workers),
             {{"co_spawn", &SpawnCoroutines, /*coroutine=*/true}, {"post", &PostFunctions}});
}

void Yield(const Arguments& arguments) {
  Arguments shared = arguments;
  shared.n = std::max(arguments.n / kYieldingTasks, size_t{1}) * kYieldingTasks;
  ReportBest(shared, SharedContext(arguments.workers),
             {{"co_await post", &YieldCoroutines<Yielder>, /*coroutine=*/true},
              {"co_await defer", &YieldCoroutines<DeferringYielder>, /*coroutine=*/true},
              {"post", &YieldHandlers<PostedYielder>},
              {"defer", &YieldHandlers<DeferredYielder>}});
}

}  // namespace asio_peer

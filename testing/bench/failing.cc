// A failure on its way up through ten coroutines: as a value, and as the exception of a usual coroutine library.
#include <coroutine>
#include <exception>
#include <stdexcept>
#include <utility>

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

using namespace quiesce;  // NOLINT: a benchmark reads as a user's program does

constexpr int kDepth = 10;

Task<int> FailsByValue(Cx cx, int depth) {
  if (depth == 1) co_return absl::NotFoundError("no such user");
  co_return 1 + co_await OrReturn(FailsByValue(cx, depth - 1));
}

Task<double> ValueRound(Cx cx, int64_t n) {
  int64_t failed = 0;
  const double start = NowNs();
  for (int64_t i = 0; i < n; ++i) {
    Outcome<int> outcome = co_await FailsByValue(cx, kDepth);
    if (!outcome.ok()) ++failed;
  }
  const double elapsed = NowNs() - start;
  if (failed != n) co_return absl::InternalError("a chain did not fail");
  co_return elapsed;
}

#if defined(__cpp_exceptions)

// What most coroutine libraries have: lazy, by symmetric transfer, and a failure is an exception that each
// frame catches, keeps and throws again where it is awaited.
class ThrowingTask {
 public:
  struct promise_type {
    struct Final {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        return self.promise().caller;
      }
      void await_resume() noexcept {}
    };
    ThrowingTask get_return_object() {
      return ThrowingTask(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    Final final_suspend() noexcept { return {}; }
    void return_value(int result) { value = result; }
    void unhandled_exception() { error = std::current_exception(); }

    std::coroutine_handle<> caller = std::noop_coroutine();
    std::exception_ptr error;
    int value = 0;
  };

  ThrowingTask(ThrowingTask&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  ~ThrowingTask() {
    if (handle_ != nullptr) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
    handle_.promise().caller = caller;
    return handle_;
  }
  int await_resume() {
    if (handle_.promise().error != nullptr) {
      std::rethrow_exception(std::move(handle_.promise().error));
    }
    return handle_.promise().value;
  }

  // Runs it, on this thread, to its end.
  int Run() {
    handle_.resume();
    return await_resume();
  }

 private:
  explicit ThrowingTask(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

ThrowingTask Throws(int depth) {
  if (depth == 1) throw std::runtime_error("no such user");
  co_return 1 + co_await Throws(depth - 1);
}

ThrowingTask CatchAll(int64_t n) {
  int failed = 0;
  for (int64_t i = 0; i < n; ++i) {
    try {
      co_await Throws(kDepth);
    } catch (const std::exception&) {
      ++failed;
    }
  }
  co_return failed;
}

// In a task of the runtime, so that both run on a worker.
Task<double> ThrownRound(Cx, int64_t n) {
  const double start = NowNs();
  const int failed = CatchAll(n).Run();
  const double elapsed = NowNs() - start;
  if (failed != n) co_return absl::InternalError("a chain did not throw");
  co_return elapsed;
}

#endif

}  // namespace

void FailingChain(const Arguments& arguments) {
  const int64_t n = arguments.CountOr(1'000'000);
  const double value = BestNs(arguments, [n](Cx cx) { return ValueRound(cx, n); });
  Print(arguments.bench, value / static_cast<double>(n), "ns/op");
#if defined(__cpp_exceptions)
  // A tenth of the chains: an exception needs microseconds for each frame.
  const int64_t thrown = n < 10 ? 1 : n / 10;
  const double ns = BestNs(arguments, [thrown](Cx cx) { return ThrownRound(cx, thrown); });
  Print(arguments.bench + "_thrown", ns / static_cast<double>(thrown), "ns/op");
#endif
}

}  // namespace quiesce_bench

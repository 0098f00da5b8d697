// What RunBlocking does when the system gives no thread. In a program of its own, since it puts itself in
// the place of pthread_create; tagged so that it is not run under sanitizers, which do the same.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/blocking/blocking.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"

namespace {
// If set, called instead of making a thread. Returns an errno.
std::atomic<int (*)()> instead{nullptr};
}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) {
  if (int (*call)() = instead.load()) return call();
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, start, argument);
}

namespace quiesce {
namespace {

using ::testing::HasSubstr;

class NoThreadTest : public ::testing::Test {
 protected:
  // A worker for each call that is stuck in making a thread, and one more.
  NoThreadTest() {
    auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(3).WithBlockingThreads(2));
    EXPECT_TRUE(runtime.ok()) << runtime.status();
    runtime_ = *std::move(runtime);
    pool_ = runtime_->services().blocking;
  }
  ~NoThreadTest() override { instead = nullptr; }

  std::unique_ptr<Runtime> runtime_;
  static const BlockingPool* pool_;
};
const BlockingPool* NoThreadTest::pool_;

TEST_F(NoThreadTest, ACallIsRefusedWithItsNameAndALaterOneSucceeds) {
  instead = +[] { return EAGAIN; };
  const Outcome<void> ended = runtime_->BlockOn([](Cx cx) -> Task<void> {
    const Outcome<void> refused = co_await RunBlocking(cx, "resolve", [] {});
    EXPECT_TRUE(refused.is_error()) << refused.ToString();
    if (refused.is_error()) {
      EXPECT_EQ(refused.error().code(), absl::StatusCode::kResourceExhausted);
      EXPECT_THAT(refused.ToString(), HasSubstr("RunBlocking('resolve')"));
    }
    instead = nullptr;
    co_return co_await RunBlocking(cx, "resolve", [] {});
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// One thread there is: the call that wanted another one waits for it.
TEST_F(NoThreadTest, ACallQueuesForTheThreadsThatThereAre) {
  std::atomic<bool> occupied{false}, release{false};
  const Outcome<void> ended = runtime_->BlockOn([&](Cx cx) -> Task<void> {
    cx.Spawn("occupant", [&](Cx cx) -> Task<void> {
      co_return co_await RunBlocking(cx, "occupy", [&] {
        occupied = true;
        while (!release) std::this_thread::yield();
      });
    });
    while (!occupied) co_await OrReturn(Yield(cx));
    instead = +[] { return EAGAIN; };
    auto second = cx.Spawn("second", [&](Cx cx) -> Task<int> {
      co_return co_await RunBlocking(cx, "call", [] { return 7; });
    });
    while (pool_->load().queued == 0) co_await OrReturn(Yield(cx));
    release = true;
    const Outcome<int> result = co_await OrReturn(second.Join(cx));
    EXPECT_EQ(result.value(), 7);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
}

// Both seats are taken by calls that are about to fail. What queues behind them must not wait for them.
TEST_F(NoThreadTest, ACallThatQueuedBehindThoseThatFailTriesAgain) {
  static std::atomic<int> failing;
  failing = 0;
  instead = +[] {
    // The first two fail once the third call has queued, the third at once.
    if (++failing <= 2) {
      while (pool_->load().queued == 0) std::this_thread::yield();
    }
    return EAGAIN;
  };
  const auto call = [](Cx cx) -> Task<void> {
    const Outcome<void> refused = co_await RunBlocking(cx, "call", [] {});
    EXPECT_TRUE(refused.is_error()) << refused.ToString();
    co_return Ok();
  };
  const Outcome<void> ended = runtime_->BlockOn([&](Cx cx) -> Task<void> {
    for (int i = 0; i < 3; ++i) cx.Spawn("caller", call);
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_EQ(pool_->load().threads, 0u);
}

}  // namespace
}  // namespace quiesce

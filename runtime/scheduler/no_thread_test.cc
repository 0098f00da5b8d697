// What a pool does when the system gives it no thread. In a program of its own, since it puts itself in the
// place of pthread_create; tagged so that it is not run under sanitizers, which do the same.
#include <dlfcn.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/scheduler/worker_pool.h"

namespace {
std::atomic<int> threads_left{1000};
}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) {
  if (threads_left.fetch_sub(1) <= 0) return EAGAIN;
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, start, argument);
}

namespace quiesce {
namespace {

// Until no other thread is left: one that was joined is still seen for a moment.
void AwaitAlone() {
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                         std::filesystem::directory_iterator());
  };
  while (threads() != 1) std::this_thread::yield();
}

struct Mark : Runnable {
  Mark() : Runnable([](Runnable* mark) { static_cast<Mark*>(mark)->ran = true; }) {}
  std::atomic<bool> ran{false};
};

class NoThreadTest : public ::testing::Test {
 protected:
  ~NoThreadTest() override { threads_left = 1000; }
};

TEST_F(NoThreadTest, StartIsRefusedNothingRunsAndALaterStartSucceeds) {
  WorkerPoolOptions options;
  options.workers = 4;
  options.name = "ledger";
  auto pool = *WorkerPool::Create(options);
  Mark mark;
  pool->Post(&mark, Lane::kReady, Place::kBack, Instant::InfiniteFuture());
  for (const int enough : {0, 2, 3}) {
    threads_left = enough;
    const absl::Status refused = pool->Start();
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    EXPECT_NE(std::string(refused.message())
                  .find("worker pool 'ledger': the system gives no thread for worker " +
                        std::to_string(enough) + " of 4"),
              std::string::npos)
        << refused;
    AwaitAlone();
    EXPECT_FALSE(mark.ran);
  }
  threads_left = 1000;
  ASSERT_TRUE(pool->Start().ok());
  while (!mark.ran) std::this_thread::yield();
  pool->Stop();
}

TEST_F(NoThreadTest, ARuntimeIsRefused) {
  threads_left = 1;
  const auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(2));
  EXPECT_EQ(runtime.status().code(), absl::StatusCode::kResourceExhausted) << runtime.status();
  AwaitAlone();
}

}  // namespace
}  // namespace quiesce

// A worker that looks after another one's descriptors takes none of its wake-ups. In a program of its own,
// since it puts itself in the place of epoll_wait to stop both at the worst moment; tagged so that it is not
// run under sanitizers, which do the same.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "quiesce/runtime/reactor/poller.h"
#include "quiesce/runtime/scheduler/worker_pool.h"

namespace {

// 0 off. 1: the next visit, a poll of the stuck worker's descriptors by the other one, stops before the
// kernel. 2: it has stopped. 3: the stuck worker has found nothing to do and stops before it falls asleep.
// 4: it has been taken out of its sleep by a wake-up; the visitor may go on. 5: so may the worker.
std::atomic<int> stage{0};
std::atomic<std::thread::id> stuck{};

void AwaitStage(int wanted) {
  while (stage.load() < wanted) std::this_thread::yield();
}

}  // namespace

extern "C" int epoll_wait(int epoll_fd, epoll_event* events, int max_events, int timeout) {
  using Wait = int (*)(int, epoll_event*, int, int);
  static const auto wait = reinterpret_cast<Wait>(dlsym(RTLD_NEXT, "epoll_wait"));
  const bool is_stuck = std::this_thread::get_id() == stuck.load();
  int visit = 1;
  if (!is_stuck && timeout == 0 && stage.compare_exchange_strong(visit, 2)) {
    AwaitStage(4);
    const int count = wait(epoll_fd, events, max_events, timeout);
    stage = 5;
    return count;
  }
  int visited = 2;
  if (is_stuck && timeout < 0 && stage.compare_exchange_strong(visited, 3)) AwaitStage(5);
  return wait(epoll_fd, events, max_events, timeout);
}

namespace quiesce {
namespace {

struct Call : Runnable {
  explicit Call(std::function<void()> function)
      : Runnable([](Runnable* runnable) { static_cast<Call*>(runnable)->function(); }),
        function(std::move(function)) {}
  std::function<void()> function;
};

// The visitor finds the worker stuck and is held up; the worker ends its step and falls asleep; somebody
// takes it for searching and wakes it; then the visitor polls. If it swallowed the wake-up, the worker would
// sleep on while it counts as searching, and no producer would wake anybody any more.
TEST(WorkerVisitTest, AVisitTakesNoWakeUpFromTheOwner) {
  WorkerPoolOptions options;
  options.workers = 2;
  auto pool = *WorkerPool::Create(options);
  ASSERT_TRUE(pool->Start().ok());
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  IoSource source(ends[0], [](IoSource*, uint32_t) {});
  Call step([&] {
    stuck = std::this_thread::get_id();
    EXPECT_TRUE(pool->Add(&source).ok());
    stage = 1;
    AwaitStage(2);
  });
  pool->Post(&step, Lane::kReady, Place::kBack, Instant::InfiniteFuture());
  AwaitStage(3);
  // Nobody would wake up for it: the sleeper counts as searching from here on, and is woken.
  Timer far([](Timer*) {});
  far.when = Instant::FromNanos(pool->Now().nanos() + int64_t{3600} * 1'000'000'000);
  pool->Arm(&far);
  stage = 4;

  // A post wakes somebody, also when the visitor, which counts as searching, sleeps like everybody.
  const auto parks = [&] { return pool->Snapshot(0).parks + pool->Snapshot(1).parks; };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (int i = 0; i < 100; ++i) {
    const uint64_t before = parks();
    std::atomic<bool> ran{false};
    Call probe([&] { ran = true; });
    pool->Post(&probe, Lane::kReady, Place::kBack, Instant::InfiniteFuture());
    while (!ran) {
      if (std::chrono::steady_clock::now() > deadline) {
        std::fprintf(stderr, "a post woke nobody: worker %u sleeps though it was woken\n",
                     static_cast<unsigned>(source.home));
        std::abort();  // the pool cannot stop
      }
      std::this_thread::yield();
    }
    // Until it has gone to sleep again.
    while (parks() == before && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
  }
  EXPECT_TRUE(pool->Disarm(&far));
  pool->Remove(&source);
  pool->Stop();
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace quiesce

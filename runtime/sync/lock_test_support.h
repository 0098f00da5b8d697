// lock_test_support.h: what the tests of the locks share: a runtime, and ways to know that a task waits.
#ifndef QUIESCE_RUNTIME_SYNC_LOCK_TEST_SUPPORT_H_
#define QUIESCE_RUNTIME_SYNC_LOCK_TEST_SUPPORT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"

namespace quiesce {

inline std::unique_ptr<Runtime> MakeRuntime(uint32_t workers) {
  auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(workers));
  EXPECT_TRUE(runtime.ok()) << runtime.status();
  return *std::move(runtime);
}

// A runtime with as many workers as the parameter says.
class LockTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  template <class Body>
  void Run(Body&& body) {
    const Outcome<void> ended = runtime_->BlockOn(std::forward<Body>(body));
    EXPECT_TRUE(ended.ok()) << ended.ToString();
  }
  // Yields until so many tasks are parked in waits of that name. Goes on while cancelled.
  Task<void> UntilParked(Cx cx, int tasks, std::string wait) {
    while (Parked(wait) < tasks) (void)co_await Yield(cx.ForDrain());
    co_return Ok();
  }

 private:
  int Parked(const std::string& wait) {
    const std::string what = "in " + wait;
    const std::string dump = runtime_->DumpRegions();
    int count = 0;
    for (size_t at = dump.find(what); at != std::string::npos; at = dump.find(what, at + 1)) {
      ++count;
    }
    return count;
  }
  std::unique_ptr<Runtime> runtime_ = MakeRuntime(GetParam());
};

class LockDeathTest : public ::testing::Test {
 protected:
  LockDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  template <class Body>
  static void RunOnce(Body&& body) {
    (void)MakeRuntime(1)->BlockOn(std::forward<Body>(body));
  }
};

}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_LOCK_TEST_SUPPORT_H_

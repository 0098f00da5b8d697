// The example of README.md.
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

struct Document {
  explicit Document(std::string name) : name(std::move(name)) {}
  std::string name;
};
struct Index {
  void Enter(const std::string& name, int64_t block) { blocks[name] = block; }
  std::map<std::string, int64_t> blocks;
};
Task<int64_t> Write(Cx cx, const Document& document) {
  co_await OrReturn(Yield(cx));
  co_return static_cast<int64_t>(document.name.size());
}

Task<void> Save(Cx cx, MutexOf<Index>& index, Semaphore& disk, Document document) {
  SemaphorePermit slot = co_await OrReturn(disk.Acquire(cx));
  const int64_t block = co_await OrReturn(Write(cx, document));
  std::move(slot).Release();
  auto locked = co_await OrReturn(index.Lock(cx.ForDrain()));
  locked->Enter(document.name, block);
  co_return Ok();
}

TEST(SyncReadmeTest, Example) {
  MutexOf<Index> index;
  Semaphore disk(2);
  const Outcome<void> ended = rules::TestRuntime(2).Run([&](Cx cx) -> Task<void> {
    for (const char* name : {"a", "bb", "ccc", "dddd"}) {
      cx.Spawn("save", [&, name](Cx cx) -> Task<void> {
        co_return co_await Save(cx, index, disk, Document(name));
      });
    }
    co_return Ok();
  });
  EXPECT_TRUE(ended.ok()) << ended.ToString();
  EXPECT_EQ((*index.TryLock())->blocks.size(), 4u);
  EXPECT_EQ(disk.available(), 2);
}

}  // namespace
}  // namespace quiesce

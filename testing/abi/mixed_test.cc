// mixed_test.cc: one program out of objects of both compilers, with and without NDEBUG, exceptions and RTTI, whose tasks, regions and outcomes pass from
// each to the next. Each of them thinks that what it got was made by its own kind.
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/quiesce.h"
#include "quiesce/testing/abi/part.h"

using namespace quiesce;
using quiesce_abi::End;
using quiesce_abi::Part;

// PARTS is X(a)X(b)…: one object each, from BUILD.bazel.
#define X(name) extern const Part name;
PARTS
#undef X

namespace {

// Every part once, and all of them again in the other direction, so that each calls both compilers.
std::vector<const Part*> Chain() {
  std::vector<const Part*> chain = {
#define X(name) &name,
      PARTS
#undef X
  };
  const size_t parts = chain.size();
  for (size_t i = parts; i > 0; --i) chain.push_back(chain[i - 1]);
  chain.push_back(nullptr);
  return chain;
}

class MixedTest : public testing::Test {
 protected:
  MixedTest() : runtime_(*Runtime::Create(RuntimeOptions().WithWorkers(2))), chain_(Chain()) {}

  const int length_ = static_cast<int>(Chain().size()) - 1;
  std::unique_ptr<Runtime> runtime_;
  const std::vector<const Part*> chain_;
};

TEST_F(MixedTest, ValuePassesThroughRegionsOfEveryPart) {
  auto body = [&](Cx cx) -> Task<int> {
    co_return co_await chain_[0]->relay(cx, &chain_[1], End::kValue);
  };
  Outcome<int> outcome = runtime_->BlockOn(body);
  ASSERT_TRUE(outcome.ok()) << outcome.ToString();
  EXPECT_EQ(*outcome, length_);
}

TEST_F(MixedTest, ValuePassesThroughFramesOfEveryPart) {
  auto body = [&](Cx cx) -> Task<int> {
    co_return co_await chain_[0]->await(cx, &chain_[1], End::kValue);
  };
  Outcome<int> outcome = runtime_->BlockOn(body);
  ASSERT_TRUE(outcome.ok()) << outcome.ToString();
  EXPECT_EQ(*outcome, length_);
}

TEST_F(MixedTest, ErrorPassesThroughRegionsOfEveryPart) {
  auto body = [&](Cx cx) -> Task<int> {
    co_return co_await chain_[0]->relay(cx, &chain_[1], End::kError);
  };
  Outcome<int> outcome = runtime_->BlockOn(body);
  ASSERT_TRUE(outcome.is_error()) << outcome.ToString();
  EXPECT_EQ(outcome.error(), absl::NotFoundError("the last part"));
}

TEST_F(MixedTest, ErrorUnwindsFramesOfEveryPart) {
  auto body = [&](Cx cx) -> Task<int> {
    co_return co_await chain_[0]->await(cx, &chain_[1], End::kError);
  };
  Outcome<int> outcome = runtime_->BlockOn(body);
  ASSERT_TRUE(outcome.is_error()) << outcome.ToString();
  EXPECT_EQ(outcome.error(), absl::NotFoundError("the last part"));
}

// Whoever is last throws, or returns a Panic where it cannot throw; those above see a panic.
TEST_F(MixedTest, PanicOfEachPartPassesThroughAllOthers) {
  for (size_t last = 0; last + 1 < chain_.size(); ++last) {
    std::vector<const Part*> chain(chain_.begin(), chain_.end() - 1);
    std::swap(chain[last], chain.back());
    chain.push_back(nullptr);
    SCOPED_TRACE(chain[chain.size() - 2]->name);
    auto body = [&](Cx cx) -> Task<int> {
      co_return co_await chain[0]->relay(cx, &chain[1], End::kPanic);
    };
    Outcome<int> outcome = runtime_->BlockOn(body);
    ASSERT_TRUE(outcome.is_panicked()) << outcome.ToString();
    EXPECT_NE(outcome.ToString().find("the last part"), std::string::npos) << outcome.ToString();
  }
}

// What one object makes of a template may be called by another (the linker keeps one of them), so it has to
// catch what the other throws. An object without exceptions cannot be asked to.
TEST_F(MixedTest, ExceptionBeforeTheFirstStepIsAPanicInEveryPart) {
  for (size_t i = 0; i < chain_.size() / 2; ++i) {
    for (size_t j = 0; j < chain_.size() / 2; ++j) {
      const Part& caller = *chain_[i];
      const Part& callee = *chain_[j];
      if (callee.exceptions && !caller.exceptions) continue;
      SCOPED_TRACE(std::string(caller.name) + " calls " + callee.name);
      for (auto* call : {caller.open, caller.spawn}) {
        auto body = [&](Cx cx) -> Task<int> {
          auto isolated = [&](Cx cx) -> Task<int> { co_return co_await call(cx, callee.fail); };
          co_return co_await Region::Open(cx, "isolated", isolated, Isolate());
        };
        Outcome<int> outcome = runtime_->BlockOn(body);
        ASSERT_TRUE(outcome.is_panicked()) << outcome.ToString();
        EXPECT_NE(outcome.ToString().find("no coroutine"), std::string::npos) << outcome.ToString();
      }
    }
  }
}

TEST_F(MixedTest, CancelReachesTheLastPartAndDrainsAll) {
  auto body = [&](Cx cx) -> Task<void> {
    auto handle = cx.Spawn("chain", chain_[0]->relay, &chain_[1], End::kWait);
    co_await OrReturn(Sleep(cx, absl::Milliseconds(10)));
    handle.Cancel();
    Outcome<int> outcome = co_await OrReturn(handle.Join(cx));
    EXPECT_TRUE(outcome.is_cancelled()) << outcome.ToString();
    co_return Ok();
  };
  Outcome<void> outcome = runtime_->BlockOn(body);
  EXPECT_TRUE(outcome.ok()) << outcome.ToString();
}

}  // namespace

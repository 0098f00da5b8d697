#include "quiesce/runtime/outcome/panic.h"

#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quiesce {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

static_assert(sizeof(Panic) == sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<Panic>);
static_assert(!std::is_convertible_v<const char*, Panic>, "a panic is never made by accident");

TEST(PanicTest, RemembersWhereItWasMade) {
  const int line = __LINE__ + 1;
  const Panic panic("ledger: balance below zero");
  EXPECT_EQ(panic.message(), "ledger: balance below zero");
  EXPECT_THAT(panic.file(), EndsWith("panic_test.cc"));
  EXPECT_EQ(panic.line(), line);
  EXPECT_EQ(panic.ToString(), std::string("ledger: balance below zero at ") + panic.file() + ":" +
                                  std::to_string(line));
}

TEST(PanicTest, KeepsACopyOfItsMessage) {
  std::string message = "a message that is too long to be stored inside of the string object";
  const Panic panic(message);
  message.assign(message.size(), 'x');
  EXPECT_THAT(panic.ToString(), HasSubstr("too long to be stored"));
}

TEST(PanicTest, CopiesShareTheRecordAndOutliveTheOriginal) {
  Panic first("one", "file.cc", 1);
  Panic second("two", "file.cc", 2);
  second = first;
  EXPECT_EQ(second.message().data(), first.message().data());
  first = Panic("three", "file.cc", 3);
  EXPECT_EQ(second.message(), "one");
  second = std::move(first);
  EXPECT_EQ(second.ToString(), "three at file.cc:3");
  first = second;  // a moved-from panic may be assigned to
  EXPECT_EQ(first.line(), 3);
}

TEST(PanicTest, SelfAssignmentKeepsTheRecord) {
  Panic panic("one", "file.cc", 1);
  Panic& same = panic;
  panic = same;
  EXPECT_EQ(panic.message(), "one");
}

TEST(PanicTest, CopiesAreCountedAcrossThreads) {
  const Panic panic("shared", "file.cc", 1);
  const auto copy_often = [panic] {
    for (int i = 0; i < 10'000; ++i) {
      Panic copy = panic;
      Panic moved = std::move(copy);
      ASSERT_EQ(moved.line(), 1);
    }
  };
  std::thread first(copy_often), second(copy_often);
  first.join();
  second.join();
  EXPECT_EQ(panic.message(), "shared");
}

TEST(PanicDeathTest, ReadingAMovedFromPanicIsFatal) {
  Panic panic("gone");
  const Panic other = std::move(panic);
  EXPECT_DEATH(static_cast<void>(panic.message()), "Panic: used after it was moved from");
  EXPECT_EQ(panic.ToString(), "(moved from)");
}

}  // namespace
}  // namespace quiesce

#include "quiesce/runtime/trace/event.h"

#include <set>
#include <string>
#include <type_traits>

#include "gtest/gtest.h"

namespace quiesce {
namespace {

static_assert(sizeof(Event) == 48);
static_assert(std::is_trivially_default_constructible_v<Event>);
static_assert(std::is_trivially_copyable_v<Event>);

TEST(EventKindTest, EachKindHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int kind = 0; kind < kEventKindCount; ++kind) {
    const std::string name = EventKindName(static_cast<EventKind>(kind));
    EXPECT_NE(name, "unknown") << kind;
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_STREQ(EventKindName(static_cast<EventKind>(kEventKindCount)), "unknown");
}

TEST(EventKindTest, NumbersStay) {
  // Stored traces know a kind by its number.
  EXPECT_EQ(static_cast<int>(EventKind::kSpawn), 0);
  EXPECT_EQ(static_cast<int>(EventKind::kTaskEnd), 5);
  EXPECT_EQ(static_cast<int>(EventKind::kRegionClose), 12);
  EXPECT_EQ(static_cast<int>(EventKind::kCheckpoint), 13);
  EXPECT_EQ(static_cast<int>(EventKind::kStall), 17);
  EXPECT_EQ(static_cast<int>(EventKind::kWaitSettle), 21);
}

}  // namespace
}  // namespace quiesce

#include "quiesce/runtime/channel/mpsc.h"

#include "gtest/gtest.h"

namespace quiesce {
namespace {
TEST(MpscTest, TrySendThenTryReceive) {
  auto [sender, receiver] = MakeMpsc<int>(1);
  EXPECT_EQ(sender.TrySend(1), TrySendResult::kSent);
  EXPECT_EQ(sender.TrySend(2), TrySendResult::kFull);
  EXPECT_EQ(receiver.TryReceive(), 1);
}
}  // namespace
}  // namespace quiesce

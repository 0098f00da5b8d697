#include "quiesce/runtime/outcome/cancel_reason.h"

#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quiesce {
namespace {

static_assert(sizeof(CancelReason) == sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<CancelReason>);

CancelReason Deadline() {
  return CancelReason(CancelKind::kDeadline,
                      {.region = 7, .task = 0, .region_depth = 2, .name = "fetch"},
                      Instant::FromNanos(5), "3s passed");
}

CancelReason ChainOf(int causes) {
  CancelReason reason = Deadline();
  for (int i = 0; i < causes; ++i) {
    reason = CancelReason::Caused(CancelKind::kParent,
                                  {.region = 100, .task = 9, .region_depth = 3, .name = "child"},
                                  Instant::FromNanos(6), "", std::move(reason));
  }
  return reason;
}

TEST(CancelReasonTest, CarriesKindOriginTimeAndMessage) {
  const CancelReason reason = Deadline();
  EXPECT_EQ(reason.kind(), CancelKind::kDeadline);
  EXPECT_EQ(reason.origin().region, 7u);
  EXPECT_EQ(reason.origin().task, 0u);
  EXPECT_EQ(reason.origin().region_depth, 2u);
  EXPECT_STREQ(reason.origin().name, "fetch");
  EXPECT_EQ(reason.time(), Instant::FromNanos(5));
  EXPECT_EQ(reason.message(), "3s passed");
  EXPECT_EQ(reason.cause(), nullptr);
}

TEST(CancelReasonTest, RootIsTheLastOfTheChain) {
  const CancelReason alone = ChainOf(0);
  EXPECT_EQ(&alone.root(), &alone);
  for (int causes = 1; causes < 5; ++causes) {
    const CancelReason reason = ChainOf(causes);
    EXPECT_EQ(reason.kind(), CancelKind::kParent);
    EXPECT_EQ(reason.root().kind(), CancelKind::kDeadline);
    int length = 0;
    for (const CancelReason* each = &reason; each->cause() != nullptr; each = each->cause())
      ++length;
    EXPECT_EQ(length, causes);
  }
}

TEST(CancelReasonTest, ACopyOfTheRootOutlivesTheChain) {
  CancelReason reason = ChainOf(3);
  const CancelReason root = reason.root();
  reason = Deadline();
  EXPECT_EQ(root.message(), "3s passed");
}

TEST(CancelReasonTest, ManyReasonsShareOneCause) {
  const CancelReason cause = Deadline();
  CancelReason left = CancelReason::Caused(CancelKind::kParent, {}, Instant(), "left", cause);
  const CancelReason right =
      CancelReason::Caused(CancelKind::kParent, {}, Instant(), "right", cause);
  left = right;
  EXPECT_EQ(left.message(), "right");
  EXPECT_EQ(left.root().message().data(), cause.message().data());
}

TEST(CancelReasonTest, ToStringTellsTheWholeStory) {
  EXPECT_EQ(ChainOf(0).ToString(), "deadline: 3s passed (region 'fetch')");
  EXPECT_EQ(ChainOf(1).ToString(), "parent (task 'child') <- deadline: 3s passed (region 'fetch')");
}

TEST(CancelReasonTest, ToStringShortensLongChainsInTheMiddle) {
  const std::string parent = "parent (task 'child') <- ";
  const std::string root = "deadline: 3s passed (region 'fetch')";
  const std::string four = parent + parent + parent + parent;
  EXPECT_EQ(ChainOf(4).ToString(), four + root);
  EXPECT_EQ(ChainOf(5).ToString(), four + parent + root);
  EXPECT_EQ(ChainOf(6).ToString(), four + "(2 more) <- " + root);
  EXPECT_EQ(ChainOf(100).ToString(), four + "(96 more) <- " + root);
}

TEST(CancelReasonTest, DestroysAChainOfAHundredThousandWithoutRecursion) {
  // A small stack, so that a recursion of a few bytes for each cause would not fit either.
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, &attributes,
                [](void*) -> void* {
                  const CancelReason reason = ChainOf(100'000);
                  EXPECT_EQ(reason.root().kind(), CancelKind::kDeadline);
                  return nullptr;
                },
                nullptr),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(CancelReasonTest, DestroyingAChainStopsAtWhatIsStillHeld) {
  CancelReason reason = ChainOf(1000);
  CancelReason middle = reason;
  for (int i = 0; i < 500; ++i) middle = CancelReason(*middle.cause());
  reason = Deadline();
  int length = 0;
  for (const CancelReason* each = &middle; each->cause() != nullptr; each = each->cause()) ++length;
  EXPECT_EQ(length, 500);
}

TEST(CancelReasonTest, ReleaseAndAdoptHandOverTheReference) {
  CancelReason reason = Deadline();
  const void* released = std::move(reason).Release();
  ASSERT_NE(released, nullptr);
  const CancelReason adopted = CancelReason::Adopt(released);
  EXPECT_EQ(adopted.message(), "3s passed");
}

TEST(CancelReasonTest, AMovedFromReasonMayBeAssignedTo) {
  CancelReason reason = Deadline();
  CancelReason other = std::move(reason);
  reason = other;
  EXPECT_EQ(reason.kind(), CancelKind::kDeadline);
  CancelReason& same = reason;
  reason = same;
  EXPECT_EQ(reason.kind(), CancelKind::kDeadline);
}

TEST(CancelReasonTest, CopiesAreCountedAcrossThreads) {
  const CancelReason shared = ChainOf(2);
  const auto chain_often = [shared] {
    for (int i = 0; i < 5'000; ++i) {
      CancelReason copy = shared;
      const CancelReason longer =
          CancelReason::Caused(CancelKind::kParent, {}, Instant(), "", std::move(copy));
      ASSERT_EQ(longer.root().kind(), CancelKind::kDeadline);
    }
  };
  std::thread first(chain_often), second(chain_often);
  first.join();
  second.join();
  EXPECT_EQ(shared.root().message(), "3s passed");
}

TEST(CancelKindTest, SeveritiesAreOrderedAsRequestsAre) {
  EXPECT_LT(CancelSeverity(CancelKind::kUser), CancelSeverity(CancelKind::kDeadline));
  EXPECT_EQ(CancelSeverity(CancelKind::kDeadline), CancelSeverity(CancelKind::kQuota));
  EXPECT_LT(CancelSeverity(CancelKind::kQuota), CancelSeverity(CancelKind::kFailFast));
  EXPECT_EQ(CancelSeverity(CancelKind::kFailFast), CancelSeverity(CancelKind::kRaceLost));
  EXPECT_LT(CancelSeverity(CancelKind::kRaceLost), CancelSeverity(CancelKind::kParent));
  EXPECT_LT(CancelSeverity(CancelKind::kParent), CancelSeverity(CancelKind::kShutdown));
  EXPECT_LT(CancelSeverity(CancelKind::kShutdown), CancelSeverity(CancelKind::kDrainBudgetSpent));
  EXPECT_GT(CancelSeverity(CancelKind::kUser), 0) << "0 is left for: not cancelled";
}

TEST(CancelKindTest, EachKindHasItsName) {
  EXPECT_STREQ(CancelKindName(CancelKind::kUser), "user");
  EXPECT_STREQ(CancelKindName(CancelKind::kDeadline), "deadline");
  EXPECT_STREQ(CancelKindName(CancelKind::kQuota), "quota");
  EXPECT_STREQ(CancelKindName(CancelKind::kFailFast), "fail-fast");
  EXPECT_STREQ(CancelKindName(CancelKind::kRaceLost), "race-lost");
  EXPECT_STREQ(CancelKindName(CancelKind::kParent), "parent");
  EXPECT_STREQ(CancelKindName(CancelKind::kShutdown), "shutdown");
  EXPECT_STREQ(CancelKindName(CancelKind::kDrainBudgetSpent), "drain-budget-spent");
  EXPECT_STREQ(CancelKindName(static_cast<CancelKind>(0)), "unknown");
}

TEST(CancelReasonDeathTest, MisuseIsFatal) {
  CancelReason reason = Deadline();
  CancelReason other = std::move(reason);
  EXPECT_DEATH(static_cast<void>(reason.kind()), "used after it was moved from");
  EXPECT_DEATH(static_cast<void>(
                   CancelReason::Caused(CancelKind::kParent, {}, Instant(), "", std::move(reason))),
               "the cause was moved from");
  EXPECT_DEATH(CancelReason(CancelKind::kUser, {.name = nullptr}, Instant(), ""),
               "name must not be null");
  EXPECT_DEATH(CancelSeverity(static_cast<CancelKind>(77)), "CancelSeverity.77.: no such kind");
}

}  // namespace
}  // namespace quiesce

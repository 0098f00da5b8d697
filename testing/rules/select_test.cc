// Select: the first of several waits; the others take nothing.
#include "quiesce/runtime/task/select.h"

#include <atomic>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "quiesce/runtime/sync/completion.h"
#include "quiesce/testing/contract/mailbox.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

using contract::Mailbox;

TEST(SelectTest, OfSeveralReadyArmsTheFirstListedWins) {
  TestRuntime rt;
  Mailbox left, right;
  left.Put(1);
  right.Put(2);
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto won = co_await OrReturn(Select(cx, left.Take(cx), right.Take(cx)));
    EXPECT_EQ(won.index(), 0u);
    EXPECT_EQ(std::get<0>(won).value(), 1);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(left.letters(), 0u);
  EXPECT_EQ(right.letters(), 1u);
}

TEST(SelectTest, AnArmThatIsGrantedLaterWinsAndTheTimerIsGone) {
  TestRuntime rt;
  Mailbox box;
  std::thread other;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    other = std::thread([&] { box.Put(7); });
    auto won = co_await OrReturn(Select(cx, Sleep(cx, absl::Hours(1)), box.Take(cx)));
    EXPECT_EQ(won.index(), 1u);
    EXPECT_EQ(std::get<1>(won).value(), 7);
    auto timed_out = co_await OrReturn(Select(cx, box.Take(cx), Sleep(cx, absl::Milliseconds(1))));
    EXPECT_EQ(timed_out.index(), 1u);
    co_return Ok();
  }),
              IsOk());
  other.join();
  EXPECT_TRUE(box.queue_empty());
}

TEST(SelectTest, ACancelEndsItAndNoArmTookAnything) {
  TestRuntime rt;
  Mailbox left, right;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto task = cx.Spawn("selecting", [&](Cx cx) -> Task<void> {
      auto won = co_await OrReturn(Select(cx, left.Take(cx), right.Take(cx)));
      co_return absl::InternalError("selected");
    });
    co_await OrReturn(Until(cx, [&] { return !right.queue_empty(); }));
    task.Cancel();
    left.Put(1);
    right.Put(2);
    Outcome<void> ended = co_await OrReturn(task.Join(cx));
    EXPECT_TRUE(ended.is_cancelled());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(left.letters() + right.letters(), 2u);
}

TEST(SelectTest, AnArmsErrorIsInsideAndTheSelectsOwnOutside) {
  TestRuntime rt;
  Completion<int> done;
  done.Complete(absl::UnavailableError("no answer"));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto won = co_await OrReturn(Select(cx, done.Wait(cx)));
    EXPECT_THAT(std::get<0>(won), IsError("no answer"));
    co_return Ok();
  }),
              IsOk());
}

TEST(SelectDeathTest, AnArmThatHasWonIsNotForAnotherSelect) {
  EXPECT_DEATH(
      {
        TestRuntime rt;
        Mailbox box;
        box.Put(1);
        (void)rt.Run([&](Cx cx) -> Task<void> {
          auto letter = box.Take(cx);
          (void)co_await OrReturn(Select(cx, letter));
          (void)co_await OrReturn(Select(cx, letter));
          co_return Ok();
        });
      },
      "Mailbox::Take: this wait has been awaited before");
}

// Has to try again while it is queued; just before that, a letter comes into the box.
class RetriesAfterALetterOp {
 public:
  using Value = void;
  static constexpr const char* kName = "RetriesAfterALetter";
  static constexpr bool kStructural = false;
  explicit RetriesAfterALetterOp(Mailbox* box) : box_(box) {}
  bool Try(Waiter&, std::optional<Outcome<void>>&) { return false; }
  Enqueued Enqueue(Waiter&, std::optional<Outcome<void>>&) {
    box_->Put(5);
    return Enqueued::kRetry;
  }
  bool Harvest(Waiter&, std::optional<Outcome<void>>&) { return false; }
  void Withdraw(Waiter&) {}

 private:
  Mailbox* box_;
};

TEST(SelectTest, AnArmThatIsGrantedWhileAnotherHasToTryAgainWins) {
  TestRuntime rt;
  Mailbox box;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto letter = box.Take(cx);
    Wait<RetriesAfterALetterOp> retries(cx, &box);
    auto won = co_await OrReturn(Select(cx, letter, retries));
    EXPECT_EQ(won.index(), 0u);
    EXPECT_EQ(std::get<0>(won).value(), 5);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(box.letters(), 0u);
  EXPECT_EQ(box.reserved(), 0u);
}

// Each letter is received by exactly one of many tasks that select from several boxes, or is left.
TEST(SelectStressTest, NoLetterIsLostOrDoubled) {
  TestRuntime rt(2);
  constexpr int kLetters = 20'000;
  std::vector<Mailbox> boxes(3);
  std::atomic<int> received{0};
  std::atomic<int64_t> sum{0};
  std::thread posting([&] {
    for (int i = 1; i <= kLetters; ++i) boxes[static_cast<size_t>(i) % 3].Put(i);
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      for (int t = 0; t < 6; ++t) {
        cx.Spawn("selecting", [&](Cx cx) -> Task<void> {
          while (true) {
            auto won = co_await OrReturn(
                Select(cx, boxes[0].Take(cx), boxes[1].Take(cx), boxes[2].Take(cx)));
            sum += std::visit([](auto& outcome) { return outcome.value(); }, won);
            ++received;
          }
        });
      }
      co_await OrReturn(Until(cx, [&] { return received == kLetters; }));
      cx.Ref().Cancel();
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "selecting", body);
    co_return Ok();
  }),
              IsOk());
  posting.join();
  EXPECT_EQ(sum, int64_t{kLetters} * (kLetters + 1) / 2);
}

TEST(ThreadWaitTest, ABlockingWaitEndsWithItsTimeoutAndTookNothing) {
  Completion<int> done;
  Outcome<int> timed_out = done.BlockingWait(absl::Milliseconds(1));
  EXPECT_THAT(timed_out, IsCancelledBy(CancelKind::kDeadline));
  done.Complete(3);
  EXPECT_EQ(done.BlockingWait().value(), 3);
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

#include "quiesce/testing/lab/lab.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/runtime/channel/oneshot.h"
#include "quiesce/runtime/combinator/race.h"
#include "quiesce/runtime/combinator/timeout.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/random/random.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/notify.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/lab/googletest.h"
#include "quiesce/testing/lab/var.h"

namespace quiesce::lab {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

LabResult Exhaust(const LabMain& main) { return RunLab(Explore::Exhaustive(), main); }

// What the executions of `main` leave in `value`.
std::set<std::string> Outcomes(Explore how,
                               const std::function<Task<void>(Cx, std::string*)>& main) {
  std::set<std::string> all;
  std::string value;
  how.WithCheck([&] { value.clear(); },
                [&]() -> std::optional<std::string> {
                  all.insert(value);
                  return std::nullopt;
                });
  const LabResult result = RunLab(how, [&](Cx cx) { return main(cx, &value); });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(result.exhausted) << result.verdict;
  return all;
}
std::set<std::string> Outcomes(const std::function<Task<void>(Cx, std::string*)>& main) {
  return Outcomes(Explore::Exhaustive(), main);
}

// ---- what it finds --------------------------------------------------------------------------------

TEST(LabTest, ABodyThatDoesNothingHasOneExecution) {
  const LabResult result = Exhaust([](Cx) -> Task<void> { co_return Ok(); });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(result.exhausted);
  EXPECT_EQ(result.executions, 1u);
  EXPECT_THAT(result.verdict, HasSubstr("EXHAUSTIVE: 1 classes"));
}

TEST(LabTest, TasksThatShareNothingHaveOneExecution) {
  const LabResult result = Exhaust([](Cx cx) -> Task<void> {
    for (int i = 0; i < 4; ++i) {
      cx.Spawn("alone", [](Cx cx) -> Task<void> {
        Mutex mutex;
        const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
        co_return Ok();
      });
    }
    co_return Ok();
  });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_EQ(result.executions, 1u) << result.verdict;
}

TEST(LabTest, AFailureOfTheBodyIsOneOfTheLab) {
  const LabResult result =
      Exhaust([](Cx) -> Task<void> { co_return absl::InternalError("it broke"); });
  EXPECT_THAT(result.failure, HasSubstr("it broke"));
}

TEST(LabTest, EveryOrderOfTwoSendsIsSeen) {
  EXPECT_EQ(Outcomes([](Cx cx, std::string* seen) -> Task<void> {
              auto [sender, receiver] = MakeMpsc<char>(2);
              auto* const to = &sender;
              auto* const from = &receiver;
              auto body = [to](Cx cx) -> Task<void> {
                for (const char c : {'a', 'b'}) {
                  cx.Spawn("sender", [to, c](Cx cx) -> Task<void> {
                    co_return co_await to->Send(cx, char(c));
                  });
                }
                co_return Ok();
              };
              co_await OrReturn(Region::Open(cx, "senders", body));
              for (int i = 0; i < 2; ++i) *seen += *co_await OrReturn(from->Receive(cx));
              co_return Ok();
            }),
            (std::set<std::string>{"ab", "ba"}));
}

TEST(LabTest, ALostUpdateIsFound) {
  const LabMain main = [](Cx cx) -> Task<void> {
    Var<int> count(0, "count");
    auto body = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 2; ++i) {
        cx.Spawn("increment", [&](Cx) -> Task<void> {
          count.Set(count.Get() + 1);
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "increments", body);
  };
  EXPECT_THAT(Exhaust(main).failure, HasSubstr("DATA RACE on count"));
}

TEST(LabTest, WhatALockOrdersIsNoRace) {
  const LabMain main = [](Cx cx) -> Task<void> {
    Var<int> count(0, "count");
    Mutex mutex;
    auto body = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 2; ++i) {
        cx.Spawn("increment", [&](Cx cx) -> Task<void> {
          const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
          count.Set(count.Get() + 1);
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "increments", body));
    EXPECT_EQ(count.Get(), 2);
    co_return Ok();
  };
  const LabResult result = Exhaust(main);
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(result.exhausted) << result.verdict;
}

// ---- who waits for whom ---------------------------------------------------------------------------

TEST(LabTest, ADeadlockOfLocksIsPrintedAsACycle) {
  const LabResult result = Exhaust([](Cx cx) -> Task<void> {
    Mutex a, b;
    auto body = [&](Cx cx) -> Task<void> {
      const auto both = [](Cx cx, Mutex* first, Mutex* second) -> Task<void> {
        const MutexGuard one = co_await OrReturn(first->Lock(cx));
        const MutexGuard two = co_await OrReturn(second->Lock(cx));
        co_return Ok();
      };
      cx.Spawn("a before b", both, &a, &b);
      cx.Spawn("b before a", both, &b, &a);
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "both", body);
  });
  EXPECT_THAT(result.failure,
              MatchesRegex("DEADLOCK: nothing can go on.\n"
                           "In a cycle:\n"
                           "  'a before b' \\([0-9]+\\) waits in Mutex::Lock for Mutex 2, which is "
                           "held by 'b before a' \\([0-9]+\\)\n"
                           "  'b before a' \\([0-9]+\\) waits in Mutex::Lock for Mutex 1, which is "
                           "held by 'a before b' \\([0-9]+\\)\n"
                           "Beside it:\n"
                           "  'main' \\([0-9]+\\) waits for the tasks of region 'both': "
                           "'a before b' \\([0-9]+\\), 'b before a' \\([0-9]+\\)\n"
                           "(.|\n)*"));
}

TEST(LabTest, ADeadlockMayPassThroughAClose) {
  const LabResult result = Exhaust([](Cx cx) -> Task<void> {
    Mutex mutex;
    const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
    auto body = [&](Cx cx) -> Task<void> {
      cx.Spawn("wants", [&](Cx cx) -> Task<void> {
        const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
        co_return Ok();
      });
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "under a lock", body);
  });
  EXPECT_THAT(result.failure, HasSubstr("In a cycle:\n  'main' "));
  EXPECT_THAT(result.failure, HasSubstr("waits for the tasks of region 'under a lock': 'wants' "));
  EXPECT_THAT(result.failure, HasSubstr("for Mutex 1, which is held by 'main' "));
}

TEST(LabTest, ADeadlockMayPassThroughPermitsAndJoins) {
  const LabResult result = Exhaust([](Cx cx) -> Task<void> {
    Semaphore seats(1);
    auto body = [&](Cx cx) -> Task<void> {
      const SemaphorePermit seat = co_await OrReturn(seats.Acquire(cx));
      TaskHandle<void> wants = cx.Spawn("wants a seat", [&](Cx cx) -> Task<void> {
        SemaphorePermit seat = co_await OrReturn(seats.Acquire(cx));
        std::move(seat).Release();
        co_return Ok();
      });
      co_return co_await OrReturn(wants.Join(cx));
    };
    co_return co_await Region::Open(cx, "seats", body);
  });
  EXPECT_THAT(result.failure, HasSubstr("waits in TaskHandle::Join for 'wants a seat' "));
  EXPECT_THAT(result.failure, HasSubstr("for Semaphore 1, which has given permits to 'main' "));
}

TEST(LabTest, WhoIsAwaitedMayBeUnknown) {
  const LabResult result = Exhaust([](Cx cx) -> Task<void> {
    Notify notify;
    co_await OrReturn(notify.Wait(cx));
    co_return Ok();
  });
  EXPECT_THAT(result.failure,
              HasSubstr("waits in Notify::Wait for Notify 1, which nobody is known to have"));
}

// The close as production does it: the opener parks, and who ends last wakes it.
TEST(LabTest, AnOpenerThatParksIsWokenByTheLast) {
  const auto main = [](Cx cx) -> Task<void> {
    auto body = [](Cx cx) -> Task<void> {
      for (int i = 0; i < 3; ++i) {
        cx.Spawn("yields", [](Cx cx) -> Task<void> { co_return co_await Yield(cx); });
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "three", body);
  };
  const LabResult parks = RunLab(Explore::Exhaustive().WithParkedClosers(), main);
  EXPECT_TRUE(parks.ok()) << parks.failure;
  EXPECT_TRUE(parks.exhausted) << parks.verdict;
  const LabResult waits = Exhaust(main);
  EXPECT_GT(parks.executions, waits.executions);
}

// ---- cancel ---------------------------------------------------------------------------------------

TEST(LabTest, ACancelComesBeforeDuringAndAfterAReceive) {
  const std::set<std::string> seen = Outcomes([](Cx cx, std::string* seen) -> Task<void> {
    auto [sender, receiver] = MakeMpsc<int>(1);
    auto* const to = &sender;
    auto* const from = &receiver;
    auto body = [=](Cx cx) -> Task<void> {
      auto receiving = cx.Spawn("receiver", [=](Cx cx) -> Task<void> {
        *seen = "cancelled";
        (void)co_await OrReturn(from->Receive(cx));
        *seen = "received";
        co_return Ok();
      });
      cx.Spawn("sender", [=](Cx cx) -> Task<void> { co_return co_await to->Send(cx, 1); });
      receiving.Cancel();
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "both", body));
    // A cancelled wait took nothing (G8).
    const bool left = from->TryReceive().has_value();
    EXPECT_EQ(left, *seen != "received");
    co_return Ok();
  });
  EXPECT_EQ(seen, (std::set<std::string>{"", "cancelled", "received"}));
}

TEST(LabTest, ACancelAtEveryMomentDrains) {
  const LabResult result = RunLab(Explore::Exhaustive().WithCancelSweep(), [](Cx cx) -> Task<void> {
    auto [sender, receiver] = MakeMpsc<int>(1);
    auto* const to = &sender;
    auto* const from = &receiver;
    auto body = [=](Cx cx) -> Task<void> {
      cx.Spawn("sender", [=](Cx cx) -> Task<void> {
        for (int i = 0; i < 2; ++i) {
          SendPermit<int> permit = co_await OrReturn(to->Reserve(cx));
          EXPECT_FALSE(std::move(permit).Send(int(i)).has_value());
        }
        co_return Ok();
      });
      for (int i = 0; i < 2; ++i) {
        const std::optional<int> received = co_await OrReturn(from->Receive(cx));
        EXPECT_EQ(received, i);
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "both", body);
  });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_TRUE(result.exhausted) << result.verdict;
  EXPECT_GT(result.executions, 10u);
}

TEST(LabTest, ACancelThatATaskIgnoresIsFound) {
  const LabResult result = RunLab(Explore::Exhaustive().WithCancelSweep(), [](Cx cx) -> Task<void> {
    co_await OrReturn(Sleep(cx, absl::Seconds(1)));
    // Longer than a drain may take.
    co_await OrReturn(Sleep(cx.ForDrain(), absl::Minutes(1)));
    co_return Ok();
  });
  EXPECT_THAT(result.failure, HasSubstr("did not end in the time that they had for it"));
}

TEST(LabTest, ARaceHasAWinnerAndDrainsTheLoser) {
  EXPECT_EQ(Outcomes([](Cx cx, std::string* seen) -> Task<void> {
              int running = 0;
              auto branch = [&](int i) {
                return [&running, i](Cx cx) -> Task<int> {
                  struct Counted {
                    explicit Counted(int* count) : count(count) { ++*count; }
                    ~Counted() { --*count; }
                    int* count;
                  } counted(&running);
                  co_await OrReturn(Yield(cx));
                  co_return i;
                };
              };
              auto one = branch(0);
              auto two = branch(1);
              const auto winner = co_await OrReturn(Race(cx, one, two));
              EXPECT_EQ(running, 0);  // G9
              *seen = std::to_string(winner.value);
              co_return Ok();
            }),
            (std::set<std::string>{"0", "1"}));
}

// ---- time -----------------------------------------------------------------------------------------

TEST(LabTest, TimeMovesByItself) {
  const LabResult result = Exhaust([](Cx cx) -> Task<void> {
    const Instant before = cx.Now();
    co_await OrReturn(Sleep(cx, absl::Hours(24)));
    EXPECT_EQ(cx.Now() - before, absl::Hours(24));
    co_return Ok();
  });
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_EQ(result.executions, 1u);
}

TEST(LabTest, EarlierTimersComeFirstAndEqualOnesInAnyOrder) {
  const auto sleepers = [](absl::Duration a, absl::Duration b) {
    return Outcomes([=](Cx cx, std::string* seen) -> Task<void> {
      Mutex mutex;
      auto body = [&](Cx cx) -> Task<void> {
        for (const auto& [time, c] : {std::pair(a, 'a'), std::pair(b, 'b')}) {
          cx.Spawn("sleeper", [&mutex, seen, time, c](Cx cx) -> Task<void> {
            co_await OrReturn(Sleep(cx, time));
            const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
            *seen += c;
            co_return Ok();
          });
        }
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "sleepers", body);
    });
  };
  EXPECT_EQ(sleepers(absl::Seconds(2), absl::Seconds(1)), (std::set<std::string>{"ba"}));
  EXPECT_EQ(sleepers(absl::Seconds(1), absl::Seconds(1)), (std::set<std::string>{"ab", "ba"}));
}

TEST(LabTest, AnEarlyTimerBeatsSlowWork) {
  const auto outcomes = [](Explore how) {
    std::set<size_t> winners;
    const LabResult result = RunLab(how, [&](Cx cx) -> Task<void> {
      Notify done;  // outlives the region of the work
      auto body = [&](Cx cx) -> Task<void> {
        cx.Spawn("work", [&](Cx cx) -> Task<void> {
          co_await OrReturn(Yield(cx));
          done.NotifyOne();
          co_return Ok();
        });
        auto won = co_await OrReturn(Select(cx, done.Wait(cx), Sleep(cx, absl::Seconds(1))));
        winners.insert(won.index());
        co_return Ok();
      };
      co_return co_await Region::Open(cx, "timed", body);
    });
    EXPECT_TRUE(result.ok()) << result.failure;
    EXPECT_TRUE(result.exhausted) << result.verdict;
    return winners;
  };
  EXPECT_EQ(outcomes(Explore::Exhaustive()), (std::set<size_t>{0}));
  EXPECT_EQ(outcomes(Explore::Exhaustive().WithEarlyTimers()), (std::set<size_t>{0, 1}));
}

// What a timer has set off takes time as well: that is not early, or the reports of a drain that is overdue would never end.
TEST(LabTest, AnEarlyTimeoutLeavesItsLoserTheTimeToDrain) {
  EXPECT_EQ(Outcomes(Explore::Exhaustive().WithEarlyTimers(),
                     [](Cx cx, std::string* seen) -> Task<void> {
                       auto work = [](Cx cx) -> Task<void> {
                         const Outcome<void> yielded = co_await Yield(cx);
                         co_await OrReturn(Yield(cx.ForDrain()));
                         co_return Outcome<void>(yielded);
                       };
                       *seen =
                           (co_await Timeout(cx, absl::Seconds(1), work)).ok() ? "done" : "late";
                       co_return Ok();
                     }),
            (std::set<std::string>{"done", "late"}));
}

// ---- again ----------------------------------------------------------------------------------------

Task<void> Contend(Cx cx) {
  Semaphore semaphore(2);
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 4; ++i) {
      cx.Spawn("worker", [&](Cx cx) -> Task<void> {
        for (int round = 0; round < 3; ++round) {
          SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx));
          co_await OrReturn(Yield(cx));
          std::move(permit).Release();
          if (RandomU64(cx) % 2 == 0) co_await OrReturn(Yield(cx));
        }
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "contend", body);
}

// So many tasks that lock one mutex, once each.
LabMain OneLock(int tasks) {
  return [tasks](Cx cx) -> Task<void> {
    Mutex mutex;
    auto body = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < tasks; ++i) {
        cx.Spawn("user", [&](Cx cx) -> Task<void> {
          const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "users", body);
  };
}

TEST(LabTest, TheSameSeedMakesTheSameTrace) {
  std::set<uint64_t> hashes;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const LabResult once = RunLab(seed, Contend);
    EXPECT_TRUE(once.ok()) << once.failure;
    EXPECT_EQ(once.hash, RunLab(seed, Contend).hash);
    hashes.insert(once.hash);
  }
  EXPECT_GT(hashes.size(), 15u);
}

// … also with another compiler, another library build, another sanitizer: this test runs with all of them.
TEST(LabTest, ASeedMeansTheSameEverywhere) {
  EXPECT_EQ(RunLab(1, Contend).hash, 13715544694516342652u);
  EXPECT_EQ(RunLab(2, Contend).hash, 5080695428675849914u);
}

TEST(LabTest, ASampleOfEachStrategyRuns) {
  for (const Explore& how : {Explore::Walk(50), Explore::Pct(50), Explore::Pos(50)}) {
    const LabResult result = RunLab(how, Contend);
    EXPECT_TRUE(result.ok()) << result.failure;
    EXPECT_EQ(result.executions, 50u);
    EXPECT_THAT(result.verdict, HasSubstr("SAMPLED(50, "));
  }
}

TEST(LabTest, AReplayOfSomethingElseIsRefused) {
  const LabResult failed = Exhaust([](Cx) -> Task<void> { co_return absl::InternalError("x"); });
  ASSERT_FALSE(failed.replay.empty());
  EXPECT_THAT(RunLab(Explore::Replay(failed.replay), Contend).failure,
              HasSubstr("of another program"));
  EXPECT_FALSE(RunLab(Explore::Replay("nonsense"), Contend).ok());
}

Task<void> AbortsInOneOrder(Cx cx) {
  Mutex mutex;
  int order = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 1; i <= 2; ++i) {
      cx.Spawn("digit", [&, i](Cx cx) -> Task<void> {
        const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
        order = order * 10 + i;
        QUIESCE_CHECK(order != 21, "the wrong order");
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "digits", body);
}

TEST(LabDeathTest, AProcessThatEndsSaysInWhichExecution) {
  EXPECT_DEATH((void)Exhaust(AbortsInOneOrder),
               "the wrong order(.|\n)*Once more: --quiesce_replay=2:1,");
}
TEST(LabDeathTest, AndDoesItAgain) {
  // Main; then the second digit, to its end.
  EXPECT_DEATH((void)RunLab(Explore::Replay("2:1,1,1,1,1,1,3,3,3,3"), AbortsInOneOrder),
               "digit(.|\n)*Once more: --quiesce_replay=2:1,1");
}
TEST(LabTest, AListOfStepsThatIsNone) {
  EXPECT_THAT(RunLab(Explore::Replay("2:1,x"), Contend).failure, HasSubstr("'x' is no task"));
}

// Two tasks that each look, and then change what they have seen: one has to be left in between.
Task<void> LoseAnUpdate(Cx cx) {
  MutexOf<int> count(0);
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("increment", [&](Cx cx) -> Task<void> {
        int seen = 0;
        {
          MutexGuardOf<int> before = co_await OrReturn(count.Lock(cx));
          seen = *before;
        }
        MutexGuardOf<int> after = co_await OrReturn(count.Lock(cx));
        *after = seen + 1;
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "increments", body));
  MutexGuardOf<int> end = co_await OrReturn(count.Lock(cx));
  if (*end != 2) co_return absl::InternalError("an update is lost");
  co_return Ok();
}

TEST(LabTest, WhatTakesOnePreemptionIsFoundWithinABoundOfOne) {
  const LabResult none = RunLab(Explore::Bounded(0), LoseAnUpdate);
  EXPECT_TRUE(none.ok()) << none.failure;
  EXPECT_FALSE(none.exhausted);
  EXPECT_THAT(none.verdict, HasSubstr("BOUNDED(0): 2 classes"));
  EXPECT_THAT(none.verdict, HasSubstr("not covered: executions with more than 0 preemptions; "));
  const LabResult one = RunLab(Explore::Bounded(1), LoseAnUpdate);
  EXPECT_THAT(one.failure, HasSubstr("an update is lost"));
}

TEST(LabTest, ABoundThatLeavesNothingOutIsExhaustive) {
  const LabMain one_lock = OneLock(3);
  const LabResult bounded = RunLab(Explore::Bounded(100), one_lock);
  EXPECT_TRUE(bounded.ok()) << bounded.failure;
  EXPECT_TRUE(bounded.exhausted) << bounded.verdict;
  EXPECT_THAT(bounded.verdict, HasSubstr("BOUNDED(100): "));
  EXPECT_THAT(bounded.verdict, Not(HasSubstr("preemptions")));
  EXPECT_EQ(bounded.executions, Exhaust(one_lock).executions);
}

TEST(LabTest, ABoundedExplorationThatIsTooLongSaysHowFarItCame) {
  const LabResult set = RunLab(Explore::Bounded(3).WithMaxExecutions(2000), Contend);
  EXPECT_TRUE(set.ok()) << set.failure;
  EXPECT_THAT(set.verdict, HasSubstr("and there are more: of those with at most 3 preemptions, all "
                                     "with at most 0 have been explored"));
}

TEST(LabTest, ALimitThatWasSetIsNoFailureAndIsSaid) {
  const LabResult result = RunLab(Explore::Exhaustive().WithMaxExecutions(10), Contend);
  EXPECT_TRUE(result.ok()) << result.failure;
  EXPECT_FALSE(result.exhausted);
  EXPECT_THAT(result.verdict, HasSubstr("and there are more, of perhaps "));
}

TEST(LabTest, HowManyThereMayBeIsSaidOfWhatIsTooMuch) {
  const LabMain many = OneLock(5);
  const LabResult all = Exhaust(many);
  ASSERT_TRUE(all.exhausted) << all.verdict;
  const LabResult some = RunLab(Explore::Exhaustive().WithMaxExecutions(all.executions / 4), many);
  EXPECT_EQ(all.executions, 5040u);
  EXPECT_THAT(some.verdict,
              HasSubstr(", and there are more, of perhaps 1,800 to 6,400 in all; not covered"));
}

// Random walks estimate how many there are; what one of them finds is a failure as any.
TEST(LabTest, WhatAnEstimateComesAcrossIsAFailure) {
  const LabMain main = [](Cx cx) -> Task<void> {
    Mutex mutex;
    std::string order;
    auto body = [&](Cx cx) -> Task<void> {
      for (const char c : {'a', 'b', 'c', 'd'}) {
        cx.Spawn("writer", [&mutex, &order, c](Cx cx) -> Task<void> {
          const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
          order += c;
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "writers", body));
    if (order[0] == 'c') co_return absl::InternalError(order);
    co_return Ok();
  };
  const LabResult result = RunLab(Explore::Exhaustive().WithMaxExecutions(3), main);
  EXPECT_THAT(result.failure, HasSubstr("INTERNAL: c"));
  EXPECT_THAT(result.failure, HasSubstr("--quiesce_replay="));
  EXPECT_THAT(result.verdict, HasSubstr("FAILED after 3 classes"));
}

TEST(LabTest, AnExplorationSaysHowMuchMemoryTheProcessHadAtMost) {
  const LabResult result = Exhaust([](Cx) -> Task<void> { co_return Ok(); });
  EXPECT_GT(result.peak_memory_bytes, 1 << 20);
  EXPECT_THAT(result.verdict, HasSubstr("\npeak memory of the process: "));
}

TEST(LabTest, ABodyThatNeverEndsIsStopped) {
  const LabResult result = RunLab(Explore::Walk(1).WithMaxSteps(1000), [](Cx cx) -> Task<void> {
    while (true) co_await OrReturn(Yield(cx));
  });
  EXPECT_THAT(result.failure, HasSubstr("more than 1000 steps"));
}

Task<void> Poll(Cx cx) {
  Notify never;
  Mutex mutex;
  auto body = [&](Cx cx) -> Task<void> {
    cx.Spawn("poller", [&](Cx cx) -> Task<void> {
      while (true) {
        {
          const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
        }
        co_await OrReturn(Yield(cx));
      }
    });
    co_return co_await never.Wait(cx);
  };
  co_return co_await Region::Open(cx, "polled", body);
}

TEST(LabTest, TheLoopOfAnExecutionThatDoesNotEndIsNamed) {
  for (const Explore& how : {Explore::Exhaustive(), Explore::Bounded(1), Explore::Walk(1),
                             Explore::Pct(1), Explore::Pos(1)}) {
    const LabResult result = RunLab(Explore(how).WithMaxSteps(1000), Poll);
    EXPECT_THAT(result.failure,
                HasSubstr("an execution of more than 1000 steps\nthe hottest loop, 5"));
    EXPECT_THAT(result.failure, HasSubstr(" of the last 500 steps: 'poller' ("));
    EXPECT_THAT(result.failure, HasSubstr("lab_test.cc:"));
    EXPECT_THAT(result.failure, HasSubstr("Mutex 1: TryTake -> Mutex 1: Unlock -> "));
  }
}

// ---- GoogleTest -----------------------------------------------------------------------------------

LAB_TEST(LabMacroTest, RunsItsBody, Explore::Exhaustive()) {
  auto [sender, receiver] = MakeOneshot<int>();
  cx.Spawn("sender", [sender = std::move(sender)](Cx) mutable -> Task<void> {
    EXPECT_FALSE(std::move(sender).Send(7).has_value());
    co_return Ok();
  });
  auto from = std::move(receiver);
  EXPECT_EQ(co_await OrReturn(from.Receive(cx)), 7);
  co_return Ok();
}

TEST(LabMacroTest, AnAssertionThatFailsInOneExecutionFailsTheTest) {
  const auto main = [](Cx cx) -> Task<void> {
    Mutex mutex;
    std::string order;
    auto body = [&](Cx cx) -> Task<void> {
      for (const char c : {'a', 'b'}) {
        cx.Spawn("writer", [&mutex, &order, c](Cx cx) -> Task<void> {
          const MutexGuard guard = co_await OrReturn(mutex.Lock(cx));
          order += c;
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_await OrReturn(Region::Open(cx, "writers", body));
    EXPECT_EQ(order, "ab");
    co_return Ok();
  };
  EXPECT_NONFATAL_FAILURE(RunLabTest(Explore::Exhaustive(), main), "--quiesce_replay=");
}

// ---- without wakeup trees ---------------------------------------------------------------------------

TEST(LabTest, SourceSetsFindTheSameClasses) {
  const LabMain main = OneLock(3);
  const LabResult trees = Exhaust(main);
  const LabResult sets = RunLab(Explore::Exhaustive().WithoutWakeupTrees(), main);
  EXPECT_TRUE(sets.exhausted) << sets.verdict;
  EXPECT_EQ(sets.executions, trees.executions);
}

TEST(LabTest, CancelSweepSaysThatAllDrain) {
  const LabResult result = RunLab(Explore::Exhaustive().WithCancelSweep(), [](Cx cx) -> Task<void> {
    co_await OrReturn(Yield(cx));
    co_return Ok();
  });
  EXPECT_THAT(result.verdict, HasSubstr("somebody cancels in each, and all drain"));
}

// ---- what does not repeat ---------------------------------------------------------------------------

TEST(LabTest, WhatDependsOnAnExecutionBeforeIsNamed) {
  int executions = 0;
  const LabResult result = Exhaust([&](Cx cx) -> Task<void> {
    ++executions;
    Mutex one, other;
    auto both = [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 2; ++i) {
        cx.Spawn("locks", [&](Cx cx) -> Task<void> {
          MutexGuard guard = co_await OrReturn((executions > 1 ? other : one).Lock(cx));
          co_return Ok();
        });
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "both", both);
  });
  EXPECT_THAT(result.failure, HasSubstr("nondeterminism: step "));
  EXPECT_THAT(result.failure, HasSubstr("When its steps are made once more, it ends so:"));
  EXPECT_THAT(result.failure, HasSubstr("Mutex 2: "));
}

// ---- the end of the process ------------------------------------------------------------------------

TEST(LabDeathTest, BadAccessSaysInWhichExecution) {
  EXPECT_DEATH(Exhaust([](Cx cx) -> Task<void> {
                 co_await OrReturn(Yield(cx));
                 __builtin_trap();
               }),
               "the process ends in this execution. Once more: --quiesce_replay=2:[0-9]");
}

}  // namespace
}  // namespace quiesce::lab

#include "quiesce/runtime/sync/pool.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::Gate;
using rules::IsCancelledBy;
using rules::IsError;
using rules::IsErrorCode;
using rules::IsOk;
using rules::Pass;
using rules::TestRuntime;
using rules::Trail;
using rules::Until;
using ::testing::ElementsAre;

// A connection that counts how many of it there are.
class Session {
 public:
  struct Log {
    std::atomic<int> made{0};
    std::atomic<int> alive{0};
    std::atomic<int> most{0};
  };
  explicit Session(Log* log) : number_(++log->made), log_(log) {
    const int alive = ++log->alive;
    int most = log->most.load();
    while (most < alive && !log->most.compare_exchange_weak(most, alive)) {
    }
  }
  Session(Session&& other) noexcept
      : number_(other.number_), log_(std::exchange(other.log_, nullptr)) {}
  Session& operator=(Session&&) = delete;
  ~Session() {
    if (log_ != nullptr) --log_->alive;
  }
  int number() const { return number_; }

 private:
  const int number_;
  Log* log_;
};

auto Making(Session::Log* log) {
  return [log](Cx cx) -> Task<Session> {
    co_await OrReturn(Yield(cx));
    co_return Session(log);
  };
}

class PoolTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  Session::Log log;
};
INSTANTIATE_TEST_SUITE_P(Workers, PoolTest, ::testing::Values(1, 2));

TEST_P(PoolTest, WhatIsReturnedIsUsedAgainTheLatestFirst) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(2), Making(&log));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> one = co_await OrReturn(pool.Checkout(cx));
    PoolPermit<Session> two = co_await OrReturn(pool.Checkout(cx));
    EXPECT_EQ(one->number(), 1);
    EXPECT_EQ((*two).number(), 2);
    EXPECT_EQ(pool.size(), 2u);
    EXPECT_EQ(pool.idle(), 0u);
    const Session* place = &*two;
    EXPECT_TRUE(std::move(one).Return());
    EXPECT_TRUE(std::move(two).Return());
    EXPECT_EQ(pool.idle(), 2u);
    PoolPermit<Session> again = co_await OrReturn(pool.Checkout(cx));
    EXPECT_EQ(&*again, place);
    PoolPermit<Session> passed_on = std::move(again);
    EXPECT_EQ(&*passed_on, place);
    std::move(passed_on).Return();
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(log.made.load(), 2);
}

TEST_P(PoolTest, DiscardAbortAndCompleteDestroyItAndAnotherIsMade) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(1), Making(&log));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> one = co_await OrReturn(pool.Checkout(cx));
    std::move(one).Discard();
    EXPECT_EQ(log.alive.load(), 0);
    EXPECT_EQ(pool.size(), 0u);
    PoolPermit<Session> two = co_await OrReturn(pool.Checkout(cx));
    std::move(two).Abort();
    PoolPermit<Session> three = co_await OrReturn(pool.Checkout(cx));
    std::move(three).Complete();
    PoolPermit<Session> four = co_await OrReturn(pool.Checkout(cx));
    EXPECT_EQ(four->number(), 4);
    EXPECT_EQ(log.alive.load(), 1);
    std::move(four).Return();
    co_return Ok();
  }),
              IsOk());
}

TEST_P(PoolTest, OneHeldByATaskThatIsCancelledIsDiscarded) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(1), Making(&log));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto holder = cx.Spawn("holder", [&](Cx cx) -> Task<void> {
      PoolPermit<Session> held = co_await OrReturn(pool.Checkout(cx));
      co_await OrReturn(rules::Forever(cx));
      std::move(held).Return();
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return log.made.load() == 1; }));
    auto next = cx.Spawn("next", [&](Cx cx) -> Task<int> {
      PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
      const int number = got->number();
      std::move(got).Return();
      co_return number;
    });
    co_await OrReturn(rt.UntilParked(cx, "Pool::Checkout"));
    holder.Cancel();
    Outcome<int> number = co_await OrReturn(next.Join(cx));
    EXPECT_EQ(number.value(), 2);
    co_await OrReturn(Until(cx, [&] { return holder.ended(); }));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(log.alive.load(), 1);
  EXPECT_EQ(log.most.load(), 1);
}

TEST_P(PoolTest, AFactoryThatFailsOrIsCancelledFreesItsSeatForTheNext) {
  TestRuntime rt(GetParam());
  Gate gate;
  std::atomic<int> calls{0};
  Pool<int> pool(PoolOptions().WithMaxSize(1), [&](Cx cx) -> Task<int> {
    const int call = ++calls;
    if (call == 1) co_await OrReturn(Pass(cx, gate));  // until it is cancelled
    if (call == 2) co_return absl::UnavailableError("no server");
    co_return call;
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      auto checkout = [&](Cx cx) -> Task<int> {
        PoolPermit<int> got = co_await OrReturn(pool.Checkout(cx));
        const int number = *got;
        std::move(got).Return();
        co_return number;
      };
      auto first = cx.Spawn("first", checkout);
      co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
      auto second = cx.Spawn("second", checkout);
      co_await OrReturn(rt.UntilParked(cx, "Pool::Checkout"));
      auto third = cx.Spawn("third", checkout);
      first.Cancel();
      EXPECT_THAT(co_await OrReturn(first.Join(cx)), IsCancelledBy(CancelKind::kUser));
      EXPECT_THAT(co_await OrReturn(second.Join(cx)), IsError("no server"));
      Outcome<int> number = co_await OrReturn(third.Join(cx));
      EXPECT_EQ(number.value(), 3);
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body, CollectAll());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(pool.size(), 1u);
  EXPECT_EQ(pool.idle(), 1u);
}

TEST_P(PoolTest, TheCheckDecidesAboutIdleOnesOnly) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(1), Making(&log));
  int asked = 0;
  pool.WithCheck([&](Cx cx, Session& session) -> Task<bool> {
    ++asked;
    co_await OrReturn(Yield(cx));
    if (session.number() == 2) co_return absl::UnavailableError("no answer");
    co_return session.number() != 1;
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (int number : {1, 2, 3, 3}) {
      PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
      EXPECT_EQ(got->number(), number);
      std::move(got).Return();
    }
    EXPECT_EQ(asked, 3);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(log.most.load(), 1);
}

// It is the check that says what becomes of this Checkout then; no other thing is made.
TEST_P(PoolTest, ACheckThatPanicsDestroysWhatItLookedAtAndEndsTheCheckout) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(1), Making(&log));
  pool.WithCheck([&](Cx, Session&) -> Task<bool> { co_return Panic("in the check"); });
  (void)rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
    std::move(got).Return();
    EXPECT_TRUE((co_await pool.Checkout(cx)).is_panicked());
    EXPECT_EQ(pool.size(), 0u);
    co_return Ok();
  });
  EXPECT_EQ(log.made.load(), 1);
  EXPECT_EQ(log.alive.load(), 0);
}

// … nor is the factory asked by a Checkout that was cancelled in the check, even one that does not look at cancels.
TEST_P(PoolTest, ACheckoutThatIsCancelledInTheCheckMakesNothing) {
  TestRuntime rt(GetParam());
  Gate gate;
  Pool<Session> pool(PoolOptions().WithMaxSize(1),
                     [&](Cx) -> Task<Session> { co_return Session(&log); });
  pool.WithCheck([&](Cx cx, Session&) -> Task<bool> {
    co_await OrReturn(Pass(cx, gate));
    co_return true;
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
    std::move(got).Return();
    auto task = cx.Spawn("checking", [&](Cx cx) -> Task<void> {
      PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
      std::move(got).Return();
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    task.Cancel();
    EXPECT_THAT(co_await OrReturn(task.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(log.made.load(), 1);
}

TEST_P(PoolTest, ACheckThatIsCancelledDestroysWhatItLookedAt) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(1), Making(&log));
  Gate gate;
  pool.WithCheck([&](Cx cx, Session&) -> Task<bool> {
    co_await OrReturn(Pass(cx, gate));
    co_return true;
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
    std::move(got).Return();
    auto task = cx.Spawn("checking", [&](Cx cx) -> Task<void> {
      PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
      std::move(got).Return();
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    task.Cancel();
    EXPECT_THAT(co_await OrReturn(task.Join(cx)), IsCancelledBy(CancelKind::kUser));
    EXPECT_EQ(pool.size(), 0u);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(log.alive.load(), 0);
}

TEST_P(PoolTest, AboveMaxIdleWhatIsReturnedIsDestroyed) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(3).WithMaxIdle(1), Making(&log));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> one = co_await OrReturn(pool.Checkout(cx));
    PoolPermit<Session> two = co_await OrReturn(pool.Checkout(cx));
    std::move(one).Return();
    std::move(two).Return();
    EXPECT_EQ(log.alive.load(), 1);
    EXPECT_EQ(pool.size(), 1u);
    co_return Ok();
  }),
              IsOk());
}

TEST_P(PoolTest, TryCheckoutTakesWhatIsIdleAndMakesNothing) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(2), Making(&log));
  EXPECT_FALSE(pool.TryCheckout().has_value());
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_FALSE(pool.TryCheckout(cx).has_value());
    PoolPermit<Session> one = co_await OrReturn(pool.Checkout(cx));
    std::move(one).Return();
    std::optional<PoolPermit<Session>> again = pool.TryCheckout(cx);
    EXPECT_EQ((**again).number(), 1);
    (*std::move(again)).Return();
    co_return Ok();
  }),
              IsOk());
  std::optional<PoolPermit<Session>> mine = pool.TryCheckout();  // of a thread
  ASSERT_TRUE(mine.has_value());
  (*std::move(mine)).Return();
  EXPECT_EQ(log.made.load(), 1);
}

TEST_P(PoolTest, CloseFailsWhoWaitsAndWaitsForWhatIsOut) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(2), Making(&log));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> idle = co_await OrReturn(pool.Checkout(cx));
    PoolPermit<Session> out = co_await OrReturn(pool.Checkout(cx));
    auto body = [&](Cx cx) -> Task<void> {
      auto waiting = cx.Spawn("waiting", [&](Cx cx) -> Task<void> {
        PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
        std::move(got).Return();
        co_return Ok();
      });
      co_await OrReturn(rt.UntilParked(cx, "Pool::Checkout"));
      auto closing = cx.Spawn("closing", [&](Cx cx) -> Task<void> {
        co_await OrReturn(pool.Close(cx));
        co_return Ok();
      });
      EXPECT_THAT(co_await OrReturn(waiting.Join(cx)),
                  IsErrorCode(absl::StatusCode::kFailedPrecondition));
      EXPECT_THAT(co_await pool.Checkout(cx), IsError("the pool is closed"));
      std::move(idle).Return();
      EXPECT_EQ(log.alive.load(), 1);
      EXPECT_FALSE(pool.TryCheckout(cx).has_value());
      co_await OrReturn(rt.UntilParked(cx, "Pool::Close"));
      EXPECT_FALSE(closing.ended());
      std::move(out).Return();
      EXPECT_THAT(co_await OrReturn(closing.Join(cx)), IsOk());
      EXPECT_EQ(log.alive.load(), 0);
      co_await OrReturn(pool.Close(cx));
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "r", body, CollectAll());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(pool.size(), 0u);
}

// One whose end takes as long as the test wants.
struct Lingering {
  struct Control {
    std::atomic<bool> ending{false}, go{false}, gone{false};
  };
  explicit Lingering(Control* control) : control(control) {}
  Lingering(Lingering&& other) noexcept : control(std::exchange(other.control, nullptr)) {}
  ~Lingering() {
    if (control == nullptr) return;
    control->ending.store(true);
    while (!control->go.load()) std::this_thread::yield();
    control->gone.store(true);
  }
  Control* control;
};

TEST(PoolCloseTest, EachCloseReturnsOnceAllIsDestroyedWhoeverDoesThat) {
  TestRuntime rt(2);
  Lingering::Control control;
  Pool<Lingering> pool(PoolOptions(),
                       [&](Cx) -> Task<Lingering> { co_return Lingering(&control); });
  std::atomic<bool> returned{false};
  std::thread lets_go;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Lingering> thing = co_await OrReturn(pool.Checkout(cx));
    std::move(thing).Return();
    auto first = cx.Spawn("destroys", [&](Cx cx) -> Task<void> {
      co_await OrReturn(pool.Close(cx));
      EXPECT_TRUE(control.gone.load());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return control.ending.load(); }));
    EXPECT_EQ(pool.size(), 1u);
    EXPECT_EQ(pool.idle(), 0u);
    lets_go = std::thread([&] {
      while (!returned.load() && rt.Parked("Pool::Close") == 0) std::this_thread::yield();
      control.go.store(true);
    });
    co_await OrReturn(pool.Close(cx));
    EXPECT_TRUE(control.gone.load());
    returned.store(true);
    Outcome<void> ended = co_await OrReturn(first.Join(cx));
    EXPECT_THAT(ended, IsOk());
    co_return Ok();
  }),
              IsOk());
  lets_go.join();
  EXPECT_EQ(pool.size(), 0u);
}

TEST_P(PoolTest, WhatIsReturnedGoesToWhoHasWaitedLongestWhoIsNotCancelled) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(1), Making(&log));
  Trail trail;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      PoolPermit<Session> held = co_await OrReturn(pool.Checkout(cx));
      std::vector<TaskHandle<void>> clients;
      for (const char* name : {"gone", "first", "second"}) {
        clients.push_back(cx.Spawn("client", [&, name](Cx cx) -> Task<void> {
          PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
          trail.Add(name);
          EXPECT_EQ(got->number(), 1);
          std::move(got).Return();
          co_return Ok();
        }));
        co_await OrReturn(rt.UntilParked(cx, "Pool::Checkout", static_cast<int>(clients.size())));
      }
      clients[0].Cancel();
      std::move(held).Return();
      for (TaskHandle<void>& client : clients) (void)co_await OrReturn(client.Join(cx));
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "line", body, CollectAll());
  }),
              IsOk());
  EXPECT_THAT(trail.Steps(), ElementsAre("first", "second"));
  EXPECT_EQ(pool.idle(), 1u);
}

// Both closed at the call, and told when the last has come back; a third gave up before that, and took nothing with it.
TEST_P(PoolTest, EachCloseThatWaitsIsToldAndOneMayBeCancelled) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions(), Making(&log));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> out = co_await OrReturn(pool.Checkout(cx));
    std::vector<TaskHandle<void>> closers;
    for (int i = 0; i < 3; ++i) {
      closers.push_back(
          cx.Spawn("closes", [&](Cx cx) -> Task<void> { co_return co_await pool.Close(cx); }));
      co_await OrReturn(rt.UntilParked(cx, "Pool::Close", i + 1));
    }
    closers[1].Cancel();
    EXPECT_THAT(co_await OrReturn(closers[1].Join(cx)), IsCancelledBy(CancelKind::kUser));
    std::move(out).Return();
    EXPECT_EQ(log.alive.load(), 0);
    EXPECT_THAT(co_await OrReturn(closers[0].Join(cx)), IsOk());
    EXPECT_THAT(co_await OrReturn(closers[2].Join(cx)), IsOk());
    co_return Ok();
  }),
              IsOk());
}

// A Close that lost in a Select is not told later: the task waits for something else by then.
TEST_P(PoolTest, ACloseThatLostInASelectIsNotTold) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions(), Making(&log));
  Gate first, second;
  std::atomic<bool> opened{false};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Session> out = co_await OrReturn(pool.Checkout(cx));
    auto task = cx.Spawn("selects", [&](Cx cx) -> Task<void> {
      PoolCloseWait closed = pool.Close(cx);
      rules::PassWait passed = Pass(cx, first);
      auto won = co_await OrReturn(Select(cx, closed, passed));
      EXPECT_EQ(won.index(), 1u);
      co_await OrReturn(Pass(cx, second));
      EXPECT_TRUE(opened.load());
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return first.waiting() == 1; }));
    first.Open();
    co_await OrReturn(Until(cx, [&] { return second.waiting() == 1; }));
    co_await OrReturn(Yield(cx));
    std::move(out).Return();
    co_await OrReturn(Yield(cx));
    opened.store(true);
    second.Open();
    Outcome<void> ended = co_await OrReturn(task.Join(cx));
    EXPECT_THAT(ended, IsOk());
    co_return Ok();
  }),
              IsOk());
}

TEST_P(PoolTest, CloseFailsAllWhoWait) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(1), Making(&log));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      PoolPermit<Session> out = co_await OrReturn(pool.Checkout(cx));
      std::vector<TaskHandle<void>> clients;
      for (size_t i = 0; i < 3; ++i) {
        clients.push_back(cx.Spawn("client", [&](Cx cx) -> Task<void> {
          PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
          std::move(got).Return();
          co_return Ok();
        }));
      }
      co_await OrReturn(rt.UntilParked(cx, "Pool::Checkout", 3));
      PoolCloseWait closed = pool.Close(cx);
      for (TaskHandle<void>& client : clients) {
        EXPECT_THAT(co_await OrReturn(client.Join(cx)), IsError("the pool is closed"));
      }
      std::move(out).Return();
      co_await OrReturn(closed);
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "clients", body, CollectAll());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(log.made.load(), 1);
  EXPECT_EQ(log.alive.load(), 0);
}

// Its end asks what the pool says at that moment.
struct Asks {
  explicit Asks(std::function<void()>* at_end) : at_end(at_end) {}
  Asks(Asks&& other) noexcept : at_end(std::exchange(other.at_end, nullptr)) {}
  ~Asks() {
    if (at_end != nullptr) (*at_end)();
  }
  std::function<void()>* at_end;
};

TEST(PoolSeatTest, AThingHasItsSeatUntilItIsGone) {
  TestRuntime rt(1);
  std::function<void()> at_end;
  Pool<Asks> pool(PoolOptions().WithMaxIdle(0), [&](Cx) -> Task<Asks> { co_return Asks(&at_end); });
  std::vector<uint32_t> sizes;
  at_end = [&] { sizes.push_back(pool.size()); };
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    PoolPermit<Asks> one = co_await OrReturn(pool.Checkout(cx));
    std::move(one).Discard();
    PoolPermit<Asks> two = co_await OrReturn(pool.Checkout(cx));
    std::move(two).Return();  // above max_idle
    co_return Ok();
  }),
              IsOk());
  EXPECT_THAT(sizes, ElementsAre(1u, 1u));
}

// What the factory has captured goes with the block, which goes with the last of the pool and its permits.
TEST_P(PoolTest, TheFactoryGoesWithTheLastPermit) {
  TestRuntime rt(GetParam());
  auto captured = std::make_shared<int>(1);
  const std::weak_ptr<int> alive = captured;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto make = [captured = std::move(captured)](Cx) -> Task<int> { co_return *captured; };
    auto pool = std::make_unique<Pool<int>>(PoolOptions(), std::move(make));
    PoolPermit<int> one = co_await OrReturn(pool->Checkout(cx));
    PoolPermit<int> two = co_await OrReturn(pool->Checkout(cx));
    pool.reset();
    std::move(one).Return();
    EXPECT_FALSE(alive.expired());
    std::move(two).Return();
    EXPECT_TRUE(alive.expired());
    co_return Ok();
  }),
              IsOk());
}

TEST_P(PoolTest, APermitThatOutlivesThePoolDestroysItsThing) {
  TestRuntime rt(GetParam());
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto pool = std::make_unique<Pool<Session>>(PoolOptions(), Making(&log));
    PoolPermit<Session> one = co_await OrReturn(pool->Checkout(cx));
    PoolPermit<Session> two = co_await OrReturn(pool->Checkout(cx));
    std::move(two).Return();
    pool.reset();
    EXPECT_EQ(log.alive.load(), 1);
    EXPECT_EQ(one->number(), 1);
    EXPECT_TRUE(std::move(one).Return());
    EXPECT_EQ(log.alive.load(), 0);
    co_return Ok();
  }),
              IsOk());
}

TEST_P(PoolTest, OneThatIsMadeWhenThePoolGoesIsGivenOutAndThenDestroyed) {
  TestRuntime rt(GetParam());
  Gate gate;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto pool = std::make_unique<Pool<Session>>(PoolOptions(), [&](Cx cx) -> Task<Session> {
      co_await OrReturn(Pass(cx, gate));
      co_return Session(&log);
    });
    auto task = cx.Spawn("makes", [&, raw = pool.get()](Cx cx) -> Task<void> {
      PoolPermit<Session> got = co_await OrReturn(raw->Checkout(cx));
      EXPECT_EQ(got->number(), 1);
      std::move(got).Return();
      co_return Ok();
    });
    co_await OrReturn(Until(cx, [&] { return gate.waiting() == 1; }));
    pool.reset();
    gate.Open();
    Outcome<void> ended = co_await OrReturn(task.Join(cx));
    EXPECT_THAT(ended, IsOk());
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(log.alive.load(), 0);
}

// Tasks and a thread take, return, break and are cancelled: never more than three exist, and none is lost.
TEST_P(PoolTest, UnderLoadNoSeatIsLostAndNoneIsTooMany) {
  TestRuntime rt(GetParam());
  Pool<Session> pool(PoolOptions().WithMaxSize(3).WithMaxIdle(2), Making(&log));
  std::atomic<bool> stop{false};
  std::atomic<int> served{0};
  std::thread thread([&] {
    while (!stop.load()) {
      std::optional<PoolPermit<Session>> got = pool.TryCheckout();
      if (got.has_value()) (*std::move(got)).Return();
    }
  });
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      for (int round = 0; round < 60; ++round) {
        std::vector<TaskHandle<void>> tasks;
        for (int i = 0; i < 10; ++i) {
          tasks.push_back(cx.Spawn("uses", [&, i](Cx cx) -> Task<void> {
            PoolPermit<Session> got = co_await OrReturn(pool.Checkout(cx));
            co_await OrReturn(Yield(cx));
            ++served;
            if (i % 3 == 0) {
              std::move(got).Discard();
            } else {
              std::move(got).Return();
            }
            co_return Ok();
          }));
        }
        co_await OrReturn(Yield(cx));
        for (size_t i = round % 4; i < tasks.size(); i += 4) tasks[i].Cancel();
        for (TaskHandle<void>& task : tasks) (void)co_await OrReturn(task.Join(cx));
      }
      co_return Ok();
    };
    co_return co_await Region::Open(cx, "load", body);
  }),
              IsOk());
  stop.store(true);
  thread.join();
  EXPECT_GE(served.load(), 60);
  EXPECT_LE(log.most.load(), 3);
  EXPECT_EQ(pool.size(), pool.idle());
  EXPECT_EQ(static_cast<int>(pool.idle()), log.alive.load());
}

// The region gives up on a permit that never comes back: Return then destroys the thing.
TEST(PoolRevokeTest, ARevokedPermitDiscards) {
  TestRuntime rt;
  Session::Log log;
  Pool<Session> pool(PoolOptions().WithMaxSize(1), Making(&log));
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    std::optional<PoolPermit<Session>> strayed;
    auto body = [&](Cx cx) -> Task<void> {
      strayed.emplace(co_await OrReturn(pool.Checkout(cx)));
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "owes", body, FailFast(),
                                RegionOptions().WithDrain(Budget::Timeout(absl::Milliseconds(1))));
    EXPECT_TRUE(strayed->revoked());
    EXPECT_FALSE((*std::move(strayed)).Return());
    EXPECT_EQ(pool.size(), 0u);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(log.alive.load(), 0);
}

TEST(PoolDeathTest, ForNothingIsFatal) {
  EXPECT_DEATH(Pool<int>(PoolOptions().WithMaxSize(0), [](Cx) -> Task<int> { co_return 1; }),
               "every Checkout would wait for ever");
}

TEST(PoolDeathTest, DestroyedWhileACheckoutWaitsIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          auto pool = std::make_unique<Pool<int>>(PoolOptions().WithMaxSize(1),
                                                  [](Cx) -> Task<int> { co_return 1; });
          PoolPermit<int> held = co_await OrReturn(pool->Checkout(cx));
          cx.Spawn("client", [raw = pool.get()](Cx cx) -> Task<void> {
            PoolPermit<int> got = co_await OrReturn(raw->Checkout(cx));
            std::move(got).Return();
            co_return Ok();
          });
          co_await OrReturn(rt.UntilParked(cx, "Pool::Checkout"));
          pool.reset();
          std::move(held).Return();
          co_return Ok();
        });
      },
      "a Pool was destroyed while task 'client' .* waits in Pool::Checkout");
}

// They are passed over, so they stand in line no more; but they have yet to leave.
TEST(PoolDeathTest, DestroyedBeforeACancelledWaitHasLeftIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const bool close : {false, true}) {
    EXPECT_DEATH(
        {
          TestRuntime rt(1);
          (void)rt.Run([&](Cx cx) -> Task<void> {
            auto pool = std::make_unique<Pool<int>>(PoolOptions().WithMaxSize(1),
                                                    [](Cx) -> Task<int> { co_return 1; });
            PoolPermit<int> held = co_await OrReturn(pool->Checkout(cx));
            auto late = cx.Spawn("late", [raw = pool.get(), close](Cx cx) -> Task<void> {
              if (close) co_return co_await raw->Close(cx);
              PoolPermit<int> got = co_await OrReturn(raw->Checkout(cx));
              std::move(got).Return();
              co_return Ok();
            });
            const char* const wait = close ? "Pool::Close" : "Pool::Checkout";
            co_await OrReturn(rt.UntilParked(cx, wait));
            late.Cancel();  // the only worker is ours
            std::move(held).Return();
            pool.reset();
            co_return Ok();
          });
        },
        "a Pool was destroyed before 1 of its waits, .*Let every Checkout and Close return");
  }
}

TEST(PoolDeathTest, DestroyedWhileACloseWaitsIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([&](Cx cx) -> Task<void> {
          auto pool =
              std::make_unique<Pool<int>>(PoolOptions(), [](Cx) -> Task<int> { co_return 1; });
          PoolPermit<int> held = co_await OrReturn(pool->Checkout(cx));
          cx.Spawn("closes",
                   [raw = pool.get()](Cx cx) -> Task<void> { co_return co_await raw->Close(cx); });
          co_await OrReturn(rt.UntilParked(cx, "Pool::Close"));
          pool.reset();
          std::move(held).Return();
          co_return Ok();
        });
      },
      "a Pool was destroyed while task 'closes' .* waits in Pool::Close");
}

TEST(PoolDeathTest, UsedAfterItWasReturnedIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([](Cx cx) -> Task<void> {
          Pool<int> pool(PoolOptions(), [](Cx) -> Task<int> { co_return 1; });
          PoolPermit<int> held = co_await OrReturn(pool.Checkout(cx));
          std::move(held).Return();
          *held = 2;
          co_return Ok();
        });
      },
      "used after it was consumed or moved from");
}

TEST(PoolDeathTest, TryCheckoutThroughTheCxOfAnotherTaskIsFatal) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([](Cx cx) -> Task<void> {
          Pool<int> pool(PoolOptions(), [](Cx) -> Task<int> { co_return 1; });
          auto other = cx.Spawn("other", [&pool, outer = cx](Cx) -> Task<void> {
            (void)pool.TryCheckout(outer);
            co_return Ok();
          });
          (void)co_await OrReturn(other.Join(cx));
          co_return Ok();
        });
      },
      "a Cx belongs to one task");
}

TEST(PoolDeathTest, APermitThatIsForgottenIsNamed) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        TestRuntime rt;
        (void)rt.Run([](Cx cx) -> Task<void> {
          Pool<int> pool(PoolOptions(), [](Cx) -> Task<int> { co_return 1; });
          const PoolPermit<int> forgotten = co_await OrReturn(pool.Checkout(cx));
          co_return Ok();
        });
      },
      "permit leaked: PoolPermit #1, reserved at .*pool_test.cc:[0-9]+");
}

}  // namespace
}  // namespace quiesce

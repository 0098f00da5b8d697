// What each primitive promises, over all interleavings of a few tasks that use it: each verdict is EXHAUSTIVE, or the test
// fails.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/channel/broadcast.h"
#include "quiesce/runtime/channel/session.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/sync/lease.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/once_cell.h"
#include "quiesce/runtime/sync/pool.h"
#include "quiesce/runtime/sync/rw_lock.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/testing/lab/googletest.h"
#include "quiesce/testing/lab/var.h"

namespace quiesce::lab {
namespace {

Explore Exhaustive() { return Explore::Exhaustive(); }
Explore WithCancels() { return Explore::Exhaustive().WithCancelSweep(); }

// Each test spawns its tasks in a region of their own, closes it, and then looks at what is left. Most do so twice: without
// a cancel, where one that is forgotten waits for ever, which is a deadlock; and with a cancel of all at any moment, which
// would end that wait, but must leave everything as it was.

// Three tasks use(cx), and the first alone is cancelled, at any moment: whoever waits behind it must not wait for ever.
template <class F>
Task<void> OneIsCancelled(Cx cx, F use) {
  auto body = [&](Cx cx) -> Task<void> {
    auto first = cx.Spawn("cancelled", use);
    for (int i = 0; i < 2; ++i) cx.Spawn("user", use);
    first.Cancel();
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "users", body);
}

// ---- Mutex ------------------------------------------------------------------------------------------

Task<void> Increment(Cx cx, Mutex* mutex, Var<int>* count, int* done) {
  const MutexGuard guard = co_await OrReturn(mutex->Lock(cx));
  count->Set(count->Get() + 1);  // a race, unless one task at a time is here
  ++*done;
  co_return Ok();
}

Task<void> Increments(Cx cx) {
  Mutex mutex;
  Var<int> count(0, "count");
  int done = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) cx.Spawn("increment", Increment, &mutex, &count, &done);
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "increments", body);
  EXPECT_EQ(count.Get(), done);
  EXPECT_TRUE(mutex.TryLock().has_value());
  co_return ended;
}
LAB_TEST(MutexLabTest, OneAtATimeHoldsIt, Exhaustive()) { return Increments(cx); }
LAB_TEST(MutexLabTest, OneAtATimeHoldsItUnderCancels, WithCancels()) { return Increments(cx); }

LAB_TEST(MutexLabTest, ATryThatFailsHasAReason, Exhaustive()) {
  Mutex mutex;
  Var<int> count(0, "count");
  int done = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) cx.Spawn("increment", Increment, &mutex, &count, &done);
    cx.Spawn("tries", [&](Cx) -> Task<void> {
      const std::optional<MutexGuard> guard = mutex.TryLock();
      if (guard.has_value()) count.Set(count.Get() + 1);
      done += guard.has_value() ? 1 : 0;
      co_return Ok();
    });
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "increments", body));
  EXPECT_EQ(count.Get(), done);
  EXPECT_GE(done, 2);
  EXPECT_TRUE(mutex.TryLock().has_value());
  co_return Ok();
}

LAB_TEST(MutexLabTest, ACancelledOneIsPassedOver, Exhaustive()) {
  Mutex mutex;
  Var<int> count(0, "count");
  int done = 0;
  auto use = [&](Cx cx) { return Increment(cx, &mutex, &count, &done); };
  co_await OrReturn(OneIsCancelled(cx, use));
  EXPECT_EQ(count.Get(), done);
  EXPECT_GE(done, 2);
  EXPECT_TRUE(mutex.TryLock().has_value());
  co_return Ok();
}

// ---- RwLock -----------------------------------------------------------------------------------------

LAB_TEST(RwLockLabTest, NobodyReadsWhatIsBeingWritten, Exhaustive()) {
  RwLock lock;
  Var<int> value(0, "value");
  int written = 0;
  auto body = [&](Cx cx) -> Task<void> {
    cx.Spawn("writer", [&](Cx cx) -> Task<void> {
      const WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
      value.Set(1);
      written = 1;
      co_return Ok();
    });
    auto read = [&](Cx cx) -> Task<void> {
      const ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
      EXPECT_EQ(value.Get(), written);
      co_return Ok();
    };
    cx.Spawn("reader", read);
    co_return co_await read(cx);
  };
  const Outcome<void> ended = co_await Region::Open(cx, "readers and a writer", body);
  EXPECT_EQ(value.Get(), written);
  EXPECT_TRUE(lock.TryWriteLock().has_value());
  co_return ended;
}

Task<void> WritersAndAReader(Cx cx) {
  RwLock lock;
  Var<int> value(0, "value");
  int written = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("writer", [&](Cx cx) -> Task<void> {
        const WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
        value.Set(value.Get() + 1);
        ++written;
        co_return Ok();
      });
    }
    cx.Spawn("reader", [&](Cx cx) -> Task<void> {
      const ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
      EXPECT_LE(value.Get(), 2);
      co_return Ok();
    });
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "writers and a reader", body);
  EXPECT_EQ(value.Get(), written);
  EXPECT_TRUE(lock.TryWriteLock().has_value());
  co_return ended;
}
LAB_TEST(RwLockLabTest, WritersAreAlone, Exhaustive()) { return WritersAndAReader(cx); }
LAB_TEST(RwLockLabTest, WritersAreAloneUnderCancels, WithCancels()) {
  return WritersAndAReader(cx);
}

// It may have been all that kept the readers out.
LAB_TEST(RwLockLabTest, AWriterThatIsCancelledLetsTheReadersIn, Exhaustive()) {
  RwLock lock;
  auto body = [&](Cx cx) -> Task<void> {
    const ReadGuard held = co_await OrReturn(lock.ReadLock(cx));
    auto writer = cx.Spawn("writer", [&](Cx cx) -> Task<void> {
      const WriteGuard guard = co_await OrReturn(lock.WriteLock(cx));
      co_return Ok();
    });
    auto reader = cx.Spawn("reader", [&](Cx cx) -> Task<void> {
      const ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
      co_return Ok();
    });
    writer.Cancel();
    co_return co_await OrReturn(reader.Join(cx));  // holding it
  };
  co_await OrReturn(Region::Open(cx, "readers and a writer", body));
  EXPECT_TRUE(lock.TryWriteLock().has_value());
  co_return Ok();
}

// ---- Semaphore --------------------------------------------------------------------------------------

Task<void> Acquirers(Cx cx) {
  Semaphore semaphore(2);
  int64_t out = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (const int64_t count : {1, 2, 1}) {
      cx.Spawn("acquirer", [&, count](Cx cx) -> Task<void> {
        SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx, count));
        out += count;
        EXPECT_LE(out, 2);
        (void)co_await Yield(cx);
        out -= count;
        std::move(permit).Release();
        co_return Ok();
      });
    }
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "acquirers", body);
  EXPECT_EQ(semaphore.available(), 2);
  co_return ended;
}
LAB_TEST(SemaphoreLabTest, NoMoreAreOutThanThereAreAndNoneIsLost, Exhaustive()) {
  return Acquirers(cx);
}
LAB_TEST(SemaphoreLabTest, NoMoreAreOutThanThereAreAndNoneIsLostUnderCancels, WithCancels()) {
  return Acquirers(cx);
}

// It may have been all that kept those behind it waiting.
LAB_TEST(SemaphoreLabTest, OneThatWantsManyAndIsCancelledLetsTheNextGo, Exhaustive()) {
  Semaphore semaphore(2);
  auto body = [&](Cx cx) -> Task<void> {
    SemaphorePermit held = co_await OrReturn(semaphore.Acquire(cx));
    auto wants = [&](int64_t count) {
      return cx.Spawn(
          "wants",
          [&](Cx cx, int64_t count) -> Task<void> {
            SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx, count));
            std::move(permit).Release();
            co_return Ok();
          },
          count);
    };
    auto many = wants(2);
    auto one = wants(1);
    many.Cancel();
    const Outcome<void> joined = co_await OrReturn(one.Join(cx));  // holding one
    std::move(held).Release();
    co_return Outcome<void>(joined);
  };
  co_await OrReturn(Region::Open(cx, "acquirers", body));
  EXPECT_EQ(semaphore.available(), 2);
  co_return Ok();
}

// ---- broadcast --------------------------------------------------------------------------------------

Task<void> SenderAndReceivers(Cx cx) {
  auto made = MakeBroadcast<int>(1);
  std::optional<BroadcastSender<int>> sender = std::move(made);
  BroadcastReceiver<int> receivers[] = {sender->Subscribe(), sender->Subscribe()};
  std::vector<int> got[2];
  int sent = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("receiver", [&, i](Cx cx) -> Task<void> {
        for (int k = 0; k <= i; ++k) {  // the first leaves the rest
          const auto message = co_await OrReturn(receivers[i].Receive(cx));
          EXPECT_EQ(message->missed, 0u);
          got[i].push_back(message->value);
        }
        co_return Ok();
      });
    }
    for (int i = 0; i < 2; ++i) {
      (void)co_await OrReturn(sender->Send(cx, int{i}));
      ++sent;
    }
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "sender and receivers", body);
  sender.reset();
  for (int i = 0; i < 2; ++i) {
    while (const auto message = receivers[i].TryReceive()) {
      EXPECT_EQ(message->missed, 0u);
      got[i].push_back(message->value);
    }
    EXPECT_TRUE(receivers[i].at_end());
    EXPECT_EQ(static_cast<int>(got[i].size()), sent);
    for (int k = 0; k < static_cast<int>(got[i].size()); ++k) EXPECT_EQ(got[i][k], k);
  }
  co_return ended;
}
LAB_TEST(BroadcastLabTest, EachReceiverGetsAllInOrder, Exhaustive()) {
  return SenderAndReceivers(cx);
}
LAB_TEST(BroadcastLabTest, EachReceiverGetsAllInOrderUnderCancels, WithCancels()) {
  return SenderAndReceivers(cx);
}

// … although it stands before the other one in line.
LAB_TEST(BroadcastLabTest, AReceiverThatIsCancelledIsPassedOver, Exhaustive()) {
  auto sender = MakeBroadcast<int>(2);
  auto* const to = &sender;
  BroadcastReceiver<int> receivers[] = {sender.Subscribe(), sender.Subscribe()};
  auto body = [&, to](Cx cx) -> Task<void> {
    auto cancelled = cx.Spawn("cancelled", [&](Cx cx) -> Task<void> {
      (void)co_await OrReturn(receivers[0].Receive(cx));
      co_return Ok();
    });
    auto stays = cx.Spawn("stays", [&](Cx cx) -> Task<void> {
      const auto message = co_await OrReturn(receivers[1].Receive(cx));
      EXPECT_EQ(message->value, 7);
      co_return Ok();
    });
    cancelled.Cancel();
    EXPECT_EQ(co_await OrReturn(to->Send(cx, 7)), 2u);
    co_return co_await OrReturn(stays.Join(cx));
  };
  co_await OrReturn(Region::Open(cx, "sender and receivers", body));
  co_return Ok();
}

// ---- session ----------------------------------------------------------------------------------------

Task<void> CallersAndServer(Cx cx) {
  auto [client, server] = MakeSession<int, int>(1);
  auto* const calls = &client;
  auto* const serves = &server;
  int answered = 0, served = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 1; i <= 2; ++i) {
      cx.Spawn("caller", [&answered, calls, i](Cx cx) -> Task<void> {
        EXPECT_EQ(co_await OrReturn(calls->Call(cx, int{i})), 10 * i);
        ++answered;
        co_return Ok();
      });
    }
    for (int i = 0; i < 2; ++i) {
      auto call = co_await OrReturn(serves->Next(cx));
      EXPECT_LE(calls->with_server(), 1u);
      if (std::move(call->reply).Reply(10 * call->request)) ++served;
    }
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "callers and server", body);
  EXPECT_EQ(answered, served);  // a reply that was taken has arrived
  EXPECT_EQ(client.waiting(), 0u);
  EXPECT_EQ(client.with_server(), 0u);
  co_return ended;
}
LAB_TEST(SessionLabTest, EachCallerGetsItsOwnReplyAndNothingIsLeft, Exhaustive()) {
  return CallersAndServer(cx);
}
LAB_TEST(SessionLabTest, EachCallerGetsItsOwnReplyAndNothingIsLeftUnderCancels, WithCancels()) {
  return CallersAndServer(cx);
}

LAB_TEST(SessionLabTest, ACallThatWasCancelledInLineIsNotSeen, Exhaustive()) {
  auto [client, server] = MakeSession<int, int>(1);
  auto* const calls = &client;
  auto* const serves = &server;
  auto body = [&](Cx cx) -> Task<void> {
    auto call = [calls](Cx cx, int request) -> Task<int> {
      co_return co_await calls->Call(cx, int{request});
    };
    auto cancelled = cx.Spawn("cancelled", call, 1);
    auto other = cx.Spawn("other", call, 2);
    const bool both_in_line = calls->waiting() == 2;
    cancelled.Cancel();
    for (bool answered = false; !answered;) {
      auto seen = co_await OrReturn(serves->Next(cx));
      EXPECT_TRUE(seen->request == 2 || !both_in_line);
      answered = std::move(seen->reply).Reply(10 * seen->request);
      EXPECT_EQ(answered, seen->request == 2);  // the other has given up
    }
    const Outcome<int> reply = co_await OrReturn(other.Join(cx));
    EXPECT_TRUE(reply.ok() && *reply == 20) << reply.ToString();
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "callers and server", body));
  EXPECT_EQ(client.waiting(), 0u);
  EXPECT_EQ(client.with_server(), 0u);
  co_return Ok();
}

LAB_TEST(SessionLabTest, AServerThatWaitsForRoomIsToldOfIt, Exhaustive()) {
  auto [client, server] = MakeSession<int, int>(1);
  auto* const calls = &client;
  auto* const serves = &server;
  auto body = [&](Cx cx) -> Task<void> {
    cx.Spawn("caller", [calls](Cx cx) -> Task<void> {
      co_await OrReturn(calls->Call(cx, 1));
      co_return Ok();
    });
    auto serve = [=](Cx cx) -> Task<void> {
      auto call = co_await OrReturn(serves->Next(cx));
      EXPECT_EQ(calls->with_server(), 1u);
      std::move(call->reply).Reply(0);
      co_return Ok();
    };
    cx.Spawn("server", serve);
    cx.Spawn("server", serve);
    co_await OrReturn(calls->Call(cx, 2));
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "callers and servers", body));
  EXPECT_EQ(client.with_server(), 0u);
  co_return Ok();
}

// ---- OnceCell ---------------------------------------------------------------------------------------

Task<void> Asking(Cx cx) {
  OnceCell<int> cell;
  int making = 0, made = 0, seen = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("asks", [&](Cx cx) -> Task<void> {
        auto init = [&](Cx cx) -> Task<int> {
          EXPECT_EQ(++making, 1);
          const Outcome<void> yielded = co_await Yield(cx);
          --making;
          co_await OrReturn(Outcome<void>(yielded));
          co_return ++made;
        };
        EXPECT_EQ(*co_await OrReturn(cell.Get(cx, init)), 1);
        ++seen;
        co_return Ok();
      });
    }
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "asking", body);
  EXPECT_LE(made, 1);
  EXPECT_EQ(cell.TryGet() != nullptr, made == 1);
  EXPECT_TRUE(seen == 0 || made == 1);
  co_return ended;
}
LAB_TEST(OnceCellLabTest, OneMakesItAtATimeAndItIsMadeOnce, Exhaustive()) { return Asking(cx); }
LAB_TEST(OnceCellLabTest, OneMakesItAtATimeAndItIsMadeOnceUnderCancels, WithCancels()) {
  return Asking(cx);
}

LAB_TEST(OnceCellLabTest, AfterAFailureTheNextTries, Exhaustive()) {
  OnceCell<int> cell;
  int tries = 0, failed = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("asks", [&](Cx cx) -> Task<void> {
        auto init = [&](Cx cx) -> Task<int> {
          const bool first = ++tries == 1;
          co_await OrReturn(Yield(cx));
          if (first) co_return absl::UnavailableError("not now");
          co_return 7;
        };
        const Outcome<const int*> got = co_await cell.Get(cx, init);
        EXPECT_TRUE(!got.ok() || **got == 7);
        failed += got.is_error() ? 1 : 0;
        co_return Ok();
      });
    }
    auto waits = [&](Cx cx) -> Task<void> {
      EXPECT_EQ(*co_await OrReturn(cell.Wait(cx)), 7);
      co_return Ok();
    };
    cx.Spawn("waits", waits);
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "asking", body));
  EXPECT_EQ(tries, 2);
  EXPECT_EQ(failed, 1);
  co_return Ok();
}

LAB_TEST(OnceCellLabTest, WhoIsCancelledGivesItsTurnOn, Exhaustive()) {
  OnceCell<int> cell;
  int seen = 0;
  auto use = [&](Cx cx) -> Task<void> {
    auto init = [](Cx cx) -> Task<int> {
      co_await OrReturn(Yield(cx));
      co_return 7;
    };
    EXPECT_EQ(*co_await OrReturn(cell.Get(cx, init)), 7);
    ++seen;
    co_return Ok();
  };
  co_await OrReturn(OneIsCancelled(cx, use));
  EXPECT_GE(seen, 2);
  co_return Ok();
}

// ---- Pool -------------------------------------------------------------------------------------------

// Counts how many of it there are. Another task may come in between also while it is made, or destroyed.
class Counted {
 public:
  explicit Counted(Var<int>* alive) : alive_(alive) {
    EXPECT_EQ(alive_->Get(), 0) << "there is one seat";
    alive_->Set(1);
  }
  Counted(Counted&& other) noexcept : alive_(std::exchange(other.alive_, nullptr)) {}
  Counted& operator=(Counted&&) = delete;
  ~Counted() {
    if (alive_ != nullptr) alive_->Set(alive_->Get() - 1);
  }

 private:
  Var<int>* alive_;
};

Task<void> Clients(Cx cx) {
  Var<int> alive(0, "alive");
  int out = 0;
  Pool<Counted> pool(PoolOptions().WithMaxSize(1),
                     [&](Cx) -> Task<Counted> { co_return Counted(&alive); });
  auto body = [&](Cx cx) -> Task<void> {
    for (const bool returns : {true, false}) {
      cx.Spawn("client", [&, returns](Cx cx) -> Task<void> {
        PoolPermit<Counted> thing = co_await OrReturn(pool.Checkout(cx));
        EXPECT_EQ(++out, 1);
        const Outcome<void> yielded = co_await Yield(cx);
        --out;
        co_await OrReturn(Outcome<void>(yielded));
        if (returns) {
          std::move(thing).Return();
        } else {
          std::move(thing).Discard();
        }
        co_return Ok();
      });
    }
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "clients", body);
  EXPECT_EQ(pool.size(), pool.idle());
  EXPECT_EQ(static_cast<int>(pool.idle()), alive.Get());
  co_await OrReturn(pool.Close(cx.ForDrain()));
  EXPECT_EQ(alive.Get(), 0);
  co_return ended;
}
LAB_TEST(PoolLabTest, NoMoreAreAliveThanThereAreSeatsAndNoSeatIsLost, Exhaustive()) {
  return Clients(cx);
}
LAB_TEST(PoolLabTest, NoMoreAreAliveThanThereAreSeatsAndNoSeatIsLostUnderCancels, WithCancels()) {
  return Clients(cx);
}

LAB_TEST(PoolLabTest, ACancelledOneIsPassedOver, Exhaustive()) {
  Var<int> alive(0, "alive");
  int served = 0;
  Pool<Counted> pool(PoolOptions().WithMaxSize(1),
                     [&](Cx) -> Task<Counted> { co_return Counted(&alive); });
  auto use = [&](Cx cx) -> Task<void> {
    PoolPermit<Counted> thing = co_await OrReturn(pool.Checkout(cx));
    ++served;
    std::move(thing).Return();
    co_return Ok();
  };
  co_await OrReturn(OneIsCancelled(cx, use));
  EXPECT_GE(served, 2);
  EXPECT_EQ(pool.size(), pool.idle());
  co_return Ok();
}

// ---- LeaseLock --------------------------------------------------------------------------------------

Task<void> Holders(Cx cx) {
  LeaseLock lock;
  int holders = 0;
  uint64_t newest = 0;
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("holder", [&](Cx cx) -> Task<void> {
        Lease lease = co_await OrReturn(lock.Acquire(cx, absl::Seconds(1)));
        EXPECT_EQ(++holders, 1);
        EXPECT_GT(lease.token(), std::exchange(newest, lease.token()));
        (void)co_await Yield(cx);
        --holders;
        std::move(lease).Release();
        co_return Ok();
      });
    }
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "holders", body);
  std::optional<Lease> last = lock.TryAcquire(cx, absl::Seconds(1));
  EXPECT_TRUE(last.has_value());
  if (last.has_value()) std::move(*last).Release();
  co_return ended;
}
LAB_TEST(LeaseLabTest, OneAtATimeHoldsItAndItsTokensGrow, Exhaustive()) { return Holders(cx); }
LAB_TEST(LeaseLabTest, OneAtATimeHoldsItAndItsTokensGrowUnderCancels, WithCancels()) {
  return Holders(cx);
}

LAB_TEST(LeaseLabTest, ACancelledOneIsPassedOver, Exhaustive()) {
  LeaseLock lock;
  int held = 0;
  auto use = [&](Cx cx) -> Task<void> {
    Lease lease = co_await OrReturn(lock.Acquire(cx, absl::Seconds(1)));
    ++held;
    std::move(lease).Release();
    co_return Ok();
  };
  co_await OrReturn(OneIsCancelled(cx, use));
  EXPECT_GE(held, 2);
  std::optional<Lease> last = lock.TryAcquire(cx, absl::Seconds(1));
  EXPECT_TRUE(last.has_value());
  if (last.has_value()) std::move(*last).Release();
  co_return Ok();
}

// Its time may be over at any moment.
LAB_TEST(LeaseLabTest, TheEndOfItsTimeMakesNoSecondHolder, Exhaustive().WithEarlyTimers()) {
  LeaseLock lock;
  int holders = 0;
  auto body = [&](Cx cx) -> Task<void> {
    cx.Spawn("renews", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, absl::Seconds(1)));
      EXPECT_EQ(++holders, 1);
      const Outcome<void> yielded = co_await Yield(cx);
      const absl::Status renewed = lease.Renew(cx, absl::Seconds(1));
      EXPECT_EQ(renewed.ok(), !lease.expired());
      EXPECT_TRUE(yielded.ok() || !renewed.ok());
      --holders;
      std::move(lease).Release();
      co_return Ok();
    });
    cx.Spawn("next", [&](Cx cx) -> Task<void> {
      Lease lease = co_await OrReturn(lock.Acquire(cx, absl::Seconds(1)));
      EXPECT_EQ(++holders, 1);
      --holders;
      std::move(lease).Release();
      co_return Ok();
    });
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "holders", body));
  std::optional<Lease> last = lock.TryAcquire(cx, absl::Seconds(1));
  EXPECT_TRUE(last.has_value());
  if (last.has_value()) std::move(*last).Release();
  co_return Ok();
}

}  // namespace
}  // namespace quiesce::lab

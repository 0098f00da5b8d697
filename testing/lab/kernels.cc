#include "quiesce/testing/lab/kernels.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/runtime/channel/oneshot.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/notify.h"
#include "quiesce/runtime/sync/rw_lock.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/runtime/time/sleep.h"

namespace quiesce::lab {
namespace {

// Go's unbuffered channel: a send returns once the message has been received.
class Unbuffered {
  struct Message {
    int value;
    OneshotSender<int> received;
  };

 public:
  Task<void> Send(Cx cx, int value) {
    auto [received, wait] = MakeOneshot<int>();
    Message message{value, std::move(received)};
    const Outcome<void> sent = co_await channel_.sender.Send(cx, std::move(message));
    if (sent.is_error()) co_return Ok();  // nobody wants it any more
    co_await OrReturn(sent);
    auto receiver = std::move(wait);
    (void)co_await OrReturn(receiver.Receive(cx));
    co_return Ok();
  }
  // Nobody receives from now on: sends end, also those that wait.
  void Close() {
    channel_.receiver.Close();
    while (channel_.receiver.TryReceive().has_value()) {
    }
  }
  Task<int> Receive(Cx cx) {
    std::optional<Message> message = co_await OrReturn(channel_.receiver.Receive(cx));
    co_return Take(*std::move(message));
  }
  auto ReceiveWait(Cx cx) { return channel_.receiver.Receive(cx); }
  static int Take(Message message) {
    (void)std::move(message.received).Send(0);
    return message.value;
  }
  std::optional<int> TryReceive() {
    std::optional<Message> message = channel_.receiver.TryReceive();
    if (!message.has_value()) return std::nullopt;
    return Take(*std::move(message));
  }

 private:
  Mpsc<Message> channel_ = MakeUnboundedMpsc<Message>();
};

// ---- two locks ------------------------------------------------------------------------------------

Task<void> LockBoth(Cx cx, Mutex* first, Mutex* second) {
  const MutexGuard one = co_await OrReturn(first->Lock(cx));
  const MutexGuard two = co_await OrReturn(second->Lock(cx));
  co_return Ok();
}

Task<void> Cockroach10214(Cx cx, bool fixed) {
  Mutex a, b;
  co_return co_await Region::Open(cx, "stores", [&](Cx cx) -> Task<void> {
    cx.Spawn("one", LockBoth, &a, &b);
    cx.Spawn("two", LockBoth, fixed ? &a : &b, fixed ? &b : &a);
    co_return Ok();
  });
}

Task<void> ReadTwice(Cx cx, RwLock* lock, bool twice) {
  ReadGuard outer = co_await OrReturn(lock->ReadLock(cx));
  outer.Detach();
  if (twice) const ReadGuard inner = co_await OrReturn(lock->ReadLock(cx));
  co_return Ok();
}
Task<void> Write(Cx cx, RwLock* lock) {
  const WriteGuard guard = co_await OrReturn(lock->WriteLock(cx));
  co_return Ok();
}

Task<void> Kubernetes62464(Cx cx, bool fixed) {
  RwLock lock;
  co_return co_await Region::Open(cx, "state", [&](Cx cx) -> Task<void> {
    cx.Spawn("reader", ReadTwice, &lock, !fixed);
    cx.Spawn("writer", Write, &lock);
    co_return Ok();
  });
}

Task<void> Etcd5509(Cx cx, bool fixed) {
  RwLock lock;
  std::optional<ReadGuard> leaked;
  co_return co_await Region::Open(cx, "client", [&](Cx cx) -> Task<void> {
    auto acquire = cx.Spawn("acquire", [&](Cx cx) -> Task<void> {
      ReadGuard guard = co_await OrReturn(lock.ReadLock(cx));
      guard.Detach();
      if (!fixed) leaked = std::move(guard);  // the error path returns without unlocking
      co_return Ok();
    });
    (void)co_await OrReturn(acquire.Join(cx));
    const WriteGuard close = co_await OrReturn(lock.WriteLock(cx));
    co_return Ok();
  });
}

// ---- a channel and a lock -------------------------------------------------------------------------

Task<void> ReceiveAndLockTwice(Cx cx, Unbuffered* from, Mutex* lock) {
  for (int i = 0; i < 2; ++i) {
    (void)co_await OrReturn(from->Receive(cx));
    const MutexGuard guard = co_await OrReturn(lock->Lock(cx));
  }
  co_return Ok();
}

Task<void> Kubernetes10182(Cx cx, bool fixed) {
  Mutex lock;
  Unbuffered changes;
  co_return co_await Region::Open(cx, "manager", [&](Cx cx) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      cx.Spawn("setter", [&](Cx cx) -> Task<void> {
        MutexGuard guard = co_await OrReturn(lock.Lock(cx));
        if (fixed) std::move(guard).Unlock();
        co_return co_await changes.Send(cx, 1);
      });
    }
    cx.Spawn("syncer", ReceiveAndLockTwice, &changes, &lock);
    co_return Ok();
  });
}

Task<void> Grpc1353(Cx cx, bool fixed) {
  Mutex lock;
  Unbuffered updates;
  co_return co_await Region::Open(cx, "balancer", [&](Cx cx) -> Task<void> {
    cx.Spawn("watcher", [&](Cx cx) -> Task<void> {
      for (int i = 0; i < 2; ++i) {
        MutexGuard guard = co_await OrReturn(lock.Lock(cx));
        if (fixed) std::move(guard).Unlock();
        co_await OrReturn(updates.Send(cx, i));
      }
      co_return Ok();
    });
    cx.Spawn("connection", ReceiveAndLockTwice, &updates, &lock);
    co_return Ok();
  });
}

Task<void> Moby28462(Cx cx, bool fixed) {
  Mutex lock;
  Unbuffered stop;
  co_return co_await Region::Open(cx, "container", [&](Cx cx) -> Task<void> {
    cx.Spawn("monitor", [&](Cx cx) -> Task<void> {
      if (stop.TryReceive().has_value()) co_return Ok();
      {
        const MutexGuard probe = co_await OrReturn(lock.Lock(cx));
      }
      (void)co_await OrReturn(stop.Receive(cx));
      co_return Ok();
    });
    cx.Spawn("stopper", [&](Cx cx) -> Task<void> {
      MutexGuard guard = co_await OrReturn(lock.Lock(cx));
      if (fixed) std::move(guard).Unlock();
      co_return co_await stop.Send(cx, 1);
    });
    co_return Ok();
  });
}

Task<void> Istio16224(Cx cx, bool fixed) {
  Mutex lock;
  Unbuffered done;
  co_return co_await Region::Open(cx, "store", [&](Cx cx) -> Task<void> {
    cx.Spawn("handler", [&](Cx cx) -> Task<void> {
      MutexGuard guard = co_await OrReturn(lock.Lock(cx));
      if (fixed) std::move(guard).Unlock();
      co_return co_await done.Send(cx, 1);
    });
    MutexGuard guard = co_await OrReturn(lock.Lock(cx));
    if (fixed) std::move(guard).Unlock();
    (void)co_await OrReturn(done.Receive(cx));
    co_return Ok();
  });
}

Task<void> Etcd6873(Cx cx, bool fixed) {
  Mutex lock;
  auto [sender, receiver] = MakeUnboundedMpsc<int>();
  Notify done;
  auto* const updates = &receiver;
  auto* const source = &sender;
  co_return co_await Region::Open(cx, "broadcasts", [&, updates, source](Cx cx) -> Task<void> {
    cx.Spawn("loop", [&, updates](Cx cx) -> Task<void> {
      while (true) {
        const std::optional<int> update = co_await OrReturn(updates->Receive(cx));
        if (!update.has_value()) break;
        const MutexGuard guard = co_await OrReturn(lock.Lock(cx));
      }
      done.NotifyOne();
      co_return Ok();
    });
    (void)source->TrySend(1);
    MutexGuard guard = co_await OrReturn(lock.Lock(cx));
    updates->Close();
    if (fixed) std::move(guard).Unlock();
    co_await OrReturn(done.Wait(cx));
    co_return Ok();
  });
}

// ---- a channel ------------------------------------------------------------------------------------

Task<void> Etcd6857(Cx cx, bool fixed) {
  Unbuffered status, stop;
  co_return co_await Region::Open(cx, "node", [&](Cx cx) -> Task<void> {
    cx.Spawn("loop", [&](Cx cx) -> Task<void> {
      while (true) {
        auto won = co_await OrReturn(Select(cx, status.ReceiveWait(cx), stop.ReceiveWait(cx)));
        if (won.index() == 0) {
          Unbuffered::Take(**std::move(std::get<0>(won)));
        } else {
          Unbuffered::Take(**std::move(std::get<1>(won)));
          break;
        }
      }
      if (fixed) status.Close();
      co_return Ok();
    });
    cx.Spawn("status", [&](Cx cx) -> Task<void> { co_return co_await status.Send(cx, 1); });
    co_return co_await stop.Send(cx, 1);
  });
}

Task<void> Kubernetes25331(Cx cx, bool fixed) {
  Unbuffered results;
  Notify cancelled;
  co_return co_await Region::Open(cx, "watch", [&](Cx cx) -> Task<void> {
    NotifyWait gone = cancelled.Wait(cx);
    cx.Spawn("watcher", [&](Cx cx) -> Task<void> {
      if (fixed) {
        co_await OrReturn(results.Send(cx, -1));
        cancelled.NotifyAll();
      } else {
        cancelled.NotifyAll();
        co_await OrReturn(results.Send(cx, -1));
      }
      co_return Ok();
    });
    auto won = co_await OrReturn(Select(cx, std::move(gone), results.ReceiveWait(cx)));
    if (won.index() == 1) Unbuffered::Take(**std::move(std::get<1>(won)));
    co_return Ok();
  });
}

Task<void> Kubernetes5316(Cx cx, bool fixed) {
  Unbuffered unbuffered;
  auto [sender, receiver] = MakeUnboundedMpsc<int>();
  auto* const to = &sender;
  auto* const from = &receiver;
  co_return co_await Region::Open(cx, "request", [&, to, from](Cx cx) -> Task<void> {
    cx.Spawn("worker", [&, to](Cx cx) -> Task<void> {
      co_await OrReturn(Sleep(cx, absl::Seconds(1)));
      if (!fixed) co_return co_await unbuffered.Send(cx, 1);
      (void)to->TrySend(1);
      co_return Ok();
    });
    if (fixed) {
      (void)co_await OrReturn(Select(cx, from->Receive(cx), Sleep(cx, absl::Seconds(1))));
      co_return Ok();
    }
    auto won =
        co_await OrReturn(Select(cx, unbuffered.ReceiveWait(cx), Sleep(cx, absl::Seconds(1))));
    if (won.index() == 0) Unbuffered::Take(**std::move(std::get<0>(won)));
    co_return Ok();
  });
}

Task<void> Moby33781(Cx cx, bool fixed) {
  Unbuffered unbuffered;
  auto [sender, receiver] = MakeUnboundedMpsc<int>();
  auto* const to = &sender;
  auto* const from = &receiver;
  Notify stop;
  co_return co_await Region::Open(cx, "monitor", [&, to, from](Cx cx) -> Task<void> {
    NotifyWait stopped = stop.Wait(cx);
    cx.Spawn("probe", [&, to](Cx cx) -> Task<void> {
      if (!fixed) co_return co_await unbuffered.Send(cx, 1);
      (void)to->TrySend(1);
      co_return Ok();
    });
    cx.Spawn("stopper", [&](Cx) -> Task<void> {
      stop.NotifyAll();
      co_return Ok();
    });
    if (fixed) {
      (void)co_await OrReturn(Select(cx, std::move(stopped), from->Receive(cx)));
      co_return Ok();
    }
    auto won = co_await OrReturn(Select(cx, std::move(stopped), unbuffered.ReceiveWait(cx)));
    if (won.index() == 1) Unbuffered::Take(**std::move(std::get<1>(won)));
    co_return Ok();
  });
}

Task<void> Cockroach10790(Cx cx, bool fixed) {
  auto [sender, receiver] = MakeMpsc<int>(1);
  auto* const to = &sender;
  auto* const from = &receiver;
  Notify cancel;
  co_return co_await Region::Open(cx, "replica", [&, to, from](Cx cx) -> Task<void> {
    NotifyWait cancelled = cancel.Wait(cx);
    cx.Spawn("beginner", [&, to](Cx cx) -> Task<void> {
      for (int i = 0; i < 2; ++i) co_await OrReturn(to->Send(cx, int(i)));
      co_return Ok();
    });
    cx.Spawn("canceller", [&](Cx) -> Task<void> {
      cancel.NotifyAll();
      co_return Ok();
    });
    auto won = co_await OrReturn(Select(cx, std::move(cancelled), from->Receive(cx)));
    if (won.index() == 0 && !fixed) co_return Ok();  // without draining
    for (int left = won.index() == 0 ? 2 : 1; left > 0; --left) {
      (void)co_await OrReturn(from->Receive(cx));
    }
    co_return Ok();
  });
}

// ---- others ---------------------------------------------------------------------------------------

Task<void> LockOne(Cx cx, Mutex* lock) {
  const MutexGuard guard = co_await OrReturn(lock->Lock(cx));
  co_return Ok();
}

Task<void> Cockroach1055(Cx cx, bool fixed) {
  Mutex lock;
  co_return co_await Region::Open(cx, "stopper", [&](Cx cx) -> Task<void> {
    auto worker = cx.Spawn("worker", LockOne, &lock);
    MutexGuard guard = co_await OrReturn(lock.Lock(cx));
    if (fixed) std::move(guard).Unlock();
    (void)co_await OrReturn(worker.Join(cx));
    co_return Ok();
  });
}

Task<void> Moby30408(Cx cx, bool fixed) {
  Notify activated;
  bool failed = false;
  co_return co_await Region::Open(cx, "plugin", [&](Cx cx) -> Task<void> {
    cx.Spawn("activate", [&](Cx) -> Task<void> {
      failed = true;
      if (fixed) activated.NotifyOne();  // also of a failure
      co_return Ok();
    });
    co_await OrReturn(activated.Wait(cx));
    co_return Ok();
  });
}

Task<void> Serving5865(Cx cx, bool fixed) {
  auto [sender, receiver] = MakeMpsc<int>(1);
  auto* const to = &sender;
  auto* const from = &receiver;
  co_return co_await Region::Open(cx, "stats", [&, to, from](Cx cx) -> Task<void> {
    auto reporter =
        cx.Spawn("reporter", [&, to](Cx cx) -> Task<void> { co_return co_await to->Send(cx, 1); });
    if (fixed) (void)co_await OrReturn(reporter.Join(cx));
    from->Close();
    co_return Ok();
  });
}

}  // namespace

const std::vector<Kernel>& Kernels() {
  static const auto* const kernels = new std::vector<Kernel>{
      {"cockroach_10214", "two locks in two orders", &Cockroach10214},
      {"kubernetes_62464", "a reader reads again behind a writer", &Kubernetes62464},
      {"etcd_5509", "an error path keeps the read lock", &Etcd5509},
      {"kubernetes_10182", "a send under the lock that the receiver takes", &Kubernetes10182},
      {"grpc_1353", "two sends, each under the lock that the receiver takes", &Grpc1353},
      {"moby_28462", "stop is sent under the lock that the monitor takes", &Moby28462},
      {"istio_16224", "done is received under the lock that its sender takes", &Istio16224},
      {"etcd_6873", "stop waits, under the lock, for a loop that takes it", &Etcd6873},
      {"etcd_6857", "a status is asked of a loop that has left", &Etcd6857},
      {"kubernetes_25331", "an error is sent to who has been cancelled by it", &Kubernetes25331},
      {"kubernetes_5316", "a result is sent to who has timed out", &Kubernetes5316},
      {"moby_33781", "a result is sent to who has stopped", &Moby33781},
      {"cockroach_10790", "the cancelled receiver does not drain", &Cockroach10790},
      {"cockroach_1055", "stop joins, under the lock, a task that takes it", &Cockroach1055},
      {"moby_30408", "a wait that nobody notifies", &Moby30408},
      {"serving_5865", "a send after the receiver has closed", &Serving5865},
  };
  return *kernels;
}

}  // namespace quiesce::lab

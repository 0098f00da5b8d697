// timer, timers_live and timer_lateness: one timer at a time, a million at once, and how late they are.
#include <algorithm>
#include <cstddef>
#include <new>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "quiesce/testing/bench/peers/asio/src/harness.h"

namespace asio_peer {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;

void ExpectCancelled(const asio::error_code& error) {
  if (error != asio::error::operation_aborted) Fail("a timer was not cancelled");
}

// ---- one at a time: set for two hours, waited for, cancelled --------------------------------------------------

// The timer that stands in most idioms, so that the next one is never the earliest: else each set and each
// cancel tells the kernel (timerfd_settime).
class StandingTimer {
 public:
  explicit StandingTimer(Pool& pool) : timer_(pool.context(), hours(1)) {
    timer_.async_wait(&ExpectCancelled);
  }
  void Cancel() { timer_.cancel(); }

 private:
  Timer timer_;
};

// kBatch timers, then back to the loop, which runs the handlers of the cancelled waits; the last one goes on.
template <size_t kBatch, bool kNewEachTime>
class OneAtATime {
 public:
  OneAtATime(Pool& pool, size_t n, bool standing) : context_(pool.context()), left_(n) {
    if (standing) standing_.emplace(pool);
  }

  void Next() {
    if (left_ == 0) {
      if (standing_) standing_->Cancel();
      return;
    }
    const size_t count = std::min(kBatch, left_);
    left_ -= count;
    waiting_ = count;
    for (size_t i = 0; i < count; ++i) SetAndCancel();
  }

 private:
  void SetAndCancel() {
    if constexpr (kNewEachTime) {
      Timer timer(context_, hours(2));
      Wait(timer);
    } else {
      timer_.expires_after(hours(2));
      Wait(timer_);
      timer_.cancel();
    }
  }
  void Wait(Timer& timer) {
    timer.async_wait([this](const asio::error_code& error) {
      ExpectCancelled(error);
      if (--waiting_ == 0) Next();
    });
  }

  asio::io_context& context_;
  Timer timer_{context_};
  std::optional<StandingTimer> standing_;
  size_t left_;
  size_t waiting_ = 0;
};

template <size_t kBatch, bool kNewEachTime, bool kStanding>
double OneTimerRound(Pool& pool, size_t n) {
  OneAtATime<kBatch, kNewEachTime> chain(pool, n, kStanding);
  asio::post(pool.context(), [&] { chain.Next(); });
  return pool.Run();
}

// ---- many at once -------------------------------------------------------------------------------------------

// Room for the one operation that waits for a timer, so that no wait allocates: the technique of Asio's
// "allocation" example.
class OperationRoom {
 public:
  void* Take(size_t size) {
    if (used_ || size > sizeof(bytes_)) return ::operator new(size);
    used_ = true;
    return bytes_;
  }
  void GiveBack(void* room) {
    if (room == bytes_) {
      used_ = false;
    } else {
      ::operator delete(room);
    }
  }

 private:
  alignas(std::max_align_t) std::byte bytes_[112];
  bool used_ = false;
};

template <class T>
struct RoomAllocator {
  using value_type = T;
  explicit RoomAllocator(OperationRoom* room) : room(room) {}
  template <class U>
  RoomAllocator(const RoomAllocator<U>& other) : room(other.room) {}
  T* allocate(size_t n) { return static_cast<T*>(room->Take(n * sizeof(T))); }
  void deallocate(T* pointer, size_t) { room->GiveBack(pointer); }
  template <class U>
  bool operator==(const RoomAllocator<U>& other) const {
    return room == other.room;
  }
  OperationRoom* room;
};

struct OwnRoomHandler {
  using allocator_type = RoomAllocator<std::byte>;
  allocator_type get_allocator() const { return allocator_type(room); }
  void operator()(const asio::error_code& error) const { ExpectCancelled(error); }
  OperationRoom* room;
};

// Storage, delays and order are made before the clock starts, which runs until every handler has run.
template <bool kShuffled, bool kOwnRoom>
double LiveRound(Pool& pool, size_t n) {
  constexpr auto kHour = static_cast<uint64_t>(nanoseconds(hours(1)).count());
  Xorshift random;
  std::vector<nanoseconds> delays(n);
  for (nanoseconds& delay : delays) delay = nanoseconds(kHour + random.Below(kHour));
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = n; kShuffled && i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
  std::vector<OperationRoom> rooms(kOwnRoom ? n : 0);
  std::vector<Timer> timers;
  timers.reserve(n);
  for (size_t i = 0; i < n; ++i) timers.emplace_back(pool.context());
  asio::post(pool.context(), [&] {
    for (size_t i = 0; i < n; ++i) {
      timers[i].expires_after(delays[i]);
      if constexpr (kOwnRoom) {
        timers[i].async_wait(OwnRoomHandler{&rooms[i]});
      } else {
        timers[i].async_wait(&ExpectCancelled);
      }
    }
    for (const size_t i : order) timers[i].cancel();
  });
  return pool.Run();
}

// ---- how late -----------------------------------------------------------------------------------------------

constexpr std::chrono::milliseconds kLead(50);  // all wait when the time for them begins

std::vector<steady_clock::time_point> DueTimes(size_t n) {
  Xorshift random;
  const steady_clock::time_point begin = steady_clock::now() + kLead;
  std::vector<steady_clock::time_point> due(n);
  for (auto& time : due) time = begin + nanoseconds(random.Below(n * 100'000));
  return due;
}

void TakeLateness(steady_clock::time_point due, double* late) {
  *late = static_cast<double>(nanoseconds(steady_clock::now() - due).count());
  if (*late < 0) Fail("a timer was early");
}

std::vector<double> LatenessOfHandlers(Pool& pool, size_t n) {
  std::vector<double> late(n);
  std::vector<Timer> timers;
  timers.reserve(n);
  asio::post(pool.context(), [&] {
    const auto due = DueTimes(n);
    for (size_t i = 0; i < n; ++i) {
      timers.emplace_back(pool.context(), due[i]);
      timers[i].async_wait(
          [due = due[i], late = &late[i]](asio::error_code) { TakeLateness(due, late); });
    }
  });
  pool.Run();
  return late;
}

Task<void> Sleeper(Executor executor, steady_clock::time_point due, double* late) {
  Timer timer(executor, due);
  co_await timer.async_wait(kAwait);
  TakeLateness(due, late);
}

std::vector<double> LatenessOfCoroutines(Pool& pool, size_t n) {
  std::vector<double> late(n);
  const Executor executor = pool.context().get_executor();
  asio::post(executor, [&] {
    const auto due = DueTimes(n);
    for (size_t i = 0; i < n; ++i) {
      asio::co_spawn(executor, Sleeper(executor, due[i], &late[i]), asio::detached);
    }
  });
  pool.Run();
  return late;
}

// For what is the work of one thread: a context that several threads run hands each handler over to another one.
std::vector<Kind> OneThread(size_t workers) {
  return workers > 1 ? OwnContexts(workers) : SharedContext(workers);
}

}  // namespace

void OneTimer(const Arguments& arguments) {
  ReportBest(arguments, OneThread(arguments.workers),
             {{"set again, no other timer", &OneTimerRound<1, false, false>},
              {"set again", &OneTimerRound<1, false, true>},
              {"set again, 64 before the loop", &OneTimerRound<64, false, true>},
              {"new each time", &OneTimerRound<1, true, true>},
              {"new each time, 64 before the loop", &OneTimerRound<64, true, true>}});
}

void TimersLive(const Arguments& arguments) {
  ReportBest(arguments, OneThread(arguments.workers),
             {{"same order", &LiveRound<false, false>},
              {"shuffled", &LiveRound<true, false>},
              {"same order, own memory", &LiveRound<false, true>},
              {"shuffled, own memory", &LiveRound<true, true>}});
}

void TimerLateness(const Arguments& arguments) {
  ReportPercentiles(arguments, SharedContext(arguments.workers),
                    {{"handlers", &LatenessOfHandlers}, {"coroutines", &LatenessOfCoroutines}});
}

}  // namespace asio_peer

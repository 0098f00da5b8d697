#include "quiesce/runtime/reactor/poller.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/reactor/io_backend.h"
#include "quiesce/runtime/reactor/io_uring_poller.h"
#include "quiesce/runtime/reactor/kernel_poller.h"

namespace quiesce {
namespace {

std::unique_ptr<KernelPoller> MakePoller(IoBackend backend) {
  auto poller = KernelPoller::Create(backend);
  EXPECT_TRUE(poller.ok()) << poller.status();
  return *std::move(poller);
}

// Of five, since each may return early: the kernel interrupts the calls of a thread that has used a ring when it clears up
// behind that.
absl::Duration LongestWait(KernelPoller& poller, absl::Duration timeout) {
  absl::Duration longest;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(poller.Wait(timeout), 0u);
    longest = std::max(longest, absl::FromChrono(std::chrono::steady_clock::now() - begin));
  }
  return longest;
}

// What every poller has to do.
class PollerTest : public testing::TestWithParam<IoBackend> {
 protected:
  void SetUp() override {
    const auto poller = KernelPoller::Create(GetParam());
    if (absl::IsUnavailable(poller.status())) GTEST_SKIP() << poller.status();
  }
  std::unique_ptr<KernelPoller> MakePoller() { return quiesce::MakePoller(GetParam()); }
};
using PollerDeathTest = PollerTest;

const auto kBackends = testing::Values(IoBackend::kEpoll, IoBackend::kIoUring);
std::string BackendName(const testing::TestParamInfo<IoBackend>& info) {
  return info.param == IoBackend::kEpoll ? "Epoll" : "IoUring";
}
INSTANTIATE_TEST_SUITE_P(, PollerTest, kBackends, BackendName);
INSTANTIATE_TEST_SUITE_P(, PollerDeathTest, kBackends, BackendName);

// Two ends of a stream.
class Ends {
 public:
  Ends() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds_), 0); }
  ~Ends() {
    Close(0);
    Close(1);
  }
  int fd(int end) const { return fds_[end]; }
  void Write(int end) { EXPECT_EQ(write(fds_[end], "x", 1), 1); }
  void Read(int end) {
    char byte;
    EXPECT_EQ(read(fds_[end], &byte, 1), 1);
  }
  void Close(int end) {
    if (fds_[end] >= 0) close(fds_[end]);
    fds_[end] = -1;
  }

 private:
  int fds_[2];
};

struct Source : IoSource {
  explicit Source(int fd) : IoSource(fd, &Notified) {}
  static void Notified(IoSource* source, uint32_t io_events) {
    auto* self = static_cast<Source*>(source);
    self->calls.fetch_add(1);
    self->seen.fetch_or(io_events);
  }
  uint32_t TakeSeen() { return seen.exchange(0); }
  std::atomic<int> calls{0};
  std::atomic<uint32_t> seen{0};
};

TEST_P(PollerTest, ReportsWhatIsReadyAtTheStartOnce) {
  Ends ends;
  auto poller = MakePoller();
  ends.Write(1);
  Source source(ends.fd(0));
  ASSERT_TRUE(poller->Add(&source).ok());
  EXPECT_EQ(poller->source_count(), 1u);
  EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 1u);
  EXPECT_EQ(source.TakeSeen(), uint32_t{kReadable | kWritable});
  EXPECT_EQ(poller->Wait(absl::ZeroDuration()), 0u) << "not an edge";
  poller->Remove(&source);
  EXPECT_EQ(poller->source_count(), 0u);
}

TEST_P(PollerTest, ReportsEachEdge) {
  Ends ends;
  auto poller = MakePoller();
  Source source(ends.fd(0));
  ASSERT_TRUE(poller->Add(&source).ok());
  poller->Wait(absl::ZeroDuration());
  EXPECT_EQ(source.TakeSeen(), uint32_t{kWritable});
  for (int i = 0; i < 3; ++i) {
    ends.Write(1);
    EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 1u);
    EXPECT_NE(source.TakeSeen() & kReadable, 0u);
    ends.Read(0);
  }
  poller->Remove(&source);
}

TEST_P(PollerTest, EndOfThePeerIsReportedToReadersAndWriters) {
  Ends ends;
  auto poller = MakePoller();
  Source source(ends.fd(0));
  ASSERT_TRUE(poller->Add(&source).ok());
  poller->Wait(absl::ZeroDuration());
  source.TakeSeen();
  ends.Close(1);
  EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 1u);
  EXPECT_EQ(source.TakeSeen(), uint32_t{kReadable | kWritable | kMoreAfterShortRead});
  poller->Remove(&source);
}

// One edge may stand for the last bytes and the end behind them.
TEST_P(PollerTest, EndOfThePeersWritingIsMoreAfterAShortRead) {
  Ends ends;
  auto poller = MakePoller();
  Source source(ends.fd(0));
  ASSERT_TRUE(poller->Add(&source).ok());
  poller->Wait(absl::ZeroDuration());
  source.TakeSeen();
  ASSERT_EQ(shutdown(ends.fd(1), SHUT_WR), 0);
  EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 1u);
  const uint32_t seen = source.TakeSeen();
  EXPECT_NE(seen & kReadable, 0u);
  EXPECT_NE(seen & kMoreAfterShortRead, 0u);
  poller->Remove(&source);
}

TEST_P(PollerTest, DataAloneLeavesNothingAfterAShortRead) {
  Ends ends;
  auto poller = MakePoller();
  Source source(ends.fd(0));
  ASSERT_TRUE(poller->Add(&source).ok());
  ends.Write(1);
  for (int i = 0; i < 3; ++i) {
    poller->Wait(absl::InfiniteDuration());
    const uint32_t seen = source.TakeSeen();
    EXPECT_NE(seen & kReadable, 0u);
    EXPECT_EQ(seen & kMoreAfterShortRead, 0u);
    ends.Read(0);
    ends.Write(1);
  }
  poller->Remove(&source);
}

TEST_P(PollerTest, RemovedSourceHearsNothingMore) {
  Ends ends;
  auto poller = MakePoller();
  auto source = std::make_unique<Source>(ends.fd(0));
  ASSERT_TRUE(poller->Add(source.get()).ok());
  ends.Write(1);
  poller->Remove(source.get());
  EXPECT_EQ(source->calls.load(), 0);
  source.reset();
  EXPECT_EQ(poller->Wait(absl::ZeroDuration()), 0u);
  // Its slot serves the next one.
  Source next(ends.fd(0));
  ASSERT_TRUE(poller->Add(&next).ok());
  EXPECT_EQ(poller->Wait(absl::ZeroDuration()), 1u);
  poller->Remove(&next);
}

// An event that the kernel reported for a source that one of the same batch removed must not reach the
// source that has its slot now.
TEST_P(PollerTest, EventOfARemovedSourceDoesNotReachTheNextInItsSlot) {
  // `remover` runs on another thread in the middle of a batch: notify must not call Remove itself.
  struct Remover : IoSource {
    explicit Remover(int fd) : IoSource(fd, &Notified) {}
    static void Notified(IoSource* source, uint32_t) {
      auto* self = static_cast<Remover*>(source);
      std::thread([self] {
        // The source that has not been notified yet, if this is the first of the batch.
        if (self->victim->calls.load() != 0) return;
        self->removed = true;
        self->poller->Remove(self->victim);
        ASSERT_TRUE(self->poller->Add(self->next).ok());
      }).join();
    }
    KernelPoller* poller = nullptr;
    Source* victim = nullptr;
    Source* next = nullptr;
    bool removed = false;
  };
  Ends first, second, third;
  for (bool remover_first : {true, false}) {
    auto poller = MakePoller();
    Remover remover(first.fd(0));
    Source victim(second.fd(0));
    Source next(third.fd(0));
    remover.poller = poller.get();
    remover.victim = &victim;
    remover.next = &next;
    if (remover_first) {
      ASSERT_TRUE(poller->Add(&remover).ok());
    }
    ASSERT_TRUE(poller->Add(&victim).ok());
    if (!remover_first) {
      ASSERT_TRUE(poller->Add(&remover).ok());
    }
    poller->Wait(absl::ZeroDuration());
    EXPECT_EQ(next.calls.load(), 0) << "an event that was another's";
    if (remover.removed) {
      EXPECT_EQ(victim.calls.load(), 0);
      if (GetParam() == IoBackend::kEpoll) {
        EXPECT_EQ(next.slot, victim.slot);
      }
      poller->Wait(absl::ZeroDuration());
      EXPECT_EQ(next.calls.load(), 1);
      poller->Remove(&next);
    } else {
      poller->Remove(&victim);
    }
    poller->Remove(&remover);
  }
}

// Adding, removing and notifying at once; a source is freed as soon as Remove has returned.
TEST_P(PollerTest, RemoveWaitsForANotifyUnderWay) {
  auto poller = MakePoller();
  std::atomic<bool> stop{false};
  std::vector<std::thread> waiters;
  waiters.emplace_back([&] {
    while (!stop.load()) poller->Wait(absl::Milliseconds(1));
  });
  waiters.emplace_back([&] {
    while (!stop.load()) {
      poller->PollForOther();
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> owners;
  for (int i = 0; i < 2; ++i) {
    owners.emplace_back([&] {
      Ends ends;
      for (int round = 0; round < 5'000; ++round) {
        auto source = std::make_unique<Source>(ends.fd(0));
        ASSERT_TRUE(poller->Add(source.get()).ok());
        ends.Write(1);
        ends.Read(0);
        poller->Remove(source.get());
        const int calls = source->calls.load();
        ends.Write(1);
        ends.Read(0);
        ASSERT_EQ(source->calls.load(), calls);
      }
    });
  }
  for (std::thread& owner : owners) owner.join();
  stop.store(true);
  for (std::thread& waiter : waiters) waiter.join();
}

// ---- the end of a source, at every moment -----------------------------------------------------------

// Where it happens on the owner's thread the file is closed with its descriptor: the peer hears of it at once.
TEST_P(PollerTest, RemoveLetsTheFileGo) {
  enum Moment { kAdded, kArmed, kEdgePending, kManyEdgesPending, kEdgeCollected, kNotified };
  for (const Moment moment :
       {kAdded, kArmed, kEdgePending, kManyEdgesPending, kEdgeCollected, kNotified}) {
    SCOPED_TRACE(moment);
    Ends ends, other_ends;
    auto poller = MakePoller();
    auto source = std::make_unique<Source>(ends.fd(0));
    Source other(other_ends.fd(0));
    ASSERT_TRUE(poller->Add(source.get()).ok());
    ASSERT_TRUE(poller->Add(&other).ok());
    if (moment >= kArmed) {
      poller->Wait(absl::ZeroDuration());
    }
    // More than the kernel collects in one call.
    std::deque<Ends> busy_ends(moment == kManyEdgesPending ? 100 : 0);
    std::deque<Source> busy;
    for (Ends& each : busy_ends) {
      ASSERT_TRUE(poller->Add(&busy.emplace_back(each.fd(0))).ok());
    }
    if (!busy.empty()) poller->Wait(absl::ZeroDuration());
    for (Ends& each : busy_ends) each.Write(1);
    if (moment >= kEdgePending) ends.Write(1);
    // Makes a call for which the kernel puts into the queue what it has.
    if (moment == kEdgeCollected) poller->Remove(&other);
    if (moment == kNotified) {
      EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 1u);
    }
    const int calls = source->calls.load();
    if (moment >= kEdgePending) ends.Read(0);
    EXPECT_TRUE(poller->Remove(source.get()));
    EXPECT_EQ(source->calls.load(), calls);
    source.reset();
    ends.Close(0);
    char byte;
    EXPECT_EQ(read(ends.fd(1), &byte, 1), 0) << "the peer has not heard that it was closed";
    if (moment != kEdgeCollected) poller->Remove(&other);
    for (Source& each : busy) poller->Remove(&each);
    other.TakeSeen();
    while (poller->Wait(absl::ZeroDuration()) != 0) {
    }
    EXPECT_EQ(other.TakeSeen(), 0u);
  }
}

// Its edge, and the end of its poll, are in the queue when the next source gets its slot.
TEST_P(PollerTest, WhatIsCollectedForARemovedSourceDoesNotReachTheNextInItsSlot) {
  Ends ends, other_ends;
  int quiet[2];  // nothing is ready, ever
  ASSERT_EQ(pipe2(quiet, O_CLOEXEC | O_NONBLOCK), 0);
  auto poller = MakePoller();
  Source source(ends.fd(0)), other(other_ends.fd(0)), next(quiet[0]);
  ASSERT_TRUE(poller->Add(&source).ok());
  ASSERT_TRUE(poller->Add(&other).ok());
  poller->Wait(absl::ZeroDuration());
  const int calls = source.calls.load();
  ends.Write(1);
  poller->Remove(&other);
  poller->Remove(&source);
  ASSERT_TRUE(poller->Add(&next).ok());
  EXPECT_EQ(next.slot, source.slot);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(poller->Wait(absl::ZeroDuration()), 0u);
  }
  EXPECT_EQ(next.calls.load(), 0);
  EXPECT_EQ(source.calls.load(), calls);
  EXPECT_EQ(write(quiet[1], "x", 1), 1);
  EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 1u);
  EXPECT_EQ(next.calls.load(), 1);
  poller->Remove(&next);
  close(quiet[0]);
  close(quiet[1]);
}

// An owner who sleeps is woken for what others add and remove.
TEST_P(PollerTest, SleepingOwnerServesOtherThreads) {
  auto poller = MakePoller();
  std::atomic<bool> stop{false};
  std::thread owner([&] {
    while (!stop.load()) poller->Wait(absl::InfiniteDuration());
  });
  for (int round = 0; round < 200; ++round) {
    Ends ends;
    auto source = std::make_unique<Source>(ends.fd(0));
    ASSERT_TRUE(poller->Add(source.get()).ok());
    ends.Write(1);
    while ((source->TakeSeen() & kReadable) == 0) std::this_thread::yield();
    ends.Read(0);
    poller->Remove(source.get());
    source.reset();
    ends.Close(0);
    pollfd peer = {.fd = ends.fd(1), .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&peer, 1, 30'000), 1) << "the file is still open";
  }
  stop.store(true);
  poller->Wake();
  owner.join();
}

TEST_P(PollerTest, RemoveDuringANotifyReturnsAfterIt) {
  struct Slow : IoSource {
    explicit Slow(int fd) : IoSource(fd, &Notified) {}
    static void Notified(IoSource* source, uint32_t) {
      auto* self = static_cast<Slow*>(source);
      self->inside.store(true);
      while (!self->removing.load()) std::this_thread::yield();
      for (int i = 0; i < 100; ++i) std::this_thread::yield();
      self->left = true;
    }
    std::atomic<bool> inside{false}, removing{false};
    bool left = false;
  };
  auto poller = MakePoller();
  for (int round = 0; round < 20; ++round) {
    Ends ends;
    auto source = std::make_unique<Slow>(ends.fd(0));
    std::thread remover([&] {
      while (!source->inside.load()) std::this_thread::yield();
      source->removing.store(true);
      poller->Remove(source.get());
      EXPECT_TRUE(source->left);
      source.reset();
    });
    ASSERT_TRUE(poller->Add(source.get()).ok());
    while (poller->Wait(absl::Milliseconds(1)) == 0) {
    }
    remover.join();
  }
}

// As above, but whoever waits also adds and removes: a worker whose task closes its socket.
TEST_P(PollerTest, OwnerAddsAndRemovesBetweenItsWaits) {
  auto poller = MakePoller();
  std::deque<Ends> ends(8);
  std::vector<std::unique_ptr<Source>> sources(ends.size());
  uint32_t random = 1;
  for (int step = 0; step < 20'000; ++step) {
    random = random * 1664525u + 1013904223u;
    const size_t i = random >> 8 & 7;
    switch (random >> 16 & 3) {
      case 0:
        if (sources[i] == nullptr) {
          sources[i] = std::make_unique<Source>(ends[i].fd(0));
          ASSERT_TRUE(poller->Add(sources[i].get()).ok());
        }
        break;
      case 1:
        if (sources[i] != nullptr) poller->Remove(sources[i].get());
        sources[i].reset();
        break;
      case 2:
        ends[i].Write(1);
        ends[i].Read(0);
        break;
      default:
        poller->Wait(absl::ZeroDuration());
    }
  }
  for (const auto& source : sources) {
    if (source != nullptr) poller->Remove(source.get());
  }
}

// The kernel ends a poll whose answers find no room. Each is armed anew, and says what it has missed.
TEST(IoUringPollerTest, NoEdgeIsLostWhenItsQueuesAreFull) {
  auto made = IoUringPoller::Create({.submissions = 2, .completions = 4});
  if (absl::IsUnavailable(made.status())) GTEST_SKIP() << made.status();
  IoUringPoller& poller = **made;
  std::deque<Ends> ends(100);
  std::deque<Source> sources;
  for (Ends& pair : ends) {
    sources.emplace_back(pair.fd(0));
    ASSERT_TRUE(poller.Add(&sources.back()).ok());
  }
  for (int round = 0; round < 10; ++round) {
    for (Ends& pair : ends) pair.Write(1);
    for (size_t i = 0; i < ends.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      while ((sources[i].TakeSeen() & kReadable) == 0) {
        poller.Wait(absl::Seconds(30));
        if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(20)) {
          Fatal("test: an edge was lost");
        }
      }
      ends[i].Read(0);
    }
  }
  for (Source& source : sources) poller.Remove(&source);
}

TEST_P(PollerTest, ServesMoreSourcesThanOneBlockOfSlots) {
  constexpr int kEnds = 300;
  auto poller = MakePoller();
  std::deque<Ends> ends(kEnds);
  std::deque<Source> sources;
  for (Ends& pair : ends) {
    sources.emplace_back(pair.fd(0));
    ASSERT_TRUE(poller->Add(&sources.back()).ok());
  }
  while (poller->Wait(absl::ZeroDuration()) != 0) {
  }
  for (Source& source : sources) EXPECT_EQ(source.TakeSeen(), uint32_t{kWritable});
  for (int i = kEnds - 1; i >= 0; i -= 7) {
    ends[i].Write(1);
    EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 1u);
    EXPECT_NE(sources[i].TakeSeen() & kReadable, 0u);
  }
  for (Source& source : sources) poller->Remove(&source);
}

TEST_P(PollerTest, WakeEndsTheWaitUnderWayOrTheNext) {
  auto poller = MakePoller();
  for (int i = 0; i < 100; ++i) {
    std::thread waker([&] { poller->Wake(); });
    EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 0u);
    waker.join();
  }
  poller->Wake();
  EXPECT_EQ(poller->Wait(absl::InfiniteDuration()), 0u);
}

// A wake-up is an edge, which one caller gets: a visitor that has taken it must give it back, or the owner
// sleeps on.
TEST_P(PollerTest, PollForOtherLeavesTheWakeToTheOther) {
  auto poller = MakePoller();
  Ends ends;
  Source source(ends.fd(0));
  ASSERT_TRUE(poller->Add(&source).ok());
  poller->Wait(absl::ZeroDuration());
  poller->Wake();
  ends.Write(1);
  source.TakeSeen();
  EXPECT_EQ(poller->PollForOther(), 1u);
  EXPECT_NE(source.TakeSeen() & kReadable, 0u);
  ends.Read(0);
  const auto begin = std::chrono::steady_clock::now();
  poller->Wait(absl::Seconds(30));
  EXPECT_LT(absl::FromChrono(std::chrono::steady_clock::now() - begin), absl::Seconds(20));
  // And none is made up.
  while (poller->Wait(absl::ZeroDuration()) != 0) {
  }
  poller->PollForOther();
  EXPECT_GE(LongestWait(*poller, absl::Milliseconds(1)), absl::Milliseconds(1));
  poller->Remove(&source);
}

TEST_P(PollerTest, WaitIsNotShorterThanItsTimeout) {
  auto poller = MakePoller();
  for (absl::Duration timeout :
       {absl::Nanoseconds(1), absl::Microseconds(50), absl::Microseconds(1500)}) {
    EXPECT_GE(LongestWait(*poller, timeout), timeout);
  }
}

TEST_P(PollerTest, RefusalNamesTheDescriptorAndTheCause) {
  auto poller = MakePoller();
  Source bad(12345);
  const absl::Status status = poller->Add(&bad);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "poller: cannot wait for fd 12345: Bad file descriptor");

  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  Source regular_file(file);
  EXPECT_EQ(poller->Add(&regular_file).code(), absl::StatusCode::kInvalidArgument);
  close(file);

  EXPECT_EQ(poller->source_count(), 0u);
}

TEST(EpollPollerTest, RefusesTheSameDescriptorTwice) {
  auto poller = MakePoller(IoBackend::kEpoll);
  Ends ends;
  Source once(ends.fd(0)), twice(ends.fd(0));
  EXPECT_TRUE(poller->Add(&once).ok());
  EXPECT_EQ(poller->Add(&twice).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(poller->source_count(), 1u);
  poller->Remove(&once);
}

TEST_P(PollerTest, CreateWithoutDescriptorsIsResourceExhausted) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(0);
  close(next);
  for (int left : {0, 1}) {
    rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(next + left);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    const auto poller = KernelPoller::Create(GetParam());
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(poller.status().code(), absl::StatusCode::kResourceExhausted) << poller.status();
    EXPECT_NE(poller.status().message().find("(ulimit -n)"), absl::string_view::npos)
        << poller.status();
  }
  const int again = dup(0);
  EXPECT_EQ(again, next) << "a descriptor leaked";
  close(again);
}

// From here on the process is refused a system call, as by a container whose filter does not know it.
void Refuse(unsigned call, unsigned error) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    _exit(0);  // no seccomp here: nothing to see
  }
}

#ifdef SYS_epoll_pwait2
TEST(EpollPollerDeathTest, AFilterThatForbidsEpollPwait2CostsOnlyPrecision) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        Refuse(SYS_epoll_pwait2, EPERM);
        auto poller = MakePoller(IoBackend::kEpoll);
        const auto begin = std::chrono::steady_clock::now();
        poller->Wait(absl::Microseconds(1500));
        const auto waited = absl::FromChrono(std::chrono::steady_clock::now() - begin);
        _exit(waited < absl::Microseconds(1500));
      },
      ::testing::ExitedWithCode(0), "");
}
#endif

TEST(IoUringPollerDeathTest, WhereItIsForbiddenTheErrorSaysSoAndAutoTakesEpoll) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto refused = [](unsigned error, absl::string_view cause) {
    Refuse(SYS_io_uring_setup, error);
    const absl::Status status = KernelPoller::Create(IoBackend::kIoUring).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_NE(status.message().find(cause), absl::string_view::npos) << status;
    EXPECT_NE(status.message().find("IoBackend::kEpoll"), absl::string_view::npos) << status;
    const auto fallback = KernelPoller::Create(IoBackend::kAuto);
    EXPECT_TRUE(fallback.ok()) << fallback.status();
    _exit(testing::Test::HasFailure());
  };
  EXPECT_EXIT(refused(EPERM, "kernel.io_uring_disabled"), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(refused(ENOSYS, "this kernel has none"), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(refused(EINVAL, "older than Linux 6.1"), ::testing::ExitedWithCode(0), "");
}

TEST_P(PollerDeathTest, SourceLeftBehindIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Ends ends;
        Source source(ends.fd(0));
        auto poller = MakePoller();
        if (!poller->Add(&source).ok()) return;
        poller.reset();
      },
      "a source is still registered");
}

}  // namespace
}  // namespace quiesce

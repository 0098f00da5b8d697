#include "quiesce/runtime/reactor/epoll_poller.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace quiesce {
namespace {

std::unique_ptr<EpollPoller> MakePoller() {
  auto poller = EpollPoller::Create();
  EXPECT_TRUE(poller.ok()) << poller.status();
  return *std::move(poller);
}

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

TEST(EpollPollerTest, ReportsWhatIsReadyAtTheStartOnce) {
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

TEST(EpollPollerTest, ReportsEachEdge) {
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

TEST(EpollPollerTest, EndOfThePeerIsReportedToReadersAndWriters) {
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
TEST(EpollPollerTest, EndOfThePeersWritingIsMoreAfterAShortRead) {
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

TEST(EpollPollerTest, DataAloneLeavesNothingAfterAShortRead) {
  Ends ends;
  auto poller = MakePoller();
  Source source(ends.fd(0));
  ASSERT_TRUE(poller->Add(&source).ok());
  ends.Write(1);
  poller->Wait(absl::InfiniteDuration());
  EXPECT_EQ(source.TakeSeen() & kMoreAfterShortRead, 0u);
  poller->Remove(&source);
}

TEST(EpollPollerTest, RemovedSourceHearsNothingMore) {
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
TEST(EpollPollerTest, EventOfARemovedSourceDoesNotReachTheNextInItsSlot) {
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
    EpollPoller* poller = nullptr;
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
      EXPECT_EQ(next.slot, victim.slot);
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
TEST(EpollPollerTest, RemoveWaitsForANotifyUnderWay) {
  auto poller = MakePoller();
  std::atomic<bool> stop{false};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 2; ++i) {
    waiters.emplace_back([&] {
      while (!stop.load()) poller->Wait(absl::Milliseconds(1));
    });
  }
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

TEST(EpollPollerTest, ServesMoreSourcesThanOneBlockOfSlots) {
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

TEST(EpollPollerTest, WakeEndsTheWaitUnderWayOrTheNext) {
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
TEST(EpollPollerTest, PollForOtherLeavesTheWakeToTheOther) {
  auto poller = MakePoller();
  Ends ends;
  Source source(ends.fd(0));
  ASSERT_TRUE(poller->Add(&source).ok());
  poller->Wait(absl::ZeroDuration());
  poller->Wake();
  ends.Write(1);
  EXPECT_EQ(poller->PollForOther(), 1u);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(poller->Wait(absl::Seconds(30)), 0u);
  EXPECT_LT(absl::FromChrono(std::chrono::steady_clock::now() - begin), absl::Seconds(20));
  // And none is made up.
  EXPECT_EQ(poller->PollForOther(), 0u);
  EXPECT_EQ(poller->Wait(absl::Milliseconds(1)), 0u);
  poller->Remove(&source);
}

TEST(EpollPollerTest, WaitIsNotShorterThanItsTimeout) {
  auto poller = MakePoller();
  for (absl::Duration timeout :
       {absl::Nanoseconds(1), absl::Microseconds(50), absl::Microseconds(1500)}) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(poller->Wait(timeout), 0u);
    EXPECT_GE(absl::FromChrono(std::chrono::steady_clock::now() - begin), timeout);
  }
}

TEST(EpollPollerTest, RefusalNamesTheDescriptorAndTheCause) {
  auto poller = MakePoller();
  Source bad(12345);
  const absl::Status status = poller->Add(&bad);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "poller: cannot wait for fd 12345: Bad file descriptor");

  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  Source regular_file(file);
  EXPECT_EQ(poller->Add(&regular_file).code(), absl::StatusCode::kInvalidArgument);
  close(file);

  Ends ends;
  Source once(ends.fd(0)), twice(ends.fd(0));
  EXPECT_TRUE(poller->Add(&once).ok());
  EXPECT_EQ(poller->Add(&twice).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(poller->source_count(), 1u);
  poller->Remove(&once);
}

TEST(EpollPollerTest, CreateWithoutDescriptorsIsResourceExhausted) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(0);
  close(next);
  for (int left : {0, 1}) {
    rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(next + left);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    const auto poller = EpollPoller::Create();
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(poller.status().code(), absl::StatusCode::kResourceExhausted) << poller.status();
    EXPECT_NE(poller.status().message().find("(ulimit -n)"), absl::string_view::npos)
        << poller.status();
  }
  const int again = dup(0);
  EXPECT_EQ(again, next) << "a descriptor leaked";
  close(again);
}

#ifdef SYS_epoll_pwait2
// From here on the process is refused epoll_pwait2, as by a container whose filter does not know it.
void RefuseEpollPwait2() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    _exit(0);  // no seccomp here: nothing to see
  }
}

TEST(EpollPollerDeathTest, AFilterThatForbidsEpollPwait2CostsOnlyPrecision) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        RefuseEpollPwait2();
        auto poller = MakePoller();
        const auto begin = std::chrono::steady_clock::now();
        poller->Wait(absl::Microseconds(1500));
        const auto waited = absl::FromChrono(std::chrono::steady_clock::now() - begin);
        _exit(waited < absl::Microseconds(1500));
      },
      ::testing::ExitedWithCode(0), "");
}
#endif

TEST(EpollPollerDeathTest, SourceLeftBehindIsFatal) {
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

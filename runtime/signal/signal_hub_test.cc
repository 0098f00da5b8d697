#include "quiesce/runtime/signal/signal_hub.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/sanitizers.h"

namespace quiesce {
namespace {

using ::testing::HasSubstr;

// A test may have been started with some of them ignored, as by a shell in the background.
class SignalHubTest : public ::testing::Test {
 protected:
  SignalHubTest() {
    for (int number : {SIGINT, SIGTERM, SIGQUIT}) signal(number, SIG_DFL);
  }
};
using SignalHubDeathTest = SignalHubTest;

std::unique_ptr<SignalHub> MakeHub(SignalHubOptions options = SignalHubOptions()) {
  auto hub = SignalHub::Create(std::move(options));
  EXPECT_TRUE(hub.ok()) << hub.status();
  return *std::move(hub);
}

struct sigaction DispositionOf(int signal_number) {
  struct sigaction now = {};
  sigaction(signal_number, nullptr, &now);
  return now;
}

// What a callback of the hub was told. Shared with the hub's thread.
struct Told {
  std::atomic<int> count{0};
  std::atomic<int> signal_number{0};
  std::atomic<bool> on_hub_thread{false};
  void Add(int number) {
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    on_hub_thread = strcmp(name, "quiesce-signal") == 0;
    signal_number = number;
    ++count;
  }
  void Await(int times) {
    while (count < times) std::this_thread::yield();
  }
};

SignalHubOptions TellOnDump(Told* told) {
  return SignalHubOptions().WithOnDump(
      [](void* argument) { static_cast<Told*>(argument)->Add(SIGQUIT); }, told);
}
SignalHubOptions TellOnSecond(Told* told) {
  return SignalHubOptions().WithOnSecond(
      [](int number, void* argument) { static_cast<Told*>(argument)->Add(number); }, told);
}

void AwaitShutdown(const SignalHub& hub) {
  while (hub.shutdown_signal() == 0) std::this_thread::yield();
}

TEST_F(SignalHubTest, TheFirstSignalIsKept) {
  auto hub = MakeHub();
  EXPECT_EQ(hub->shutdown_signal(), 0);
  raise(SIGTERM);
  AwaitShutdown(*hub);
  EXPECT_EQ(hub->shutdown_signal(), SIGTERM);
}

TEST_F(SignalHubTest, QuitDumpsOnTheHubsThreadAndDoesNotShutDown) {
  Told told;
  auto hub = MakeHub(TellOnDump(&told));
  raise(SIGQUIT);
  told.Await(1);
  EXPECT_TRUE(told.on_hub_thread);
  raise(SIGQUIT);
  told.Await(2);
  EXPECT_EQ(hub->shutdown_signal(), 0);
}

TEST_F(SignalHubTest, QuitIsLeftAloneWithoutOnDump) {
  auto hub = MakeHub();
  EXPECT_EQ(DispositionOf(SIGQUIT).sa_handler, SIG_DFL);
  EXPECT_NE(DispositionOf(SIGTERM).sa_handler, SIG_DFL);
}

TEST_F(SignalHubTest, EachSignalAfterTheFirstGoesToOnSecond) {
  Told told;
  auto hub = MakeHub(TellOnSecond(&told));
  raise(SIGTERM);
  AwaitShutdown(*hub);
  EXPECT_EQ(told.count, 0);
  raise(SIGINT);
  told.Await(1);
  EXPECT_EQ(told.signal_number, SIGINT);
  raise(SIGTERM);
  told.Await(2);
  EXPECT_TRUE(told.on_hub_thread);
  EXPECT_EQ(hub->shutdown_signal(), SIGTERM);
}

TEST_F(SignalHubTest, TheFirstSignalGoesToOnUnclaimedUnlessAskedForBefore) {
  for (const bool claimed : {false, true}) {
    Told told;
    auto hub = SignalHub::CreateUnbound(SignalHubOptions().WithOnUnclaimed(
        [](int number, void* argument) { static_cast<Told*>(argument)->Add(number); }, &told));
    if (claimed) hub->Claim();
    EXPECT_EQ(hub->unclaimed_signal(), 0);
    hub->Deliver(SIGTERM);
    hub->Claim();  // too late to change anything
    EXPECT_EQ(hub->unclaimed_signal(), claimed ? 0 : SIGTERM);
    hub->Deliver(SIGINT);
    EXPECT_EQ(told.count, claimed ? 0 : 1);
    EXPECT_EQ(told.signal_number, claimed ? 0 : SIGTERM);
  }
}

TEST_F(SignalHubTest, TheHandlerKeepsErrno) {
  Told told;
  auto hub = MakeHub(TellOnDump(&told));
  errno = EDOM;
  raise(SIGQUIT);
  EXPECT_EQ(errno, EDOM);
  told.Await(1);
}

TEST_F(SignalHubTest, ASecondHubIsRefusedAndToldWhoHasTheSignals) {
  auto hub = MakeHub(SignalHubOptions().WithOwner("server"));
  const auto second = SignalHub::Create(SignalHubOptions().WithOwner("plugin"));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(second.status().message(), HasSubstr("belong to 'server', so 'plugin'"));
  hub.reset();
  EXPECT_TRUE(SignalHub::Create().ok());
}

TEST_F(SignalHubTest, TheDestructorGivesBackWhatWasThereBefore) {
  static std::atomic<int> old_handler_calls;
  old_handler_calls = 0;
  struct sigaction mine = {}, before = {};
  mine.sa_handler = [](int) { ++old_handler_calls; };
  mine.sa_flags = SA_NODEFER;
  sigaction(SIGTERM, &mine, &before);
  Told told;
  auto hub = MakeHub(TellOnDump(&told));
  raise(SIGTERM);
  AwaitShutdown(*hub);
  EXPECT_EQ(old_handler_calls, 0);
  hub.reset();
  EXPECT_EQ(DispositionOf(SIGTERM).sa_flags & SA_NODEFER, SA_NODEFER);
  EXPECT_EQ(DispositionOf(SIGINT).sa_handler, SIG_DFL);
  EXPECT_EQ(DispositionOf(SIGQUIT).sa_handler, SIG_DFL);
  raise(SIGTERM);
  while (old_handler_calls == 0) std::this_thread::yield();
  EXPECT_EQ(old_handler_calls, 1);
  sigaction(SIGTERM, &before, nullptr);
}

TEST_F(SignalHubTest, TheDestructorLeavesAHandlerThatSomebodyElseHasPutInItsPlace) {
  auto hub = MakeHub();
  struct sigaction theirs = {};
  theirs.sa_handler = SIG_IGN;
  sigaction(SIGTERM, &theirs, nullptr);
  hub.reset();
  EXPECT_EQ(DispositionOf(SIGTERM).sa_handler, SIG_IGN);
  EXPECT_EQ(DispositionOf(SIGINT).sa_handler, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

// Each iteration ends the hub while signals come in on other threads; none may write to a descriptor
// that is closed or somebody else's.
TEST_F(SignalHubTest, SignalsThatComeWhileTheHubEndsDoNoHarm) {
  Told told;
  for (int i = 0; i < 50; ++i) {
    // Outside of the hub's time SIGQUIT would end the test.
    signal(SIGQUIT, SIG_IGN);
    auto hub = MakeHub(TellOnDump(&told));
    std::atomic<bool> stop{false};
    std::thread storm([&] {
      while (!stop) kill(getpid(), SIGQUIT);
    });
    const int before = told.count;
    told.Await(before + 1);
    hub.reset();
    stop = true;
    storm.join();
  }
  signal(SIGQUIT, SIG_DFL);
}

#if !QUIESCE_TSAN  // which delivers no signal to the child of a process with threads
TEST_F(SignalHubTest, AForkedChildDoesWhatTheSignalDoesByDefault) {
  auto hub = MakeHub();
  const pid_t child = fork();
  if (child == 0) {
    raise(SIGTERM);
    _exit(3);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
  EXPECT_EQ(hub->shutdown_signal(), 0);
}
#endif

TEST_F(SignalHubTest, AnUnboundHubGetsWhatIsDelivered) {
  auto bound = MakeHub();
  Told dumped;
  auto unbound = SignalHub::CreateUnbound(TellOnDump(&dumped));
  unbound->Deliver(SIGQUIT);
  EXPECT_EQ(dumped.count, 1);
  unbound->Deliver(SIGINT);
  unbound->Deliver(SIGTERM);
  EXPECT_EQ(unbound->shutdown_signal(), SIGINT);
  EXPECT_EQ(bound->shutdown_signal(), 0);
}

TEST_F(SignalHubDeathTest, TheThirdSignalEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        auto hub = MakeHub(SignalHubOptions().WithOwner("server"));
        raise(SIGTERM);
        AwaitShutdown(*hub);
        raise(SIGTERM);
        while (DispositionOf(SIGTERM).sa_handler != SIG_DFL) std::this_thread::yield();
        while (DispositionOf(SIGINT).sa_handler != SIG_DFL) std::this_thread::yield();
        raise(SIGINT);
        _exit(3);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

TEST_F(SignalHubDeathTest, TheSecondSignalSaysWhatTheThirdWillDo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        auto hub = MakeHub(SignalHubOptions().WithOwner("server"));
        raise(SIGTERM);
        AwaitShutdown(*hub);
        raise(SIGTERM);
        while (DispositionOf(SIGINT).sa_handler != SIG_DFL) std::this_thread::yield();
        hub.reset();  // joins the thread that prints
        // What the hub itself has changed is given back too.
        _exit(DispositionOf(SIGINT).sa_handler == SIG_DFL ? 0 : 4);
      },
      ::testing::ExitedWithCode(0), "SIGTERM came while 'server' shuts down");
}

}  // namespace
}  // namespace quiesce

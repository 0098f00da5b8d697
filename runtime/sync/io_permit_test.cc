#include "quiesce/runtime/sync/io_permit.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/unique_fd.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::IsCancelledBy;
using rules::IsError;
using rules::IsErrorCode;
using rules::IsOk;
using rules::SpinUntil;
using rules::TestRuntime;
using rules::Until;

using Bytes = std::vector<char>;

// A device with a thread of its own, which answers when the test lets it, and writes into the buffer until then.
class Device {
 public:
  ~Device() {
    if (thread_.joinable()) thread_.join();
  }
  // Writes `data` into the buffer once the test says Go, or what there is of it so far once it says Stop.
  void StartRead(IoPermit<Bytes> permit, std::string data) {
    if (thread_.joinable()) thread_.join();
    go_.store(false);
    stop_.store(false);
    thread_ = std::thread([this, permit = std::move(permit), data = std::move(data)]() mutable {
      Bytes& buffer = permit.buffer();
      // A device in the middle of a transfer: the buffer must be there all the time.
      while (!go_.load() && !stop_.load()) {
        buffer[buffer.size() - 1] ^= 1;
        std::this_thread::yield();
      }
      if (stop_.load()) return std::move(permit).Fail(absl::CancelledError("stopped"));
      std::copy(data.begin(), data.end(), buffer.begin());
      std::move(permit).Complete(data.size());
    });
  }
  void Go() { go_.store(true); }
  void Stop() { stop_.store(true); }

 private:
  std::atomic<bool> go_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class IoPermitTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, IoPermitTest, ::testing::Values(1, 2));

TEST_P(IoPermitTest, OperationsFollowOneAnotherOnOneBuffer) {
  TestRuntime rt(GetParam());
  Device device;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    IoOperation<Bytes> read(size_t{16});
    for (const char* text : {"one", "three", ""}) {
      device.StartRead(read.Start(cx), text);
      device.Go();
      const size_t n = co_await OrReturn(read.Done(cx));
      EXPECT_EQ(std::string(read.buffer().data(), n), text);
    }
    co_return Ok();
  }),
              IsOk());
}

TEST_P(IoPermitTest, APreadOnAThreadOfItsOwn) {
  TestRuntime rt(GetParam());
  char path[] = "/tmp/quiesce_io_permit_XXXXXX";
  UniqueFd file(mkstemp(path));
  ASSERT_GE(file.get(), 0);
  unlink(path);
  ASSERT_EQ(write(file.get(), "contents", 8), 8);
  std::thread reader;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    IoOperation<Bytes> read(size_t{64});
    reader = std::thread([permit = read.Start(cx), fd = file.get()]() mutable {
      Bytes& buffer = permit.buffer();
      const ssize_t n = pread(fd, buffer.data(), buffer.size(), 3);
      if (n < 0) return std::move(permit).Fail(absl::ErrnoToStatus(errno, "pread"));
      std::move(permit).Complete(static_cast<size_t>(n));
    });
    const size_t n = co_await OrReturn(read.Done(cx));
    EXPECT_EQ(std::string(read.buffer().data(), n), "tents");
    co_return Ok();
  }),
              IsOk());
  reader.join();
}

TEST_P(IoPermitTest, AFailureArrivesAsItWasGivenAndAnAbortSaysSo) {
  TestRuntime rt(GetParam());
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    IoOperation<Bytes> read;
    IoPermit<Bytes> failing = read.Start(cx);
    std::move(failing).Fail(absl::DataLossError("bad sector"));
    EXPECT_THAT(co_await read.Done(cx), IsError("bad sector"));
    IoPermit<Bytes> aborted = read.Start(cx);
    std::move(aborted).Abort();
    EXPECT_THAT(co_await read.Done(cx), IsErrorCode(absl::StatusCode::kAborted));
    // Nobody was cancelled, so this one is the driver's own.
    IoPermit<Bytes> cancelled = read.Start(cx);
    std::move(cancelled).Fail(absl::CancelledError("by the device"));
    EXPECT_THAT(co_await read.Done(cx), IsError("by the device"));
    co_return Ok();
  }),
              IsOk());
}

// The task is cancelled while the device writes: the frame with the operation stays until it has answered.
TEST_P(IoPermitTest, ACancelIsForwardedOnceAndWaitsForTheAnswer) {
  TestRuntime rt(GetParam());
  Device device;
  std::atomic<int> told{0};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto task = cx.Spawn("reads", [&](Cx cx) -> Task<size_t> {
      IoOperation<Bytes> read(size_t{16});
      read.WithCancel([&] { ++told; });  // tells it, but the device takes its time
      device.StartRead(read.Start(cx), "late");
      co_return co_await read.Done(cx);
    });
    co_await OrReturn(
        Until(cx, [&] { return absl::StrContains(rt->DumpRegions(), "in IoOperation::Done"); }));
    task.Cancel();
    co_await OrReturn(Until(cx, [&] { return told.load() == 1; }));
    task.Cancel();
    co_await OrReturn(Yield(cx));
    EXPECT_FALSE(task.ended());
    device.Go();
    // What was done in spite of the cancel is not lost.
    Outcome<size_t> n = co_await OrReturn(task.Join(cx));
    EXPECT_EQ(n.value(), 4u);
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(told.load(), 1);
}

TEST_P(IoPermitTest, ADeviceThatStopsWhenItIsToldMakesTheWaitCancelled) {
  TestRuntime rt(GetParam());
  Device device;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto task = cx.Spawn("reads", [&](Cx cx) -> Task<size_t> {
      IoOperation<Bytes> read(size_t{16});
      read.WithCancel([&] { device.Stop(); });
      device.StartRead(read.Start(cx), "never");
      co_return co_await OrReturn(read.Done(cx));
    });
    co_await OrReturn(
        Until(cx, [&] { return absl::StrContains(rt->DumpRegions(), "in IoOperation::Done"); }));
    task.Cancel();
    EXPECT_THAT(co_await OrReturn(task.Join(cx)), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  }),
              IsOk());
}

TEST_P(IoPermitTest, ATaskThatWasCancelledBeforeTellsTheDeviceAtOnce) {
  TestRuntime rt(GetParam());
  Device device;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto task = cx.Spawn("reads", [&](Cx cx) -> Task<size_t> {
      co_await OrReturn(Until(cx.ForDrain(), [&] { return cx.cancelled(); }));
      IoOperation<Bytes> read(size_t{16});
      read.WithCancel([&] { device.Stop(); });
      device.StartRead(read.Start(cx), "never");
      co_return co_await read.Done(cx);
    });
    co_await OrReturn(Yield(cx));
    task.Cancel();
    (void)co_await OrReturn(task.Join(cx));
    co_return Ok();
  }),
              IsOk());
}

// It is not awaited, and its frame goes: the device writes into a buffer that is there, and the region waits for it.
TEST_P(IoPermitTest, TheBufferOfAnOperationThatIsGoneLivesUntilTheAnswer) {
  TestRuntime rt(GetParam());
  Device device;
  std::atomic<bool> gone{false}, closed{false};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto opener = cx.Spawn("opens", [&](Cx cx) -> Task<void> {
      auto body = [&](Cx cx) -> Task<void> {
        IoOperation<Bytes> read(size_t{16});
        device.StartRead(read.Start(cx), "nobody");
        gone.store(true);
        co_return Ok();
      };
      Outcome<void> ended = co_await Region::Open(cx, "owes", body);
      closed.store(true);
      co_return ended;
    });
    co_await OrReturn(Until(cx, [&] { return gone.load(); }));
    co_await OrReturn(Yield(cx));
    EXPECT_FALSE(closed.load());
    device.Go();
    EXPECT_THAT(co_await OrReturn(opener.Join(cx)), IsOk());
    co_return Ok();
  }),
              IsOk());
}

// The time of the region's close is over: the permit is revoked, the buffer is still there.
TEST_P(IoPermitTest, TheBufferOutlivesARegionThatGaveUp) {
  TestRuntime rt(GetParam());
  Device device;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto body = [&](Cx cx) -> Task<void> {
      IoOperation<Bytes> read(size_t{16});
      device.StartRead(read.Start(cx), "nobody");
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "gives up", body, FailFast(),
                                RegionOptions().WithDrain(Budget::Timeout(absl::Milliseconds(1))));
    co_return Ok();
  }),
              IsOk());
  EXPECT_EQ(rt->counters().permits_revoked, 1u);
  device.Go();
}

// … and where the operation is another region's, which still waits, the answer counts.
TEST_P(IoPermitTest, ARevokedPermitStillAnswers) {
  TestRuntime rt(GetParam());
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    IoOperation<Bytes> read(size_t{16});
    std::optional<IoPermit<Bytes>> permit;
    auto body = [&](Cx cx) -> Task<void> {
      permit.emplace(read.Start(cx));
      co_return Ok();
    };
    (void)co_await Region::Open(cx, "gives up", body, FailFast(),
                                RegionOptions().WithDrain(Budget::Timeout(absl::Milliseconds(1))));
    EXPECT_TRUE(permit->revoked());
    (*std::move(permit)).Complete(3);
    EXPECT_EQ(co_await OrReturn(read.Done(cx)), 3u);
    co_return Ok();
  }),
              IsOk());
}

// A buffer that tells when it goes.
struct Watched {
  explicit Watched(std::atomic<int>* gone) : gone(gone) {}
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  ~Watched() { ++*gone; }
  std::atomic<int>* gone;
};

TEST(IoPermitBufferTest, TheBufferGoesOnceWithTheLastOfOperationAndPermit) {
  TestRuntime rt;
  std::atomic<int> gone{0};
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    {
      const IoOperation<Watched> never_started(&gone);
    }
    EXPECT_EQ(gone.load(), 1);
    {
      IoOperation<Watched> answered(&gone);
      answered.Start(cx).Complete(0);  // nobody asks for the answer
    }
    EXPECT_EQ(gone.load(), 2);
    {
      IoOperation<Watched> done(&gone);
      done.Start(cx).Complete(0);
      (void)co_await OrReturn(done.Done(cx));
    }
    EXPECT_EQ(gone.load(), 3);
    std::optional<IoPermit<Watched>> permit;
    {
      IoOperation<Watched> in_flight(&gone);
      permit.emplace(in_flight.Start(cx));
    }
    EXPECT_EQ(gone.load(), 3);
    (*std::move(permit)).Complete(0);
    EXPECT_EQ(gone.load(), 4);
    co_return Ok();
  }),
              IsOk());
}

// The device did something wrong before it heard of the cancel, and there is nobody to tell it.
TEST_P(IoPermitTest, AFailureAfterTheCancelIsToldWithoutAHookToo) {
  TestRuntime rt(GetParam());
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    std::optional<IoPermit<Bytes>> permit;
    auto task = cx.Spawn("reads", [&](Cx cx) -> Task<void> {
      IoOperation<Bytes> read(size_t{16});
      permit.emplace(read.Start(cx));
      EXPECT_THAT(co_await read.Done(cx), IsError("bad sector"));
      co_return Ok();
    });
    co_await OrReturn(
        Until(cx, [&] { return absl::StrContains(rt->DumpRegions(), "in IoOperation::Done"); }));
    task.Cancel();
    for (int i = 0; i < 10; ++i) co_await OrReturn(Yield(cx));
    EXPECT_FALSE(task.ended());
    (*std::move(permit)).Fail(absl::DataLossError("bad sector"));
    Outcome<void> ended = co_await OrReturn(task.Join(cx));
    EXPECT_THAT(ended, IsOk());
    co_return Ok();
  }),
              IsOk());
}

// Answers race with cancels: each is reported once, and no buffer goes early.
TEST_P(IoPermitTest, AnswersAndCancelsRace) {
  TestRuntime rt(GetParam());
  for (int round = 0; round < 300; ++round) {
    Device device;
    ASSERT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto task = cx.Spawn("reads", [&](Cx cx) -> Task<size_t> {
        IoOperation<Bytes> read(size_t{16});
        read.WithCancel([&] { device.Stop(); });
        device.StartRead(read.Start(cx), "data");
        co_return co_await read.Done(cx);
      });
      if (round % 2 == 0) co_await OrReturn(Yield(cx));
      std::thread answers([&] { device.Go(); });
      task.Cancel();
      const Outcome<size_t> n = co_await OrReturn(task.Join(cx));
      EXPECT_TRUE(n.ok() ? *n == 4 : n.is_cancelled()) << n.ToString();
      answers.join();
      co_return Ok();
    }),
                IsOk());
  }
}

#ifdef __cpp_exceptions
TEST(IoPermitExceptionTest, AHookThatThrowsIsAPanicOnceTheAnswerHasCome) {
  TestRuntime rt;
  Device device;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    auto task = cx.Spawn("reads", [&](Cx cx) -> Task<void> {
      IoOperation<Bytes> read(size_t{16});
      read.WithCancel([&] {
        device.Go();
        throw 1;
      });
      device.StartRead(read.Start(cx), "data");
      EXPECT_TRUE((co_await read.Done(cx)).is_panicked());
      EXPECT_EQ(read.buffer()[0], 'd');
      co_return Ok();
    });
    co_await OrReturn(
        Until(cx, [&] { return absl::StrContains(rt->DumpRegions(), "in IoOperation::Done"); }));
    task.Cancel();
    (void)co_await OrReturn(task.Join(cx));
    co_return Ok();
  }),
              IsOk());
}
#endif

// --- bugs ------------------------------------------------------------------------------------------

template <class Body>
void RunOn(Body body) {
  TestRuntime rt;
  (void)rt.Run([&](Cx cx) -> Task<void> {
    IoOperation<Bytes> read(size_t{16});
    co_return co_await body(cx, read);
  });
}

TEST(IoPermitDeathTest, TheTaskMayNotTouchTheBufferWhileTheDeviceMay) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn([](Cx cx, IoOperation<Bytes>& read) -> Task<void> {
                 IoPermit<Bytes> permit = read.Start(cx);
                 read.buffer()[0] = 1;
                 std::move(permit).Complete(0);
                 co_return Ok();
               }),
               "IoOperation::buffer while the operation is in flight");
}

TEST(IoPermitDeathTest, TheDeviceMayNotTouchTheBufferAfterTheAnswer) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn([](Cx cx, IoOperation<Bytes>& read) -> Task<void> {
                 IoPermit<Bytes> permit = read.Start(cx);
                 std::move(permit).Complete(0);
                 permit.buffer()[0] = 1;
                 co_return Ok();
               }),
               "IoPermit::buffer after the permit was consumed");
}

TEST(IoPermitDeathTest, TwoOperationsOnOneBufferAreFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn([](Cx cx, IoOperation<Bytes>& read) -> Task<void> {
                 IoPermit<Bytes> permit = read.Start(cx);
                 read.Start(cx).Complete(0);
                 std::move(permit).Complete(0);
                 co_return Ok();
               }),
               "IoOperation::Start while the operation is in flight");
}

// Also where the answer has come, and the task has not gone on yet.
TEST(IoPermitDeathTest, DestroyedWhileATaskWaitsIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const bool answered : {false, true}) {
    EXPECT_DEATH(
        {
          TestRuntime rt(1);
          (void)rt.Run([&](Cx cx) -> Task<void> {
            auto read = std::make_unique<IoOperation<Bytes>>(size_t{16});
            IoPermit<Bytes> permit = read->Start(cx);
            cx.Spawn("reads", [raw = read.get()](Cx cx) -> Task<size_t> {
              co_return co_await raw->Done(cx);
            });
            co_await OrReturn(Until(
                cx, [&] { return absl::StrContains(rt->DumpRegions(), "in IoOperation::Done"); }));
            if (answered) std::move(permit).Complete(1);
            read.reset();
            co_return Ok();
          });
        },
        "an IoOperation was destroyed while task 'reads' .* waits in Done");
  }
}

TEST(IoPermitDeathTest, AStartOverAnAnswerThatWasNotTakenIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn([](Cx cx, IoOperation<Bytes>& read) -> Task<void> {
                 read.Start(cx).Complete(0);
                 read.Start(cx).Complete(0);
                 co_return Ok();
               }),
               "IoOperation::Start while the answer of the operation before has not been taken");
}

TEST(IoPermitDeathTest, TwoTasksInDoneAreFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn([](Cx cx, IoOperation<Bytes>& read) -> Task<void> {
                 IoPermit<Bytes> permit = read.Start(cx);
                 auto wait = [&](Cx cx) -> Task<size_t> { co_return co_await read.Done(cx); };
                 cx.Spawn("one", wait);
                 cx.Spawn("two", wait);
                 co_await OrReturn(rules::Forever(cx));
                 std::move(permit).Complete(0);
                 co_return Ok();
               }),
               "IoOperation::Done by task .* while task .* waits");
}

TEST(IoPermitDeathTest, DoneWithoutAStartIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn([](Cx cx, IoOperation<Bytes>& read) -> Task<void> {
                 co_await OrReturn(read.Done(cx));
                 co_return Ok();
               }),
               "each Start has one Done");
}

TEST(IoPermitDeathTest, AStartThroughTheCxOfAnotherTaskIsFatal) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn([](Cx cx, IoOperation<Bytes>& read) -> Task<void> {
                 auto other = cx.Spawn("other", [&read, outer = cx](Cx) -> Task<void> {
                   read.Start(outer).Complete(0);
                   co_return Ok();
                 });
                 (void)co_await OrReturn(other.Join(cx));
                 co_return Ok();
               }),
               "a Cx belongs to one task");
}

TEST(IoPermitDeathTest, ADriverThatForgetsIsNamed) {
  if (!DebugChecks()) GTEST_SKIP() << "the library is built without debug checks";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn([](Cx cx, IoOperation<Bytes>& read) -> Task<void> {
                 const IoPermit<Bytes> forgotten = read.Start(cx);
                 co_return Ok();
               }),
               "permit leaked: IoPermit #1, reserved at .*io_permit_test.cc:[0-9]+");
}

}  // namespace
}  // namespace quiesce

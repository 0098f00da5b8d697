// IoOperations that the kernel performs, cancelled at every moment. The kernel's writes are not the sanitizers' to see: so
// each buffer says itself when it dies while the kernel has it, and the driver touches what the kernel has written.
#include <errno.h>
#include <liburing.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/sync/io_permit.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace {

using rules::IsOk;
using rules::TestRuntime;
using rules::Until;

struct Buffer {
  ~Buffer() {
    EXPECT_FALSE(with_kernel) << "the buffer died while the kernel could write to it";
    bytes.fill('!');
  }
  std::array<char, 64> bytes = {};
  bool with_kernel = false;
};

// Reads from sockets into the buffers of permits. Everything on any thread.
class Driver {
 public:
  Driver() { error_ = io_uring_queue_init(64, &ring_, 0); }
  ~Driver() {
    EXPECT_EQ(in_flight(), 0u);
    if (error_ == 0) io_uring_queue_exit(&ring_);
  }
  // Not 0: -errno, there is no io_uring here.
  int error() const { return error_; }

  // The kernel does not know of it before the next Submit, or Cancel. Returns the number of the read.
  uint64_t Prepare(IoPermit<Buffer> permit, int fd) {
    std::lock_guard<std::mutex> lock(mutex_);
    Buffer& buffer = permit.buffer();
    buffer.with_kernel = true;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_recv(sqe, fd, buffer.bytes.data(), buffer.bytes.size(), 0);
    const uint64_t id = ++last_id_;
    io_uring_sqe_set_data64(sqe, id);
    reads_.emplace(id, std::move(permit));
    return id;
  }
  void Submit() {
    std::lock_guard<std::mutex> lock(mutex_);
    SubmitLocked();
  }
  // For the cancel hook. The read may have ended.
  void Cancel(uint64_t id) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++cancels_;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_cancel64(sqe, id, 0);
    io_uring_sqe_set_data64(sqe, kCancel);
    SubmitLocked();
  }
  // Ends a CollectWait.
  void Nudge() {
    std::lock_guard<std::mutex> lock(mutex_);
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, kCancel);
    SubmitLocked();
  }

  // Passes on what the kernel has answered. Returns how many reads. By one thread at a time.
  int Collect() {
    int reads = 0;
    io_uring_cqe* cqe;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const uint64_t id = cqe->user_data;
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (id == kCancel) continue;
      ++reads;
      Answer(id, result);
    }
    return reads;
  }
  void CollectWait() {
    io_uring_cqe* cqe;
    io_uring_wait_cqe(&ring_, &cqe);
    Collect();
  }

  size_t in_flight() {
    std::lock_guard<std::mutex> lock(mutex_);
    return reads_.size();
  }
  // How many reads have got something.
  int received() {
    std::lock_guard<std::mutex> lock(mutex_);
    return received_;
  }
  int cancels() {
    std::lock_guard<std::mutex> lock(mutex_);
    return cancels_;
  }

 private:
  static constexpr uint64_t kCancel = 0;

  void SubmitLocked() { EXPECT_GE(io_uring_submit(&ring_), 0); }
  void Answer(uint64_t id, int result) {
    std::unique_lock<std::mutex> lock(mutex_);
    auto node = reads_.extract(id);
    if (result > 0) ++received_;
    lock.unlock();
    ASSERT_FALSE(node.empty()) << "the kernel has answered twice";
    IoPermit<Buffer> permit = std::move(node.mapped());
    Buffer& buffer = permit.buffer();
    buffer.with_kernel = false;
    if (result >= 0) {
      // Touched, so that a sanitizer sees a buffer that has been freed.
      EXPECT_EQ(std::count(buffer.bytes.begin(), buffer.bytes.begin() + result, '\0'), 0);
      return std::move(permit).Complete(static_cast<size_t>(result));
    }
    std::move(permit).Fail(result == -ECANCELED || result == -EINTR
                               ? absl::CancelledError("by the kernel")
                               : absl::ErrnoToStatus(-result, "recv"));
  }

  io_uring ring_ = {};
  int error_;
  std::mutex mutex_;  // of the submission queue, and what follows
  std::map<uint64_t, IoPermit<Buffer>> reads_;
  uint64_t last_id_ = 0;
  int cancels_ = 0;
  int received_ = 0;
};

class IoPermitUringTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (driver_.error() != 0) {
      GTEST_SKIP() << "no io_uring here: " << std::strerror(-driver_.error());
    }
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_), 0);
  }
  void TearDown() override {
    for (const int fd : ends_) {
      if (fd >= 0) close(fd);
    }
  }
  void Send(const std::string& data) {
    ASSERT_EQ(write(ends_[1], data.data(), data.size()), static_cast<ssize_t>(data.size()));
  }
  // What nobody has read.
  std::string Left() {
    std::string data(64, '\0');
    const ssize_t n = recv(ends_[0], data.data(), data.size(), MSG_DONTWAIT);
    data.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return data;
  }
  bool AnyLeft() {
    int size = 0;
    EXPECT_EQ(ioctl(ends_[0], FIONREAD, &size), 0);
    return size != 0;
  }
  // Reads once; `*got` is what it has been told that it has got.
  Task<void> Read(Cx cx, std::string* got) {
    IoOperation<Buffer> read;
    uint64_t id = 0;
    read.WithCancel([&] { driver_.Cancel(id); });
    id = driver_.Prepare(read.Start(cx), ends_[0]);
    prepared_ = true;
    const Outcome<size_t> n = co_await read.Done(cx);
    EXPECT_EQ(driver_.in_flight(), 0u) << "Done has returned before the kernel had answered";
    if (n.ok()) *got = std::string(read.buffer().bytes.data(), *n);
    co_await OrReturn(Outcome<size_t>(n));
    co_return Ok();
  }
  static Task<void> ReadOf(Cx cx, IoPermitUringTest* test, std::string* got) {
    return test->Read(cx, got);
  }
  Task<void> UntilItWaits(Cx cx, TestRuntime& rt) {
    return Until(cx,
                 [&rt] { return absl::StrContains(rt->DumpRegions(), "in IoOperation::Done"); });
  }
  // Collects until nothing is in flight.
  Task<void> CollectAll(Cx cx) {
    return Until(cx, [this] {
      driver_.Collect();
      return driver_.in_flight() == 0;
    });
  }

  Driver driver_;
  int ends_[2] = {-1, -1};
  std::atomic<bool> prepared_{false};
};

// One worker: between two waits of the body nothing else runs, so that each moment is the one that is meant.
TEST_F(IoPermitUringTest, NothingIsLostWheneverTheCancelComes) {
  enum Moment {
    kNotSubmitted,
    kNoDataYet,
    kNotSubmittedButData,
    kDataJustCame,
    kAnswerInTheQueue,
    kAnswered
  };
  for (const Moment moment : {kNotSubmitted, kNoDataYet, kNotSubmittedButData, kDataJustCame,
                              kAnswerInTheQueue, kAnswered}) {
    SCOPED_TRACE(moment);
    TestRuntime rt(1);
    const int cancels = driver_.cancels();
    std::string got;
    EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto reader = cx.Spawn("reads", ReadOf, this, &got);
      co_await OrReturn(UntilItWaits(cx, rt));
      if (moment != kNotSubmitted && moment != kNotSubmittedButData) driver_.Submit();
      if (moment >= kNotSubmittedButData) Send("the data");
      if (moment == kAnswerInTheQueue) {
        co_await OrReturn(Until(cx, [this] { return !AnyLeft(); }));
      }
      if (moment == kAnswered) {
        while (driver_.Collect() == 0) std::this_thread::yield();
      }
      reader.Cancel();
      // The cancel goes to the kernel before the reader hears of an answer.
      co_await OrReturn(Until(cx, [&] { return reader.ended() || driver_.cancels() > cancels; }));
      EXPECT_EQ(reader.ended(), moment == kAnswered);
      if (moment <= kNoDataYet) Send("the data");
      co_await OrReturn(CollectAll(cx));
      Outcome<void> ended = co_await OrReturn(reader.Join(cx));
      // G8: either the reader is told of the data, or they are still there.
      if (ended.ok()) {
        EXPECT_EQ(got, "the data");
        EXPECT_EQ(Left(), "");
      } else {
        EXPECT_TRUE(ended.is_cancelled()) << ended.ToString();
        EXPECT_EQ(got, "");
        EXPECT_EQ(Left(), "the data");
      }
      if (moment <= kNoDataYet) {
        EXPECT_TRUE(ended.is_cancelled());
      }
      if (moment >= kAnswerInTheQueue) {
        EXPECT_TRUE(ended.ok()) << ended.ToString();
      }
      co_return Ok();
    }),
                IsOk());
  }
}

// Cancelled before it comes to Done, which then tells the kernel at once, and waits for it.
TEST_F(IoPermitUringTest, CancelBeforeDoneIsPassedOnByDone) {
  for (const bool data : {false, true}) {
    TestRuntime rt(1);
    std::string got;
    EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto reader = cx.Spawn("reads", [&](Cx cx) -> Task<void> {
        IoOperation<Buffer> read;
        uint64_t id = 0;
        read.WithCancel([&] { driver_.Cancel(id); });
        id = driver_.Prepare(read.Start(cx), ends_[0]);
        driver_.Submit();
        prepared_ = true;
        while (!cx.cancelled()) (void)co_await Yield(cx);
        const Outcome<size_t> n = co_await read.Done(cx);
        EXPECT_EQ(driver_.in_flight(), 0u);
        if (n.ok()) got = std::string(read.buffer().bytes.data(), *n);
        EXPECT_EQ(n.ok(), data) << n.ToString();
        co_return Ok();
      });
      co_await OrReturn(Until(cx, [&] { return prepared_.exchange(false); }));
      if (data) Send("the data");
      reader.Cancel();
      co_await OrReturn(CollectAll(cx));
      EXPECT_THAT(co_await OrReturn(reader.Join(cx)), IsOk());
      EXPECT_EQ(got, data ? "the data" : "");
      co_return Ok();
    }),
                IsOk());
  }
}

// The task is gone, and the operation with it; the kernel still writes. The region waits for the permit (R8).
TEST_F(IoPermitUringTest, OperationDestroyedInFlightLeavesTheBufferToTheKernel) {
  for (const bool cancelled : {false, true}) {
    TestRuntime rt(1);
    std::atomic<bool> closed{false};
    EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
      auto region = cx.Spawn("opens", [&](Cx cx) -> Task<void> {
        auto body = [&](Cx cx) -> Task<void> {
          IoOperation<Buffer> read;
          const uint64_t id = driver_.Prepare(read.Start(cx), ends_[0]);
          driver_.Submit();
          if (cancelled) driver_.Cancel(id);
          prepared_ = true;
          co_return Ok();
        };
        Outcome<void> ended = co_await Region::Open(cx, "r", body);
        closed = true;
        co_return ended;
      });
      co_await OrReturn(Until(cx, [&] { return prepared_.exchange(false); }));
      for (int i = 0; i < 100; ++i) co_await OrReturn(Yield(cx));
      EXPECT_FALSE(closed.load());
      Send("the data");
      co_await OrReturn(CollectAll(cx));
      EXPECT_THAT(co_await OrReturn(region.Join(cx)), IsOk());
      EXPECT_EQ(Left(), cancelled ? "the data" : "");
      co_return Ok();
    }),
                IsOk());
    EXPECT_TRUE(rt.reports.empty());
  }
}

// Data, cancel and completion each on a thread of its own, at moments that nobody chooses.
TEST_F(IoPermitUringTest, NothingIsLostAtAnyMoment) {
  TestRuntime rt(2);
  std::atomic<bool> stop{false};
  std::thread collector([&] {
    while (!stop.load()) driver_.CollectWait();
  });
  constexpr int kRounds = 300;
  std::atomic<int> asked{0};  // for the data of this round
  std::thread sender([&] {
    for (int round = 1; round <= kRounds; ++round) {
      for (int now; (now = asked.load()) < round;) asked.wait(now);
      for (int i = round * 7 % 11; i > 0; --i) std::this_thread::yield();
      Send("12345678");
    }
  });
  int received = 0;
  EXPECT_THAT(rt.Run([&](Cx cx) -> Task<void> {
    for (int round = 1; round <= kRounds; ++round) {
      std::string got;
      prepared_ = false;
      auto reader = cx.Spawn("reads", ReadOf, this, &got);
      co_await OrReturn(Until(cx, [&] { return prepared_.load(); }));
      asked.store(round);
      asked.notify_one();
      driver_.Submit();
      for (int i = round * 5 % 13; i > 0; --i) std::this_thread::yield();
      reader.Cancel();
      Outcome<void> ended = co_await OrReturn(reader.Join(cx));
      EXPECT_EQ(got, ended.ok() ? "12345678" : "");
      // Else the wait below would have no end.
      QUIESCE_CHECK(ended.ok() == (driver_.received() > received), "test: data were lost");
      if (ended.ok()) {
        ++received;
      } else {
        std::string left;
        co_await OrReturn(Until(cx, [&] { return !(left = Left()).empty(); }));
        EXPECT_EQ(left, "12345678");
      }
    }
    co_return Ok();
  }),
              IsOk());
  sender.join();
  stop.store(true);
  driver_.Nudge();
  collector.join();
  RecordProperty("received_in_spite_of_the_cancel", received);
}

}  // namespace
}  // namespace quiesce

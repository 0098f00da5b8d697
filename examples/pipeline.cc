// pipeline.cc: a bounded pipeline of three stages over a large file, cancelled half-way: what was read is finished,
// what was not read is untouched.
//
//   ./bazelw run //examples:pipeline -- --input=/path/to/file      (none, the default: a file of 256 MiB is made)
//
// read ─(at most 8 blocks)─ digest ─(at most 8)─ write. A stage reserves the place for its result *before* it takes
// the next block, so nothing that was taken can be left without a place. Only `read` is told to stop; the others go
// on for the drain, until the channel before them is closed and empty. The program then reads its own output, digests
// those blocks of the input again, and counts.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "quiesce/runtime/quiesce.h"

ABSL_FLAG(std::string, input, "",
          "file to digest; a temporary one of --mebibytes is made if empty");
ABSL_FLAG(int64_t, mebibytes, 256, "size of the file that is made");
ABSL_FLAG(double, stop_after, 0.5,
          "part of the file after which the pipeline is cancelled; 1: never");

using namespace quiesce;  // NOLINT: examples read as a user's program does

constexpr int64_t kBlockBytes = 64 << 10;
constexpr size_t kPlaces = 8;

// A file that is closed with its scope.
class File {
 public:
  static absl::StatusOr<File> Open(const std::string& path, int flags) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", path, "'"));
    return File(fd);
  }
  static absl::StatusOr<File> OpenTemporary() {
    std::string path = absl::StrCat(P_tmpdir, "/pipeline.XXXXXX");
    const int fd = mkostemp(path.data(), O_CLOEXEC);
    if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot make '", path, "'"));
    unlink(path.c_str());  // goes with its descriptor
    return File(fd);
  }
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }

  absl::StatusOr<int64_t> Size() const {
    struct stat state;
    if (fstat(fd_, &state) != 0) return absl::ErrnoToStatus(errno, "fstat");
    return state.st_size;
  }
  // Up to `most` bytes at `offset`; fewer only at the end of the file.
  absl::StatusOr<std::string> Read(int64_t offset, int64_t most) const {
    std::string bytes(static_cast<size_t>(most), '\0');
    size_t got = 0;
    while (got < bytes.size()) {
      const ssize_t n = pread(fd_, bytes.data() + got, bytes.size() - got,
                              static_cast<off_t>(offset + static_cast<int64_t>(got)));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return absl::ErrnoToStatus(errno, "pread");
      if (n == 0) break;
      got += static_cast<size_t>(n);
    }
    bytes.resize(got);
    return bytes;
  }
  absl::Status Append(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return absl::ErrnoToStatus(errno, "write");
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return absl::OkStatus();
  }

 private:
  explicit File(int fd) : fd_(fd) {}
  int fd_;
};

struct Block {
  int64_t number;
  std::string bytes;
};
struct Line {
  int64_t number;
  size_t digest;
};

size_t Digest(std::string_view bytes) { return std::hash<std::string_view>()(bytes); }

// Reads block after block, and calls on_read(number) after each.
Task<void> ReadBlocks(Cx cx, const File* input, int64_t blocks, Sender<Block> to,
                      const std::function<void(int64_t)>* on_read) {
  for (int64_t number = 0; number < blocks; ++number) {
    SendPermit<Block> place = co_await OrReturn(to.Reserve(cx));  // a cancel ends this stage here …
    auto read = [&] { return input->Read(number * kBlockBytes, kBlockBytes); };
    std::string bytes =
        co_await OrReturn(RunBlocking(cx, "read", read));  // … or before this begins
    (void)std::move(place).Send(Block{number, std::move(bytes)});
    (*on_read)(number);
  }
  co_return Ok();
}

Task<void> DigestBlocks(Cx cx, Receiver<Block> from, Sender<Line> to) {
  while (true) {
    SendPermit<Line> place = co_await OrReturn(to.Reserve(cx));
    std::optional<Block> block = co_await OrReturn(from.Receive(cx));
    if (!block.has_value()) {
      std::move(place).Abort();
      co_return Ok();
    }
    (void)std::move(place).Send(Line{block->number, Digest(block->bytes)});
  }
}

Task<void> WriteLines(Cx cx, Receiver<Line> from, const File* output) {
  while (std::optional<Line> line = co_await OrReturn(from.Receive(cx))) {
    auto append = [&] {
      return output->Append(absl::StrCat(line->number, " ", line->digest, "\n"));
    };
    co_await OrReturn(RunBlocking(cx, "append", append));
  }
  co_return Ok();
}

// Every line of `output` must be that of its block, and the numbers must be 0, 1, 2, … without a gap.
absl::StatusOr<int64_t> CountVerified(const File& input, const File& output) {
  absl::StatusOr<int64_t> size = output.Size();
  if (!size.ok()) return size.status();
  absl::StatusOr<std::string> lines = output.Read(0, *size);
  if (!lines.ok()) return lines.status();
  int64_t count = 0;
  for (size_t begin = 0; begin < lines->size(); ++count) {
    const size_t end = lines->find('\n', begin);
    absl::StatusOr<std::string> block = input.Read(count * kBlockBytes, kBlockBytes);
    if (!block.ok()) return block.status();
    const std::string expected = absl::StrCat(count, " ", Digest(*block));
    if (end == std::string::npos || lines->substr(begin, end - begin) != expected) {
      return absl::DataLossError(absl::StrCat("block ", count, " is not written as it should be"));
    }
    begin = end + 1;
  }
  return count;
}

absl::Status Fill(const File& file, int64_t mebibytes) {
  std::string mebibyte(1 << 20, '\0');
  for (int64_t i = 0; i < mebibytes; ++i) {
    for (size_t at = 0; at < mebibyte.size(); at += sizeof i) {
      const uint64_t word = (static_cast<uint64_t>(i) << 20 | at) * 0x9e3779b97f4a7c15u;
      std::memcpy(&mebibyte[at], &word, sizeof word);
    }
    absl::Status filled = file.Append(mebibyte);
    if (!filled.ok()) return filled;
  }
  return absl::OkStatus();
}

Task<void> Main(Cx cx) {
  const std::string path = absl::GetFlag(FLAGS_input);
  // Named: g++ 12 destroys what a ?: picks twice in a co_await expression (R10).
  absl::StatusOr<File> opened = path.empty() ? File::OpenTemporary() : File::Open(path, O_RDONLY);
  File input = co_await OrReturn(std::move(opened));
  if (path.empty()) {
    auto fill = [&] { return Fill(input, absl::GetFlag(FLAGS_mebibytes)); };
    co_await OrReturn(RunBlocking(cx, "fill", fill));
  }
  File output = co_await OrReturn(File::OpenTemporary());
  const int64_t blocks = (co_await OrReturn(input.Size()) + kBlockBytes - 1) / kBlockBytes;
  const auto stop_after =
      static_cast<int64_t>(absl::GetFlag(FLAGS_stop_after) * static_cast<double>(blocks));

  int64_t read = 0;
  absl::Time stopped;
  std::function<void(int64_t)> on_read;  // outlives the tasks that call it
  auto pipeline = [&](Cx cx) -> Task<void> {
    on_read = [&, region = cx.Ref()](int64_t number) {
      read = number + 1;
      if (read != stop_after || read == blocks) return;
      stopped = absl::Now();
      region.Cancel(Budget::Timeout(absl::Seconds(5)), "half of it is enough");
    };
    auto [block_sender, block_receiver] = MakeMpsc<Block>(kPlaces);
    auto [line_sender, line_receiver] = MakeMpsc<Line>(kPlaces);
    // What has been read is finished while draining.
    cx.ForDrain().Spawn("write", WriteLines, std::move(line_receiver), &output);
    cx.ForDrain().Spawn("digest", DigestBlocks, std::move(block_receiver), std::move(line_sender));
    cx.Spawn("read", ReadBlocks, &input, blocks, std::move(block_sender), &on_read);
    co_return Ok();
  };
  Outcome<void> ended = co_await Region::Open(cx, "pipeline", pipeline);
  if (!ended.ok() && !ended.is_cancelled()) co_return ended;

  auto verify = [&] { return CountVerified(input, output); };
  const int64_t written = co_await OrReturn(RunBlocking(cx, "verify", verify));
  std::cout << blocks << " blocks; read " << read << ", written " << written
            << " (verified), untouched " << blocks - read;
  if (ended.is_cancelled()) {
    std::cout << "; drained in " << absl::Trunc(absl::Now() - stopped, absl::Microseconds(1))
              << " after " << ended.cancel_reason().ToString();
  }
  std::cout << std::endl;
  if (written != read) co_return absl::DataLossError("a block was read and not written");
  co_return Ok();
}

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return RunMain<Main>(argc, argv);
}

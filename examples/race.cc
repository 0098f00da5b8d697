// race.cc: asks several servers the same question at once and takes the first answer; the others are stopped, and have
// ended before the answer is used.
//
//   ./bazelw run //examples:race -- --servers=one.example:7,two.example:7
//   ./bazelw run //examples:race                                             (three echo servers of its own)
//
// The servers are echo servers: the question comes back. After each round nothing of the losers is left: no branch, and with it no
// connection; the program counts the branches.
#include <array>
#include <atomic>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/quiesce.h"

ABSL_FLAG(std::vector<std::string>, servers, {},
          "HOST:PORT of echo servers; three of its own if empty");
ABSL_FLAG(int, rounds, 200, "how many questions are asked");
ABSL_FLAG(absl::Duration, patience, absl::Seconds(2), "how long an answer may take");

using namespace quiesce;  // NOLINT: examples read as a user's program does

std::atomic<int> asking{0};  // branches that have begun and not ended

// Counts a branch as long as its frame lives.
class Asking {
 public:
  Asking() { ++asking; }
  ~Asking() { --asking; }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;
};

Task<std::string> Ask(Cx cx, std::string server, std::string question) {
  Asking counted;
  TcpStream stream = co_await OrReturn(TcpStream::Connect(cx, server));
  co_await OrReturn(stream.WriteAll(cx, question));
  std::string answer;
  std::array<std::byte, 64> buffer;
  while (answer.size() < question.size()) {
    size_t n = co_await OrReturn(stream.Read(cx, buffer));
    if (n == 0) co_return absl::UnavailableError(absl::StrCat(server, " closed the connection"));
    answer.append(reinterpret_cast<const char*>(buffer.data()), n);
  }
  co_return answer;
}

Task<void> Echo(Cx cx, TcpStream stream, absl::Duration delay) {
  std::array<std::byte, 1024> buffer;
  while (true) {
    size_t n = co_await OrReturn(stream.Read(cx, buffer));
    if (n == 0) co_return Ok();
    co_await OrReturn(Sleep(cx, delay));
    co_await OrReturn(stream.WriteAll(cx, absl::MakeSpan(buffer).first(n)));
  }
}

// Answers after another time for each connection, so that none always wins.
Task<void> Serve(Cx cx, TcpListener listener, int number) {
  auto accepting = [&](Cx cx) -> Task<void> {
    for (int i = number;; ++i) {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      cx.Spawn("connection", Echo, std::move(stream), absl::Microseconds(100 + 300 * (i % 3)));
    }
  };
  co_return co_await Region::Open(cx, "connections", accepting, Isolate());
}

Task<void> Main(Cx cx) {
  std::vector<std::string> servers = absl::GetFlag(FLAGS_servers);
  std::vector<TaskHandle<void>> own;
  for (int i = 0; own.size() < 3 && (servers.empty() || !own.empty()); ++i) {
    TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, "127.0.0.1:0"));
    servers.push_back(listener.address());
    own.push_back(cx.Spawn("server", Serve, std::move(listener), i));
  }

  std::vector<int> won(servers.size());
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    const std::string question = absl::StrCat("question ", round);
    auto ask = [&](size_t i) { return [&, i](Cx cx) { return Ask(cx, servers[i], question); }; };
    std::vector<decltype(ask(0))> branches;
    for (size_t i = 0; i < servers.size(); ++i) branches.push_back(ask(i));
    auto race = [&](Cx cx) { return FirstOk(cx, branches); };
    Winner<std::string> first = co_await OrReturn(Timeout(cx, absl::GetFlag(FLAGS_patience), race));
    if (asking != 0) co_return absl::InternalError("a branch is still there after the race");
    if (first.value != question) co_return absl::DataLossError("an echo server changed the text");
    ++won[first.index];
  }
  for (size_t i = 0; i < servers.size(); ++i) {
    std::cout << servers[i] << " was first " << won[i] << " times" << std::endl;
  }
  std::cout << "branches left over after any round: " << asking << std::endl;
  for (TaskHandle<void>& server : own) server.Cancel();
  co_return Ok();
}

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return RunMain<Main>(argc, argv);
}

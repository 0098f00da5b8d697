// server.cc: a TCP echo server that loses nothing when it is told to stop.
//
//   ./bazelw run //examples:server -- --port=8080      (0, the default, takes a free port)
//
// On SIGTERM: new connections are refused, idle ones leave at once, what has been read is answered,
// and the process ends within five seconds with a line that says what happened.
#include <array>
#include <iostream>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/quiesce.h"

ABSL_FLAG(uint16_t, port, 0, "TCP port to listen on; 0 takes a free one");

using namespace quiesce;  // NOLINT: examples read as a user's program does

Task<void> Echo(CxWith<cap::Net> cx, TcpStream stream) {
  std::array<std::byte, 4096> buffer;
  while (true) {
    // A cancel ends this wait: idle connections leave at once.
    size_t n = co_await OrReturn(stream.Read(cx, buffer));
    if (n == 0) co_return Ok();
    // What was read is still answered while draining.
    co_await OrReturn(stream.WriteAll(cx.ForDrain(), absl::MakeSpan(buffer).first(n)));
  }
}

Task<void> Serve(Cx cx) {
  std::string any = absl::StrCat("0.0.0.0:", absl::GetFlag(FLAGS_port));
  TcpListener listener = co_await OrReturn(TcpListener::Bind(cx, any));
  std::cout << "listening on " << listener.address() << std::endl;
  auto accepting = [&](Cx cx) -> Task<void> {
    while (true) {
      TcpStream stream = co_await OrReturn(listener.Accept(cx));
      cx.Spawn("connection", Echo, std::move(stream));
    }
  };
  // One bad client harms nobody.
  co_return co_await Region::Open(cx, "connections", accepting, Isolate());
}

Task<void> Main(Cx cx) {
  auto server = cx.Spawn("server", Serve);
  co_await OrReturn(ShutdownSignal(cx));             // SIGINT, SIGTERM
  server.Cancel(Budget::Timeout(absl::Seconds(5)));  // everything below gets 5 s to drain
  co_return Ok();                                    // the root region closes when all has ended
}

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return RunMain<Main>(argc, argv);
}

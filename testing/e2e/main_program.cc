// main_program.cc: a QUIESCE_MAIN program that ends as its argument says, for main_test.py.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "quiesce/runtime/quiesce.h"

using namespace quiesce;  // NOLINT: it stands for a user's program

namespace {

void Say(const char* line) {
  std::printf("%s\n", line);
  std::fflush(stdout);
}

Task<void> Forever(Cx cx) { co_return co_await SleepUntil(cx, Instant::InfiniteFuture()); }

// Does not heed a request: it is still waiting when the drain budget is spent.
Task<void> Stubborn(Cx cx) {
  Say("ready");
  co_return co_await Forever(cx.ForDrain());
}

Task<void> Clean(Cx cx) {
  QUIESCE_CHECK(cx.Defer("say-finalized",
                         [](Cx) -> Task<void> {
                           Say("finalized");
                           co_return Ok();
                         })
                    .ok(),
                "Defer");
  Say("ready");
  co_return co_await Forever(cx);
}

// A child that execs, and one that only _exits: all that a fork of a process with a Runtime may do.
absl::Status ForkTwice() {
  for (const bool exec : {true, false}) {
    const pid_t child = fork();
    if (child == 0) {
      if (exec) execl("/bin/sh", "sh", "-c", "exit 7", nullptr);
      _exit(7);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 7) {
      return absl::InternalError(absl::StrCat("fork: child ", child, ", status ", status));
    }
  }
  return absl::OkStatus();
}

Task<void> Main(Cx cx, int argc, char** argv) {
  const absl::string_view mode = argc == 2 ? argv[1] : "";
  if (mode == "ok") co_return Ok();
  if (mode == "error") co_return absl::NotFoundError("no such ledger");
  if (mode == "panic") co_return Panic("balance below zero");
  if (mode == "child-panic") {
    cx.Spawn("overdrawn", [](Cx) -> Task<void> { co_return Panic("balance below zero"); });
    co_return co_await Forever(cx);
  }
  if (mode == "claimed") {
    auto shutdown = ShutdownSignal(cx);  // claimed from here on
    auto work = cx.Spawn("work", Clean);
    const int number = co_await OrReturn(shutdown);
    Say(strsignal(number));
    work.Cancel();
    co_return Ok();
  }
  if (mode == "unclaimed") {
    cx.Spawn("work", Clean);
    co_return co_await Forever(cx);
  }
  if (mode == "cut-off") {
    auto shutdown = ShutdownSignal(cx);
    auto work = cx.Spawn("stubborn", Stubborn);
    co_await OrReturn(shutdown);
    work.Cancel(Budget::Timeout(absl::Milliseconds(10)));
    co_return Ok();
  }
  if (mode == "request-cut-off") {  // long before the shutdown
    const auto late = [](Cx cx) -> Task<void> { co_return co_await Forever(cx.ForDrain()); };
    const RegionOptions options = RegionOptions()
                                      .WithBudget(Budget::Timeout(absl::Milliseconds(1)))
                                      .WithDrain(Budget::Timeout(absl::Milliseconds(1)));
    (void)co_await Region::Open(cx, "request", late, FailFast(), options);
    auto shutdown = ShutdownSignal(cx);
    auto work = cx.Spawn("work", Clean);
    co_await OrReturn(shutdown);
    work.Cancel();
    co_return Ok();
  }
  if (mode == "stuck") {  // a foreign call that nothing ends but a second signal
    auto call = [] {
      Say("ready");
      while (true) pause();
    };
    co_return co_await RunBlocking(cx, "foreign-call", call);
  }
  if (mode == "fork") {
    auto work = cx.Spawn("work", Forever);
    auto call = [] { return ForkTwice(); };
    co_await OrReturn(RunBlocking(cx, "fork", call));
    work.Cancel();  // the parent's runtime goes on as before
    co_return Ok();
  }
  if (mode == "late-exit") std::atexit([] { Say("at exit"); });
  if (mode == "late-exit") co_return Ok();
  std::fprintf(stderr, "main_program: no mode '%s'\n", argc == 2 ? argv[1] : "");
  co_return absl::InvalidArgumentError("usage: main_program MODE");
}

}  // namespace

QUIESCE_MAIN(Main)

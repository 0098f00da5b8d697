// speed: how many steps a second the lab makes on this machine, with all oracles on. See --help.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce {
namespace {

// Small tasks, of which some have to wait for others.
Task<void> Program(Cx cx, int tasks, int rounds) {
  Semaphore semaphore(2);
  auto body = [&](Cx cx) -> Task<void> {
    for (int i = 0; i < tasks; ++i) {
      cx.Spawn("user", [&semaphore, rounds](Cx cx) -> Task<void> {
        for (int round = 0; round < rounds; ++round) {
          SemaphorePermit permit = co_await OrReturn(semaphore.Acquire(cx));
          std::move(permit).Release();
        }
        co_return Ok();
      });
    }
    co_return Ok();
  };
  co_return co_await Region::Open(cx, "users", body);
}

// False: it has failed.
bool Measure(const char* name, const Explore& how, int tasks, int rounds) {
  const auto begun = std::chrono::steady_clock::now();
  const LabResult result = RunLab(how, [=](Cx cx) { return Program(cx, tasks, rounds); });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  std::printf("%-12s %9llu executions %11llu steps %6.2f s %7.2f million steps/s\n", name,
              static_cast<unsigned long long>(result.executions),
              static_cast<unsigned long long>(result.steps), took.count(),
              static_cast<double>(result.steps) / took.count() / 1e6);
  if (!result.ok()) std::fprintf(stderr, "%s\n", result.failure.c_str());
  return result.ok();
}

}  // namespace
}  // namespace quiesce

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--help") == 0) {
    std::puts(
        "speed\n"
        "  Runs four tasks that share a semaphore in the lab, by each strategy, and prints how "
        "many "
        "steps it makes a\n  second. Build it with --config=opt, and let nothing run beside it.");
    return 0;
  }
  if (argc != 1) {
    std::fputs("speed: takes no arguments; try --help\n", stderr);
    return 2;
  }
  using quiesce::Explore;
  bool ok = quiesce::Measure("walk", Explore::Walk(30'000), 4, 3);
  ok &= quiesce::Measure("pct", Explore::Pct(30'000), 4, 3);
  ok &= quiesce::Measure("pos", Explore::Pos(30'000), 4, 3);
  ok &= quiesce::Measure("bounded(2)", Explore::Bounded(2), 3, 2);
  ok &= quiesce::Measure("exhaustive", Explore::Exhaustive(), 3, 2);
  return ok ? 0 : 1;
}

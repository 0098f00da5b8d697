// What a user's codebase looks like from outside: its own main, its own headers under names that Quiesce uses too, its own Abseil.
#include <cstdio>

#include "absl/time/time.h"
#include "lint/lint.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/quiesce.h"
#include "runtime/base/check.h"
#include "testing/testing.h"

#ifndef CONSUMER_OWN_ABSEIL
#error "Quiesce brought its own Abseil, although this workspace defines one."
#endif

using namespace quiesce;

Task<int> Answer(CxWith<cap::Time> cx) {
  co_await OrReturn(Sleep(cx, absl::Milliseconds(1)));
  co_return 42;
}

Task<int> Main(Cx cx) {
  int answer = 0;
  auto body = [&](Cx cx) -> Task<void> {
    auto handle = cx.Spawn("answer", Answer);
    Outcome<int> joined = co_await OrReturn(handle.Join(cx));
    answer = co_await OrReturn(std::move(joined));
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "questions", body));
  co_return answer;
}

int main() {
  auto runtime = Runtime::Create(RuntimeOptions().WithWorkers(1));
  if (!runtime.ok()) return 1;
  Outcome<int> outcome = (*runtime)->BlockOn(Main);
  std::printf("hello: Quiesce %s says %s %d\n", kVersion, outcome.ToString().c_str(),
              outcome.ok() ? *outcome : -1);
  std::printf("hello: beside it %s, %s and %s\n", consumer::Check(), consumer::Lint(),
              consumer::Testing());
  return outcome.ok() ? 0 : 1;
}

// explore_all.h: every order of the steps of a small program over visible memory.
#ifndef QUIESCE_TESTING_LOCK_FREE_EXPLORE_ALL_H_
#define QUIESCE_TESTING_LOCK_FREE_EXPLORE_ALL_H_

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/testing/explore/dpor.h"
#include "quiesce/testing/lab/machine.h"
#include "quiesce/testing/lab/store_buffer.h"

namespace quiesce::lock_free {

// Runs `spawn(machine, state)` and then every order of what it has spawned, with a new State for each, and
// `check(state)` at the end of each; stops at the first that fails. An order in which all that is left waits for ever is
// one, too: whether it may is for the check to say.
template <class State, class Spawn, class Check>
void ExploreAll(Spawn spawn, Check check) {
  struct Execution {
    lab::StoreBuffers buffers;  // for a memory that has some
    State state;
  };
  std::unique_ptr<Execution> execution;
  lab::Machine machine([&](lab::Machine& to) {
    execution.reset();
    execution = std::make_unique<Execution>();
    spawn(to, execution->state);
  });
  explore::Explorer explorer(&machine);
  machine.OnEnd([&](lab::Machine::Ended how) {
    if (how == lab::Machine::Ended::kGivenUp) return;
    check(execution->state);
    if (!::testing::Test::HasFailure()) return;
    std::string steps;
    for (size_t at = 0; at < explorer.trace().length(); ++at) {
      const uint32_t task = explorer.trace()[at].task;
      absl::StrAppend(&steps, " ", explorer.trace().AgeOf(task));
    }
    ADD_FAILURE() << "after these steps of the tasks, numbered as they were made:" << steps;
    explorer.Stop();
  });
  const explore::Exploration all = explorer.Run();
  EXPECT_EQ(all.problem, "");
  if (::testing::Test::HasFailure()) return;
  EXPECT_TRUE(all.exhausted);
  const uint64_t classes = all.classes + all.deadlocks;
  std::printf("EXHAUSTIVE: %llu executions, no two alike, of up to %zu steps\n",
              static_cast<unsigned long long>(classes), all.longest);
  ::testing::Test::RecordProperty("executions", std::to_string(classes));
}

}  // namespace quiesce::lock_free

#endif  // QUIESCE_TESTING_LOCK_FREE_EXPLORE_ALL_H_

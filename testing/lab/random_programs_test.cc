// What a long random walk through random programs sees, the exhaustive exploration has seen too: a wait, a cancel or a
// primitive that says too little of what it touches shows here.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/base/sanitizers.h"
#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/task_handle.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/runtime/sync/notify.h"
#include "quiesce/runtime/sync/semaphore.h"
#include "quiesce/runtime/task/select.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"
#include "quiesce/testing/lab/certificate.h"
#include "quiesce/testing/lab/lab.h"

namespace quiesce::lab {
namespace {

enum class Do : uint8_t {
  kLock,
  kSend,
  kTrySend,
  kReceive,
  kReserve,
  kAcquire,
  kTryAcquire,
  kNotify,
  kWait,
  kCancelOther,
  kJoinOther,
  kSleep,
  kSelect,
  kSelectSleep,
  kEnded,
  kCancelled,
  kLast,
};

using Program = std::vector<std::vector<Do>>;  // by task

struct World {
  Mutex mutex;
  Mpsc<int> channel = MakeMpsc<int>(1);
  Semaphore semaphore{1};
  Notify notify;
  std::vector<TaskHandle<void>> tasks;
  std::vector<std::string> seen;  // by task
  int held = 0;
};

// One task's; what it sees of the others goes into world->seen.
Task<void> Act(Cx cx, World* world, const std::vector<Do>* todo, size_t me) {
  std::string& seen = world->seen[me];
  const auto note = [&seen](char what, const auto& outcome) {
    seen += what;
    seen += outcome.ok() ? '+' : outcome.is_cancelled() ? 'x' : '-';
    return outcome.ok();
  };
  for (const Do what : *todo) {
    switch (what) {
      case Do::kLock: {
        auto guard = co_await world->mutex.Lock(cx);
        if (!note('L', guard)) co_return Ok();
        absl::StrAppend(&seen, world->held++);
        break;
      }
      case Do::kSend: {
        const Outcome<void> sent = co_await world->channel.sender.Send(cx, static_cast<int>(me));
        if (!note('S', sent)) co_return Ok();
        break;
      }
      case Do::kTrySend:
        absl::StrAppend(&seen, "T",
                        static_cast<int>(world->channel.sender.TrySend(static_cast<int>(me))));
        break;
      case Do::kReceive:
        // One receives at a time.
        if (me == 0) {
          auto received = co_await world->channel.receiver.Receive(cx);
          if (!note('R', received)) co_return Ok();
          absl::StrAppend(&seen, received->value_or(9));
        }
        break;
      case Do::kReserve: {
        auto permit = co_await world->channel.sender.Reserve(cx);
        if (!note('P', permit)) co_return Ok();
        (void)(*std::move(permit)).Send(static_cast<int>(me));
        break;
      }
      case Do::kAcquire: {
        auto permit = co_await world->semaphore.Acquire(cx);
        if (!note('A', permit)) co_return Ok();
        co_await OrReturn(Yield(cx));
        (*std::move(permit)).Release();
        break;
      }
      case Do::kTryAcquire: {
        auto permit = world->semaphore.TryAcquire(cx);
        seen += permit.has_value() ? "a+" : "a-";
        if (permit.has_value()) (*std::move(permit)).Release();
        break;
      }
      case Do::kNotify:
        world->notify.NotifyOne();
        break;
      case Do::kWait: {
        const Outcome<void> notified = co_await world->notify.Wait(cx);
        if (!note('N', notified)) co_return Ok();
        break;
      }
      case Do::kCancelOther:
        if (me > 0) world->tasks[me - 1].Cancel();
        break;
      case Do::kJoinOther:
        if (me > 0) {
          const auto ended = co_await world->tasks[me - 1].Join(cx);
          if (!note('J', ended)) co_return Ok();
          co_return Ok();  // a result is taken once
        }
        break;
      case Do::kSleep: {
        const Outcome<void> slept = co_await Sleep(cx, absl::Seconds(1));
        if (!note('Z', slept)) co_return Ok();
        break;
      }
      case Do::kSelect: {
        auto won = co_await Select(cx, world->notify.Wait(cx), world->semaphore.Acquire(cx));
        if (!note('E', won)) co_return Ok();
        absl::StrAppend(&seen, won->index());
        if (won->index() == 1) (*std::move(std::get<1>(*won))).Release();
        break;
      }
      case Do::kSelectSleep: {
        auto won = co_await Select(cx, world->notify.Wait(cx), Sleep(cx, absl::Seconds(1)));
        if (!note('D', won)) co_return Ok();
        absl::StrAppend(&seen, won->index());
        break;
      }
      case Do::kEnded:
        if (me > 0) seen += world->tasks[me - 1].ended() ? "e+" : "e-";
        break;
      case Do::kCancelled:
        seen += cx.cancelled() ? "c+" : "c-";
        break;
      case Do::kLast:
        break;
    }
  }
  co_return Ok();
}

Task<void> RunProgram(Cx cx, const Program* program, std::string* seen) {
  World world;
  world.seen.resize(program->size());
  auto body = [&](Cx cx) -> Task<void> {
    world.tasks.reserve(program->size());
    for (size_t i = 0; i < program->size(); ++i) {
      world.tasks.push_back(cx.Spawn("task", Act, &world, &(*program)[i], i));
    }
    co_return Ok();
  };
  const Outcome<void> ended = co_await Region::Open(cx, "tasks", body);
  *seen = absl::StrCat(absl::StrJoin(world.seen, "|"), ended.ok() ? "" : ended.ToString());
  co_return Ok();
}

// What the executions end with; of deadlocks only that there are any.
std::set<std::string> Seen(Explore how, const Program& program, bool* exhausted) {
  std::set<std::string> all;
  std::string seen;
  how.WithCheck([&] { seen.clear(); },
                [&]() -> std::optional<std::string> {
                  all.insert(seen);
                  return std::nullopt;
                })
      .WithDeadlocks()
      .WithoutRepeating();
  const LabResult result = RunLab(how, [&](Cx cx) { return RunProgram(cx, &program, &seen); });
  EXPECT_TRUE(result.ok()) << result.failure;
  if (result.deadlocks != 0) all.insert("deadlock");
  *exhausted = result.exhausted;
  return all;
}

std::string NameOf(const Program& program) {
  std::string name;
  for (const std::vector<Do>& task : program) {
    for (const Do what : task) absl::StrAppend(&name, static_cast<int>(what), ",");
    name += " | ";
  }
  return name;
}

constexpr bool kSlow = QUIESCE_TSAN || QUIESCE_ASAN;

Program RandomProgram(std::mt19937_64& random) {
  // Of a few kinds, so that they meet.
  std::array<Do, 4> kinds;
  for (Do& kind : kinds) kind = static_cast<Do>(random() % static_cast<uint64_t>(Do::kLast));
  Program program(2 + random() % 2);
  for (std::vector<Do>& task : program) {
    task.resize(1 + random() % 3);
    for (Do& what : task) what = kinds[random() % kinds.size()];
  }
  return program;
}

// False: there are more executions than `most`.
bool Compare(const Program& program, uint64_t seed, uint64_t most = 5'000) {
  bool exhausted = false;
  const std::set<std::string> all =
      Seen(Explore::Exhaustive().WithMaxExecutions(most), program, &exhausted);
  if (!exhausted) return false;
  bool ignored = false;
  for (const std::string& seen :
       Seen(Explore::Walk(kSlow ? 50 : 200).WithSeed(seed), program, &ignored)) {
    EXPECT_EQ(all.count(seen), 1u) << "missed: " << seen << " of " << NameOf(program);
  }
  return true;
}

TEST(ProgramsTest, WhoWaitsIsGrantedOrCancelled) {
  using enum Do;
  for (const auto& [wait, grant] :
       {std::pair(kReceive, kSend), std::pair(kWait, kNotify), std::pair(kReceive, kReserve),
        std::pair(kLock, kLock), std::pair(kAcquire, kAcquire), std::pair(kSelect, kNotify)}) {
    EXPECT_TRUE(Compare({{wait}, {kCancelOther}, {grant}}, 1));
    EXPECT_TRUE(Compare({{grant, wait}, {kCancelOther, grant}}, 1));
  }
}

TEST(ProgramsTest, TimersOfTheSameInstant) {
  using enum Do;
  EXPECT_TRUE(Compare({{kSelectSleep}, {kSleep, kNotify}}, 1));
  EXPECT_TRUE(Compare({{kSleep, kTrySend}, {kSleep, kCancelOther}}, 1));
}

// False: there are more executions than `most`.
bool CompareShards(const Program& program, uint64_t most) {
  std::string seen;
  const auto main = [&](Cx cx) { return RunProgram(cx, &program, &seen); };
  const auto explore = [&](Explore how) {
    return RunLab(how.WithMaxExecutions(most).WithDeadlocks().WithoutRepeating(), main);
  };
  const LabResult whole = explore(Explore::Exhaustive());
  if (!whole.exhausted) return false;
  std::vector<Certificate> all;
  for (uint32_t shard = 0; shard < 3; ++shard) {
    LabResult some = explore(Explore::Exhaustive().AsShard(shard, 3));
    if (!some.certificate->exhausted)
      return false;  // in a shard, some of the others' count as well
    all.push_back(*std::move(some.certificate));
  }
  const Aggregate together = AddUp(all);
  EXPECT_TRUE(together.ok()) << NameOf(program);
  EXPECT_EQ(together.classes, whole.executions) << NameOf(program);
  return true;
}

TEST(RandomProgramsTest, TheExhaustiveExplorationHasSeenWhatAWalkSees) {
  std::mt19937_64 random(1);
  int compared = 0;
  // More of them: QUIESCE_LAB_PROGRAMS.
  const char* const more = std::getenv("QUIESCE_LAB_PROGRAMS");
  const int programs = more != nullptr ? std::atoi(more) : kSlow ? 10 : 60;
  for (int i = 0; i < programs && !HasFailure(); ++i) {
    const Program program = RandomProgram(random);
    if (Compare(program, random(), kSlow ? 200 : 1'000)) ++compared;
  }
  EXPECT_GT(compared, programs / 4);
}

TEST(RandomProgramsTest, ShardsHaveTogetherWhatTheExhaustiveExplorationHas) {
  std::mt19937_64 random(2);
  int compared = 0;
  const char* const more = std::getenv("QUIESCE_LAB_PROGRAMS");
  const int programs = more != nullptr ? std::atoi(more) : kSlow ? 5 : 20;
  for (int i = 0; i < programs && !HasFailure(); ++i) {
    if (CompareShards(RandomProgram(random), kSlow ? 200 : 1'000)) ++compared;
  }
  EXPECT_GT(compared, programs / 4);
}

}  // namespace
}  // namespace quiesce::lab

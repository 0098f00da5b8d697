// machine.h: tasks that run one visible operation at a time, as an explorer tells them.
//
// Example:    Machine machine([](Machine& machine) {
//               auto x = std::make_shared<Atomic<int>>(0);
//               for (int i = 0; i < 2; ++i) machine.Spawn([x] { x->fetch_add(1); });
//             });
//             explore::Explorer(&machine).Run();
// Invariants: (1) a task stops before each visible operation, and what it does until the next is one step; (2) tasks and
//             objects are numbered by who has made them, and as which, so that a number means the same in each execution
//             of one machine; (3) a task that has not ended when an execution is over is unwound, and its
//             destructors find nobody to wait for; or, of a machine that is told to let go, is never heard of again.
// Threads:    the one that explores.
#ifndef QUIESCE_TESTING_LAB_MACHINE_H_
#define QUIESCE_TESTING_LAB_MACHINE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/lab/fiber.h"

namespace quiesce::lab {

class Machine final : public explore::Model {
 public:
  using Build = std::function<void(Machine&)>;
  // `build` makes the first tasks, and what they share, for each execution anew. What it does itself, and what OnEnd's
  // does, is no step: nobody else is there.
  explicit Machine(Build build) : build_(std::move(build)) {}
  ~Machine() override;
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Called at the end of each execution, before its tasks go.
  void OnEnd(std::function<void(Ended)> check) { on_end_ = std::move(check); }
  // Of code that no exception may pass: what it has left in a task that does not end is lost, the stack included.
  void LetGoInsteadOfUnwinding() { lets_go_ = true; }

  // ---- for what is explored ----

  // That which runs here. Fatal if none does.
  static Machine& Current();
  // Makes a task. From `build`, or from a task.
  explore::TaskId Spawn(std::function<void()> run);
  // A number for an object that the running task, or `build`, has just made.
  explore::ObjectId NewObject();
  // That of the `nth` which is there before each execution.
  explore::ObjectId OlderObject(uint32_t nth) { return Number(object_numbers_, kOlder, nth); }
  // The task whose step is the caller.
  std::optional<explore::TaskId> running() const {
    return running_ == kBuilder ? std::nullopt : std::optional(running_);
  }
  // `look` says what the operation would be now, whenever it is asked.
  using Look = void (*)(const void* argument, explore::Pending& pending);
  // The running task is about to do this. Returns when it has been told to. Throws if the task is unwound, unless this is a
  // release, which destructors do: then the next one throws.
  enum class Kind : uint8_t { kOther, kRelease };
  void Visit(Look look, const void* argument, Kind kind = Kind::kOther);
  // The latest step of `task`; its index is 0 if it has made none.
  explore::EventRef latest(explore::TaskId task) const { return {task, tasks_[task].steps}; }
  // The step that is running, for After.
  explore::EventRef now() const { return step_; }
  // It came after that one.
  void After(explore::EventRef other) {
    if (!dropping_ && after_ != nullptr && other.task != running_) after_->push_back(other);
  }
  // From OnEnd's: lets every task go on for as long as any can, in no order that counts; but not for ever.
  void RunOn();

  // ---- Model ----

  void Begin() override;
  const std::vector<explore::TaskId>& live() const override { return live_; }
  const explore::Pending& Next(explore::TaskId task) override;
  void Step(explore::TaskId task, explore::EventRefs& after) override;
  void End(Ended how) override;

 private:
  static constexpr uint32_t kBuilder = ~uint32_t{0};
  static constexpr uint32_t kOlder = ~uint32_t{1};
  struct Task {
    Fiber fiber;
    Look look = nullptr;
    const void* argument = nullptr;
    explore::Pending pending;
    uint32_t steps = 0;
    uint32_t spawned = 0;
    uint32_t made = 0;
  };
  static uint32_t Number(absl::flat_hash_map<uint64_t, uint32_t>& numbers, uint32_t maker,
                         uint32_t nth);
  // Until its next visible operation.
  void Run(explore::TaskId task);
  void RunNew();
  void Drop();

  // Calls `action`, which may do visible operations.
  template <class Action>
  void Alone(Action action) {
    alone_ = true;
    action();
    alone_ = false;
  }

  const Build build_;
  std::function<void(Ended)> on_end_;
  // By who has made it (higher half) and as which.
  absl::flat_hash_map<uint64_t, uint32_t> task_numbers_;
  absl::flat_hash_map<uint64_t, uint32_t> object_numbers_;
  std::deque<Task> tasks_;  // which stay where they are while one of them spawns
  std::vector<explore::TaskId> live_;
  std::vector<explore::TaskId> new_;  // spawned, and not run yet
  uint32_t running_ = kBuilder;
  uint32_t built_tasks_ = 0;
  uint32_t built_objects_ = 0;
  explore::EventRef step_ = {kBuilder, 0};
  explore::EventRefs* after_ = nullptr;
  bool alone_ = false;     // not in a task, but in `build` or on_end_
  bool dropping_ = false;  // tasks are unwound, and their destructors may visit
  // Visible operations, or looks at who can go, after which what goes on is given up.
  static constexpr size_t kMostRunOn = 100'000;
  bool running_on_ = false;
  size_t steps_run_on_ = 0;
  bool lets_go_ = false;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_MACHINE_H_

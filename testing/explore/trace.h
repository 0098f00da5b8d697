// trace.h: the events of one execution, and which of them had to come before which.
//
// Invariants: (1) an event comes before another if it is an earlier one of the same task, or has made that task, if
//             an access of it conflicts with one of the later event, or if the model says so, or by way of others; (2) two executions are of one
//             class if they have the same events with the same events before each.
// Threads:    none.
#ifndef QUIESCE_TESTING_EXPLORE_TRACE_H_
#define QUIESCE_TESTING_EXPLORE_TRACE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"

namespace quiesce::explore {

class Trace {
 public:
  static constexpr size_t kNowhere = ~size_t{0};

  struct Event {
    TaskId task = 0;
    uint32_t index = 0;  // of the task's, from 1
    size_t previous =
        kNowhere;  // where the task's one before is; of the first, the one that has made the task
    Op op;
    EventRefs after;
  };

  // Begins an execution of `model`, and forgets the one before, but for Repeat.
  void Begin(Model* model);
  // Lets `task` do what it does next, and appends that. Returns it, until the next call.
  const Event& Step(Model* model, TaskId task);
  // The next event of the execution before, once more. False: it cannot be done, or touches something else now.
  bool Repeat(Model* model);

  size_t length() const { return length_; }
  const Event& operator[](size_t at) const { return events_[at]; }
  // What `task` would append if it did `op` now.
  Event Next(TaskId task, const Op& op) const;

  bool ComesBefore(size_t early, size_t late) const {
    return ClockOf(late)[events_[early].task] >= events_[early].index;
  }
  // The tasks of the execution, also those that have ended, by age: the first that was made is 0.
  uint32_t AgeOf(TaskId task) const { return tasks_[task].age; }
  const std::vector<TaskId>& by_age() const { return by_age_; }

  // How many events are the task's, which is of this execution.
  size_t CountOf(TaskId task) const { return tasks_[task].events.size(); }
  // Where an earlier event is.
  size_t Find(EventRef ref) const { return tasks_[ref.task].events[ref.index - 1]; }
  // The events with an access of `object`, in their order.
  const std::vector<uint32_t>& EventsOn(ObjectId object) const {
    return object < objects_.size() ? objects_[object].events : none_;
  }

  // Vector clocks: for each task, the index of its latest event that comes before, or is, this one. `width()` numbers.
  size_t width() const { return width_; }
  const uint32_t* ClockOf(size_t at) const { return &clocks_[at * width_]; }
  // clock[i] = max(clock[i], ClockOf(at)[i]), for each.
  void JoinClock(size_t at, uint32_t* clock) const;
  // That of the task's event before, which may be none.
  const uint32_t* ClockBefore(const Event& event) const {
    return event.previous == kNowhere ? zero_.data() : ClockOf(event.previous);
  }

  // Of who has made the task, in which step, as which: the same in each execution of a program, in whatever process.
  uint64_t OriginOf(TaskId task) const { return tasks_[task].origin; }

  // Equal for executions of one class, and with good luck for no others; also for another model of the same program. The
  // sum of those of the events.
  uint64_t ClassHash() const;
  // Of an event, and of what comes before it.
  uint64_t EventHash(size_t at) const;
  // The same for this very order of events, and what they touch; also for another model of the same program.
  uint64_t OrderHash() const;

 private:
  static constexpr uint32_t kUnknown = ~uint32_t{0};
  struct TaskState {
    std::vector<size_t> events;  // where they are
    size_t made_by = kNowhere;
    uint32_t age = kUnknown;
    uint64_t origin = 0;
    size_t latest() const { return events.empty() ? made_by : events.back(); }
  };
  // For each effect: what had happened when the latest events with it had.
  struct ObjectState {
    std::vector<uint32_t> events;
    std::array<std::vector<uint32_t>, kEffects> clocks;
    std::array<bool, kEffects> touched = {};
  };

  // Tasks that are new since, made by the event there.
  void FindNewTasks(Model* model, size_t made_by);
  void MakeRoomFor(TaskId task);
  void Happen(size_t at);
  uint32_t* MutableClock(size_t at) { return &clocks_[at * width_]; }

  std::vector<Event> events_;  // the first length_ count
  size_t length_ = 0;
  size_t width_ = 8;
  std::vector<uint32_t> clocks_;
  std::vector<uint32_t> zero_ = std::vector<uint32_t>(8);
  std::vector<TaskState> tasks_;
  std::vector<TaskId> by_age_;
  std::vector<ObjectState> objects_;
  std::vector<ObjectId> touched_;
  const std::vector<uint32_t> none_;
};

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_TRACE_H_

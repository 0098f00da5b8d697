// wait_driver.h: runs one scenario on one contract, and judges how the wait ended.
//
// How:        the program is a region in a region with one task that makes one wait. The driver observes the
//             events of that wait (trace/observer.h); at the scenario's moments it grants and cancels,
//             in the waiting task's step itself or on another thread while the step is held up. What
//             was done, and whether it was complete when the wait went on, decides what the wait may
//             yield.
#ifndef QUIESCE_TESTING_CONTRACT_WAIT_DRIVER_H_
#define QUIESCE_TESTING_CONTRACT_WAIT_DRIVER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/observer.h"
#include "quiesce/testing/contract/scenario.h"
#include "quiesce/testing/contract/stepped_runtime.h"

namespace quiesce::contract {

class WaitDriver;

// A contract without its type.
class Subject {
 public:
  struct Traits {
    const char* wait_name;
    bool structural, checks_first, ends_alone, grant_is_immediate, grant_is_kept, try_completes,
        grant_moves_time, holds_region;
  };
  virtual ~Subject() = default;
  virtual Traits traits() const = 0;
  virtual Task<void> SetUp(Cx cx) = 0;
  virtual void SetUpInside(const Cx& cx) = 0;
  virtual RegionOptions InsideOptions() = 0;
  virtual Task<void> WaitOnce(Cx cx, WaitDriver& driver) = 0;
  virtual Task<std::string> WaitAgain(Cx cx) = 0;
  virtual void Grant() = 0;
};

// Runs scenarios on one subject after another.
class WaitDriver : private EventObserver {
 public:
  WaitDriver();
  ~WaitDriver() override;

  SteppedRuntime& runtime() { return runtime_; }

  // One scenario. Returns what is wrong, or an empty string.
  std::string Run(const Scenario& scenario, std::unique_ptr<Subject> subject);
  // The same with threads that race; `seed` moves them against each other.
  std::string Race(const Scenario& scenario, uint32_t seed, std::unique_ptr<Subject> subject);
  // Each Moment that a scenario has reached, as Bit()s.
  uint32_t reached() const { return reached_.load(); }

  // ---- for SubjectOf ----
  void Hit(Moment moment);
  void EnterWait(const CxBase& cx);
  void LeaveWait(const Waiter* waiter);
  void Report(Outcome<void> result, std::string problem);
  bool racing() const { return racing_; }
  bool granted() const { return granted_.load(); }

 private:
  class Watchdog;

  void OnEvent(EventKind kind, uint64_t region, uint64_t task, uint64_t arg,
               const char* name) override;
  void Begin(const Scenario& scenario, std::unique_ptr<Subject> subject);
  std::string End(size_t memory_before);
  Task<void> Main(Cx cx);
  Task<void> Inside(Cx cx);
  Task<void> Waiting(Cx cx);
  void Act(Moment moment);
  void Grant(Moment moment, bool steps_follow);
  void Cancel(Moment moment, bool steps_follow);
  bool MayUseSource() const;
  void RunSource();
  void UseUp(TaskScope* task, int64_t polls, int64_t cost);
  bool TimeMayCancel() const;
  bool EndsWait(Moment moment) const;
  std::string Judge();
  std::string JudgeOrder();
  void Wrong(const std::string& what);

  SteppedRuntime runtime_;
  EventObserver* const observer_before_;
  std::unique_ptr<Watchdog> watchdog_;

  // ---- of the scenario ----
  Scenario scenario_;
  std::unique_ptr<Subject> subject_;
  Subject::Traits traits_ = {};
  Instant start_;
  bool racing_ = false;
  uint32_t seed_ = 0;
  std::optional<RegionRef> parent_;
  std::optional<RegionRef> inside_;
  std::optional<TaskHandle<void>> handle_;
  std::atomic<bool> handle_ready_{false};
  std::atomic<uint32_t> reached_{0};
  std::atomic<uint32_t> acted_{0};

  std::atomic<bool> in_wait_{false};
  std::atomic<uint64_t> waiting_id_{0};
  std::atomic<TaskScope*> waiting_{nullptr};  // once it has begun
  TaskScope* opener_ = nullptr;               // of its region
  bool wait_ended_ = false;  // written by the waiting task, read where that is ordered
  std::atomic<bool> inside_closed_{false};
  std::optional<Outcome<void>> result_;
  std::string wrong_;
  ThreadMutex wrong_mutex_;

  // What was really done, in order, while the wait had not ended.
  std::atomic<bool> granted_{false};
  std::atomic<bool> cancelled_{false};
  struct Deed {
    Moment moment = Moment::kNever;
    bool in_time = false;    // before the wait had ended
    bool immediate = false;  // complete when it returned: no step had to follow
    int number = 0;
  };
  int deeds_ = 0;
  Deed grant_;
  Deed cancel_;
};

}  // namespace quiesce::contract

#endif  // QUIESCE_TESTING_CONTRACT_WAIT_DRIVER_H_

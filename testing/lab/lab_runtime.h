// lab_runtime.h: the runtime's tasks as those of a machine. For lab.h.
//
// How:        regions, tasks, waits and primitives are those of production; Scheduler, Clock, Poller and RandomSource are
//             this. Each task runs on a fiber, and is left where the runtime says that others could come in between
//             (IsPoint, trace/event.h): what it is about to do there is its next operation, as the explorer sees it.
// What depends on what:
//             a use of an object on every other use of it, unless both only look; a wait, and all else that a
//             cancel may change, on the cancel state of its task, of its region, and of what lies above; a request on
//             that of its target and on every wait below it; the end of a task on the joins of it; the close of a
//             region on nothing: its opener goes on when all tasks have ended.
//             Time moves when nothing else can go on, or at any moment (early_timers): then everything depends on it.
//             Timers of the same instant fire in any order; where they may be late, those of several instants do.
//             Where workers are modelled, who goes next depends on all that was posted before: all steps on all others.
// Workers:    take from one RunQueue, production's, as soon as they are idle. Which of those that run makes the next
//             step is the lab's choice. What one steals from another is not modelled.
// Not told apart: which of several equally severe outcomes, none of them an Error or a Panic, came first; which lane a
//             task is in, unless workers are modelled.
// Threads:    the one that explores.
#ifndef QUIESCE_TESTING_LAB_LAB_RUNTIME_H_
#define QUIESCE_TESTING_LAB_LAB_RUNTIME_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/reactor/poller.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/scheduler/clock.h"
#include "quiesce/runtime/scheduler/random_source.h"
#include "quiesce/runtime/scheduler/run_queue.h"
#include "quiesce/runtime/scheduler/scheduler.h"
#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/observer.h"
#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/explore/schedule.h"
#include "quiesce/testing/explore/trace.h"
#include "quiesce/testing/lab/faults.h"
#include "quiesce/testing/lab/happens_before.h"
#include "quiesce/testing/lab/lab_network.h"
#include "quiesce/testing/lab/lab_trace.h"
#include "quiesce/testing/lab/machine.h"
#include "quiesce/testing/lab/oracles.h"
#include "quiesce/testing/lab/wait_graph.h"

namespace quiesce::lab {

class LabRuntime final : private Scheduler,
                         private Clock,
                         private Poller,
                         private RandomSource,
                         private ReportSink,
                         private EventObserver,
                         private LabNetwork::Host {
 public:
  using Main = std::function<Task<void>(Cx)>;
  using Ended = explore::Model::Ended;

  // What Explore's options of the same names say.
  struct Options {
    uint64_t seed = 1;
    Faults faults;
    ReportSink* reports = nullptr;
    bool cancel_sweep = false;
    bool spent_drains = false;
    bool early_timers = false;
    bool late_timers = false;
    bool split_waits = false;
    bool parked_closers = false;
    uint32_t workers = 0;  // 0: any order
  };

  // Each execution runs `main` as the body of a root region.
  LabRuntime(Main main, const Options& options);
  ~LabRuntime() override;
  LabRuntime(const LabRuntime&) = delete;
  LabRuntime& operator=(const LabRuntime&) = delete;

  explore::Model* model() { return &machine_; }
  LabNetwork& network() { return network_; }
  // `begin`: before each execution. `end`: when it is over, before what has not ended is cancelled; if all has, the root
  // region's outcome is there.
  void OnBegin(std::function<void()> begin) { on_begin_ = std::move(begin); }
  void OnEnd(std::function<void(Ended)> end) { on_end_ = std::move(end); }

  // ---- of the execution that runs, or was the last ----

  // Of main's region. Precondition: the execution is complete.
  const Outcome<void>& outcome() const { return outcome_; }
  // Those that had been cancelled and had a wait fail since their time for the drain was spent.
  int64_t tasks_cut_off() const { return stats_->tasks_cut_off.load(std::memory_order_relaxed); }
  // A guarantee that was broken (Oracles::violation).
  const std::string& violation() const { return oracles_.violation(); }
  // Two uses of plain memory that nothing orders, the first that were found; empty: none.
  const std::string& race() const { return race_; }
  // A socket that is open although the runtime has ended; empty: none.
  const std::string& leaks() const { return leaks_; }
  // What the runtime has reported, and would have printed: stalls, leaks.
  const std::string& reports() const { return reports_; }
  const RuntimeCounters& counters() const { return counters_; }
  // On the clock of the execution.
  Instant now() const { return Instant::FromNanos(now_); }
  // Who waits for what that who has, where that is written down (StartLog); and the region tree.
  std::string Dump() const { return graph_.Describe() + (root_ == nullptr ? "" : root_->Dump()); }

  // Who has made the steps so far, each by its age; and what they did, if that is written down. For who ends the process.
  const std::vector<uint32_t>& made_by() const { return made_by_; }
  const LabTrace& log_so_far();
  // From a step: what is wrong with this execution has just been found.
  void NoteFailure() {
    if (!over_) failed_at_ = latest_step();
  }
  // The LabRuntime whose step is the caller; null: none.
  static LabRuntime* Current();

  // Writes down what each step of the next execution does, for people.
  void StartLog();
  // `trace`: of that execution, which left the usual way as `decisions` says.
  LabTrace StopLog(const explore::Schedule& decisions, const explore::Trace& trace);

 private:
  struct LabTask;
  struct LabRegion {
    uint64_t id = 0;
    LabRegion* parent = nullptr;
    LabTask* opener = nullptr;
    const char* name = "";
    explore::ObjectId cancel = 0;      // its cancel state
    explore::ObjectId life = 0;        // how many tasks are in it
    explore::ObjectId permits = 0;     // what it owes
    explore::ObjectId admission = 0;   // who may come in
    explore::ObjectId finalizers = 0;  // in which order
    uint32_t live = 0;
    uint32_t claims = 0;      // permits that somebody is about to be done with
    bool admits = false;      // somebody has come, or wanted to, from outside or against a limit
    explore::EventRefs ends;  // of its tasks
  };
  enum class Doing : uint8_t {
    kStart,
    kResume,
    kLook,
    kUse,
    kRequest,
    kEnd,
    kTime,
    kFire,
    kNetwork
  };
  struct Object {
    explore::ObjectId number = 0;
    const char* what = "";
    uint32_t ordinal = 0;  // of its kind, in this execution: for people
  };
  // One of the machine's: a task of the runtime, the clock, or a timer that is due.
  struct LabTask {
    LabRuntime* lab = nullptr;
    explore::TaskId id = 0;
    uint32_t age = 0;          // which of used_tasks_ it is
    TaskCore* core = nullptr;  // null: none of the runtime's, or it has ended
    uint64_t runtime_id = 0;
    const char* name = "";
    const SpawnSite* site = nullptr;
    LabRegion* home = nullptr;
    LabRegion* region = nullptr;   // whose cancel state its latest wait looks at
    explore::ObjectId cancel = 0;  // its own cancel state
    explore::ObjectId end = 0;     // whether it has ended
    explore::EventRef woken_by = {0, 0};
    bool ready = false;   // posted, and not begun
    bool arming = false;  // it is about to be queued by the operation that it has just tried
    bool waits = false;   // … and has been, and has not gone on
    bool ended = false;
    bool taken = false;      // by a worker, where they are modelled, and has not gone on yet
    bool on_worker = false;  // … and has
    bool bystander = false;  // it may come at any moment, and nobody waits for it
    Timer* timer = nullptr;  // kFire's
    // kNetwork's
    const LabNetwork::Declare* declare = nullptr;
    const LabNetwork::Describe* describe = nullptr;
    // What it does next.
    Doing doing = Doing::kStart;
    ScopeRequest request = ScopeRequest::kCancel;
    ObjectUse use = ObjectUse::kLook;
    Object object;                       // kUse
    LabRegion* closes = nullptr;         // it waits for the tasks of this one
    LabRegion* target_region = nullptr;  // kRequest
    LabTask* target_task = nullptr;
    Severity severity = Severity::kOk;  // kEnd
    const char* function = "";
    const char* operation = "";  // the latest wait's name
    // By its latest wait.
    absl::InlinedVector<explore::ObjectId, 2> used;
  };
  struct ArmedTimer {
    explore::TaskId by =
        0;  // who has armed it, and as which: the same in each execution of a class
    uint32_t nth = 0;
    bool by_time = false;      // in the firing of another
    LabTask* fires = nullptr;  // due: who is to fire it
  };

  // Scheduler
  void Post(Runnable* runnable, Lane lane, Place place, Instant deadline) override;
  void PostBatch(RunnableQueue batch, Lane lane) override;
  uint32_t worker_count() const override { return 1; }
  uint32_t current_worker() const override { return 0; }
  // Clock
  Instant Now() override { return Instant::FromNanos(now_); }
  void Arm(Timer* timer) override;
  bool Disarm(Timer* timer) override;
  // Poller
  absl::Status Add(IoSource* source) override { return network_.Add(source); }
  bool Remove(IoSource* source) override { return network_.Remove(source); }
  // RandomSource
  uint64_t Next() override;
  // ReportSink
  void Report(const std::string& text) override {
    reports_ += text;
    if (options_.reports != nullptr) options_.reports->Report(text);
  }
  // LabNetwork::Host
  void Do(LabNetwork::Declare declare, LabNetwork::Describe describe) override;
  void After(explore::EventRef other) override { machine_.After(other); }
  explore::EventRef now_running() const override { return machine_.now(); }
  void Start(const char* name, bool fault, std::function<void()> run) override;
  explore::ObjectId NewObject() override { return machine_.NewObject(); }
  explore::ObjectId NewObjectForAll() override { return machine_.OlderObject(older_++); }
  explore::ObjectId ObjectAt(const void* address) override {
    return FindObject(reinterpret_cast<uintptr_t>(address)).number;
  }
  int64_t NowNanos() const override { return now_; }
  void AfterTick(int64_t nanos) override;
  std::vector<uint64_t> Regions() const override;
  // EventObserver
  void OnEvent(EventKind kind, uint64_t region, uint64_t task, uint64_t arg,
               const char* name) override;

  void Begin();
  void End(Ended how);
  void CancelRest();
  // Lets the oracles look. Once a guarantee is broken nothing goes on in this execution: what a broken runtime would do next,
  // with what it has freed perhaps, tells nobody anything.
  template <class Hear>
  void Watch(Hear hear);
  size_t latest_step() const { return made_by_.empty() ? 0 : made_by_.size() - 1; }
  void NameTasks();
  void Log(EventKind kind, uint64_t region, uint64_t task, uint64_t arg, const char* name);
  Task<void> Drive(Cx cx);
  LabTask* NewTask(std::function<void(LabTask*)> run);
  void RunTask(LabTask* task, Runnable* first);
  void ComeAfterEnds(LabTask* task);
  void RunClock(LabTask* clock);
  void StartCanceller(const char* name, const Budget& drain);
  void RunCanceller(LabTask* canceller, const Budget& drain);
  void Queue(Runnable* runnable, Lane lane, Place place, Instant deadline);
  void TakeWork();
  void LeaveWorker(LabTask* task);
  void Fire(Timer* timer);
  void RunSteps();
  bool OthersCanGo();
  // With workers an opener that waits leaves its worker to others, as in production.
  bool ClosersPark() const { return options_.parked_closers || options_.workers != 0; }
  // Not a timer that time itself has armed: each time that what is overdue has been reported, it is to be once more, and a
  // drain would be late before it could be in time.
  bool MayBeEarly();

  LabTask* Running();
  const LabTask* Running() const { return const_cast<LabRuntime*>(this)->Running(); }
  // Has a cancel decided its wait, which it has not left yet?
  bool InCancelledWait(uint64_t task_id) const;
  LabRegion* FindRegion(uint64_t id);
  Object FindObject(uintptr_t address);
  void Point(LabTask* task, Doing doing);
  void Order(LabTask* task, const Object& object, ObjectUse use);
  static void Look(const void* task, explore::Pending& pending);
  void AddAccesses(const LabTask& task, explore::Pending& pending);
  static void AddChain(const LabTask* task, const LabRegion* region, explore::Op& op);
  // What a request to `region`, or to `only` and what it has opened, changes.
  void AddRequest(const LabRegion* region, const LabTask* only, explore::Op& op);
  static bool LiesBelow(const LabTask& task, const LabRegion* region, const LabTask* only);
  static bool WaitsFor(const LabTask& task, explore::ObjectId object);
  bool AnyWaitsFor(explore::ObjectId object) const;
  static bool IsListened(const TaskCore* core);
  std::string Describe(const LabTask& task) const;

  const Main main_;
  const Options options_;
  std::function<void()> on_begin_;
  std::function<void(Ended)> on_end_;
  Machine machine_;
  LabNetwork network_;
  RuntimeServices services_;
  RuntimeCounters counters_;
  EventObserver* const observer_before_;

  // Of one execution.
  std::unique_ptr<DrainStats> stats_;
  RegionCore* root_ = nullptr;
  std::optional<TaskHandle<void>> running_main_;
  Outcome<void> outcome_ = Ok();
  std::string reports_;
  bool quiescent_ = false;
  int64_t now_ = 0;
  bool fires_ = false;    // a timer's `fire` runs
  bool crowded_ = false;  // others can go on while a timer is due, or is not yet
  LabTask* clock_ = nullptr;
  bool bystanders_ = false;  // there are some
  explore::ObjectId time_ = 0;
  std::optional<RunQueue> queue_;  // of the workers, where they are modelled
  uint32_t busy_ = 0;              // of these
  struct Tick {
    int64_t now;
    explore::EventRef step;
  };
  std::vector<Tick> ticks_;
  explore::ObjectId order_of_steps_ = 0;
  IntrusiveList<Timer> timers_;
  absl::flat_hash_map<Timer*, ArmedTimer> armed_;
  RunnableQueue stray_steps_;         // of nobody's task
  std::deque<LabTask> tasks_;         // by the machine's number
  std::vector<LabTask*> used_tasks_;  // of this execution, in the order in which they were made
  absl::flat_hash_map<Runnable*, LabTask*> by_runnable_;
  absl::flat_hash_map<uint64_t, LabTask*> by_id_;  // that have not ended
  absl::flat_hash_map<uintptr_t, LabTask*>
      by_record_;  // also those that have: who has a handle may ask
  std::deque<LabRegion> all_regions_;
  absl::flat_hash_map<uint64_t, LabRegion*> regions_;
  absl::flat_hash_map<uintptr_t, Object> objects_;
  absl::flat_hash_map<const char*, uint32_t> of_kind_;
  absl::flat_hash_map<uint32_t, uint64_t> draws_;         // by the drawing task
  absl::flat_hash_map<uint32_t, uint32_t> timers_armed_;  // by the arming task
  struct Spawned {
    uint64_t id;
    uint64_t region;
    const char* name;
  };
  std::optional<Spawned> spawned_;  // announced, and not posted yet
  Oracles oracles_;
  WaitGraph graph_;
  HappensBefore order_;
  std::string race_;
  std::string leaks_;
  std::vector<uint32_t> made_by_;    // the steps so far
  std::optional<size_t> failed_at_;  // the step that has found what is wrong
  std::optional<size_t>
      task_failed_at_;  // … with which the first task ended with an Error or a Panic
  bool over_ = false;
  bool broken_ = false;
  bool deadlock_ = false;
  std::vector<explore::TaskId> waiting_;  // at the end
  bool logs_ = false;
  LabTrace log_;
  // Of all executions.
  absl::flat_hash_map<uintptr_t, uint32_t> older_objects_;
  uint32_t older_ = 0;  // of these, and others
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_LAB_RUNTIME_H_

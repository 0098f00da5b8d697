// scenario.h: the space that the contract test sweeps: what happens to a wait, when, and from where.
#ifndef QUIESCE_TESTING_CONTRACT_SCENARIO_H_
#define QUIESCE_TESTING_CONTRACT_SCENARIO_H_

#include <cstdint>
#include <string>
#include <vector>

namespace quiesce::contract {

// The moments of one wait, in order. Each but kParked is a point in the waiting task's step.
enum class Moment : uint8_t {
  kBeforeStart,  // the task is spawned and has not begun
  kBeforeWait,   // the wait's expression is not evaluated yet
  kBeforeAwait,  // the wait is made, the co_await not begun
  kChecked,      // the cancel state was read, next is Try
  kArming,       // Try found nothing, next is Register
  kRegistered,   // next is the second look at the cancel state
  kEnqueueing,   // next is Enqueue
  kParking,      // queued, next is the commit of the park
  kParked,       // the step has ended
  kResuming,     // decided and run again; the decision is not read yet
  kSettling,     // read; next is Harvest or Withdraw
  kAfter,        // the wait has yielded
  kNever,
};
inline constexpr int kMoments = static_cast<int>(Moment::kNever);
const char* MomentName(Moment moment);
// Sets of moments.
constexpr uint32_t Bit(Moment moment) { return 1u << static_cast<int>(moment); }
inline constexpr uint32_t kAllMoments = (1u << kMoments) - 1;

// What may end the wait.
enum class Source : uint8_t {
  kRegionRequest,     // RegionRef::Cancel of its region
  kParentRequest,     // … of the region above
  kHandleRequest,     // TaskHandle::Cancel
  kShutdown,          // RegionRef::Shutdown
  kDeadline,          // of its region
  kPollQuota,         // of its region
  kCostQuota,         // of its region
  kRegionSpent,       // a request whose drain time is over at once
  kRegionPollsSpent,  // a request whose drain polls are used up at once
  kHandleSpent,       // TaskHandle::Cancel with a drain time that is over at once
  kHandlePollsSpent,  // TaskHandle::Cancel with drain polls that are used up at once
  kGraceSpent,        // kRegionSpent, and the finalizers' grace is over as well
};
inline constexpr int kSources = static_cast<int>(Source::kGraceSpent) + 1;
const char* SourceName(Source source);

// How the wait stands to a cancel.
enum class Mode : uint8_t { kOrdinary, kForDrain, kMasked, kFinalizer };
const char* ModeName(Mode mode);

// Who does it, relative to the waiting task's step: the same worker in the middle of the step, or
// another one (which then also runs the steps that follow from it) while this one is held up, or a
// thread that is no worker.
enum class From : uint8_t { kSameWorker, kOtherWorker, kForeignThread };
const char* FromName(From from);

struct Scenario {
  Mode mode = Mode::kOrdinary;
  Source source = Source::kRegionRequest;
  From from = From::kSameWorker;
  Moment cancel = Moment::kNever;
  Moment grant = Moment::kNever;  // kBeforeStart also stands for "was there before"
  bool grant_first = false;       // if both come at the same moment

  std::string ToString() const;
  // Does the grant come before the cancel?
  bool GrantLeads() const { return grant < cancel || (grant == cancel && grant_first); }
};

// Every combination for one mode.
std::vector<Scenario> AllScenarios(Mode mode);

}  // namespace quiesce::contract

#endif  // QUIESCE_TESTING_CONTRACT_SCENARIO_H_

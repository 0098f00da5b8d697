// region_policy.h: what a region does when a child fails, and how much it may use.
#ifndef QUIESCE_RUNTIME_REGION_REGION_POLICY_H_
#define QUIESCE_RUNTIME_REGION_REGION_POLICY_H_

#include <cstdint>

#include "absl/time/time.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/outcome/outcome.h"

namespace quiesce {
inline namespace v0 {

// Where an isolating region puts the failures of its children. Thread-safe; must not block; outlives
// the region. The default one writes a line to stderr for each of the first 16 of a region.
class ErrorSink {
 public:
  virtual ~ErrorSink() = default;
  // `region` and `task` are names. `failure` is an Error or a Panic.
  virtual void OnChildFailed(const char* region, const char* task,
                             const Outcome<void>& failure) = 0;
};

// child ends with  | FailFast                     | CollectAll | Isolate
// -----------------|------------------------------|------------|------------------------------
// Ok               | –                            | –          | –
// Error            | joined; cancels all siblings | joined     | goes to the sink; not joined
// Panic            | joined; cancels all siblings | joined     | goes to the sink; joined
// Cancelled        | joined, unless its cause lies inside the region (R1)
//
// The body counts as a child, but for Isolate: what the body ends with is always joined.
class RegionPolicy {
 public:
  // kOnlyPanics is for combinators, whose body reads the outcomes of the children and decides what
  // they are worth: a Panic is joined and cancels all siblings, all else is left to the body.
  enum class Kind : uint8_t { kFailFast, kCollectAll, kIsolate, kOnlyPanics };
  RegionPolicy() : RegionPolicy(Kind::kFailFast, nullptr) {}
  RegionPolicy(Kind kind, ErrorSink* sink) : kind_(kind), sink_(sink) {}
  Kind kind() const { return kind_; }
  ErrorSink* sink() const { return sink_; }

 private:
  Kind kind_;
  ErrorSink* sink_;
};

inline RegionPolicy FailFast() { return RegionPolicy(); }
inline RegionPolicy CollectAll() { return RegionPolicy(RegionPolicy::Kind::kCollectAll, nullptr); }
// Without a sink: that of the nearest isolating region above, in the end the default one.
inline RegionPolicy Isolate(ErrorSink* sink = nullptr) {
  return RegionPolicy(RegionPolicy::Kind::kIsolate, sink);
}

class RegionOptions {
 public:
  RegionOptions() : grace_(absl::InfiniteDuration()) {}

  // Running out of any field cancels the region: kDeadline or kQuota (R5).
  RegionOptions& WithBudget(Budget budget) {
    budget_ = budget;
    return *this;
  }
  // What a drain of this region may use when the request does not say. Unlimited fields are inherited;
  // the root has 5 s.
  RegionOptions& WithDrain(Budget drain) {
    drain_ = drain;
    return *this;
  }
  // Time for finalizers after the drain; inherited, the root has 1 s. Not negative.
  RegionOptions& WithGrace(absl::Duration grace);
  // Admission: at most so many tasks, and so many bytes of spawn blocks, at once. Positive.
  RegionOptions& WithMaxTasks(int64_t tasks);
  RegionOptions& WithMaxSpawnBytes(int64_t bytes);

  const Budget& budget() const { return budget_; }
  const Budget& drain() const { return drain_; }
  absl::Duration grace() const { return grace_; }  // infinite: inherited
  int64_t max_tasks() const { return max_tasks_; }
  int64_t max_spawn_bytes() const { return max_spawn_bytes_; }

 private:
  Budget budget_;
  Budget drain_;
  absl::Duration grace_;
  int64_t max_tasks_ = Budget::kUnlimited;
  int64_t max_spawn_bytes_ = Budget::kUnlimited;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_REGION_POLICY_H_

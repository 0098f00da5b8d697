// lane_picker.h: which lane goes next (R9). The one piece of code that decides it, in production and lab.
//
// Why:        cancel goes first and deadlines come before the rest, but a flood of either must not
//             starve what is below it.
// Example:    if (auto lane = picker.Next(has_cancel, has_timed, has_ready)) Run(*lane);
// Invariants: (1) while a lower lane waits, at most kMaxCancelStreak cancel steps are picked before a
//                 step of a lower lane, and at most kMaxTimedStreak timed steps before a ready step;
//             (2) so ready work waits for at most kMaxCancelStreak + kMaxTimedStreak steps, timed work
//                 for at most 2 * kMaxCancelStreak + 1, cancel work for at most kMaxTimedStreak + 1;
//             (3) a lane without work costs nothing: it neither delays the others nor counts.
// Threads:    none by itself; each worker has its own.
#ifndef QUIESCE_RUNTIME_SCHEDULER_LANE_PICKER_H_
#define QUIESCE_RUNTIME_SCHEDULER_LANE_PICKER_H_

#include <cstdint>
#include <optional>

#include "quiesce/runtime/scheduler/scheduler.h"

namespace quiesce {
inline namespace v0 {

class LanePicker {
 public:
  static constexpr uint32_t kMaxCancelStreak = 16;
  static constexpr uint32_t kMaxTimedStreak = 32;

  // The lane from which the next step must be taken; nothing if no lane has work.
  constexpr std::optional<Lane> Next(bool has_cancel, bool has_timed, bool has_ready) {
    if (has_cancel && (cancel_streak_ < kMaxCancelStreak || !(has_timed || has_ready))) {
      // Steps that nobody below waited for are not held against the lane.
      cancel_streak_ = has_timed || has_ready ? cancel_streak_ + 1 : 0;
      return Lane::kCancel;
    }
    if (has_timed && (timed_streak_ < kMaxTimedStreak || !has_ready)) {
      if (has_ready) {
        ++timed_streak_;
      } else {
        // There is no ready step that would start the next round, so this one does.
        cancel_streak_ = timed_streak_ = 0;
      }
      return Lane::kTimed;
    }
    cancel_streak_ = timed_streak_ = 0;
    if (has_ready) return Lane::kReady;
    return std::nullopt;
  }

  friend constexpr bool operator==(const LanePicker&, const LanePicker&) = default;

 private:
  // Steps picked since the last ready step, of those for which a lower lane had to wait.
  uint32_t cancel_streak_ = 0;
  uint32_t timed_streak_ = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SCHEDULER_LANE_PICKER_H_

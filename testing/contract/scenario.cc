#include "quiesce/testing/contract/scenario.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace quiesce::contract {

const char* MomentName(Moment moment) {
  static constexpr const char* kNames[] = {"before-start", "before-wait", "before-await", "checked",
                                           "arming",       "registered",  "enqueueing",   "parking",
                                           "parked",       "resuming",    "settling",     "after",
                                           "never"};
  static_assert(std::size(kNames) == kMoments + 1);
  return kNames[static_cast<int>(moment)];
}

const char* SourceName(Source source) {
  static constexpr const char* kNames[] = {"region-request",
                                           "parent-request",
                                           "handle-request",
                                           "shutdown",
                                           "deadline",
                                           "poll-quota",
                                           "cost-quota",
                                           "region-drain-time-spent",
                                           "region-drain-polls-spent",
                                           "handle-drain-time-spent",
                                           "handle-drain-polls-spent",
                                           "grace-spent"};
  static_assert(std::size(kNames) == kSources);
  return kNames[static_cast<int>(source)];
}

const char* ModeName(Mode mode) {
  static constexpr const char* kNames[] = {"ordinary", "for-drain", "masked", "finalizer"};
  return kNames[static_cast<int>(mode)];
}

const char* FromName(From from) {
  static constexpr const char* kNames[] = {"same-worker", "other-worker", "foreign-thread"};
  return kNames[static_cast<int>(from)];
}

std::string Scenario::ToString() const {
  std::string text = absl::StrCat(ModeName(mode), " wait; cancel ", MomentName(cancel));
  if (cancel != Moment::kNever) absl::StrAppend(&text, " by ", SourceName(source));
  absl::StrAppend(&text, "; grant ", MomentName(grant));
  if (cancel == grant && cancel != Moment::kNever) {
    text += grant_first ? " (grant first)" : " (cancel first)";
  }
  return absl::StrCat(text, "; from ", FromName(from));
}

std::vector<Scenario> AllScenarios(Mode mode) {
  std::vector<Scenario> all;
  for (const From from : {From::kSameWorker, From::kOtherWorker, From::kForeignThread}) {
    for (int source = 0; source < kSources; ++source) {
      for (int cancel = 0; cancel <= kMoments; ++cancel) {
        for (int grant = 0; grant <= kMoments; ++grant) {
          for (const bool grant_first : {false, true}) {
            Scenario scenario;
            scenario.mode = mode;
            scenario.source = static_cast<Source>(source);
            scenario.from = from;
            scenario.cancel = static_cast<Moment>(cancel);
            scenario.grant = static_cast<Moment>(grant);
            scenario.grant_first = grant_first;
            const bool cancelled = scenario.cancel != Moment::kNever;
            if (!cancelled && source != 0) continue;  // the source makes no difference
            if (grant_first && (cancel != grant || !cancelled)) continue;
            all.push_back(scenario);
          }
        }
      }
    }
  }
  return all;
}

}  // namespace quiesce::contract

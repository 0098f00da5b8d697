#include "quiesce/runtime/scheduler/lane_picker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

namespace quiesce {
namespace {

// What the picker sees before one step.
struct Waiting {
  bool cancel;
  bool timed;
  bool ready;
  bool In(Lane lane) const {
    return lane == Lane::kCancel ? cancel : lane == Lane::kTimed ? timed : ready;
  }
};

constexpr Waiting WaitingOf(unsigned bits) {
  return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
}

// All states that a picker can be in, and where each of the eight inputs leads from there.
class Graph {
 public:
  struct Edge {
    size_t to;
    std::optional<Lane> picked;
  };

  Graph() {
    states_.push_back(LanePicker());
    for (size_t from = 0; from < states_.size(); ++from) {
      edges_.emplace_back();
      for (unsigned bits = 0; bits < 8; ++bits) {
        LanePicker picker = states_[from];
        const Waiting waiting = WaitingOf(bits);
        const std::optional<Lane> picked =
            picker.Next(waiting.cancel, waiting.timed, waiting.ready);
        auto found = std::find(states_.begin(), states_.end(), picker);
        if (found == states_.end()) found = states_.insert(states_.end(), picker);
        edges_[from].push_back({static_cast<size_t>(found - states_.begin()), picked});
      }
    }
  }

  size_t size() const { return states_.size(); }
  const std::vector<Edge>& edges(size_t state) const { return edges_[state]; }

  // The most steps for which work in `lane` can be passed over, whatever else comes and goes. Empty if
  // there is no bound.
  std::optional<size_t> LongestWait(Lane lane) const {
    enum { kNew, kOpen, kDone };
    std::vector<int> mark(size(), kNew);
    std::vector<size_t> longest(size(), 0);
    bool bounded = true;
    std::function<void(size_t)> visit = [&](size_t state) {
      mark[state] = kOpen;
      for (unsigned bits = 0; bits < 8; ++bits) {
        const Edge& edge = edges_[state][bits];
        if (!WaitingOf(bits).In(lane) || edge.picked == lane) continue;
        if (mark[edge.to] == kOpen) bounded = false;
        if (mark[edge.to] == kNew) visit(edge.to);
        longest[state] = std::max(longest[state], longest[edge.to] + 1);
      }
      mark[state] = kDone;
    };
    for (size_t state = 0; state < size(); ++state) {
      if (mark[state] == kNew) visit(state);
    }
    if (!bounded) return std::nullopt;
    return *std::max_element(longest.begin(), longest.end());
  }

 private:
  std::vector<LanePicker> states_;
  std::vector<std::vector<Edge>> edges_;
};

TEST(LanePickerTest, PicksOnlyLanesWithWorkAndNothingOnlyIfThereIsNone) {
  const Graph graph;
  for (size_t state = 0; state < graph.size(); ++state) {
    for (unsigned bits = 0; bits < 8; ++bits) {
      const std::optional<Lane> picked = graph.edges(state)[bits].picked;
      EXPECT_EQ(picked.has_value(), bits != 0);
      if (picked.has_value()) {
        EXPECT_TRUE(WaitingOf(bits).In(*picked));
      }
    }
  }
}

TEST(LanePickerTest, NoLaneWaitsLongerThanItsBoundInAnyState) {
  const Graph graph;
  constexpr size_t kCancel = LanePicker::kMaxCancelStreak;
  constexpr size_t kTimed = LanePicker::kMaxTimedStreak;
  EXPECT_EQ(graph.LongestWait(Lane::kReady), kCancel + kTimed);
  EXPECT_EQ(graph.LongestWait(Lane::kTimed), 2 * kCancel + 1);
  EXPECT_EQ(graph.LongestWait(Lane::kCancel), kTimed + 1);
}

TEST(LanePickerTest, FloodOfAllLanesGoesInRoundsOfSixteenThirtyTwoAndOne) {
  LanePicker picker;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 16; ++i) EXPECT_EQ(picker.Next(true, true, true), Lane::kCancel);
    for (int i = 0; i < 32; ++i) EXPECT_EQ(picker.Next(true, true, true), Lane::kTimed);
    EXPECT_EQ(picker.Next(true, true, true), Lane::kReady);
  }
}

TEST(LanePickerTest, CancelStepsForWhichNobodyWaitedAreNotHeldAgainstTheLane) {
  LanePicker picker;
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(picker.Next(true, false, false), Lane::kCancel);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(picker.Next(true, false, true), Lane::kCancel);
  EXPECT_EQ(picker.Next(true, false, true), Lane::kReady);
}

TEST(LanePickerTest, CancelDoesNotStarveTimedWhenThereIsNoReadyWork) {
  LanePicker picker;
  int timed = 0;
  for (int i = 0; i < 17 * 10; ++i) timed += picker.Next(true, true, false) == Lane::kTimed;
  EXPECT_EQ(timed, 10);
}

}  // namespace
}  // namespace quiesce

#include "quiesce/testing/explore/every_order.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "quiesce/testing/explore/trace.h"

namespace quiesce::explore {

EveryOrder RunEveryOrder(Model* model) {
  EveryOrder all;
  Trace trace;
  std::vector<TaskId> can;
  std::vector<size_t> choices;  // of the tasks that can go, which
  while (true) {
    trace.Begin(model);
    std::vector<size_t> ways;
    uint32_t preemptions = 0;
    while (true) {
      FindEnabled(model, &can);
      if (can.empty()) break;
      ways.push_back(can.size());
      if (choices.size() < ways.size()) choices.push_back(0);
      const TaskId task = can[choices[ways.size() - 1]];
      if (trace.length() > 0) {
        const TaskId latest = trace[trace.length() - 1].task;
        if (latest != task && std::ranges::count(can, latest) != 0) ++preemptions;
      }
      trace.Step(model, task);
    }
    const bool deadlock = !model->live().empty();
    uint32_t& least = (deadlock ? all.deadlocks : all.classes)
                          .try_emplace(trace.ClassHash(), preemptions)
                          .first->second;
    least = std::min(least, preemptions);
    model->End(deadlock ? Model::Ended::kDeadlock : Model::Ended::kComplete);
    while (!choices.empty() && choices.back() + 1 == ways[choices.size() - 1]) choices.pop_back();
    if (choices.empty()) return all;
    ++choices.back();
  }
}

}  // namespace quiesce::explore

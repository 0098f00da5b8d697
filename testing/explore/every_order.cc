#include "quiesce/testing/explore/every_order.h"

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
    while (true) {
      FindEnabled(model, &can);
      if (can.empty()) break;
      ways.push_back(can.size());
      if (choices.size() < ways.size()) choices.push_back(0);
      trace.Step(model, can[choices[ways.size() - 1]]);
    }
    const bool deadlock = !model->live().empty();
    (deadlock ? all.deadlocks : all.classes).insert(trace.ClassHash());
    model->End(deadlock ? Model::Ended::kDeadlock : Model::Ended::kComplete);
    while (!choices.empty() && choices.back() + 1 == ways[choices.size() - 1]) choices.pop_back();
    if (choices.empty()) return all;
    ++choices.back();
  }
}

}  // namespace quiesce::explore

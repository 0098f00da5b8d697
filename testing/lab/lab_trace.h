// lab_trace.h: what one execution did, for people: as text, as a page, and for ui.perfetto.dev.
#ifndef QUIESCE_TESTING_LAB_LAB_TRACE_H_
#define QUIESCE_TESTING_LAB_LAB_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "quiesce/runtime/trace/event.h"

namespace quiesce::lab {

struct LabTrace {
  struct TaskInfo {
    std::string name;
    std::string spawned_at;      // "file.cc:12"; empty: it is the lab's
    uint64_t id = 0;             // in events; 0: none of the runtime's
    std::string ToText() const;  // "'worker' (file.cc:12)"
  };
  struct Step {
    uint32_t task = 0;  // an index of tasks
    std::string what;
    int64_t time_ns = 0;    // since the beginning, virtual
    bool decision = false;  // another task would have gone
    bool matters = true;    // what failed depends on it
    bool quiet = false;     // a look at the own cancel state
  };
  std::string title;
  std::string problem;  // empty: none
  std::string verdict;
  std::vector<TaskInfo> tasks;
  std::vector<Step> steps;
  std::vector<Event> events;  // time_ns: the step, counted from 0; worker: the index of the task

  // One lane for each task, a line for each step that matters.
  std::string ToText() const;
  // The JSON that chrome://tracing and ui.perfetto.dev open. A step takes a microsecond.
  std::string ToChromeTrace() const;
  // One HTML page that needs nothing else: lanes, regions, cancels, permits.
  std::string ToPage() const;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_LAB_TRACE_H_

#include "quiesce/testing/lab/lab_trace.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "quiesce/runtime/trace/recorder.h"

namespace quiesce::lab {
namespace {

// The page, but for its data: trace_page.html.
constexpr char kPage[] =
#include "testing/lab/trace_page.inc"
    ;  // NOLINT(whitespace/semicolon)

constexpr size_t kMostLanes = 5;
constexpr size_t kLaneWidth = 30;

std::string Cut(absl::string_view text, size_t width) {
  if (text.size() <= width) return std::string(text);
  return absl::StrCat(text.substr(0, width - 1), "~");
}

// As a JSON string that may stand in a <script>.
std::string Quote(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        quoted += "\\\"";
        break;
      case '\\':
        quoted += "\\\\";
        break;
      case '\n':
        quoted += "\\n";
        break;
      case '<':
        quoted += "\\u003c";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          absl::StrAppendFormat(&quoted, "\\u%04x", c);
        } else {
          quoted += c;
        }
    }
  }
  return quoted + "\"";
}

}  // namespace

std::string LabTrace::TaskInfo::ToText() const {
  return absl::StrCat("'", name, "'",
                      spawned_at.empty() ? "" : absl::StrCat(" (", spawned_at, ")"));
}

std::string LabTrace::ToText() const {
  const auto cancel = std::ranges::find(events, EventKind::kCancelRequest, &Event::kind);
  const size_t cancelled_at =
      cancel == events.end() ? steps.size() : static_cast<size_t>(cancel->time_ns);
  const auto shown = [&](size_t at) {
    const Step& step = steps[at];
    return step.decision || (step.matters && (at > cancelled_at || !step.quiet));
  };
  std::vector<uint32_t> lanes;  // in order of appearance
  for (size_t at = 0; at < steps.size(); ++at) {
    const Step& step = steps[at];
    if (shown(at) && std::ranges::count(lanes, step.task) == 0) lanes.push_back(step.task);
  }
  std::string text;
  for (const uint32_t task : lanes) {
    if (tasks[task].spawned_at.empty()) continue;
    absl::StrAppend(&text, "  '", tasks[task].name, "' was spawned at ", tasks[task].spawned_at,
                    "\n");
  }
  const bool columns = lanes.size() <= kMostLanes;
  if (columns) {
    absl::StrAppend(&text, "\n   step ");
    for (const uint32_t task : lanes) {
      absl::StrAppendFormat(&text, " %-*s", kLaneWidth, Cut(tasks[task].name, kLaneWidth));
    }
    text += "\n";
  }
  for (size_t at = 0; at < steps.size(); ++at) {
    const Step& step = steps[at];
    if (!shown(at)) continue;
    absl::StrAppendFormat(&text, "%s%5d ", step.decision ? "=>" : "  ", at);
    if (columns) {
      const auto lane = static_cast<size_t>(std::ranges::find(lanes, step.task) - lanes.begin());
      text.append(lane * (kLaneWidth + 1), ' ');
      absl::StrAppend(&text, " ", step.what);
    } else {
      absl::StrAppendFormat(&text, " %-16s %s", Cut(tasks[step.task].name, 16), step.what);
    }
    text += "\n";
  }
  return text;
}

std::string LabTrace::ToChromeTrace() const {
  std::vector<Event> scaled = events;
  for (Event& event : scaled) event.time_ns *= 1000;
  return FormatChromeTrace(scaled);
}

std::string LabTrace::ToPage() const {
  const auto task_json = [](std::string* to, const TaskInfo& task) {
    absl::StrAppend(to, "{\"name\":", Quote(task.name), ",\"at\":", Quote(task.spawned_at),
                    ",\"id\":", task.id, "}");
  };
  const auto step_json = [](std::string* to, const Step& step) {
    absl::StrAppend(to, "{\"task\":", step.task, ",\"what\":", Quote(step.what),
                    ",\"time\":", step.time_ns, ",\"decision\":", step.decision ? "true" : "false",
                    ",\"matters\":", step.matters ? "true" : "false", "}");
  };
  const auto event_json = [](std::string* to, const Event& event) {
    absl::StrAppend(to, "{\"step\":", event.time_ns, ",\"kind\":", Quote(EventKindName(event.kind)),
                    ",\"region\":", event.region, ",\"task\":", event.task, ",\"arg\":\"",
                    event.arg, "\",\"name\":", Quote(event.name == nullptr ? "" : event.name), "}");
  };
  const std::string data = absl::StrCat(
      "{\"title\":", Quote(title), ",\"problem\":", Quote(problem), ",\"verdict\":", Quote(verdict),
      ",\n\"tasks\":[", absl::StrJoin(tasks, ",\n", task_json), "],\n\"steps\":[",
      absl::StrJoin(steps, ",\n", step_json), "],\n\"events\":[",
      absl::StrJoin(events, ",\n", event_json), "]}");
  return absl::StrReplaceAll(kPage, {{"/*DATA*/null", data}});
}

}  // namespace quiesce::lab

#include "quiesce/runtime/trace/recorder.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/instrumentation.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/trace/event_clock.h"
#include "quiesce/runtime/trace/rings.h"

namespace quiesce {
inline namespace v0 {
namespace {

using trace_internal::ClockPair;
using trace_internal::RecordedEvent;
using trace_internal::Rings;

// Held while the switch and the rings are moved together. Before the lock of Rings.
// Never destroyed: threads may outlive the statics.
ThreadMutex& switch_mutex = *new ThreadMutex();
// When recording started, or events were collected last. Guarded by switch_mutex.
constinit ClockPair latest_pair = {};

// Makes times of what the event clock said. In the order of `recorded`, which agrees with happens-before, the clock
// may fall behind: a processor reads its counter a little early, and a thread may be preempted before its
// event has a place in the order. Such an event gets the time of the one before.
void MakeTimes(absl::Span<RecordedEvent> recorded, const ClockPair& first, const ClockPair& last) {
  int64_t latest = INT64_MIN;
  for (RecordedEvent& each : recorded) {
    if (!each.clock_read()) continue;
    latest = std::max(latest, NanosAt(each.event.time_ns, first, last));
    each.event.time_ns = latest;
  }
}

void AppendJsonString(std::string* to, const char* text) {
  *to += '"';
  for (; *text != '\0'; ++text) {
    const unsigned char c = static_cast<unsigned char>(*text);
    if (c == '"' || c == '\\') {
      *to += '\\';
      *to += *text;
    } else if (c < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", c);
      *to += escaped;
    } else {
      *to += *text;
    }
  }
  *to += '"';
}

// One object of the Trace Event Format. `phase`: B begins a slice, E ends it, i is a mark.
void AppendTraceObject(std::string* to, char phase, const char* name, const Event& event) {
  absl::StrAppend(to, to->back() == '[' ? "\n" : ",\n", "{\"name\":");
  AppendJsonString(to, name);
  char text[64];
  std::snprintf(text, sizeof(text), ",\"ph\":\"%c\",\"ts\":%" PRId64 ".%03d", phase,
                event.time_ns / 1000, static_cast<int>(event.time_ns % 1000));
  absl::StrAppend(to, text, ",\"pid\":0,\"tid\":", event.worker);
  if (phase == 'i') *to += ",\"s\":\"t\"";
  absl::StrAppend(to, ",\"args\":{\"region\":", event.region, ",\"task\":", event.task,
                  ",\"arg\":", event.arg, "}}");
}

}  // namespace

void StartRecording(RecorderOptions options) {
  QUIESCE_CHECK(options.capacity_per_thread > 0,
                "StartRecording: capacity_per_thread must be at least 1");
  ThreadMutexLock lock(switch_mutex);
  latest_pair = trace_internal::ReadClockPair();
  Rings::Get().Open(options.capacity_per_thread);
  instrumentation::Set(instrumentation::kRecording);
}

void StopRecording() {
  ThreadMutexLock lock(switch_mutex);
  instrumentation::Clear(instrumentation::kRecording);
  Rings::Get().Close();
}

std::vector<Event> CollectEvents() {
  std::vector<RecordedEvent> recorded;
  ClockPair first, last;
  {
    ThreadMutexLock lock(switch_mutex);
    last = trace_internal::ReadClockPair();
    first = std::exchange(latest_pair, last);
    recorded = Rings::Get().Collect();
  }
  std::sort(recorded.begin(), recorded.end(),
            [](const RecordedEvent& left, const RecordedEvent& right) {
              return left.order < right.order;
            });
  MakeTimes(absl::MakeSpan(recorded), first, last);
  // A hook's times may go back.
  std::sort(recorded.begin(), recorded.end(),
            [](const RecordedEvent& left, const RecordedEvent& right) {
              return std::pair(left.event.time_ns, left.order) <
                     std::pair(right.event.time_ns, right.order);
            });
  std::vector<Event> events;
  events.reserve(recorded.size());
  for (const RecordedEvent& each : recorded) events.push_back(each.event);
  return events;
}

uint64_t DroppedEvents() { return Rings::Get().Dropped(); }

RecorderHooks SetRecorderHooks(RecorderHooks hooks) {
  return {
      .time_ns = trace_internal::time_hook.exchange(hooks.time_ns, std::memory_order_relaxed),
      .worker = trace_internal::worker_hook.exchange(hooks.worker, std::memory_order_relaxed),
  };
}

std::string FormatEvents(absl::Span<const Event> events) {
  std::string text;
  for (const Event& event : events) {
    char time[32];
    std::snprintf(time, sizeof(time), "%6" PRId64 ".%09d", event.time_ns / 1'000'000'000,
                  static_cast<int>(event.time_ns % 1'000'000'000));
    absl::StrAppend(&text, time, " ");
    if (event.worker == kNoTraceWorker) {
      text += "--";
    } else {
      absl::StrAppend(&text, "w", event.worker);
    }
    absl::StrAppend(&text, " ", EventKindName(event.kind));
    if (event.region != 0) absl::StrAppend(&text, " region ", event.region);
    if (event.task != 0) absl::StrAppend(&text, " task ", event.task);
    absl::StrAppend(&text, " arg ", event.arg);
    if (event.name != nullptr) absl::StrAppend(&text, " '", event.name, "'");
    text += '\n';
  }
  return text;
}

std::string FormatChromeTrace(absl::Span<const Event> events) {
  std::string text = "{\"traceEvents\":[";
  std::unordered_map<uint64_t, const char*> task_names;
  std::unordered_map<uint32_t, Event> open_slices;  // by worker; at most one step runs on each
  const auto close = [&](const Event& at) {
    const auto open = open_slices.find(at.worker);
    if (open == open_slices.end()) return;
    open->second.time_ns = at.time_ns;
    AppendTraceObject(&text, 'E', "", open->second);
    open_slices.erase(open);
  };
  for (const Event& event : events) {
    switch (event.kind) {
      case EventKind::kSpawn:
        if (event.name != nullptr) task_names[event.task] = event.name;
        AppendTraceObject(&text, 'i', EventKindName(event.kind), event);
        break;
      case EventKind::kStart:
      case EventKind::kResume: {
        close(event);  // a step may end without an event, by a yield
        const auto name = task_names.find(event.task);
        AppendTraceObject(&text, 'B', name == task_names.end() ? "task" : name->second, event);
        open_slices.emplace(event.worker, event);
        break;
      }
      case EventKind::kPark:
      case EventKind::kTaskEnd:
        AppendTraceObject(&text, 'i', EventKindName(event.kind), event);
        close(event);
        break;
      default:
        AppendTraceObject(&text, 'i', EventKindName(event.kind), event);
    }
  }
  // What still runs, or whose end was overwritten, ends with the trace.
  std::vector<uint32_t> workers;
  for (const auto& [worker, event] : open_slices) workers.push_back(worker);
  std::sort(workers.begin(), workers.end());
  for (const uint32_t worker : workers) {
    Event at = events.back();
    at.worker = worker;
    close(at);
  }
  text += "\n]}\n";
  return text;
}

}  // namespace v0
}  // namespace quiesce

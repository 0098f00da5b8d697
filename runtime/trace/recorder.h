// recorder.h: turns recording on and off at run time, and hands out what was recorded.
//
// Example:    StartRecording();
//             … run something …
//             StopRecording();
//             std::cerr << FormatEvents(CollectEvents());
// Invariants: (1) each thread writes into a ring of its own that overwrites its oldest events;
//             memory is bounded by the threads that live, plus a few that ended, times the capacity;
//             (2) once StopRecording has returned, no event is added;
//             (3) an event is collected once, and those of one Collect are in an order that agrees
//             with happens-before.
// Threads:    any.
#ifndef QUIESCE_RUNTIME_TRACE_RECORDER_H_
#define QUIESCE_RUNTIME_TRACE_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

struct RecorderOptions {
  // Events kept for each thread: the newest. At least 1. 56 bytes each, touched only when written.
  size_t capacity_per_thread = 1 << 16;
};

// Starts afresh: forgets what was not collected, also if recording was on already.
void StartRecording(RecorderOptions options = RecorderOptions());
// What was recorded stays until it is collected or recording starts again.
void StopRecording();

// Takes the events out of the recorder, ordered by time, then by the order of their recording. May
// be called while recording goes on, and then returns what has come since the last call. Events of
// threads that have ended are included.
std::vector<Event> CollectEvents();

// Events lost since StartRecording: overwritten before they were collected, or emitted by a thread
// that was being torn down.
uint64_t DroppedEvents();

// Where the time and the worker of an event come from. Null: CLOCK_MONOTONIC, as exactly as it
// ran evenly since StartRecording or the last CollectEvents; the number of the worker in its runtime, kNoTraceWorker on
// other threads.
struct RecorderHooks {
  int64_t (*time_ns)() = nullptr;
  uint32_t (*worker)() = nullptr;
};
// The hooks run on the emitting thread, inside of Emit, and must not emit. Returns the previous ones,
// to be put back. For the lab, which has a time and workers of its own.
RecorderHooks SetRecorderHooks(RecorderHooks hooks);

// One line for each event, for people:
//   "    12.000345678 w0 park region 3 task 17 arg 5 'Channel.Reserve'".
std::string FormatEvents(absl::Span<const Event> events);
// The JSON that chrome://tracing and ui.perfetto.dev open: a row for each worker, a slice for each
// step of a task, a mark for everything else. Workers of two runtimes that have the same number share a row:
// record one at a time.
std::string FormatChromeTrace(absl::Span<const Event> events);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TRACE_RECORDER_H_

// emit.h: the one line that a primitive writes to be seen, in traces and by an observer.
//
// Example:    Emit(EventKind::kSpawn, region_id, task_id, parent_id, "connection");
// Cost:       off, one relaxed load and a branch that predicts well. On, about a clock read (event_clock.h) and a
//             store under the thread's own uncontended lock, or what the observer does.
// Threads:    any, also with a SpinLock of a primitive held. Never waits for user code.
#ifndef QUIESCE_RUNTIME_TRACE_EMIT_H_
#define QUIESCE_RUNTIME_TRACE_EMIT_H_

#include <atomic>
#include <cstdint>

#include "quiesce/runtime/base/instrumentation.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

namespace trace_internal {
// Set by SetRecorderHooks; null: the default. Relaxed: what they point at was there before any thread.
extern std::atomic<int64_t (*)()> time_hook;
extern std::atomic<uint32_t (*)()> worker_hook;
[[gnu::noinline, gnu::cold]] void EmitSlow(EventKind kind, uint64_t region, uint64_t task,
                                           uint64_t arg, const char* name);
}  // namespace trace_internal

// The ring's lock decides whether a late event still counts.
inline bool Recording() { return instrumentation::Any(instrumentation::kRecording); }

// Would Emit do anything? For who would have to fetch what it says.
// A program that is compiled with QUIESCE_EVENTS_COMPILED_OUT, all of it, does not even ask, and has no events:
// testing/bench measures against it what the question costs.
#if defined(QUIESCE_EVENTS_COMPILED_OUT)
inline bool EventsWanted() { return false; }
inline bool EventsWanted(EventKind) { return false; }
#else
inline bool EventsWanted() { return instrumentation::Any(instrumentation::kEvents); }
// The same for one kind: nobody but an observer sees the points, and each wait passes several.
inline bool EventsWanted(EventKind kind) {
  return instrumentation::Any(IsPoint(kind) ? instrumentation::kObserving
                                            : instrumentation::kEvents);
}
#endif

// The number that the events of this thread carry, unless a hook of the recorder says otherwise. A worker
// sets it when it starts.
void SetTraceWorker(uint32_t worker);

// Records an event, if events are being recorded, and shows it to the observer, if there is one.
// `name` must be a literal, or null.
inline void Emit(EventKind kind, uint64_t region, uint64_t task, uint64_t arg = 0,
                 const char* name = nullptr) {
  if (EventsWanted(kind)) [[unlikely]]
    trace_internal::EmitSlow(kind, region, task, arg, name);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TRACE_EMIT_H_

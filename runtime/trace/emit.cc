#include "quiesce/runtime/trace/emit.h"

#include <utility>

#include "quiesce/runtime/base/instrumentation.h"
#include "quiesce/runtime/trace/observer.h"
#include "quiesce/runtime/trace/rings.h"

namespace quiesce {
inline namespace v0 {
namespace {

// Null while kObserving is off. Release on setting, acquire on use.
std::atomic<EventObserver*> observer{nullptr};

}  // namespace

namespace trace_internal {

std::atomic<int64_t (*)()> time_hook{nullptr};
std::atomic<uint32_t (*)()> worker_hook{nullptr};

namespace {

// Plain words, which outlive every thread-local object, so that destructors may still emit.
thread_local constinit Ring* this_thread_ring = nullptr;
thread_local constinit bool this_thread_ended = false;
thread_local constinit uint32_t this_thread_worker = kNoTraceWorker;

struct RetireAtThreadEnd {
  ~RetireAtThreadEnd() {
    this_thread_ended = true;
    Ring* const ring = std::exchange(this_thread_ring, nullptr);
    if (ring != nullptr) Rings::Get().Retire(ring);
  }
};

// Null when the thread is being torn down.
Ring* ThisThreadRing() {
  if (this_thread_ring == nullptr && !this_thread_ended) {
    thread_local RetireAtThreadEnd retire_at_thread_end;
    static_cast<void>(retire_at_thread_end);  // a use, which constructs it
    this_thread_ring = Rings::Get().Add();
  }
  return this_thread_ring;
}

// Not in EmitSlow: that is cold for its callers' sake, and what is cold is compiled to be small.
[[gnu::noinline]] void Record(EventKind kind, uint64_t region, uint64_t task, uint64_t arg,
                              const char* name) {
  Ring* const ring = ThisThreadRing();
  if (ring == nullptr) {
    Rings::Get().CountLateEvent();
    return;
  }
  int64_t (*const time_ns)() = time_hook.load(std::memory_order_relaxed);
  uint32_t (*const worker)() = worker_hook.load(std::memory_order_relaxed);
  ring->Write({.time_ns = time_ns == nullptr ? 0 : time_ns(),
               .region = region,
               .task = task,
               .arg = arg,
               .name = name,
               .worker = worker == nullptr ? this_thread_worker : worker(),
               .kind = kind},
              time_ns != nullptr);
}

}  // namespace

void EmitSlow(EventKind kind, uint64_t region, uint64_t task, uint64_t arg, const char* name) {
  // The observer comes first: what it does at this point happens before the event's consequences.
  if (EventObserver* const seen_by = observer.load(std::memory_order_acquire)) {
    seen_by->OnEvent(kind, region, task, arg, name);
  }
  if (Recording() && !IsPoint(kind)) Record(kind, region, task, arg, name);
}

}  // namespace trace_internal

void SetTraceWorker(uint32_t worker) { trace_internal::this_thread_worker = worker; }

EventObserver* SetEventObserver(EventObserver* next) {
  if (next != nullptr) {
    instrumentation::Set(instrumentation::kObserving);
  } else {
    instrumentation::Clear(instrumentation::kObserving);
  }
  return observer.exchange(next, std::memory_order_acq_rel);
}

}  // namespace v0
}  // namespace quiesce

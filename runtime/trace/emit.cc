#include "quiesce/runtime/trace/emit.h"

#include <time.h>

#include <utility>

#include "quiesce/runtime/trace/rings.h"

namespace quiesce {
inline namespace v0 {
namespace trace_internal {

std::atomic<bool> recording{false};
std::atomic<int64_t (*)()> time_hook{nullptr};
std::atomic<uint32_t (*)()> worker_hook{nullptr};

namespace {

// Two plain words, which outlive every thread-local object, so that destructors may still emit.
thread_local constinit Ring* this_thread_ring = nullptr;
thread_local constinit bool this_thread_ended = false;

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

int64_t MonotonicNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

void EmitSlow(EventKind kind, uint64_t region, uint64_t task, uint64_t arg, const char* name) {
  Ring* const ring = ThisThreadRing();
  if (ring == nullptr) {
    Rings::Get().CountLateEvent();
    return;
  }
  int64_t (*const time_ns)() = time_hook.load(std::memory_order_relaxed);
  uint32_t (*const worker)() = worker_hook.load(std::memory_order_relaxed);
  ring->Write({.time_ns = time_ns == nullptr ? MonotonicNanos() : time_ns(),
               .region = region,
               .task = task,
               .arg = arg,
               .name = name,
               .worker = worker == nullptr ? kNoTraceWorker : worker(),
               .kind = kind});
}

}  // namespace trace_internal
}  // namespace v0
}  // namespace quiesce

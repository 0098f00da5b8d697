// poller_support.h: what every poller does alike, whatever of the kernel's is behind it. Internal to runtime/reactor.
#ifndef QUIESCE_RUNTIME_REACTOR_POLLER_SUPPORT_H_
#define QUIESCE_RUNTIME_REACTOR_POLLER_SUPPORT_H_

#include <sys/epoll.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "quiesce/runtime/base/unique_fd.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/reactor/poller.h"

namespace quiesce {
inline namespace v0 {

// What a source is watched for. poll(2) has the same values as epoll(7).
inline constexpr uint32_t kWatchedEvents = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP;

// From a mask of epoll(7) to a set of IoEvents.
uint32_t ToIoEvents(uint32_t mask);

// Calls `notify`, with a trace event. The lock of the source's slot is held.
void Report(IoSource* source, uint32_t io_events);

// What the kernel answers with for a slot's source of that generation.
inline uint64_t SlotToken(uint32_t index, uint32_t generation) {
  return index | uint64_t{generation} << 32;
}

// An eventfd, to be watched for edges and never read: each WakeBy is one. Error(kResourceExhausted).
absl::StatusOr<UniqueFd> NewWakeDescriptor();
// Async-signal-safe.
void WakeBy(const UniqueFd& wake_descriptor);

// `what`, the error's name and what to do about it. Error(kResourceExhausted | kInvalidArgument).
absl::Status PollerError(int error, absl::string_view what);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_POLLER_SUPPORT_H_

// poller_support.h: what the kernel's masks and error numbers mean, to every poller. Internal to runtime/reactor.
#ifndef QUIESCE_RUNTIME_REACTOR_POLLER_SUPPORT_H_
#define QUIESCE_RUNTIME_REACTOR_POLLER_SUPPORT_H_

#include <sys/epoll.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// What a source is watched for. poll(2) has the same values as epoll(7).
inline constexpr uint32_t kWatchedEvents = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP;

// From a mask of epoll(7) to a set of IoEvents.
uint32_t ToIoEvents(uint32_t mask);

// `what`, the error's name and what to do about it. Error(kResourceExhausted | kInvalidArgument).
absl::Status PollerError(int error, absl::string_view what);

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REACTOR_POLLER_SUPPORT_H_

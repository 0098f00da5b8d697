// sending_end.h: one of the sending ends of a channel, which counts them: copies are further ones.
//
// Threads:    one object as a value; different ones at once on any threads.
#ifndef QUIESCE_RUNTIME_CHANNEL_SENDING_END_H_
#define QUIESCE_RUNTIME_CHANNEL_SENDING_END_H_

#include <utility>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {
namespace channel_internal {

// A Channel counts by AddSender and DropSender, and has counted the first one. It may be incomplete here: a message may
// hold a sender of its own channel.
template <class Channel>
class SendingEnd {
 public:
  explicit SendingEnd(Channel* channel) : channel_(channel) {}
  SendingEnd(const SendingEnd& other) : channel_(other.channel_) {
    if (channel_ != nullptr) channel_->AddSender();
  }
  SendingEnd(SendingEnd&& other) noexcept : channel_(std::exchange(other.channel_, nullptr)) {}
  SendingEnd& operator=(SendingEnd other) noexcept {
    std::swap(channel_, other.channel_);
    return *this;
  }
  ~SendingEnd() {
    if (channel_ != nullptr) channel_->DropSender();
  }

  Channel* get() const { return channel_; }  // null: moved from

 private:
  Channel* channel_;
};

}  // namespace channel_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CHANNEL_SENDING_END_H_

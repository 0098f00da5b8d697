// in_order.h: sends in the order in which it was begun what is ready in any order. Internal to pipelines.
//
// How:        each has a number and a place in the channel. What is ready before its turn waits here; whoever brings the
//             next one also sends what waited behind it, so nobody waits for a turn.
// Invariants: (1) it holds no more than the channel has places.
// Threads:    any.
#ifndef QUIESCE_RUNTIME_COMBINATOR_IN_ORDER_H_
#define QUIESCE_RUNTIME_COMBINATOR_IN_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

template <class T>
class InOrder {
 public:
  // Number `number`, counted from 0, is `value`; nullopt if nothing is to be sent in its turn. Each number once.
  void Done(uint64_t number, SendPermit<T> place, std::optional<T> value)
      ABSL_LOCKS_EXCLUDED(lock_) {
    if (!value.has_value()) std::move(place).Abort();
    lock_.Lock();
    const size_t position = static_cast<size_t>(number - next_);
    while (turns_.size() <= position) turns_.emplace_back();
    turns_[position].come = true;
    if (value.has_value()) turns_[position].entry.emplace(std::move(place), *std::move(value));
    if (!sending_) Send();  // else whoever sends sees this one too
    lock_.Unlock();
  }

 private:
  struct Entry {
    Entry(SendPermit<T> place, T value) : place(std::move(place)), value(std::move(value)) {}
    SendPermit<T> place;
    T value;
  };
  struct Turn {
    bool come = false;
    std::optional<Entry> entry;
  };

  void Send() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    sending_ = true;
    while (!turns_.empty() && turns_.front().come) {
      std::optional<Entry> first = std::move(turns_.front().entry);
      turns_.pop_front();
      ++next_;
      if (!first.has_value()) continue;
      lock_.Unlock();  // the channel has a lock of its own, under which it wakes
      // Not refused: the Receiver stays until the places have been used.
      (void)std::move(first->place).Send(std::move(first->value));
      lock_.Lock();
    }
    sending_ = false;
  }

  PrimitiveLock lock_{"InOrder"};             // innermost
  uint64_t next_ ABSL_GUARDED_BY(lock_) = 0;  // the number of the first of `turns_`
  std::deque<Turn> turns_ ABSL_GUARDED_BY(lock_);
  bool sending_ ABSL_GUARDED_BY(lock_) = false;  // somebody is in Send
};

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_IN_ORDER_H_

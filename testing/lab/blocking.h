// blocking.h: a lock and a queue on which tasks of a machine wait: the least that a program needs to have deadlocks.
//
// Why:        for programs that are explored without a runtime: goldens, the explorer's own tests, and the locks of what is lock-free (memory.h).
#ifndef QUIESCE_TESTING_LAB_BLOCKING_H_
#define QUIESCE_TESTING_LAB_BLOCKING_H_

#include <cstddef>
#include <vector>

#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/lab/machine.h"

namespace quiesce::lab {

// Of those that wait, whoever is told to go next gets it.
class Lock {
 public:
  void Acquire() {
    Machine::Current().Visit(
        [](const void* self, explore::Pending& pending) {
          const auto* lock = static_cast<const Lock*>(self);
          pending.op.accesses.push_back({lock->object_, explore::Effect::kAcquire});
          pending.op.may_block = true;
          pending.enabled = !lock->held_;
        },
        this);
    held_ = true;
    if (released_.index != 0) Machine::Current().After(released_);
  }
  void Release() {
    Machine::Current().Visit(
        [](const void* self, explore::Pending& pending) {
          pending.op.accesses.push_back(
              {static_cast<const Lock*>(self)->object_, explore::Effect::kRelease});
        },
        this, Machine::Kind::kRelease);
    SetReleased();
  }

 protected:
  explore::ObjectId object() const { return object_; }
  // Without a step: the one that runs is it.
  void SetReleased() {
    held_ = false;
    released_ = Machine::Current().now();
  }

 private:
  const explore::ObjectId object_ = Machine::Current().NewObject();
  bool held_ = false;
  explore::EventRef released_ = {0, 0};
};

// Of no interest to go on where this is false: the running task stops for ever.
inline void Assume(bool condition) {
  if (condition) return;
  Machine::Current().Visit([](const void*, explore::Pending& pending) { pending.enabled = false; },
                           nullptr);
}

// Of things without a value, in order.
class Queue {
 public:
  explicit Queue(size_t capacity) : capacity_(capacity) {}
  void Send() {
    Machine::Current().Visit(
        [](const void* self, explore::Pending& pending) {
          const auto* queue = static_cast<const Queue*>(self);
          pending.op.accesses.push_back({queue->object_, explore::Effect::kSend});
          pending.op.may_block = true;
          pending.enabled = queue->sends_.size() < queue->receives_.size() + queue->capacity_;
        },
        this);
    // The slot is that of a message that has been received.
    if (sends_.size() >= capacity_) {
      Machine::Current().After(receives_[sends_.size() - capacity_]);
    }
    sends_.push_back(Machine::Current().now());
  }
  void Receive() {
    Machine::Current().Visit(
        [](const void* self, explore::Pending& pending) {
          const auto* queue = static_cast<const Queue*>(self);
          pending.op.accesses.push_back({queue->object_, explore::Effect::kReceive});
          pending.op.may_block = true;
          pending.enabled = queue->receives_.size() < queue->sends_.size();
        },
        this);
    Machine::Current().After(sends_[receives_.size()]);
    receives_.push_back(Machine::Current().now());
  }

 private:
  const explore::ObjectId object_ = Machine::Current().NewObject();
  const size_t capacity_;
  std::vector<explore::EventRef> sends_;
  std::vector<explore::EventRef> receives_;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_BLOCKING_H_

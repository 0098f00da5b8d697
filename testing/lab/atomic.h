// atomic.h: std::atomic's interface, with each operation visible to an explorer.
//
// Covers:     sequential consistency. A memory order is taken and makes no difference.
#ifndef QUIESCE_TESTING_LAB_ATOMIC_H_
#define QUIESCE_TESTING_LAB_ATOMIC_H_

#include <atomic>
#include <utility>

#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/lab/machine.h"

namespace quiesce::lab {

template <class T>
class Atomic {
 public:
  Atomic() : Atomic(T()) {}
  Atomic(T value) : value_(value), object_(Machine::Current().NewObject()) {}  // NOLINT: as std's
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order = std::memory_order_seq_cst) const {
    Visit(&LookAtRead);
    return value_;
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    Machine::Current().Visit(
        &LookAtWrite, this,
        order == std::memory_order_release ? Machine::Kind::kRelease : Machine::Kind::kOther);
    value_ = value;
  }
  T exchange(T value, std::memory_order = std::memory_order_seq_cst) {
    Visit(&LookAtWrite);
    return std::exchange(value_, value);
  }
  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order = std::memory_order_seq_cst,
                               std::memory_order = std::memory_order_seq_cst) {
    // What it is depends on what is there when it comes.
    const Compare compare{this, expected};
    Machine::Current().Visit(&LookAtCompare, &compare);
    if (value_ != expected) {
      expected = value_;
      return false;
    }
    value_ = desired;
    return true;
  }
  bool compare_exchange_weak(T& expected, T desired,
                             std::memory_order success = std::memory_order_seq_cst,
                             std::memory_order failure = std::memory_order_seq_cst) {
    return compare_exchange_strong(expected, desired, success, failure);
  }
  T fetch_add(T by, std::memory_order = std::memory_order_seq_cst) {
    return Change([by](T value) { return static_cast<T>(value + by); });
  }
  T fetch_sub(T by, std::memory_order = std::memory_order_seq_cst) {
    return Change([by](T value) { return static_cast<T>(value - by); });
  }
  T fetch_or(T bits, std::memory_order = std::memory_order_seq_cst) {
    return Change([bits](T value) { return static_cast<T>(value | bits); });
  }
  T fetch_and(T bits, std::memory_order = std::memory_order_seq_cst) {
    return Change([bits](T value) { return static_cast<T>(value & bits); });
  }
  // Waits until `done` of the value. One look, however long it waits.
  template <class Done>
  void Await(Done done) const {
    const std::pair<const Atomic*, Done*> wait(this, &done);
    Machine::Current().Visit(
        [](const void* argument, explore::Pending& pending) {
          const auto* wait = static_cast<const std::pair<const Atomic*, Done*>*>(argument);
          LookAtRead(wait->first, pending);
          pending.op.may_block = true;
          pending.enabled = (*wait->second)(wait->first->value_);
        },
        &wait);
  }

 protected:
  explore::ObjectId object() const { return object_; }
  // Without a step.
  T memory() const { return value_; }
  void set_memory(T value) { value_ = value; }

 private:
  struct Compare {
    const Atomic* atomic;
    T expected;
  };
  static void LookAtRead(const void* atomic, explore::Pending& pending) {
    Say(static_cast<const Atomic*>(atomic), explore::Effect::kRead, pending);
  }
  static void LookAtWrite(const void* atomic, explore::Pending& pending) {
    Say(static_cast<const Atomic*>(atomic), explore::Effect::kWrite, pending);
  }
  static void LookAtCompare(const void* argument, explore::Pending& pending) {
    const auto* compare = static_cast<const Compare*>(argument);
    const bool same = compare->atomic->value_ == compare->expected;
    Say(compare->atomic, same ? explore::Effect::kWrite : explore::Effect::kRead, pending);
  }
  static void Say(const Atomic* atomic, explore::Effect effect, explore::Pending& pending) {
    pending.op.accesses.push_back({atomic->object_, effect});
  }
  void Visit(Machine::Look look) const { Machine::Current().Visit(look, this); }
  template <class F>
  T Change(F change) {
    Visit(&LookAtWrite);
    return std::exchange(value_, change(value_));
  }

  T value_;
  const explore::ObjectId object_;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_ATOMIC_H_

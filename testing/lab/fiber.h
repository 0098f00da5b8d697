// fiber.h: a call that can be left anywhere and gone on with later.
//
// Why:        a coroutine can be left only where it suspends; two workers also interleave inside a call that does not.
// Example:    Fiber fiber([] { …; Fiber::Leave(); …; });
//             fiber.Resume();  // until Leave
//             fiber.Resume();  // until the end
// Threads:    a fiber is used on one thread. The sanitizers are told of each switch.
#ifndef QUIESCE_TESTING_LAB_FIBER_H_
#define QUIESCE_TESTING_LAB_FIBER_H_

#include <boost/context/fiber.hpp>
#include <functional>
#include <utility>

namespace quiesce::lab {

class Fiber {
 public:
  Fiber() = default;
  // `run` begins with the first Resume.
  explicit Fiber(std::function<void()> run);
  Fiber(Fiber&& other) noexcept
      : fiber_(std::move(other.fiber_)), stack_(std::exchange(other.stack_, nullptr)) {}
  Fiber& operator=(Fiber&& other) noexcept {
    Drop();
    fiber_ = std::move(other.fiber_);
    stack_ = std::exchange(other.stack_, nullptr);
    return *this;
  }
  // One that has begun and not ended is unwound, by an exception that passes through `run`.
  ~Fiber() { Drop(); }

  // Runs it until it calls Leave, or ends. Not from a fiber.
  void Resume();
  bool ended() const { return stack_ == nullptr; }
  // Back to who has called Resume. From a fiber.
  static void Leave();

 private:
  struct Stack;
  struct StackPool;
  struct OwnStack;

  void Drop();
  // A switch to it, made by `change`.
  template <class Change>
  void Enter(Change change);

  boost::context::fiber fiber_;
  Stack* stack_ = nullptr;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_FIBER_H_

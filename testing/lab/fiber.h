// fiber.h: a call that can be left anywhere and gone on with later.
//
// Why:        a coroutine can be left only where it suspends; two workers also interleave inside a call that does not.
// Example:    Fiber fiber([] { …; Fiber::Leave(); …; });
//             fiber.Resume();  // until Leave
//             fiber.Resume();  // until the end
// Threads:    a fiber is used on one thread. The sanitizers are told of each switch. Each has its own exceptions: it may
//             be left in a catch block, and while one passes.
#ifndef QUIESCE_TESTING_LAB_FIBER_H_
#define QUIESCE_TESTING_LAB_FIBER_H_

#include <functional>
#include <utility>

namespace quiesce::lab {

class Fiber {
 public:
  Fiber() = default;
  // `run` begins with the first Resume.
  explicit Fiber(std::function<void()> run);
  Fiber(Fiber&& other) noexcept : carrier_(std::exchange(other.carrier_, nullptr)) {}
  Fiber& operator=(Fiber&& other) noexcept {
    Drop();
    carrier_ = std::exchange(other.carrier_, nullptr);
    return *this;
  }
  // One that has begun and not ended is unwound: the Leave that it is in throws, and so does each that follows, until
  // `run` is left.
  ~Fiber() { Drop(); }

  // Runs it until it calls Leave, or ends. Not from a fiber.
  void Resume();
  bool ended() const { return carrier_ == nullptr; }
  // It is never resumed nor unwound: what is on its stack is lost.
  void LetGo();
  // Back to who has called Resume. From a fiber. Of one that is unwound: throws, but for where `may_throw` is false, as in
  // a destructor: there it returns, and the next one throws.
  static void Leave(bool may_throw = true);
  // Is the caller inside of one?
  static bool Inside();

 private:
  class Carrier;
  struct Pool;

  void Drop();

  Carrier* carrier_ = nullptr;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_FIBER_H_

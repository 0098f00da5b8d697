#include "quiesce/testing/lab/fiber.h"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstddef>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define QUIESCE_LAB_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QUIESCE_LAB_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define QUIESCE_LAB_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUIESCE_LAB_TSAN 1
#endif
#endif
#ifdef QUIESCE_LAB_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef QUIESCE_LAB_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace quiesce::lab {
namespace {

// Of the process, once it is touched: the message of a failed assertion needs more than one would think.
constexpr size_t kStackBytes = 256 * 1024;

}  // namespace

struct Fiber::Stack {
  boost::context::stack_context memory;
  boost::context::fiber* resumer = nullptr;  // where Leave goes
  // What the sanitizers know of the fiber, and of who has resumed it.
  void* own = nullptr;
  void* other = nullptr;
  const void* other_bottom = nullptr;
  size_t other_size = 0;

  // On the fiber, first thing after a switch to it, and last thing before one from it.
  void Arrived();
  void Leaving(bool for_good);
};

// Those that no fiber of this thread has: an exploration makes millions of fibers.
struct Fiber::StackPool {
  std::vector<Stack*> free;
  boost::context::protected_fixedsize_stack source{kStackBytes};

  ~StackPool() {
    for (Stack* stack : free) {
      source.deallocate(stack->memory);
      delete stack;
    }
  }
  Stack* Take() {
    if (free.empty()) return new Stack{.memory = source.allocate()};
    Stack* stack = free.back();
    free.pop_back();
    return stack;
  }
  static StackPool& OfThread() {
    thread_local StackPool pool;
    return pool;
  }
};

// Boost's allocator for one fiber.
struct Fiber::OwnStack {
  Stack* stack;
  boost::context::stack_context allocate() { return stack->memory; }
  void deallocate(boost::context::stack_context&) noexcept {
    StackPool::OfThread().free.push_back(stack);
  }
};

namespace {

thread_local Fiber* running = nullptr;

}  // namespace

void Fiber::Stack::Arrived() {
#ifdef QUIESCE_LAB_ASAN
  __sanitizer_finish_switch_fiber(own, &other_bottom, &other_size);
#endif
}

void Fiber::Stack::Leaving([[maybe_unused]] bool for_good) {
#ifdef QUIESCE_LAB_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &own, other_bottom, other_size);
#endif
#ifdef QUIESCE_LAB_TSAN
  __tsan_switch_to_fiber(other, 0);
#endif
}

Fiber::Fiber(std::function<void()> run) : stack_(StackPool::OfThread().Take()) {
  Stack* const stack = stack_;
  stack->own = nullptr;
#ifdef QUIESCE_LAB_TSAN
  stack->own = __tsan_create_fiber(0);
#endif
  fiber_ = boost::context::fiber(std::allocator_arg, OwnStack{stack},
                                 [stack, run = std::move(run)](boost::context::fiber&& caller) {
                                   struct Visit {
                                     Stack* stack;
                                     ~Visit() { stack->Leaving(/*for_good=*/true); }
                                   };
                                   stack->Arrived();
                                   const Visit visit{stack};
                                   stack->resumer = &caller;
                                   run();
                                   return std::move(*stack->resumer);
                                 });
}

template <class Change>
void Fiber::Enter(Change change) {
  Fiber* const before = std::exchange(running, this);
  [[maybe_unused]] void* mine = nullptr;
#ifdef QUIESCE_LAB_ASAN
  const auto size = stack_->memory.size;
  __sanitizer_start_switch_fiber(&mine, static_cast<const char*>(stack_->memory.sp) - size, size);
#endif
#ifdef QUIESCE_LAB_TSAN
  void* const fiber = stack_->own;
  stack_->other = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiber, 0);
#endif
  change();
#ifdef QUIESCE_LAB_ASAN
  __sanitizer_finish_switch_fiber(mine, nullptr, nullptr);
#endif
  running = before;
  if (!fiber_) {
#ifdef QUIESCE_LAB_TSAN
    __tsan_destroy_fiber(fiber);
#endif
    stack_ = nullptr;  // in the pool
  }
}

void Fiber::Resume() {
  Enter([this] { fiber_ = std::move(fiber_).resume(); });
}

void Fiber::Drop() {
  if (fiber_) {
    Enter([this] { fiber_ = boost::context::fiber(); });
  }
}

void Fiber::Leave() {
  Stack* const stack = running->stack_;
  boost::context::fiber* const mine = stack->resumer;
  stack->Leaving(/*for_good=*/false);
  // Also if this throws, to unwind the fiber.
  struct Arrival {
    Stack* stack;
    ~Arrival() { stack->Arrived(); }
  } arrival{stack};
  boost::context::fiber caller = std::move(*mine).resume();
  *mine = std::move(caller);
}

}  // namespace quiesce::lab

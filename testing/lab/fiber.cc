#include "quiesce/testing/lab/fiber.h"

#include <cxxabi.h>

#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/sanitizers.h"

#if QUIESCE_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if QUIESCE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace quiesce::lab {
namespace {

// The message of a failed assertion needs more than one would think.
constexpr size_t kStackBytes = 256 * 1024;

struct Unwinding {};

// What the C++ runtime knows of a thread's exceptions: which are being handled, and how many have been thrown and not
// caught (Itanium C++ ABI, 2.2.2).
struct Exceptions {
  void* caught = nullptr;
  unsigned int uncaught = 0;

  void Swap() {
    auto* const of_thread = reinterpret_cast<Exceptions*>(abi::__cxa_get_globals());
    std::swap(*this, *of_thread);
  }
};

}  // namespace

// A stack, with what runs on it: one call after the other. An exploration makes millions of fibers, and has few at once.
class Fiber::Carrier {
 public:
  Carrier();
  ~Carrier();

  void Begin(std::function<void()> run) {
    run_ = std::move(run);
    begun_ = done_ = unwinds_ = false;
  }
  // From outside. True once the call has ended.
  bool Resume();
  void Unwind();
  // From inside.
  void Leave(bool may_throw);

 private:
  boost::context::fiber Main(boost::context::fiber&& caller);
  void SwitchIn();
  void SwitchOut();
  void Arrived();

  boost::context::stack_context stack_;
  boost::context::fiber inside_;   // while it does not run
  boost::context::fiber outside_;  // while it does
  std::function<void()> run_;
  Exceptions exceptions_;  // of the side that does not run
  bool begun_ = false;
  bool done_ = true;
  bool unwinds_ = false;
  bool closes_ = false;
  // What the sanitizers know of it, and of who has resumed it.
  [[maybe_unused]] void* fake_stack_ = nullptr;
  [[maybe_unused]] const void* outside_bottom_ = nullptr;
  [[maybe_unused]] size_t outside_size_ = 0;
  [[maybe_unused]] void* tsan_inside_ = nullptr;
  [[maybe_unused]] void* tsan_outside_ = nullptr;
};

// Those of this thread that carry nothing.
struct Fiber::Pool {
  std::vector<std::unique_ptr<Carrier>> free;

  static Pool& OfThread() {
#if QUIESCE_TSAN
    // Kept: ThreadSanitizer now and then crashes when fibers are destroyed while their thread ends.
    thread_local Pool* const pool = new Pool();
    return *pool;
#else
    thread_local Pool pool;
    return pool;
#endif
  }
  Carrier* Take() {
    if (free.empty()) return new Carrier();
    Carrier* carrier = free.back().release();
    free.pop_back();
    return carrier;
  }
  void Return(Carrier* carrier) { free.emplace_back(carrier); }
};

namespace {

// What runs on this thread; null: no fiber.
thread_local void* running = nullptr;

}  // namespace

Fiber::Carrier::Carrier() {
  struct OneStack {
    Carrier* carrier;
    boost::context::protected_fixedsize_stack source{kStackBytes};
    boost::context::stack_context allocate() { return carrier->stack_ = source.allocate(); }
    void deallocate(boost::context::stack_context& stack) { source.deallocate(stack); }
  };
#if QUIESCE_TSAN
  tsan_inside_ = __tsan_create_fiber(0);
#endif
  OneStack memory{this};
  const boost::context::stack_context stack = memory.allocate();
#if QUIESCE_ASAN
  // The constructor of Boost's goes to the new stack and back.
  void* mine = nullptr;
  __sanitizer_start_switch_fiber(&mine, static_cast<const char*>(stack.sp) - stack.size,
                                 stack.size);
#endif
  inside_ = boost::context::fiber(
      std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack), memory,
      [this](boost::context::fiber&& caller) { return Main(std::move(caller)); });
#if QUIESCE_ASAN
  __sanitizer_finish_switch_fiber(mine, nullptr, nullptr);
#endif
}

Fiber::Carrier::~Carrier() {
  closes_ = true;
  SwitchIn();
#if QUIESCE_TSAN
  __tsan_destroy_fiber(tsan_inside_);
#endif
}

boost::context::fiber Fiber::Carrier::Main(boost::context::fiber&& caller) {
  outside_ = std::move(caller);
  Arrived();
  while (!closes_) {
    try {
      run_();
    } catch (const Unwinding&) {
    }
    run_ = nullptr;
    done_ = true;
    SwitchOut();
  }
#if QUIESCE_ASAN
  __sanitizer_start_switch_fiber(nullptr, outside_bottom_, outside_size_);
#endif
#if QUIESCE_TSAN
  __tsan_switch_to_fiber(tsan_outside_, 0);
#endif
  return std::move(outside_);
}

void Fiber::Carrier::SwitchIn() {
  void* const before = std::exchange(running, this);
#if QUIESCE_ASAN
  void* mine = nullptr;
  __sanitizer_start_switch_fiber(&mine, static_cast<const char*>(stack_.sp) - stack_.size,
                                 stack_.size);
#endif
#if QUIESCE_TSAN
  tsan_outside_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_inside_, 0);
#endif
  exceptions_.Swap();
  inside_ = std::move(inside_).resume();
  exceptions_.Swap();
#if QUIESCE_ASAN
  __sanitizer_finish_switch_fiber(mine, nullptr, nullptr);
#endif
  running = before;
}

void Fiber::Carrier::Arrived() {
#if QUIESCE_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, &outside_bottom_, &outside_size_);
#endif
}

void Fiber::Carrier::SwitchOut() {
#if QUIESCE_ASAN
  __sanitizer_start_switch_fiber(&fake_stack_, outside_bottom_, outside_size_);
#endif
#if QUIESCE_TSAN
  __tsan_switch_to_fiber(tsan_outside_, 0);
#endif
  outside_ = std::move(outside_).resume();
  Arrived();
}

bool Fiber::Carrier::Resume() {
  begun_ = true;
  SwitchIn();
  return done_;
}

void Fiber::Carrier::Unwind() {
  if (!begun_) {
    run_ = nullptr;
    return;
  }
  unwinds_ = true;
  SwitchIn();
  QUIESCE_CHECK(done_, "fiber: it was to be unwound, and has left again");
}

void Fiber::Carrier::Leave(bool may_throw) {
  if (!unwinds_) SwitchOut();
  if (unwinds_ && may_throw) throw Unwinding();
}

Fiber::Fiber(std::function<void()> run) : carrier_(Pool::OfThread().Take()) {
  carrier_->Begin(std::move(run));
}

void Fiber::Resume() {
  if (carrier_->Resume()) Pool::OfThread().Return(std::exchange(carrier_, nullptr));
}

void Fiber::Drop() {
  if (carrier_ == nullptr) return;
  carrier_->Unwind();
  Pool::OfThread().Return(std::exchange(carrier_, nullptr));
}

void Fiber::LetGo() { carrier_ = nullptr; }

void Fiber::Leave(bool may_throw) { static_cast<Carrier*>(running)->Leave(may_throw); }

bool Fiber::Inside() { return running != nullptr; }

}  // namespace quiesce::lab

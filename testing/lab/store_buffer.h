// store_buffer.h: a memory in which each task's stores are seen by others later than by itself, as x86's are.
//
// Why:        over a sequentially consistent memory nobody misses a fence. What a runtime goes to sleep by needs one.
// Source:     x86-TSO: Sewell, Sarkar, Owens, Zappa Nardelli, Myreen, CACM 53(7), 2010. A store goes into its task's
//             buffer; from there, first in, first out, into memory, whenever it likes. A load sees the task's own buffer,
//             then memory. A read-modify-write, a fence, a sequentially consistent store and the acquire of a lock wait until
//             the buffer is empty; the release of a lock is a store.
// Example:    StoreBuffers buffers;  // for each execution
//             StoreBufferMemory::Atomic<int> x;
// Contract:   what a task stores to outlives the task: its buffer may be the last to write there.
// Covers:     no loads that overtake loads, as Arm's do: `acquire` and `release` cannot be missed.
#ifndef QUIESCE_TESTING_LAB_STORE_BUFFER_H_
#define QUIESCE_TESTING_LAB_STORE_BUFFER_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "quiesce/runtime/base/check.h"
#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/lab/atomic.h"
#include "quiesce/testing/lab/blocking.h"
#include "quiesce/testing/lab/machine.h"
#include "quiesce/testing/lab/memory.h"

namespace quiesce::lab {

// Those of one execution's tasks.
class StoreBuffers {
 public:
  StoreBuffers() : before_(std::exchange(current_, this)) {}
  ~StoreBuffers() { current_ = before_; }
  StoreBuffers(const StoreBuffers&) = delete;
  StoreBuffers& operator=(const StoreBuffers&) = delete;

  static StoreBuffers& Current() {
    QUIESCE_CHECK(current_ != nullptr, "lab: StoreBufferMemory without StoreBuffers");
    return *current_;
  }

  // The running task's next store: `reach` is what it does to memory, later, as an access of `object`. Outside of a task
  // that is at once. `put` is called when it is in the buffer.
  template <class Put>
  void Store(explore::ObjectId object, explore::Effect effect, Machine::Kind kind,
             std::function<void()> reach, Put put) {
    Machine& machine = Machine::Current();
    machine.Visit(
        [](const void* self, explore::Pending& pending) {
          pending.op.accesses.push_back(
              {static_cast<const StoreBuffers*>(self)->all_, explore::Effect::kRead});
        },
        this, kind);
    if (!machine.running().has_value()) return reach();
    const explore::TaskId task = *machine.running();
    if (task >= buffers_.size()) buffers_.resize(task + 1);
    const Entry entry = {this, task, buffers_[task].in++, object, effect};
    put();
    machine.Spawn([entry, reach = std::move(reach)] { entry.buffers->Reach(entry, reach); });
  }
  // Waits until the running task's buffer is empty.
  void Fence() {
    Machine& machine = Machine::Current();
    if (!machine.running().has_value()) return;
    const explore::TaskId task = *machine.running();
    if (task >= buffers_.size() || buffers_[task].fenced == buffers_[task].in) return;
    const Wait wait(this, task);
    machine.Visit(
        [](const void* argument, explore::Pending& pending) {
          const auto* wait = static_cast<const Wait*>(argument);
          const Buffer& buffer = wait->first->buffers_[wait->second];
          pending.enabled = buffer.out == buffer.in;
        },
        &wait);
    buffers_[task].fenced = buffers_[task].in;
    machine.After(buffers_[task].latest);
  }
  // Waits until every task's is, at one moment: no task can tell that from a fence of its own at some moment.
  void FenceForAll() {
    Machine& machine = Machine::Current();
    machine.Visit(
        [](const void* argument, explore::Pending& pending) {
          const auto* self = static_cast<const StoreBuffers*>(argument);
          pending.op.accesses.push_back({self->all_, explore::Effect::kWrite});
          pending.op.may_block = true;
          pending.enabled = std::ranges::all_of(
              self->buffers_, [](const Buffer& buffer) { return buffer.out == buffer.in; });
        },
        this);
    for (const Buffer& buffer : buffers_) {
      if (buffer.out != 0) machine.After(buffer.latest);
    }
  }

 private:
  struct Buffer {
    uint32_t in = 0;   // stores that were put here
    uint32_t out = 0;  // … and have reached memory
    uint32_t fenced = 0;
    explore::EventRef latest = {0, 0};  // the last of these
  };
  using Wait = std::pair<const StoreBuffers*, explore::TaskId>;
  struct Entry {
    StoreBuffers* buffers;
    explore::TaskId task;
    uint32_t number;
    explore::ObjectId object;
    explore::Effect effect;
  };
  // A task of its own, whose only step it is.
  void Reach(const Entry& entry, const std::function<void()>& reach) {
    Machine& machine = Machine::Current();
    machine.Visit(
        [](const void* argument, explore::Pending& pending) {
          const auto* entry = static_cast<const Entry*>(argument);
          pending.op.accesses.push_back({entry->object, entry->effect});
          // Only for what comes before it (After), so that it overtakes nothing, and need not be tried: not may_block.
          pending.enabled = entry->buffers->buffers_[entry->task].out == entry->number;
        },
        &entry);
    reach();
    Buffer& buffer = buffers_[entry.task];
    if (buffer.out++ != 0) machine.After(buffer.latest);
    buffer.latest = machine.now();
  }

  static inline thread_local StoreBuffers* current_ = nullptr;
  StoreBuffers* const before_;
  // Each store looks at it, and what waits for all of them changes it.
  const explore::ObjectId all_ = Machine::Current().NewObject();
  std::vector<Buffer> buffers_;  // by task
};

template <class T>
class BufferedAtomic : private Atomic<T> {
  using Base = Atomic<T>;

 public:
  BufferedAtomic() = default;
  BufferedAtomic(T value) : Base(value) {}  // NOLINT: as std's

  T load(std::memory_order = std::memory_order_seq_cst) const {
    const std::optional<explore::TaskId> task = Machine::Current().running();
    (void)Base::load();
    return SeenBy(task);
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    if (order == std::memory_order_seq_cst) {
      exchange(value);
      return;
    }
    const std::optional<explore::TaskId> task = Machine::Current().running();
    StoreBuffers::Current().Store(
        this->object(), explore::Effect::kWrite,
        order == std::memory_order_release ? Machine::Kind::kRelease : Machine::Kind::kOther,
        [this, task, value] { Reach(task, value); },
        [this, task, value] { stores_.push_back({*task, value}); });
  }
  template <class... Arguments>
  T exchange(Arguments... arguments) {
    StoreBuffers::Current().Fence();
    return Base::exchange(arguments...);
  }
  template <class... Arguments>
  bool compare_exchange_strong(T& expected, Arguments... arguments) {
    StoreBuffers::Current().Fence();
    return Base::compare_exchange_strong(expected, arguments...);
  }
  template <class... Arguments>
  bool compare_exchange_weak(T& expected, Arguments... arguments) {
    return compare_exchange_strong(expected, arguments...);
  }
  template <class... Arguments>
  T fetch_add(Arguments... arguments) {
    StoreBuffers::Current().Fence();
    return Base::fetch_add(arguments...);
  }
  template <class... Arguments>
  T fetch_sub(Arguments... arguments) {
    StoreBuffers::Current().Fence();
    return Base::fetch_sub(arguments...);
  }
  template <class... Arguments>
  T fetch_or(Arguments... arguments) {
    StoreBuffers::Current().Fence();
    return Base::fetch_or(arguments...);
  }
  template <class... Arguments>
  T fetch_and(Arguments... arguments) {
    StoreBuffers::Current().Fence();
    return Base::fetch_and(arguments...);
  }
  template <class Done>
  void Await(Done done) const {
    const std::optional<explore::TaskId> task = Machine::Current().running();
    Base::Await([this, &done, task](T) { return done(SeenBy(task)); });
  }

 private:
  struct Store {
    explore::TaskId task;
    T value;
  };
  T SeenBy(std::optional<explore::TaskId> task) const {
    for (auto store = stores_.rbegin(); store != stores_.rend(); ++store) {
      if (store->task == task) return store->value;
    }
    return this->memory();
  }
  void Reach(std::optional<explore::TaskId> task, T value) {
    const auto mine =
        std::ranges::find_if(stores_, [task](const Store& store) { return store.task == task; });
    if (mine != stores_.end()) stores_.erase(mine);
    this->set_memory(value);
  }

  std::vector<Store> stores_;  // in buffers, the oldest first
};

class BufferedLock : private Lock {
 public:
  void Acquire() {
    StoreBuffers::Current().Fence();
    Lock::Acquire();
  }
  void Release() {
    StoreBuffers::Current().Store(
        object(), explore::Effect::kRelease, Machine::Kind::kRelease, [this] { SetReleased(); },
        [] {});
  }
};

struct StoreBufferMemory {
  template <class T>
  using Atomic = BufferedAtomic<T>;
  using Lock = MemoryLock<BufferedLock>;
  using LockHolder = MemoryLockHolder<BufferedLock>;

  static void Fence() { StoreBuffers::Current().Fence(); }
  static void CompilerFence() {}
  static void FenceForAll() { StoreBuffers::Current().FenceForAll(); }
  static bool HasFenceForAll() { return true; }
  template <class T, class Done>
  static void Await(const Atomic<T>& atomic, Done done, std::memory_order) {
    atomic.Await(done);
  }
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_STORE_BUFFER_H_

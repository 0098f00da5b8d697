// once_cell.h: a value that is made when it is first asked for, once, by whoever asks first.
//
// Why:        a lazy singleton whose making waits (a connection, a configuration that is read) needs more than a flag:
//             the others have to wait for it, and if the one that makes it is cancelled or fails they must neither
//             hang nor fail with it.
// Example:    OnceCell<Config> config;
//             auto read = [](Cx cx) -> Task<Config> { co_return co_await ReadConfig(cx); };
//             const Config* now = co_await OrReturn(config.Get(cx, read));
// When not:   where the value can be made without waiting, a `static` local does; for one that changes, a lock or a
//             watch channel.
// Invariants: (1) the value is set at most once, and stays where it is until the cell is destroyed;
//             (2) at most one initialiser runs; it runs in the task that called Get, there is no hidden task;
//             (3) if it fails, panics or is cancelled, its own Get does, and the turn goes to the Get that has waited
//             longest, at once, or to the next one to come; (4) a cancelled Get has set nothing (G8); (5) while a
//             wait of the cancel lane stands in the queue, the task that makes the value goes in the cancel lane (R9).
//
// event \ state         | empty              | being made                      | set
// ----------------------|--------------------|---------------------------------|------------------
// Get                   | its turn: makes it | waits                           | the value
// … by the one making it| –                  | fatal, both places are named    | –
// Wait                  | waits              | waits                           | the value
// TryGet                | null               | null                            | the value
// the initialiser is Ok | –                  | set; all waits end              | –
// … is not              | –                  | the next Get's turn, or empty   | –
// destroyed             | ok; fatal if somebody waits | fatal                  | ok, with the value; fatal before a
//                       |                    |                                 | wait that was granted has returned
//
// Lifetime:   it outlives its waits, and what is read through the pointers it has given.
// Threads:    any. What the initialiser did happens before the return of each call that yields the value; the value is
//             then read by all of them at once, hence the const.
#ifndef QUIESCE_RUNTIME_SYNC_ONCE_CELL_H_
#define QUIESCE_RUNTIME_SYNC_ONCE_CELL_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/version.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/outcome/outcome.h"
#include "quiesce/runtime/sync/leaving.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/thread_wait.h"
#include "quiesce/runtime/task/wait.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace sync_internal {

// The cell without its value: whose turn it is.
class Turns {
 public:
  Turns() = default;
  ~Turns();
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // What happened before the value was set happens before true.
  bool set() const {
    lock_.BeforeLook();
    return state_.load(std::memory_order_acquire) == kSet;
  }

  // True: it is the turn of `task`.
  bool TryTake(TaskCore* task, const std::source_location& where) ABSL_LOCKS_EXCLUDED(lock_);
  // The turn's owner has put the value there.
  void Set() ABSL_LOCKS_EXCLUDED(lock_);
  // … or could not.
  void Pass() ABSL_LOCKS_EXCLUDED(lock_);

 private:
  friend class TurnOp;

  // state_ | meaning                  | moves to
  // -------|--------------------------|--------------------------------------------------------------------
  // kEmpty | nobody makes the value   | kMaking by a Get
  // kMaking| owner_ makes it          | kSet, or kEmpty, by owner_; kMaking of the next owner
  // kSet   | the value may be read    | –
  // Moves under lock_; to kSet with release, read without the lock with acquire.
  enum State : uint8_t { kEmpty, kMaking, kSet };

  void TakeFor(TaskCore* task, const std::source_location& where)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void EndTurn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // A wait that was granted goes on.
  void HasLeft() ABSL_LOCKS_EXCLUDED(lock_);
  [[noreturn]] void FatalRecursion(const char* call, const std::source_location& where) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  std::atomic<State> state_{kEmpty};
  // Held over Waiter::Grant: before a run queue's.
  PrimitiveLock lock_{"OnceCell"};
  // A wait of the cancel lane has come: whoever makes the value is boosted, until it is set.
  bool hurried_ ABSL_GUARDED_BY(lock_) = false;
  bool lends_ ABSL_GUARDED_BY(lock_) = false;  // … and has been
  TaskCore* owner_ ABSL_GUARDED_BY(lock_) = nullptr;
  std::source_location where_ ABSL_GUARDED_BY(lock_);  // owner_'s Get
  struct Request;
  IntrusiveList<Request> queue_ ABSL_GUARDED_BY(lock_);
  Leaving leaving_ ABSL_GUARDED_BY(lock_);
};

// A wait in the cell's queue.
struct Turns::Request : ListHook {
  Request(bool makes, const std::source_location& where) : makes(makes), where(where) {}
  const bool makes;  // it takes a turn; else only the value
  const std::source_location where;
  Waiter* waiter = nullptr;
};

// Yields true for a turn, false once the value is set.
class TurnOp {
 public:
  using Value = bool;
  static constexpr bool kStructural = false;
  TurnOp(Turns* turns, bool makes, const std::source_location& where)
      : turns_(turns), request_(makes, where) {}

  bool Try(Waiter&, std::optional<Outcome<bool>>& result);
  Enqueued EnqueueAs(const char* call, Waiter& waiter, std::optional<Outcome<bool>>& result);
  bool Harvest(Waiter&, std::optional<Outcome<bool>>& result) {
    // Nobody but the one whose turn it is sets the value.
    result.emplace(!turns_->set());
    turns_->HasLeft();
    return true;
  }
  void Withdraw(Waiter&);
  TaskCore* LendLane();

 private:
  Turns* turns_;
  Turns::Request request_;
};

class OnceGetOp : public TurnOp {
 public:
  static constexpr const char* kName = "OnceCell::Get";
  OnceGetOp(Turns* turns, const std::source_location& where)
      : TurnOp(turns, /*makes=*/true, where) {}
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<bool>>& result) {
    return EnqueueAs(kName, waiter, result);
  }
};

}  // namespace sync_internal

template <class T>
class OnceCell {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                "OnceCell<T>: T is an object type, and const anyway");

  class WaitOp : public sync_internal::TurnOp {
   public:
    using Value = const T*;
    static constexpr const char* kName = "OnceCell::Wait";
    WaitOp(OnceCell* cell, const std::source_location& where)
        : TurnOp(&cell->turns_, /*makes=*/false, where), cell_(cell) {}

    bool Try(Waiter&, std::optional<Outcome<Value>>& result) {
      if (!cell_->turns_.set()) return false;
      Take(result);
      return true;
    }
    Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<Value>>& result) {
      std::optional<Outcome<bool>> set;
      const Enqueued enqueued = EnqueueAs(kName, waiter, set);
      if (enqueued == Enqueued::kDone) Take(result);
      return enqueued;
    }
    bool Harvest(Waiter& waiter, std::optional<Outcome<Value>>& result) {
      std::optional<Outcome<bool>> set;
      TurnOp::Harvest(waiter, set);
      Take(result);
      return true;
    }

   private:
    void Take(std::optional<Outcome<Value>>& result) { result.emplace(&*cell_->value_); }
    OnceCell* cell_;
  };

 public:
  OnceCell() = default;
  // Fatal if a wait is queued or has yet to return, or the value is being made.
  ~OnceCell() = default;
  OnceCell(const OnceCell&) = delete;
  OnceCell& operator=(const OnceCell&) = delete;

  // The value; if there is none yet init(cx), a Task<T>, makes it, unless another task is doing so already.
  // Returns  const T*, which stays | Cancelled | what init yielded, if it was this call's that ran and failed.
  // Suspends while another task makes it, FIFO, and while init does. A checkpoint also when it is set.
  // Cancel   safe (G8): nothing is set. If init had begun the cancel is init's to answer, and the next Get has its turn.
  // Errors   fatal if init itself asks this cell, in the same task. It must not wait for another task that does.
  // Threads  any. `init` lives as long as the call: name it if it is not trivially destructible (R10).
  template <class CxType, class Init>
  Task<const T*> Get(CxType cx, Init&& init,
                     std::source_location where = std::source_location::current()) {
    static_assert(std::is_lvalue_reference_v<Init> ||
                      std::is_trivially_destructible_v<std::remove_cvref_t<Init>>,
                  "OnceCell::Get: an initialiser that is not trivially destructible must be a "
                  "named lvalue: g++ 12 destroys such a temporary twice in a co_await expression "
                  "(R10)");
    static_assert(std::is_same_v<std::invoke_result_t<Init&, CxType>, Task<T>>,
                  "OnceCell<T>::Get(cx, init): init(cx) must be callable and return a Task<T>");
    using Kept =
        std::conditional_t<std::is_lvalue_reference_v<Init>, Init, std::remove_cvref_t<Init>>;
    return Run<CxType, Kept>(this, cx, std::forward<Init>(init), where);
  }

  // The value if it is set, else null. Never suspends; no checkpoint; one load. Threads: any.
  const T* TryGet() const { return turns_.set() ? &*value_ : nullptr; }

  // Waits until somebody else's Get has set it.
  // Returns  const T* | Cancelled.
  // Suspends until it is set; an ordinary wait. A checkpoint also when it is.
  // Cancel   safe (G8).
  // Errors   fatal in the task that makes the value.
  // Threads  any.
  quiesce::Wait<WaitOp> Wait(const CxBase& cx,
                             std::source_location where = std::source_location::current()) {
    return quiesce::Wait<WaitOp>(cx, this, where);
  }

  // Wait for a plain thread, which it blocks for at most `timeout`: then Cancelled (kDeadline). A thread makes no value:
  // the initialiser is a coroutine. Fatal in a task, whose worker it would block.
  Outcome<const T*> BlockingWait(absl::Duration timeout = absl::InfiniteDuration(),
                                 std::source_location where = std::source_location::current()) {
    return BlockThread<WaitOp>("OnceCell::BlockingWait", "co_await OrReturn(cell.Wait(cx))",
                               timeout, this, where);
  }

 private:
  // Passes the turn on, unless the value was set.
  class Turn {
   public:
    explicit Turn(sync_internal::Turns* turns) : turns_(turns) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      if (turns_ != nullptr) turns_->Pass();
    }
    void Set() { std::exchange(turns_, nullptr)->Set(); }

   private:
    sync_internal::Turns* turns_;
  };

  template <class CxType, class Init>
  static Task<const T*> Run(OnceCell* cell, CxType cx, Init init, std::source_location where) {
    using GetWait = quiesce::Wait<sync_internal::OnceGetOp>;
    const bool ours = co_await OrReturn(GetWait(cx, &cell->turns_, where));
    if (ours) {
      Turn turn(&cell->turns_);
      Task<T> making = task_internal::CallForTask<T>([&] { return init(cx); });
      cell->value_.emplace(co_await OrReturn(making));
      turn.Set();
    }
    co_return &*cell->value_;
  }

  std::optional<T> value_;      // written by the turn's owner before Set, read once set()
  sync_internal::Turns turns_;  // goes first: its destructor finds the misuse
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_SYNC_ONCE_CELL_H_

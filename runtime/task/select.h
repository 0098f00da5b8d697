// select.h: waits for the first of several waits; the others are withdrawn and take nothing.
//
// Why:        "a message, or a signal, or a second" without a task for each, and without the message that was
//             received by the branch that lost.
// Example:    auto won = co_await OrReturn(Select(cx, inbox.Receive(cx), Sleep(cx, absl::Seconds(1))));
//             if (won.index() == 0) Handle(std::get<0>(std::move(won)));   // an Outcome<std::optional<Mail>>
// How:        all arms are queued at once and share the task's word: whoever grants one moves the word with the
//             arm's number in it, so no other can be granted (wait.h). A primitive that could serve an arm
//             at once asks Waiter::MayTake first.
// Invariants: (1) exactly one arm was granted if the Select yields Ok, and none of them if it does not (G8);
//             (2) when it yields, no arm is in any queue.
#ifndef QUIESCE_RUNTIME_TASK_SELECT_H_
#define QUIESCE_RUNTIME_TASK_SELECT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <variant>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/task/park_registry.h"
#include "quiesce/runtime/task/wait.h"

namespace quiesce {
inline namespace v0 {

template <class Op>
inline constexpr bool kIsPartial = requires { requires Op::kPartial; };

// The awaiter of Select. index() of its value is that of the arm, and it holds that arm's outcome.
template <class... Ops>
class [[nodiscard]] SelectWait
    : public ResultWait<SelectWait<Ops...>, std::variant<Outcome<typename Ops::Value>...>,
                        /*structural=*/false> {
  using Base = ResultWait<SelectWait<Ops...>, std::variant<Outcome<typename Ops::Value>...>,
                          /*structural=*/false>;

 public:
  using Value = typename Base::Value;

  explicit SelectWait(const CxBase& cx, Wait<Ops>&... arms) : Base(cx), arms_(arms...) {}

  bool await_ready() {
    FirstArm([](auto, auto& arm) {
      if (arm.stage_ != Stage::kNew) [[unlikely]] {
        arm.Begin(arm.OwnOps());
        arm.AwaitedTwice();
      }
      return false;
    });
    return Base::await_ready();
  }

 private:
  friend Base;
  using Base::mode_;
  using Base::result_;
  using typename Base::Stage;

  static constexpr bool kTakesFirst = false;
  static const WaitOps* OwnOps() { return &kOps; }

  static constexpr size_t kArms = sizeof...(Ops);
  static constexpr uint8_t kNobody = 0xff;  // claims the word without any arm

  // Calls visit(index constant, arm) for each; stops at the first that says so, and returns its index.
  template <class Visit>
  size_t FirstArm(Visit visit) {
    size_t first = kArms;
    [&]<size_t... i>(std::index_sequence<i...>) {
      (void)((visit(std::integral_constant<size_t, i>(), std::get<i>(arms_)) &&
              ((first = i), true)) ||
             ...);
    }(std::make_index_sequence<kArms>());
    return first;
  }

  template <size_t i, class ArmWait>
  void TakeResult(ArmWait& arm) {
    arm.stage_ = Stage::kAwaited;
    result_.emplace(Value(std::in_place_index<i>, *std::move(arm.result_)));
  }

  // Completes the first arm that can be.
  bool TryNow() {
    const size_t first = FirstArm([this](auto i, auto& arm) {
      if (!arm.op_.Try(arm, arm.result_)) return false;
      this->template TakeResult<i>(arm);
      return true;
    });
    return first != kArms;
  }

  void WithdrawAllBut(size_t kept) {
    FirstArm([this, kept](auto i, auto& arm) {
      if (i != kept && queued_[i]) arm.op_.Withdraw(arm);
      queued_[i] = false;
      return false;
    });
  }

  bool Arm() {
    while (true) {
      if (!this->BeginArming()) return false;
      Enqueued last = Enqueued::kQueued;
      FirstArm([this, &last](auto i, auto& arm) {
        arm.Begin(arm.OwnOps());
        arm.mode_ = mode_;
        arm.arm_ = static_cast<uint8_t>(i + 1);
        last = arm.op_.Enqueue(arm, arm.result_);
        queued_[i] = last == Enqueued::kQueued;
        return last != Enqueued::kQueued;
      });
      QUIESCE_CHECK(last != Enqueued::kDone || this->task()->IsGranted(),
                    "an operation was completed in Enqueue without asking Waiter::MayTake");
      if (last == Enqueued::kQueued && this->CommitPark(kOps)) return true;
      if (last == Enqueued::kRetry) {
        // Nobody may grant another arm from here on; unless one has been.
        this->arm_ = kNobody;
        if (this->ClaimArm()) {
          WithdrawAllBut(kArms);
          this->Disarm();
          if (TryNow()) return false;
          continue;
        }
      }
      if (this->Settle()) return false;
    }
  }

  bool TakeGranted() {
    const size_t granted = size_t{this->word().GrantedArm()} - 1;
    WithdrawAllBut(granted);
    const size_t done = FirstArm([this, granted](auto i, auto& arm) {
      if (i != granted) return false;
      // Completed while it was being queued, or granted after that.
      if (!arm.result_.has_value() && !arm.op_.Harvest(arm, arm.result_)) return false;
      this->template TakeResult<i>(arm);
      return true;
    });
    return done != kArms;
  }
  void WithdrawAll() { WithdrawAllBut(kArms); }

  // Several holders may be waited for: each chain is followed here.
  static TaskCore* LendLaneOf(Waiter* waiter) {
    static_cast<SelectWait*>(waiter)->FirstArm([](auto, auto& arm) {
      arm.LendLane();
      return false;
    });
    return nullptr;
  }

  static constexpr WaitOps kOps = WaitOps("Select", &Base::Complete, &LendLaneOf);

  std::tuple<Wait<Ops>&...> arms_;
  std::array<bool, kArms> queued_ = {};
};

template <class... Ops>
WaitOrReturn<SelectWait<Ops...>> OrReturn(SelectWait<Ops...>&& wait) {
  return WaitOrReturn<SelectWait<Ops...>>(wait);
}
template <class... Ops>
WaitOrReturn<SelectWait<Ops...>> OrReturn(SelectWait<Ops...>& wait) {
  return WaitOrReturn<SelectWait<Ops...>>(wait);
}

// Waits until one of `arms` can be completed, and completes that one.
// Returns  Outcome<std::variant<Outcome<V>…>>: outside the Select's own wait, Ok | Cancelled; inside the
//          outcome of the arm that won, which may be an Error (closed, say). Several ready: the first listed.
// Suspends until then; an ordinary wait of `cx`, whose flags count, not those of the arms' Cx. A checkpoint.
// Cancel   safe (G8): no arm took anything. Losing costs an arm its place in line.
// Limits   the arms are waits of the same task, temporaries of the same expression or named, and are not awaited
//          themselves. One that may be half done when it loses (WriteAll) is refused at compile time: race tasks.
template <class... Ops>
SelectWait<Ops...> Select(const CxBase& cx, Wait<Ops>&&... arms) {
  static_assert(sizeof...(Ops) >= 1 && sizeof...(Ops) <= 64, "Select takes 1 to 64 waits");
  static_assert((... && !Ops::kStructural),
                "Select: a structural wait cannot lose, since nothing ends it");
  static_assert((... && !kIsPartial<Ops>),
                "Select: this wait may have had part of its effect when another wins: use Race");
  return SelectWait<Ops...>(cx, arms...);
}
template <class... Ops>
SelectWait<Ops...> Select(const CxBase& cx, Wait<Ops>&... arms) {
  return Select(cx, std::move(arms)...);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_TASK_SELECT_H_

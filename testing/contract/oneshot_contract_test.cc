// The contract (wait_contract.h) for the waits of oneshot channels.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "quiesce/runtime/channel/oneshot.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

using Value = std::unique_ptr<int>;

// Made in the scenario, so that its memory is counted.
struct OneshotContract : WaitContractDefaults {
  explicit OneshotContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx) {
    Oneshot<Value> channel = MakeOneshot<Value>();
    sender.emplace(std::move(channel.sender));
    receiver.emplace(std::move(channel.receiver));
    co_return Ok();
  }
  std::optional<OneshotSender<Value>> sender;
  std::optional<OneshotReceiver<Value>> receiver;
};

struct OneshotReceiveContract : OneshotContract {
  using OneshotContract::OneshotContract;
  auto Start(const Cx& cx) { return receiver->Receive(cx); }
  void Grant() { (void)std::move(*sender).Send(std::make_unique<int>(42)); }
  std::string CheckValue(Outcome<std::optional<Value>>& got) {
    if (!got->has_value() || **got == nullptr) return "the value is gone";
    return ***got == 42 ? "" : "another value";
  }
  std::string CheckState(bool ok, bool granted) {
    return receiver->ended() == (ok && granted) ? "" : "it ends with the value that is taken";
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(OneshotReceive, WaitContract, OneshotReceiveContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectOneshotReceive, WaitContract,
                               SelectContract<OneshotReceiveContract>);

struct OneshotDroppedContract : OneshotReceiveContract {
  using OneshotReceiveContract::OneshotReceiveContract;
  void Grant() { OneshotSender<Value> dropped = std::move(*sender); }
  std::string CheckValue(Outcome<std::optional<Value>>& got) {
    return got->has_value() ? "a value, but none was sent" : "";
  }
  std::string CheckState(bool, bool granted) {
    return receiver->ended() == granted ? "" : "it ends with the sender";
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(OneshotDropped, WaitContract, OneshotDroppedContract);

struct OneshotClosedContract : OneshotContract {
  using OneshotContract::OneshotContract;
  auto Start(const Cx& cx) { return sender->Closed(cx); }
  void Grant() { receiver.reset(); }
  std::string CheckValue(Outcome<void>&) { return sender->closed() ? "" : "it is not closed"; }
  std::string CheckState(bool, bool granted) {
    return sender->closed() == granted ? "" : "it closes with the receiver";
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(OneshotClosed, WaitContract, OneshotClosedContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectOneshotClosed, WaitContract,
                               SelectContract<OneshotClosedContract>);

}  // namespace
}  // namespace quiesce::contract

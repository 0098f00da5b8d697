// The contract (wait_contract.h) for the waits of a broadcast channel, by themselves and as arms of a Select.
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/channel/broadcast.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

// Not plain bytes, and long enough that a moved-from one is empty.
const char* const kMessage = "a message that is longer than what a string keeps in itself";

std::string IsTheMessage(const std::optional<Broadcasted<std::string>>& got) {
  if (!got.has_value()) return "the channel has ended";
  if (got->missed != 0) return absl::StrCat(got->missed, " messages were missed");
  return got->value == kMessage ? "" : absl::StrCat("got '", got->value, "'");
}

struct ReceiveContract : WaitContractDefaults {
  explicit ReceiveContract(SteppedRuntime&) {}
  auto Start(const Cx& cx) { return receiver.Receive(cx); }
  void Grant() { sender.Send(std::string(kMessage)); }
  std::string CheckValue(Outcome<std::optional<Broadcasted<std::string>>>& got) {
    return IsTheMessage(*got);
  }
  std::string CheckState(bool ok, bool granted) {
    const size_t expected = granted && !ok ? 1 : 0;
    return sender.size() == expected ? "" : absl::StrCat(sender.size(), " messages are left");
  }
  BroadcastSender<std::string> sender = MakeBroadcast<std::string>(4);
  BroadcastReceiver<std::string> receiver = sender.Subscribe();
};
INSTANTIATE_TYPED_TEST_SUITE_P(BroadcastReceive, WaitContract, ReceiveContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectBroadcastReceive, WaitContract,
                               SelectContract<ReceiveContract>);

// What ends the wait is that the last sender goes.
struct ReceiveEndContract : WaitContractDefaults {
  explicit ReceiveEndContract(SteppedRuntime&) {}
  auto Start(const Cx& cx) { return receiver.Receive(cx); }
  void Grant() { sender.reset(); }
  std::string CheckValue(Outcome<std::optional<Broadcasted<std::string>>>& got) {
    return got->has_value() ? "a message out of nowhere" : "";
  }
  std::string CheckState(bool, bool granted) {
    return receiver.at_end() == granted ? "" : "the channel's end is not the grant";
  }
  std::optional<BroadcastSender<std::string>> sender = MakeBroadcast<std::string>(4);
  BroadcastReceiver<std::string> receiver = sender->Subscribe();
};
INSTANTIATE_TYPED_TEST_SUITE_P(BroadcastReceiveEnd, WaitContract, ReceiveEndContract);

// A channel of one place, which is taken; the grant is that the receiver takes what is in it.
struct FullContract : WaitContractDefaults {
  explicit FullContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx) {
    sender.Send(std::string("first"));
    co_return Ok();
  }
  void Grant() { (void)receiver.TryReceive(); }
  std::string CheckState(bool, bool granted) {
    if (sender.reserved() != 0) return "room is held, and nobody holds it";
    const size_t expected = granted ? 0 : 1;
    return sender.size() == expected ? "" : absl::StrCat(sender.size(), " messages are there");
  }
  BroadcastSender<std::string> sender = MakeBroadcast<std::string>(1);
  BroadcastReceiver<std::string> receiver = sender.Subscribe();
};

struct ReserveContract : FullContract {
  using FullContract::FullContract;
  auto Start(const Cx& cx) { return sender.Reserve(cx); }
  std::string CheckValue(Outcome<BroadcastPermit<std::string>>& got) {
    if (sender.reserved() != 1) return "the permit holds no room";
    if (std::move(*got).Send(std::string(kMessage)) != 1) return "it is sent to nobody";
    return IsTheMessage(receiver.TryReceive());
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(BroadcastReserve, WaitContract, ReserveContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectBroadcastReserve, WaitContract,
                               SelectContract<ReserveContract>);

struct SendContract : FullContract {
  using FullContract::FullContract;
  auto Start(const Cx& cx) { return sender.Send(cx, std::move(message)); }
  std::string CheckValue(Outcome<size_t>& got) {
    if (*got != 1) return absl::StrCat("sent to ", *got);
    if (!message.empty()) return "the message is sent, and is still here";
    return IsTheMessage(receiver.TryReceive());
  }
  std::string CheckState(bool ok, bool granted) {
    if (!ok && message != kMessage) return "not sent, and the message is gone";
    return FullContract::CheckState(ok, granted);
  }
  std::string message = kMessage;
};
INSTANTIATE_TYPED_TEST_SUITE_P(BroadcastSend, WaitContract, SendContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectBroadcastSend, WaitContract, SelectContract<SendContract>);

}  // namespace
}  // namespace quiesce::contract

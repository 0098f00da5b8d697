// The contract (wait_contract.h) for the waits of mpsc channels.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

using Value = std::unique_ptr<int>;  // a value that was lost is a null one, and a leak

Value New(int number) { return std::make_unique<int>(number); }
std::string Is42(const Value& value) {
  if (value == nullptr) return "the value is gone";
  return *value == 42 ? "" : absl::StrCat("42 was sent, got ", *value);
}

// A channel of capacity 1, made in the scenario, so that its memory is counted.
struct ChannelContract : WaitContractDefaults {
  explicit ChannelContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx) {
    Mpsc<Value> channel = MakeMpsc<Value>(1);
    sender.emplace(std::move(channel.sender));
    receiver.emplace(std::move(channel.receiver));
    co_return Ok();
  }
  std::optional<Sender<Value>> sender;
  std::optional<Receiver<Value>> receiver;
};

// ---- waits for a message ----------------------------------------------------------------------------

struct ReceiveContract : ChannelContract {
  using ChannelContract::ChannelContract;
  auto Start(const Cx& cx) { return receiver->Receive(cx); }
  void Grant() { (void)sender->TrySend(New(42)); }
  std::string CheckValue(Outcome<std::optional<Value>>& got) {
    return got->has_value() ? Is42(**got) : "the end, but it is not";
  }
  std::string CheckState(bool ok, bool granted) {
    const size_t expected = granted && !ok ? 1 : 0;
    return sender->size() == expected ? "" : absl::StrCat(sender->size(), " messages are left");
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(Receive, WaitContract, ReceiveContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectReceive, WaitContract, SelectContract<ReceiveContract>);

struct ReceiveAckedContract : ReceiveContract {
  using ReceiveContract::ReceiveContract;
  auto Start(const Cx& cx) { return receiver->ReceiveAcked(cx); }
  std::string CheckValue(Outcome<std::optional<Ack<Value>>>& got) {
    if (!got->has_value()) return "the end, but it is not";
    if (sender->TrySend(New(1)) != TrySendResult::kFull) return "a slot is free before the Commit";
    std::optional<Value> value = std::move(**got).Commit();
    return value.has_value() ? Is42(*value) : "it had been revoked";
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(ReceiveAcked, WaitContract, ReceiveAckedContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectReceiveAcked, WaitContract,
                               SelectContract<ReceiveAckedContract>);

struct ReceiveManyContract : ReceiveContract {
  using ReceiveContract::ReceiveContract;
  auto Start(const Cx& cx) { return receiver->ReceiveMany(cx, batch, 2); }
  std::string CheckValue(Outcome<size_t>& got) {
    if (*got != 1 || batch.size() != 1) return absl::StrCat("a batch of ", *got);
    return Is42(batch[0]);
  }
  std::vector<Value> batch;
};
INSTANTIATE_TYPED_TEST_SUITE_P(ReceiveMany, WaitContract, ReceiveManyContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectReceiveMany, WaitContract,
                               SelectContract<ReceiveManyContract>);

// The end, which comes when the last permit is resolved.
struct ReceiveEndContract : ReceiveContract {
  using ReceiveContract::ReceiveContract;
  Task<void> SetUp(Cx cx) {
    co_await OrReturn(ReceiveContract::SetUp(cx));
    permit = sender->TryReserve(cx);
    observer.emplace(*sender);
    receiver->Close();
    co_return Ok();
  }
  void Grant() { std::move(*permit).Abort(); }
  std::string CheckValue(Outcome<std::optional<Value>>& got) {
    return got->has_value() ? "a message, but none was sent" : "";
  }
  std::string CheckState(bool ok, bool granted) {
    if (ok && !receiver->ended()) return "nullopt before the end";
    return receiver->ended() == granted ? "" : "the end comes with the permit's";
  }
  std::optional<SendPermit<Value>> permit;
  std::optional<Sender<Value>> observer;
};
INSTANTIATE_TYPED_TEST_SUITE_P(ReceiveEnd, WaitContract, ReceiveEndContract);

// ---- waits for room ---------------------------------------------------------------------------------

struct SendContract : ChannelContract {
  using ChannelContract::ChannelContract;
  Task<void> SetUp(Cx cx) {
    co_await OrReturn(ChannelContract::SetUp(cx));
    (void)sender->TrySend(New(1));
    co_return Ok();
  }
  auto Start(const Cx& cx) {
    value = New(42);
    return sender->Send(cx, std::move(value));
  }
  void Grant() { (void)receiver->TryReceive(); }
  std::string CheckValue(Outcome<void>&) {
    if (value != nullptr) return "Ok, but the value is still here";
    std::optional<Value> sent = receiver->TryReceive();
    return sent.has_value() ? Is42(*sent) : "Ok, but it was not sent";
  }
  std::string CheckState(bool ok, bool granted) {
    if (!ok) {
      const std::string kept = Is42(value);
      if (!kept.empty()) return kept;
    }
    const size_t expected = granted ? 0 : 1;
    return sender->size() == expected ? "" : absl::StrCat(sender->size(), " messages are queued");
  }
  Value value;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Send, WaitContract, SendContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectSend, WaitContract, SelectContract<SendContract>);

struct ReserveContract : SendContract {
  using SendContract::SendContract;
  auto Start(const Cx& cx) { return sender->Reserve(cx); }
  std::string CheckValue(Outcome<SendPermit<Value>>& got) {
    if (sender->reserved() != 1) return "Ok, but no slot is reserved";
    if (std::move(*got).Send(New(42)).has_value()) return "the value is given back";
    std::optional<Value> sent = receiver->TryReceive();
    return sent.has_value() ? Is42(*sent) : "Ok, but it was not sent";
  }
  std::string CheckState(bool, bool granted) {
    if (sender->reserved() != 0) return "a slot stays reserved";
    const size_t expected = granted ? 0 : 1;
    return sender->size() == expected ? "" : absl::StrCat(sender->size(), " messages are queued");
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(Reserve, WaitContract, ReserveContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectReserve, WaitContract, SelectContract<ReserveContract>);

}  // namespace
}  // namespace quiesce::contract

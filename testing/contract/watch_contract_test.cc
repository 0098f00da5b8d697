// The contract (wait_contract.h) for WatchReceiver::Changed, by itself and as an arm of a Select.
#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "quiesce/runtime/channel/watch.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

struct Watched : WaitContractDefaults {
  Task<void> SetUp(Cx) {
    auto [sending, receiving] = MakeWatch<std::string>("initial");
    sender.emplace(std::move(sending));
    receiver.emplace(std::move(receiving));
    co_return Ok();
  }
  auto Start(const Cx& cx) { return receiver->Changed(cx); }
  std::optional<WatchSender<std::string>> sender;
  std::optional<WatchReceiver<std::string>> receiver;
};

struct ChangedContract : Watched {
  explicit ChangedContract(SteppedRuntime&) {}
  void Grant() { sender->Send("changed"); }
  std::string CheckValue(Outcome<bool>& got) {
    if (!*got) return "the sender is said to be gone";
    return receiver->Get() == "changed" ? "" : "changed, to what it was";
  }
  // That a cancelled wait has not seen the change is what the second wait is about.
  std::string CheckState(bool, bool) { return ""; }
};
INSTANTIATE_TYPED_TEST_SUITE_P(WatchChanged, WaitContract, ChangedContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectWatchChanged, WaitContract, SelectContract<ChangedContract>);

struct SenderGoneContract : Watched {
  explicit SenderGoneContract(SteppedRuntime&) {}
  void Grant() { sender.reset(); }
  std::string CheckValue(Outcome<bool>& got) { return *got ? "a change out of nowhere" : ""; }
  std::string CheckState(bool, bool) { return ""; }
};
INSTANTIATE_TYPED_TEST_SUITE_P(WatchSenderGone, WaitContract, SenderGoneContract);

}  // namespace
}  // namespace quiesce::contract

// select_contract.h: the contract of a wait, once more for that wait as an arm of a Select.
//
// Why:        a wait that loses must take nothing, and one that wins everything, whatever the other arms do.
// Example:    INSTANTIATE_TYPED_TEST_SUITE_P(SelectMailbox, WaitContract, SelectContract<MailboxContract>);
// How:        the contract's wait stands between two arms that are never granted.
#ifndef QUIESCE_TESTING_CONTRACT_SELECT_CONTRACT_H_
#define QUIESCE_TESTING_CONTRACT_SELECT_CONTRACT_H_

#include <utility>
#include <variant>

#include "quiesce/runtime/task/select.h"
#include "quiesce/testing/contract/mailbox.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {

template <class Contract>
struct SelectContract : Contract {
  using Contract::Contract;
  static constexpr const char* kWaitName = "Select";

  using Arm = decltype(std::declval<Contract&>().Start(std::declval<const Cx&>()));
  using T = typename Arm::Value;

  Task<T> Start(Cx cx) {
    Arm arm = Contract::Start(cx);
    auto before = never_.Take(cx);
    auto after = never_.Take(cx);
    auto won = co_await OrReturn(Select(cx, before, arm, after));
    co_return std::get<1>(std::move(won));
  }

 private:
  Mailbox never_;
};

}  // namespace quiesce::contract

#endif  // QUIESCE_TESTING_CONTRACT_SELECT_CONTRACT_H_

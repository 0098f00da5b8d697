// The contract (wait_contract.h) for the waits of a session, by themselves and, but for Call, as arms of a Select.
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "quiesce/runtime/channel/session.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/testing/contract/mailbox.h"
#include "quiesce/testing/contract/select_contract.h"
#include "quiesce/testing/contract/wait_contract.h"

namespace quiesce::contract {
namespace {

// Long enough that a moved-from one is empty.
const char* const kRequest = "a request that is longer than what a string keeps in itself";

struct Ends {
  Ends() : Ends(MakeSession<std::string, int>(1)) {}
  explicit Ends(std::pair<SessionClient<std::string, int>, SessionServer<std::string, int>> both)
      : client(std::move(both.first)), server(std::move(both.second)) {}
  SessionClient<std::string, int> client;
  SessionServer<std::string, int> server;
};

// A task of the root region serves the call: it takes it at once and answers at the grant, or does both at the
// grant. It ends with the first answer that has reached a caller.
template <bool takes_at_once>
struct CallContract : WaitContractDefaults, Ends {
  static constexpr bool kTryCompletes = false;
  static constexpr bool kGrantIsImmediate = false;
  explicit CallContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    cx.Spawn("server", [this](Cx cx) -> Task<void> {
      if (!takes_at_once) (void)co_await OrReturn(gate.TakeStructural(cx));
      for (bool granted = !takes_at_once, answered = false; !answered; granted = true) {
        auto call = co_await OrReturn(server.Next(cx));
        if (!granted) (void)co_await OrReturn(gate.TakeStructural(cx));
        answered = std::move(call->reply).Reply(call->request == kRequest ? 42 : 0);
      }
      co_return Ok();
    });
    co_return Ok();
  }
  auto Start(const Cx& cx) {
    if (request.empty()) request = kRequest;  // the first call was with the server
    return client.Call(cx, std::move(request));
  }
  void Grant() { gate.Put(1); }
  std::string CheckValue(Outcome<int>& got) {
    return *got == 42 ? "" : absl::StrCat("the reply is ", *got);
  }
  std::string CheckState(bool ok, bool granted) {
    if (client.waiting() != 0) return "a call is left in line";
    if (!takes_at_once && !ok && !granted && request != kRequest) return "not seen, but taken";
    return "";
  }
  std::string request = kRequest;
  Mailbox gate;
};
INSTANTIATE_TYPED_TEST_SUITE_P(SessionCallInLine, WaitContract, CallContract<false>);
INSTANTIATE_TYPED_TEST_SUITE_P(SessionCallServed, WaitContract, CallContract<true>);

// A task of the root region calls at the grant.
struct NextContract : WaitContractDefaults, Ends {
  static constexpr bool kGrantIsImmediate = false;
  explicit NextContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    cx.Spawn("caller", [this](Cx cx) -> Task<void> {
      (void)co_await OrReturn(gate.TakeStructural(cx));
      std::string request = kRequest;
      const int reply = co_await OrReturn(client.Call(cx, std::move(request)));
      answered = reply == 42;
      co_return Ok();
    });
    co_return Ok();
  }
  auto Start(const Cx& cx) { return server.Next(cx); }
  void Grant() { gate.Put(1); }
  std::string CheckValue(Outcome<std::optional<Incoming<std::string, int>>>& got) {
    if (!got->has_value()) return "the session has ended";
    std::optional<Incoming<std::string, int>> call = *std::move(got);
    if (client.with_server() != 1) return "the call is not with the server";
    if (!std::move(call->reply).Reply(42)) return "the caller has given up";
    return call->request == kRequest ? "" : "not the request";
  }
  std::string CheckState(bool, bool) {
    return client.with_server() == 0 ? "" : "a call is with the server, and nobody has it";
  }
  Mailbox gate;
  bool answered = false;
};
INSTANTIATE_TYPED_TEST_SUITE_P(SessionNext, WaitContract, NextContract);
INSTANTIATE_TYPED_TEST_SUITE_P(SelectSessionNext, WaitContract, SelectContract<NextContract>);

// What ends the wait is that the caller, a task of the root region, is cancelled.
struct AbandonedContract : WaitContractDefaults, Ends {
  static constexpr bool kGrantIsImmediate = false;
  explicit AbandonedContract(SteppedRuntime&) {}
  Task<void> SetUp(Cx cx) {
    caller.emplace(cx.Spawn("caller", [this](Cx cx) -> Task<void> {
      std::string request = kRequest;
      (void)co_await OrReturn(client.Call(cx, std::move(request)));
      co_return Ok();
    }));
    call = co_await OrReturn(server.Next(cx));
    co_return Ok();
  }
  auto Start(const Cx& cx) { return call->reply.Abandoned(cx); }
  void Grant() { caller->Cancel(); }
  std::string CheckValue(Outcome<void>&) {
    if (!call->reply.abandoned()) return "the caller has not given up";
    return std::move(call->reply).Reply(42) ? "the caller has given up, but took the reply" : "";
  }
  std::string CheckState(bool, bool) { return ""; }
  std::optional<TaskHandle<void>> caller;
  std::optional<Incoming<std::string, int>> call;
};
INSTANTIATE_TYPED_TEST_SUITE_P(ReplyAbandoned, WaitContract, AbandonedContract);

INSTANTIATE_TYPED_TEST_SUITE_P(SelectReplyAbandoned, WaitContract,
                               SelectContract<AbandonedContract>);

}  // namespace
}  // namespace quiesce::contract

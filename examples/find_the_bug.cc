// A ticket office that sells more tickets than it has, once in a while; found by the lab at the first run.
//
//   bazel run //examples:find_the_bug            finds the mistake, and exits with 1
//   bazel run //examples:find_the_bug -- --fixed  shows that the mended office has none, and exits with 0
//
// Each use of `left_` is under its mutex, so no sanitizer finds anything. But between the look and the sale the customer pays:
// two customers can see the same last ticket. A stress test needs luck for that; the lab tries every order.

#include <cstdio>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/quiesce.h"
#include "quiesce/runtime/sync/mutex.h"
#include "quiesce/testing/lab/lab.h"

ABSL_FLAG(bool, fixed, false, "explore the office that has been mended");
ABSL_FLAG(std::string, page, "", "write the page of the failing execution there: a file");
ABSL_FLAG(std::string, quiesce_replay, "", "run only this execution, as a failure has printed it");

using namespace quiesce;  // NOLINT: an example

class Office {
 public:
  Office(int tickets, bool fixed) : left_(tickets), fixed_(fixed) {}

  // Sells a ticket, if one is left, to who can pay for it.
  Task<bool> Sell(Cx cx, MutexOf<int>* wallet) {
    {
      MutexGuardOf<int> left = co_await OrReturn(left_.Lock(cx));
      if (*left == 0) co_return false;
      if (fixed_) --*left;  // kept for this customer while he pays
    }
    // Nobody else should wait for that: not under the mutex.
    const bool paid = co_await OrReturn(Pay(cx, wallet));
    if (paid == fixed_) co_return paid;
    MutexGuardOf<int> left = co_await OrReturn(left_.Lock(cx));
    *left += paid ? -1 : 1;
    co_return paid;
  }

  Task<int> Left(Cx cx) {
    MutexGuardOf<int> left = co_await OrReturn(left_.Lock(cx));
    co_return *left;
  }

 private:
  static constexpr int kPrice = 30;

  static Task<bool> Pay(Cx cx, MutexOf<int>* wallet) {
    MutexGuardOf<int> money = co_await OrReturn(wallet->Lock(cx));
    if (*money < kPrice) co_return false;
    *money -= kPrice;
    co_return true;
  }

  MutexOf<int> left_;
  const bool fixed_;
};

Task<void> Buy(Cx cx, Office* office, int money) {
  MutexOf<int> wallet(money);
  (void)co_await OrReturn(office->Sell(cx, &wallet));
  co_return Ok();
}

Task<void> SellTheLastTicket(Cx cx, bool fixed) {
  Office office(/*tickets=*/1, fixed);
  auto morning = [&](Cx cx) -> Task<void> {
    cx.Spawn("Ada", Buy, &office, 50);
    cx.Spawn("Grace", Buy, &office, 40);
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "morning", morning));
  const int left = co_await OrReturn(office.Left(cx));
  if (left < 0) co_return absl::InternalError(absl::StrCat(-left, " more sold than there are"));
  co_return Ok();
}

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Finds the mistake of a ticket office. See examples/find_the_bug.cc.");
  absl::ParseCommandLine(argc, argv);
  const bool fixed = absl::GetFlag(FLAGS_fixed);
  const std::string replay = absl::GetFlag(FLAGS_quiesce_replay);
  const Explore how = replay.empty() ? Explore::Exhaustive() : Explore::Replay(replay);
  LabResult result = RunLab(how, [fixed](Cx cx) { return SellTheLastTicket(cx, fixed); });
  std::printf("%s%s\n", result.failure.c_str(), result.verdict.c_str());
  const std::string page = absl::GetFlag(FLAGS_page);
  if (!page.empty() && result.trace.has_value()) {
    result.trace->title = "Who sold the last ticket twice?";
    std::FILE* const file = std::fopen(page.c_str(), "w");
    if (file == nullptr) {
      std::fprintf(stderr, "find_the_bug: cannot write %s\n", page.c_str());
      return 2;
    }
    std::fputs(result.trace->ToPage().c_str(), file);
    std::fclose(file);
  }
  return result.ok() ? 0 : 1;
}

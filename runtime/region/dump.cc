// What a region looks like from outside: dumps and stall reports. See region_core.h.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "quiesce/runtime/obligation/ledger.h"
#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/task/async_stack.h"

namespace quiesce {
inline namespace v0 {
namespace {

// More parked tasks of one region are counted, not printed: a dump of a million stays readable.
constexpr int kMostTasks = 100;

const char* ModeName(uint8_t mode) {
  switch (mode) {
    case task_word::kParkedDrain:
      return "drain wait";
    case task_word::kParkedGrace:
      return "finalizer's wait";
    case task_word::kParkedStructural:
      return "structural wait";
    default:
      return "wait";
  }
}

std::string Ago(Instant now, Instant since) {
  return absl::FormatDuration(absl::Trunc(now - since, absl::Milliseconds(1)));
}

std::string In(Instant now, Instant at) {
  if (at.is_infinite()) return "never";
  if (at <= now) return absl::StrCat(Ago(now, at), " ago");
  return absl::StrCat("in ", Ago(at, now));
}

}  // namespace

const char* RegionCore::PhaseName() const {
  const uint64_t state = word.load(std::memory_order_acquire);
  if (state & region_word::kClosed) return "Closed";
  if (state & region_word::kFinalizing) return "Finalizing";
  if (state & region_word::kPropagated) return "Draining";
  if (state & region_word::kCancelled) return "CancelRequested";
  return "Open";
}

void RegionCore::DescribeTo(const std::string& indent, bool stacks, std::string& to) {
  const Instant now = Now();
  const uint64_t state = word.load(std::memory_order_acquire);
  absl::StrAppend(&to, indent, "region '", region_name, "' #", id);
  if (line_ != 0) absl::StrAppend(&to, " (opened at ", DescribePlace(file_, line_), ")");
  absl::StrAppend(&to, ": ", PhaseName(), (state & region_word::kGentle) ? ", gentle drain" : "",
                  ", ", state & region_word::kCountMask, " live");
  if (!deadline.is_infinite()) absl::StrAppend(&to, ", deadline ", In(now, deadline));
  if (own_quota_) {
    const auto left = [](const std::atomic<int64_t>& value) {
      const int64_t now_left = value.load(std::memory_order_relaxed);
      return now_left == Budget::kUnlimited ? std::string("unlimited") : absl::StrCat(now_left);
    };
    absl::StrAppend(&to, ", polls left ", left(polls_left_), ", cost left ", left(cost_left_));
  }
  {
    SpinLockHolder lock(lock_);
    if (const CancelReason* given = reason()) {
      absl::StrAppend(&to, ", ", given->ToString(), ", drain budget ends ", In(now, drain_by_),
                      ", finalizers' ", In(now, finalize_by_));
    }
  }
  to += "\n";
  int parked_tasks = 0;
  // What running tasks count themselves is not in it.
  int64_t owed = permit_word::Open(permits.load(std::memory_order_relaxed)) +
                 opener_permits.load(std::memory_order_relaxed);
  registry_.ForEach([&](Waiter* waiter) {
    if (waiter->task()->scope == this) {
      owed += waiter->task()->permits.load(std::memory_order_relaxed);
    }
    if (++parked_tasks > kMostTasks) return;
    absl::StrAppend(&to, indent, "  task ", DescribeTask(*waiter->task()), ": parked ",
                    Ago(now, waiter->parked_since()), " in ", waiter->ops()->name, " (",
                    ModeName(waiter->mode()), ")\n");
    if (stacks) AppendAsyncStack(*waiter, indent + "    ", to);
  });
  if (owed > 0) {
    const std::string which = LedgerOf::Describe(this);
    absl::StrAppend(&to, indent, "  owes ", owed, owed == 1 ? " permit" : " permits",
                    which.empty() ? "" : ": ", which, "\n");
  }
  if (parked_tasks > kMostTasks) {
    absl::StrAppend(&to, indent, "  … and ", parked_tasks - kMostTasks, " more parked tasks\n");
  }
}

std::string RegionCore::Dump() {
  // Depth first with an explicit stack, children in order of opening.
  std::string text;
  Ref();
  std::vector<std::pair<RegionCore*, int>> stack = {{this, 0}};
  while (!stack.empty()) {
    const auto [region, level] = stack.back();
    stack.pop_back();
    region->DescribeTo(std::string(2 * static_cast<size_t>(level), ' '), /*stacks=*/true, text);
    std::vector<RegionCore*> children;
    region->CollectChildren(children);
    for (size_t i = children.size(); i > 0; --i) stack.emplace_back(children[i - 1], level + 1);
    region->Unref();
  }
  return text;
}

std::string RegionCore::StallReport() {
  std::string text = absl::StrCat("quiesce: region '", region_name,
                                  "' has not closed although its drain and finalizer budgets are "
                                  "spent. Tasks that are parked are named below with what they "
                                  "wait for; a live task that is not "
                                  "named is running or ready: it has not reached a checkpoint.\n");
  text += Dump();
  text += DescribeRunningTasks();
  return text;
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/testing/lab/hottest_loop.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "quiesce/testing/lab/numbers.h"

namespace quiesce::lab {
namespace {

constexpr size_t kLongestLoop = 100;  // in steps
constexpr size_t kMostLines = 3;

// "Mutex 12: Lock" as "Mutex #: Lock".
std::string WithoutNumbers(absl::string_view text) {
  std::string kind;
  for (const char c : text) {
    const bool digit = absl::ascii_isdigit(static_cast<unsigned char>(c));
    if (!digit) kind += c;
    if (digit && (kind.empty() || kind.back() != '#')) kind += '#';
  }
  return kind;
}

// How long what is repeated is, if nearly all of it is one thing again and again; else 0.
size_t FindPeriod(const std::vector<uint32_t>& kinds) {
  for (size_t period = 1; period <= kLongestLoop && period * 3 <= kinds.size(); ++period) {
    size_t same = 0;
    for (size_t i = period; i < kinds.size(); ++i) same += kinds[i] == kinds[i - period];
    if (same * 20 >= (kinds.size() - period) * 19) return period;
  }
  return 0;
}

// What the steps of one task do, of which there is at least one.
std::string Describe(const std::vector<const LabTrace::Step*>& steps) {
  absl::flat_hash_map<std::string, uint32_t> numbers;
  std::vector<uint32_t> kinds;
  std::vector<size_t> counts;
  std::vector<const LabTrace::Step*> latest;
  for (const LabTrace::Step* step : steps) {
    const auto number = static_cast<uint32_t>(numbers.size());
    kinds.push_back(numbers.try_emplace(WithoutNumbers(step->what), number).first->second);
    counts.resize(numbers.size());
    latest.resize(numbers.size());
    ++counts[kinds.back()];
    latest[kinds.back()] = step;
  }
  std::string text;
  if (const size_t period = FindPeriod(kinds)) {
    // From where it begins with what came first.
    const auto last = kinds.end() - static_cast<ptrdiff_t>(period);
    const auto begin = static_cast<size_t>(std::min_element(last, kinds.end()) - last);
    for (size_t i = 0; i < period; ++i) {
      const size_t at = steps.size() - period + (begin + i) % period;
      absl::StrAppend(&text, i == 0 ? "" : " -> ", steps[at]->what);
    }
    return text;
  }
  std::vector<size_t> by_count(counts.size());
  std::iota(by_count.begin(), by_count.end(), size_t{0});
  std::ranges::sort(by_count, {}, [&](size_t kind) { return std::pair(~counts[kind], kind); });
  by_count.resize(std::min(by_count.size(), kMostLines));
  for (const size_t kind : by_count) {
    absl::StrAppend(&text, text.empty() ? "in no fixed order, most often " : ", ",
                    latest[kind]->what, " (", WithSeparators(counts[kind]), " times)");
  }
  return text;
}

}  // namespace

std::string HottestLoops(const LabTrace& log) {
  const size_t half = (log.steps.size() + 1) / 2;
  std::vector<std::vector<const LabTrace::Step*>> by_task(log.tasks.size());
  for (size_t at = log.steps.size() - half; at < log.steps.size(); ++at) {
    by_task[log.steps[at].task].push_back(&log.steps[at]);
  }
  std::vector<size_t> hottest(by_task.size());
  std::iota(hottest.begin(), hottest.end(), size_t{0});
  std::ranges::sort(hottest, {},
                    [&](size_t task) { return std::pair(~by_task[task].size(), task); });
  std::string text;
  for (size_t line = 0; line < std::min(hottest.size(), kMostLines); ++line) {
    const LabTrace::TaskInfo& task = log.tasks[hottest[line]];
    const std::vector<const LabTrace::Step*>& steps = by_task[hottest[line]];
    if (steps.size() * 10 < half) break;
    absl::StrAppend(&text, line == 0 ? "the hottest loop, " : "then, ",
                    WithSeparators(steps.size()), " of the last ", WithSeparators(half),
                    " steps: ", task.ToText(), ": ", Describe(steps), "\n");
  }
  return text;
}

}  // namespace quiesce::lab

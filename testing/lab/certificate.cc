#include "quiesce/testing/lab/certificate.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "quiesce/testing/explore/mix.h"
#include "quiesce/testing/lab/numbers.h"

namespace quiesce::lab {
namespace {

// Of the text. A reader of another one refuses it.
constexpr char kFirstLine[] = "quiesce-shard-certificate 1";

uint64_t Checksum(absl::string_view text) {
  uint64_t sum = text.size();
  for (const char c : text) sum = explore::Mix(sum, static_cast<unsigned char>(c));
  return sum;
}

std::string Hex(uint64_t number) { return absl::StrFormat("%016x", number); }

std::string OneLine(absl::string_view text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

std::string ToText(const std::vector<Certificate::Stray>& strays) {
  std::string text;
  for (const Certificate::Stray& stray : strays) {
    absl::StrAppend(&text, text.empty() ? "" : " ", Hex(stray.hash), stray.deadlock ? "d" : "");
  }
  return text;
}

// The lines of a text, each by its name; takes them one by one.
class Fields {
 public:
  explicit Fields(absl::string_view text) {
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const std::pair<std::string, std::string> field =
          absl::StrSplit(line, absl::MaxSplits(": ", 1));
      values_[field.first] = field.second;
    }
  }
  void Take(const char* name, std::string* to) {
    const auto found = values_.find(name);
    if (found == values_.end()) return Fail(absl::StrCat("'", name, "' is missing"));
    *to = found->second;
  }
  template <class T>
  void TakeNumber(const char* name, T* to) {
    std::string value;
    Take(name, &value);
    if (ok() && !absl::SimpleAtoi(value, to)) {
      Fail(absl::StrCat("'", name, ": ", value, "' is no number"));
    }
  }
  void TakeHex(const char* name, uint64_t* to) {
    std::string value;
    Take(name, &value);
    if (ok() && !absl::SimpleHexAtoi(value, to)) {
      Fail(absl::StrCat("'", name, ": ", value, "' is no hash"));
    }
  }
  void TakeStrays(const char* name, std::vector<Certificate::Stray>* to) {
    std::string value;
    Take(name, &value);
    for (absl::string_view word : absl::StrSplit(value, ' ', absl::SkipEmpty())) {
      Certificate::Stray& stray = to->emplace_back();
      stray.deadlock = absl::EndsWith(word, "d") && word.size() == 17;
      if (stray.deadlock) word.remove_suffix(1);
      if (word.size() != 16 || !absl::SimpleHexAtoi(word, &stray.hash)) {
        return Fail(absl::StrCat("'", word, "' is no hash"));
      }
    }
  }
  void Fail(std::string what) {
    if (problem_.empty()) problem_ = std::move(what);
  }
  bool ok() const { return problem_.empty(); }
  const std::string& problem() const { return problem_; }

 private:
  std::map<std::string, std::string, std::less<>> values_;
  std::string problem_;
};

}  // namespace

std::string Certificate::ToString() const {
  std::string text = absl::StrCat(
      kFirstLine, "\ntest: ", OneLine(test), "\nversion: ", version, "\nprogram: ", Hex(program),
      "\noptions: ", OneLine(options), "\nnot-covered: ", OneLine(not_covered),
      "\nsplit: ", Hex(split), "\nparts-in-all: ", parts_in_all, "\nshard: ", shard,
      "\nshards: ", shards, "\nparts: ", parts, "\nexhausted: ", exhausted ? 1 : 0);
  absl::StrAppend(&text, "\nverdict: ", OneLine(verdict), "\nclasses: ", classes,
                  "\ndeadlocks: ", deadlocks, "\nexecutions: ", executions,
                  "\ndigest: ", Hex(digest), "\nstrays: ", ToText(strays), "\n");
  return absl::StrCat(text, "checksum: ", Hex(Checksum(text)), "\n");
}

absl::StatusOr<Certificate> Certificate::Parse(absl::string_view text) {
  const auto malformed = [](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("this is no shard's certificate: ", what));
  };
  const absl::string_view first_line = text.substr(0, text.find('\n'));
  if (first_line != kFirstLine) {
    return malformed(
        absl::StrCat("its first line is '", first_line.substr(0, 60), "', not '", kFirstLine, "'"));
  }
  const size_t end = text.rfind("checksum: ");
  if (end == absl::string_view::npos) return malformed("it has no checksum; it was cut off");
  if (text.substr(end) != absl::StrCat("checksum: ", Hex(Checksum(text.substr(0, end))), "\n")) {
    return malformed("its checksum is another; it was changed");
  }
  Certificate read;
  Fields fields(text.substr(0, end));
  fields.Take("test", &read.test);
  fields.Take("version", &read.version);
  fields.TakeHex("program", &read.program);
  fields.Take("options", &read.options);
  fields.Take("not-covered", &read.not_covered);
  fields.TakeHex("split", &read.split);
  fields.TakeNumber("parts-in-all", &read.parts_in_all);
  fields.TakeNumber("shard", &read.shard);
  fields.TakeNumber("shards", &read.shards);
  fields.TakeNumber("parts", &read.parts);
  int exhausted = 0;
  fields.TakeNumber("exhausted", &exhausted);
  read.exhausted = exhausted == 1;
  fields.Take("verdict", &read.verdict);
  fields.TakeNumber("classes", &read.classes);
  fields.TakeNumber("deadlocks", &read.deadlocks);
  fields.TakeNumber("executions", &read.executions);
  fields.TakeHex("digest", &read.digest);
  fields.TakeStrays("strays", &read.strays);
  if (!fields.ok()) return malformed(fields.problem());
  if (read.shard >= read.shards) {
    return malformed(absl::StrCat("it is of shard ", read.shard, " of ", read.shards));
  }
  return read;
}

Aggregate AddUp(absl::Span<const Certificate> certificates) {
  Aggregate all;
  const Certificate& first = certificates.front();
  const auto differs = [&](const Certificate& other, absl::string_view what, const auto& a,
                           const auto& b) {
    if (a == b) return;
    all.problems.push_back(absl::StrCat("shard ", other.shard, " is of another ", what,
                                        " than shard ", first.shard, ": ", b, ", not ", a));
  };
  std::map<uint32_t, const Certificate*> by_shard;
  Certificate sum;
  absl::flat_hash_map<uint64_t, bool> strays;
  for (const Certificate& one : certificates) {
    differs(one, "version of Quiesce", first.version, one.version);
    differs(one, "program", Hex(first.program), Hex(one.program));
    differs(one, "number of shards", first.shards, one.shards);
    differs(one, "options", first.options, one.options);
    differs(one, "split", Hex(first.split), Hex(one.split));
    if (!by_shard.emplace(one.shard, &one).second) {
      all.problems.push_back(absl::StrCat("shard ", one.shard, " is there twice"));
    }
    if (!one.exhausted) {
      all.problems.push_back(absl::StrCat("shard ", one.shard, " is not exhausted: ", one.verdict));
    }
    sum.parts += one.parts;
    sum.classes += one.classes;
    sum.deadlocks += one.deadlocks;
    sum.executions += one.executions;
    sum.digest += one.digest;
    for (const Certificate::Stray& stray : one.strays) strays.emplace(stray.hash, stray.deadlock);
  }
  for (uint32_t shard = 0; shard < first.shards; ++shard) {
    if (!by_shard.contains(shard)) {
      all.problems.push_back(absl::StrCat("shard ", shard, " of ", first.shards, " is missing"));
    }
  }
  if (all.ok() && sum.parts != first.parts_in_all) {
    all.problems.push_back(
        absl::StrCat("the shards have ", sum.parts, " parts, of ", first.parts_in_all));
  }
  for (const auto& [hash, deadlock] : strays) {
    ++(deadlock ? sum.deadlocks : sum.classes);
    sum.digest += explore::Mix(1, hash);
  }
  all.classes = sum.classes + sum.deadlocks;
  const std::string numbers = absl::StrCat(
      WithSeparators(sum.classes), " classes",
      sum.deadlocks == 0 ? "" : absl::StrCat(" and ", WithSeparators(sum.deadlocks), " deadlocks"),
      " in ", first.shards, " shards");
  if (!all.ok()) {
    all.verdict = absl::StrCat("NOT EXHAUSTIVE: ", all.problems.size(),
                               all.problems.size() == 1 ? " problem, " : " problems, ", numbers);
    return all;
  }
  all.verdict =
      absl::StrCat("EXHAUSTIVE: ", numbers, ", ",
                   absl::StrFormat("%.2f", static_cast<double>(sum.executions) /
                                               static_cast<double>(all.classes)),
                   " executions for each, digest ", Hex(sum.digest), "; ", first.not_covered);
  return all;
}

}  // namespace quiesce::lab

#include "quiesce/testing/lab/googletest.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gtest/gtest-spi.h"
#include "quiesce/testing/lab/certificate.h"
#include "quiesce/testing/lab/lab_runtime.h"

namespace quiesce::lab {
namespace {

// The value of an argument that begins so, if it was given.
std::optional<std::string> FindFlag(absl::string_view flag) {
  for (const std::string& argument : testing::internal::GetArgvs()) {
    absl::string_view value = argument;
    if (absl::ConsumePrefix(&value, flag)) return std::string(value);
  }
  return std::nullopt;
}

// Where Bazel collects what a test leaves, if it does.
std::optional<std::string> OutputFolder() {
  const char* const folder = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  return folder == nullptr ? std::nullopt : std::optional<std::string>(folder);
}

bool Write(const std::string& folder, const std::string& name, const std::string& text) {
  std::ofstream file(absl::StrCat(folder, "/", name), std::ios::binary);
  return static_cast<bool>(file << text << std::flush);
}

std::string TestName() {
  const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
  return absl::StrCat(test->test_suite_name(), ".", test->name());
}

// Leaves it where it is looked for. The one who has the last shard of a test says what they are together.
void Deliver(Certificate certificate) {
  // "Suite.Name/2" without the shard, if it is LAB_TEST_SHARDED that has made it one.
  certificate.test = TestName();
  const std::string ending = absl::StrCat("/", certificate.shard);
  if (certificate.test.ends_with(ending)) {
    certificate.test.resize(certificate.test.size() - ending.size());
  }
  std::optional<std::string> folder = FindFlag("--quiesce_certificates=");
  if (!folder.has_value()) folder = OutputFolder();
  const std::string name =
      absl::StrCat(absl::StrReplaceAll(certificate.test, {{"/", "_"}}), "_", certificate.shard,
                   "_of_", certificate.shards, kCertificateEnding);
  if (folder.has_value() && !Write(*folder, name, certificate.ToString())) {
    ADD_FAILURE() << "the shard's certificate cannot be written to " << *folder << "/" << name;
  }
  static auto& delivered = *new std::map<std::string, std::map<uint32_t, Certificate>>();
  std::map<uint32_t, Certificate>& shards = delivered[certificate.test];
  const uint32_t count = certificate.shards;
  shards.insert_or_assign(certificate.shard, std::move(certificate));
  if (shards.size() != count) return;
  std::vector<Certificate> all;
  for (auto& [shard, one] : std::exchange(shards, {})) all.push_back(std::move(one));
  const Aggregate together = AddUp(all);
  testing::Test::RecordProperty("quiesce_verdict_of_all_shards", together.verdict);
  std::printf("%s: %s\n", all.front().test.c_str(), together.verdict.c_str());
  // A shard that has failed has said so.
  const auto exhausted = [](const Certificate& one) { return one.exhausted; };
  if (together.ok() || !std::ranges::all_of(all, exhausted)) return;
  ADD_FAILURE() << together.verdict << "\n" << absl::StrJoin(together.problems, "\n");
}

// Tells the lab in which step it was.
class NotingReporter : public testing::ScopedFakeTestPartResultReporter {
 public:
  explicit NotingReporter(testing::TestPartResultArray* to)
      : ScopedFakeTestPartResultReporter(INTERCEPT_ONLY_CURRENT_THREAD, to) {}
  void ReportTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed() && LabRuntime::Current() != nullptr) LabRuntime::Current()->NoteFailure();
    ScopedFakeTestPartResultReporter::ReportTestPartResult(result);
  }
};

// Keeps what the assertions of one execution say from the test, which would fail of each, and tells it.
class Assertions {
 public:
  void Begin() {
    reporter_.reset();
    results_ = std::make_unique<testing::TestPartResultArray>();
    reporter_ = std::make_unique<NotingReporter>(results_.get());
  }
  std::optional<std::string> Failed() const {
    std::string text;
    for (int i = 0; i < results_->size(); ++i) {
      const testing::TestPartResult& result = results_->GetTestPartResult(i);
      if (!result.failed()) continue;
      absl::StrAppend(&text, result.file_name() == nullptr ? "" : result.file_name(), ":",
                      result.line_number(), ": ", result.message(), "\n");
    }
    if (text.empty()) return std::nullopt;
    return text;
  }

 private:
  std::unique_ptr<testing::TestPartResultArray> results_;
  std::unique_ptr<NotingReporter> reporter_;  // writes to results_
};

}  // namespace

void RunLabTest(Explore how, const LabMain& main) {
  if (std::optional<std::string> schedule = FindFlag("--quiesce_replay=")) {
    how = Explore::Replay(*std::move(schedule), std::move(how));
  }
  LabResult result;
  {
    Assertions assertions;
    how.WithCheck([&] { assertions.Begin(); }, [&] { return assertions.Failed(); });
    result = RunLab(how, main);
  }
  testing::Test::RecordProperty("quiesce_verdict", result.verdict);
  if (result.trace.has_value()) {
    const std::string name = absl::StrReplaceAll(TestName(), {{"/", "_"}});
    result.trace->title = name;
    if (const std::optional<std::string> folder = OutputFolder()) {
      (void)Write(*folder, name + ".html", result.trace->ToPage());
      (void)Write(*folder, name + ".perfetto.json", result.trace->ToChromeTrace());
    }
  }
  if (result.certificate.has_value()) Deliver(*std::move(result.certificate));
  if (!result.ok()) ADD_FAILURE() << result.failure << result.verdict;
}

bool RegisterShards(const char* suite, const char* name, const char* file, int line,
                    uint32_t shards, const Explore& how, LabMain main) {
  class Shard final : public testing::Test {
   public:
    Shard(Explore how, LabMain main) : how_(std::move(how)), main_(std::move(main)) {}
    void TestBody() override { RunLabTest(how_, main_); }

   private:
    const Explore how_;
    const LabMain main_;
  };
  for (uint32_t shard = 0; shard < shards; ++shard) {
    testing::RegisterTest(suite, absl::StrCat(name, "/", shard).c_str(), nullptr, nullptr, file,
                          line,
                          [how = Explore(how).AsShard(shard, shards), main]() -> testing::Test* {
                            return new Shard(how, main);
                          });
  }
  return true;
}

}  // namespace quiesce::lab

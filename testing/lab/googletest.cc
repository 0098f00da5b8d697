#include "quiesce/testing/lab/googletest.h"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gtest/gtest-spi.h"
#include "quiesce/testing/lab/lab_runtime.h"

namespace quiesce::lab {
namespace {

// The schedule of --quiesce_replay, if it was given.
std::optional<std::string> ReplayFlag() {
  for (const std::string& argument : testing::internal::GetArgvs()) {
    absl::string_view value = argument;
    if (absl::ConsumePrefix(&value, "--quiesce_replay=")) return std::string(value);
  }
  return std::nullopt;
}

// Where Bazel collects what a test leaves; else nowhere.
void WriteOutput(const std::string& name, const std::string& text) {
  const char* const folder = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  if (folder == nullptr) return;
  std::ofstream(absl::StrCat(folder, "/", name)) << text;
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
  if (std::optional<std::string> schedule = ReplayFlag()) {
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
    const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
    const std::string name =
        absl::StrReplaceAll(absl::StrCat(test->test_suite_name(), ".", test->name()), {{"/", "_"}});
    result.trace->title = name;
    WriteOutput(name + ".html", result.trace->ToPage());
    WriteOutput(name + ".perfetto.json", result.trace->ToChromeTrace());
  }
  if (!result.ok()) ADD_FAILURE() << result.failure << result.verdict;
}

}  // namespace quiesce::lab

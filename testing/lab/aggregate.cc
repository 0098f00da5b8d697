// aggregate: whether the shards of an exploration are all there, and all there is. See --help.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "quiesce/testing/lab/certificate.h"

namespace {

namespace fs = std::filesystem;
using quiesce::lab::Aggregate;
using quiesce::lab::Certificate;

constexpr char kUsage[] =
    "aggregate PATH…\n"
    "  Reads the certificates (*.quiesce-shard) that the shards of LAB_TEST_SHARDED have left: "
    "each PATH is one, or a folder\n"
    "  in which they are, at any depth. Prints a verdict for each test: EXHAUSTIVE if all its "
    "shards are there, are of the\n"
    "  same program, explored in the same way, and each has come to its end.\n\n"
    "    bazel test //my:test    # shard_count = 4\n"
    "    find -L bazel-testlogs/my/test -name outputs.zip -execdir unzip -o {} ';'    # where "
    "Bazel zips them\n"
    "    aggregate bazel-testlogs/my/test\n\n"
    "  Exits with 0: each test is exhausted. 1: one is not; what is wrong is printed. 2: there is "
    "nothing to read, or it\n"
    "  cannot be read.\n";

int Misuse(const std::string& what) {
  std::fprintf(stderr, "aggregate: %s; try --help\n", what.c_str());
  return 2;
}

// The certificates at `path`. False: it has said what is wrong.
bool Find(const std::string& path, std::vector<fs::path>* found, std::vector<fs::path>* zipped) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) {
    found->push_back(path);
    return true;
  }
  if (!fs::is_directory(path, error)) {
    std::fprintf(stderr, "aggregate: %s: there is no such file or folder\n", path.c_str());
    return false;
  }
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(
           path, fs::directory_options::follow_directory_symlink, error)) {
    if (entry.path().extension() == quiesce::lab::kCertificateEnding) found->push_back(entry);
    if (entry.path().filename() == "outputs.zip") zipped->push_back(entry);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    const absl::string_view argument = argv[i];
    if (argument == "--help") {
      std::fputs(kUsage, stdout);
      return 0;
    }
    if (absl::StartsWith(argument, "--")) {
      return Misuse(absl::StrCat("'", argument, "' is no option"));
    }
    paths.emplace_back(argument);
  }
  if (paths.empty()) return Misuse("a path is missing");

  std::vector<fs::path> files;
  std::vector<fs::path> zipped;
  for (const std::string& path : paths) {
    if (!Find(path, &files, &zipped)) return 2;
  }
  if (files.empty() && !zipped.empty()) {
    return Misuse(
        absl::StrCat("the certificates may be in ", zipped.front().string(), "; unzip it first"));
  }
  if (files.empty()) {
    return Misuse(absl::StrCat("no certificate (*", quiesce::lab::kCertificateEnding, ") below ",
                               paths.front()));
  }
  std::map<std::string, std::vector<Certificate>> by_test;
  for (const fs::path& file : files) {
    std::ifstream stream(file, std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(stream), {});
    absl::StatusOr<Certificate> certificate = Certificate::Parse(text);
    if (!certificate.ok()) {
      std::fprintf(stderr, "aggregate: %s: %s\n", file.c_str(),
                   std::string(certificate.status().message()).c_str());
      return 2;
    }
    by_test[certificate->test].push_back(*std::move(certificate));
  }
  bool ok = true;
  for (const auto& [test, certificates] : by_test) {
    const Aggregate all = quiesce::lab::AddUp(certificates);
    std::printf("%s: %s\n", test.c_str(), all.verdict.c_str());
    for (const std::string& problem : all.problems) {
      std::printf("  %s\n", problem.c_str());
    }
    ok = ok && all.ok();
  }
  return ok ? 0 : 1;
}

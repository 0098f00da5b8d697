#include "quiesce/runtime/task/async_stack.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace quiesce {
inline namespace v0 {
namespace {

// Where `pretty` can be cut: the last `mark` outside of any brackets.
size_t LastOutside(absl::string_view pretty, char mark) {
  int depth = 0;
  for (size_t i = pretty.size(); i > 0; --i) {
    const char c = pretty[i - 1];
    if (c == mark && depth == 0) return i - 1;
    if (c == ')' || c == '>' || c == '}') ++depth;
    if (c == '(' || c == '<' || c == '{') --depth;
    if (c == mark && depth == 0) return i - 1;  // `mark` opens the last pair of brackets
  }
  return absl::string_view::npos;
}

// "quiesce::v0::Task<void> bank::(anonymous namespace)::Echo(Cx, TcpStream)" -> "bank::Echo";
// "auto bank::Serve(Cx)::(anonymous class)::operator()(Cx) const" -> "a lambda in bank::Serve".
// The names are the compilers': g++ says {anonymous} and <lambda(Cx)>.
std::string FunctionName(absl::string_view pretty) {
  absl::string_view head = pretty.substr(0, pretty.find(" ["));  // "[T = int]"
  head = head.substr(0, LastOutside(head, '('));
  const size_t space = LastOutside(head, ' ');
  if (space != absl::string_view::npos) head = head.substr(space + 1);
  std::string name;
  size_t lambda = std::min(head.find("::(anonymous class)"), head.find("::<lambda"));
  if (lambda != absl::string_view::npos) {
    head = head.substr(0, lambda);
    head = head.substr(0, LastOutside(head, '('));
    name = "a lambda in ";
  }
  absl::StrAppend(
      &name, absl::StrReplaceAll(head, {{"(anonymous namespace)::", ""}, {"{anonymous}::", ""}}));
  return head.empty() ? std::string(pretty) : name;
}

// "bazel-out/…/_virtual_includes/region/quiesce/runtime/region/region.h", where Bazel puts a header, is
// "quiesce/runtime/region/region.h", as it is included.
absl::string_view SourcePath(absl::string_view file) {
  constexpr absl::string_view kMark = "/_virtual_includes/";
  const size_t mark = file.find(kMark);
  if (mark == absl::string_view::npos) return file;
  const size_t end = file.find('/', mark + kMark.size());
  return end == absl::string_view::npos ? file : file.substr(end + 1);
}

// Frames of a chain that is longer are counted, not printed.
constexpr int kMostFrames = 64;

}  // namespace

void AppendAsyncStack(const Waiter& waiter, absl::string_view indent, std::string& to) {
  int frames = 0;
  const PromiseBase* frame = waiter.frame();
  while (frame != nullptr) {
    const std::source_location& site = frame->await_site();
    if (++frames <= kMostFrames) {
      absl::StrAppend(&to, indent, "at ", DescribePlace(site), " in ",
                      FunctionName(site.function_name()), "\n");
    }
    const TaskAwaitBase* caller = frame->caller();
    frame = caller == nullptr ? nullptr : caller->parent;
  }
  if (frames > kMostFrames) {
    absl::StrAppend(&to, indent, "… and ", frames - kMostFrames, " more frames\n");
  }
}

std::string DescribePlace(const char* file, uint32_t line) {
  return absl::StrCat(SourcePath(file), ":", line);
}

std::string DescribePlace(const std::source_location& where) {
  return DescribePlace(where.file_name(), where.line());
}

std::string DescribeTask(const TaskCore& core) {
  return absl::StrCat("'", core.site->name, "' #", core.id, " (spawned at ",
                      DescribePlace(core.site->file, core.site->line), ")");
}

std::string DescribeRunningTasks() {
  std::string text;
  cx_internal::VisitRunningTasks(
      [](void* to, const SpawnSite* site, uint64_t id) {
        absl::StrAppend(static_cast<std::string*>(to), "running: task '", site->name, "' #", id,
                        " (spawned at ", DescribePlace(site->file, site->line), ")\n");
      },
      &text);
  return text;
}

}  // namespace v0
}  // namespace quiesce

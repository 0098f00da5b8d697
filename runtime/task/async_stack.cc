#include "quiesce/runtime/task/async_stack.h"

#include "absl/strings/str_cat.h"

namespace quiesce {
inline namespace v0 {
namespace {

// "quiesce::v0::Task<void> Echo(Cx, TcpStream)" -> "Echo".
absl::string_view FunctionName(absl::string_view pretty) {
  const size_t arguments = pretty.find('(');
  if (arguments == absl::string_view::npos) return pretty;
  absl::string_view head = pretty.substr(0, arguments);
  const size_t space = head.rfind(' ');
  head = space == absl::string_view::npos ? head : head.substr(space + 1);
  return head.empty() ? pretty : head;
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
      absl::StrAppend(&to, indent, "at ", site.file_name(), ":", site.line(), " in ",
                      FunctionName(site.function_name()), "\n");
    }
    const TaskAwaitBase* caller = frame->caller();
    frame = caller == nullptr ? nullptr : caller->parent;
  }
  if (frames > kMostFrames) {
    absl::StrAppend(&to, indent, "… and ", frames - kMostFrames, " more frames\n");
  }
}

std::string DescribeTask(const TaskCore& core) {
  return absl::StrCat("'", core.site->name, "' #", core.id, " (spawned at ", core.site->file, ":",
                      core.site->line, ")");
}

std::string DescribeRunningTasks() {
  std::string text;
  cx_internal::VisitRunningTasks(
      [](void* to, const SpawnSite* site, uint64_t id) {
        absl::StrAppend(static_cast<std::string*>(to), "running: task '", site->name, "' #", id,
                        " (spawned at ", site->file, ":", site->line, ")\n");
      },
      &text);
  return text;
}

}  // namespace v0
}  // namespace quiesce

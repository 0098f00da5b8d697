#include "quiesce/testing/lab/wait_graph.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "quiesce/runtime/region/region.h"

namespace quiesce::lab {

void WaitGraph::Begin() {
  tasks_.clear();
  regions_.clear();
  objects_.clear();
  of_kind_.clear();
  made_ = 0;
}

WaitGraph::Task* WaitGraph::Find(uint64_t id) {
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

void WaitGraph::OnEvent(EventKind kind, uint64_t region, uint64_t task_id, uint64_t arg,
                        const char* name, uint64_t by_id) {
  Task* const by = Find(by_id);
  if (by != nullptr) by->closes = 0;
  switch (kind) {
    case EventKind::kObjectMade:
      made_ = arg;
      objects_[arg] = {.what = name, .ordinal = ++of_kind_[name]};
      return;
    case EventKind::kSpawn:
      tasks_[task_id].name = name;
      tasks_[task_id].home = region;
      objects_[made_].task = task_id;  // its record, which is announced right before
      return;
    case EventKind::kRegionOpen:
      regions_[region] = {.name = name, .opener = task_id};
      return;
    case EventKind::kRegionClose:
      regions_.erase(region);
      return;
    case EventKind::kObjectUse:
      if (by != nullptr) OnUse(*by, arg >> 2);
      return;
    case EventKind::kScopeRequest:
      if (by != nullptr && static_cast<ScopeRequest>(arg & 0xff) == ScopeRequest::kClose) {
        by->closes = region;
      }
      return;
    default:
      break;
  }
  Task* const task = Find(task_id);
  if (task == nullptr) return;
  switch (kind) {
    case EventKind::kTaskEnd:
      task->ended = true;
      return;
    case EventKind::kCheckpoint:
      task->wait = name;
      task->object = 0;
      task->asks = arg == 0;
      return;
    case EventKind::kWaitArm:  // it did not get what it had asked for
      Drop(*task, task->object);
      return;
    case EventKind::kWaitEnqueue:
      task->asks = true;
      return;
    case EventKind::kPark:
      Drop(*task, task->object);
      task->asks = false;
      task->parked = true;
      task->wait = name;
      return;
    case EventKind::kWake:
      task->parked = false;
      if (arg == 0) Take(*task, task->object);
      return;
    case EventKind::kPermitReserve:
      task->holds.push_back({.object = task->used, .permit = name});
      return;
    case EventKind::kPermitEnd: {
      const auto is_it = [name](const Holding& holding) {
        return holding.permit != nullptr && std::strcmp(holding.permit, name) == 0;
      };
      // Of several, the one of what has just been used.
      auto ended = std::ranges::find_if(task->holds, [&](const Holding& holding) {
        return is_it(holding) && by != nullptr && holding.object == by->used;
      });
      if (ended == task->holds.end()) ended = std::ranges::find_if(task->holds, is_it);
      if (ended != task->holds.end()) task->holds.erase(ended);
      return;
    }
    default:
      return;
  }
}

void WaitGraph::OnUse(Task& task, uint64_t object) {
  task.used = object;
  if (!task.asks) return Drop(task, object);
  task.asks = false;
  task.object = object;
  Take(task, object);
}

bool WaitGraph::IsLock(uint64_t object) const {
  const auto found = objects_.find(object);
  return found != objects_.end() && (std::strcmp(found->second.what, "Mutex") == 0 ||
                                     std::strcmp(found->second.what, "RwLock") == 0);
}

void WaitGraph::Take(Task& task, uint64_t object) {
  if (IsLock(object)) task.holds.push_back({.object = object, .permit = nullptr});
}

void WaitGraph::Drop(Task& task, uint64_t object) {
  std::erase_if(task.holds, [object](const Holding& holding) {
    return holding.permit == nullptr && holding.object == object;
  });
}

std::vector<uint64_t> WaitGraph::HoldersOf(uint64_t object) const {
  std::vector<uint64_t> holders;
  for (const auto& [id, task] : tasks_) {
    if (std::ranges::any_of(task.holds,
                            [&](const Holding& holding) { return holding.object == object; })) {
      holders.push_back(id);
    }
  }
  return holders;
}

WaitGraph::Wait WaitGraph::WaitOf(uint64_t id, const Task& task) const {
  uint64_t closes = task.closes;
  if (closes == 0 && std::strcmp(task.wait, region_internal::CloseOp::kName) == 0) {
    for (const auto& [region_id, region] : regions_) {
      if (region.opener == id) closes = region_id;  // the latest is the innermost
    }
  }
  Wait wait;
  if (const auto region = regions_.find(closes); region != regions_.end()) {
    for (const auto& [other_id, other] : tasks_) {
      if (other.home == closes && !other.ended) wait.whom.push_back(other_id);
    }
    wait.what = absl::StrCat("waits for the tasks of region '", region->second.name, "': ");
    if (wait.whom.empty()) wait.what += "all have ended";
    return wait;
  }
  wait.what = absl::StrCat("waits in ", task.wait);
  const auto object = objects_.find(task.object);
  if (object == objects_.end()) return wait;
  if (object->second.task != 0) {
    wait.what += " for ";
    wait.whom.push_back(object->second.task);
    return wait;
  }
  wait.what += absl::StrCat(" for ", object->second.what, " ", object->second.ordinal, ", which ");
  wait.whom = HoldersOf(task.object);
  if (wait.whom.empty()) {
    wait.what += "nobody is known to have";
  } else {
    wait.what += IsLock(task.object) ? "is held by " : "has given permits to ";
  }
  return wait;
}

std::vector<uint64_t> WaitGraph::FindCycle() const {
  // Depth first; `path` is where it is, and `done` what leads into no cycle.
  std::vector<uint64_t> path, done;
  const auto follow = [&](const auto& self, uint64_t id) -> bool {
    if (const auto at = std::ranges::find(path, id); at != path.end()) {
      path.erase(path.begin(), at);
      return true;
    }
    const auto task = tasks_.find(id);
    if (task == tasks_.end() || !Waits(task->second) || std::ranges::count(done, id) != 0) {
      return false;
    }
    path.push_back(id);
    for (const uint64_t next : WaitOf(id, task->second).whom) {
      if (self(self, next)) return true;
    }
    path.pop_back();
    done.push_back(id);
    return false;
  };
  for (const auto& [id, task] : tasks_) {
    if (follow(follow, id)) return path;
  }
  return {};
}

std::string WaitGraph::NameOf(uint64_t id) const {
  const auto task = tasks_.find(id);
  if (task == tasks_.end()) return absl::StrCat("task ", id);
  return absl::StrCat("'", task->second.name, "' (", id, task->second.ended ? ", ended)" : ")");
}

std::string WaitGraph::Line(uint64_t id) const {
  const Wait wait = WaitOf(id, tasks_.at(id));
  return absl::StrCat("  ", NameOf(id), " ", wait.what,
                      absl::StrJoin(wait.whom, ", ",
                                    [this](std::string* out, uint64_t whom) {
                                      absl::StrAppend(out, NameOf(whom));
                                    }),
                      "\n");
}

std::string WaitGraph::Describe() const {
  const std::vector<uint64_t> cycle = FindCycle();
  std::string text;
  if (!cycle.empty()) text += "In a cycle:\n";
  for (const uint64_t id : cycle) text += Line(id);
  bool first = true;
  for (const auto& [id, task] : tasks_) {
    if (!Waits(task) || std::ranges::count(cycle, id) != 0) continue;
    if (std::exchange(first, false)) text += cycle.empty() ? "These wait:\n" : "Beside it:\n";
    text += Line(id);
  }
  return text;
}

}  // namespace quiesce::lab

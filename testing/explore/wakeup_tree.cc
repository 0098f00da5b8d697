#include "quiesce/testing/explore/wakeup_tree.h"

#include <utility>

namespace quiesce::explore {

WakeupNodes::Index WakeupNodes::Append(List& to, TaskId task, const Op& op) {
  // `to` may lie in a node: it is changed before there is a new one.
  Index index;
  if (free_.empty()) {
    index = static_cast<Index>(nodes_.size());
  } else {
    index = free_.back();
    free_.pop_back();
  }
  if (to.empty()) {
    to.first = index;
  } else {
    nodes_[to.last].next = index;
  }
  to.last = index;
  if (index == nodes_.size()) nodes_.emplace_back();
  Node& node = nodes_[index];
  node.task = task;
  node.op = op;
  node.children = List();
  node.next = kNone;
  return index;
}

size_t WakeupNodes::Count(const List& list) const {
  size_t count = 0;
  for (Index node = list.first; node != kNone; node = nodes_[node].next) ++count;
  return count;
}

WakeupNodes::Index WakeupNodes::PopFirst(List& from) {
  const Index first = from.first;
  from.first = std::exchange(nodes_[first].next, kNone);
  if (from.first == kNone) from.last = kNone;
  return first;
}

void WakeupNodes::Free(Index node) { free_.push_back(node); }

void WakeupNodes::FreeAll(List& list) {
  List todo = std::exchange(list, List());
  while (!todo.empty()) {
    const Index node = PopFirst(todo);
    const List below = std::exchange(nodes_[node].children, List());
    if (!below.empty()) {
      if (todo.empty()) {
        todo.first = below.first;
      } else {
        nodes_[todo.last].next = below.first;
      }
      todo.last = below.last;
    }
    Free(node);
  }
}

}  // namespace quiesce::explore

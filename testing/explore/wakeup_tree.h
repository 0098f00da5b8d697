// wakeup_tree.h: what is still to be explored from one state of a program: a tree of operations.
//
// Source:     Abdulla, Aronis, Jonsson, Sagonas: Source Sets: A Foundation for Optimal Dynamic Partial Order Reduction,
//             JACM 64(4), 2017.
// Invariants: (1) children are explored in their order, so a new one comes last; (2) a node is in one tree.
// Threads:    none.
#ifndef QUIESCE_TESTING_EXPLORE_WAKEUP_TREE_H_
#define QUIESCE_TESTING_EXPLORE_WAKEUP_TREE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quiesce/testing/explore/event.h"

namespace quiesce::explore {

// The nodes of all trees of an exploration, by number: a long execution makes a deep tree, which is neither built nor
// taken down by recursion.
class WakeupNodes {
 public:
  using Index = uint32_t;
  static constexpr Index kNone = ~Index{0};

  // The children of a node, or of the root of a tree.
  struct List {
    Index first = kNone;
    Index last = kNone;
    bool empty() const { return first == kNone; }
  };
  struct Node {
    TaskId task = 0;
    Op op;
    List children;
    Index next = kNone;
  };

  Node& operator[](Index index) { return nodes_[index]; }

  size_t Count(const List& list) const;

  // Invalidates references to nodes.
  Index Append(List& to, TaskId task, const Op& op);
  // Takes the first of `from` out; its children stay with it.
  Index PopFirst(List& from);
  void Free(Index node);
  // Frees what lies below, too.
  void FreeAll(List& list);

 private:
  std::vector<Node> nodes_;
  std::vector<Index> free_;
};

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_WAKEUP_TREE_H_

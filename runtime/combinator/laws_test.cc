// The algebra of the combinators (G9, G11), over generated trees that really run.
//
// A tree's leaves end Ok, with an Error, a Panic or a Cancelled of their own, some after a few yields, or never; cancelled,
// some take a few yields to drain. Its inner nodes are combinators. Free(tree) is what the documentation allows as its outcome, as a set, since
// the schedule decides who is first. A law "A is B" is then: A, when run, ends in one of Free(B).
// After every combinator of every tree it is checked that nothing of what it started is alive (G9).
#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/combinator/bracket.h"
#include "quiesce/runtime/combinator/first_ok.h"
#include "quiesce/runtime/combinator/hedge.h"
#include "quiesce/runtime/combinator/join_all.h"
#include "quiesce/runtime/combinator/pipeline.h"
#include "quiesce/runtime/combinator/quorum.h"
#include "quiesce/runtime/combinator/race.h"
#include "quiesce/runtime/combinator/retry.h"
#include "quiesce/runtime/combinator/timeout.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

constexpr uint32_t kSeeds = 150;

// --- trees ---------------------------------------------------------------------------------------

enum class Kind {
  kOk,
  kError,
  kCancelled,
  kPanic,
  kNever,
  kJoinAll,  // the sum of the values
  kRace,
  kFirstOk,
  kQuorum,   // the sum of the values
  kHedge,    // each attempt is a child; the next starts when one has failed
  kTimeout,  // that does not expire
  kExpired,  // Timeout of a child that never ends
  kBracket,  // whose use is the child
};

struct Node {
  Kind kind;
  int value = 0;      // of a leaf
  int yields = 0;     // of a leaf, before it ends
  int drains = 0;     // of a leaf, how many yields after its cancel
  int wanted = 0;     // of a quorum
  bool pack = false;  // two children, passed one by one and not in a container
  std::vector<const Node*> children;
  mutable std::atomic<int> alive{0};
};

// Owns the nodes of one test; those of different runs are different.
class Forest {
 public:
  explicit Forest(uint32_t seed) : random_(seed) {}

  const Node* Leaf() {
    Node& leaf = New(static_cast<Kind>(Pick({6, 2, 1, 1})));
    leaf.value = 1 << Below(10);
    leaf.yields = Below(4);
    leaf.drains = Below(4);
    return &leaf;
  }
  const Node* Never() {
    Node& never = New(Kind::kNever);
    never.drains = Below(4);
    return &never;
  }

  const Node* Tree(int depth) {
    if (depth == 0 || Below(6) == 0) return Leaf();
    const auto kind =
        static_cast<Kind>(static_cast<int>(Kind::kJoinAll) + Pick({4, 4, 4, 4, 2, 1, 1, 1}));
    if (kind == Kind::kExpired) return Combine(kind, {Never()});
    const bool one = kind == Kind::kTimeout || kind == Kind::kBracket;
    std::vector<const Node*> children;
    const int count = one ? 1 : 1 + Below(3);
    for (int i = 0; i < count; ++i) children.push_back(Tree(depth - 1));
    // One that never ends, where another end is enough.
    if (kind == Kind::kRace && Below(3) == 0) children.push_back(Never());
    return Combine(kind, std::move(children));
  }

  const Node* Combine(Kind kind, std::vector<const Node*> children, int wanted = 0) {
    Node& node = New(kind);
    const int count = static_cast<int>(children.size());
    node.wanted = wanted != 0 ? wanted : kind == Kind::kQuorum ? 1 + Below(count) : 0;
    node.pack = count == 2 && Below(2) == 0;
    node.children = std::move(children);
    return &node;
  }
  // The same tree once more, for a second run.
  const Node* Copy(const Node* from) {
    Node& node = New(from->kind);
    node.value = from->value;
    node.yields = from->yields;
    node.drains = from->drains;
    node.wanted = from->wanted;
    node.pack = from->pack;
    for (const Node* child : from->children) node.children.push_back(Copy(child));
    return &node;
  }
  int Below(int limit) { return static_cast<int>(random_() % static_cast<uint32_t>(limit)); }

 private:
  // An index, as often as its weight says.
  int Pick(std::vector<int> weights) {
    int sum = 0;
    for (int weight : weights) sum += weight;
    int at = Below(sum);
    int index = 0;
    while (at >= weights[static_cast<size_t>(index)]) at -= weights[static_cast<size_t>(index++)];
    return index;
  }
  Node& New(Kind kind) {
    Node& node = nodes_.emplace_back();
    node.kind = kind;
    return node;
  }
  std::mt19937 random_;
  std::deque<Node> nodes_;
};

// "Race(Ok 4 after 1, Never)".
std::string Describe(const Node& node) {
  static constexpr const char* kNames[] = {"Ok",      "Error",   "Cancelled", "Panic",  "Never",
                                           "All",     "Race",    "FirstOk",   "Quorum", "Hedge",
                                           "Timeout", "Expired", "Bracket"};
  const char* name = kNames[static_cast<int>(node.kind)];
  if (node.children.empty()) return absl::StrCat(name, " ", node.value, " after ", node.yields);
  const auto describe = [](std::string* to, const Node* child) {
    absl::StrAppend(to, Describe(*child));
  };
  return absl::StrCat(name, node.wanted, "(", absl::StrJoin(node.children, ", ", describe), ")");
}

bool AliveBelow(const Node& node) {
  return std::any_of(node.children.begin(), node.children.end(),
                     [](const Node* child) { return child->alive != 0 || AliveBelow(*child); });
}

// --- running them --------------------------------------------------------------------------------

Task<int> RunTree(Cx cx, const Node* node);

struct RunChild {
  explicit RunChild(const Node* node) : node(node) {}
  Task<int> operator()(Cx cx) const { return RunTree(cx, node); }
  const Node* node;
};

int SumOf(const std::vector<int>& values) {
  int sum = 0;
  for (int value : values) sum += value;
  return sum;
}
int SumOf(const std::vector<Winner<int>>& winners) {
  int sum = 0;
  for (const Winner<int>& winner : winners) sum += winner.value;
  return sum;
}

Task<int> RunLeaf(Cx cx, const Node* node) {
  for (int i = 0; i < node->yields; ++i) co_await OrReturn(Yield(cx));
  switch (node->kind) {
    case Kind::kError:
      co_return absl::UnavailableError(absl::StrCat("leaf ", node->value));
    case Kind::kCancelled:
      co_return CancelReason(CancelKind::kUser, CancelOrigin(), cx.Now(), "leaf");
    case Kind::kPanic:
      co_return Panic("leaf");
    case Kind::kNever:
      co_await OrReturn(Forever(cx));
      break;
    default:
      break;
  }
  co_return node->value;
}

Task<int> RunCombinator(Cx cx, const Node* node) {
  std::vector<RunChild> children;
  for (const Node* child : node->children) children.emplace_back(child);
  const RunChild& first = children.front();
  const RunChild& last = children.back();
  switch (node->kind) {
    case Kind::kJoinAll:
      if (node->pack) {
        auto [a, b] = co_await OrReturn(JoinAll(cx, first, last));
        co_return a + b;
      }
      co_return SumOf(co_await OrReturn(JoinAll(cx, children)));
    case Kind::kRace:
      if (node->pack) co_return (co_await OrReturn(Race(cx, first, last))).value;
      co_return (co_await OrReturn(Race(cx, children))).value;
    case Kind::kFirstOk:
      if (node->pack) co_return (co_await OrReturn(FirstOk(cx, first, last))).value;
      co_return (co_await OrReturn(FirstOk(cx, children))).value;
    case Kind::kQuorum:
      if (node->pack) co_return SumOf(co_await OrReturn(Quorum(cx, node->wanted, first, last)));
      co_return SumOf(co_await OrReturn(Quorum(cx, node->wanted, children)));
    case Kind::kHedge: {
      auto attempt = [&](Cx cx, int attempt) { return children[attempt](cx); };
      co_return co_await Hedge(cx, absl::InfiniteDuration(), attempt,
                               static_cast<int>(children.size()));
    }
    case Kind::kTimeout:
      co_return co_await Timeout(cx, absl::InfiniteDuration(), first);
    case Kind::kExpired:
      co_return co_await Timeout(cx, absl::Microseconds(100), first);
    case Kind::kBracket: {
      bool held = false;
      auto acquire = [&](Cx) -> Task<int> {
        held = true;
        co_return 1;
      };
      auto use = [&](Cx cx, int&) { return first(cx); };
      auto release = [&](Cx cx, int&) -> Task<void> {
        co_await OrReturn(Yield(cx));
        held = false;
        co_return Ok();
      };
      Outcome<int> ended = co_await Bracket(cx, acquire, use, release);
      EXPECT_FALSE(held);
      co_return ended;
    }
    default:
      co_return Panic("not a combinator");
  }
}

Task<int> RunTree(Cx cx, const Node* node) {
  Witness witness(&node->alive);
  if (node->children.empty()) {
    Outcome<int> ended = co_await RunLeaf(cx, node);
    const int yields = ended.is_cancelled() ? node->drains : 0;
    for (int i = 0; i < yields; ++i) (void)co_await Yield(cx.ForDrain());
    co_return ended;
  }
  Outcome<int> ended = co_await RunCombinator(cx, node);
  EXPECT_FALSE(AliveBelow(*node)) << "a combinator has returned before a branch of it had ended";
  co_return ended;
}

// --- what they may give --------------------------------------------------------------------------

// (severity, value if Ok)
using Result = std::pair<Severity, int>;
using Results = std::set<Result>;

Result Failed(Severity severity) { return {severity, 0}; }
Result ResultOf(const Outcome<int>& outcome) {
  return {outcome.severity(), outcome.ok() ? *outcome : 0};
}
bool IsOkResult(const Result& result) { return result.first == Severity::kOk; }
std::string Describe(const Results& results) {
  return absl::StrJoin(results, ", ", [](std::string* to, const Result& result) {
    absl::StrAppend(to, SeverityName(result.first), " ", result.second);
  });
}

bool HasLeaf(const Node& node, Kind kind) {
  return node.kind == kind ||
         std::any_of(node.children.begin(), node.children.end(),
                     [kind](const Node* child) { return HasLeaf(*child, kind); });
}

// Sums of Ok values, one of each child of `free` whose bit is in `chosen`; empty if one has none.
std::set<int> Sums(const std::vector<Results>& free, uint32_t chosen) {
  std::set<int> sums = {0};
  for (size_t i = 0; i < free.size(); ++i) {
    if ((chosen >> i & 1) == 0) continue;
    std::set<int> next;
    for (const Result& result : free[i]) {
      if (!IsOkResult(result)) continue;
      for (int sum : sums) next.insert(sum + result.second);
    }
    sums = std::move(next);
  }
  return sums;
}

// What failures join to, one of each child whose bit is in `chosen`; empty if one has none.
std::set<Severity> Joins(const std::vector<Results>& free, uint32_t chosen) {
  std::set<Severity> joins = {Severity::kOk};
  for (size_t i = 0; i < free.size(); ++i) {
    if ((chosen >> i & 1) == 0) continue;
    std::set<Severity> next;
    for (const Result& result : free[i]) {
      if (IsOkResult(result)) continue;
      for (Severity join : joins) next.insert(std::max(join, result.first));
    }
    joins = std::move(next);
  }
  return joins;
}

// The outcomes that are allowed while nobody outside cancels it.
Results Free(const Node& node) {
  std::vector<Results> free;
  for (const Node* child : node.children) free.push_back(Free(*child));
  const auto count = static_cast<uint32_t>(free.size());
  const uint32_t all = (1u << count) - 1;
  Results results;
  // The wins of `wanted` children, or the failures of as many as make that impossible.
  const auto quorum = [&](int wanted) {
    const int too_many = static_cast<int>(count) - wanted + 1;
    for (uint32_t chosen = 1; chosen <= all; ++chosen) {
      const int size = __builtin_popcount(chosen);
      if (size == wanted) {
        for (int sum : Sums(free, chosen)) results.insert({Severity::kOk, sum});
      }
      if (size == too_many) {
        for (Severity join : Joins(free, chosen)) results.insert(Failed(join));
      }
    }
  };
  switch (node.kind) {
    case Kind::kOk:
      return {{Severity::kOk, node.value}};
    case Kind::kError:
    case Kind::kExpired:
      return {Failed(Severity::kError)};
    case Kind::kCancelled:
      return {Failed(Severity::kCancelled)};
    case Kind::kPanic:
      return {Failed(Severity::kPanicked)};
    case Kind::kNever:
      return {};
    case Kind::kTimeout:
    case Kind::kBracket:
      return free[0];
    case Kind::kJoinAll: {
      for (int sum : Sums(free, all)) results.insert({Severity::kOk, sum});
      // Any failure of a child, with any others that come before it is stopped.
      for (uint32_t chosen = 1; chosen <= all; ++chosen) {
        for (Severity join : Joins(free, chosen)) results.insert(Failed(join));
      }
      // A child that is stopped may have a Cancelled of its own, whose cause lies elsewhere, in its hands.
      if (std::any_of(results.begin(), results.end(), std::not_fn(IsOkResult)) &&
          HasLeaf(node, Kind::kCancelled)) {
        results.insert(Failed(Severity::kCancelled));
      }
      break;
    }
    case Kind::kRace:
      for (const Results& child : free) results.insert(child.begin(), child.end());
      break;
    case Kind::kFirstOk:
    case Kind::kHedge:
      quorum(1);
      break;
    case Kind::kQuorum:
      quorum(node.wanted);
      break;
  }
  if (HasLeaf(node, Kind::kPanic)) results.insert(Failed(Severity::kPanicked));
  return results;
}

// --- the laws ------------------------------------------------------------------------------------

class LawsTest : public testing::TestWithParam<uint32_t> {
 protected:
  // Runs `tree` in a task of its own, which is cancelled after that many yields, if any.
  Outcome<int> Ended(const Node* tree, int cancel_after = -1) {
    std::optional<Outcome<int>> ended;
    Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
      auto running = cx.Spawn("tree", RunTree, tree);
      if (cancel_after >= 0) {
        for (int i = 0; i < cancel_after; ++i) co_await OrReturn(Yield(cx));
        running.Cancel();
      }
      // By the outer region's policy, a leaf's failure would end this wait: so it is a drain wait.
      ended.emplace(co_await OrReturn(running.Join(cx.ForDrain())));
      co_return Ok();
    });
    EXPECT_FALSE(AliveBelow(*tree));
    EXPECT_EQ(tree->alive, 0);
    return ended.has_value() ? *ended : Outcome<int>::FromFailure(root);
  }
  // `tree`, when run, gives what `model` may.
  void ExpectOneOf(const Node* tree, const Results& allowed) {
    Outcome<int> ended = Ended(tree);
    EXPECT_TRUE(allowed.contains(ResultOf(ended)))
        << Describe(*tree) << "\nends in " << ended.ToString()
        << (ended.ok() ? absl::StrCat(" ", *ended) : "") << ", which is none of "
        << Describe(allowed);
  }
  template <class Law>
  void ForEachSeed(Law law) {
    for (uint32_t seed = 0; seed < kSeeds; ++seed) {
      SCOPED_TRACE(absl::StrCat("seed ", seed));
      Forest forest(seed);
      law(forest);
      if (HasFailure()) return;
    }
  }

  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, LawsTest, testing::Values(1, 2));

TEST_P(LawsTest, EveryTreeEndsInAnOutcomeThatIsDocumented) {
  ForEachSeed([&](Forest& forest) {
    const Node* tree = forest.Tree(4);
    ExpectOneOf(tree, Free(*tree));
  });
}

TEST_P(LawsTest, CancelledTreeEndsAndLeavesNothing) {
  ForEachSeed([&](Forest& forest) {
    const Node* tree = forest.Combine(Kind::kRace, {forest.Tree(4), forest.Never()});
    Results allowed = Free(*tree);
    allowed.insert(Failed(Severity::kCancelled));
    const Outcome<int> ended = Ended(tree, forest.Below(20));
    EXPECT_TRUE(allowed.contains(ResultOf(ended))) << ended.ToString();
  });
}

TEST_P(LawsTest, JoinAllIsAssociativeAndCommutative) {
  ForEachSeed([&](Forest& forest) {
    const Node* a = forest.Tree(2);
    const Node* b = forest.Tree(2);
    const Node* c = forest.Tree(2);
    const Results flat = Free(*forest.Combine(Kind::kJoinAll, {a, b, c}));
    const Node* left = forest.Combine(Kind::kJoinAll, {a, b});
    ExpectOneOf(forest.Combine(Kind::kJoinAll, {left, c}), flat);
    const Node* right = forest.Combine(Kind::kJoinAll, {b, c});
    ExpectOneOf(forest.Combine(Kind::kJoinAll, {a, right}), flat);
    ExpectOneOf(forest.Combine(Kind::kJoinAll, {c, a, b}), flat);
  });
}

TEST_P(LawsTest, RaceIsAssociativeAndCommutativeUpToWhoIsFirst) {
  ForEachSeed([&](Forest& forest) {
    const Node* a = forest.Tree(2);
    const Node* b = forest.Tree(2);
    const Node* c = forest.Tree(2);
    const Results flat = Free(*forest.Combine(Kind::kRace, {a, b, c}));
    const Node* left = forest.Combine(Kind::kRace, {a, b});
    ExpectOneOf(forest.Combine(Kind::kRace, {left, c}), flat);
    const Node* right = forest.Combine(Kind::kRace, {b, c});
    ExpectOneOf(forest.Combine(Kind::kRace, {a, right}), flat);
    ExpectOneOf(forest.Combine(Kind::kRace, {c, b, a}), flat);
  });
}

TEST_P(LawsTest, IdentitiesChangeNothing) {
  ForEachSeed([&](Forest& forest) {
    const Node* tree = forest.Tree(3);
    const Results same = Free(*tree);
    ExpectOneOf(forest.Combine(Kind::kRace, {tree, forest.Never()}), same);
    ExpectOneOf(forest.Combine(Kind::kRace, {forest.Never(), forest.Copy(tree)}), same);
    for (Kind kind : {Kind::kTimeout, Kind::kBracket, Kind::kJoinAll, Kind::kRace, Kind::kFirstOk,
                      Kind::kQuorum, Kind::kHedge}) {
      ExpectOneOf(forest.Combine(kind, {forest.Copy(tree)}), same);
    }
  });
}

TEST_P(LawsTest, FirstOkIsAQuorumOfOne) {
  ForEachSeed([&](Forest& forest) {
    std::vector<const Node*> children = {forest.Tree(2), forest.Tree(2), forest.Tree(2)};
    const Node* first_ok = forest.Combine(Kind::kFirstOk, children);
    const Node* quorum = forest.Combine(Kind::kQuorum, children, 1);
    EXPECT_EQ(Free(*first_ok), Free(*quorum));
    const Outcome<int> one = Ended(first_ok);
    const Outcome<int> other = Ended(quorum);
    const Results allowed = Free(*quorum);
    EXPECT_TRUE(allowed.contains(ResultOf(one))) << one.ToString();
    EXPECT_TRUE(allowed.contains(ResultOf(other))) << other.ToString();
    // Where the schedule has no say they are the same, to the code of the error.
    if (allowed.size() == 1 && one.is_error()) {
      EXPECT_EQ(one.error().code(), other.error().code());
    }
  });
}

TEST_P(LawsTest, QuorumOfAllIsJoinAllWhereThatIsOk) {
  ForEachSeed([&](Forest& forest) {
    std::vector<const Node*> children;
    for (int i = 0; i < 3; ++i) {
      const Node* child = forest.Tree(2);
      const Results free = Free(*child);
      if (std::all_of(free.begin(), free.end(), IsOkResult)) children.push_back(child);
    }
    if (children.empty()) return;
    const Outcome<int> all = Ended(forest.Combine(Kind::kJoinAll, children));
    const Node* quorum = forest.Combine(Kind::kQuorum, children, static_cast<int>(children.size()));
    EXPECT_THAT(all, IsOk());
    ExpectOneOf(quorum, Free(*forest.Combine(Kind::kJoinAll, children)));
  });
}

// No outcome is lost where there is no value: one branch of any combinator ends as it would by itself. Cancelled by
// something of its own is what a region would count as Ok (R1).
TEST_P(LawsTest, OneBranchWithoutAValueIsThatBranch) {
  const auto ends = [](Cx cx, Severity severity, bool own) -> Task<void> {
    co_await OrReturn(Yield(cx));
    switch (severity) {
      case Severity::kOk:
        co_return Ok();
      case Severity::kError:
        co_return absl::NotFoundError("branch");
      case Severity::kCancelled:
        if (own) co_return co_await CancelledByItself(cx);
        co_return CancelReason(CancelKind::kUser, CancelOrigin(), cx.Now(), "branch");
      case Severity::kPanicked:
        co_return Panic("branch");
    }
    co_return Ok();
  };
  for (const Severity severity :
       {Severity::kOk, Severity::kError, Severity::kCancelled, Severity::kPanicked}) {
    for (const bool own : {false, true}) {
      SCOPED_TRACE(absl::StrCat(SeverityName(severity), own ? " by itself" : ""));
      Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
        auto branch = [&](Cx cx) { return ends(cx, severity, own); };
        std::vector<decltype(branch)> branches(1, branch);
        EXPECT_EQ((co_await JoinAll(cx, branch)).severity(), severity);
        EXPECT_EQ((co_await JoinAll(cx, branches)).severity(), severity);
        EXPECT_EQ((co_await Race(cx, branches)).severity(), severity);
        EXPECT_EQ((co_await FirstOk(cx, branches)).severity(), severity);
        EXPECT_EQ((co_await Quorum(cx, 1, branches)).severity(), severity);
        EXPECT_EQ((co_await Hedge(cx, absl::Hours(1), branch, 1)).severity(), severity);
        EXPECT_EQ((co_await Timeout(cx, absl::Hours(1), branch)).severity(), severity);
        auto acquire = [](Cx) -> Task<int> { co_return 1; };
        auto use = [&](Cx cx, int&) { return branch(cx); };
        auto release = [](Cx, int&) -> Task<void> { co_return Ok(); };
        EXPECT_EQ((co_await Bracket(cx, acquire, use, release)).severity(), severity);
        const RetryPolicy once = RetryPolicy().WithMaxAttempts(1);
        EXPECT_EQ((co_await Retry(cx, once, branch)).severity(), severity);
        int given = 0;
        auto source = [&](Cx) -> Task<std::optional<int>> {
          if (given == 1) co_return std::nullopt;
          co_return given++;
        };
        auto sink = [&](Cx cx, int) { return branch(cx); };
        EXPECT_EQ((co_await Pipeline(cx, 1, source, sink)).severity(), severity);
        co_return Ok();
      });
      EXPECT_THAT(root, IsOk());
    }
  }
}

// With branches that no cancel stops, what JoinAll gives is the join of exactly what its branches end with.
TEST_P(LawsTest, JoinAllOfBranchesThatDrainIsTheLatticeJoin) {
  ForEachSeed([&](Forest& forest) {
    std::vector<const Node*> leaves;
    Severity join = Severity::kOk;
    int sum = 0;
    for (int i = 0, count = 1 + forest.Below(5); i < count; ++i) {
      leaves.push_back(forest.Leaf());
      const Result result = *Free(*leaves.back()).begin();
      join = std::max(join, result.first);
      sum += result.second;
    }
    Outcome<int> ended = rt.Run([&](Cx cx) -> Task<int> {
      std::vector<RunChild> branches;
      for (const Node* leaf : leaves) branches.emplace_back(leaf);
      co_return SumOf(co_await OrReturn(JoinAll(cx.ForDrain(), branches)));
    });
    EXPECT_EQ(ended.severity(), join) << ended.ToString();
    if (ended.ok()) {
      EXPECT_EQ(*ended, sum);
    }
  });
}

// G11 of values that came out of running trees.
TEST_P(LawsTest, OutcomesOfTreesFormALattice) {
  std::vector<Outcome<int>> outcomes;
  ForEachSeed([&](Forest& forest) { outcomes.push_back(Ended(forest.Tree(2))); });
  std::set<Severity> seen;
  for (const Outcome<int>& outcome : outcomes) seen.insert(outcome.severity());
  EXPECT_EQ(seen.size(), 4u) << "a severity that never comes is not tested";
  const auto same = [](const Outcome<int>& x, const Outcome<int>& y) {
    return x.ToString() == y.ToString() && ResultOf(x) == ResultOf(y);
  };
  for (size_t i = 0; i + 2 < outcomes.size(); ++i) {
    const auto &a = outcomes[i], &b = outcomes[i + 1], &c = outcomes[i + 2];
    EXPECT_TRUE(same(Join(Join(a, b), c), Join(a, Join(b, c))));
    EXPECT_EQ(Join(a, b).severity(), Join(b, a).severity());
    EXPECT_TRUE(same(Join(a, a), a));
    EXPECT_TRUE(same(Join(a, Outcome<int>(0)), a)) << "Ok is the unit";
    EXPECT_TRUE(same(Join(a, Join(a, b)), Join(a, b))) << "absorbed";
  }
}

// … and of the budgets of regions: what holds inside is the Meet, whichever is outside.
TEST_P(LawsTest, NestedBudgetsMeet) {
  ForEachSeed([&](Forest& forest) {
    Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
      const Instant now = cx.Now();
      std::vector<Budget> budgets;
      for (int i = 0; i < 3; ++i) {
        budgets.push_back(forest.Below(3) == 0
                              ? Budget()
                              : Budget::Deadline(now + absl::Hours(1 + forest.Below(5))));
      }
      const Budget met = Meet(budgets[0], Meet(budgets[1], budgets[2]));
      EXPECT_EQ(met, Meet(Meet(budgets[2], budgets[0]), budgets[1]));
      std::vector<int> order = {0, 1, 2};
      do {
        const auto options = [&](int i) {
          return RegionOptions().WithBudget(budgets[static_cast<size_t>(order[i])]);
        };
        auto inner = [&](Cx cx) -> Task<void> {
          EXPECT_EQ(cx.deadline(), met.deadline());
          co_return Ok();
        };
        auto middle = [&](Cx cx) { return Region::Open(cx, "inner", inner, {}, options(2)); };
        auto outer = [&](Cx cx) { return Region::Open(cx, "middle", middle, {}, options(1)); };
        co_await OrReturn(Region::Open(cx, "outer", outer, FailFast(), options(0)));
      } while (std::next_permutation(order.begin(), order.end()));
      co_return Ok();
    });
    EXPECT_THAT(root, IsOk());
  });
}

}  // namespace
}  // namespace rules
}  // namespace quiesce

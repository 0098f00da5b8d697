#include "quiesce/runtime/combinator/join_all.h"

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "quiesce/testing/rules/fixture.h"

namespace quiesce {
namespace rules {
namespace {

class JoinAllTest : public testing::TestWithParam<uint32_t> {
 protected:
  TestRuntime rt{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Workers, JoinAllTest, testing::Values(1, 2));

Task<int> Seven(Cx) { co_return 7; }
Task<int> NotFound(Cx) { co_return absl::NotFoundError("gone"); }

TEST_P(JoinAllTest, GivesAllValues) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto text = [](Cx cx) -> Task<std::string> {
      co_await OrReturn(Yield(cx));
      co_return "text";
    };
    auto nothing = [](Cx) -> Task<void> { co_return Ok(); };
    auto owned = [](Cx) -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
    std::tuple<int, std::string, std::monostate, std::unique_ptr<int>> all =
        co_await OrReturn(JoinAll(cx, Seven, text, nothing, owned));
    EXPECT_EQ(std::get<0>(all), 7);
    EXPECT_EQ(std::get<1>(all), "text");
    EXPECT_EQ(*std::get<3>(all), 3);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinAllTest, RunsTheBranchesAtTheSameTime) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::atomic<int> here{0};
    auto meets = [&](Cx cx) -> Task<void> {
      ++here;
      return Until(cx, [&] { return here == 3; });
    };
    EXPECT_THAT(co_await JoinAll(cx, meets, meets, meets), IsOk());
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinAllTest, OfNothingIsOk) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Outcome<std::tuple<>> nothing = co_await JoinAll(cx);
    EXPECT_THAT(nothing, IsOk());
    std::vector<Task<int> (*)(Cx)> none;
    Outcome<std::vector<int>> values = co_await JoinAll(cx, none);
    EXPECT_THAT(values, IsOk());
    if (values.ok()) {
      EXPECT_TRUE(values->empty());
    }
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinAllTest, ErrorOfOneCancelsTheOthersAndComesAfterTheyHaveEnded) {
  std::atomic<int> alive{0};
  std::atomic<int> told{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto waits = [&](Cx cx) -> Task<int> {
      Witness witness(&alive);
      Outcome<void> stopped = co_await Pass(cx, never);
      if (stopped.is_cancelled() &&
          stopped.cancel_reason().root().kind() == CancelKind::kFailFast) {
        ++told;
      }
      co_return Outcome<int>::FromFailure(std::move(stopped));
    };
    auto fails = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 2; }));
      co_return absl::NotFoundError("gone");
    };
    EXPECT_THAT(co_await JoinAll(cx, waits, fails, waits), IsError("gone"));
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(told, 2);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinAllTest, MoreSevereFailureOfASiblingCounts) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto panics = [&](Cx cx) -> Task<int> {
      (void)co_await Pass(cx, never);
      co_return Panic("bug");
    };
    auto fails = [&](Cx cx) -> Task<int> {
      co_await OrReturn(Until(cx, [&] { return never.waiting() == 1; }));
      co_return absl::NotFoundError("gone");
    };
    EXPECT_THAT(co_await JoinAll(cx, panics, fails), IsPanicked("bug"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinAllTest, FailureOfATaskThatABranchSpawnedCounts) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto spawns = [](Cx cx) -> Task<int> {
      cx.Spawn("helper", NotFound);
      co_return 1;
    };
    EXPECT_THAT(co_await JoinAll(cx, spawns, Seven), IsError("gone"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

// There is no value then, so it cannot count as Ok.
TEST_P(JoinAllTest, BranchCancelledByItselfStaysCancelled) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    auto cancelled = [](Cx cx) -> Task<int> {
      auto task = cx.Spawn("task", [](Cx cx) -> Task<int> {
        co_await OrReturn(Forever(cx));
        co_return 0;
      });
      task.Cancel();
      co_return co_await OrReturn(co_await OrReturn(task.Join(cx)));
    };
    EXPECT_THAT(co_await JoinAll(cx, Seven, cancelled), IsCancelledBy(CancelKind::kUser));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

// … also where there never is a value: what a region counts as Ok (R1) is no Ok of a branch.
TEST_P(JoinAllTest, BranchOfAContainerWithoutValuesThatIsCancelledByItselfStaysCancelled) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::vector<Task<void> (*)(Cx)> branches = {
        CancelledByItself, [](Cx) -> Task<void> { co_return Ok(); }, CancelledByItself};
    EXPECT_THAT(co_await JoinAll(cx, branches), IsCancelledBy(CancelKind::kUser));
    // The Error says more, and its region would not count it as Ok.
    branches.push_back([](Cx) -> Task<void> { co_return absl::NotFoundError("gone"); });
    EXPECT_THAT(co_await JoinAll(cx, branches), IsError("gone"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinAllTest, CancelFromOutsideReachesAllBranches) {
  std::atomic<int> alive{0};
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    Gate never;
    auto waits = [&](Cx cx) -> Task<void> {
      Witness witness(&alive);
      co_return co_await HoldAt(cx, &never);
    };
    auto all = [&](Cx cx) -> Task<std::tuple<std::monostate, std::monostate>> {
      return JoinAll(cx, waits, waits);
    };
    auto joining = cx.Spawn("all", all);
    co_await OrReturn(Until(cx, [&] { return never.waiting() == 2; }));
    joining.Cancel();
    EXPECT_THAT(co_await OrReturn(joining.Join(cx)), IsCancelledBy(CancelKind::kUser));
    EXPECT_EQ(alive, 0);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinAllTest, ContainerGivesValuesInItsOrder) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::atomic<int> turn{99};
    std::vector<std::function<Task<int>(Cx)>> branches;
    for (int i = 0; i < 100; ++i) {
      branches.push_back([&, i](Cx cx) -> Task<int> {
        co_await OrReturn(Until(cx, [&, i] { return turn == i; }));  // the last ends first
        --turn;
        co_return i;
      });
    }
    std::vector<int> values = co_await OrReturn(JoinAll(cx, branches));
    EXPECT_EQ(values.size(), 100u);
    for (int i = 0; i < static_cast<int>(values.size()); ++i) EXPECT_EQ(values[i], i);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

TEST_P(JoinAllTest, ContainerOfVoidBranches) {
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    std::atomic<int> sum{0};
    auto add = [&](Cx) -> Task<void> {
      ++sum;
      co_return Ok();
    };
    std::vector<decltype(add)> branches(10, add);
    Outcome<void> all = co_await JoinAll(cx, absl::MakeSpan(branches));
    EXPECT_THAT(all, IsOk());
    EXPECT_EQ(sum, 10);
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}

#ifdef __cpp_exceptions
// A view of branches whose second throws when it is looked at.
TEST(JoinAllThrowTest, ContainerThatThrowsIsAPanic) {
  TestRuntime rt(1);
  struct View {
    struct Iterator {
      const View* view;
      int at;
      auto& operator*() const {
        if (at == 1) throw std::runtime_error("second");
        return view->branch;
      }
      Iterator& operator++() {
        ++at;
        return *this;
      }
      bool operator!=(const Iterator& other) const { return at != other.at; }
    };
    Iterator begin() const { return Iterator{this, 0}; }
    Iterator end() const { return Iterator{this, 3}; }
    size_t size() const { return 3; }
    Task<int> (*branch)(Cx) = [](Cx) -> Task<int> { co_return 1; };
  };
  const View view;
  Outcome<void> root = rt.Run([&](Cx cx) -> Task<void> {
    EXPECT_THAT(co_await JoinAll(cx, view), IsPanicked("second"));
    co_return Ok();
  });
  EXPECT_THAT(root, IsOk());
}
#endif

}  // namespace
}  // namespace rules
}  // namespace quiesce

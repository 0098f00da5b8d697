// tbb_peer: the oneTBB side of the benchmark report. README.md says what each benchmark does.
//
// Usage: tbb_peer --bench=NAME --workers=N [--n=COUNT] [--rounds=R] [--seconds=S]
// Prints one line `NAME<TAB>VALUE<TAB>UNIT` for each figure on stdout; each idiom's own time is a `#` line on stderr.
#include <oneapi/tbb/cache_aligned_allocator.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace {

// What TBB's own algorithms are made of. Libraries on top of TBB use it too, though it is nobody's public interface.
namespace low = tbb::detail::d1;

struct Arguments {
  std::string_view bench;
  int64_t workers = 0;
  int64_t n = 0;
  int64_t rounds = 5;
  int64_t seconds = 2;  // taken since the report passes it to every program
};

// --- harness ---

using Ns = int64_t;

Ns Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Ends the program, without a figure, if a result is wrong.
void Check(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "tbb_peer: wrong: %s\n", what);
  std::exit(1);
}

// One way to write a benchmark. A round does it for n things and returns its nanoseconds.
struct Idiom {
  const char* name;
  Ns (*round)(int64_t n);
  bool counts = true;  // false: shown on stderr, but no figure
};

// Runs each idiom for one discarded round and `rounds` measured ones, inside an arena of N threads, the calling one
// among them; prints the least time of all for each of the n things.
void ReportBest(const Arguments& arguments, int64_t n, std::initializer_list<Idiom> idioms) {
  const int threads = static_cast<int>(arguments.workers);
  tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                            static_cast<size_t>(threads));
  tbb::task_arena arena(threads);
  const auto per_op = [n](Ns time) { return static_cast<double>(time) / static_cast<double>(n); };
  Ns least = INT64_MAX;
  for (const Idiom& idiom : idioms) {
    Ns own = INT64_MAX;
    for (int64_t i = 0; i <= arguments.rounds; ++i) {
      const Ns time = arena.execute([&] { return idiom.round(n); });
      if (i > 0) own = std::min(own, time);
    }
    std::fprintf(stderr, "# %s %s: %.1f ns/op\n", std::string(arguments.bench).c_str(), idiom.name,
                 per_op(own));
    if (idiom.counts) least = std::min(least, own);
  }
  std::printf("%s\t%.2f\tns/op\n", std::string(arguments.bench).c_str(), per_op(least));
}

// --- spawn_join: one task spawns n that do nothing, then waits for all of them ---

Ns SpawnTaskGroup(int64_t n) {
  const Ns start = Now();
  tbb::task_group group;
  for (int64_t i = 0; i < n; ++i) group.run([] {});
  Check(group.wait() == tbb::complete, "the group's end");
  return Now() - start;
}

// As task_group does it, but all are counted at once.
class PooledNothing final : public low::task {
 public:
  PooledNothing(low::wait_context* left, low::small_object_allocator pool)
      : left_(left), pool_(pool) {}

  low::task* execute(low::execution_data& data) override {
    low::wait_context* left = left_;
    pool_.delete_object(this, data);
    left->release();
    return nullptr;
  }
  low::task* cancel(low::execution_data& data) override { return execute(data); }

 private:
  low::wait_context* left_;
  low::small_object_allocator pool_;
};

Ns SpawnPooled(int64_t n) {
  const Ns start = Now();
  tbb::task_group_context context;
  low::wait_context left(static_cast<uint32_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    low::small_object_allocator pool;
    low::spawn(*pool.new_object<PooledNothing>(&left, pool), context);
  }
  low::wait(left, context);
  return Now() - start;
}

// All tasks in one array, which lives until they have ended. They share their counter by a static, so that a task fills
// one cache line instead of two. No figure: who spawns tasks elsewhere does not have their memory beforehand.
class Nothing final : public low::task {
 public:
  static inline low::wait_context* left = nullptr;

  low::task* execute(low::execution_data&) override {
    left->release();
    return nullptr;
  }
  low::task* cancel(low::execution_data& data) override { return execute(data); }
};

Ns SpawnArray(int64_t n) {
  // Kept between rounds, as TBB's pools keep their memory.
  static std::vector<std::byte, tbb::cache_aligned_allocator<std::byte>> memory;
  memory.resize(static_cast<size_t>(n) * sizeof(Nothing));
  Nothing* tasks = reinterpret_cast<Nothing*>(memory.data());
  const Ns start = Now();
  tbb::task_group_context context;
  low::wait_context left(static_cast<uint32_t>(n));
  Nothing::left = &left;
  for (int64_t i = 0; i < n; ++i) low::spawn(*new (tasks + i) Nothing, context);
  low::wait(left, context);
  std::destroy_n(tasks, n);
  return Now() - start;
}

void SpawnJoin(const Arguments& arguments) {
  ReportBest(arguments, arguments.n,
             {{"task_group", SpawnTaskGroup},
              {"pooled_tasks", SpawnPooled},
              {"array_of_tasks", SpawnArray, /*counts=*/false}});
}

// --- skynet: a tree of tasks, ten children each, n leaves; a leaf returns its number, a parent its children's sum ---

int64_t GroupNode(int64_t first, int64_t leaves) {
  if (leaves == 1) return first;
  tbb::task_group group;
  std::array<int64_t, 10> sums;
  const int64_t each = leaves / 10;
  for (int64_t i = 0; i < 10; ++i) {
    group.run([&sums, first, each, i] { sums[i] = GroupNode(first + i * each, each); });
  }
  group.wait();
  int64_t sum = 0;
  for (int64_t s : sums) sum += s;
  return sum;
}

Ns SkynetGroup(int64_t n) {
  const Ns start = Now();
  int64_t sum = 0;
  tbb::task_group group;
  group.run_and_wait([&] { sum = GroupNode(0, n); });
  const Ns time = Now() - start;
  Check(sum == n * (n - 1) / 2, "skynet's sum");
  return time;
}

// Children live in the frame of their parent, which waits for them: nothing is allocated.
class FrameLeaf final : public low::task {
 public:
  FrameLeaf(int64_t first, int64_t, low::wait_context* siblings)
      : sum_(first), siblings_(siblings) {}
  int64_t sum() const { return sum_; }

  low::task* execute(low::execution_data&) override {
    siblings_->release();
    return nullptr;
  }
  low::task* cancel(low::execution_data& data) override { return execute(data); }

 private:
  int64_t sum_;
  low::wait_context* siblings_;
};

class FrameNode final : public low::task {
 public:
  FrameNode(int64_t first, int64_t leaves, low::wait_context* siblings)
      : first_(first), leaves_(leaves), siblings_(siblings) {}
  int64_t sum() const { return sum_; }

  low::task* execute(low::execution_data& data) override {
    sum_ = leaves_ == 10 ? SumOf<FrameLeaf>(*data.context) : SumOf<FrameNode>(*data.context);
    siblings_->release();
    return nullptr;
  }
  low::task* cancel(low::execution_data& data) override { return execute(data); }

 private:
  template <class Child>
  int64_t SumOf(tbb::task_group_context& context) {
    alignas(Child) std::byte memory[10 * sizeof(Child)];
    Child* children = reinterpret_cast<Child*>(memory);
    low::wait_context left(10);
    const int64_t each = leaves_ / 10;
    for (int64_t i = 0; i < 10; ++i) {
      new (children + i) Child(first_ + i * each, each, &left);
      if (i < 9) low::spawn(children[i], context);
    }
    low::execute_and_wait(children[9], context, left, context);
    int64_t sum = 0;
    for (int64_t i = 0; i < 10; ++i) sum += children[i].sum();
    std::destroy_n(children, 10);
    return sum;
  }

  int64_t first_;
  int64_t leaves_;
  int64_t sum_ = 0;
  low::wait_context* siblings_;
};

Ns SkynetFrames(int64_t n) {
  if (n == 1) return SkynetGroup(n);
  const Ns start = Now();
  tbb::task_group_context context;
  low::wait_context left(1);
  FrameNode root(0, n, &left);
  low::execute_and_wait(root, context, left, context);
  const Ns time = Now() - start;
  Check(root.sum() == n * (n - 1) / 2, "skynet's sum");
  return time;
}

// Nobody waits but the root's caller: a parent ends once it has spawned its children, and the last of them goes on with
// what the parent would do. (Continuation passing, as in the tree of TBB's parallel_reduce.)
struct Family;

struct ChainLeaf final : low::task {
  ChainLeaf(Family* family, int64_t first, int64_t) : family(family), sum(first) {}
  low::task* execute(low::execution_data&) override;
  low::task* cancel(low::execution_data& data) override { return execute(data); }

  Family* family;
  int64_t sum;
};

struct ChainNode final : low::task {
  ChainNode(Family* family, int64_t first, int64_t leaves)
      : family(family), sum(first), leaves(leaves) {}
  low::task* execute(low::execution_data& data) override;
  low::task* cancel(low::execution_data& data) override { return execute(data); }

  Family* family;
  int64_t sum;  // until its children have ended: the number of its first leaf
  int64_t leaves;
};

constexpr size_t kChildSize = std::max(sizeof(ChainLeaf), sizeof(ChainNode));

// Ten siblings, and where their sum goes.
struct Family {
  Family* parents;  // the family of the parent; null: the root's
  int64_t* sum;
  std::atomic<int> left{10};
  bool of_leaves;
  alignas(low::task_alignment) std::byte children[10 * kChildSize];

  template <class Child>
  Child* As() {
    return reinterpret_cast<Child*>(children);
  }
};

low::wait_context* root_ended = nullptr;

void ChildEnded(Family* family) {
  while (family->left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    int64_t sum = 0;
    for (int i = 0; i < 10; ++i) {
      sum += family->of_leaves ? family->As<ChainLeaf>()[i].sum : family->As<ChainNode>()[i].sum;
    }
    *family->sum = sum;
    Family* parents = family->parents;
    tbb::cache_aligned_allocator<Family>().deallocate(family, 1);
    if (parents == nullptr) return root_ended->release();
    family = parents;
  }
}

template <class Child>
low::task* SpawnFamily(Family* parents, int64_t* sum, int64_t first, int64_t each,
                       tbb::task_group_context& context) {
  Family* family = new (tbb::cache_aligned_allocator<Family>().allocate(1)) Family;
  family->parents = parents;
  family->sum = sum;
  family->of_leaves = std::is_same_v<Child, ChainLeaf>;
  Child* children = family->As<Child>();
  for (int64_t i = 0; i < 10; ++i) new (children + i) Child(family, first + i * each, each);
  for (int64_t i = 0; i < 9; ++i) low::spawn(children[i], context);
  return children + 9;
}

low::task* ChainLeaf::execute(low::execution_data&) {
  ChildEnded(family);
  return nullptr;
}

low::task* ChainNode::execute(low::execution_data& data) {
  return leaves == 10 ? SpawnFamily<ChainLeaf>(family, &sum, sum, 1, *data.context)
                      : SpawnFamily<ChainNode>(family, &sum, sum, leaves / 10, *data.context);
}

Ns SkynetChain(int64_t n) {
  if (n == 1) return SkynetGroup(n);
  const Ns start = Now();
  tbb::task_group_context context;
  low::wait_context left(1);
  root_ended = &left;
  int64_t sum = 0;
  low::task* last = n == 10 ? SpawnFamily<ChainLeaf>(nullptr, &sum, 0, 1, context)
                            : SpawnFamily<ChainNode>(nullptr, &sum, 0, n / 10, context);
  low::execute_and_wait(*last, context, left, context);
  const Ns time = Now() - start;
  Check(sum == n * (n - 1) / 2, "skynet's sum");
  return time;
}

void Skynet(const Arguments& arguments) {
  int64_t n = 1;
  while (n <= arguments.n / 10) n *= 10;
  ReportBest(arguments, n,
             {{"task_group", SkynetGroup},
              {"tasks_in_frames", SkynetFrames},
              {"continuations", SkynetChain}});
}

// --- command line ---

struct Bench {
  const char* name;
  int64_t n;
  void (*run)(const Arguments&);
};

constexpr Bench kBenches[] = {{"spawn_join", 1'000'000, SpawnJoin}, {"skynet", 1'000'000, Skynet}};

[[noreturn]] void BadUsage(const std::string& problem) {
  std::fprintf(stderr,
               "tbb_peer: %s\n"
               "usage: tbb_peer --bench=NAME --workers=N [--n=COUNT] [--rounds=R] [--seconds=S]\n"
               "benches:",
               problem.c_str());
  for (const Bench& bench : kBenches) std::fprintf(stderr, " %s", bench.name);
  std::fprintf(stderr, "\n");
  std::exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  const Bench* chosen = nullptr;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const size_t equals = argument.find('=');
    if (equals == std::string_view::npos) {
      BadUsage("'" + std::string(argument) + "' is not --FLAG=VALUE");
    }
    const std::string_view flag = argument.substr(0, equals);
    const std::string_view value = argument.substr(equals + 1);
    if (flag == "--bench") {
      const auto* found = std::find_if(std::begin(kBenches), std::end(kBenches),
                                       [&](const Bench& bench) { return bench.name == value; });
      if (found == std::end(kBenches)) BadUsage("no benchmark '" + std::string(value) + "'");
      chosen = found;
      continue;
    }
    int64_t* number = flag == "--workers"   ? &arguments.workers
                      : flag == "--n"       ? &arguments.n
                      : flag == "--rounds"  ? &arguments.rounds
                      : flag == "--seconds" ? &arguments.seconds
                                            : nullptr;
    if (number == nullptr) BadUsage("unknown flag '" + std::string(flag) + "'");
    const auto [end, error] = std::from_chars(value.begin(), value.end(), *number);
    if (error != std::errc() || end != value.end() || *number < 1) {
      BadUsage("'" + std::string(argument) + "' needs a positive whole number");
    }
  }
  if (chosen == nullptr) BadUsage("--bench=NAME is missing");
  if (arguments.workers == 0) BadUsage("--workers=N is missing");
  arguments.bench = chosen->name;
  if (arguments.n == 0) arguments.n = chosen->n;
  chosen->run(arguments);
  return 0;
}

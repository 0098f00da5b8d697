#include "quiesce/testing/lab/golden_programs.h"

#include <array>
#include <memory>
#include <vector>

#include "quiesce/testing/lab/atomic.h"
#include "quiesce/testing/lab/blocking.h"
#include "quiesce/testing/lab/machine.h"

namespace quiesce::lab {
namespace {

// ---- the programs ---------------------------------------------------------------------------------

using Var = Atomic<int>;

template <class T>
std::shared_ptr<std::vector<std::unique_ptr<T>>> Some(int n) {
  auto all = std::make_shared<std::vector<std::unique_ptr<T>>>();
  for (int i = 0; i < n; ++i) all->push_back(std::make_unique<T>());
  return all;
}

void SpawnWriters(Machine& machine, int n, const std::shared_ptr<Var>& x) {
  for (int i = 1; i <= n; ++i) machine.Spawn([x, i] { x->store(i); });
}

void Writers(Machine& machine, int n) { SpawnWriters(machine, n, std::make_shared<Var>(0)); }

void WritersApart(Machine& machine, int n) {
  auto all = Some<Var>(n);
  for (int i = 0; i < n; ++i) machine.Spawn([all, i] { (*all)[static_cast<size_t>(i)]->store(1); });
}

void WritersAndReader(Machine& machine, int n) {
  auto x = std::make_shared<Var>(0);
  SpawnWriters(machine, n, x);
  machine.Spawn([x] { (void)x->load(); });
}

void FetchAdd(Machine& machine, int n) {
  auto x = std::make_shared<Var>(0);
  for (int i = 0; i < n; ++i) machine.Spawn([x] { x->fetch_add(1); });
}

void ThreeTasks(Machine& machine, int n) {
  auto x = std::make_shared<Var>(0);
  for (int i = 0; i < 3; ++i) {
    machine.Spawn([x, n] {
      for (int j = 0; j < n; ++j) x->fetch_add(1);
    });
  }
}

void LockedIncrement(Machine& machine, int n) {
  auto lock = std::make_shared<Lock>();
  auto x = std::make_shared<Var>(0);
  for (int i = 0; i < n; ++i) {
    machine.Spawn([lock, x] {
      lock->Acquire();
      x->store(x->load() + 1);
      lock->Release();
    });
  }
}

void Readers(Machine& machine, int n) {
  auto x = std::make_shared<Var>(0);
  machine.Spawn([x] { x->store(1); });
  for (int i = 0; i < n; ++i) machine.Spawn([x] { (void)x->load(); });
}

void LastZero(Machine& machine, int n) {
  auto array = Some<Var>(n + 1);
  machine.Spawn([array, n] {
    for (auto i = static_cast<size_t>(n); (*array)[i]->load() != 0; --i) {
    }
  });
  for (size_t j = 1; j <= static_cast<size_t>(n); ++j) {
    machine.Spawn([array, j] { (*array)[j]->store((*array)[j - 1]->load() + 1); });
  }
}

void Indexer(Machine& machine, int n) {
  constexpr int kSize = 128;
  constexpr int kMost = 4;
  auto table = Some<Var>(kSize);
  for (int id = 0; id < n; ++id) {
    machine.Spawn([table, id] {
      for (int m = 1; m <= kMost; ++m) {
        const int w = m * 11 + id;
        int slot = (w * 7) % kSize;
        int zero = 0;
        while (!(*table)[static_cast<size_t>(slot)]->compare_exchange_strong(zero, w)) {
          slot = (slot + 1) % kSize;
          zero = 0;
        }
      }
    });
  }
}

void FileSystem(Machine& machine, int n) {
  constexpr int kBlocks = 26;
  constexpr int kNodes = 32;
  auto node_locks = Some<Lock>(kNodes);
  auto block_locks = Some<Lock>(kBlocks);
  auto nodes = Some<Var>(kNodes);
  auto busy = Some<Var>(kBlocks);
  for (int id = 0; id < n; ++id) {
    machine.Spawn([=] {
      const auto i = static_cast<size_t>(id % kNodes);
      (*node_locks)[i]->Acquire();
      if ((*nodes)[i]->load() == 0) {
        for (auto b = (i * 2) % kBlocks;; b = (b + 1) % kBlocks) {
          (*block_locks)[b]->Acquire();
          const bool free = (*busy)[b]->load() == 0;
          if (free) {
            (*busy)[b]->store(1);
            (*nodes)[i]->store(static_cast<int>(b) + 1);
          }
          (*block_locks)[b]->Release();
          if (free) break;
        }
      }
      (*node_locks)[i]->Release();
    });
  }
}

void SpawnCompareExchanges(Machine& machine, int n, const std::shared_ptr<Var>& x) {
  for (int i = 1; i <= n; ++i) {
    machine.Spawn([x, i] {
      int zero = 0;
      x->compare_exchange_strong(zero, i);
    });
  }
}

void CompareExchange(Machine& machine, int n) {
  SpawnCompareExchanges(machine, n, std::make_shared<Var>(0));
}

void WriterAndCompareExchange(Machine& machine, int n) {
  auto x = std::make_shared<Var>(0);
  machine.Spawn([x] { x->store(-1); });
  SpawnCompareExchanges(machine, n, x);
}

void Philosophers(Machine& machine, int n) {
  auto forks = Some<Lock>(n);
  for (int i = 0; i < n; ++i) {
    machine.Spawn([forks, i, n] {
      Lock& left = *(*forks)[static_cast<size_t>(i)];
      Lock& right = *(*forks)[static_cast<size_t>((i + 1) % n)];
      left.Acquire();
      right.Acquire();
      right.Release();
      left.Release();
    });
  }
}

// Lamport's fast mutual exclusion (ACM TOCS 5(1), 1987).
void Lamport(Machine& machine, int n) {
  struct Shared {
    Var x{0};
    Var y{0};
    std::vector<std::unique_ptr<Var>> b;
  };
  auto shared = std::make_shared<Shared>();
  for (int i = 0; i <= n; ++i) shared->b.push_back(std::make_unique<Var>(0));
  for (int id = 1; id <= n; ++id) {
    machine.Spawn([shared, id, n] {
      Var& mine = *shared->b[static_cast<size_t>(id)];
      while (true) {
        mine.store(1);
        shared->x.store(id);
        if (shared->y.load() != 0) {
          mine.store(0);
          Assume(shared->y.load() == 0);
          continue;
        }
        shared->y.store(id);
        if (shared->x.load() != id) {
          mine.store(0);
          for (int i = 1; i <= n; ++i) Assume(shared->b[static_cast<size_t>(i)]->load() == 0);
          if (shared->y.load() != id) {
            Assume(shared->y.load() == 0);
            continue;
          }
        }
        break;
      }
      shared->y.store(0);
      mine.store(0);
    });
  }
}

// The next two are of two threads.
struct MutualExclusion {
  Var flag[2];
  Var turn;
  Var inside;
};

void Peterson(Machine& machine, int) {
  auto shared = std::make_shared<MutualExclusion>();
  for (int id = 0; id < 2; ++id) {
    machine.Spawn([shared, id] {
      shared->flag[id].store(1);
      shared->turn.store(1 - id);
      Assume(shared->flag[1 - id].load() == 0 || shared->turn.load() == id);
      shared->inside.store(id);
      (void)shared->inside.load();
      shared->flag[id].store(0);
    });
  }
}

void Szymanski(Machine& machine, int) {
  auto shared = std::make_shared<MutualExclusion>();
  for (int id = 0; id < 2; ++id) {
    machine.Spawn([shared, id] {
      Var& mine = shared->flag[id];
      Var& other = shared->flag[1 - id];
      mine.store(1);
      Assume(other.load() < 3);
      mine.store(3);
      if (other.load() == 1) {
        mine.store(2);
        Assume(other.load() == 4);
      }
      mine.store(4);
      Assume(other.load() < 2);
      shared->inside.store(id);
      (void)shared->inside.load();
      (void)shared->inside.load();
      Assume(other.load() < 2 || other.load() > 3);
      mine.store(0);
    });
  }
}

void Publish(Machine& machine, int n) {
  struct Shared {
    Var value;
    Var flag;
  };
  auto shared = std::make_shared<Shared>();
  machine.Spawn([shared] {
    shared->value.store(42);
    shared->flag.store(1);
  });
  machine.Spawn([shared, n] {
    for (int i = 0; i < n; ++i) {
      if (shared->flag.load() == 1) {
        (void)shared->value.load();
        return;
      }
    }
  });
}

void OneToOne(Machine& machine, int n) {
  auto queue = std::make_shared<Queue>(2);
  machine.Spawn([queue, n] {
    for (int i = 0; i < n; ++i) queue->Send();
  });
  machine.Spawn([queue, n] {
    for (int i = 0; i < n; ++i) queue->Receive();
  });
}

void ManyToOne(Machine& machine, int n) {
  auto queue = std::make_shared<Queue>(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) machine.Spawn([queue] { queue->Send(); });
  machine.Spawn([queue, n] {
    for (int i = 0; i < n; ++i) queue->Receive();
  });
}

constexpr Golden kGoldens[] = {
    {"writers", "n writers of one location: n!", &Writers},
    {"writers_apart", "n writers, each of a location of its own: 1", &WritersApart},
    {"writers_reader", "n writers and a reader of one location: (n + 1)!", &WritersAndReader},
    {"fetch_add", "n read-modify-writes of one location: n!", &FetchAdd},
    {"three_tasks", "three, each of n read-modify-writes of one location: (3 n)! / (n!)^3",
     &ThreeTasks},
    {"locked_increment", "n increments under one lock: n!", &LockedIncrement},
    {"readers", "one writer and n readers of one location: 2^n", &Readers},
    {"lastzero", "(n + 3) 2^(n - 2)", &LastZero},
    {"indexer", "n threads and a hash table, n from 11 to 15: 8^(n - 11)", &Indexer},
    {"filesystem", "n threads, inodes and blocks, n from 13 to 19: 2^(n - 13)", &FileSystem},
    {"cas", "n compare-exchanges of 0 with something else: n", &CompareExchange},
    {"wcas", "the same beside a writer: n 2^(n - 1) + 1", &WriterAndCompareExchange},
    {"philosophers", "n philosophers, left fork first: 2^n - 2, and a deadlock", &Philosophers},
    {"lamport", "Lamport's fast mutual exclusion, n threads; n = 2: 16", &Lamport},
    {"peterson", "Peterson's, two threads (n is not looked at): 4", &Peterson},
    {"szymanski", "Szymanski's, the same: 6", &Szymanski},
    {"publish", "a value and a flag that is read n times at most: n + 1", &Publish},
    {"one_to_one", "one sender, one receiver, a queue of 2, n messages: 1", &OneToOne},
    {"many_to_one", "n senders of one message, one receiver: n!", &ManyToOne},
};

}  // namespace

absl::Span<const Golden> Goldens() { return kGoldens; }

const Golden* FindGolden(absl::string_view name) {
  for (const Golden& golden : kGoldens) {
    if (golden.name == name) return &golden;
  }
  return nullptr;
}

explore::Exploration ExploreGolden(const Golden& golden, int n) {
  Machine machine([&golden, n](Machine& to) { golden.build(to, n); });
  explore::ExploreOptions options;
  options.tell_classes_apart = true;
  return explore::Explorer(&machine, options).Run();
}

}  // namespace quiesce::lab

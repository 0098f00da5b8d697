// How it is built
//
// Memory comes from the kernel in 4 MiB *chunks*, each cut into 64 slabs of 64 KiB. The first slab of
// a chunk holds the headers of all: so a header is found by masking the address, survives when the
// pages of its slab are given back, and the headers of many slabs do not share one cache set.
//
// A slab serves one size class for one *heap*; a heap belongs to one thread at a time. The owner
// allocates and frees with plain loads and stores. Another thread pushes the block on the slab's
// `remote` word; the push that finds it empty also puts the slab into its owner's inbox. The owner
// takes the whole word back at once: a thousand blocks freed elsewhere cost it one exchange.
//
// The heap of a thread that has ended is an *orphan*: a new thread moves in, or a thread that needs
// memory takes its slabs over.
//
// Lock order: Globals::lock is a leaf.
#include "quiesce/runtime/base/slab.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/sanitizers.h"
#include "quiesce/runtime/base/spin_lock.h"
#include "quiesce/runtime/base/thread_word.h"

#if QUIESCE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

namespace quiesce {
inline namespace v0 {
namespace {

constexpr size_t kSlabSize = size_t{64} << 10;
constexpr size_t kChunkSize = size_t{4} << 20;
constexpr size_t kSlabsPerChunk = kChunkSize / kSlabSize;
constexpr size_t kGranule = 16;
// A slab's blocks are made ready by this many bytes at a time, so that untouched pages stay untouched.
constexpr size_t kCarveBytes = 4096;
// Slabs with blocks freed elsewhere that one allocation takes back at most: bounds its time.
constexpr size_t kCollectLimit = 32;
// From this chunk on huge pages are asked for: a large program faults less, a small one stays small.
constexpr size_t kChunksBeforeHugePages = 8;

// ---- size classes ---------------------------------------------------------------------------------

constexpr std::array<uint16_t, 40> kClassSize = [] {
  std::array<uint16_t, 40> sizes{};
  size_t at = 0;
  for (uint16_t size = 16; size <= 256; size += 16) sizes[at++] = size;
  for (uint16_t size = 288; size <= 512; size += 32) sizes[at++] = size;  // parked tasks
  for (uint16_t size = 576; size <= 1024; size += 64) sizes[at++] = size;
  for (uint16_t size = 1280; size <= 2048; size += 256) sizes[at++] = size;
  for (uint16_t size = 2560; size <= 4096; size += 512) sizes[at++] = size;
  return sizes;
}();
constexpr size_t kClasses = kClassSize.size();
static_assert(kClassSize.back() == kMaxSlabBlock);

// Indexed by the size in granules, rounded up.
constexpr std::array<uint8_t, kMaxSlabBlock / kGranule + 1> kClassOfGranules = [] {
  std::array<uint8_t, kMaxSlabBlock / kGranule + 1> classes{};
  uint8_t size_class = 0;
  for (size_t granules = 0; granules < classes.size(); ++granules) {
    while (granules * kGranule > kClassSize[size_class]) ++size_class;
    classes[granules] = size_class;
  }
  return classes;
}();

inline uint32_t ClassOf(size_t size) { return kClassOfGranules[(size + kGranule - 1) / kGranule]; }

// ---- structures -----------------------------------------------------------------------------------

// What a free block holds.
struct Block {
  Block* next;
};

struct Heap;
struct HeapFront;

// The header of a slab. First line: the owner's. Second line: everybody's.
struct alignas(64) Slab : ListHook {
  Block* free = nullptr;  // ready to be handed out; the owner's
  std::atomic<uint32_t> used{
      0};               // handed out and not yet back with the owner; written by the owner
                        // only (relaxed), read by GetSlabStats
  uint32_t carved = 0;  // blocks made ready so far; the rest was never touched
  uint32_t capacity = 0;
  bool full = false;  // in the heap's `full` list: nothing free, nothing to carve

  // Null: in a free list. Changed (release) only by the thread that owns the slab, or that has taken
  // over the heap that owns it; others read it (acquire: the heap may be younger than their block) to
  // find where to send a block, and may be late.
  alignas(64) std::atomic<Heap*> owner{nullptr};
  // Blocks freed by other threads: a stack threaded through them, as {head, tail, count}; 0: none.
  // Grows by compare-exchange, is emptied by the owner's exchange; both acq_rel, since they hand over
  // the blocks' contents and `next_notified`.
  std::atomic<uint64_t> remote{0};
  Slab* next_notified = nullptr;  // in a heap's inbox; set by the push that found `remote` empty
  std::atomic<uint32_t> block_size{0};  // constant while the slab has an owner
  uint32_t reciprocal = 0;              // 2^32 / block_size, rounded up
  uint32_t size_class = 0;
};
static_assert(sizeof(Slab) == 128);

struct Chunk {
  Slab slabs[kSlabsPerChunk];  // slabs[0] stands for the header slab itself and is never used
  Chunk* next = nullptr;
};
static_assert(sizeof(Chunk) <= kSlabSize);

// What the fast path needs of a heap; also the type of the heap of a thread that has none yet.
struct HeapFront {
  Slab* current[kClasses];  // where the next block comes from; never null
};

struct Heap : HeapFront {
  // kAttached: a thread allocates from it. kParked: its thread sleeps and has left it to visitors.
  // kOrphan: its thread has ended. kVisited: SlabTrim, or an adopting thread, is working on it.
  //   kAttached -> kParked (release) -> kAttached by its thread; kAttached -> kOrphan (release) at the
  //   thread's end; kOrphan -> kAttached (acquire) by a new thread; kParked or kOrphan -> kVisited
  //   (acquire) and back (release) by a visitor.
  enum State : uint32_t { kAttached, kParked, kOrphan, kVisited };
  std::atomic<uint32_t> state{kAttached};

  IntrusiveList<Slab> available[kClasses];  // with something free or to carve; front() == current
  IntrusiveList<Slab> full;
  Slab* pending = nullptr;  // taken from the inbox, not yet looked at
  Heap* next = nullptr;     // in Globals::heaps; constant

  // Slabs with remote blocks, a stack through next_notified. Pushed (release) by whoever freed, taken
  // whole (acquire) by who holds the heap.
  alignas(64) std::atomic<Slab*> inbox{nullptr};

  Heap();
  bool owns_nothing() const {
    for (const auto& list : available) {
      if (!list.empty()) return false;
    }
    return full.empty();
  }
};

struct Globals {
  SpinLock lock;
  // Guarded by lock: slabs without owner, chained by ListHook::next.
  ListHook* free_resident = nullptr;
  ListHook* free_trimmed = nullptr;  // their pages are with the kernel
  size_t free_resident_count = 0;
  size_t free_trimmed_count = 0;
  Chunk* chunks = nullptr;
  size_t chunk_count = 0;
  size_t next_slab = kSlabsPerChunk;  // of the newest chunk, never handed out yet

  std::atomic<Heap*> heaps{nullptr};        // every heap ever made; grows only
  std::atomic<uint32_t> estates{0};         // orphans that may own slabs: a hint (relaxed)
  std::atomic<size_t> large_live_bytes{0};  // counters (relaxed)
  std::atomic<size_t> large_live_blocks{0};
};

constinit Globals g;
constinit Slab g_no_slab;  // never has a free block
constinit HeapFront g_no_heap = [] {
  HeapFront front{};
  for (Slab*& slab : front.current) slab = &g_no_slab;
  return front;
}();

// Read only inside this file's functions, which are never inlined: a coroutine that moves to another
// thread must not keep the address of a thread's variable.
constinit thread_local HeapFront* t_heap QUIESCE_THREAD_WORD_MODEL = &g_no_heap;

Heap::Heap() {
  for (Slab*& slab : current) slab = &g_no_slab;
}

// ---- poisoning ------------------------------------------------------------------------------------

#if QUIESCE_ASAN
#define QUIESCE_SLAB_UNCHECKED [[gnu::no_sanitize_address, gnu::noinline]]
void Poison(const void* begin, size_t size) { __asan_poison_memory_region(begin, size); }
void Unpoison(const void* begin, size_t size) { __asan_unpoison_memory_region(begin, size); }
#else
#define QUIESCE_SLAB_UNCHECKED
void Poison(const void*, size_t) {}
void Unpoison(const void*, size_t) {}
#endif

// Free blocks are poisoned, links included.
QUIESCE_SLAB_UNCHECKED inline Block* LinkOf(const Block* block) { return block->next; }
QUIESCE_SLAB_UNCHECKED inline void SetLink(Block* block, Block* next) { block->next = next; }

// ---- addresses ------------------------------------------------------------------------------------

inline Slab* SlabOf(const void* address) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(address);
  Chunk* chunk = reinterpret_cast<Chunk*>(bits & ~(kChunkSize - 1));
  return &chunk->slabs[(bits / kSlabSize) % kSlabsPerChunk];
}

inline char* BaseOf(const Slab* slab) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(slab);
  const uintptr_t chunk = bits & ~(kChunkSize - 1);
  return reinterpret_cast<char*>(chunk + (bits - chunk) / sizeof(Slab) * kSlabSize);
}

inline uint64_t GranuleOf(const void* block) {
  return reinterpret_cast<uintptr_t>(block) % kSlabSize / kGranule;
}

struct RemoteWord {
  uint64_t head;  // granules from the slab's base
  uint64_t tail;
  uint64_t count;
  explicit RemoteWord(uint64_t word)
      : head(word & 0xffff), tail((word >> 16) & 0xffff), count(word >> 32) {}
  RemoteWord(uint64_t head, uint64_t tail, uint64_t count) : head(head), tail(tail), count(count) {}
  uint64_t word() const { return head | tail << 16 | count << 32; }
};

// ---- slabs from the kernel ------------------------------------------------------------------------

void MapChunk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(g.lock) {
  // Twice the size, so that an aligned half is in it.
  void* mapped = mmap(nullptr, 2 * kChunkSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) Fatal("slab: out of memory: cannot map %zu bytes", 2 * kChunkSize);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t chunk_begin = (begin + kChunkSize - 1) & ~(kChunkSize - 1);
  const size_t before = chunk_begin - begin;
  if (before != 0) munmap(mapped, before);
  munmap(reinterpret_cast<void*>(chunk_begin + kChunkSize), kChunkSize - before);
  void* memory = reinterpret_cast<void*>(chunk_begin);
  if (g.chunk_count >= kChunksBeforeHugePages) madvise(memory, kChunkSize, MADV_HUGEPAGE);
#if QUIESCE_ASAN
  Poison(static_cast<char*>(memory) + kSlabSize, kChunkSize - kSlabSize);
  __lsan_register_root_region(memory, kChunkSize);  // pointers in live blocks keep memory alive
#endif
  Chunk* chunk = new (memory) Chunk;
  chunk->next = g.chunks;
  g.chunks = chunk;
  ++g.chunk_count;
  g.next_slab = 1;
}

Slab* PopFree(ListHook*& list, size_t& count) {
  Slab* slab = static_cast<Slab*>(list);
  list = slab->next;
  slab->next = nullptr;
  --count;
  return slab;
}

Slab* AcquireSlab(Heap* heap, uint32_t size_class) {
  Slab* slab;
  {
    SpinLockHolder held(g.lock);
    if (g.free_resident != nullptr) {
      slab = PopFree(g.free_resident, g.free_resident_count);
    } else if (g.free_trimmed != nullptr) {
      slab = PopFree(g.free_trimmed, g.free_trimmed_count);
    } else {
      if (g.next_slab == kSlabsPerChunk) MapChunk();
      slab = &g.chunks->slabs[g.next_slab++];
    }
  }
  const uint32_t block_size = kClassSize[size_class];
  slab->free = nullptr;
  slab->carved = 0;
  slab->capacity = static_cast<uint32_t>(kSlabSize / block_size);
  slab->full = false;
  slab->block_size.store(block_size, std::memory_order_relaxed);
  slab->reciprocal = static_cast<uint32_t>((uint64_t{1} << 32) / block_size + 1);
  slab->size_class = size_class;
  slab->owner.store(heap, std::memory_order_release);
  return slab;
}

// `slab` is wholly free and in no list.
void ReleaseSlab(Slab* slab) {
  slab->owner.store(nullptr, std::memory_order_relaxed);
  SpinLockHolder held(g.lock);
  slab->next = g.free_resident;
  g.free_resident = slab;
  ++g.free_resident_count;
}

// ---- what the holder of a heap does ---------------------------------------------------------------

void RefreshCurrent(Heap* heap, uint32_t size_class) {
  Slab* front = heap->available[size_class].front();
  heap->current[size_class] = front != nullptr ? front : &g_no_slab;
}

// The last block of `slab` came back. The slab in use stays, so that one block that comes and goes
// does not cost a slab each time.
void OnEmpty(Heap* heap, Slab* slab) {
  if (heap->current[slab->size_class] == slab) return;
  IntrusiveList<Slab>::Remove(slab);
  ReleaseSlab(slab);
}

// A block of a full slab came back.
void OnAvailable(Heap* heap, Slab* slab) {
  slab->full = false;
  IntrusiveList<Slab>::Remove(slab);
  heap->available[slab->size_class].PushBack(slab);
  RefreshCurrent(heap, slab->size_class);
}

// Blocks of `slab`, which was full or is empty now, came back.
[[gnu::noinline]] void OnFreed(Heap* heap, Slab* slab) {
  if (slab->full) OnAvailable(heap, slab);
  if (slab->used.load(std::memory_order_relaxed) == 0) OnEmpty(heap, slab);
}

void Carve(Slab* slab) {
  const uint32_t block_size = slab->block_size.load(std::memory_order_relaxed);
  uint32_t count = static_cast<uint32_t>(kCarveBytes / block_size);
  if (count > slab->capacity - slab->carved) count = slab->capacity - slab->carved;
  char* const begin = BaseOf(slab) + size_t{slab->carved} * block_size;
  Block* next = nullptr;
  for (uint32_t i = count; i-- > 0;) {
    Block* block = reinterpret_cast<Block*>(begin + size_t{i} * block_size);
    SetLink(block, next);
    next = block;
  }
  slab->free = next;
  slab->carved += count;
}

// Tells the owner of `slab` that blocks are waiting for it. The owner may change meanwhile: whoever
// takes a heap over stores the new owner, then (after a fence) looks into the old inbox; here the
// slab is put into the inbox and then (after a fence) the owner is read again. One of them sees the
// other, so no slab stays in the inbox of a heap that does not own it.
void Notify(Slab* slab) {
  Heap* heap = slab->owner.load(std::memory_order_acquire);
  while (true) {
    Slab* head = heap->inbox.load(std::memory_order_relaxed);
    do {
      slab->next_notified = head;
    } while (!heap->inbox.compare_exchange_weak(head, slab, std::memory_order_release,
                                                std::memory_order_relaxed));
    std::atomic_thread_fence(std::memory_order_seq_cst);
    Heap* now = slab->owner.load(std::memory_order_relaxed);
    if (now == heap) return;
    // It moved, or was collected already. Whatever is in that inbox is sent on to its owner; only one
    // thread can take it out.
    Slab* taken = heap->inbox.exchange(nullptr, std::memory_order_acq_rel);
    if (taken == nullptr) return;
    for (Slab* next; taken->next_notified != nullptr; taken = next) {
      next = taken->next_notified;
      Notify(taken);
    }
    slab = taken;
    heap = slab->owner.load(std::memory_order_acquire);
  }
}

// Takes back blocks that other threads freed, of at most `limit` slabs.
void Collect(Heap* heap, size_t limit) {
  while (limit > 0) {
    if (heap->pending == nullptr) {
      if (heap->inbox.load(std::memory_order_relaxed) == nullptr) return;
      heap->pending = heap->inbox.exchange(nullptr, std::memory_order_acq_rel);
      if (heap->pending == nullptr) return;
    }
    --limit;
    Slab* slab = heap->pending;
    heap->pending = slab->next_notified;  // read before the exchange below allows a new notice
    if (slab->owner.load(std::memory_order_relaxed) != heap) {
      Notify(slab);
      continue;
    }
    const RemoteWord remote(slab->remote.exchange(0, std::memory_order_acq_rel));
    char* const base = BaseOf(slab);
    SetLink(reinterpret_cast<Block*>(base + remote.tail * kGranule), slab->free);
    slab->free = reinterpret_cast<Block*>(base + remote.head * kGranule);
    const uint32_t used =
        slab->used.load(std::memory_order_relaxed) - static_cast<uint32_t>(remote.count);
    slab->used.store(used, std::memory_order_relaxed);
    if (slab->full || used == 0) OnFreed(heap, slab);
  }
}

// Gives wholly free slabs to the common list, also those in use for the next block.
void ReleaseEmptySlabs(Heap* heap) {
  for (uint32_t size_class = 0; size_class < kClasses; ++size_class) {
    IntrusiveList<Slab>& list = heap->available[size_class];
    for (Slab* slab = list.front(); slab != nullptr;) {
      Slab* next = list.Next(slab);
      if (slab->used.load(std::memory_order_relaxed) == 0) {
        IntrusiveList<Slab>::Remove(slab);
        ReleaseSlab(slab);
      }
      slab = next;
    }
    RefreshCurrent(heap, size_class);
  }
}

void Tidy(Heap* heap) {
  while (heap->pending != nullptr || heap->inbox.load(std::memory_order_relaxed) != nullptr) {
    Collect(heap, kCollectLimit);
  }
  ReleaseEmptySlabs(heap);
}

// ---- heaps and threads ----------------------------------------------------------------------------

bool Transition(Heap* heap, uint32_t from, uint32_t to, std::memory_order order) {
  return heap->state.load(std::memory_order_relaxed) == from &&
         heap->state.compare_exchange_strong(from, to, order, std::memory_order_relaxed);
}

// Runs at the end of a thread, after its thread_local destructors; again if one more attached a heap.
void OnThreadEnd(void* value) {
  Heap* heap = static_cast<Heap*>(value);
  Tidy(heap);
  t_heap = &g_no_heap;
  if (!heap->owns_nothing()) g.estates.fetch_add(1, std::memory_order_relaxed);
  heap->state.store(Heap::kOrphan, std::memory_order_release);
}

pthread_key_t HeapKey() {
  static const pthread_key_t key = [] {
    pthread_key_t made;
    QUIESCE_CHECK(pthread_key_create(&made, &OnThreadEnd) == 0, "slab: no thread key is left");
    return made;
  }();
  return key;
}

Heap* AttachHeap() {
  Heap* heap = g.heaps.load(std::memory_order_acquire);
  while (heap != nullptr &&
         !Transition(heap, Heap::kOrphan, Heap::kAttached, std::memory_order_acquire)) {
    heap = heap->next;
  }
  if (heap != nullptr) {
    if (!heap->owns_nothing()) g.estates.fetch_sub(1, std::memory_order_relaxed);
  } else {
    void* memory = std::aligned_alloc(alignof(Heap), (sizeof(Heap) + 63) / 64 * 64);
    if (memory == nullptr) Fatal("slab: out of memory: cannot make a heap");
    heap = new (memory) Heap;
    heap->next = g.heaps.load(std::memory_order_relaxed);
    while (!g.heaps.compare_exchange_weak(heap->next, heap, std::memory_order_release,
                                          std::memory_order_relaxed)) {
    }
  }
  pthread_setspecific(HeapKey(), heap);
  t_heap = heap;
  return heap;
}

// Makes the slabs of `orphan`, which the caller visits, `heap`'s own.
void Inherit(Heap* heap, Heap* orphan) {
  const auto take = [heap](Slab* slab) {
    slab->owner.store(heap, std::memory_order_release);
    IntrusiveList<Slab>::Remove(slab);
    (slab->full ? heap->full : heap->available[slab->size_class]).PushBack(slab);
  };
  for (uint32_t size_class = 0; size_class < kClasses; ++size_class) {
    while (Slab* slab = orphan->available[size_class].front()) take(slab);
    RefreshCurrent(orphan, size_class);
    RefreshCurrent(heap, size_class);
  }
  while (Slab* slab = orphan->full.front()) take(slab);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // see Notify
  while (orphan->pending != nullptr || orphan->inbox.load(std::memory_order_relaxed) != nullptr) {
    Collect(orphan, kCollectLimit);  // sends each slab on to its owner
  }
}

// True if the slabs of an ended thread were taken over.
bool InheritFromOrphans(Heap* heap) {
  if (g.estates.load(std::memory_order_relaxed) == 0) return false;
  bool any = false;
  for (Heap* other = g.heaps.load(std::memory_order_acquire); other != nullptr;
       other = other->next) {
    if (!Transition(other, Heap::kOrphan, Heap::kVisited, std::memory_order_acquire)) continue;
    if (!other->owns_nothing()) {
      Inherit(heap, other);
      g.estates.fetch_sub(1, std::memory_order_relaxed);
      any = true;
    }
    other->state.store(Heap::kOrphan, std::memory_order_release);
  }
  return any;
}

[[gnu::noinline]] void* AllocateSlow(uint32_t size_class) {
  Heap* heap = t_heap == &g_no_heap ? AttachHeap() : static_cast<Heap*>(t_heap);
  Collect(heap, kCollectLimit);
  Slab* slab;
  while (true) {
    slab = heap->current[size_class];
    if (slab->free != nullptr) break;
    if (slab->carved < slab->capacity) {
      Carve(slab);
      break;
    }
    if (slab != &g_no_slab) {
      slab->full = true;
      IntrusiveList<Slab>::Remove(slab);
      heap->full.PushBack(slab);
      RefreshCurrent(heap, size_class);
    } else if (!InheritFromOrphans(heap)) {
      heap->available[size_class].PushBack(AcquireSlab(heap, size_class));
      RefreshCurrent(heap, size_class);
    } else {
      Collect(heap, kCollectLimit);
    }
  }
  Block* block = slab->free;
  slab->free = LinkOf(block);
  slab->used.store(slab->used.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return block;
}

[[gnu::noinline]] void FreeRemote(Slab* slab, Block* block) {
  const uint64_t granule = GranuleOf(block);
  uint64_t word = slab->remote.load(std::memory_order_relaxed);
  RemoteWord pushed(0);
  do {
    const RemoteWord old(word);
    if (old.count == 0) {
      SetLink(block, nullptr);
      pushed = RemoteWord(granule, granule, 1);
    } else {
      SetLink(block, reinterpret_cast<Block*>(BaseOf(slab) + old.head * kGranule));
      pushed = RemoteWord(granule, old.tail, old.count + 1);
    }
  } while (!slab->remote.compare_exchange_weak(word, pushed.word(), std::memory_order_acq_rel,
                                               std::memory_order_relaxed));
  if (word == 0) Notify(slab);
}

size_t LargeSize(size_t size) { return (size + kGranule - 1) & ~(kGranule - 1); }

[[gnu::noinline]] void* AllocateLarge(size_t size) {
  void* block = std::malloc(size);
  if (block == nullptr) Fatal("slab: out of memory: cannot allocate %zu bytes", size);
  g.large_live_bytes.fetch_add(LargeSize(size), std::memory_order_relaxed);
  g.large_live_blocks.fetch_add(1, std::memory_order_relaxed);
  return block;
}

[[gnu::noinline]] void FreeLarge(void* block, size_t size) {
  g.large_live_bytes.fetch_sub(LargeSize(size), std::memory_order_relaxed);
  g.large_live_blocks.fetch_sub(1, std::memory_order_relaxed);
  std::free(block);
}

// Gives the pages of the slabs in the common list to the kernel.
void TrimFreeSlabs() {
  ListHook* list;
  {
    SpinLockHolder held(g.lock);
    list = g.free_resident;
    g.free_resident = nullptr;
  }
  while (list != nullptr) {
    Slab* slab = static_cast<Slab*>(list);
    list = slab->next;
    madvise(BaseOf(slab), kSlabSize, MADV_DONTNEED);
    SpinLockHolder held(g.lock);
    slab->next = g.free_trimmed;
    g.free_trimmed = slab;
    --g.free_resident_count;
    ++g.free_trimmed_count;
  }
}

}  // namespace

// ---- the interface --------------------------------------------------------------------------------

[[gnu::noinline]] void* SlabAllocate(size_t size) {
  if (size > kMaxSlabBlock) [[unlikely]]
    return AllocateLarge(size);
  const uint32_t size_class = ClassOf(size);
  Slab* slab = t_heap->current[size_class];
  Block* block = slab->free;
  if (block == nullptr) [[unlikely]] {
    block = static_cast<Block*>(AllocateSlow(size_class));
  } else {
    slab->free = LinkOf(block);
    slab->used.store(slab->used.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  Unpoison(block, kClassSize[size_class]);
  return block;
}

[[gnu::noinline]] void SlabFree(void* memory, size_t size) {
  if (size > kMaxSlabBlock) [[unlikely]]
    return FreeLarge(memory, size);
  Block* block = static_cast<Block*>(memory);
  Slab* slab = SlabOf(block);
  Poison(block, kClassSize[ClassOf(size)]);
  HeapFront* heap = t_heap;
  if (slab->owner.load(std::memory_order_relaxed) != heap) [[unlikely]] {
    return FreeRemote(slab, block);
  }
  SetLink(block, slab->free);
  slab->free = block;
  const uint32_t used = slab->used.load(std::memory_order_relaxed) - 1;
  slab->used.store(used, std::memory_order_relaxed);
  // One call, the last thing: registers are saved for nobody.
  if (slab->full || used == 0) [[unlikely]]
    OnFreed(static_cast<Heap*>(heap), slab);
}

void* SlabBlockStart(const void* address) {
  const Slab* slab = SlabOf(address);
  const uint64_t offset = reinterpret_cast<uintptr_t>(address) % kSlabSize;
  // Exact: the offset is below 2^16 and the reciprocal's error below block_size / 2^32.
  const uint64_t index = offset * slab->reciprocal >> 32;
  return BaseOf(slab) + index * slab->block_size.load(std::memory_order_relaxed);
}

size_t SlabBlockSize(size_t size) {
  return size > kMaxSlabBlock ? LargeSize(size) : kClassSize[ClassOf(size)];
}

SlabStats GetSlabStats() {
  SlabStats stats;
  stats.live_bytes = g.large_live_bytes.load(std::memory_order_relaxed);
  stats.live_blocks = g.large_live_blocks.load(std::memory_order_relaxed);
  SpinLockHolder held(g.lock);
  size_t slabs = 0;
  for (Chunk* chunk = g.chunks; chunk != nullptr; chunk = chunk->next) {
    const size_t end = chunk == g.chunks ? g.next_slab : kSlabsPerChunk;
    slabs += end - 1;
    for (size_t i = 1; i < end; ++i) {
      const Slab& slab = chunk->slabs[i];
      const size_t used = slab.used.load(std::memory_order_relaxed);
      const size_t waiting = RemoteWord(slab.remote.load(std::memory_order_relaxed)).count;
      if (used > waiting) {
        stats.live_blocks += used - waiting;
        stats.live_bytes += (used - waiting) * slab.block_size.load(std::memory_order_relaxed);
      }
    }
  }
  stats.reserved_bytes = (slabs - g.free_trimmed_count) * kSlabSize;
  return stats;
}

void SlabTrim() {
  if (t_heap != &g_no_heap) Tidy(static_cast<Heap*>(t_heap));
  for (Heap* heap = g.heaps.load(std::memory_order_acquire); heap != nullptr; heap = heap->next) {
    for (const uint32_t state : {Heap::kParked, Heap::kOrphan}) {
      if (!Transition(heap, state, Heap::kVisited, std::memory_order_acquire)) continue;
      const bool owned = !heap->owns_nothing();
      Tidy(heap);
      if (state == Heap::kOrphan && owned && heap->owns_nothing()) {
        g.estates.fetch_sub(1, std::memory_order_relaxed);
      }
      heap->state.store(state, std::memory_order_release);
    }
  }
  TrimFreeSlabs();
}

void SlabThreadPark() {
  if (t_heap == &g_no_heap) return;
  static_cast<Heap*>(t_heap)->state.store(Heap::kParked, std::memory_order_release);
}

void SlabThreadUnpark() {
  if (t_heap == &g_no_heap) return;
  Heap* heap = static_cast<Heap*>(t_heap);
  while (!Transition(heap, Heap::kParked, Heap::kAttached, std::memory_order_acquire)) {
    sched_yield();  // a visitor is at it
  }
}

}  // namespace v0
}  // namespace quiesce

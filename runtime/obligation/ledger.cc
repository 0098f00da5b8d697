#include "quiesce/runtime/obligation/ledger.h"

#include <cstdio>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/intrusive_list.h"
#include "quiesce/runtime/base/thread_mutex.h"
#include "quiesce/runtime/task/async_stack.h"
#include "quiesce/runtime/trace/emit.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

struct Obligation::Entry : ListHook {
  uint64_t number;
  const char* kind;
  const RegionScope* region;
  uint64_t task;
  const char* task_name;
  std::source_location where;

  std::string ToString() const {
    return absl::StrCat(kind, " #", number, ", reserved at ", DescribePlace(where), " by task ",
                        task, " '", task_name, "'");
  }

  // All of the process. Only where debug checks are on: one lock for all is good enough.
  struct Table {
    ThreadMutex mutex;
    uint64_t last_number ABSL_GUARDED_BY(mutex) = 0;
    IntrusiveList<Entry> entries ABSL_GUARDED_BY(mutex);
  };
  static Table& All() {
    static auto* all = new Table();
    return *all;
  }
};

void Obligation::AddEntry(const TaskCore& task, const PermitKind& kind) {
  auto* entry = new Entry();
  entry->kind = kind.name;
  entry->region = region_;
  entry->task = task.id;
  entry->task_name = task.site->name;
  entry->where = std::bit_cast<std::source_location>(place_);
  Entry::Table& all = Entry::All();
  ThreadMutexLock lock(all.mutex);
  entry->number = ++all.last_number;
  all.entries.PushBack(entry);
  place_ = reinterpret_cast<uintptr_t>(entry);
}

void Obligation::RemoveEntry(uintptr_t place) {
  auto* entry = reinterpret_cast<Entry*>(place);
  Entry::Table& all = Entry::All();
  {
    ThreadMutexLock lock(all.mutex);
    all.entries.Remove(entry);
  }
  delete entry;
}

Obligation Obligation::ForRegionOf(const CxBase& cx, const PermitKind& kind,
                                   const std::source_location& where) {
  const auto& task = static_cast<const TaskCore&>(*cx.task());
  Obligation obligation(where);
  obligation.region_ = cx.region();
  obligation.task_ |= task.id;
  obligation.region_->permits.fetch_add(permit_word::kOpenOne, std::memory_order_acq_rel);
  obligation.NoteReserve(task, kind);
  return obligation;
}

Obligation::Claimed Obligation::Claim() {
  Claimed claimed = {
      .region = region_, .place = place_, .task = task_id(), .elsewhere = false, .revoked = false};
  if (region_ == nullptr || CountsHere(task_ & ~kNoted)) return claimed;
  Emit(EventKind::kScopeRequest, region_->id, 0, static_cast<uint64_t>(ScopeRequest::kClaim));
  uint64_t word = region_->permits.load(std::memory_order_acquire);
  do {
    if ((word & permit_word::kRevoked) != 0) {
      claimed.revoked = true;
      return claimed;
    }
  } while (!region_->permits.compare_exchange_weak(
      word, word - permit_word::kOpenOne + permit_word::kClaimOne, std::memory_order_acq_rel,
      std::memory_order_acquire));
  claimed.elsewhere = true;
  return claimed;
}

void Obligation::NoteReserve(const TaskCore& task, const PermitKind& kind) {
  task_ |= kNoted;
  if (DebugChecks()) AddEntry(task, kind);
  Emit(EventKind::kPermitReserve, region_->id, task.id, 0, kind.name);
}

void Obligation::End(const PermitKind& kind, PermitEnd end, const Claimed& claimed) {
  RegionScope* const region = claimed.region;
  if (region == nullptr) return;
  if (DebugChecks()) RemoveEntry(claimed.place);
  Emit(EventKind::kPermitEnd, region->id, claimed.task,
       static_cast<uint64_t>(claimed.revoked ? PermitEnd::kGivenBack : end), kind.name);
  if (claimed.revoked) {
    region->ops->unref(region);
  } else if (claimed.elsewhere) {
    region->ops->permit_done(region);
  }
}

void Obligation::Spill(std::atomic<int16_t>& counter, int16_t change) {
  LedgerOf::Flush(region_, counter);
  counter.store(change, std::memory_order_relaxed);
}

void Obligation::Leaked(const PermitKind& kind) const {
  const bool named = DebugChecks() && region_ != nullptr;
  const auto where = named ? reinterpret_cast<const Entry*>(place_)->where
                           : std::bit_cast<std::source_location>(place_);
  const std::string what =
      named ? reinterpret_cast<const Entry*>(place_)->ToString()
            : absl::StrCat(kind.name, ", reserved at ", DescribePlace(where),
                           region_ == nullptr ? std::string(" by a thread that is no task")
                                              : absl::StrCat(" by task ", task_id()));
  const std::string of =
      region_ == nullptr ? "" : absl::StrCat(" (region '", region_->region_name, "')");
  const std::string text = absl::StrCat(
      "permit leaked: ", what, of, " was dropped. ", kind.actions,
      ", Complete or Abort it on every path, or hand it on, before it goes out of scope");
  if (DebugChecks()) Fatal("%s", text.c_str());
  if (region_ != nullptr) {
    region_->services->counters->permits_leaked.fetch_add(1, std::memory_order_relaxed);
  }
  struct Seen {
    ThreadMutex mutex;
    absl::flat_hash_set<std::pair<const char*, uint32_t>> places ABSL_GUARDED_BY(mutex);
  };
  static auto* seen = new Seen();
  {
    ThreadMutexLock lock(seen->mutex);
    if (!seen->places.emplace(where.file_name(), where.line()).second) return;
  }
  const std::string report =
      absl::StrCat("quiesce: ", text,
                   ". It was aborted. Leaks from this place are counted, and not reported again.");
  if (region_ != nullptr) {
    region_->services->reports->Report(report + "\n");
  } else {
    std::fprintf(stderr, "%s\n", report.c_str());
  }
}

void LedgerOf::Flush(RegionScope* region, std::atomic<int16_t>& counter) {
  const int64_t count = counter.exchange(0, std::memory_order_relaxed);
  region->permits.fetch_add(static_cast<uint64_t>(count), std::memory_order_acq_rel);
}

std::string LedgerOf::Describe(const RegionScope* region) {
  constexpr int kMost = 8;
  std::string text;
  int found = 0;
  Obligation::Entry::Table& all = Obligation::Entry::All();
  ThreadMutexLock lock(all.mutex);
  for (const Obligation::Entry* entry = all.entries.front(); entry != nullptr;
       entry = all.entries.Next(entry)) {
    if (entry->region != region) continue;
    if (++found <= kMost) absl::StrAppend(&text, found == 1 ? "" : "; ", entry->ToString());
  }
  if (found > kMost) absl::StrAppend(&text, "; … and ", found - kMost, " more");
  return text;
}

}  // namespace v0
}  // namespace quiesce

#include "quiesce/runtime/combinator/rate_limit.h"

#include <algorithm>
#include <cinttypes>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {

RateLimit::RateLimit(int64_t tokens, absl::Duration per, int64_t burst, const char* file, int line)
    : units_per_nano_(tokens),
      units_per_token_(absl::ToInt64Nanoseconds(per)),
      burst_(burst),
      level_(Units(burst)) {
  if (tokens <= 0 || burst <= 0 || per == absl::InfiniteDuration() || units_per_token_ <= 0) {
    Fatal("RateLimit(%" PRId64 ", %s, %" PRId64
          ") at %s:%d: the rate is a positive number of tokens in a positive, finite time, and the "
          "burst is at least 1",
          tokens, absl::FormatDuration(per).c_str(), burst, file, line);
  }
}

RateLimit::~RateLimit() {
  PrimitiveLockHolder lock(lock_);
  if (waiting_ > 0) {
    Fatal("a RateLimit was destroyed while %" PRId64
          " tasks wait in its line: let the region of those tasks close before",
          waiting_);
  }
}

void RateLimit::NotPositive(const char* call, int64_t tokens, const char* file, int line) {
  Fatal("RateLimit::%s(cx, %" PRId64 ") at %s:%d: the number of tokens must be positive", call,
        tokens, file, line);
}

bool RateLimit::TryAcquire(CxWith<cap::Time> cx, int64_t tokens, const char* file, int line) {
  if (tokens <= 0) [[unlikely]]
    NotPositive("TryAcquire", tokens, file, line);
  return TryTake(tokens, cx.Now());
}

int64_t RateLimit::available(CxWith<cap::Time> cx) const {
  const Instant now = cx.Now();
  PrimitiveLockHolder lock(lock_);
  return static_cast<int64_t>(LevelAt(now) / units_per_token_);
}

int64_t RateLimit::waiting() const {
  PrimitiveLockHolder lock(lock_);
  return waiting_;
}

absl::int128 RateLimit::LevelAt(Instant when) const {
  // Somebody who has read the clock later may have come here first. A full bucket stays so: at first, since ever.
  const absl::int128 full = Units(burst_);
  if (when <= filled_ || level_ >= full) return level_;
  const int64_t nanos = when.nanos() - filled_.nanos();
  return std::min(full, level_ + absl::int128(nanos) * units_per_nano_);  // both are below 2^126
}

void RateLimit::Fill(Instant until) {
  level_ = LevelAt(until);
  filled_ = std::max(filled_, until);
}

bool RateLimit::TryTake(int64_t tokens, Instant now) {
  PrimitiveLockHolder lock(lock_);
  if (!line_.empty()) return false;
  Fill(now);
  if (!Has(tokens)) return false;
  Take(tokens);
  return true;
}

void RateLimit::TakeDue(Op* op) {
  // What the last nanosecond brings beyond the burst is kept: only what is left is cut off.
  level_ += absl::int128(op->when.nanos() - filled_.nanos()) * units_per_nano_;
  filled_ = op->when;
  Take(op->tokens_);
  level_ = std::min(level_, Units(burst_));
}

void RateLimit::Leave(Op* op, Instant now) {
  op->clock_->Disarm(op);  // also orders this behind the end of OnFire
  const bool first = line_.front() == op;
  line_.Remove(op);
  --waiting_;
  if (first) ServeFirst(now);
}

void RateLimit::ServeFirst(Instant now) {
  Op* first = line_.front();
  if (first == nullptr) return;
  Fill(first->arrived_);
  first->when = filled_;
  if (!Has(first->tokens_)) {
    const absl::int128 missing = Units(first->tokens_) - level_;
    const absl::int128 nanos = (missing + units_per_nano_ - 1) / units_per_nano_;
    first->when = Instant::FromNanos(static_cast<int64_t>(
        std::min<absl::int128>(filled_.nanos() + nanos, Instant::InfiniteFuture().nanos())));
  }
  if (first->when > now) {
    first->clock_->Arm(first);
  } else {
    first->waiter_->Grant();  // or it is being cancelled, and leaves by itself
  }
}

namespace rate_limit_internal {

bool AcquireOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  if (tokens_ > limit_->burst_) {
    result.emplace(absl::InvalidArgumentError(
        absl::StrCat("RateLimit::Acquire(cx, ", tokens_, "): more tokens than the burst of ",
                     limit_->burst_, " are never there at once; acquire them in parts")));
    return true;
  }
  if (!limit_->TryTake(tokens_, clock_->Now())) return false;
  result.emplace(Ok());
  return true;
}

Enqueued AcquireOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
  waiter_ = &waiter;
  const Instant now = clock_->Now();
  arrived_ = now;
  PrimitiveLockHolder lock(limit_->lock_);
  const bool first = limit_->line_.empty();
  if (first) {
    limit_->Fill(now);
    if (limit_->Has(tokens_)) {
      if (!waiter.MayTake()) return Enqueued::kLost;
      limit_->Take(tokens_);
      result.emplace(Ok());
      return Enqueued::kDone;
    }
  }
  limit_->line_.PushBack(this);
  ++limit_->waiting_;
  if (first) limit_->ServeFirst(now);
  return Enqueued::kQueued;
}

bool AcquireOp::Harvest(Waiter&, std::optional<Outcome<void>>& result) {
  const Instant now = clock_->Now();
  PrimitiveLockHolder lock(limit_->lock_);
  limit_->TakeDue(this);
  limit_->Leave(this, now);
  result.emplace(Ok());
  return true;
}

void AcquireOp::Withdraw(Waiter&) {
  const Instant now = clock_->Now();
  PrimitiveLockHolder lock(limit_->lock_);
  limit_->Leave(this, now);
}

}  // namespace rate_limit_internal
}  // namespace v0
}  // namespace quiesce

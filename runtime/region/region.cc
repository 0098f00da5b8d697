#include "quiesce/runtime/region/region.h"

#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {
namespace region_internal {

Opening::Opening(const CxBase& cx, const SpawnName& name, RegionPolicy policy,
                 const RegionOptions& options)
    : task_(cx.task()), flags_(cx.flags()) {
  core_ = RegionCore::Open(cx, name.name, name.file, name.line, policy, options, refused_);
}

Opening::~Opening() {
  if (core_ == nullptr) return;
  QUIESCE_CHECK((core_->word.load(std::memory_order_acquire) & region_word::kClosed) != 0,
                "the frame of a Region::Open was destroyed before its region had closed");
  core_->Unref();
}

NoOptions::operator const RegionOptions&() const {
  static const RegionOptions none;
  return none;
}

RegionScope* Opening::scope() const { return core_; }
const Authority* Opening::authority() const { return &core_->authority(); }

// A region that a finalizer opens may spawn and defer again, in the time of that finalizer.
uint32_t Opening::body_flags() const { return flags_ & ~static_cast<uint32_t>(kNoSpawn); }
uint32_t Opening::finalizer_flags() const { return flags_ | kGraceTime | kNoSpawn; }

void Opening::JoinBody(const Outcome<void>& failure, Counts counts) {
  if (!failure.ok()) core_->BeforeRequest(ScopeRequest::kCancel);
  core_->BodyEnded(failure, counts == kBody);
}
std::unique_ptr<Finalizer> Opening::NextFinalizer() {
  return std::unique_ptr<Finalizer>(core_->PopFinalizer());
}
void Opening::FinalizerEnded(const Finalizer& finalizer, const Outcome<void>& outcome) {
  core_->FinalizerEnded(finalizer.name, outcome);
}
void Opening::BeginFinalizing() { core_->BeginFinalizing(); }
bool Opening::OwesPermits() { return core_->OwesPermits(); }
Outcome<void> Opening::Close() { return core_->Close(); }

namespace {

class PermitsOp {
 public:
  using Value = void;
  static constexpr const char* kName = "Region close, open permits";
  static constexpr bool kStructural = true;
  explicit PermitsOp(RegionScope* region) : region_(CoreOf(region)) {}
  bool Try(Waiter&, std::optional<Outcome<void>>& result) {
    if (!region_->PermitsSettled()) return false;
    result.emplace(Ok());
    return true;
  }
  Enqueued Enqueue(Waiter& waiter, std::optional<Outcome<void>>&) {
    return region_->AwaitPermits(&waiter);
  }
  bool Harvest(Waiter& waiter, std::optional<Outcome<void>>& result) { return Try(waiter, result); }
  void Withdraw(Waiter&) {}

 private:
  RegionCore* region_;
};

}  // namespace

Task<void> AwaitPermits(CxBase cx, RegionScope* region) {
  co_return co_await Wait<PermitsOp>(cx, region);
}

bool CloseOp::Try(Waiter&, std::optional<Outcome<void>>& result) {
  CoreOf(region_)->BeforeClose();
  while (!CoreOf(region_)->TryCloseCount()) {
    if (!CoreOf(region_)->RunNextTask()) return false;
  }
  result.emplace(Ok());
  return true;
}

Enqueued CloseOp::Enqueue(Waiter& waiter, std::optional<Outcome<void>>& result) {
  if (CoreOf(region_)->ParkCloser(&waiter)) return Enqueued::kQueued;
  result.emplace(Ok());
  return Enqueued::kDone;
}

bool CloseOp::Harvest(Waiter&, std::optional<Outcome<void>>& result) {
  CoreOf(region_)->CountIsZero();
  result.emplace(Ok());
  return true;
}

}  // namespace region_internal
}  // namespace v0
}  // namespace quiesce

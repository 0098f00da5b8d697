#include "quiesce/runtime/region/region_ref.h"

#include "quiesce/runtime/region/region_core.h"
#include "quiesce/runtime/trace/event.h"

namespace quiesce {
inline namespace v0 {

RegionRef RegionRef::Of(const CxBase& cx) {
  cx.Verify();
  return RegionRef(CoreOf(cx.region()), cx.authority());
}

RegionRef::RegionRef(RegionCore* core, const Authority* authority)
    : core_(core), authority_(authority) {
  core_->Ref();
}
RegionRef::~RegionRef() {
  if (core_ != nullptr) core_->Unref();
}
RegionScope* RegionRef::scope() const { return core_; }

void RegionRef::Cancel(const Budget& drain, absl::string_view message) const {
  core_->BeforeRequest(ScopeRequest::kCancel);
  const RegionCore::OutsideCall call(core_);
  if (!call.region_closed()) core_->Cancel(CancelKind::kUser, message, drain);
}
void RegionRef::Shutdown(const Budget& drain) const {
  core_->BeforeRequest(ScopeRequest::kCancel);
  const RegionCore::OutsideCall call(core_);
  if (call.region_closed()) return;
  core_->Cancel(CancelKind::kShutdown, "the process was asked to end", drain);
}
void RegionRef::BeginDrain(const Budget& budget) const {
  core_->BeforeRequest(ScopeRequest::kCancel);
  const RegionCore::OutsideCall call(core_);
  if (!call.region_closed()) core_->BeginDrain(budget);
}
bool RegionRef::cancelled() const {
  core_->BeforeRequest(ScopeRequest::kAsk);
  return (core_->word.load(std::memory_order_acquire) & region_word::kCancelled) != 0;
}
bool RegionRef::closed() const {
  core_->BeforeRequest(ScopeRequest::kAsk);
  return (core_->word.load(std::memory_order_acquire) & region_word::kClosed) != 0;
}

}  // namespace v0
}  // namespace quiesce

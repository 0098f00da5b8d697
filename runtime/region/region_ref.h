// region_ref.h: a region, for other tasks, threads and callbacks.
//
// Invariants: a reference keeps the region's record, not the region: after the close its spawns are
//             refused and its cancels have no effect.
// Threads:    any; copyable and storable.
#ifndef QUIESCE_RUNTIME_REGION_REGION_REF_H_
#define QUIESCE_RUNTIME_REGION_REGION_REF_H_

#include <utility>

#include "absl/strings/string_view.h"
#include "quiesce/runtime/budget/budget.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/spawn_name.h"

namespace quiesce {
inline namespace v0 {

class RegionCore;

class RegionRef {
 public:
  // For the runtime and for primitives, whatever `cx` allows.
  static RegionRef Of(const CxBase& cx);
  // The same: adds a reference.
  RegionRef(RegionCore* core, const Authority* authority);
  RegionRef(const RegionRef& other) : RegionRef(other.core_, other.authority_) {}
  RegionRef(RegionRef&& other) noexcept
      : core_(std::exchange(other.core_, nullptr)), authority_(other.authority_) {}
  RegionRef& operator=(RegionRef other) noexcept {
    std::swap(core_, other.core_);
    std::swap(authority_, other.authority_);
    return *this;
  }
  ~RegionRef();

  // Puts a task into the region, as Cx::Spawn does, under the region's own policies.
  // Returns  a TaskHandle<T>; refused: Error(kFailedPrecondition) once the region has nothing left to
  //          wait for, else as Cx::Spawn. Threads: any. Defined in region/spawn.h.
  template <class F, class... Args>
  auto Spawn(SpawnName name, F&& callable, Args&&... args) const;

  // As ForDrain().Spawn: admitted until the drain budget is spent.
  template <class F, class... Args>
  auto SpawnForDrain(SpawnName name, F&& callable, Args&&... args) const;

  // Asks everything in the region to stop (R5). Monotone; no effect after the close.
  void Cancel(const Budget& drain = Budget(),
              absl::string_view message = "RegionRef::Cancel") const;
  // The same, as the process does when it is asked to end.
  void Shutdown(const Budget& drain = Budget()) const;
  // The gentle form: raises Cx::Draining() for everything in the region, and becomes a kShutdown request
  // when `budget` ends.
  void BeginDrain(const Budget& budget) const;

  // Has a request reached the region? Has it closed?
  bool cancelled() const;
  bool closed() const;

  RegionScope* scope() const;
  const Authority* authority() const { return authority_; }

 private:
  RegionCore* core_;
  const Authority* authority_;
};

template <class... Caps>
RegionRef CxWith<Caps...>::Ref() const {
  static_assert(
      std::is_convertible_v<CxWith, Cx>,
      "Ref() needs a whole Cx: what is spawned through a RegionRef gets one, so a CxWith<...> "
      "would widen. Let the caller that has a Cx pass the RegionRef");
  return RegionRef::Of(*this);
}

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_REGION_REGION_REF_H_

// authority.h: the node that a Cx points to: a region, the user's capabilities, and run-time limits.
//
// Why:        a Cx is copied everywhere; what it allows lives once, in its region.
// Invariants: (1) a node is constant after construction; (2) its parent outlives it, since regions
//             nest; (3) nodes are minted only by opening a region and by Provide and Restrict,
//             which add capabilities of the user's own or take authority away (G10).
#ifndef QUIESCE_RUNTIME_CX_AUTHORITY_H_
#define QUIESCE_RUNTIME_CX_AUTHORITY_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "quiesce/runtime/cx/scope.h"

namespace quiesce {
inline namespace v0 {

// Attenuates a capability at run time. Every effect asks each policy from its Cx up to the root, and
// the first refusal is returned to the caller as Error(kPermissionDenied | as given).
// Derive, override what should be limited, and pass it to Cx::Restrict. Threads: called from any.
class Policy {
 public:
  virtual ~Policy() = default;
  // `address` is "HOST:PORT" as the caller gave it.
  virtual absl::Status AllowConnect(absl::string_view address) const;
  virtual absl::Status AllowListen(absl::string_view address) const;
};

inline absl::Status Policy::AllowConnect(absl::string_view) const { return absl::OkStatus(); }
inline absl::Status Policy::AllowListen(absl::string_view) const { return absl::OkStatus(); }

struct Authority {
  RegionScope* region = nullptr;
  const Authority* parent = nullptr;
  const void* key = nullptr;  // &cx_internal::Key<T>::tag of the provided capability
  void* implementation = nullptr;
  const Policy* policy = nullptr;
  Authority* next_owned = nullptr;  // the region's list of nodes
  void (*destroy_implementation)(void*) = nullptr;

  // The implementation provided for `wanted` here or above; null if there is none.
  void* Find(const void* wanted) const {
    for (const Authority* node = this; node != nullptr; node = node->parent) {
      if (node->key == wanted) return node->implementation;
    }
    return nullptr;
  }

  // Asks every policy from here up; `ask` returns the Status of one.
  template <class Ask>
  absl::Status Allow(Ask ask) const {
    for (const Authority* node = this; node != nullptr; node = node->parent) {
      if (node->policy == nullptr) continue;
      absl::Status status = ask(*node->policy);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CX_AUTHORITY_H_

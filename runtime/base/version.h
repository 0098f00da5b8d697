// version.h: one version of Quiesce in one program, checked by the linker.
//
// Why:        two copies of a runtime in one binary disagree about layouts and fail far from the cause.
// Invariants: (1) every public name lives in the inline namespace of its version, so a layout change
//                 is a link error and never a silent mix;
//             (2) each object file refers to `quiesce_abi_<version>`, so objects compiled against
//                 another version's headers do not link;
//             (3) every version defines `quiesce_only_one_version_per_program`, so two versions of
//                 the library do not link together.
#ifndef QUIESCE_RUNTIME_BASE_VERSION_H_
#define QUIESCE_RUNTIME_BASE_VERSION_H_

#if !defined(__cplusplus) || __cplusplus < 202002L
#error "Quiesce needs C++20: compile with -std=c++20 or newer."
#endif

extern "C" {
extern const int quiesce_abi_0_1;
extern const int quiesce_only_one_version_per_program;
}

namespace quiesce {
inline namespace v0 {

inline constexpr const char kVersion[] = "0.1.0";

namespace version_internal {
// One for each object (`static`), and kept (`used`): an inline variable would be merged with that of
// another version, and its reference lost.
[[gnu::used]] static const int* const kAbiReference = &quiesce_abi_0_1;
}  // namespace version_internal

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_VERSION_H_

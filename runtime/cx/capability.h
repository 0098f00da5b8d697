// capability.h: what a Cx may allow, as types and as bits.
//
// Why:        a function's parameter says which effects it can have; the compiler checks the rest (G10).
// Invariants: a capability is a type. The built-in ones are the tags in quiesce::cap; any other type
//             is a capability of the user's own, provided with Cx::Provide and reached with Cx::Get.
#ifndef QUIESCE_RUNTIME_CX_CAPABILITY_H_
#define QUIESCE_RUNTIME_CX_CAPABILITY_H_

#include <type_traits>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

namespace cap {
struct Spawn {};     // start tasks, register finalizers
struct Time {};      // read the clock, sleep
struct Net {};       // sockets
struct Fs {};        // files
struct Process {};   // child processes
struct Signal {};    // signals of this process
struct Random {};    // randomness
struct Rpc {};       // remote calls
struct Blocking {};  // the pool for calls that block a thread
struct Env {};       // environment variables
struct Trace {};     // the event recorder
}  // namespace cap

template <class... Caps>
class CxWith;

// Every built-in capability.
using Cx = CxWith<cap::Spawn, cap::Time, cap::Net, cap::Fs, cap::Process, cap::Signal, cap::Random,
                  cap::Rpc, cap::Blocking, cap::Env, cap::Trace>;

namespace cx_internal {

template <class T>
inline constexpr bool kBuiltIn =
    std::is_same_v<T, cap::Spawn> || std::is_same_v<T, cap::Time> || std::is_same_v<T, cap::Net> ||
    std::is_same_v<T, cap::Fs> || std::is_same_v<T, cap::Process> ||
    std::is_same_v<T, cap::Signal> || std::is_same_v<T, cap::Random> ||
    std::is_same_v<T, cap::Rpc> || std::is_same_v<T, cap::Blocking> ||
    std::is_same_v<T, cap::Env> || std::is_same_v<T, cap::Trace>;

template <class T, class... Set>
inline constexpr bool kContains = (std::is_same_v<T, Set> || ...);

// The address of Key<T>::tag identifies the user's capability T.
template <class T>
struct Key {
  static constexpr char tag = 0;
};

}  // namespace cx_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_CX_CAPABILITY_H_

// part.cc: one part of the mixed program. BUILD.bazel compiles it many times, with PART naming the result.
#include "quiesce/testing/abi/part.h"

#include <stdexcept>

using namespace quiesce;
using quiesce_abi::End;
using quiesce_abi::Part;

namespace {

Task<int> Finish(Cx cx, End end) {
  switch (end) {
    case End::kValue:
      break;
    case End::kError:
      co_return absl::NotFoundError("the last part");
    case End::kPanic:
#if defined(__cpp_exceptions)
      throw std::runtime_error("the last part");
#else
      co_return Panic("the last part");
#endif
    case End::kWait:
      co_await OrReturn(Sleep(cx, absl::InfiniteDuration()));
      break;
  }
  co_return 1;
}

Task<int> Relay(Cx cx, const Part* const* rest, End end) {
  if (*rest == nullptr) co_return co_await Finish(cx, end);
  int below = 0;
  auto body = [&](Cx inner) -> Task<void> {
    auto handle = inner.Spawn("next part", (*rest)->relay, rest + 1, end);
    Outcome<int> joined = co_await OrReturn(handle.Join(inner));
    below = co_await OrReturn(std::move(joined));
    co_return Ok();
  };
  co_await OrReturn(Region::Open(cx, "part", body));
  co_return below + 1;
}

Task<int> Await(Cx cx, const Part* const* rest, End end) {
  if (*rest == nullptr) co_return co_await Finish(cx, end);
  const int below = co_await OrReturn((*rest)->await(cx, rest + 1, end));
  co_return below + 1;
}

Task<int> Fail(Cx) {
#if defined(__cpp_exceptions)
  throw std::runtime_error("no coroutine");
#else
  return []() -> Task<int> { co_return Panic("no coroutine"); }();
#endif
}

Task<int> Open(Cx cx, Task<int> (*body)(Cx)) { co_return co_await Region::Open(cx, "open", body); }

Task<int> Spawn(Cx cx, Task<int> (*body)(Cx)) {
  auto handle = cx.Spawn("spawn", body);
  Outcome<int> joined = co_await OrReturn(handle.Join(cx));
  co_return joined;
}

#if defined(__cpp_exceptions)
constexpr bool kExceptions = true;
#else
constexpr bool kExceptions = false;
#endif

}  // namespace

#define STRING_OF(name) #name
#define NAME_OF(name) STRING_OF(name)
extern const Part PART;
const Part PART = {NAME_OF(PART), Relay, Await, kExceptions, Fail, Open, Spawn};

// This codebase's own runtime/base/check.h, which has nothing to do with Quiesce's.
#ifndef CONSUMER_RUNTIME_BASE_CHECK_H_
#define CONSUMER_RUNTIME_BASE_CHECK_H_

namespace consumer {
inline const char* Check() { return "its own runtime/base/check.h"; }
}  // namespace consumer

#endif  // CONSUMER_RUNTIME_BASE_CHECK_H_

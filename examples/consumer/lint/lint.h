// This codebase's own lint/lint.h.
#ifndef CONSUMER_LINT_LINT_H_
#define CONSUMER_LINT_LINT_H_

namespace consumer {
inline const char* Lint() { return "its own lint/lint.h"; }
}  // namespace consumer

#endif  // CONSUMER_LINT_LINT_H_
